package image

import (
	"archive/tar"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Upper is the upper folder of an overlay that is mounted no more: what a
// program wrote over layers.
type Upper struct {
	Dir string `json:"dir"` // the folder on the host
	// At is where it lies in the layer; empty is the top. Folders above it get
	// no entry.
	At string `json:"at,omitempty"`
	// LeaveOut are paths in the layer that a sandbox made to mount something
	// on: /proc, /etc/hosts. An empty folder or an empty new file of such a
	// name is no part of the layer, nor are folders that hold nothing else and
	// are as they were below.
	LeaveOut []string `json:"leave_out,omitempty"`
	// Live says that the folder lies in the memory of a sandbox that runs: no
	// other can be shown it, so no Worker reads it, and what is not the caller's in
	// it is refused. A file that grows meanwhile is as long as it was.
	Live bool `json:"live,omitempty"`
}

// upperArchive is one layer that is written from upper folders.
type upperArchive struct {
	out      *tar.Writer
	below    *below
	epoch    time.Time // zero where times stay
	leaveOut map[string]bool
	above    map[string]bool // folders above what is left out
	links    map[[2]uint64]string
	live     bool
	pending  []*tar.Header // folders whose entry waits for a reason
}

// archiveUppers writes upper folders as the archive of a layer, sorted. Nothing
// in the folders is believed: no link is followed, and only regular files are
// opened.
//
// The names that overlayfs gives to removals become those of the archive
// (image-spec, layer.md): a character device 0:0 is a whiteout, a folder with
// user.overlay.opaque is opaque. What the caller owns belongs to root in the
// archive, unless it was copied up from a file whose owner is recorded.
func archiveUppers(to io.Writer, uppers []Upper, under []Unpacked) error {
	a := &upperArchive{out: tar.NewWriter(to), below: newBelow(under), links: map[[2]uint64]string{}, leaveOut: map[string]bool{}, above: map[string]bool{}}
	defer a.below.close()
	if at, ok := sourceDate(); ok {
		a.epoch = at
	}
	for _, u := range uppers {
		for _, name := range u.LeaveOut {
			name, err := cleanName(name)
			if err != nil {
				return err
			}
			a.leaveOut[name] = true
			for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
				a.above[dir] = true
			}
		}
	}
	uppers = slices.Clone(uppers)
	slices.SortFunc(uppers, func(x, y Upper) int { return strings.Compare(path.Join("/", x.At), path.Join("/", y.At)) })
	for _, u := range uppers {
		if err := a.upper(u); err != nil {
			return err
		}
	}
	return a.out.Close()
}

func (a *upperArchive) upper(u Upper) error {
	a.live = u.Live
	at, err := cleanName(u.At)
	if err != nil {
		return err
	}
	dir, err := os.OpenFile(u.Dir, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer dir.Close()
	if opaqueFolder(dir) {
		if err := a.write(&tar.Header{Typeflag: tar.TypeReg, Name: path.Join(at, whiteoutOpaque)}, nil); err != nil {
			return err
		}
	}
	return a.folder(dir, at)
}

// folder writes what lies in a folder, name being its path in the layer.
func (a *upperArchive) folder(dir *os.File, name string) error {
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return err
	}
	slices.Sort(names)
	for _, base := range names {
		full := path.Join(name, base)
		if err := a.one(dir, base, full); err != nil {
			var refusal *RefusedError
			if errors.As(err, &refusal) {
				return err
			}
			return fmt.Errorf("%q: %w", full, err)
		}
	}
	return nil
}

func (a *upperArchive) one(dir *os.File, base, full string) error {
	var st unix.Stat_t
	if err := unix.Fstatat(int(dir.Fd()), base, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return os.NewSyscallError("fstatat", err)
	}
	kind := st.Mode & unix.S_IFMT
	if kind == unix.S_IFCHR && st.Rdev == 0 {
		return a.write(&tar.Header{Typeflag: tar.TypeReg, Name: path.Join(path.Dir(full), whiteoutPrefix+base)}, nil)
	}
	if strings.HasPrefix(base, whiteoutPrefix) {
		return refused(full, "in a layer a name that begins with .wh. means the removal of the rest of the name, so it can be no file")
	}
	switch kind {
	case unix.S_IFSOCK:
		return nil // nobody listens any more
	case unix.S_IFDIR:
		return a.subfolder(dir, base, full)
	case unix.S_IFREG:
		return a.file(dir, base, full)
	}
	h, err := a.header(&st, full, false)
	if err != nil {
		return err
	}
	switch kind {
	case unix.S_IFLNK:
		h.Typeflag, h.Mode = tar.TypeSymlink, 0o777
		if h.Linkname, err = readlinkat(dir, base); err != nil {
			return err
		}
	case unix.S_IFIFO:
		h.Typeflag = tar.TypeFifo
	default:
		return errors.New("a device, which no sandbox can make")
	}
	a.linked(h, &st)
	return a.write(h, nil)
}

