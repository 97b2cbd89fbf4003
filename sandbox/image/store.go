package image

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox/image/local"
)

// Store is a folder that holds images. The zero Store holds none.
type Store struct {
	dir string

	// Limits are for the layers that enter; the zero value means DefaultLimits.
	Limits Limits

	// Worker, when not nil, does in a process of its own what needs more ids
	// than the caller's: layers then have their files' real owners. Nil means
	// that all is the caller's, and owners are recorded.
	Worker Worker
}

// DefaultStore is $XDG_DATA_HOME/sbx, or .local/share/sbx in HOME. It need not
// exist.
func DefaultStore() (Store, error) {
	dir, err := local.DefaultDir()
	if err != nil {
		return Store{}, err
	}
	return NewStore(dir), nil
}

// NewStore is the store in a folder, which need not exist.
func NewStore(dir string) Store { return Store{dir: filepath.Clean(dir)} }

// Dir is the store's folder.
func (s Store) Dir() string { return s.dir }

// Platform is the one whose images this machine runs.
func Platform() v1.Platform { return v1.Platform{OS: "linux", Architecture: runtime.GOARCH} }

func (s Store) path(elem ...string) string {
	return filepath.Join(append([]string{s.dir}, elem...)...)
}

func (s Store) blobPath(h v1.Hash) string { return s.path("oci", "blobs", h.Algorithm, h.Hex) }

func (s Store) layerPath(diffID v1.Hash, elem ...string) string {
	return s.path(append([]string{"layers", diffID.Hex}, elem...)...)
}

// make makes the store's folders. It refuses a folder that others can write,
// since what they put there would run as the caller.
func (s Store) make() error {
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Stat(s.dir, &st); err != nil {
		return &os.PathError{Op: "stat", Path: s.dir, Err: err}
	}
	if int(st.Uid) != os.Getuid() || st.Mode&0o022 != 0 {
		return fmt.Errorf("%s can be written by others (uid %d, mode %o): images are not kept there", s.dir, st.Uid, st.Mode&0o7777)
	}
	// The folders are the caller's alone: a layer may hold programs that were
	// setuid root, and files that only root was to read.
	for _, dir := range []string{"oci/blobs/sha256", "layers", "tmp"} {
		if err := os.MkdirAll(s.path(dir), 0o700); err != nil {
			return err
		}
	}
	return nil
}

// writeBeside writes a file in dir and renames it to name, so that a reader
// sees the old one or the new one.
func writeBeside(dir, name string, data []byte) error {
	file, err := os.CreateTemp(dir, "file-")
	if err != nil {
		return err
	}
	defer os.Remove(file.Name())
	defer file.Close()
	if _, err := file.Write(data); err != nil {
		return err
	}
	if err := file.Sync(); err != nil {
		return err
	}
	return os.Rename(file.Name(), name)
}

// ErrBusy says that another process writes to the store.
var ErrBusy = errors.New("the store is in use by another process")

// flock opens the named file of the store and takes the lock; unix.LOCK_NB in
// how makes it ErrBusy where another process holds it.
func (s Store) flock(name string, how int) (*os.File, error) {
	file, err := os.OpenFile(s.path(name), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		err = unix.Flock(int(file.Fd()), how)
		if err != unix.EINTR {
			break
		}
	}
	if err == nil {
		return file, nil
	}
	file.Close()
	if err == unix.EWOULDBLOCK {
		return nil, ErrBusy
	}
	return nil, &os.PathError{Op: "flock", Path: file.Name(), Err: err}
}

// A writing is one addition to the store: it keeps Prune away, and has a folder
// of its own below tmp.
type writing struct {
	s    Store
	lock *os.File
	dir  string
}

func (s Store) begin() (*writing, error) {
	if err := s.make(); err != nil {
		return nil, err
	}
	lock, err := s.flock("lock", unix.LOCK_SH)
	if err != nil {
		return nil, err
	}
	w := &writing{s: s, lock: lock, dir: s.path("tmp", "write-"+rand.Text())}
	err = os.Mkdir(w.dir, 0o700)
	layout := s.path("oci", "oci-layout")
	if _, missing := os.Stat(layout); err == nil && missing != nil {
		err = writeBeside(w.dir, layout, []byte(`{"imageLayoutVersion":"1.0.0"}`))
	}
	if err != nil {
		lock.Close()
		return nil, err
	}
	return w, nil
}

// document writes a manifest or a config. One that is there stays, the very
// file: a sandbox that runs from an image holds a lock on its manifest. Only a
// damaged one is replaced.
func (w *writing) document(data []byte) error {
	name := w.s.blobPath(sum(data))
	if _, err := w.s.readBlob(sum(data)); err == nil {
		return nil
	}
	file, err := os.CreateTemp(w.dir, "document-")
	if err != nil {
		return err
	}
	defer file.Close()
	if _, err = file.Write(data); err == nil {
		err = file.Sync()
	}
	if err == nil {
		err = os.Link(file.Name(), name)
	}
	if errors.Is(err, os.ErrExist) {
		if _, damaged := w.s.readBlob(sum(data)); damaged == nil {
			return nil // another process was faster
		}
		err = os.Rename(file.Name(), name)
	}
	return err
}

// end removes what the writing left and lets go of the store.
func (w *writing) end() error {
	defer w.lock.Close()
	return w.s.removeTree(w.dir)
}
