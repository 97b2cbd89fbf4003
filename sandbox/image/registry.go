package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// Registry says how registries are spoken to. The zero value takes the logins
// of docker's config.json and the platform of this machine.
type Registry struct {
	// PlainHTTP allows HTTP without TLS, for registries on this machine only.
	PlainHTTP bool
	// Platform is the one that is pulled; the zero value is this machine's.
	Platform v1.Platform
	// Keychain gives the logins; nil is docker's config.json (in DOCKER_CONFIG
	// or ~/.docker) with its credential helpers.
	Keychain authn.Keychain
}

// layerTries is how often a layer is asked for before its error counts, and
// layerPause how long it waits before the second time; the pause doubles.
const (
	layerTries = 3
	layerPause = 500 * time.Millisecond
)

// reference reads a reference for a registry. TLS is left out where that was
// asked for, and never for a registry elsewhere: whoever sits between could
// give any image, and read the login.
func (r Registry) reference(text string) (name.Reference, error) {
	ref, err := parseReference(text)
	if err != nil {
		return nil, err
	}
	registry := ref.Context().Registry
	if !r.PlainHTTP {
		return ref, nil
	}
	if !loopback(registry.RegistryStr()) {
		return nil, &ElsewhereError{Registry: registry.RegistryStr()}
	}
	return name.ParseReference(text, name.Insecure)
}

// loopback says whether a registry, HOST or HOST:PORT, is this machine.
func loopback(registry string) bool {
	host, _, err := net.SplitHostPort(registry)
	if err != nil {
		host = registry
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func (r Registry) options(ctx context.Context) []remote.Option {
	return []remote.Option{
		remote.WithContext(ctx), remote.WithAuthFromKeychain(r.keychain()), remote.WithPlatform(r.platform()),
		remote.WithUserAgent("sbx"), remote.WithJobs(layersAtOnce),
		remote.WithTransport(r.transport()),
	}
}

// transportTLS refuses requests without TLS. go-containerregistry makes some of
// its own accord (to localhost and to private addresses, where TLS fails), and
// a registry may redirect to one.
type transportTLS struct {
	plain bool // to this machine they are allowed
	next  http.RoundTripper
}

// ErrPlainHTTP says that a registry does not speak TLS.
var ErrPlainHTTP = errors.New("the registry speaks plain HTTP, which is refused")

// ElsewhereError is a registry to which HTTP without TLS was asked for, and
// which is not this machine.
type ElsewhereError struct{ Registry string }

func (e *ElsewhereError) Error() string {
	host := e.Registry
	if host == name.DefaultRegistry {
		host = "docker.io"
	}
	return host + " is not on this machine: plain HTTP is for localhost only"
}

// AnswerError is a registry's answer that it will not do what was asked.
type AnswerError struct {
	Status  int    // of HTTP
	Code    string // the registry's own, such as MANIFEST_UNKNOWN
	Message string // the registry's own words
	err     error
}

func (e *AnswerError) Error() string {
	text := "the registry says " + strconv.Itoa(e.Status) + " " + e.Code
	if e.Message != "" {
		text += ": " + e.Message
	}
	return text
}

// Unwrap gives the error of the library that speaks to registries.
func (e *AnswerError) Unwrap() error { return e.err }

// Absent says that there is no such image.
func (e *AnswerError) Absent() bool { return e.Status == http.StatusNotFound }

// Refused says that the registry wants a login, or another one. Some say that
// of an image that does not exist.
func (e *AnswerError) Refused() bool {
	return e.Status == http.StatusUnauthorized || e.Status == http.StatusForbidden
}

func (t transportTLS) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme != "https" && !(t.plain && loopback(r.URL.Host)) {
		return nil, ErrPlainHTTP
	}
	return t.next.RoundTrip(r)
}

func (r Registry) platform() v1.Platform {
	if r.Platform.OS == "" {
		return Platform()
	}
	return r.Platform
}

// Pull adds an image of a registry under its name. What the store has of it is
// not fetched again.
func (s Store) Pull(ctx context.Context, text string, registry Registry, progress Progress) (*Image, error) {
	ref, err := registry.reference(text)
	if err != nil {
		return nil, err
	}
	got, err := remote.Get(ref, registry.options(ctx)...)
	if err != nil {
		return nil, registryError(text, err)
	}
	image, err := registry.choose(got)
	if err != nil {
		return nil, registryError(text, err)
	}
	src, err := remoteSource(ctx, image)
	if err != nil {
		return nil, registryError(text, err)
	}
	src.resume = registry.resume(ctx, ref.Context())
	w, err := s.begin()
	if err != nil {
		return nil, err
	}
	defer w.end()
	d, err := w.add(src, progress)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", text, err)
	}
	full := canonical(ref)
	if err := s.update(func(index *v1.IndexManifest) error {
		d.Annotations = map[string]string{pulledDigest: got.Digest.String()}
		setName(index, full, d)
		return nil
	}); err != nil {
		return nil, err
	}
	return s.Find(full)
}

