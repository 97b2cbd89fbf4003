package layer

import (
	"errors"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// spot is a name in an open folder of the host, where something is to be put.
type spot struct {
	parent   int    // an O_PATH descriptor
	name     string // in it
	top, rel string // the folder, for the journal
	journal  *journal
	there    bool // something has the name, and is to be replaced
	folder   bool // it is a folder
}

var errChanged = errors.New("it changed on the host meanwhile")

// putFile makes a regular file with the content, mode and times of an open one.
// Under its name there is the old file or the new one, never a part.
func (s *spot) putFile(src int, st *unix.Stat_t) error {
	return s.putContent(st, func(dst int) error {
		err := copyContent(src, dst, st.Size)
		if err == nil {
			copyAttributes(procName(src), procName(dst))
		}
		return err
	})
}

// putContent makes a regular file of what fill writes, with a mode and times.
func (s *spot) putContent(st *unix.Stat_t, fill func(dst int) error) error {
	dst, tmp, err := s.temporary()
	if err != nil {
		return err
	}
	err = fill(dst)
	if err == nil {
		err = unix.Fchmod(dst, st.Mode&modeBits)
	}
	if err == nil {
		err = setTimes(dst, st)
	}
	if err == nil && s.there {
		// The name goes to the new content on the disk, so that must be there
		// first; where nothing is replaced nothing is lost.
		err = unix.Fdatasync(dst)
	}
	if tmp == "" && err == nil {
		tmp, err = s.journal.name(s.top, s.rel)
		if err == nil {
			err = unix.Linkat(unix.AT_FDCWD, procName(dst), s.parent, tmp, unix.AT_SYMLINK_FOLLOW)
		}
	}
	if cerr := unix.Close(dst); err == nil && cerr != nil && cerr != unix.EINTR {
		err = cerr // where NFS says that its disk or the quota is full
	}
	return s.settle(tmp, err)
}

// temporary opens a new file. Where no journal notes its name down it has none
// yet, if the file system can (O_TMPFILE), so that whatever ends this process
// leaves nothing.
func (s *spot) temporary() (fd int, name string, err error) {
	if s.journal == nil {
		fd, err := unix.Openat(s.parent, ".", unix.O_TMPFILE|unix.O_WRONLY|unix.O_CLOEXEC, 0o600)
		if err != unix.EOPNOTSUPP && err != unix.EISDIR && err != unix.EINVAL {
			return fd, "", err
		}
	}
	if name, err = s.journal.name(s.top, s.rel); err != nil {
		return -1, "", err
	}
	fd, err = unix.Openat(s.parent, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	return fd, name, err
}

func (s *spot) putLink(target string, st *unix.Stat_t) error {
	tmp, err := s.journal.name(s.top, s.rel)
	if err != nil {
		return err
	}
	if err := unix.Symlinkat(target, s.parent, tmp); err != nil {
		return err
	}
	return s.settle(tmp, unix.UtimesNanoAt(s.parent, tmp, times(st), unix.AT_SYMLINK_NOFOLLOW))
}

// putHardLink gives a file of the host another name. It is false where what has
// the first name is not that file any more.
func (s *spot) putHardLink(from int, name string, ino uint64) (bool, error) {
	tmp, err := s.journal.name(s.top, s.rel)
	if err != nil {
		return false, err
	}
	if err := unix.Linkat(from, name, s.parent, tmp, 0); err != nil {
		return false, nil //nolint:nilerr // it is copied then
	}
	if st, there, err := lstatAt(s.parent, tmp); err != nil || !there || st.Ino != ino {
		return false, unix.Unlinkat(s.parent, tmp, 0)
	}
	return true, s.settle(tmp, nil)
}

// putFolder makes an empty folder, which only its owner may enter yet.
func (s *spot) putFolder() error {
	if !s.there {
		return unix.Mkdirat(s.parent, s.name, 0o700)
	}
	tmp, err := s.journal.name(s.top, s.rel)
	if err != nil {
		return err
	}
	if err := unix.Mkdirat(s.parent, tmp, 0o700); err != nil {
		return err
	}
	return s.exchange(tmp)
}

// remove takes away what has the name.
func (s *spot) remove() error {
	if !s.folder {
		return unix.Unlinkat(s.parent, s.name, 0)
	}
	tmp, err := s.journal.name(s.top, s.rel)
	if err != nil {
		return err
	}
	if err := unix.Renameat(s.parent, s.name, s.parent, tmp); err != nil {
		return err
	}
	return removeTree(s.parent, tmp)
}

// settle gives what was made its name, or removes it where err says so.
func (s *spot) settle(tmp string, err error) error {
	switch {
	case err != nil:
	case s.there && s.folder:
		return s.exchange(tmp)
	case s.there:
		err = unix.Renameat(s.parent, tmp, s.parent, s.name)
	default:
		err = unix.Renameat2(s.parent, tmp, s.parent, s.name, unix.RENAME_NOREPLACE)
		if err == unix.EINVAL { // a file system without it
			err = unix.Renameat(s.parent, tmp, s.parent, s.name)
		}
		if err == unix.EEXIST {
			err = errChanged
		}
	}
	if err != nil && tmp != "" {
		_ = unix.Unlinkat(s.parent, tmp, 0)
	}
	return err
}

// exchange puts a temporary name's content in place of another kind of thing,
// and removes that.
func (s *spot) exchange(tmp string) error {
	err := unix.Renameat2(s.parent, tmp, s.parent, s.name, unix.RENAME_EXCHANGE)
	if err == unix.EINVAL { // a file system without it
		var away string
		if away, err = s.journal.name(s.top, s.rel); err == nil {
			if err = unix.Renameat(s.parent, s.name, s.parent, away); err == nil {
				err = unix.Renameat(s.parent, tmp, s.parent, s.name)
				tmp = away
			}
		}
	}
	if rerr := removeTree(s.parent, tmp); err == nil {
		err = rerr
	}
	return err
}

// copyContent copies size bytes, by reference where the file system can, and
// leaves holes where there are some.
func copyContent(src, dst int, size int64) error {
	if size > 0 && unix.IoctlFileClone(dst, src) == nil {
		return nil
	}
	buf := make([]byte, min(1<<20, max(size, 1)))
	for off := int64(0); off < size; {
		data, err := unix.Seek(src, off, unix.SEEK_DATA)
		if err == unix.ENXIO {
			break // a hole up to the end
		}
		end := size
		if err != nil {
			data = off // a file system that knows no holes
		} else if hole, err := unix.Seek(src, data, unix.SEEK_HOLE); err == nil {
			end = min(hole, size)
		}
		for data < end {
			n, err := unix.Pread(src, buf[:min(int64(len(buf)), end-data)], data)
			if err != nil {
				return err
			}
			if n == 0 {
				return errors.New("it became shorter while it was copied")
			}
			for done := 0; done < n; {
				k, err := unix.Pwrite(dst, buf[done:n], data+int64(done))
				if err != nil {
					return err
				}
				done += k
			}
			data += int64(n)
		}
		off = end
	}
	return unix.Ftruncate(dst, size)
}

// copyAttributes copies the extended attributes of users, as far as the host's
// file system takes them. Those of overlayfs stay behind.
func copyAttributes(src, dst string) {
	var list [8 << 10]byte
	n, err := unix.Listxattr(src, list[:])
	if err != nil || n <= 0 {
		return
	}
	var value [64 << 10]byte
	for name := range strings.SplitSeq(strings.TrimRight(string(list[:n]), "\x00"), "\x00") {
		if !strings.HasPrefix(name, "user.") || strings.HasPrefix(name, "user.overlay.") {
			continue
		}
		if k, err := unix.Getxattr(src, name, value[:]); err == nil {
			_ = unix.Setxattr(dst, name, value[:k], 0)
		}
	}
}

// procName is a path to an open file, also to one opened with O_PATH.
func procName(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }

func times(st *unix.Stat_t) []unix.Timespec { return []unix.Timespec{st.Atim, st.Mtim} }

func setTimes(fd int, st *unix.Stat_t) error {
	return unix.UtimesNanoAt(unix.AT_FDCWD, procName(fd), times(st), 0)
}
