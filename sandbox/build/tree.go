package build

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox/stack"
)

// tree is something that files are copied from: the context, a stage, an image,
// the host's programs. Paths are absolute below its own root. Only resolve
// follows links, and none leads out.
type tree interface {
	lstat(p string) (info, error)
	readDir(p string) ([]info, error) // sorted by name
	readlink(p string) (string, error)
	open(p string) (*os.File, error) // a regular file
}

// info is what a tree has under a name.
type info struct {
	name     string
	mode     uint32 // st_mode of stat(2): the type and the permissions
	uid, gid int    // as the archive is to have them
	size     int64
	mtime    time.Time
}

func (i info) kind() uint32    { return i.mode & unix.S_IFMT }
func (i info) isDir() bool     { return i.kind() == unix.S_IFDIR }
func (i info) isLink() bool    { return i.kind() == unix.S_IFLNK }
func (i info) isRegular() bool { return i.kind() == unix.S_IFREG }

func infoOf(name string, st *unix.Stat_t) info {
	return info{
		name: name, mode: st.Mode, uid: int(st.Uid), gid: int(st.Gid), size: st.Size,
		mtime: time.Unix(st.Mtim.Unix()).UTC(),
	}
}

// resolve is a path without symbolic links, as a process finds it whose root
// the tree is. What does not exist is taken as it is; a folder that is closed to
// the caller is an error.
func resolve(t tree, p string) (string, error) {
	return stack.Follow(p, func(at string, _ bool) (string, bool, error) {
		i, err := t.lstat(at)
		if errors.Is(err, fs.ErrNotExist) {
			return "", false, nil
		}
		if err != nil || !i.isLink() {
			return "", false, err
		}
		target, err := t.readlink(at)
		return target, true, err
	})
}

// nothing is the tree of FROM scratch.
type nothing struct{}

func (nothing) lstat(p string) (info, error) {
	if path.Clean(p) == "/" {
		return info{name: "/", mode: unix.S_IFDIR | 0o755}, nil
	}
	return info{}, &fs.PathError{Op: "lstat", Path: p, Err: fs.ErrNotExist}
}

func (nothing) readDir(string) ([]info, error) { return nil, nil }

func (nothing) readlink(p string) (string, error) {
	return "", &fs.PathError{Op: "readlink", Path: p, Err: fs.ErrNotExist}
}

func (nothing) open(p string) (*os.File, error) {
	return nil, &fs.PathError{Op: "open", Path: p, Err: fs.ErrNotExist}
}
