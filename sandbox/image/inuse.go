package image

import (
	"fmt"
	"os"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sys/unix"
)

// unused are manifests that nothing names any more. Who holds the locks may
// remove them: a sandbox that is being started waits, and finds them gone.
type unused struct {
	locks  []*os.File
	images []*Image // those that sandboxes run from: they stay
}

// lockUnused locks the small blobs that nothing reaches, the manifests among
// them. A sandbox that runs from an image holds a lock on its manifest (package
// local), so what cannot be locked is one in use.
func (s Store) lockUnused(reached map[string]bool) (*unused, error) {
	entries, err := os.ReadDir(s.path("oci", "blobs", "sha256"))
	if err != nil {
		return nil, err
	}
	u := &unused{}
	for _, e := range entries {
		info, err := e.Info()
		if reached[e.Name()] || err != nil || info.Size() > s.Limits.withDefaults().Document {
			continue
		}
		file, err := os.Open(s.path("oci", "blobs", "sha256", e.Name()))
		if err != nil {
			continue // gone already
		}
		first := make([]byte, 1)
		if _, err := file.Read(first); err != nil || first[0] != '{' {
			file.Close()
			continue // a layer
		}
		err = unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			u.locks = append(u.locks, file)
			continue
		}
		file.Close()
		if err != unix.EWOULDBLOCK {
			u.unlock()
			return nil, &os.PathError{Op: "flock", Path: file.Name(), Err: err}
		}
		image, err := s.image(v1.Descriptor{Digest: v1.Hash{Algorithm: "sha256", Hex: e.Name()}})
		if err != nil {
			u.unlock()
			return nil, fmt.Errorf("%w, and a sandbox runs from it: nothing is removed", err)
		}
		u.images = append(u.images, image)
	}
	return u, nil
}

func (u *unused) unlock() {
	for _, l := range u.locks {
		l.Close()
	}
}

// replaced are the layers below tmp that were unpacked anew, if a sandbox runs
// from any image: it may be from them.
func (s Store) replaced(index *v1.IndexManifest, u *unused) (map[string]bool, error) {
	used := len(u.images) > 0
	for _, d := range index.Manifests {
		if used {
			break
		}
		file, err := os.Open(s.blobPath(d.Digest))
		if err != nil {
			return nil, err
		}
		used = unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil
		file.Close()
	}
	if !used {
		return nil, nil
	}
	entries, err := os.ReadDir(s.path("tmp"))
	kept := map[string]bool{}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), replacedPrefix) {
			kept[e.Name()] = true
		}
	}
	return kept, err
}
