package image

import (
	"archive/tar"
	"errors"
	"io"
	"os"
	"path"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox/layer"
)

// create makes the entry, in place of what an earlier one of that name made.
func (u *unpacker) create(dir *os.File, e entry, data io.Reader) error {
	at, h := int(dir.Fd()), e.header
	var file *os.File
	var hidden bool
	var err error
	regular := h.Typeflag == tar.TypeReg || h.Typeflag == tar.TypeGNUSparse
	if regular { // most entries are, and nearly none of them has another before it
		file, err = createChild(at, e.base)
	}
	if !regular || errors.Is(err, unix.EEXIST) {
		if hidden, err = u.clear(dir, e); err != nil {
			return err
		}
		if regular {
			file, err = createChild(at, e.base)
		}
	}
	switch h.Typeflag {
	case tar.TypeDir:
		err = unix.Mkdirat(at, e.base, 0o700)
		if err == unix.EEXIST { // clear has left a folder alone
			err = nil
		} else {
			u.contents.Folders++
		}
		if err == nil {
			file, err = openChild(at, e.base, unix.O_RDONLY|unix.O_DIRECTORY)
		}
		if err == nil && hidden {
			err = setOpaque(file)
		}
		if err == nil {
			err = u.setFolder(path.Join(u.canonical(dir), e.base), folderOf(e))
		}
	case tar.TypeReg, tar.TypeGNUSparse:
		if err == nil {
			var n int64
			n, err = u.copy(file, data)
			u.contents.Files++
			u.contents.Bytes += n
		}
	case tar.TypeSymlink:
		u.contents.Links++
		err = os.NewSyscallError("symlinkat", unix.Symlinkat(h.Linkname, at, e.base))
	case tar.TypeLink:
		u.contents.Links++
		err = u.link(e.target, at, e.base)
	case tar.TypeFifo:
		u.contents.Files++
		err = os.NewSyscallError("mknodat", unix.Mknodat(at, e.base, unix.S_IFIFO|0o600, 0))
	}
	if file != nil {
		defer file.Close()
	}
	if err != nil {
		return err
	}
	if h.Typeflag == tar.TypeLink {
		return nil // its inode has what its first name gave it
	}
	given, err := u.give(at, e.base, h)
	if err != nil {
		return err
	}
	u.recordIfOther(e, given)
	if file != nil {
		if err := setXattrs(file, h); err != nil {
			return err
		}
	}
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeGNUSparse:
		// No setuid and setgid: the file is the caller's, and so would be the
		// program that another user starts. The bits are recorded.
		if err := unix.Fchmod(int(file.Fd()), uint32(h.Mode)&0o777); err != nil {
			return os.NewSyscallError("fchmod", err)
		}
	case tar.TypeDir:
		return nil
	}
	times := []unix.Timespec{timespec(h.ModTime), timespec(h.ModTime)}
	return os.NewSyscallError("utimensat", unix.UtimesNanoAt(at, e.base, times, unix.AT_SYMLINK_NOFOLLOW))
}

// copy writes a file's content. Neither side is asked for a way of its own, which
// for a tar archive is a buffer made for each file.
func (u *unpacker) copy(to *os.File, data io.Reader) (int64, error) {
	if u.buffer == nil {
		u.buffer = make([]byte, 256<<10)
	}
	return io.CopyBuffer(struct{ io.Writer }{to}, struct{ io.Reader }{data}, u.buffer)
}

// clear removes what stands where an entry is to be made, except a folder that
// is to be one. It says whether that was a whiteout: then the new folder hides
// what the layers below have in theirs.
func (u *unpacker) clear(dir *os.File, e entry) (whiteout bool, err error) {
	var st unix.Stat_t
	err = unix.Fstatat(int(dir.Fd()), e.base, &st, unix.AT_SYMLINK_NOFOLLOW)
	if err == unix.ENOENT {
		return false, nil
	}
	if err != nil {
		return false, os.NewSyscallError("fstatat", err)
	}
	isDir := st.Mode&unix.S_IFMT == unix.S_IFDIR
	if isDir && e.header.Typeflag == tar.TypeDir {
		return false, nil
	}
	return st.Mode&unix.S_IFMT == unix.S_IFCHR, layer.RemoveTree(dir, e.base)
}

