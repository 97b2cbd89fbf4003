package layer

import (
	"bytes"
	"errors"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox"
)

// Item is one change that an upper layer holds against the host.
type Item struct {
	Kind string `json:"kind"` // sandbox.Added, Modified or Deleted
	Path string `json:"path"` // where CMD sees it
	Host string `json:"host"` // where it is on the host
	Type string `json:"type"` // "file", "folder", "link", or of what is deleted ""
	Size int64  `json:"size,omitempty"`
	// Guarded is what of the path makes the host run code later, or "".
	Guarded string `json:"guarded,omitempty"`
	// Conflict says why the host's own version is newer, or "".
	Conflict string `json:"conflict,omitempty"`
	// Skip says why it cannot be copied, or "".
	Skip string `json:"skip,omitempty"`

	upper int    // index in Record.Uppers
	rel   string // beneath the upper layer and beneath the lower
	// whole is the folder that can leave the layer only as a whole, since it
	// hides all below it; "" where this item can leave it alone.
	whole string
	st    unix.Stat_t // in the layer; of what is deleted, nothing
	host  unix.Stat_t // on the host, where it is there
	there bool
}

const (
	typeFile   = "file"
	typeFolder = "folder"
	typeLink   = "link"
	// same is the Kind of what is no change any more: the host has it too.
	same = ""
)

// Changes is what a layer holds.
type Changes struct {
	Items []Item `json:"changes"`
	// OwnFiles and OwnSize (bytes) are what CMD left in HOME and in tools'
	// folders: it belongs to the layer and not to the host.
	OwnFiles int   `json:"own_files"`
	OwnSize  int64 `json:"own_size"`

	done   []Item   // what the host has already
	merged []merged // folders of the layer that only hold changes
}

type merged struct {
	upper int
	rel   string
	mode  uint32
}

// Changes compares the layer with the host, in the order of paths. What
// belongs to the layer and not to the host is only counted.
func (l *Layer) Changes() (*Changes, error) {
	out := &Changes{}
	var errs []error
	for i, u := range l.Record.Uppers {
		if l.own(&u) {
			errs = append(errs, countOwn(&u, out))
			continue
		}
		s := scan{layer: l, index: i, upper: u, out: out}
		errs = append(errs, s.run())
	}
	slices.SortStableFunc(out.Items, func(a, b Item) int { return strings.Compare(a.Path, b.Path) })
	return out, errors.Join(errs...)
}

// scan compares one upper layer with the folder of the host below it.
type scan struct {
	layer *Layer
	index int
	upper sandbox.Upper
	out   *Changes
	top   int
	lower int
}

// at is a folder that is still to be listed, and what of the host is below it.
type at struct {
	rel   string
	below below
	whole string
}

type below uint8

const (
	nothing below = iota // it is new, or stands in place of something else
	shown                // overlayfs shows both
	covered              // the host's was deleted, and this one made since
)

func (s *scan) run() error {
	var err error
	if s.top, err = openTop(s.upper.Dir); err != nil {
		if errors.Is(err, unix.ENOENT) {
			return nil // no run has come so far
		}
		return err
	}
	defer unix.Close(s.top)
	if s.lower, err = openTop(s.upper.Lower); err != nil {
		return err
	}
	defer unix.Close(s.lower)
	list := []at{{rel: ".", below: shown}}
	for len(list) > 0 {
		next := list[len(list)-1]
		list = list[:len(list)-1]
		folders, err := s.folder(next)
		if err != nil {
			return pathError("read", path.Join(s.upper.Target, next.rel), err)
		}
		list = append(list, folders...)
	}
	return nil
}

