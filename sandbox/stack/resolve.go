package stack

import (
	"errors"
	"io/fs"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// mostLinks is how many symbolic links are followed on the way to one path, as
// the kernel does it (path_resolution(7)).
const mostLinks = 40

// mostBytes is how long a path can be: PATH_MAX less its NUL.
const mostBytes = 4096 - 1

// Resolve is a path without symbolic links in it, as a process finds it whose
// root the stack is: absolute, with ".." ending at the root. What does not exist
// is taken as it is, so that the place of something new can be found, and so is
// what lies in a folder that is closed to the caller: another id's, where a layer
// has real owners. The error is ELOOP, ENOTDIR where a file stands in the way, or
// ENAMETOOLONG.
func (s Stack) Resolve(p string) (string, error) {
	if len(p) > mostBytes {
		return "", &fs.PathError{Op: "resolve", Path: p[:64] + "…", Err: unix.ENAMETOOLONG}
	}
	at, rest := "/", strings.Split(p, "/")
	links := 0
	for len(rest) > 0 {
		name := rest[0]
		rest = rest[1:]
		switch name {
		case "", ".":
			continue
		case "..":
			at = path.Dir(at)
			continue
		}
		next := path.Join(at, name)
		i, err := s.Lstat(next)
		switch {
		case errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrPermission):
			at = next
		case err != nil:
			return "", err
		case i.IsLink():
			if links++; links > mostLinks {
				return "", &fs.PathError{Op: "resolve", Path: p, Err: unix.ELOOP}
			}
			target, err := s.Readlink(next)
			if err != nil {
				return "", err
			}
			if path.IsAbs(target) {
				at = "/"
			}
			rest = append(strings.Split(target, "/"), rest...)
		case !i.IsDir() && len(rest) > 0:
			return "", &fs.PathError{Op: "resolve", Path: next, Err: unix.ENOTDIR}
		default:
			at = next
		}
	}
	return at, nil
}
