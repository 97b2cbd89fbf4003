package layer

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Remove removes the layer and lets go of it. It has its new name at once, so
// that what an interrupted removal leaves is no layer any more; Sweep goes on.
func (l *Layer) Remove() error {
	defer l.Close()
	if l.lock == nil {
		return ErrBusy
	}
	random, err := randomName()
	if err != nil {
		return err
	}
	dead := deadPrefix + strings.TrimPrefix(l.Name, ".") + "-" + random
	if err := os.Rename(l.dir, filepath.Join(l.store.dir, dead)); err != nil {
		return err
	}
	return l.store.removeDead(dead)
}

func (s Store) removeDead(name string) error {
	dir, err := os.Open(s.dir)
	if err != nil {
		return err
	}
	defer dir.Close()
	err = RemoveTree(dir, name)
	if s.Foreign != nil && (errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM)) {
		return s.Foreign(s.dir, name)
	}
	return err
}

// RemoveTree removes a file or a folder with all in it, whatever modes and
// depth a hostile program has given it; name is one component of a path. It
// follows no link and enters no other mount. What is not there is no error.
func RemoveTree(dir *os.File, name string) error {
	if err := removeTree(int(dir.Fd()), name); err != nil {
		return &os.PathError{Op: "remove", Path: filepath.Join(dir.Name(), name), Err: err}
	}
	return nil
}

// removeTree removes a folder with all in it. It follows no link and enters no
// other mount. Overlayfs leaves a folder of mode 0 in a work folder, and CMD any
// mode that it likes, so each folder is opened up first. A folder in the tree
// is moved to its top before it is emptied: so no path is long and three
// descriptors are enough, however deep CMD has made it.
func removeTree(parent int, name string) error {
	top, err := openUp(parent, name)
	if err == unix.ENOTDIR || err == unix.ELOOP {
		err = unix.Unlinkat(parent, name, 0)
	} else if err == nil {
		err = emptyTree(top)
		unix.Close(top)
		if err == nil {
			err = unix.Unlinkat(parent, name, unix.AT_REMOVEDIR)
		}
	}
	if err == unix.ENOENT {
		return nil // another one was faster
	}
	return err
}

// openUp opens a folder to be listed and emptied.
func openUp(parent int, name string) (int, error) {
	path, err := unix.Openat2(parent, name, &unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_XDEV,
	})
	if err != nil {
		return -1, err
	}
	defer unix.Close(path)
	var st unix.Stat_t
	if err := unix.Fstat(path, &st); err != nil {
		return -1, err
	}
	if st.Mode&0o700 != 0o700 {
		// chmod(2) through the descriptor: the name could mean something else
		// by now, and fchmodat2(2) is of Linux 6.6.
		if err := unix.Chmod("/proc/self/fd/"+strconv.Itoa(path), 0o700); err != nil {
			return -1, err
		}
	}
	return unix.Openat(path, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
}

func emptyTree(top int) error {
	moved := 0
	for {
		names, err := namesIn(top)
		if err != nil || len(names) == 0 {
			return err
		}
		for _, name := range names {
			err := unix.Unlinkat(top, name, 0)
			if err == unix.EISDIR || err == unix.EPERM {
				if err = emptyFolder(top, name, &moved); err == unix.ENOTDIR {
					err = unix.EPERM // a stranger's file in a folder with the sticky bit
				}
			}
			if err != nil && err != unix.ENOENT {
				return err
			}
		}
	}
}

// emptyFolder removes a folder of the top, whose own folders it moves there.
func emptyFolder(top int, name string, moved *int) error {
	err := unix.Unlinkat(top, name, unix.AT_REMOVEDIR)
	if err == nil || err != unix.ENOTEMPTY && err != unix.EEXIST {
		return err
	}
	dir, err := openUp(top, name)
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	names, err := namesIn(dir)
	if err != nil {
		return err
	}
	for _, n := range names {
		if err := unix.Unlinkat(dir, n, 0); err == nil || err == unix.ENOENT {
			continue
		} else if err != unix.EISDIR && err != unix.EPERM {
			return err
		}
		child, err := openUp(dir, n) // to be moved it must be writable itself
		if err == unix.ENOTDIR {
			err = unix.EPERM
		}
		if err != nil {
			return err
		}
		unix.Close(child)
		for {
			*moved++
			err = unix.Renameat2(dir, n, top, ".sbx-"+strconv.Itoa(*moved), unix.RENAME_NOREPLACE)
			if err != unix.EEXIST {
				break
			}
		}
		if err != nil {
			return err
		}
	}
	return unix.Unlinkat(top, name, unix.AT_REMOVEDIR)
}

// namesIn lists a folder that is open for reading, from its beginning.
func namesIn(fd int) ([]string, error) {
	again, err := unix.Openat(fd, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	dir := os.NewFile(uintptr(again), ".")
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	var perr *os.PathError
	if errors.As(err, &perr) {
		err = perr.Err
	}
	return names, err
}
