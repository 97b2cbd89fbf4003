package layer

import (
	"errors"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// source is what is copied, open (O_PATH).
type source struct {
	fd   int
	st   unix.Stat_t
	name string // what it is called in a folder; "." where its content is meant
}

func (s *source) close() { unix.Close(s.fd) }

// endOf splits a path into the way and its last part. A path whose last part is
// "/", "." or ".." has none: it can only be a folder.
func endOf(p string) (way, last string) {
	way, last = path.Split(p)
	if last == "" || last == "." || last == ".." {
		return p, ""
	}
	return way, last
}

// newSource takes a descriptor that was opened for a path.
func newSource(fd int, p string) (*source, error) {
	s := &source{fd: fd}
	if err := unix.Fstat(fd, &s.st); err != nil {
		unix.Close(fd)
		return nil, pathError("fstat", p, err)
	}
	if _, last := endOf(p); last == "" && !isFolder(&s.st) {
		unix.Close(fd)
		return nil, pathError("open", p, unix.ENOTDIR)
	}
	trimmed := strings.TrimRight(p, "/")
	switch last := path.Base(trimmed); {
	case trimmed == "" || last == ".":
		s.name = "."
	case last == "..":
		name, err := nameOf(fd)
		if err != nil {
			unix.Close(fd)
			return nil, err
		}
		if s.name = path.Base(name); s.name == "/" {
			s.name = "."
		}
	default:
		s.name = last
	}
	return s, nil
}

// nameOf is the path of an open folder.
func nameOf(fd int) (string, error) { return os.Readlink(procName(fd)) }

// sourceInside opens a path as the sandbox sees it.
func sourceInside(root int, p string, follow bool) (*source, error) {
	flags := uint64(0)
	if _, last := endOf(p); last != "" && !follow {
		flags = unix.O_NOFOLLOW
	}
	fd, err := openInRoot(root, p, flags)
	if err != nil {
		return nil, err
	}
	return newSource(fd, p)
}

// openInRoot opens a path as the sandbox sees it: links are followed, and its root
// is where "/" and ".." end.
func openInRoot(root int, p string, flags uint64) (int, error) {
	at := strings.TrimLeft(p, "/")
	if at == "" {
		at = "."
	}
	fd, err := retryOpen(root, at, &unix.OpenHow{
		Flags:   flags | unix.O_PATH | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
	switch err {
	case nil:
		return fd, nil
	case unix.ENOENT, unix.ENOTDIR:
		return -1, ErrAbsent
	case unix.ELOOP:
		err = errors.New("a link of /proc is on the way, which is not followed, or there are too many links")
	}
	return -1, pathError("open", p, err)
}

// sourceOnHost opens a path of the host.
func sourceOnHost(p string, follow bool, folders []string) (*source, error) {
	way, last := endOf(p)
	if last == "" || follow {
		fd, err := walkHost(p, folders, false)
		if err != nil {
			return nil, err
		}
		return newSource(fd, p)
	}
	dir, err := walkHost(way, folders, false)
	if err != nil {
		return nil, err
	}
	defer unix.Close(dir)
	fd, err := unix.Openat(dir, last, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, pathError("open", p, err)
	}
	return newSource(fd, p)
}

// placeOnHost opens the folder of the host that a source comes into, and says
// under which name.
func placeOnHost(p string, src *source, folders []string) (int, string, error) {
	fd, err := walkHost(p, folders, false)
	if err == nil {
		var st unix.Stat_t
		if err = unix.Fstat(fd, &st); err == nil && isFolder(&st) {
			return fd, src.name, nil
		}
		unix.Close(fd)
	}
	way, last := endOf(strings.TrimRight(p, "/"))
	switch {
	case err != nil && !errors.Is(err, unix.ENOENT):
		return -1, "", err
	case last == "" || strings.HasSuffix(p, "/") && !(isFolder(&src.st) && err != nil):
		return -1, "", errors.New(p + " is no folder")
	}
	if fd, err = walkHost(way, folders, false); err != nil {
		return -1, "", err
	}
	return fd, last, nil
}

// placeInside is placeOnHost for a path of the sandbox.
func placeInside(root int, p string, src *source) (int, string, error) {
	fd, err := openInRoot(root, p, 0)
	if err == nil {
		var st unix.Stat_t
		if err = unix.Fstat(fd, &st); err == nil && isFolder(&st) {
			return fd, src.name, nil
		}
		unix.Close(fd)
	}
	way, last := endOf(strings.TrimRight(p, "/"))
	switch {
	case err != nil && !errors.Is(err, ErrAbsent):
		return -1, "", err
	case last == "" || strings.HasSuffix(p, "/") && !(isFolder(&src.st) && err != nil):
		return -1, "", errors.New(p + " is no folder inside")
	}
	if fd, err = openInRoot(root, way, unix.O_DIRECTORY); errors.Is(err, ErrAbsent) {
		err = errors.New(path.Clean("/"+way) + " is no folder inside")
	}
	return fd, last, err
}

// mostLinks is how many links are followed on the way to a path, as the kernel
// does (path_resolution(7)).
const mostLinks = 40

// walkHost opens a path of the host (O_PATH). With makes, what is missing on the
// way is made. A link is followed up to where one of the folders begins, and not
// in it, by whatever way it was reached.
func walkHost(p string, folders []string, makes bool) (int, error) {
	at, err := unix.Open("/", folderPath|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, pathError("open", "/", err)
	}
	fail := func(err error) (int, error) {
		unix.Close(at)
		return -1, pathError("open", p, err)
	}
	parts, links := strings.Split(p, "/"), 0
	for len(parts) > 0 {
		part := parts[0]
		if parts = parts[1:]; part == "" || part == "." {
			continue
		}
		here, err := nameOf(at)
		if err != nil {
			return fail(err)
		}
		next, st, err := openPart(at, part)
		if err == unix.ENOENT && makes {
			if err = unix.Mkdirat(at, part, 0o755); err == nil || err == unix.EEXIST {
				next, st, err = openPart(at, part)
			}
		}
		if err != nil {
			return fail(err)
		}
		if kindOf(&st) == unix.S_IFLNK {
			var target string
			if isInside(here, folders) {
				err = errors.New("a symbolic link or a file is on the way, which is not followed")
			} else if links++; links > mostLinks {
				err = unix.ELOOP
			} else {
				target, err = readlinkAt(next, "")
			}
			unix.Close(next)
			if err != nil {
				return fail(err)
			}
			parts = append(strings.Split(target, "/"), parts...)
			if !filepath.IsAbs(target) {
				continue
			}
			if next, err = unix.Open("/", folderPath|unix.O_CLOEXEC, 0); err != nil {
				return fail(err)
			}
		}
		unix.Close(at)
		at = next
	}
	return at, nil
}

func openPart(at int, part string) (int, unix.Stat_t, error) {
	var st unix.Stat_t
	fd, err := unix.Openat(at, part, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err == nil {
		if err = unix.Fstat(fd, &st); err != nil {
			unix.Close(fd)
		}
	}
	return fd, st, err
}

// isInside says whether a path is one of the folders, or in one.
func isInside(p string, folders []string) bool {
	return slices.ContainsFunc(folders, func(f string) bool {
		return p == f || strings.HasPrefix(p, strings.TrimSuffix(f, "/")+"/")
	})
}
