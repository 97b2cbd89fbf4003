package image

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
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
	var answer *AnswerError
	if _, err := to.Pull(t.Context(), host+"/class/none:1", plain, nil); !errors.As(err, &answer) || !answer.Absent() {
		t.Error("an image that is not there:", err)
	}
	if _, err := to.Pull(t.Context(), name, Registry{}, nil); !errors.Is(err, ErrPlainHTTP) {
		t.Error("plain HTTP without being asked for:", err)
	}
	if _, err := to.Pull(t.Context(), "registry.example/x", plain, nil); err == nil || !strings.Contains(err.Error(), "localhost") {
		t.Error("plain HTTP to another machine:", err)
	}
}

// TestResume holds that a layer whose connection breaks off is fetched from
// there on, that a registry which knows no ranges is asked for all of it, and
// that one which sends another part is not believed.
func TestResume(t *testing.T) {
	for _, kind := range []string{"ranges", "none", "another part"} {
		t.Run(kind, func(t *testing.T) {
			var layer string
			var sent, parts atomic.Int64
			host := localRegistry(t, func(next http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if r.Method != http.MethodGet || !strings.HasSuffix(r.URL.Path, layer) || layer == "" {
						next.ServeHTTP(w, r)
						return
					}
					answer := httptest.NewRecorder()
					plain := r.Clone(r.Context())
					plain.Header.Del("Range")
					next.ServeHTTP(answer, plain)
					data := answer.Body.Bytes()
					from := 0
					if text, ok := strings.CutPrefix(r.Header.Get("Range"), "bytes="); ok && kind != "none" {
						var err error
						if from, err = strconv.Atoi(strings.TrimSuffix(text, "-")); err != nil {
							t.Error(err)
						}
						w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(data)-1, len(data)))
						w.Header().Set("Content-Length", strconv.Itoa(len(data)-from))
						w.WriteHeader(http.StatusPartialContent)
						parts.Add(1)
						if kind == "another part" {
							copy(data[from:], "something else")
						}
					}
					rest := data[from:]
					if sent.Load() == 0 {
						w.Header().Set("Content-Length", strconv.Itoa(len(data)))
						rest = rest[:len(rest)/2] // net/http cuts the connection
					}
					n, _ := w.Write(rest)
					sent.Add(int64(n))
				})
			})
			from := testStore(t)
			random := make([]byte, 1<<20)
			if _, err := rand.Read(random); err != nil {
				t.Fatal(err)
			}
			name := host + "/class/demo:1"
			load(t, from, dockerArchive(t, name, emptyConfig, archive(t, file{name: "etc/os", body: string(random)})))
			plain := Registry{PlainHTTP: true}
			if _, err := from.Push(t.Context(), name, plain, nil); err != nil {
				t.Fatal(err)
			}
			image, err := from.Find(name)
			if err != nil {
				t.Fatal(err)
			}
			size := image.Manifest.Layers[0].Size
			layer = image.Manifest.Layers[0].Digest.String()
			to := testStore(t)
			if _, err := to.Pull(t.Context(), name, plain, nil); err != nil {
				t.Fatal(err)
			}
			whole(t, to)
			want := map[string]int64{"ranges": size, "another part": 2 * size}[kind]
			if kind == "none" {
				want = sent.Load() // the answer to a request for a part is the whole, of which some is sent in vain
			}
			if sent.Load() != want || parts.Load() != map[string]int64{"ranges": 1, "another part": 1}[kind] {
				t.Errorf("%d bytes were sent, wanted %d; %d parts", sent.Load(), want, parts.Load())
			}
		})
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
