package image

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"path/filepath"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/klauspost/compress/zstd"
)

// emptyConfig says nothing.
var emptyConfig v1.Config

// file is one entry of an archive that a test makes.
type file struct {
	name string
	kind byte // 0 is a regular file
	body string
	link string
	mode int64
	uid  int
	pax  map[string]string
}

// archive makes an uncompressed layer.
func archive(t testing.TB, files ...file) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, f := range files {
		h := &tar.Header{
			Name: f.name, Typeflag: f.kind, Linkname: f.link, Mode: f.mode, Uid: f.uid, Size: int64(len(f.body)),
			PAXRecords: f.pax, ModTime: time.Unix(1e9, 0), Format: tar.FormatPAX,
		}
		if f.kind == 0 {
			h.Typeflag = tar.TypeReg
		}
		if f.mode == 0 {
			h.Mode = 0o755
		}
		if f.kind == tar.TypeChar {
			h.Devmajor, h.Devminor = 1, 3
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(f.body)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func gzipped(t testing.TB, data []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func zstded(t testing.TB, data []byte) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	return w.EncodeAll(data, nil)
}

// dockerArchive is what docker save once wrote: one image, its layers as files.
func dockerArchive(t testing.TB, tag string, config v1.Config, layers ...[]byte) []byte {
	t.Helper()
	c := v1.ConfigFile{Architecture: Platform().Architecture, OS: "linux", Config: config, RootFS: v1.RootFS{Type: "layers"}}
	files := []file{}
	one := dockerImage{Config: "config.json", RepoTags: []string{tag}}
	for i, l := range layers {
		plain, err := decompress(bytes.NewReader(l))
		if err != nil {
			t.Fatal(err)
		}
		id, _, err := v1.SHA256(plain)
		if err != nil {
			t.Fatal(err)
		}
		c.RootFS.DiffIDs = append(c.RootFS.DiffIDs, id)
		name := string(rune('a'+i)) + "/layer.tar"
		one.Layers = append(one.Layers, name)
		files = append(files, file{name: name, body: string(l)})
	}
	files = append(files, file{name: "config.json", body: document(t, c)}, file{name: "manifest.json", body: document(t, []dockerImage{one})})
	return archive(t, files...)
}

func document(t testing.TB, v any) string {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func testStore(t testing.TB) Store {
	t.Helper()
	s := NewStore(filepath.Join(t.TempDir(), "store"))
	// The folders of a layer may have modes that t.TempDir cannot remove.
	t.Cleanup(func() {
		if err := removeTree(s.dir); err != nil {
			t.Error(err)
		}
	})
	return s
}

func load(t testing.TB, s Store, data []byte) []Loaded {
	t.Helper()
	out, err := s.Load(bytes.NewReader(data), nil)
	if err != nil {
		t.Fatal(err)
	}
	return out
}
