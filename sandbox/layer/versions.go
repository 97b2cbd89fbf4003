package layer

import (
	"bytes"
	"path"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox"
)

// Two versions of a file, the layer's and the host's: whether they are the same,
// and which of them is newer.

// modeBits are the bits of a mode that are compared and kept: no setuid and no
// setgid bit reaches the host.
const modeBits = 0o1777

// sameFile says whether the host's file has the layer's mode and content.
func (s *scan) sameFile(dir, host int, name string, it *Item) bool {
	if kindOf(&it.host) != unix.S_IFREG || it.st.Size != it.host.Size || it.st.Mode&modeBits != it.host.Mode&modeBits {
		return false
	}
	return sameContent(dir, name, host, name, it.Size)
}

func sameContent(dirA int, a string, dirB int, b string, size int64) bool {
	fa, err := openBeneath(dirA, a, fileRead)
	if err != nil {
		return false
	}
	defer unix.Close(fa)
	fb, err := openBeneath(dirB, b, fileRead)
	if err != nil {
		return false
	}
	defer unix.Close(fb)
	bufA, bufB := make([]byte, 64<<10), make([]byte, 64<<10)
	for off := int64(0); off < size; {
		na, err := unix.Pread(fa, bufA, off)
		if err != nil || na <= 0 {
			return false
		}
		nb, err := preadFull(fb, bufB[:na], off)
		if err != nil || nb != na || !bytes.Equal(bufA[:na], bufB[:nb]) {
			return false
		}
		off += int64(na)
	}
	return true
}

func preadFull(fd int, b []byte, off int64) (int, error) {
	n := 0
	for n < len(b) {
		k, err := unix.Pread(fd, b[n:], off+int64(n))
		if err != nil || k <= 0 {
			return n, err
		}
		n += k
	}
	return n, nil
}

func sameLink(dir, host int, name string, it *Item) bool {
	if kindOf(&it.host) != unix.S_IFLNK {
		return false
	}
	a, errA := readlinkAt(dir, name)
	b, errB := readlinkAt(host, name)
	return errA == nil && errB == nil && a == b
}

// newer says whether the host's version has changed since the run began in
// which the layer's was made, and whether it can be replaced at all. The time at
// which the layer's file was made is the kernel's, and CMD cannot set it.
func (s *scan) newer(dir, host int, name string, it *Item) (conflict, skip string) {
	made := s.layer.Record.Created
	var stx unix.Statx_t
	err := unix.Statx(dir, name, unix.AT_SYMLINK_NOFOLLOW|unix.AT_EMPTY_PATH, unix.STATX_BTIME, &stx)
	if err == nil && stx.Mask&unix.STATX_BTIME != 0 {
		made = time.Unix(stx.Btime.Sec, int64(stx.Btime.Nsec))
	}
	since := s.layer.began(made)
	if !isFolder(&it.host) {
		return changedSince(&it.host, since), ""
	}
	if it.Type == typeFolder && it.Kind != sandbox.Deleted {
		return "", ""
	}
	return inspectTree(host, path.Base(it.rel), since)
}

func changedSince(st *unix.Stat_t, since time.Time) string {
	changed := time.Unix(st.Ctim.Sec, st.Ctim.Nsec)
	if changed.Before(since) {
		return ""
	}
	return "changed on the host at " + changed.Format("15:04:05 on 2006-01-02") + ", after the run had begun"
}

// inspectTree looks through a folder of the host that is to go as a whole.
func inspectTree(parent int, name string, since time.Time) (conflict, skip string) {
	top, err := openBeneath(parent, name, folderPath)
	if err != nil {
		return "", "it cannot be opened: " + err.Error()
	}
	defer unix.Close(top)
	var st unix.Stat_t
	if err := unix.Fstat(top, &st); err != nil {
		return "", err.Error()
	}
	dev := st.Dev
	list := []string{"."}
	for len(list) > 0 {
		rel := list[len(list)-1]
		list = list[:len(list)-1]
		dir, err := openBeneath(top, rel, folderList)
		if err != nil {
			return conflict, path.Join(name, rel) + " in it cannot be read: " + err.Error()
		}
		names, err := namesIn(dir)
		for _, n := range names {
			st, there, serr := lstatAt(dir, n)
			if serr != nil || !there {
				continue
			}
			in := path.Join(name, rel, n)
			if c := changedSince(&st, since); c != "" && conflict == "" {
				conflict = in + " in it was " + c
			}
			if !isFolder(&st) {
				continue
			}
			switch {
			case st.Dev != dev:
				skip = in + " in it is another mount"
			case int(st.Uid) != unix.Getuid():
				skip = in + " in it belongs to another user (uid " + strconv.Itoa(int(st.Uid)) + ")"
			}
			list = append(list, path.Join(rel, n))
		}
		unix.Close(dir)
		if err != nil || skip != "" {
			return conflict, skip
		}
	}
	return conflict, skip
}
