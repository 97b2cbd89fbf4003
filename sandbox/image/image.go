package image

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Image is one image of the store.
type Image struct {
	Names    []string // whole references, sorted; none for an image that lost its name
	Digest   v1.Hash  // of the manifest
	Pulled   v1.Hash  // what the registry has under the name; zero when it never was in one
	ID       v1.Hash  // of the config, as docker's image id
	Created  time.Time
	Size     int64 // bytes of the unpacked files
	Manifest *v1.Manifest
	Config   *v1.ConfigFile

	s Store
}

// Layer is one layer of an image.
type Layer struct {
	Blob      v1.Descriptor // as it came: compressed or not
	DiffID    v1.Hash
	Folder    string // where it lies unpacked
	Contents  Contents
	CreatedBy string // from the config's history; empty when that says nothing
}

// List gives the images of the store, the newest first. What is damaged is left
// out, and is in the error: a *DamagedError for each, joined.
func (s Store) List() ([]*Image, error) {
	index, err := s.readIndex()
	if err != nil {
		return nil, err
	}
	return s.images(index, func(v1.Descriptor) bool { return true })
}

// images reads the images of some descriptors of the index.
func (s Store) images(index *v1.IndexManifest, wanted func(v1.Descriptor) bool) ([]*Image, error) {
	var out []*Image
	var errs []error
	damaged := map[v1.Hash]bool{}
	for _, d := range index.Manifests {
		if !wanted(d) || damaged[d.Digest] {
			continue
		}
		at := slices.IndexFunc(out, func(i *Image) bool { return i.Digest == d.Digest })
		if at < 0 {
			image, err := s.image(d)
			if err != nil {
				damaged[d.Digest] = true
				errs = append(errs, err)
				continue
			}
			out = append(out, image)
			at = len(out) - 1
		}
		image := out[at]
		if full := d.Annotations[refName]; full != "" {
			image.Names = append(image.Names, full)
			slices.Sort(image.Names)
		}
		if pulled, err := v1.NewHash(d.Annotations[pulledDigest]); err == nil {
			image.Pulled = pulled
		}
	}
	slices.SortStableFunc(out, func(a, b *Image) int { return b.Created.Compare(a.Created) })
	return out, errors.Join(errs...)
}

// DamagedError is an image of which a part is missing or is not what its digest
// says. Removing it mends the store.
type DamagedError struct {
	Name   string // a familiar reference, or its digest
	Reason error
}

func (e *DamagedError) Error() string { return "image " + e.Name + " is damaged: " + e.Reason.Error() }
func (e *DamagedError) Unwrap() error { return e.Reason }

// Find gives the image that a word means: a reference, a digest, or the
// beginning of an id. The error is ErrNotFound where there is none.
func (s Store) Find(word string) (*Image, error) {
	index, err := s.readIndex()
	if err != nil {
		return nil, err
	}
	d, err := s.lookup(index, word)
	if err != nil {
		return nil, err
	}
	images, err := s.images(index, func(o v1.Descriptor) bool { return o.Digest == d.Digest })
	if err != nil {
		return nil, err
	}
	return images[0], nil
}

func (s Store) image(d v1.Descriptor) (*Image, error) {
	image, err := s.read(d)
	if err != nil {
		return nil, &DamagedError{Name: cmp.Or(Familiar(d.Annotations[refName]), d.Digest.String()), Reason: err}
	}
	return image, nil
}

func (s Store) read(d v1.Descriptor) (*Image, error) {
	m, err := s.manifest(d.Digest)
	if err != nil {
		return nil, err
	}
	data, err := s.readBlob(m.Config.Digest)
	if err != nil {
		return nil, err
	}
	config, err := v1.ParseConfigFile(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	image := &Image{s: s, Digest: d.Digest, ID: m.Config.Digest, Created: config.Created.Time, Manifest: m, Config: config}
	if len(m.Layers) != len(config.RootFS.DiffIDs) {
		return nil, fmt.Errorf("%d diff ids for %d layers", len(config.RootFS.DiffIDs), len(m.Layers))
	}
	for _, id := range config.RootFS.DiffIDs {
		contents, err := s.contents(id)
		if err != nil {
			return nil, err
		}
		image.Size += contents.Bytes
	}
	return image, nil
}

func (s Store) contents(diffID v1.Hash) (Contents, error) {
	var c Contents
	data, err := os.ReadFile(s.layerPath(diffID, "layer.json"))
	if err != nil {
		return c, err
	}
	return c, json.Unmarshal(data, &c)
}

// Layers gives the layers, the lowest first.
func (i *Image) Layers() ([]Layer, error) {
	var made []v1.History // the steps that made a layer
	for _, h := range i.Config.History {
		if !h.EmptyLayer {
			made = append(made, h)
		}
	}
	var out []Layer
	for n, id := range i.Config.RootFS.DiffIDs {
		contents, err := i.s.contents(id)
		if err != nil {
			return nil, err
		}
		l := Layer{Blob: i.Manifest.Layers[n], DiffID: id, Folder: i.s.layerPath(id, "root"), Contents: contents}
		if len(made) == len(i.Config.RootFS.DiffIDs) {
			l.CreatedBy = made[n].CreatedBy
		}
		out = append(out, l)
	}
	return out, nil
}

// OpenLayer opens the archive of a layer, uncompressed.
func (i *Image) OpenLayer(n int) (io.ReadCloser, error) {
	file, err := os.Open(i.s.blobPath(i.Manifest.Layers[n].Digest))
	if err != nil {
		return nil, err
	}
	plain, err := decompress(file)
	if err != nil {
		file.Close()
		return nil, err
	}
	return &both{plain, file}, nil
}

// both closes what reads and what it reads from.
type both struct {
	io.ReadCloser
	under io.Closer
}

func (b *both) Close() error {
	err := b.ReadCloser.Close()
	return cmp.Or(b.under.Close(), err)
}

// RawConfig is the config as it came.
func (i *Image) RawConfig() ([]byte, error) { return i.s.readBlob(i.ID) }

// stored shows an image of the store to go-containerregistry.
type stored struct{ *Image }

func (s stored) RawManifest() ([]byte, error)   { return s.s.readBlob(s.Image.Digest) }
func (s stored) RawConfigFile() ([]byte, error) { return s.s.readBlob(s.ID) }

func (s stored) MediaType() (types.MediaType, error) { return manifestType(s.Image.Manifest), nil }

func (s stored) LayerByDigest(h v1.Hash) (partial.CompressedLayer, error) {
	for _, d := range append([]v1.Descriptor{s.Image.Manifest.Config}, s.Image.Manifest.Layers...) {
		if d.Digest == h {
			return storedBlob{s.s, d}, nil
		}
	}
	return nil, fmt.Errorf("no layer %s", h)
}

// manifestType is a manifest's media type: OCI lets it out.
func manifestType(m *v1.Manifest) types.MediaType {
	return cmp.Or(m.MediaType, types.OCIManifestSchema1)
}

// storedBlob is one of its layers, or its config.
type storedBlob struct {
	s Store
	d v1.Descriptor
}

func (b storedBlob) Digest() (v1.Hash, error)            { return b.d.Digest, nil }
func (b storedBlob) Size() (int64, error)                { return b.d.Size, nil }
func (b storedBlob) MediaType() (types.MediaType, error) { return b.d.MediaType, nil }
func (b storedBlob) Compressed() (io.ReadCloser, error)  { return os.Open(b.s.blobPath(b.d.Digest)) }
