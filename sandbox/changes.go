package sandbox

import (
	"errors"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox/stack"
)

// Change is one path that CMD added, changed or deleted in a layer.
type Change struct {
	Kind string `json:"kind"` // Added, Modified or Deleted
	Path string `json:"path"` // where CMD sees it
	Dir  bool   `json:"dir,omitempty"`
	Size int64  `json:"size,omitempty"` // bytes, of a file
	// Memory marks what lies in a folder of the sandbox's own, such as /tmp,
	// or HOME with Spec.Home too: no folder of the host is below it.
	Memory bool `json:"memory,omitempty"`
}

// The kinds of Change.
const (
	Added    = "added"
	Modified = "modified"
	Deleted  = "deleted"
)

// changes lists what CMD wrote: in the upper layers first, then in the folders
// in memory, each in the order of paths.
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
		w := walker{lower: u.Lower, lowers: u.Lowers, target: u.Target, out: &out, memory: c.Spec.Home != "" && u.Lower == c.Spec.Home}
		if u.Target == "/" {
			w.made = c.plan.ownPaths
		}
		errs = append(errs, w.walk(at, u.Name))
	}
	if c.plan.ownRoot {
		// Folders of the root that the plan itself made are no changes.
		w := walker{out: &out, memory: true, made: c.plan.ownPaths}
		errs = append(errs, w.walk(int(c.layers.Fd()), "root"))
	}
	slices.SortFunc(out, func(a, b Change) int {
		switch {
		case a.Memory == b.Memory:
			return strings.Compare(a.Path, b.Path)
		case b.Memory:
			return -1
		}
		return 1
	})
	return out, errors.Join(errs...)
}

// Changes lists what CMD wrote to an upper layer, in the order of paths, as it is
// at that moment. Base is a descriptor of the folder that Dir is relative to, where
// it is (Cmd.Layers).
func (u *Upper) Changes(base int) ([]Change, error) {
	var out []Change
	w := walker{lower: u.Lower, lowers: u.Lowers, target: u.Target, made: u.Made, out: &out}
	err := w.walk(base, u.Dir)
	slices.SortFunc(out, func(a, b Change) int { return strings.Compare(a.Path, b.Path) })
	return out, err
}

// walker compares an upper layer with what is below it. Nothing in it can be
// trusted: every folder is opened beneath the layer's own, no link is followed,
// nothing but folders is opened, and one descriptor is held at a time however
// deep the layer is.
type walker struct {
	lower  string   // on the host; "" means that nothing is below
	lowers []string // in place of lower: the layers of an image
	target string   // where CMD sees it
	out    *[]Change
	memory bool
	made   []string
}

// pending is a folder of the layer that is still to be listed.
type pending struct {
	rel   string
	below below
}

// below says what of the lower layer is under a folder of the upper one.
type below uint8

const (
	nothingBelow below = iota // it is new, or stands in place of something else
	mergedBelow               // overlayfs shows both layers
	coveredBelow              // the lower folder was deleted, and this one made since
)

func (w *walker) walk(at int, name string) error {
	top, err := unix.Openat(at, name, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "openat", Path: name, Err: err}
	}
	defer unix.Close(top)
	list := []pending{{rel: "."}}
	if w.lower != "" || len(w.lowers) > 0 {
		list[0].below = mergedBelow
	}
	for len(list) > 0 {
		next := list[len(list)-1]
		list = list[:len(list)-1]
		folders, err := w.folder(top, next)
		if err != nil {
			return err
		}
		slices.Reverse(folders)
		list = append(list, folders...)
	}
	return nil
}

// folder lists one folder of the layer and returns the folders in it. One that
// cannot be looked at, because CMD took away its own right to, or made it
// deeper than a path can be, is told as a change itself and not entered.
func (w *walker) folder(top int, at pending) ([]pending, error) {
	fd, err := unix.Openat2(top, at.rel, &unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_DIRECTORY | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_XDEV,
	})
	switch err {
	case nil:
	case unix.EACCES, unix.ENAMETOOLONG, unix.ENOENT, unix.ENOTDIR, unix.ELOOP: // or CMD has just exchanged it
		return nil, nil
	default:
		return nil, &os.PathError{Op: "openat2", Path: path.Join(w.target, at.rel), Err: err}
	}
	dir := os.NewFile(uintptr(fd), at.rel)
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	if at.below == mergedBelow && isOpaque(fd) {
		at.below = coveredBelow
	}
	var folders []pending
	for _, name := range names {
		isDir, below, err := w.entry(fd, name, path.Join(at.rel, name), at.below)
		if err != nil {
			return nil, err
		}
		if isDir {
			folders = append(folders, pending{path.Join(at.rel, name), below})
		}
	}
	if at.below == coveredBelow {
		w.deletedBelow(at.rel, names)
	}
	return folders, nil
}

