package image

import (
	"archive/tar"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sbx-dev/sbx/sandbox/image/local"
)

// FuzzCanonical: sbx, which reads references without the registry's library,
// reads them as the store does that writes them.
func FuzzCanonical(f *testing.F) {
	for _, s := range []string{
		"busybox", "a/b:c", "localhost/x", "localhost:5000/x/y:1", "quay.io/a/b@sha256:" + strings.Repeat("a", 64), "index.docker.io/library/x",
		"x:", "X", "x@sha256:1", "a:b:c", "docker.io/x", "a//b", "x:1@sha256:" + strings.Repeat("0", 64), "", "1", "ab", "host:99999/x", "-", "a/b/c/d",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		want, wantErr := Canonical(text)
		have, err := local.Canonical(text)
		if err == nil && wantErr == nil && have != want {
			t.Errorf("%q: %q, and the store writes %q", text, have, want)
		}
		// What it took for no reference would not be found. Addresses of IPv6 are
		// none here.
		if err != nil && wantErr == nil && !strings.ContainsAny(text, "[]") {
			t.Errorf("%q: %v, and the store writes %q", text, err, want)
		}
	})
}

// TestLocal: an image is found by all that names it, and what is found is what
// was loaded.
func TestLocal(t *testing.T) {
	s := testStore(t)
	config := v1.Config{Env: []string{"A=1"}, Cmd: []string{"/x"}, User: "7", WorkingDir: "/w", Volumes: map[string]struct{}{"/v": {}}, StopSignal: "SIGINT"}
	got := load(t, s, dockerArchive(t, "demo:1", config, archive(t, file{name: "a", body: "0"}), archive(t, file{name: "a", body: "1"}, file{name: ".wh.b"})))
	image, err := s.Find("demo:1")
	if err != nil {
		t.Fatal(err)
	}
	for _, word := range []string{"demo:1", "docker.io/library/demo:1", got[0].ID.Hex[:12], "sha256:" + image.Digest.Hex, "demo@" + image.Digest.String()} {
		i, err := local.Find(s.Dir(), word)
		if err != nil {
			t.Errorf("%s: %v", word, err)
			continue
		}
		if i.ID != got[0].ID.String() || i.Digest != image.Digest.String() || i.Owners || i.Config.User != "7" || i.Config.WorkingDir != "/w" ||
			!slices.Equal(i.Config.Env, config.Env) || !slices.Equal(i.Config.Cmd, config.Cmd) || i.Config.StopSignal != "SIGINT" {
			t.Errorf("%s: %+v", word, i)
		}
		for n, want := range []string{"0", "1"} {
			if data, err := os.ReadFile(filepath.Join(i.Layers[n], "a")); err != nil || string(data) != want {
				t.Errorf("%s: layer %d has %q, %v", word, n, data, err)
			}
		}
		if err := i.Close(); err != nil {
			t.Error(err)
		}
	}
	for _, word := range []string{"demo", "demo:2", "other", "0000", "", "../../etc", "sha256:zz"} {
		if _, err := local.Find(s.Dir(), word); !errors.Is(err, local.ErrNotFound) {
			t.Errorf("%q: %v", word, err)
		}
	}
	if _, err := local.Find(filepath.Join(s.Dir(), "nothing"), "demo:1"); !errors.Is(err, local.ErrNotFound) {
		t.Errorf("in no store: %v", err)
	}
}

// TestLayerIsNoLink: a layer that was replaced by a link, to a folder of the host,
// is not taken for the root of a sandbox.
func TestLayerIsNoLink(t *testing.T) {
	for _, part := range []string{"", "root"} {
		s := testStore(t)
		load(t, s, dockerArchive(t, "demo:1", v1.Config{}, archive(t, file{name: "a"})))
		i, err := local.Find(s.Dir(), "demo:1")
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Join(filepath.Dir(i.Layers[0]), part)
		if err := errors.Join(i.Close(), os.Rename(name, name+"-real"), os.Symlink(name+"-real", name)); err != nil {
			t.Fatal(err)
		}
		if _, err := local.Find(s.Dir(), "demo:1"); err == nil || !strings.Contains(err.Error(), "is no folder") {
			t.Errorf("%q is a link: %v", part, err)
		}
	}
}

