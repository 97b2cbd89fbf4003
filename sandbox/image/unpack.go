package image

import (
	"archive/tar"
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// Contents is what one layer holds: layer.json beside the unpacked folder.
type Contents struct {
	Version   int        `json:"version"` // 1
	Owners    string     `json:"owners"`  // OwnersReal or OwnersRecorded; empty in a store of before means recorded
	Files     int        `json:"files"`
	Folders   int        `json:"folders"`
	Links     int        `json:"links"` // hard and symbolic
	Whiteouts int        `json:"whiteouts"`
	Bytes     int64      `json:"bytes"` // of its files
	Recorded  []Recorded `json:"recorded,omitempty"`
}

// How the files of an unpacked layer have their owners.
const (
	OwnersRecorded = "recorded" // all are the caller's: Contents.Recorded says whose they were
	OwnersReal     = "real"     // through the caller's subordinate ids (subuid(5))
)

// owners is Owners, also of a layer that was unpacked before there were two ways.
func (c *Contents) owners() string { return cmp.Or(c.Owners, OwnersRecorded) }

// Recorded is what the archive says of an entry and one user could not make.
// The archive itself stays in the store, so nothing is lost when it is saved.
type Recorded struct {
	Path      string   `json:"path,omitempty"`
	PathBytes []byte   `json:"path_bytes,omitempty"` // in place of Path where that is not UTF-8
	UID       int      `json:"uid"`
	GID       int      `json:"gid"`
	Mode      int64    `json:"mode"`             // as in the archive: permissions, setuid, setgid, sticky
	Device    string   `json:"device,omitempty"` // "char 1:3", "block 8:0": it was not made
	Xattrs    []string `json:"xattrs,omitempty"` // names that were not set
}

// An unpacker writes one layer below a folder. Every name is resolved by
// openat2(2) with RESOLVE_IN_ROOT: links of the archive lead where they would
// in a sandbox whose root this is, and never outside, whatever the archive
// holds. The last component is always created or removed, never followed.
type unpacker struct {
	root     *os.File
	contents Contents
	entries  int
	names    int64 // bytes, see Limits.Names
	limits   Limits
	real     bool // owners are set; else they are recorded
	model    bool // there is a whiteoutModel

	parent     *os.File // the folder of the last entry, kept open
	parentName string
	dirs       map[string]folder // by the path that the kernel gives
	rootPath   string
	buffer     []byte // of copy
}

// folder is what a folder gets at the end: a mode without w or x would keep its
// own entries out, and each of them changes its time.
type folder struct {
	mode  uint32
	mtime time.Time
}

// unpack writes the archive (uncompressed) into dir, an empty folder. Its files
// may have Limits.Bytes in all: a sparse file has more than the archive. Owners
// is OwnersRecorded, or OwnersReal where the caller may give files away.
func unpack(dir string, archive io.Reader, limits Limits, owners string) (Contents, error) {
	root, err := os.Open(dir)
	if err != nil {
		return Contents{}, err
	}
	defer root.Close()
	u := &unpacker{root: root, limits: limits, dirs: map[string]folder{}, contents: Contents{Version: 1, Owners: owners}, real: owners == OwnersReal}
	defer u.leave()
	if u.rootPath, err = os.Readlink("/proc/self/fd/" + strconv.Itoa(int(root.Fd()))); err != nil {
		return Contents{}, err
	}
	r := tar.NewReader(archive)
	// A filter may keep device nodes from being made: then every whiteout is a
	// link to this one, which whoever called has left here.
	var st unix.Stat_t
	if unix.Fstatat(int(root.Fd()), whiteoutModel, &st, unix.AT_SYMLINK_NOFOLLOW) == nil {
		u.model = true
	}
	for {
		header, err := r.Next()
		if errors.Is(err, tar.ErrInsecurePath) {
			err = nil // parseEntry decides
		}
		if err == io.EOF {
			err = u.finish()
			return u.contents, err
		}
		if err != nil {
			return Contents{}, err
		}
		if err := errors.Join(u.countEntry(), u.countNames(header)); err != nil {
			return Contents{}, err
		}
		if header.Size > limits.Bytes-u.contents.Bytes {
			return Contents{}, fmt.Errorf("the files of the layer are larger than the %d bytes that are allowed", limits.Bytes)
		}
		e, err := parseEntry(header)
		if err == nil {
			err = u.do(e, r)
		}
		if err != nil {
			var refusal *RefusedError
			if errors.As(err, &refusal) {
				return Contents{}, err
			}
			return Contents{}, fmt.Errorf("entry %s: %w", shown(header.Name), err)
		}
	}
}

// countEntry counts what is made: an entry, or a folder that an entry needs.
func (u *unpacker) countEntry() error {
	if u.entries++; u.entries > u.limits.Entries {
		return fmt.Errorf("the layer has more than %d entries and folders", u.limits.Entries)
	}
	return nil
}

// countNames counts the names in a header.
func (u *unpacker) countNames(h *tar.Header) error {
	n := len(h.Name) + len(h.Linkname)
	for name := range xattrs(h) {
		n += len(name)
	}
	return u.countName(n)
}

func (u *unpacker) countName(n int) error {
	if u.names += int64(n); u.names > u.limits.Names {
		return fmt.Errorf("the names in the layer have more than %d bytes", u.limits.Names)
	}
	return nil
}

func (u *unpacker) do(e entry, data io.Reader) error {
	switch e.kind {
	case nothing:
		return nil
	case recordsIt:
		u.record(e)
		return nil
	}
	dir, err := u.enter(e.folder)
	if err != nil {
		return err
	}
	switch e.kind {
	case opaque:
		u.contents.Whiteouts++
		return setOpaque(dir)
	case whiteout:
		return u.whiteOut(dir, e.base)
	}
	if e.base == "." {
		if err := u.setFolder(u.canonical(dir), folderOf(e)); err != nil {
			return err
		}
		given, err := u.give(int(dir.Fd()), ".", e.header)
		if err != nil {
			return err
		}
		u.recordIfOther(e, given)
		return setXattrs(dir, e.header)
	}
	return u.create(dir, e, data)
}

// enter opens a folder of the layer and makes what is missing of it. The one
// that was entered last stays open, since archives go folder by folder.
func (u *unpacker) enter(name string) (*os.File, error) {
	if u.parent != nil && u.parentName == name {
		return u.parent, nil
	}
	u.leave()
	dir, err := u.open(name)
	for at := 0; (errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR)) && at < len(name); {
		// Make the missing folders from the top; a whiteout is one as well.
		next := strings.IndexByte(name[at:], '/')
		if next < 0 {
			next = len(name) - at
		}
		prefix := name[:at+next]
		at += next + 1
		if err = u.makeMissing(prefix); err != nil {
			break
		}
		err = unix.ENOENT
		if at >= len(name) {
			dir, err = u.open(name)
		}
	}
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ELOOP) {
		return nil, errors.New("it lies below a link that leads nowhere in the layer")
	}
	if err != nil {
		return nil, err
	}
	u.parent, u.parentName = dir, name
	return dir, nil
}

