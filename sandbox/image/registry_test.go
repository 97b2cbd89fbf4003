package image

import (
	"bytes"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// localRegistry is a registry on the loopback, behind a handler of the test's.
func localRegistry(t *testing.T, around func(http.Handler) http.Handler) (host string) {
	t.Helper()
	var handler http.Handler = registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	if around != nil {
		handler = around(handler)
	}
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

// TestPushPull holds that a registry gets the image as the store has it, and
// gives it back so.
func TestPushPull(t *testing.T) {
	var cut atomic.Int32
	host := localRegistry(t, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/") && cut.Add(-1) == 0 {
				w.Header().Set("Content-Length", "1000000")
				_, _ = w.Write([]byte("half of a layer"))
				return // net/http cuts the connection
			}
			next.ServeHTTP(w, r)
		})
	})
	from := testStore(t)
	low, high := twoLayers(t)
	name := host + "/class/demo:1"
	load(t, from, dockerArchive(t, name, emptyConfig, low, high, zstded(t, archive(t, file{name: "etc/os", body: "3"}))))
	plain := Registry{PlainHTTP: true}
	pushed, err := from.Push(t.Context(), name, plain, nil)
	if err != nil {
		t.Fatal(err)
	}
	to := testStore(t)
	cut.Store(2) // the first blob is the config, the second a layer
	image, err := to.Pull(t.Context(), name, plain, nil)
	if err != nil {
		t.Fatal(err)
	}
	if image.Digest != pushed {
		t.Errorf("pushed %s, pulled %s", pushed, image.Digest)
	}
	if cut.Load() > 0 {
		t.Error("no connection was cut: the retry is not tested")
	}
	whole(t, to)
	// By its digest, and once more: nothing is fetched then.
	byDigest, err := to.Pull(t.Context(), host+"/class/demo@"+pushed.String(), plain, func(_ v1.Hash, state State, _, _ int64) {
		if state != Present {
			t.Error("a layer that is there was fetched")
		}
	})
	if err != nil || byDigest.Digest != pushed {
		t.Error(err)
	}
	if _, err := to.Pull(t.Context(), host+"/class/none:1", plain, nil); err == nil {
		t.Error("an image that is not there was pulled")
	}
	if _, err := to.Pull(t.Context(), name, Registry{}, nil); !errors.Is(err, errPlainHTTP) {
		t.Error("plain HTTP without being asked for:", err)
	}
	if _, err := to.Pull(t.Context(), "registry.example/x", plain, nil); err == nil || !strings.Contains(err.Error(), "localhost") {
		t.Error("plain HTTP to another machine:", err)
	}
}

// TestLogin holds that the login of docker's config.json is used.
func TestLogin(t *testing.T) {
	host := localRegistry(t, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if user, password, ok := r.BasicAuth(); !ok || user != "ann" || password != "pw" {
				w.Header().Set("WWW-Authenticate", `Basic realm="class"`)
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			next.ServeHTTP(w, r)
		})
	})
	dir := t.TempDir()
	t.Setenv("DOCKER_CONFIG", dir)
	s := testStore(t)
	low, _ := twoLayers(t)
	load(t, s, dockerArchive(t, host+"/x", emptyConfig, low))
	if _, err := s.Push(t.Context(), host+"/x", Registry{PlainHTTP: true}, nil); err == nil {
		t.Fatal("pushed without a login")
	}
	config := `{"auths": {"` + host + `": {"auth": "YW5uOnB3"}}}`
	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Push(t.Context(), host+"/x", Registry{PlainHTTP: true}, nil); err != nil {
		t.Fatal(err)
	}
}

// TestPlatform holds that an image for another machine is an error that says
// for which.
func TestPlatform(t *testing.T) {
	s := testStore(t)
	index := document(t, v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: []v1.Descriptor{
		{MediaType: types.OCIManifestSchema1, Platform: &v1.Platform{OS: "linux", Architecture: "s390x"}, Digest: sum([]byte("x")), Size: 1},
	}})
	top := document(t, v1.IndexManifest{SchemaVersion: 2, Manifests: []v1.Descriptor{{MediaType: types.OCIImageIndex, Digest: sum([]byte(index)), Size: int64(len(index))}}})
	data := archive(t, file{name: "index.json", body: top}, file{name: "blobs/sha256/" + sum([]byte(index)).Hex, body: index})
	_, err := s.Load(bytes.NewReader(data), nil)
	var platform *PlatformError
	if !errors.As(err, &platform) || platform.Has[0] != "linux/s390x" {
		t.Error(err)
	}
}
