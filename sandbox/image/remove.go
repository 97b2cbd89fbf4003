package image

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sys/unix"
)

// Tag gives an image another name.
func (s Store) Tag(word, name string) error {
	full, err := Canonical(name)
	if err != nil {
		return err
	}
	if _, _, digest := SplitReference(full); digest != "" {
		return fmt.Errorf("%s: a name has a tag; the digest is the image's own", name)
	}
	return s.update(func(index *v1.IndexManifest) error {
		d, err := s.lookup(index, word)
		if err == nil {
			setName(index, full, d)
		}
		return err
	})
}

// Removed is what Remove did: names that were taken away, and the image if that
// was the last.
type Removed struct {
	Untagged []string // familiar references
	Deleted  v1.Hash  // the image's id; zero while another name is left
}

// Remove takes a name from an image, or the image away with its last name. An
// id with several names needs force. The files go with Prune.
func (s Store) Remove(word string, force bool) (Removed, error) {
	var done Removed
	err := s.update(func(index *v1.IndexManifest) error {
		d, err := s.lookup(index, word)
		if err != nil {
			return err
		}
		same := func(o v1.Descriptor) bool { return o.Digest == d.Digest }
		byName := false
		if full, err := Canonical(word); err == nil {
			byName = d.Annotations[refName] == full
		}
		var names []string
		for _, o := range index.Manifests {
			if full := o.Annotations[refName]; same(o) && full != "" {
				names = append(names, Familiar(full))
			}
		}
		if byName && len(names) > 1 {
			dropName(index, d.Annotations[refName])
			done.Untagged = []string{Familiar(d.Annotations[refName])}
			return nil
		}
		if len(names) > 1 && !force {
			return fmt.Errorf("%s has %d names (%s): remove those, or force it", word, len(names), names)
		}
		if m, err := s.manifest(d.Digest); err == nil {
			done.Deleted = m.Config.Digest
		} else {
			done.Deleted = d.Digest // damaged: removing it is what mends the store
		}
		done.Untagged = names
		index.Manifests = slices.DeleteFunc(index.Manifests, same)
		return nil
	})
	return done, err
}

// Pruned is what Prune removed.
type Pruned struct {
	Images []v1.Hash // ids of images that had no name
	Layers int       // unpacked layers that no image holds
	Bytes  int64     // that its files had
}

// Pruning says what Prune removes beside what nothing needs.
type Pruning struct {
	Unnamed    bool // images without a name
	All        bool // every image, and the build cache
	BuildCache bool // the layers of build steps that no image holds
}

// Prune removes what it is asked to, and whatever no image and no step of the
// build cache needs: layers, blobs, and what interrupted processes left. It
// waits for no one: ErrBusy says that another process adds an image.
func (s Store) Prune(what Pruning) (Pruned, error) {
	var done Pruned
	if _, err := os.Stat(s.dir); errors.Is(err, os.ErrNotExist) {
		return done, nil
	}
	if err := s.make(); err != nil {
		return done, err
	}
	lock, err := s.flock("lock", unix.LOCK_EX|unix.LOCK_NB)
	if err != nil {
		return done, err
	}
	defer lock.Close()
	if what.Unnamed || what.All {
		err := s.update(func(index *v1.IndexManifest) error {
			index.Manifests = slices.DeleteFunc(index.Manifests, func(d v1.Descriptor) bool {
				if d.Annotations[refName] != "" && !what.All {
					return false
				}
				if m, err := s.manifest(d.Digest); err == nil && !slices.Contains(done.Images, m.Config.Digest) {
					done.Images = append(done.Images, m.Config.Digest)
				}
				return true
			})
			return nil
		})
		if err != nil {
			return done, err
		}
	}
	return done, s.sweep(&done, what.All || what.BuildCache)
}

// sweep removes what neither the index nor the build cache reaches. The caller
// holds the lock alone.
func (s Store) sweep(done *Pruned, emptyCache bool) error {
	index, err := s.readIndex()
	if err != nil {
		return err
	}
	blobs, layers := map[string]bool{}, map[string]bool{}
	for _, d := range index.Manifests {
		image, err := s.image(d)
		if err != nil {
			// Without its manifest nobody knows what it needs.
			return fmt.Errorf("%w: nothing is removed before sbx image rm has removed it", err)
		}
		image.reach(blobs, layers)
	}
	inUse, err := s.lockUnused(blobs)
	if err != nil {
		return err
	}
	defer inUse.unlock()
	for _, image := range inUse.images {
		image.reach(blobs, layers)
	}
	replaced, err := s.replaced(index, inUse)
	if err != nil {
		return err
	}
	errs := []error{s.sweepCache(emptyCache, blobs, layers)}
	remove := func(dir string, kept map[string]bool, found func()) {
		entries, err := os.ReadDir(dir)
		errs = append(errs, err)
		for _, e := range entries {
			if kept[e.Name()] {
				continue
			}
			name := filepath.Join(dir, e.Name())
			done.Bytes += diskSize(name)
			// It loses its name at once, so that half of a layer is never
			// taken for a layer.
			dead := s.path("tmp", "dead-"+rand.Text())
			err := os.Rename(name, dead)
			if err == nil {
				err = s.removeTree(dead)
			}
			errs = append(errs, err)
			found()
		}
	}
	remove(s.path("layers"), layers, func() { done.Layers++ })
	remove(s.path("oci", "blobs", "sha256"), blobs, func() {})
	remove(s.path("tmp"), replaced, func() {})
	if _, err := os.Stat(s.path("mounts")); err == nil && emptyCache {
		remove(s.path("mounts"), nil, func() {})
	}
	// A new index that never got its name; under its lock, since another
	// process may be writing one.
	lock, err := s.flock("index.lock", unix.LOCK_EX)
	if err != nil {
		return errors.Join(append(errs, err)...)
	}
	defer lock.Close()
	strays, _ := filepath.Glob(s.path("oci", "file-*")) // the pattern is well-formed
	for _, name := range strays {
		errs = append(errs, os.Remove(name))
	}
	return errors.Join(errs...)
}

// reach notes what an image needs: the hexadecimal digits of its blobs and of
// its layers' diff ids.
func (i *Image) reach(blobs, layers map[string]bool) {
	blobs[i.Digest.Hex], blobs[i.ID.Hex] = true, true
	for n, l := range i.Manifest.Layers {
		blobs[l.Digest.Hex] = true
		layers[i.Config.RootFS.DiffIDs[n].Hex] = true
	}
}

// diskSize is the size of all files below a name, in bytes. What cannot be read
// counts nothing.
func diskSize(name string) int64 {
	var total int64
	_ = filepath.WalkDir(name, func(_ string, e fs.DirEntry, err error) error {
		if err != nil {
			return fs.SkipDir
		}
		if info, err := e.Info(); err == nil && info.Mode().IsRegular() {
			total += info.Size()
		}
		return nil
	})
	return total
}
