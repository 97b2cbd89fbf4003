package sandbox

import (
	"errors"
	"os"
	"path"
	"slices"

	"golang.org/x/sys/unix"
)

// Change is one path that CMD added, changed or deleted in a layer.
type Change struct {
	Kind string `json:"kind"` // Added, Modified or Deleted
	Path string `json:"path"` // where CMD sees it
	Dir  bool   `json:"dir,omitempty"`
	Size int64  `json:"size,omitempty"` // bytes, of a file
	// Memory marks what lies in a folder of the sandbox's own, such as /tmp:
	// no folder of the host is below it.
	Memory bool `json:"memory,omitempty"`
}

// The kinds of Change.
const (
	Added    = "added"
	Modified = "modified"
	Deleted  = "deleted"
)

// changes lists what CMD wrote: the upper layers first, then the folders in
// memory, each in the order of names.
func (c *Cmd) changes() ([]Change, error) {
	if c.layers == nil {
		return nil, nil
	}
	var out []Change
	var errs []error
	for _, u := range c.plan.uppers {
		at := int(c.layers.Fd())
		if path.IsAbs(u.Name) {
			at = unix.AT_FDCWD
		}
		w := walker{lower: u.Lower, target: u.Target, out: &out}
		errs = append(errs, w.walk(at, u.Name, ""))
	}
	// Folders of the root that the plan itself made are no changes.
	w := walker{target: "", out: &out, memory: true, made: c.plan.ownPaths}
	if c.plan.ownRoot {
		errs = append(errs, w.walk(int(c.layers.Fd()), "root", ""))
	}
	return out, errors.Join(errs...)
}

// walker compares an upper layer with what is below it. Nothing in it can be
// trusted: names are followed by descriptor, and never through a link.
type walker struct {
	lower  string // on the host
	target string // where CMD sees it
	out    *[]Change
	memory bool
	made   []string
}

func (w *walker) walk(at int, name, rel string) error {
	fd, err := unix.Openat(at, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		if err == unix.EACCES {
			return nil // CMD took away its own right to look; so it is for us
		}
		return &os.PathError{Op: "openat", Path: path.Join(w.target, rel), Err: err}
	}
	dir := os.NewFile(uintptr(fd), name)
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return err
	}
	slices.Sort(names)
	opaque := isOpaque(fd)
	for _, n := range names {
		if err := w.entry(fd, n, path.Join(rel, n), opaque); err != nil {
			return err
		}
	}
	if opaque && w.lower != "" {
		w.deletedBelow(rel, names)
	}
	return nil
}

func (w *walker) entry(dir int, name, rel string, opaque bool) error {
	var st unix.Stat_t
	if err := unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return &os.PathError{Op: "fstatat", Path: path.Join(w.target, rel), Err: err}
	}
	seen := path.Join("/", w.target, rel)
	isDir := st.Mode&unix.S_IFMT == unix.S_IFDIR
	if st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == 0 {
		*w.out = append(*w.out, Change{Kind: Deleted, Path: seen, Memory: w.memory})
		return nil
	}
	change := Change{Kind: Added, Path: seen, Dir: isDir, Memory: w.memory}
	if !isDir {
		change.Size = st.Size
	}
	below := osHost{}.Lstat(path.Join(w.lower, rel))
	if w.lower != "" && !opaque && below.exists() {
		change.Kind = Modified
	}
	// A folder in the upper layer only says that something in it changed.
	if !(isDir && change.Kind == Modified && below.isDir()) && !slices.Contains(w.made, seen) {
		*w.out = append(*w.out, change)
	}
	if isDir {
		return w.walk(dir, name, rel)
	}
	return nil
}

// deletedBelow lists what a folder that hides all below it no longer shows.
func (w *walker) deletedBelow(rel string, kept []string) {
	names, err := osHost{}.ReadDir(path.Join(w.lower, rel))
	if err != nil {
		return // the lower folder is not there: nothing is hidden
	}
	for _, n := range names {
		if !slices.Contains(kept, n) {
			*w.out = append(*w.out, Change{Kind: Deleted, Path: path.Join(w.target, rel, n)})
		}
	}
}

// isOpaque says whether overlayfs shows nothing of the folder below.
func isOpaque(fd int) bool {
	var value [4]byte
	n, err := unix.Fgetxattr(fd, "user.overlay.opaque", value[:])
	return err == nil && n >= 1 && value[0] == 'y'
}

// removeLayers deletes layers that lie on a disk. Overlayfs leaves a work
// folder of mode 0 behind, which defeats a plain removal.
func removeLayers(dir string) error {
	if err := os.RemoveAll(dir); err == nil {
		return nil
	}
	var open func(string)
	open = func(d string) {
		_ = os.Chmod(d, 0o700)
		entries, err := os.ReadDir(d)
		if err != nil {
			return
		}
		for _, e := range entries {
			if e.IsDir() {
				open(path.Join(d, e.Name()))
			}
		}
	}
	open(dir)
	return os.RemoveAll(dir)
}