// folder lists one folder of the upper layer.
func (s *scan) folder(f at) ([]at, error) {
	dir, err := openBeneath(s.top, f.rel, folderList)
	if err == unix.EACCES {
		s.skip(f, "CMD took away the right to read it")
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer unix.Close(dir)
	names, err := namesIn(dir)
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	host := -1
	if f.below != nothing {
		host, err = openBeneath(s.lower, f.rel, folderList)
		switch err {
		case nil:
			defer unix.Close(host)
		case unix.EACCES:
			if host, err = openBeneath(s.lower, f.rel, folderPath); err != nil {
				return nil, err
			}
			defer unix.Close(host)
		case unix.ENOENT, unix.ENOTDIR, unix.ELOOP:
			host = -1
		default:
			return nil, err
		}
	}
	opaque := isOpaque(dir)
	if f.below == shown && !opaque && f.rel != "." {
		var st unix.Stat_t
		if err := unix.Fstat(dir, &st); err != nil {
			return nil, err
		}
		s.out.merged = append(s.out.merged, merged{s.index, f.rel, st.Mode & modeBits})
	}
	if opaque {
		if f.below == shown {
			f.below = covered
		}
		if f.whole == "" && f.rel != "." {
			f.whole = f.rel
		}
	}
	var folders []at
	for _, name := range names {
		next, err := s.entry(dir, host, name, f)
		if err != nil {
			return nil, err
		}
		if next != nil {
			folders = append(folders, *next)
		}
	}
	if f.below == covered && host >= 0 {
		err = s.deletedIn(host, f, names)
	}
	return folders, err
}

// skip tells of a folder that cannot be listed.
func (s *scan) skip(f at, why string) {
	for i := range s.out.Items {
		if s.out.Items[i].upper == s.index && s.out.Items[i].rel == f.rel {
			s.out.Items[i].Skip = why
			return
		}
	}
	item := s.item(f.rel, f.whole)
	item.Kind, item.Type, item.Skip = sandbox.Modified, typeFolder, why
	s.out.Items = append(s.out.Items, item)
}

func (s *scan) item(rel, whole string) Item {
	return Item{
		Path: path.Join(s.upper.Target, rel), Host: path.Join(s.upper.Lower, rel),
		Guarded: guardedIn(&s.upper, rel), upper: s.index, rel: rel, whole: whole,
	}
}

// entry compares one name. It returns what is to be listed next, if it is a
// folder. Host is the host's folder, or -1.
func (s *scan) entry(dir, host int, name string, f at) (*at, error) {
	it := s.item(path.Join(f.rel, name), f.whole)
	var err error
	if it.st, it.there, err = lstatAt(dir, name); err != nil || !it.there {
		return nil, err
	}
	it.there = false
	if host >= 0 {
		if it.host, it.there, err = lstatAt(host, name); err != nil && err != unix.EACCES {
			return nil, err
		}
	}
	it.Kind = sandbox.Added
	if it.there {
		it.Kind = sandbox.Modified
	}
	switch kindOf(&it.st) {
	case unix.S_IFCHR:
		if it.st.Rdev == 0 {
			return nil, s.whiteout(dir, host, name, it)
		}
		it.Skip = "a device"
	case unix.S_IFIFO:
		it.Skip = "a FIFO"
	case unix.S_IFSOCK:
		it.Skip = "a socket"
	case unix.S_IFREG:
		it.Type, it.Size = typeFile, it.st.Size
		if it.there && s.sameFile(dir, host, name, &it) {
			it.Kind = same
		}
	case unix.S_IFLNK:
		it.Type = typeLink
		if it.there && sameLink(dir, host, name, &it) {
			it.Kind = same
		}
	case unix.S_IFDIR:
		return s.subfolder(dir, host, name, f, it)
	default:
		it.Skip = "of a kind that is not known"
	}
	s.add(dir, host, name, it)
	return nil, nil
}

func (s *scan) add(dir, host int, name string, it Item) {
	if it.Kind == same {
		s.out.done = append(s.out.done, it)
		return
	}
	if it.there && it.Skip == "" {
		it.Conflict, it.Skip = s.newer(dir, host, name, &it)
	}
	s.out.Items = append(s.out.Items, it)
}

func (s *scan) whiteout(dir, host int, name string, it Item) error {
	it.Kind = sandbox.Deleted
	if !it.there || host < 0 {
		it.Kind = same
	} else if isFolder(&it.host) {
		it.Type = typeFolder
	}
	s.add(dir, host, name, it)
	return nil
}

func (s *scan) subfolder(dir, host int, name string, f at, it Item) (*at, error) {
	it.Type = typeFolder
	next := at{rel: it.rel, whole: f.whole}
	switch {
	case it.there && isFolder(&it.host):
		next.below = f.below
		if it.st.Mode&modeBits == it.host.Mode&modeBits {
			it.Kind = same
		}
		if it.Kind == same {
			if f.whole != "" {
				s.out.done = append(s.out.done, it)
			}
			return &next, nil
		}
		s.out.Items = append(s.out.Items, it) // its mode alone: no version of a content is lost
	default:
		if next.whole == "" {
			next.whole = it.rel // also where overlayfs did not mark it
		}
		it.whole = next.whole
		s.add(dir, host, name, it)
	}
	return &next, nil
}

// deletedIn lists what a folder that hides all below it no longer shows.
func (s *scan) deletedIn(host int, f at, kept []string) error {
	names, err := namesIn(host)
	if err != nil {
		return err
	}
	made := int(-1)
	if made, err = openBeneath(s.top, f.rel, folderPath); err != nil {
		return err
	}
	defer unix.Close(made)
	for _, n := range names {
		if _, found := slices.BinarySearch(kept, n); found {
			continue
		}
		it := s.item(path.Join(f.rel, n), f.whole)
		it.Kind = sandbox.Deleted
		if it.host, it.there, err = lstatAt(host, n); err != nil || !it.there {
			continue
		}
		if isFolder(&it.host) {
			it.Type = typeFolder
		}
		s.add(made, host, ".", it)
	}
	return nil
}

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

// isOpaque says whether overlayfs shows nothing of the folder below.
func isOpaque(fd int) bool {
	var value [4]byte
	n, err := unix.Fgetxattr(fd, "user.overlay.opaque", value[:])
	return err == nil && n >= 1 && value[0] == 'y'
}

// countOwn counts the files of an upper layer.
func countOwn(u *sandbox.Upper, out *Changes) error {
	return walkFiles(u.Dir, func(st *unix.Stat_t) {
		out.OwnFiles++
		out.OwnSize += st.Size
	})
}

// Size is how much room the layer takes on the disk, in bytes. A file with
// several names counts once for each.
func (l *Layer) Size() int64 {
	n := int64(0)
	_ = walkFiles(l.dir, func(st *unix.Stat_t) { n += st.Blocks * 512 })
	return n
}

// walkFiles calls f for all in a folder that is no folder and no whiteout.
func walkFiles(dir string, f func(*unix.Stat_t)) error {
	top, err := openTop(dir)
	if err != nil {
		if errors.Is(err, unix.ENOENT) {
			return nil
		}
		return err
	}
	defer unix.Close(top)
	list := []string{"."}
	for len(list) > 0 {
		rel := list[len(list)-1]
		list = list[:len(list)-1]
		fd, err := openBeneath(top, rel, folderList)
		if err != nil {
			continue // of mode 0: overlayfs' own, or CMD's
		}
		names, _ := namesIn(fd)
		for _, n := range names {
			st, there, err := lstatAt(fd, n)
			switch {
			case err != nil || !there:
			case isFolder(&st):
				list = append(list, path.Join(rel, n))
			case kindOf(&st) == unix.S_IFCHR && st.Rdev == 0:
			default:
				f(&st)
			}
		}
		unix.Close(fd)
	}
	return nil
}