// makeMissing makes one folder that the archive has no entry for yet.
func (u *unpacker) makeMissing(name string) error {
	parent, err := u.open(path.Dir(name))
	if err != nil {
		return err
	}
	defer parent.Close()
	at, base := int(parent.Fd()), path.Base(name)
	err = unix.Mkdirat(at, base, 0o700)
	hidden := false
	if err == unix.EEXIST {
		var st unix.Stat_t
		if err := unix.Fstatat(at, base, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return os.NewSyscallError("fstatat", err)
		}
		if hidden = st.Mode&unix.S_IFMT == unix.S_IFCHR; !hidden {
			return nil // a folder, or what the next step fails at
		}
		if err := unix.Unlinkat(at, base, 0); err != nil {
			return os.NewSyscallError("unlinkat", err)
		}
		err = unix.Mkdirat(at, base, 0o700)
	}
	if err != nil {
		return os.NewSyscallError("mkdirat", err)
	}
	if hidden {
		made, err := openChild(at, base, unix.O_RDONLY|unix.O_DIRECTORY)
		if err != nil {
			return err
		}
		defer made.Close()
		if err := setOpaque(made); err != nil {
			return err
		}
	}
	u.contents.Folders++
	return errors.Join(u.countEntry(), u.setFolder(path.Join(u.canonical(parent), path.Base(name)), folder{mode: 0o755}))
}

// open opens a folder of the layer.
func (u *unpacker) open(name string) (*os.File, error) { return u.openResolved(name, 0) }