// TestInUse: prune spares what a sandbox runs from, though it has lost its name,
// and takes it when nobody does.
func TestInUse(t *testing.T) {
	s := testStore(t)
	load(t, s, dockerArchive(t, "used:1", emptyConfig, archive(t, file{name: "f", body: "used"}, file{name: "d", kind: tar.TypeDir})))
	load(t, s, dockerArchive(t, "idle:1", emptyConfig, archive(t, file{name: "f", body: "idle"})))
	used, err := local.Find(s.Dir(), "used:1")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"used:1", "idle:1"} {
		if _, err := s.Remove(name, false); err != nil {
			t.Fatal(err)
		}
	}
	done, err := s.Prune(Pruning{Unnamed: true})
	if err != nil || done.Layers != 1 {
		t.Errorf("%d layers were removed, want that of idle: %v", done.Layers, err)
	}
	if data, err := os.ReadFile(filepath.Join(used.Layers[0], "f")); err != nil || string(data) != "used" {
		t.Errorf("the layer that is in use has %q, %v", data, err)
	}
	if err := used.Close(); err != nil {
		t.Fatal(err)
	}
	if done, err := s.Prune(Pruning{Unnamed: true}); err != nil || done.Layers != 1 {
		t.Errorf("%d layers were removed afterwards: %v", done.Layers, err)
	}
	if _, err := os.Stat(used.Layers[0]); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the layer is still there: %v", err)
	}
}

// TestInUseAndAddedAgain: who runs from an image keeps it, though the same image
// is added again and loses its name once more.
func TestInUseAndAddedAgain(t *testing.T) {
	s := testStore(t)
	data := dockerArchive(t, "used:1", emptyConfig, archive(t, file{name: "f", body: "used"}))
	load(t, s, data)
	used, err := local.Find(s.Dir(), "used:1")
	if err != nil {
		t.Fatal(err)
	}
	defer used.Close()
	load(t, s, data)
	if _, err := s.Remove("used:1", false); err != nil {
		t.Fatal(err)
	}
	if done, err := s.Prune(Pruning{Unnamed: true}); err != nil || done.Layers != 0 {
		t.Errorf("%d layers were removed under a sandbox: %v", done.Layers, err)
	}
	if _, err := os.Stat(filepath.Join(used.Layers[0], "f")); err != nil {
		t.Error(err)
	}
}

// TestFindWhilePruned: an image is either found whole, with its layers there
// until it is closed, or not at all, whatever other processes add and remove.
func TestFindWhilePruned(t *testing.T) {
	s := testStore(t)
	data := dockerArchive(t, "demo:1", emptyConfig, archive(t, file{name: "f", body: "here"}))
	load(t, s, data)
	stop := time.Now().Add(time.Second)
	ended := make(chan struct{})
	defer func() { <-ended }()
	go func() {
		defer close(ended)
		for time.Now().Before(stop) {
			_, _ = s.Remove("demo:1", true)
			_, _ = s.Prune(Pruning{Unnamed: true}) // busy is as well
			load(t, s, data)
		}
	}()
	found := 0
	for time.Now().Before(stop) {
		i, err := local.Find(s.Dir(), "demo:1")
		if errors.Is(err, local.ErrNotFound) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond)
		if data, err := os.ReadFile(filepath.Join(i.Layers[0], "f")); err != nil || string(data) != "here" {
			t.Fatalf("the layer has %q, %v", data, err)
		}
		found++
		i.Close()
	}
	if found == 0 {
		t.Error("it was never found")
	}
}
