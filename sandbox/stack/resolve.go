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
	return Follow(p, func(at string, last bool) (string, bool, error) {
		i, err := s.Lstat(at)
		switch {
		case errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrPermission):
			return "", false, nil
		case err != nil:
			return "", false, err
		case i.IsLink():
			target, err := s.Readlink(at)
			return target, true, err
		case !i.IsDir() && !last:
			return "", false, &fs.PathError{Op: "resolve", Path: at, Err: unix.ENOTDIR}
		}
		return "", false, nil
	})
}

// Follow is a path without symbolic links in any tree, with ".." ending at its
// root. Look says what a path, in which no link is left but at its end, leads to
// if it is a link; last, that no name comes after it. Look's errors end it, and so
// do ELOOP and ENAMETOOLONG.
func Follow(p string, look func(at string, last bool) (target string, link bool, err error)) (string, error) {
	if len(p) > mostBytes {
		return "", &fs.PathError{Op: "resolve", Path: p[:64] + "…", Err: unix.ENAMETOOLONG}
	}
	at, rest := "/", strings.Split(p, "/")
	for links := 0; len(rest) > 0; {
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
		target, link, err := look(next, len(rest) == 0)
		if err != nil {
			return "", err
		}
		if !link {
			at = next
			continue
		}
		if links++; links > mostLinks {
			return "", &fs.PathError{Op: "resolve", Path: p, Err: unix.ELOOP}
		}
		if path.IsAbs(target) {
			at = "/"
		}
		rest = append(strings.Split(target, "/"), rest...)
	}
	return at, nil
}