func (a *upperArchive) subfolder(parent *os.File, base, full string) (err error) {
	dir, st, done, err := openToRead(parent, base, unix.O_DIRECTORY, 0o500)
	if err != nil {
		return err
	}
	defer func() { err = cmp.Or(err, done()) }()
	attrs, err := keptAttributes(dir)
	if err != nil {
		return err
	}
	h, err := a.header(&st, full, attrs.copiedUp)
	if err != nil {
		return err
	}
	h.Typeflag, h.Name, h.PAXRecords = tar.TypeDir, full+"/", attrs.kept
	hides := opaqueFolder(dir)
	depth := len(a.pending)
	a.pending = append(a.pending, h)
	if a.leaveOut[full] || a.above[full] {
		was, there := a.below.lookup(full)
		if hides || len(attrs.kept) > 0 || there && was.Mode&0o7777|unix.S_IFDIR != st.Mode&(unix.S_IFMT|0o1777) {
			err = a.flush()
		}
	} else {
		err = a.flush()
	}
	if err == nil && hides {
		err = a.write(&tar.Header{Typeflag: tar.TypeReg, Name: path.Join(full, whiteoutOpaque)}, nil)
	}
	if err == nil {
		err = a.folder(dir, full)
	}
	if len(a.pending) > depth {
		a.pending = a.pending[:depth] // nothing in it was written
	}
	return err
}

func (a *upperArchive) file(parent *os.File, base, full string) (err error) {
	file, st, done, err := openToRead(parent, base, unix.O_NONBLOCK, 0o400)
	if err != nil {
		return err
	}
	defer func() { err = cmp.Or(err, done()) }()
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return errors.New("it was exchanged while it was read")
	}
	attrs, err := keptAttributes(file)
	if err != nil {
		return err
	}
	if a.leaveOut[full] && st.Size == 0 && !attrs.copiedUp {
		if _, there := a.below.lookup(full); !there {
			return nil
		}
	}
	h, err := a.header(&st, full, attrs.copiedUp)
	if err != nil {
		return err
	}
	h.Typeflag, h.Size, h.PAXRecords = tar.TypeReg, st.Size, attrs.kept
	if a.linked(h, &st) {
		return a.write(h, nil) // its content is there under the first name
	}
	return a.write(h, file)
}

// linked makes a header that of a hard link, where another name of the file was
// written before. Names are sorted, so the same folder makes the same archive.
func (a *upperArchive) linked(h *tar.Header, st *unix.Stat_t) bool {
	if st.Nlink < 2 {
		return false
	}
	id := [2]uint64{uint64(st.Dev), st.Ino}
	first, ok := a.links[id]
	if !ok {
		a.links[id] = h.Name
		return false
	}
	h.Typeflag, h.Linkname, h.Size, h.PAXRecords = tar.TypeLink, first, 0, nil
	return true
}

// header is the entry of a file without its type.
func (a *upperArchive) header(st *unix.Stat_t, full string, copiedUp bool) (*tar.Header, error) {
	if _, err := cleanName(full); err != nil {
		return nil, err
	}
	h := &tar.Header{
		Format: tar.FormatPAX, Name: full, Mode: int64(st.Mode & 0o7777), Uid: int(st.Uid), Gid: int(st.Gid),
		ModTime: time.Unix(st.Mtim.Sec, 0), // as other tools do: a fraction would be a record of its own for each entry
	}
	if a.live && (h.Uid != os.Getuid() || h.Gid != os.Getgid()) {
		return nil, fmt.Errorf("it belongs to another user of the sandbox (%d:%d here), and lies in memory: sbx run --keep NAME keeps it on the disk", h.Uid, h.Gid)
	}
	if h.Uid == os.Getuid() {
		h.Uid = 0
	}
	if h.Gid == os.Getgid() {
		h.Gid = 0
	}
	if !a.epoch.IsZero() && h.ModTime.After(a.epoch) {
		h.ModTime = a.epoch
	}
	if copiedUp && h.Uid == 0 && h.Gid == 0 {
		h.Uid, h.Gid = a.below.owner(full)
	}
	return h, nil
}

// flush writes the folders that waited.
func (a *upperArchive) flush() error {
	for _, h := range a.pending {
		if err := a.out.WriteHeader(h); err != nil {
			return err
		}
	}
	a.pending = a.pending[:0]
	return nil
}

func (a *upperArchive) write(h *tar.Header, data io.Reader) error {
	if err := a.flush(); err != nil {
		return err
	}
	if h.ModTime.IsZero() {
		h.ModTime, h.Format = time.Unix(0, 0), tar.FormatPAX
	}
	if err := a.out.WriteHeader(h); err != nil || data == nil {
		return err
	}
	n, err := io.Copy(a.out, io.LimitReader(data, h.Size))
	if err == nil && n != h.Size {
		err = fmt.Errorf("it had %d bytes, and %d were read", h.Size, n)
	}
	return err
}

