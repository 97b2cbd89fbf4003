package image

import (
	"archive/tar"
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

func twoLayers(t testing.TB) ([]byte, []byte) {
	return archive(t, file{name: "etc/os", body: "one"}, file{name: "old", body: "x"}),
		gzipped(t, archive(t, file{name: "etc/os", body: "two", uid: 7}, file{name: ".wh.old"}))
}

// TestLoadSave holds that an image goes out as it came in, by both formats.
func TestLoadSave(t *testing.T) {
	s := testStore(t)
	low, high := twoLayers(t)
	zst := zstded(t, archive(t, file{name: "z", body: "zstd"}))
	got := load(t, s, gzipped(t, dockerArchive(t, "demo:1", v1.Config{Cmd: []string{"sh"}}, low, high, zst)))
	if len(got) != 1 || got[0].Name != "docker.io/library/demo:1" {
		t.Fatalf("loaded %+v", got)
	}
	image, err := s.Find("demo:1")
	if err != nil {
		t.Fatal(err)
	}
	layers, err := image.Layers()
	if err != nil || len(layers) != 3 {
		t.Fatal(layers, err)
	}
	for i, want := range [][]byte{low, high, zst} {
		if layers[i].Blob.Digest != sum(want) {
			t.Errorf("layer %d did not stay as it came", i)
		}
	}
	for i, name := range []string{"old", "old", "z"} {
		if _, err := os.Lstat(filepath.Join(layers[i].Folder, name)); err != nil {
			t.Error(err)
		}
	}
	var out bytes.Buffer
	if err := s.Save(&out, []string{"demo:1"}); err != nil {
		t.Fatal(err)
	}
	again := testStore(t)
	load(t, again, out.Bytes())
	other, err := again.Find("demo:1")
	if err != nil {
		t.Fatal(err)
	}
	if other.Digest != image.Digest || other.ID != image.ID {
		t.Errorf("digest %s became %s", image.Digest, other.Digest)
	}
	var second bytes.Buffer
	if err := again.Save(&second, []string{"demo:1"}); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(out.Bytes(), second.Bytes()) {
		t.Error("the same image makes another archive")
	}
	// The same archive, read as docker-archive.
	docker := testStore(t)
	load(t, docker, without(t, out.Bytes(), "index.json"))
	if third, err := docker.Find("demo:1"); err != nil || third.ID != image.ID {
		t.Error("as docker-archive:", err)
	}
}

// without is an archive less one member.
func without(t *testing.T, data []byte, name string) []byte {
	t.Helper()
	var out bytes.Buffer
	r, w := tar.NewReader(bytes.NewReader(data)), tar.NewWriter(&out)
	for {
		h, err := r.Next()
		if err != nil {
			break
		}
		if h.Name == name {
			continue
		}
		if err := errors.Join(w.WriteHeader(h), copyMember(w, r)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func copyMember(w *tar.Writer, r *tar.Reader) error {
	var b bytes.Buffer
	if _, err := b.ReadFrom(r); err != nil {
		return err
	}
	_, err := w.Write(b.Bytes())
	return err
}

// TestLies holds that content which is not what its digest says does not enter.
func TestLies(t *testing.T) {
	good, other := archive(t, file{name: "a", body: "good"}), archive(t, file{name: "a", body: "evil"})
	data := dockerArchive(t, "lie", emptyConfig, good)
	s := testStore(t)
	if _, err := s.Load(bytes.NewReader(bytes.Replace(data, good, other, 1)), nil); err == nil || !strings.Contains(err.Error(), "the config says") {
		t.Fatal("a layer that is not the config's entered:", err)
	}
	// Nor where the layer that the config names is there already.
	load(t, s, data)
	if _, err := s.Load(bytes.NewReader(bytes.Replace(data, good, other, 1)), nil); err == nil {
		t.Fatal("a layer entered in the name of another")
	}
	var out bytes.Buffer
	if err := s.Save(&out, []string{"lie"}); err != nil {
		t.Fatal(err)
	}
	oci := bytes.Replace(out.Bytes(), []byte("good"), []byte("evil"), 1)
	if _, err := testStore(t).Load(bytes.NewReader(oci), nil); err == nil {
		t.Fatal("a blob of another digest entered")
	}
}

// TestNames holds what names do: several on one image, one that moves, removal.
func TestNames(t *testing.T) {
	s := testStore(t)
	low, high := twoLayers(t)
	load(t, s, dockerArchive(t, "a:1", emptyConfig, low))
	first, err := s.Find("a:1")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"b", "localhost:5000/x/y:2"} {
		if err := s.Tag("a:1", name); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Tag("a:1", "UPPER"); err == nil {
		t.Error("a name that no registry takes")
	}
	for _, word := range []string{"b", "b:latest", "docker.io/library/b", "localhost:5000/x/y:2", first.ID.Hex[:12], first.ID.String(), first.Digest.Hex[:4], "a@" + first.Digest.String()} {
		if found, err := s.Find(word); err != nil || found.ID != first.ID {
			t.Errorf("%s: %v", word, err)
		}
	}
	if _, err := s.Find("c"); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	load(t, s, dockerArchive(t, "a:1", emptyConfig, low, high)) // the name moves
	images, err := s.List()
	if err != nil || len(images) != 2 {
		t.Fatal(images, err)
	}
	if _, err := s.Remove(first.ID.Hex, false); err == nil {
		t.Error("an image with two names was removed by its id")
	}
	for _, word := range []string{"b", "localhost:5000/x/y:2"} {
		if _, err := s.Remove(word, false); err != nil {
			t.Error(err)
		}
	}
	if _, err := s.Find(first.ID.Hex); !errors.Is(err, ErrNotFound) {
		t.Error("the image outlived its last name:", err)
	}
	if _, err := s.Prune(Pruning{Unnamed: true}); err != nil {
		t.Fatal(err)
	}
	second, err := s.Find("a:1")
	if err != nil {
		t.Fatal(err)
	}
	layers, err := second.Layers()
	if err != nil {
		t.Fatal("a shared layer went with the other image:", err)
	}
	if _, err := os.Stat(filepath.Join(layers[0].Folder, "old")); err != nil {
		t.Error(err)
	}
	if _, err := s.Remove("a:1", false); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Prune(Pruning{}); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"layers", "oci/blobs/sha256", "tmp"} {
		if left, err := os.ReadDir(filepath.Join(s.dir, dir)); len(left) != 0 || err != nil {
			t.Error(dir, left, err)
		}
	}
}

// TestAtOnce loads, tags, removes and prunes in several goroutines, each with
// locks of its own as processes have: whatever is in the index is whole.
func TestAtOnce(t *testing.T) {
	s := testStore(t)
	low, high := twoLayers(t)
	archives := [][]byte{dockerArchive(t, "a", emptyConfig, low), dockerArchive(t, "b", emptyConfig, low, high), dockerArchive(t, "a", emptyConfig, high)}
	var group sync.WaitGroup
	for n := range 6 {
		group.Go(func() {
			for range 8 {
				if _, err := s.Load(bytes.NewReader(archives[n%3]), nil); err != nil {
					t.Error(err)
				}
				if _, err := s.Remove("a", false); err != nil && !errors.Is(err, ErrNotFound) {
					t.Error(err)
				}
				if _, err := s.Prune(Pruning{Unnamed: true}); err != nil && !errors.Is(err, ErrBusy) {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	whole(t, s)
}

// whole fails unless every image of the index is there with all that it needs.
func whole(t *testing.T, s Store) {
	t.Helper()
	images, err := s.List()
	if err != nil {
		t.Fatal(err)
	}
	for _, image := range images {
		if layers, err := image.Layers(); err != nil {
			t.Error(err)
		} else {
			for _, l := range layers {
				if _, err := os.Stat(filepath.Join(l.Folder, "etc/os")); err != nil {
					t.Error(err)
				}
			}
		}
		if err := s.Save(&bytes.Buffer{}, []string{image.ID.Hex}); err != nil {
			t.Error(err)
		}
	}
}

// TestKilled kills a process that loads, at many moments: the store works, and
// a prune leaves nothing of it.
func TestKilled(t *testing.T) {
	s := testStore(t)
	low, high := twoLayers(t)
	name := filepath.Join(t.TempDir(), "archive")
	big := archive(t, file{name: "etc/os", body: "three"}, file{name: "big", body: strings.Repeat("sbx ", 1<<18)})
	if err := os.WriteFile(name, dockerArchive(t, "k", emptyConfig, low, high, big), 0o600); err != nil {
		t.Fatal(err)
	}
	for i := range 30 {
		child := exec.Command(os.Args[0], "-test.run=^TestLoadForever$")
		child.Env = append(os.Environ(), "SBX_TEST_STORE="+s.dir, "SBX_TEST_ARCHIVE="+name)
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(20+3*i) * time.Millisecond)
		if err := child.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = child.Wait() // it was killed
		whole(t, s)
	}
	if _, err := s.Prune(Pruning{All: true}); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"layers", "oci/blobs/sha256", "tmp"} {
		if left, err := os.ReadDir(filepath.Join(s.dir, dir)); len(left) != 0 || err != nil {
			t.Error(dir, left, err)
		}
	}
}

// TestLoadForever is the process that TestKilled kills.
func TestLoadForever(t *testing.T) {
	s := NewStore(os.Getenv("SBX_TEST_STORE"))
	if s.dir == "." {
		return // not called by TestKilled: there is nothing to do
	}
	data, err := os.ReadFile(os.Getenv("SBX_TEST_ARCHIVE"))
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := s.Load(bytes.NewReader(data), nil); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Remove("k", false); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Prune(Pruning{Unnamed: true}); err != nil {
			t.Fatal(err)
		}
	}
}

// TestImport makes an image of a folder and of its archive.
func TestImport(t *testing.T) {
	t.Setenv("SOURCE_DATE_EPOCH", "1000000000")
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{
		os.WriteFile(filepath.Join(dir, "bin/a"), []byte("a"), 0o755),
		os.Link(filepath.Join(dir, "bin/a"), filepath.Join(dir, "bin/b")),
		os.Symlink("/etc/shadow", filepath.Join(dir, "link")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	s := testStore(t)
	var data bytes.Buffer
	if err := ArchiveFolder(&data, dir); err != nil {
		t.Fatal(err)
	}
	id, err := s.Import(bytes.NewReader(data.Bytes()), "mine:1", v1.Config{Cmd: []string{"/bin/a"}}, "-", nil)
	if err != nil {
		t.Fatal(err)
	}
	same, err := s.Import(bytes.NewReader(data.Bytes()), "mine:2", v1.Config{Cmd: []string{"/bin/a"}}, "-", nil)
	if err != nil || same != id {
		t.Errorf("the same input made %s and %s: %v", id, same, err)
	}
	image, err := s.Find("mine:1")
	if err != nil || len(image.Names) != 2 {
		t.Fatal(image, err)
	}
	layers, err := image.Layers()
	if err != nil || len(layers[0].Contents.Recorded) != 0 {
		t.Fatal(layers, err)
	}
	if link, err := os.Readlink(filepath.Join(layers[0].Folder, "link")); link != "/etc/shadow" || err != nil {
		t.Error(link, err)
	}
}