// entry lists one name in a folder of the layer, and says what is under it if it
// is a folder itself.
func (w *walker) entry(dir int, name, rel string, around below) (isDir bool, under below, err error) {
	var st unix.Stat_t
	if err := unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW); err == unix.ENOENT {
		return false, nothingBelow, nil // CMD has just removed it
	} else if err != nil {
		return false, nothingBelow, &os.PathError{Op: "fstatat", Path: path.Join(w.target, rel), Err: err}
	}
	seen := path.Join("/", w.target, rel)
	kind := st.Mode & unix.S_IFMT
	isDir = kind == unix.S_IFDIR
	if kind == unix.S_IFCHR && st.Rdev == 0 {
		*w.out = append(*w.out, Change{Kind: Deleted, Path: seen, Memory: w.memory})
		return false, nothingBelow, nil
	}
	change := Change{Kind: Added, Path: seen, Dir: isDir, Memory: w.memory}
	if kind == unix.S_IFREG {
		change.Size = st.Size
	}
	if around != nothingBelow { // and so no link is on the way to what is below
		if lower := w.look(rel); lower.exists() {
			change.Kind = Modified
			if isDir && lower.isDir() {
				under = around
			}
		}
	}
	// A folder in the upper layer only says that something in it changed.
	if under == nothingBelow && !slices.Contains(w.made, seen) {
		*w.out = append(*w.out, change)
	}
	return isDir, under, nil
}

// deletedBelow lists what a folder that hides all below it no longer shows.
func (w *walker) deletedBelow(rel string, kept []string) {
	names, err := w.list(rel)
	if err != nil {
		return // the lower folder is not there: nothing is hidden
	}
	for _, n := range names {
		if _, found := slices.BinarySearch(kept, n); !found {
			*w.out = append(*w.out, Change{Kind: Deleted, Path: path.Join(w.target, rel, n)})
		}
	}
}

// look describes a path of the lower layer.
func (w *walker) look(rel string) File {
	if len(w.lowers) > 0 {
		return osHost{}.LstatIn(w.lowers, rel)
	}
	return osHost{}.Lstat(path.Join(w.lower, rel))
}

// list gives the names in a folder of the lower layer.
func (w *walker) list(rel string) ([]string, error) {
	if len(w.lowers) == 0 {
		return osHost{}.ReadDir(path.Join(w.lower, rel))
	}
	infos, err := stack.New(w.lowers).ReadDir(rel)
	names := make([]string, len(infos))
	for i := range infos {
		names[i] = infos[i].Name
	}
	return names, err
}

// isOpaque says whether overlayfs shows nothing of the folder below.
func isOpaque(fd int) bool {
	var value [4]byte
	n, err := unix.Fgetxattr(fd, "user.overlay.opaque", value[:])
	return err == nil && n >= 1 && value[0] == 'y'
}

// openWorkFolders gives the folder of mode 0 that overlayfs leaves in each work
// folder (fs/overlayfs/super.c, ovl_workdir_create) to its owner, so that a plain
// rm -r removes the layers. It comes when no process of the sandbox is left; the
// next mount makes the folder anew. A folder that is not there, or is reached
// through a link, is left alone.
func openWorkFolders(top string, uppers []upper) {
	at, err := unix.Open(top, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	defer unix.Close(at)
	for _, u := range uppers {
		fd, err := unix.Openat2(at, layerName(u.Target)+"/work/work", &unix.OpenHow{
			Flags:   unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC,
			Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_XDEV,
		})
		if err != nil {
			continue
		}
		var st unix.Stat_t
		if unix.Fstat(fd, &st) == nil && st.Mode&0o700 != 0o700 && int(st.Uid) == unix.Getuid() {
			// chmod(2) through the descriptor: fchmodat2(2) is of Linux 6.6.
			_ = unix.Chmod("/proc/self/fd/"+strconv.Itoa(fd), 0o700)
		}
		unix.Close(fd)
	}
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