// choose takes the image of the platform, out of a list or alone.
func (r Registry) choose(got *remote.Descriptor) (v1.Image, error) {
	want := r.platform()
	if got.MediaType.IsIndex() {
		list, err := got.ImageIndex()
		if err != nil {
			return nil, err
		}
		m, err := list.IndexManifest()
		if err != nil {
			return nil, err
		}
		var has []string
		for _, d := range m.Manifests {
			switch {
			case d.Platform == nil || d.Platform.OS == "unknown": // an attestation
			case d.MediaType.IsImage() && d.Platform.Satisfies(want):
				return list.Image(d.Digest)
			default:
				has = append(has, d.Platform.String())
			}
		}
		return nil, &PlatformError{Want: want.String(), Has: has}
	}
	image, err := got.Image()
	if err != nil {
		return nil, err
	}
	config, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	if is := config.Platform(); is != nil && !is.Satisfies(want) {
		return nil, &PlatformError{Want: want.String(), Has: []string{is.String()}}
	}
	return image, nil
}

func remoteSource(ctx context.Context, image v1.Image) (source, error) {
	manifest, err := image.RawManifest()
	if err != nil {
		return source{}, err
	}
	config, err := image.RawConfigFile()
	if err != nil {
		return source{}, err
	}
	layer := func(d v1.Descriptor) (io.ReadCloser, error) {
		l, err := image.LayerByDigest(d.Digest)
		if err != nil {
			return nil, err
		}
		return l.Compressed()
	}
	return source{manifest: manifest, config: config, layer: layer, pause: func(try int) bool {
		if try == layerTries {
			return false
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(layerPause << (try - 1)):
			return true
		}
	}}, nil
}

// Push sends an image of the store to the registry that its name says, with
// the digest that it has. What the registry has is not sent again. It returns
// the digest.
func (s Store) Push(ctx context.Context, text string, registry Registry, progress func(done, total int64)) (v1.Hash, error) {
	var none v1.Hash
	ref, err := registry.reference(text)
	if err != nil {
		return none, err
	}
	w, err := s.begin() // no prune meanwhile
	if err != nil {
		return none, err
	}
	defer w.end()
	image, err := s.Find(canonical(ref))
	if err != nil {
		return none, err
	}
	compressed, err := partial.CompressedToImage(stored{image})
	if err != nil {
		return none, err
	}
	options := registry.options(ctx)
	told := make(chan struct{})
	if progress != nil {
		updates := make(chan v1.Update, 16)
		options = append(options, remote.WithProgress(updates))
		go func() {
			defer close(told)
			for u := range updates { // remote closes it
				if u.Error == nil {
					progress(u.Complete, u.Total)
				}
			}
		}()
	} else {
		close(told)
	}
	err = remote.Write(ref, compressed, options...)
	<-told
	if err != nil {
		return none, registryError(text, err)
	}
	return image.Digest, nil
}

// registryError is one line of what a registry or the way to it said. Where the
// library tried TLS and then HTTP, the one that says why is taken.
func registryError(text string, err error) error {
	var answer *transport.Error
	var dial *net.OpError
	switch {
	case errors.Is(err, context.Canceled):
	case errors.Is(err, ErrPlainHTTP):
		err = ErrPlainHTTP
	case errors.As(err, &answer) && len(answer.Errors) > 0:
		err = &AnswerError{Status: answer.StatusCode, Code: string(answer.Errors[0].Code), Message: answer.Errors[0].Message, err: err}
	case errors.As(err, &dial) && dial.Op == "dial":
		err = dial
	}
	return fmt.Errorf("%s: %w", text, err)
}
