package stack

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Stack is several folders, each of which covers those before it. The zero Stack
// is an empty root.
type Stack struct{ layers []string }

// New is the stack of the layers, the lowest first.
func New(layers []string) Stack { return Stack{slices.Clone(layers)} }

// Info is what the stack has under a name.
type Info struct {
	Name  string      // the last component, "/" for the root
	Layer int         // the index of the layer that it is of; of a folder the highest
	Stat  unix.Stat_t // as that layer has it
}

// IsDir says whether it is a folder.
func (i Info) IsDir() bool { return i.Stat.Mode&unix.S_IFMT == unix.S_IFDIR }

// IsLink says whether it is a symbolic link.
func (i Info) IsLink() bool { return i.Stat.Mode&unix.S_IFMT == unix.S_IFLNK }

// IsRegular says whether it is a regular file.
func (i Info) IsRegular() bool { return i.Stat.Mode&unix.S_IFMT == unix.S_IFREG }

// Lstat says what is at a path, and follows no link, not even on the way: a path
// through one does not exist. The error is fs.ErrNotExist where nothing is.
func (s Stack) Lstat(p string) (Info, error) {
	found, err := s.find(p)
	if err != nil {
		return Info{}, err
	}
	return found[0], nil
}

// find gives what all layers have at a path, the highest first: one entry, or
// the folders that are merged.
func (s Stack) find(p string) ([]Info, error) {
	p = path.Clean("/" + p)
	var at []Info
	for n := len(s.layers) - 1; n >= 0; n-- {
		i := Info{Name: "/", Layer: n}
		if err := unix.Lstat(s.layers[n], &i.Stat); err != nil {
			return nil, &fs.PathError{Op: "lstat", Path: s.layers[n], Err: err}
		}
		at = append(at, i)
	}
	if len(at) == 0 {
		return nil, &fs.PathError{Op: "lstat", Path: p, Err: fs.ErrNotExist}
	}
	if p == "/" {
		return at, nil
	}
	dir := ""
	for name := range strings.SplitSeq(p[1:], "/") {
		dir += "/" + name
		var err error
		if at, err = s.below(at, dir, name); err != nil {
			return nil, err
		}
		if len(at) == 0 {
			return nil, &fs.PathError{Op: "lstat", Path: p, Err: fs.ErrNotExist}
		}
	}
	return at, nil
}

// below gives what merged folders have under a name.
func (s Stack) below(at []Info, full, name string) ([]Info, error) {
	if !at[0].IsDir() {
		return nil, nil
	}
	var out []Info
	for _, parent := range at {
		i := Info{Name: name, Layer: parent.Layer}
		err := unix.Lstat(s.layers[i.Layer]+full, &i.Stat)
		switch {
		case err == unix.ENOENT:
			continue
		case err != nil:
			return nil, &fs.PathError{Op: "lstat", Path: s.layers[i.Layer] + full, Err: err}
		case i.isWhiteout():
			return out, nil
		case !i.IsDir():
			if len(out) == 0 {
				out = append(out, i)
			}
			return out, nil
		}
		out = append(out, i)
		if s.opaque(i.Layer, full) {
			break
		}
	}
	return out, nil
}

func (i Info) isWhiteout() bool { return i.Stat.Mode&unix.S_IFMT == unix.S_IFCHR }

func (s Stack) opaque(layer int, p string) bool {
	var value [1]byte
	n, err := unix.Lgetxattr(s.layers[layer]+p, "user.overlay.opaque", value[:])
	return err == nil && n == 1 && value[0] == 'y'
}

// Readlink reads a symbolic link.
func (s Stack) Readlink(p string) (string, error) {
	i, err := s.Lstat(p)
	if err != nil {
		return "", err
	}
	return os.Readlink(s.Path(i, p))
}

// Path is where a layer has what Lstat found at a path: on the host, below the
// layer's folder, with no link on the way.
func (s Stack) Path(i Info, p string) string { return s.layers[i.Layer] + path.Clean("/"+p) }

// ReadDir lists a folder, sorted by name.
func (s Stack) ReadDir(p string) ([]Info, error) {
	at, err := s.find(p)
	if err != nil {
		return nil, err
	}
	if !at[0].IsDir() {
		return nil, &fs.PathError{Op: "readdir", Path: p, Err: unix.ENOTDIR}
	}
	hidden := map[string]bool{} // what a layer that was read has or removes
	var out []Info
	for _, dir := range at {
		name := s.Path(dir, p)
		entries, err := os.ReadDir(name)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			if hidden[e.Name()] {
				continue
			}
			hidden[e.Name()] = true
			i := Info{Name: e.Name(), Layer: dir.Layer}
			if err := unix.Lstat(path.Join(name, e.Name()), &i.Stat); err != nil {
				return nil, &fs.PathError{Op: "lstat", Path: path.Join(name, e.Name()), Err: err}
			}
			if !i.isWhiteout() {
				out = append(out, i)
			}
		}
	}
	slices.SortFunc(out, func(a, b Info) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

// Open opens a regular file for reading; what is none is an error.
func (s Stack) Open(p string) (*os.File, error) {
	i, err := s.Lstat(p)
	if err != nil {
		return nil, err
	}
	if !i.IsRegular() {
		return nil, &fs.PathError{Op: "open", Path: p, Err: errors.New("is no regular file")}
	}
	// Nothing was a link a moment ago, and layers do not change; should one be
	// put there all the same, the kernel refuses it.
	layer, err := unix.Open(s.layers[i.Layer], unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: s.layers[i.Layer], Err: err}
	}
	defer unix.Close(layer)
	fd, err := unix.Openat2(layer, path.Clean("/" + p)[1:], &unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_NONBLOCK | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS,
	})
	if err != nil {
		return nil, &fs.PathError{Op: "openat2", Path: p, Err: err}
	}
	return os.NewFile(uintptr(fd), p), nil
}

// ReadFile reads a regular file of at most most bytes; one that is larger is an
// error.
func (s Stack) ReadFile(p string, most int64) ([]byte, error) {
	file, err := s.Open(p)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if info.Size() > most {
		return nil, &fs.PathError{Op: "read", Path: p, Err: unix.EFBIG}
	}
	data := make([]byte, info.Size())
	n, err := file.ReadAt(data, 0)
	if n == len(data) {
		err = nil
	}
	return data[:n], err
}
