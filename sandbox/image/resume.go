package image

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// resume gives the rest of a blob, with a request for a range (RFC 9110, 14.2):
// most registries know it, none has to (distribution-spec, pull). One that does
// not answers with the whole, and there is no reader then.
func (r Registry) resume(ctx context.Context, repository name.Repository) func(v1.Descriptor, int64) (io.ReadCloser, error) {
	login := sync.OnceValues(func() (http.RoundTripper, error) {
		keychain := r.keychain()
		auth, err := authn.Resolve(ctx, keychain, repository)
		if err != nil {
			return nil, err
		}
		return transport.NewWithContext(ctx, repository.Registry, auth, r.transport(), []string{repository.Scope(transport.PullScope)})
	})
	return func(d v1.Descriptor, from int64) (io.ReadCloser, error) {
		logged, err := login()
		if err != nil {
			return nil, err
		}
		at := url.URL{Scheme: repository.Scheme(), Host: repository.RegistryStr(), Path: "/v2/" + repository.RepositoryStr() + "/blobs/" + d.Digest.String()}
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, at.String(), nil)
		if err != nil {
			return nil, err
		}
		request.Header.Set("Range", fmt.Sprintf("bytes=%d-", from))
		answer, err := (&http.Client{Transport: logged}).Do(request)
		if err != nil {
			return nil, err
		}
		if answer.StatusCode == http.StatusPartialContent && strings.HasPrefix(answer.Header.Get("Content-Range"), fmt.Sprintf("bytes %d-", from)) {
			return answer.Body, nil
		}
		answer.Body.Close()
		return nil, nil
	}
}

func (r Registry) keychain() authn.Keychain {
	if r.Keychain == nil {
		return authn.DefaultKeychain
	}
	return r.Keychain
}

func (r Registry) transport() http.RoundTripper {
	return transportTLS{plain: r.PlainHTTP, next: remote.DefaultTransport}
}