func (u *unpacker) openResolved(name string, resolve uint64) (*os.File, error) {
	how := unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_DIRECTORY | unix.O_CLOEXEC,
		Resolve: resolve | unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_XDEV,
	}
	fd, err := unix.Openat2(int(u.root.Fd()), name, &how)
	// A .. could not be proved to stay inside while anybody on the machine renamed
	// or mounted something (openat2(2), EAGAIN).
	for tries := 0; err == unix.EAGAIN && tries < 1000; tries++ {
		fd, err = unix.Openat2(int(u.root.Fd()), name, &how)
	}
	if err != nil {
		return nil, os.NewSyscallError("openat2", err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

func (u *unpacker) leave() {
	if u.parent != nil {
		u.parent.Close()
		u.parent = nil
	}
}

// canonical is the path of an open folder below the root, with no link in it.
func (u *unpacker) canonical(dir *os.File) string {
	full, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(int(dir.Fd())))
	if err != nil {
		return "."
	}
	rel := strings.TrimPrefix(strings.TrimPrefix(full, u.rootPath), "/")
	if rel == "" {
		return "."
	}
	return rel
}

// finish gives the folders their modes and times, the deepest first.
func (u *unpacker) finish() error {
	u.leave()
	if u.model {
		if err := unix.Unlinkat(int(u.root.Fd()), whiteoutModel, 0); err != nil {
			return os.NewSyscallError("unlinkat", err)
		}
	}
	names := slices.Collect(maps.Keys(u.dirs))
	slices.SortFunc(names, func(a, b string) int { return depth(b) - depth(a) })
	for _, name := range names {
		dir, err := u.openResolved(name, unix.RESOLVE_NO_SYMLINKS)
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
			continue // a later entry has replaced it
		}
		if err != nil {
			return err
		}
		f := u.dirs[name]
		times := []unix.Timespec{timespec(f.mtime), timespec(f.mtime)}
		err = errors.Join(
			os.NewSyscallError("utimensat", unix.UtimesNanoAt(unix.AT_FDCWD, "/proc/self/fd/"+strconv.Itoa(int(dir.Fd())), times, 0)),
			os.NewSyscallError("fchmod", unix.Fchmod(int(dir.Fd()), f.mode)),
		)
		dir.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// depth orders the top after everything in it.
func depth(name string) int {
	if name == "." {
		return 0
	}
	return 1 + strings.Count(name, "/")
}

// setFolder notes what a folder gets at the end.
func (u *unpacker) setFolder(name string, f folder) error {
	u.dirs[name] = f
	return u.countName(len(name))
}

func folderOf(e entry) folder {
	return folder{mode: uint32(e.header.Mode) & 0o1777, mtime: e.header.ModTime}
}

// record notes an entry that was not made or not made whole.
func (u *unpacker) record(e entry) {
	h := e.header
	r := Recorded{UID: h.Uid, GID: h.Gid, Mode: h.Mode & 0o7777}
	if name := path.Join(e.folder, e.base); utf8.ValidString(name) {
		r.Path = name
	} else {
		r.PathBytes = []byte(name)
	}
	switch h.Typeflag {
	case tar.TypeChar:
		r.Device = fmt.Sprintf("char %d:%d", h.Devmajor, h.Devminor)
	case tar.TypeBlock:
		r.Device = fmt.Sprintf("block %d:%d", h.Devmajor, h.Devminor)
	}
	for name := range xattrs(h) {
		if !keptXattr(name) {
			r.Xattrs = append(r.Xattrs, name)
		}
	}
	slices.Sort(r.Xattrs)
	u.contents.Recorded = append(u.contents.Recorded, r)
}

// give makes a new file that of its owner in the archive, if that is a user
// here; it follows no link.
func (u *unpacker) give(at int, base string, h *tar.Header) (bool, error) {
	const most = 1<<32 - 2 // uid_t less the one that means no change
	if !u.real || h.Uid < 0 || h.Uid > most || h.Gid < 0 || h.Gid > most {
		return false, nil
	}
	err := unix.Fchownat(at, base, h.Uid, h.Gid, unix.AT_SYMLINK_NOFOLLOW)
	if err == unix.EINVAL { // user_namespaces(7): it is not mapped
		return false, nil
	}
	return err == nil, os.NewSyscallError("fchownat", err)
}

// recordIfOther notes an entry that is not as the archive has it; given says
// that it has its owner.
func (u *unpacker) recordIfOther(e entry, given bool) {
	h := e.header
	other := !given && (h.Uid != 0 || h.Gid != 0) || h.Mode&0o6000 != 0
	for name := range xattrs(h) {
		other = other || !keptXattr(name)
	}
	if other {
		u.record(e)
	}
}
