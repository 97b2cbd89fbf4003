package image

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"slices"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Save writes the images that the words mean as one archive that is both: an
// OCI archive, and a docker-archive whose manifest.json names the same blobs. So
// docker, podman and Load read it, and the digests are the ones of the store.
// Words that are references are the names in it; an id brings all of its names.
func (s Store) Save(to io.Writer, words []string) error {
	w, err := s.begin() // no prune meanwhile
	if err != nil {
		return err
	}
	defer w.end()
	index := v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: []v1.Descriptor{}}
	docker, blobs, err := s.gather(words, &index)
	if err != nil {
		return err
	}
	out := tar.NewWriter(to)
	documents := map[string]any{"oci-layout": map[string]string{"imageLayoutVersion": "1.0.0"}, "index.json": index, "manifest.json": docker}
	for _, name := range slices.Sorted(maps.Keys(documents)) {
		data, err := json.Marshal(documents[name])
		if err != nil {
			return err
		}
		if err := writeMember(out, name, int64(len(data)), bytes.NewReader(data)); err != nil {
			return err
		}
	}
	// Without entries for the folders skopeo 1.9 makes them itself, and asks for
	// root to own them.
	for _, dir := range []string{"blobs/", "blobs/sha256/"} {
		if err := out.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir, Mode: 0o755, ModTime: time.Unix(0, 0)}); err != nil {
			return err
		}
	}
	for _, digest := range slices.SortedFunc(maps.Keys(blobs), func(a, b v1.Hash) int { return bytes.Compare([]byte(a.Hex), []byte(b.Hex)) }) {
		if err := s.saveBlob(out, digest, blobs[digest]); err != nil {
			return err
		}
	}
	return out.Close()
}

// gather makes the documents of an archive, and the list of blobs with their
// sizes.
func (s Store) gather(words []string, index *v1.IndexManifest) ([]dockerImage, map[v1.Hash]int64, error) {
	var docker []dockerImage
	blobs := map[v1.Hash]int64{}
	for _, word := range words {
		image, err := s.Find(word)
		if err != nil {
			return nil, nil, err
		}
		names := image.Names
		if full, err := Canonical(word); err == nil && slices.Contains(names, full) {
			names = []string{full}
		}
		manifest, err := s.readBlob(image.Digest)
		if err != nil {
			return nil, nil, err
		}
		one := dockerImage{Config: blobMember(image.ID), RepoTags: []string{}}
		for _, l := range image.Manifest.Layers {
			one.Layers = append(one.Layers, blobMember(l.Digest))
			blobs[l.Digest] = l.Size
		}
		d := v1.Descriptor{MediaType: manifestType(image.Manifest), Digest: image.Digest, Size: int64(len(manifest)), Platform: image.Config.Platform()}
		for _, full := range names {
			if _, tag, digest := SplitReference(full); digest == "" {
				one.RepoTags = append(one.RepoTags, full)
				named := d
				named.Annotations = map[string]string{"io.containerd.image.name": full, refName: tag}
				index.Manifests = append(index.Manifests, named)
			}
		}
		if len(one.RepoTags) == 0 {
			index.Manifests = append(index.Manifests, d)
		}
		docker = append(docker, one)
		blobs[image.Digest], blobs[image.ID] = int64(len(manifest)), image.Manifest.Config.Size
	}
	return docker, blobs, nil
}

// saveBlob copies a blob, and notices when it is not what its name says.
func (s Store) saveBlob(out *tar.Writer, digest v1.Hash, size int64) error {
	file, err := os.Open(s.blobPath(digest))
	if err != nil {
		return err
	}
	defer file.Close()
	reader, writer := io.Pipe()
	got := make(chan v1.Hash, 1)
	go func() {
		h, _, _ := v1.SHA256(reader) // what the pipe says is said by the copy as well
		got <- h
	}()
	err = writeMember(out, blobMember(digest), size, io.TeeReader(file, writer))
	writer.Close()
	if h := <-got; err == nil && h != digest {
		err = fmt.Errorf("%s has the digest %s: the store is damaged", file.Name(), h)
	}
	return err
}

// writeMember writes one file. Its time is 1970, so that the same images make
// the same archive.
func writeMember(out *tar.Writer, name string, size int64, data io.Reader) error {
	h := &tar.Header{Typeflag: tar.TypeReg, Name: path.Clean(name), Size: size, Mode: 0o644, ModTime: time.Unix(0, 0)}
	if err := out.WriteHeader(h); err != nil {
		return err
	}
	n, err := io.Copy(out, data)
	if err == nil && n != size {
		err = fmt.Errorf("%s: %d bytes in place of %d", name, n, size)
	}
	return err
}
