package layer

import (
	"errors"
	"path"

	"golang.org/x/sys/unix"
)

// folderSink is a folder that something is copied into: of the host, or of a
// sandbox that runs. No link is followed beneath it.
type folderSink struct {
	top     int
	topName string   // for the journal
	journal *journal // nil inside
	inside  bool
}

func (s *folderSink) file(to string, src int, st *unix.Stat_t) error {
	return s.put(to, func(at *spot) error { return at.putFile(src, st) })
}

// put finds the spot of a regular file.
func (s *folderSink) put(to string, write func(*spot) error) error {
	parent, name, err := parentOf(s.top, to)
	if err != nil {
		return err
	}
	defer unix.Close(parent)
	now, there, err := lstatAt(parent, name)
	switch {
	case err != nil:
		return err
	case there && kindOf(&now) == unix.S_IFLNK:
		return s.taken("a symbolic link has the name")
	case there && kindOf(&now) != unix.S_IFREG:
		return s.taken("something else than a file has the name")
	case there && s.inside && isMountPoint(parent, name):
		// From outside of its mount namespace the kernel would let the file be
		// replaced, and take the mount away with it (rename(2), detach_mounts).
		return s.taken("something is mounted on the file that has the name")
	}
	return write(&spot{parent: parent, name: name, there: there, journal: s.journal, top: s.topName, rel: path.Dir(to)})
}

func (s *folderSink) taken(what string) error {
	if s.inside {
		return errors.New(what + " inside")
	}
	return errors.New(what + " on the host")
}

// isMountPoint says whether something is mounted on a name in an open folder.
func isMountPoint(dir int, name string) bool {
	var on, around unix.Statx_t
	err1 := unix.Statx(dir, name, unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT, unix.STATX_MNT_ID, &on)
	err2 := unix.Statx(dir, "", unix.AT_EMPTY_PATH, unix.STATX_MNT_ID, &around)
	return err1 != nil || err2 != nil || on.Mnt_id != around.Mnt_id
}

func (s *folderSink) folder(to string, _ *unix.Stat_t) (made bool, err error) {
	parent, name, err := parentOf(s.top, to)
	if err != nil {
		return false, err
	}
	defer unix.Close(parent)
	err = unix.Mkdirat(parent, name, 0o700)
	if err == nil {
		return true, nil
	}
	switch now, there, lerr := lstatAt(parent, name); {
	case lerr != nil || !there:
		return false, err
	case isFolder(&now):
		return false, nil
	case kindOf(&now) == unix.S_IFLNK:
		return false, s.taken("a symbolic link has the name")
	}
	return false, s.taken("something else than a folder has the name")
}

func (s *folderSink) finish(to string, src int, st *unix.Stat_t) error {
	fd, err := openBeneath(s.top, to, folderPath)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if src >= 0 {
		copyAttributes(procName(src), procName(fd))
	}
	return errors.Join(unix.Chmod(procName(fd), st.Mode&modeBits), setTimes(fd, st))
}

func (s *folderSink) link(to, target string, st *unix.Stat_t) error {
	parent, name, err := parentOf(s.top, to)
	if err != nil {
		return err
	}
	defer unix.Close(parent)
	now, there, err := lstatAt(parent, name)
	if err != nil {
		return err
	}
	if there {
		if kindOf(&now) == unix.S_IFLNK {
			if old, err := readlinkAt(parent, name); err == nil && old == target {
				return nil
			}
		}
		return s.taken("something has the name already, which a link does not replace,")
	}
	return (&spot{parent: parent, name: name, journal: s.journal, top: s.topName, rel: path.Dir(to)}).putLink(target, st)
}

// isGitFolder says whether a folder of the host would be a repository with the
// names of one inside.
func (s *folderSink) isGitFolder(dir int, names []string, to string) bool {
	host, err := openBeneath(s.top, to, folderPath)
	if err != nil {
		host = -1
	} else {
		defer unix.Close(host)
	}
	return isGitFolder(dir, names, host)
}
