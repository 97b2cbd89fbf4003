package build

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// folder is a tree in a folder of the host, which somebody may change
// meanwhile: every path is opened by openat2(2) beneath it, through no link, so
// that none leads out (CVE-2024-1753). What hidden says is as if it were not
// there.
type folder struct {
	root *os.File
	// hidden says whether a path, relative to the root, is left out; nil hides
	// nothing.
	hidden func(rel string, dir bool) (bool, error)
	// bare says of a folder that is not hidden that it stays only for what is
	// in it; nil of none.
	bare func(rel string) (bool, error)
	// owner is whether files keep their owners; else they belong to root.
	owner bool
}

func openFolder(dir string) (*folder, error) {
	root, err := os.OpenFile(dir, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	return &folder{root: root}, nil
}

func (f *folder) close() error { return f.root.Close() }

// at opens a path; the last name is not followed either.
func (f *folder) at(p string, flags uint64) (*os.File, error) {
	rel := strings.TrimPrefix(path.Clean("/"+p), "/")
	if rel == "" {
		rel = "."
	}
	how := unix.OpenHow{Flags: flags | unix.O_CLOEXEC | unix.O_NOFOLLOW, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS}
	for tries := 0; ; tries++ {
		fd, err := unix.Openat2(int(f.root.Fd()), rel, &how)
		switch {
		case err == nil:
			return os.NewFile(uintptr(fd), p), nil
		case err == unix.ELOOP || err == unix.ENOTDIR:
			err = unix.ENOENT // a path through a link or a file: nothing of ours
		case err == unix.EAGAIN && tries < 1000: // a rename elsewhere (openat2(2))
			continue
		}
		return nil, &fs.PathError{Op: "open", Path: strings.TrimPrefix(p, "/"), Err: err}
	}
}

func (f *folder) lstat(p string) (info, error) {
	file, err := f.at(p, unix.O_PATH)
	if err != nil {
		return info{}, err
	}
	defer file.Close()
	i, err := f.infoOf(path.Base(path.Clean("/"+p)), int(file.Fd()), "", unix.AT_EMPTY_PATH)
	if err != nil {
		return info{}, &fs.PathError{Op: "fstat", Path: p, Err: err}
	}
	if gone, err := f.hides(p, i.isDir()); gone || err != nil {
		return info{}, errors.Join(err, &fs.PathError{Op: "lstat", Path: p, Err: fs.ErrNotExist})
	}
	return i, nil
}

func (f *folder) infoOf(name string, dir int, entry string, flags int) (info, error) {
	var st unix.Stat_t
	if err := unix.Fstatat(dir, entry, &st, flags|unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return info{}, err
	}
	i := infoOf(name, &st)
	if !f.owner {
		i.uid, i.gid = 0, 0
	}
	return i, nil
}

func (f *folder) hides(p string, dir bool) (bool, error) {
	rel := strings.TrimPrefix(path.Clean("/"+p), "/")
	if f.hidden == nil || rel == "" {
		return false, nil
	}
	return f.hidden(rel, dir)
}

func (f *folder) readDir(p string) ([]info, error) {
	dir, err := f.at(p, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	var out []info
	for _, name := range names {
		i, err := f.infoOf(name, int(dir.Fd()), name, 0)
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed meanwhile
		}
		if err != nil {
			return nil, &fs.PathError{Op: "fstatat", Path: path.Join(p, name), Err: err}
		}
		gone, err := f.hides(path.Join(p, name), i.isDir())
		if err != nil {
			return nil, err
		}
		if !gone {
			out = append(out, i)
		}
	}
	return out, nil
}

func (f *folder) readlink(p string) (string, error) {
	link, err := f.at(p, unix.O_PATH)
	if err != nil {
		return "", err
	}
	defer link.Close()
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(int(link.Fd()), "", buf)
	if err != nil {
		return "", &fs.PathError{Op: "readlink", Path: p, Err: err}
	}
	return string(buf[:n]), nil
}

// open opens a regular file. O_NONBLOCK, since somebody may put a FIFO in its
// place, whose opening would wait for a writer.
func (f *folder) open(p string) (*os.File, error) {
	file, err := f.at(p, unix.O_RDONLY|unix.O_NONBLOCK)
	if err != nil {
		return nil, err
	}
	if st, err := file.Stat(); err != nil || !st.Mode().IsRegular() {
		file.Close()
		return nil, errors.Join(err, &fs.PathError{Op: "open", Path: p, Err: errors.New("is no regular file any more")})
	}
	return file, nil
}
