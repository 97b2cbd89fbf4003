package image

import (
	"bufio"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/gzip"
	"golang.org/x/sys/unix"
)

// Addition adds layers and images that are made here. While it is open no Prune
// takes a layer away. Its methods may be called by several goroutines.
type Addition struct{ w *writing }

// Begin opens an Addition. Close it.
func (s Store) Begin() (*Addition, error) {
	w, err := s.begin()
	if err != nil {
		return nil, err
	}
	return &Addition{w}, nil
}

// Close removes what was half made and lets go of the store. Layers that are in
// no image by then and in no CachedStep go with the next Prune.
func (a *Addition) Close() error { return a.w.end() }

// Dir is an empty folder of the Addition's own, on the store's file system, for
// what the caller wants to go with Close.
func (a *Addition) Dir() (string, error) { return os.MkdirTemp(a.w.dir, "scratch-") }

// AddArchive adds a layer: an archive that is not compressed. The same archive
// makes the same blob.
func (a *Addition) AddArchive(archive io.Reader) (Layer, error) {
	limits := a.w.s.Limits.withDefaults()
	limits.Ratio = math.MaxInt64 // nothing came compressed
	dir, root, err := a.w.layerFolder()
	if err != nil {
		return Layer{}, err
	}
	blob, err := newBlobWriter(a.w.dir)
	if err != nil {
		return Layer{}, err
	}
	defer blob.discard()
	diff := sha256.New()
	stream := bufio.NewReaderSize(io.TeeReader(limit(archive, limits.Bytes, "the layer"), io.MultiWriter(diff, blob)), 256<<10)
	contents, err := a.w.s.unpack(root, stream, limits)
	d, closeErr := blob.close()
	if err == nil {
		err = closeErr // else it is the same, or of no use
	}
	if err != nil {
		return Layer{}, err
	}
	if err := os.Rename(blob.file.Name(), a.w.s.blobPath(d.Digest)); err != nil {
		return Layer{}, err
	}
	id := hexSum(diff)
	if err := a.w.place(dir, contents, d, id); err != nil {
		return Layer{}, err
	}
	return a.w.s.layer(d, id)
}

// AddUpper adds one layer with what was written to upper folders that lay over
// the layers below (the lowest first). Where nothing was written there is no
// layer, and empty is true. With SOURCE_DATE_EPOCH in the environment no time
// in it is later, so that the same steps make the same digest.
func (a *Addition) AddUpper(below []Layer, uppers ...Upper) (l Layer, empty bool, err error) {
	r, w := io.Pipe()
	done := make(chan error, 1)
	go func() {
		err := a.w.s.archive(w, uppers, below)
		w.CloseWithError(err)
		done <- err
	}()
	buffered := bufio.NewReaderSize(r, 256<<10)
	// The archive of nothing is 1024 bytes of zeros.
	if head, err := buffered.Peek(1025); err != nil {
		r.Close()
		return l, err == io.EOF && len(head) == 1024, <-done
	}
	l, err = a.AddArchive(buffered)
	r.CloseWithError(errors.New("the layer was not added")) // lets the goroutine go where AddArchive gave up
	if written := <-done; err == nil {
		err = written
	}
	return l, false, err
}

// Finish makes an image of layers that are in the store, the lowest first, and
// gives it names; none leaves it without one. It completes the config: diff
// ids, platform and time of creation, where those are not set. The id is that
// of the config.
func (a *Addition) Finish(config *v1.ConfigFile, layers []Layer, names []string) (v1.Hash, error) {
	var none v1.Hash
	var full []string
	for _, name := range names {
		one, err := Canonical(name)
		if err != nil {
			return none, err
		}
		if _, _, digest := SplitReference(one); digest != "" {
			return none, fmt.Errorf("%s: a name has a tag; the digest is the image's own", name)
		}
		full = append(full, one)
	}
	c := config.DeepCopy()
	manifest := v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1, Layers: []v1.Descriptor{}}
	c.RootFS = v1.RootFS{Type: "layers", DiffIDs: []v1.Hash{}}
	for _, l := range layers {
		if _, err := a.w.s.layer(l.Blob, l.DiffID); err != nil {
			return none, fmt.Errorf("layer %s: %w", Short(l.DiffID), err)
		}
		manifest.Layers = append(manifest.Layers, l.Blob)
		c.RootFS.DiffIDs = append(c.RootFS.DiffIDs, l.DiffID)
	}
	made := 0
	for _, h := range c.History {
		if !h.EmptyLayer {
			made++
		}
	}
	if len(c.History) > 0 && made != len(layers) {
		return none, fmt.Errorf("the history tells of %d layers, and there are %d", made, len(layers))
	}
	platform := Platform()
	if c.Architecture == "" {
		c.Architecture = platform.Architecture
	}
	if c.OS == "" {
		c.OS = platform.OS
	}
	if c.Created.IsZero() {
		c.Created = v1.Time{Time: Now()}
	}
	raw, err := json.Marshal(c)
	if err != nil {
		return none, err
	}
	manifest.Config = v1.Descriptor{MediaType: types.OCIConfigJSON, Digest: sum(raw), Size: int64(len(raw))}
	data, err := json.Marshal(manifest)
	if err != nil {
		return none, err
	}
	for _, blob := range [][]byte{raw, data} {
		if err := a.w.document(blob); err != nil {
			return none, err
		}
	}
	d := v1.Descriptor{MediaType: types.OCIManifestSchema1, Digest: sum(data), Size: int64(len(data)), Platform: c.Platform()}
	return sum(raw), a.w.s.update(func(index *v1.IndexManifest) error {
		for _, name := range full {
			setName(index, name, d)
		}
		if len(full) == 0 {
			setName(index, "", d)
		}
		return nil
	})
}

