package image

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// CachedStep is what one instruction of a build made: cache/KEY.json. Who
// builds chooses the key so that the same one means the same result.
type CachedStep struct {
	// Layer is what it added; nil for an instruction that adds none.
	Layer *Layer
	// Note is the builder's own, kept as it is.
	Note json.RawMessage
	// Made is when it was remembered.
	Made time.Time
}

// cachedStep is a CachedStep on the disk.
type cachedStep struct {
	Version int             `json:"version"` // 1
	Blob    *v1.Descriptor  `json:"blob,omitempty"`
	DiffID  *v1.Hash        `json:"diff_id,omitempty"`
	Note    json.RawMessage `json:"note,omitempty"`
	Made    time.Time       `json:"made"`
}

func (s Store) cachePath(key string) (string, error) {
	if len(key) < 16 || len(key) > 128 || strings.Trim(key, "0123456789abcdef") != "" {
		return "", fmt.Errorf("%q is no key of the build cache: hexadecimal digits, 16 to 128", key)
	}
	return s.path("cache", key+".json"), nil
}

// Cached finds what was remembered under a key, if its layer is in the store.
// Only who holds an Addition can rely on the layer from then on: else a Prune
// may take it away.
func (s Store) Cached(key string) (CachedStep, bool) {
	name, err := s.cachePath(key)
	if err != nil {
		return CachedStep{}, false
	}
	record, err := readCached(name)
	if err != nil {
		return CachedStep{}, false
	}
	step := CachedStep{Note: record.Note, Made: record.Made}
	if record.Blob == nil {
		return step, true
	}
	layer, err := s.layer(*record.Blob, *record.DiffID)
	if err != nil || layer.Contents.owners() != s.owners() {
		return CachedStep{}, false
	}
	step.Layer = &layer
	return step, true
}

// Remember keeps what an instruction made for the next build. Prune spares its
// layer then, unless it is told to empty the cache.
func (a *Addition) Remember(key string, step CachedStep) error {
	name, err := a.w.s.cachePath(key)
	if err != nil {
		return err
	}
	record := cachedStep{Version: 1, Note: step.Note, Made: time.Now().UTC()}
	if step.Layer != nil {
		record.Blob, record.DiffID = &step.Layer.Blob, &step.Layer.DiffID
	}
	data, err := json.Marshal(record)
	if err != nil {
		return err
	}
	if err := os.Mkdir(a.w.s.path("cache"), 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return writeBeside(a.w.dir, name, data)
}

func readCached(name string) (cachedStep, error) {
	var record cachedStep
	data, err := os.ReadFile(name)
	if err != nil {
		return record, err
	}
	if err := json.Unmarshal(data, &record); err != nil {
		return record, err
	}
	if record.Version != 1 || (record.Blob == nil) != (record.DiffID == nil) {
		return record, errors.New(name + ": was written by another version of sbx")
	}
	return record, nil
}

// sweepCache goes through the cache: the layers of its steps are kept, and
// steps whose layer is gone, or all with empty, are removed.
func (s Store) sweepCache(empty bool, blobs, layers map[string]bool) error {
	entries, err := os.ReadDir(s.path("cache"))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	errs := []error{err}
	for _, e := range entries {
		name := s.path("cache", e.Name())
		record, err := readCached(name)
		if err == nil && !empty {
			if record.Blob == nil {
				continue
			}
			if _, err = s.layer(*record.Blob, *record.DiffID); err == nil {
				blobs[record.Blob.Digest.Hex], layers[record.DiffID.Hex] = true, true
				continue
			}
		}
		errs = append(errs, os.Remove(name))
	}
	return errors.Join(errs...)
}

// layer finds a layer that the store holds both as it came and unpacked.
func (s Store) layer(blob v1.Descriptor, diffID v1.Hash) (Layer, error) {
	if st, err := os.Stat(s.blobPath(blob.Digest)); err != nil {
		return Layer{}, err
	} else if st.Size() != blob.Size {
		return Layer{}, fmt.Errorf("%s has %d bytes, and not %d", s.blobPath(blob.Digest), st.Size(), blob.Size)
	}
	if _, err := os.Stat(s.layerPath(diffID, unpackedFrom(blob.Digest))); err != nil {
		return Layer{}, err
	}
	contents, err := s.contents(diffID)
	return Layer{Blob: blob, DiffID: diffID, Folder: s.layerPath(diffID, "root"), Contents: contents}, err
}