// link makes a hard link to a file or symbolic link of this layer. Its folder
// may be reached through links of the layer, the file itself may not.
func (u *unpacker) link(target string, at int, base string) error {
	dir, err := u.open(path.Dir(target))
	if err != nil {
		return err
	}
	defer dir.Close()
	var st unix.Stat_t
	if err := unix.Fstatat(int(dir.Fd()), path.Base(target), &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return os.NewSyscallError("fstatat", err)
	}
	if st.Mode&unix.S_IFMT == unix.S_IFCHR {
		return errors.New("a hard link to a whiteout")
	}
	return os.NewSyscallError("linkat", unix.Linkat(int(dir.Fd()), path.Base(target), at, base, 0))
}

// whiteOut hides a name of the layers below: a character device 0:0, which
// every user may make. Where this layer has the name itself, that stays, and a
// folder becomes opaque: a whiteout is about the layers below only.
func (u *unpacker) whiteOut(dir *os.File, base string) error {
	u.contents.Whiteouts++
	var err error
	if u.model {
		err = os.NewSyscallError("linkat", unix.Linkat(int(u.root.Fd()), whiteoutModel, int(dir.Fd()), base, 0))
	} else {
		err = os.NewSyscallError("mknodat", unix.Mknodat(int(dir.Fd()), base, unix.S_IFCHR, 0))
	}
	if !errors.Is(err, unix.EEXIST) {
		return err
	}
	child, err := openChild(int(dir.Fd()), base, unix.O_RDONLY|unix.O_DIRECTORY)
	if errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
		return nil
	}
	if err != nil {
		return err
	}
	defer child.Close()
	return setOpaque(child)
}

// xattrRecord begins the records that hold extended attributes: star(5)'s, which
// GNU tar and docker write too.
const xattrRecord = "SCHILY.xattr."

// xattrs are the extended attributes of an entry.
func xattrs(h *tar.Header) map[string]string {
	var out map[string]string
	for key, value := range h.PAXRecords {
		if name, ok := strings.CutPrefix(key, xattrRecord); ok {
			if out == nil {
				out = map[string]string{}
			}
			out[name] = value
		}
	}
	return out
}

// keptXattr says whether an attribute of the archive is set. user.overlay.* is
// what overlayfs itself reads in a user namespace: one from an archive would
// redirect a folder to another one, or hide layers below. Others than user.*
// need a privilege.
func keptXattr(name string) bool {
	return strings.HasPrefix(name, "user.") && !strings.HasPrefix(name, "user.overlay.")
}

func setXattrs(file *os.File, h *tar.Header) error {
	for name, value := range xattrs(h) {
		if !keptXattr(name) {
			continue
		}
		if err := unix.Fsetxattr(int(file.Fd()), name, []byte(value), 0); err != nil {
			return os.NewSyscallError("fsetxattr "+name, err)
		}
	}
	return nil
}

func setOpaque(dir *os.File) error {
	err := unix.Fsetxattr(int(dir.Fd()), "user.overlay.opaque", []byte("y"), 0)
	if err == unix.EOPNOTSUPP {
		return errors.New("the file system of the store has no user.* attributes, which an opaque folder needs")
	}
	return os.NewSyscallError("fsetxattr user.overlay.opaque", err)
}

// createChild makes a file where there is none.
func createChild(at int, base string) (*os.File, error) {
	return openChild(at, base, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL)
}

// openChild opens one name of a folder and follows no link.
func openChild(at int, base string, flags int) (*os.File, error) {
	fd, err := unix.Openat(at, base, flags|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, os.NewSyscallError("openat", err)
	}
	return os.NewFile(uintptr(fd), base), nil
}

// timespec is exact where nanoseconds since 1970 would overflow.
func timespec(t time.Time) unix.Timespec {
	if t.IsZero() {
		t = time.Unix(0, 0)
	}
	return unix.Timespec{Sec: t.Unix(), Nsec: int64(t.Nanosecond())}
}
