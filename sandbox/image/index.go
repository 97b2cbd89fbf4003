package image

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/sys/unix"
)

// Annotations of a descriptor in index.json.
const (
	refName = "org.opencontainers.image.ref.name" // image-spec, annotations.md
	// pulledDigest is the digest that a registry has under the name: that of
	// the list of platforms, where there is one.
	pulledDigest = "dev.sbx.pulled.digest"
)

// readIndex reads index.json; a store that has none is empty.
func (s Store) readIndex() (*v1.IndexManifest, error) {
	data, err := os.ReadFile(s.path("oci", "index.json"))
	if errors.Is(err, os.ErrNotExist) {
		return &v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: []v1.Descriptor{}}, nil
	}
	if err != nil {
		return nil, err
	}
	index, err := v1.ParseIndexManifest(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.path("oci", "index.json"), err)
	}
	return index, nil
}

// update changes index.json. Another process waits meanwhile, and readers see
// the index before or after.
func (s Store) update(change func(*v1.IndexManifest) error) error {
	if err := s.make(); err != nil {
		return err
	}
	lock, err := s.flock("index.lock", unix.LOCK_EX)
	if err != nil {
		return err
	}
	defer lock.Close()
	index, err := s.readIndex()
	if err != nil {
		return err
	}
	if err := change(index); err != nil {
		return err
	}
	data, err := json.MarshalIndent(index, "", "  ")
	if err != nil {
		return err
	}
	// Not below tmp: a prune that runs may empty that.
	return writeBeside(s.path("oci"), s.path("oci", "index.json"), data)
}

// setName gives a name to an image; the empty name adds it without one. The
// image that had the name keeps its place without one, as with docker, unless
// it has another.
func setName(index *v1.IndexManifest, full string, d v1.Descriptor) {
	if full != "" {
		dropName(index, full)
	}
	index.Manifests = slices.DeleteFunc(index.Manifests, func(other v1.Descriptor) bool {
		return other.Digest == d.Digest && other.Annotations[refName] == ""
	})
	if full == "" && slices.ContainsFunc(index.Manifests, func(other v1.Descriptor) bool { return other.Digest == d.Digest }) {
		return
	}
	annotations := map[string]string{}
	if pulled := d.Annotations[pulledDigest]; pulled != "" {
		annotations[pulledDigest] = pulled
	}
	if full != "" {
		annotations[refName] = full
	}
	d.Annotations = annotations
	index.Manifests = append(index.Manifests, d)
}

// dropName takes a name from the image that has it, and leaves that image
// without one if it was the only.
func dropName(index *v1.IndexManifest, full string) {
	at := slices.IndexFunc(index.Manifests, func(d v1.Descriptor) bool { return d.Annotations[refName] == full })
	if at < 0 {
		return
	}
	d := index.Manifests[at]
	index.Manifests = slices.Delete(index.Manifests, at, at+1)
	if slices.ContainsFunc(index.Manifests, func(o v1.Descriptor) bool { return o.Digest == d.Digest }) {
		return
	}
	setName(index, "", d)
}

// ErrNotFound says that the store has no such image.
var ErrNotFound = errors.New("no such image in the store")

// lookup finds the descriptor that a word of the user's means: a reference, a
// digest, or the beginning of an image's id or digest (4 hexadecimal digits or
// more) that only one image has.
func (s Store) lookup(index *v1.IndexManifest, word string) (v1.Descriptor, error) {
	if ref, err := parseReference(word); err == nil {
		for _, d := range index.Manifests {
			if d.Annotations[refName] == canonical(ref) {
				return d, nil
			}
		}
		if digest, ok := ref.(name.Digest); ok {
			for _, d := range index.Manifests {
				repository, _, _ := SplitReference(d.Annotations[refName])
				of, _, _ := SplitReference(canonical(ref))
				if repository == of && (d.Digest.String() == digest.DigestStr() || d.Annotations[pulledDigest] == digest.DigestStr()) {
					return d, nil
				}
			}
		}
	}
	prefix := strings.TrimPrefix(word, "sha256:")
	if len(prefix) >= 4 && strings.Trim(prefix, "0123456789abcdef") == "" {
		var found []v1.Descriptor
		for _, d := range index.Manifests {
			id := ""
			if m, err := s.manifest(d.Digest); err == nil {
				id = m.Config.Digest.Hex
			}
			same := slices.ContainsFunc(found, func(o v1.Descriptor) bool { return o.Digest == d.Digest })
			if !same && (strings.HasPrefix(id, prefix) || strings.HasPrefix(d.Digest.Hex, prefix)) {
				found = append(found, d)
			}
		}
		if len(found) == 1 {
			return found[0], nil
		}
		if len(found) > 1 {
			return v1.Descriptor{}, fmt.Errorf("%s begins the ids of %d images: give more digits", word, len(found))
		}
	}
	return v1.Descriptor{}, fmt.Errorf("%s: %w", word, ErrNotFound)
}

// manifest reads an image's manifest from the store.
func (s Store) manifest(digest v1.Hash) (*v1.Manifest, error) {
	data, err := s.readBlob(digest)
	if err != nil {
		return nil, err
	}
	return v1.ParseManifest(bytes.NewReader(data))
}

// readBlob reads a small blob, whole and verified.
func (s Store) readBlob(digest v1.Hash) ([]byte, error) {
	data, err := os.ReadFile(s.blobPath(digest))
	if err != nil {
		return nil, err
	}
	if got, _, err := v1.SHA256(bytes.NewReader(data)); err != nil || got != digest {
		return nil, fmt.Errorf("%s does not have the digest that is its name", s.blobPath(digest))
	}
	return data, nil
}
