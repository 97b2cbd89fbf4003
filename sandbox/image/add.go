package image

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// A source gives what an image is made of. Nothing that it gives is believed.
type source struct {
	manifest []byte
	config   []byte
	// layer opens one layer as the manifest describes it.
	layer func(d v1.Descriptor) (io.ReadCloser, error)
	// file, when not nil, is where a layer lies already: a file of the writing's
	// own, below its folder.
	file func(d v1.Descriptor) (string, error)
	// pause waits after a layer did not come, and says whether it is asked for
	// again; nil never does. Tries count from 1.
	pause func(try int) bool
	// resume opens a layer again from an offset on; nil, or a nil reader, where
	// that cannot be done.
	resume func(d v1.Descriptor, from int64) (io.ReadCloser, error)
}

// Progress is told how far a layer is. It may be called by several goroutines.
type Progress func(layer v1.Hash, state State, done, total int64)

// State is what happens to a layer.
type State int

// The states of a layer, in order.
const (
	Fetching State = iota
	Unpacking
	Done
	Present // it was in the store
)

// layersAtOnce is how many layers of an image are fetched and unpacked at the
// same time: docker's default.
const layersAtOnce = 3

// add brings an image into the store: its layers first, its manifest last. It
// has no name and no place in the index yet.
func (w *writing) add(src source, progress Progress) (v1.Descriptor, error) {
	var none v1.Descriptor
	limits := w.s.Limits.withDefaults()
	m, err := v1.ParseManifest(bytes.NewReader(src.manifest))
	if err != nil {
		return none, fmt.Errorf("manifest: %w", err)
	}
	if m.SchemaVersion != 2 || !(m.MediaType.IsImage() || m.MediaType == "") || !m.Config.MediaType.IsConfig() {
		return none, fmt.Errorf("manifest: media types %q, %q are not those of an image", m.MediaType, m.Config.MediaType)
	}
	if got := sum(src.config); m.Config.Digest != got || m.Config.Size != int64(len(src.config)) {
		return none, fmt.Errorf("config: its digest is %s, and the manifest says %s", got, m.Config.Digest)
	}
	config, err := v1.ParseConfigFile(bytes.NewReader(src.config))
	if err != nil {
		return none, fmt.Errorf("config: %w", err)
	}
	if len(config.RootFS.DiffIDs) != len(m.Layers) {
		return none, fmt.Errorf("config: %d diff ids for %d layers", len(config.RootFS.DiffIDs), len(m.Layers))
	}
	for i, d := range m.Layers {
		if !d.MediaType.IsLayer() || !d.MediaType.IsDistributable() {
			return none, fmt.Errorf("layer %d: media type %q is not one of a layer", i+1, d.MediaType)
		}
		if d.Digest.Algorithm != "sha256" || config.RootFS.DiffIDs[i].Algorithm != "sha256" {
			return none, fmt.Errorf("layer %d: only sha256 digests are known", i+1)
		}
	}
	if err := w.addLayers(src, m, config, limits, progress); err != nil {
		return none, err
	}
	for _, data := range [][]byte{src.config, src.manifest} {
		if err := w.document(data); err != nil {
			return none, err
		}
	}
	return v1.Descriptor{MediaType: manifestType(m), Digest: sum(src.manifest), Size: int64(len(src.manifest)), Platform: config.Platform()}, nil
}

// addLayers adds several layers at once, each digest only once.
func (w *writing) addLayers(src source, m *v1.Manifest, config *v1.ConfigFile, limits Limits, progress Progress) error {
	if progress == nil {
		progress = func(v1.Hash, State, int64, int64) {}
	}
	var (
		group sync.WaitGroup
		slots = make(chan struct{}, layersAtOnce)
		errs  = make([]error, len(m.Layers))
		seen  = map[v1.Hash]bool{}
		stop  = make(chan struct{})
		once  sync.Once
	)
	for i, d := range m.Layers {
		if seen[d.Digest] {
			if j := indexOf(m.Layers, d.Digest); config.RootFS.DiffIDs[j] != config.RootFS.DiffIDs[i] {
				return fmt.Errorf("layers %d and %d are the same with different diff ids", j+1, i+1)
			}
			continue
		}
		seen[d.Digest] = true
		group.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			select {
			case <-stop:
				return
			default:
			}
			if err := w.addLayer(src, d, config.RootFS.DiffIDs[i], limits, progress); err != nil {
				errs[i] = fmt.Errorf("layer %d (%s): %w", i+1, Short(d.Digest), err)
				once.Do(func() { close(stop) })
			}
		})
	}
	group.Wait()
	return errors.Join(errs...)
}

func indexOf(layers []v1.Descriptor, digest v1.Hash) int {
	for i, d := range layers {
		if d.Digest == digest {
			return i
		}
	}
	return -1
}

// Short is the beginning of a digest that people read: 12 digits.
func Short(h v1.Hash) string { return h.Hex[:min(12, len(h.Hex))] }

// addLayer makes sure that the store has a layer, both as it came and unpacked.
func (w *writing) addLayer(src source, d v1.Descriptor, diffID v1.Hash, limits Limits, progress Progress) error {
	blob := w.s.blobPath(d.Digest)
	if l, err := w.s.layer(d, diffID); err == nil && l.Contents.owners() == w.s.owners() {
		progress(d.Digest, Present, d.Size, d.Size)
		return nil
	}
	if st, err := os.Stat(blob); err != nil || st.Size() != d.Size {
		if err := w.fetch(src, d, progress); err != nil {
			return err
		}
	}
	// Though another blob may have brought the layer in: only this shows that
	// the config tells the truth about this one.
	progress(d.Digest, Unpacking, d.Size, d.Size)
	if err := w.unpackBlob(blob, d, diffID, limits); err != nil {
		return err
	}
	progress(d.Digest, Done, d.Size, d.Size)
	return nil
}

// unpackBlob unpacks a blob of the store, and compares what it unpacked with
// the diff id before the folder gets its name.
func (w *writing) unpackBlob(blob string, d v1.Descriptor, diffID v1.Hash, limits Limits) error {
	file, err := os.Open(blob)
	if err != nil {
		return err
	}
	defer file.Close()
	plain, err := decompress(file)
	if err != nil {
		return err
	}
	defer plain.Close()
	dir, root, err := w.layerFolder()
	if err != nil {
		return err
	}
	digest := sha256.New()
	limits.Bytes = limits.ofLayer(d.Size)
	stream := bufio.NewReaderSize(io.TeeReader(limit(plain, limits.Bytes, "the unpacked layer"), digest), 256<<10)
	contents, err := w.s.unpack(root, stream, limits)
	if err != nil {
		return err
	}
	if got := hexSum(digest); got != diffID {
		return fmt.Errorf("unpacked it has the digest %s, and the config says %s", got, diffID)
	}
	return w.place(dir, contents, d, diffID)
}

// unpackedFrom is the name of the empty file beside an unpacked layer that says
// that a blob was seen to hold just this layer.
func unpackedFrom(blob v1.Hash) string { return "from-" + blob.Hex }

func sum(data []byte) v1.Hash {
	digest := sha256.Sum256(data)
	return v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(digest[:])}
}

func hexSum(h hash.Hash) v1.Hash {
	return v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(h.Sum(nil))}
}