// blobWriter compresses what is written to it beside the one who writes.
type blobWriter struct {
	*io.PipeWriter
	file   *os.File
	result chan error
	blob   v1.Descriptor
}

func newBlobWriter(dir string) (*blobWriter, error) {
	file, err := os.CreateTemp(dir, "blob-")
	if err != nil {
		return nil, err
	}
	r, w := io.Pipe()
	b := &blobWriter{PipeWriter: w, file: file, result: make(chan error, 1)}
	go func() {
		digest, size := sha256.New(), &counter{tell: func(int64) {}}
		// No name and no time in its header: the same layer, the same blob.
		z := gzip.NewWriter(io.MultiWriter(file, digest, size))
		_, err := io.Copy(z, r)
		if closeErr := z.Close(); err == nil {
			err = closeErr // after an error it says the same again
		}
		r.CloseWithError(err)
		b.blob = v1.Descriptor{MediaType: types.OCILayer, Digest: hexSum(digest), Size: size.n}
		b.result <- err
	}()
	return b, nil
}

// close waits for what was written.
func (b *blobWriter) close() (v1.Descriptor, error) {
	b.PipeWriter.Close()
	return b.blob, errors.Join(<-b.result, b.file.Close())
}

// discard removes the file unless it has another name by now.
func (b *blobWriter) discard() { _ = os.Remove(b.file.Name()) }

// layerFolder makes the folder in which a layer is unpacked.
func (w *writing) layerFolder() (dir, root string, err error) {
	if dir, err = os.MkdirTemp(w.dir, "layer-"); err != nil {
		return "", "", err
	}
	root = filepath.Join(dir, "root")
	return dir, root, os.Mkdir(root, 0o755)
}

// place gives an unpacked layer its name.
func (w *writing) place(dir string, contents Contents, d v1.Descriptor, diffID v1.Hash) error {
	data, err := json.Marshal(contents)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "layer.json"), data, 0o600); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, unpackedFrom(d.Digest)), nil, 0o600); err != nil {
		return err
	}
	if contents.Owners == OwnersReal {
		if err := os.WriteFile(filepath.Join(dir, "owners"), nil, 0o600); err != nil {
			return err
		}
	}
	err = os.Rename(dir, w.s.layerPath(diffID))
	if !errors.Is(err, os.ErrExist) {
		return err
	}
	if there, err := w.s.contents(diffID); err == nil && there.owners() != contents.owners() {
		return w.exchange(dir, diffID)
	}
	// Another process was faster, or another blob holds the same; end removes
	// what was unpacked here.
	return os.WriteFile(w.s.layerPath(diffID, unpackedFrom(d.Digest)), nil, 0o600)
}

// exchange puts a layer in the place of the one that has its owners in the other
// way. A sandbox may run on that one, so it goes with a Prune that finds none.
func (w *writing) exchange(dir string, diffID v1.Hash) error {
	if err := unix.Renameat2(unix.AT_FDCWD, dir, unix.AT_FDCWD, w.s.layerPath(diffID), unix.RENAME_EXCHANGE); err != nil {
		return &os.LinkError{Op: "renameat2", Old: dir, New: w.s.layerPath(diffID), Err: err}
	}
	return os.Rename(dir, w.s.path("tmp", replacedPrefix+rand.Text()))
}

// replacedPrefix begins the names of layers below tmp that were unpacked anew.
const replacedPrefix = "old-"
