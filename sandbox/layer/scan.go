package layer

import (
	"errors"
	"path"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox"
)

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
	git   string // the folder around it that git takes for a repository, or ""
}

type below uint8

const (
	nothing below = iota // it is new, or stands in place of something else
	shown                // overlayfs shows both
	covered              // the host's was deleted, and this one made since
)

func (s *scan) run() error {
	var err error
	if s.top, err = s.layer.openUpper(&s.upper); err != nil {
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
	if s.layer.live && (err == unix.ENOENT || err == unix.ENOTDIR || err == unix.ELOOP) {
		return nil, nil // CMD has just removed it, or put something else there
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
	if f.git == "" && isGitFolder(dir, names, host) {
		f.git = f.rel
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
	if s.out.room += itemRoom + len(it.Path) + len(it.Host) + len(it.rel); s.out.room > mostRoom {
		return nil, errTooMuch
	}
	if it.Guarded == "" {
		it.Guarded = f.git
	}
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
		s.leads(dir, name, &it)
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
	next := at{rel: it.rel, whole: f.whole, git: f.git}
	if len(it.rel) > deepest {
		it.Skip = "too deep"
		s.add(dir, host, name, it)
		return nil, nil
	}
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
		if s.layer.live {
			return nil
		}
		return err
	}
	defer unix.Close(made)
	for _, n := range names {
		if _, found := slices.BinarySearch(kept, n); found {
			continue
		}
		it := s.item(path.Join(f.rel, n), f.whole)
		if it.Guarded == "" {
			it.Guarded = f.git
		}
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

// isOpaque says whether overlayfs shows nothing of the folder below.
func isOpaque(fd int) bool {
	var value [4]byte
	n, err := unix.Fgetxattr(fd, "user.overlay.opaque", value[:])
	return err == nil && n >= 1 && value[0] == 'y'
}