// attributes are the extended attributes of a file of an upper folder.
type attributes struct {
	kept     map[string]string // as records of the archive
	copiedUp bool              // overlayfs notes down what a file was copied from
}

func keptAttributes(file *os.File) (attributes, error) {
	var out attributes
	names, err := listAttributes(int(file.Fd()))
	if err != nil {
		return out, err
	}
	for _, name := range names {
		switch {
		case name == "user.overlay.origin":
			out.copiedUp = true
		case name == "user.overlay.redirect" || name == "user.overlay.metacopy":
			return out, errors.New("overlayfs has left a part of it in the layer below (" + name + "): mount with redirect_dir=off,metacopy=off")
		case keptXattr(name), name == "security.capability":
			value, err := readAttribute(int(file.Fd()), name)
			if err == unix.ENODATA {
				continue
			}
			if err != nil {
				return out, os.NewSyscallError("fgetxattr "+name, err)
			}
			if name == "security.capability" {
				value = withoutRoot(value)
			}
			if out.kept == nil {
				out.kept = map[string]string{}
			}
			out.kept[xattrRecord+name] = string(value)
		}
	}
	return out, nil
}

// withoutRoot makes a file's capabilities those of a file of the host: the
// kernel notes down in whose user namespace they count (capabilities(7),
// VFS_CAP_REVISION_3), which is the caller's own and nobody else's.
func withoutRoot(value []byte) []byte {
	const revision2, revision3 = 2, 3
	if len(value) == 24 && value[3] == revision3 {
		value = slices.Clone(value[:20])
		value[3] = revision2
	}
	return value
}

func listAttributes(fd int) ([]string, error) {
	for {
		size, err := unix.Flistxattr(fd, nil)
		if err == unix.EOPNOTSUPP || err == nil && size == 0 {
			return nil, nil
		}
		if err != nil {
			return nil, os.NewSyscallError("flistxattr", err)
		}
		buf := make([]byte, size)
		size, err = unix.Flistxattr(fd, buf)
		if err == unix.ERANGE {
			continue
		}
		if err != nil {
			return nil, os.NewSyscallError("flistxattr", err)
		}
		names := strings.Split(strings.TrimSuffix(string(buf[:size]), "\x00"), "\x00")
		slices.Sort(names)
		return names, nil
	}
}

func readAttribute(fd int, name string) ([]byte, error) {
	for {
		size, err := unix.Fgetxattr(fd, name, nil)
		if err != nil {
			return nil, err
		}
		buf := make([]byte, size)
		size, err = unix.Fgetxattr(fd, name, buf)
		if err == unix.ERANGE {
			continue
		}
		return buf[:max(size, 0)], err
	}
}

// opaqueFolder says whether overlayfs shows nothing of the folder below.
func opaqueFolder(dir *os.File) bool {
	value, err := readAttribute(int(dir.Fd()), "user.overlay.opaque")
	return err == nil && string(value) == "y"
}

// openToRead opens a file or folder and follows no link. One whose mode keeps
// even its owner out is opened up meanwhile; done gives it back the mode that it
// had, which is in st.
func openToRead(parent *os.File, base string, flags int, needs uint32) (file *os.File, st unix.Stat_t, done func() error, err error) {
	handle, err := openChild(int(parent.Fd()), base, unix.O_PATH)
	if err != nil {
		return nil, st, nil, err
	}
	defer handle.Close()
	if err := unix.Fstat(int(handle.Fd()), &st); err != nil {
		return nil, st, nil, os.NewSyscallError("fstat", err)
	}
	self, had := "/proc/self/fd/"+strconv.Itoa(int(handle.Fd())), st.Mode&0o7777
	closed := had&needs != needs && int(st.Uid) == os.Getuid() && os.Getuid() != 0
	if closed {
		if err := unix.Chmod(self, had|needs); err != nil {
			return nil, st, nil, os.NewSyscallError("chmod", err)
		}
	}
	fd, err := unix.Open(self, unix.O_RDONLY|unix.O_CLOEXEC|flags, 0)
	if err != nil {
		if closed {
			_ = unix.Chmod(self, had) // the first error is the one that tells
		}
		return nil, st, nil, os.NewSyscallError("open", err)
	}
	done = func() error {
		var err error
		if closed {
			err = os.NewSyscallError("fchmod", unix.Fchmod(fd, had))
		}
		return errors.Join(err, file.Close())
	}
	file = os.NewFile(uintptr(fd), base)
	return file, st, done, nil
}

func readlinkat(dir *os.File, base string) (string, error) {
	for size := 256; ; size *= 2 {
		buf := make([]byte, size)
		n, err := unix.Readlinkat(int(dir.Fd()), base, buf)
		if err != nil {
			return "", os.NewSyscallError("readlinkat", err)
		}
		if n < size {
			return string(buf[:n]), nil
		}
	}
}
