package layer

import (
	"os"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// openTop opens a folder beneath which everything else is resolved. No link is
// followed to it: where it was recorded none was on the way.
func openTop(dir string) (int, error) {
	fd, err := unix.Openat2(unix.AT_FDCWD, dir, &unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err == unix.ELOOP {
		// Recorded with a link on the way, such as /home to /data/home.
		var real string
		if real, err = filepath.EvalSymlinks(dir); err == nil {
			fd, err = unix.Openat2(unix.AT_FDCWD, real, &unix.OpenHow{
				Flags:   unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC,
				Resolve: unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
			})
		}
	}
	if err != nil {
		return -1, pathError("openat2", dir, err)
	}
	return fd, nil
}

// longest is how many bytes of a relative path are given to the kernel at once:
// PATH_MAX is 4096.
const longest = 4000

// openBeneath opens a relative path beneath a folder: no link is followed and
// no ".." leaves it. A path longer than the kernel takes is gone in parts.
func openBeneath(top int, rel string, flags uint64) (int, error) {
	how := func(flags uint64) *unix.OpenHow {
		return &unix.OpenHow{
			Flags:   flags | unix.O_CLOEXEC,
			Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
		}
	}
	at := top
	defer func() {
		if at != top {
			unix.Close(at)
		}
	}()
	for len(rel) > longest {
		cut := strings.LastIndexByte(rel[:longest], '/')
		if cut <= 0 {
			return -1, unix.ENAMETOOLONG
		}
		next, err := retryOpen(at, rel[:cut], how(unix.O_PATH|unix.O_DIRECTORY))
		if err != nil {
			return -1, err
		}
		if at != top {
			unix.Close(at)
		}
		at, rel = next, rel[cut+1:]
	}
	return retryOpen(at, rel, how(flags))
}

// retryOpen is openat2(2), which gives EAGAIN where a rename anywhere on the
// machine keeps it from knowing whether a path stays beneath.
func retryOpen(at int, rel string, how *unix.OpenHow) (int, error) {
	for range 100 {
		fd, err := unix.Openat2(at, rel, how)
		if err != unix.EAGAIN && err != unix.EINTR {
			return fd, err
		}
	}
	return -1, unix.EAGAIN
}

const (
	folderPath = unix.O_PATH | unix.O_DIRECTORY
	folderList = unix.O_RDONLY | unix.O_DIRECTORY
	// A FIFO that takes a file's place meanwhile does not block.
	fileRead = unix.O_RDONLY | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_NOCTTY
)

// parentOf opens the folder that holds rel and returns it with the name in it.
func parentOf(top int, rel string) (int, string, error) {
	fd, err := openBeneath(top, path.Dir(rel), folderPath)
	return fd, path.Base(rel), err
}

// lstatAt is stat of a name in an open folder, without following it. It is
// false where nothing has the name.
func lstatAt(dir int, name string) (unix.Stat_t, bool, error) {
	var st unix.Stat_t
	err := unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW)
	if err == unix.ENOENT || err == unix.ENOTDIR {
		return st, false, nil
	}
	return st, err == nil, err
}

// readlinkAt reads a link in an open folder.
func readlinkAt(dir int, name string) (string, error) {
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(dir, name, buf)
	if err != nil {
		return "", err
	}
	return string(buf[:n]), nil
}

func kindOf(st *unix.Stat_t) uint32 { return st.Mode & unix.S_IFMT }

func isFolder(st *unix.Stat_t) bool { return kindOf(st) == unix.S_IFDIR }

func pathError(op, path string, err error) error {
	return &os.PathError{Op: op, Path: path, Err: err}
}
