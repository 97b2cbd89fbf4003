package layer

import (
	"errors"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox"
)

// Out is what CopyOut copied.
type Out struct {
	Files   int
	Size    int64    // bytes
	Skipped []OutOne // on purpose
	Failed  []OutOne
}

// OutOne is one thing that was not copied: its path inside, and why.
type OutOne struct{ Path, Why string }

// ErrAbsent is the error for a path that the sandbox does not have.
var ErrAbsent = errors.New("is not in the sandbox")

// CopyOut copies a path of a sandbox whose processes are gone to the host. Root
// is a descriptor of its root: links on the way are followed as inside, and none
// of them leads out of it. Beneath from no link is followed: one that stays in
// what is copied is copied as a link, one that leads elsewhere is left out,
// since what it names on the host is something else than inside.
//
// To is an absolute path on the host. Where it lies in one of the folders, whose
// content need not be the caller's own, no link is followed on the way to it.
// What has the name is replaced if it is a file, and added to if it is a folder.
// A link on the host is neither followed nor replaced. What makes the host run
// code later (sandbox.GuardedName) is left out, unless from itself names it, and
// so is all of a folder that git would take for a repository of its own.
func (s Store) CopyOut(root int, from, to string, folders []string) (*Out, error) {
	out := &Out{}
	src, err := openInRoot(root, from)
	if err != nil {
		return out, err
	}
	defer unix.Close(src)
	var st unix.Stat_t
	if err := unix.Fstat(src, &st); err != nil {
		return out, pathError("fstat", from, err)
	}
	_ = s.recover() // Sweep says what stays
	j, err := s.newJournal()
	if err != nil {
		return out, err
	}
	c := &copier{out: out, from: from, journal: j}
	c.git = sandbox.GuardedName(from) != "" || strings.HasSuffix(from, ".git")
	defer func() { j.close(len(out.Failed) > 0) }()
	if c.top, c.topName, err = openTarget(path.Dir(to), folders); err != nil {
		return out, err
	}
	defer unix.Close(c.top)
	switch kindOf(&st) {
	case unix.S_IFREG:
		fd, err := unix.Open(procName(src), unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
		if err != nil {
			c.fail(".", err)
			return out, nil
		}
		defer unix.Close(fd)
		c.file(fd, &st, ".", path.Base(to))
	case unix.S_IFDIR:
		c.tree(src, &st, path.Base(to))
	default:
		c.skip(".", "neither a file nor a folder")
	}
	return out, nil
}

// openInRoot opens a path as the sandbox sees it.
func openInRoot(root int, from string) (int, error) {
	fd, err := retryOpen(root, strings.TrimPrefix(from, "/"), &unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
	switch err {
	case nil:
		return fd, nil
	case unix.ENOENT, unix.ENOTDIR:
		return -1, ErrAbsent
	}
	return -1, pathError("openat2", from, err)
}

// openTarget opens the folder of the host that something is copied to, and makes
// it where it is missing. A link on the way is followed up to where one of the
// folders begins, and not in it, by whatever way it was reached.
func openTarget(dir string, folders []string) (int, string, error) {
	at, err := unix.Open("/", folderPath|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, dir, pathError("open", "/", err)
	}
	for part := range strings.SplitSeq(dir, "/") {
		if part == "" {
			continue
		}
		here, err := os.Readlink(procName(at))
		if err != nil {
			unix.Close(at)
			return -1, dir, err
		}
		inside := slices.ContainsFunc(folders, func(f string) bool {
			return here == f || strings.HasPrefix(here, strings.TrimSuffix(f, "/")+"/")
		})
		next, err := openPart(at, part, inside)
		if err == unix.ENOENT {
			if err = unix.Mkdirat(at, part, 0o755); err == nil || err == unix.EEXIST {
				next, err = openPart(at, part, inside)
			}
		}
		unix.Close(at)
		if err != nil {
			if inside && (err == unix.ELOOP || err == unix.ENOTDIR) {
				err = errors.New("a symbolic link or a file is on the way, which is not followed")
			}
			return -1, dir, pathError("open", dir, err)
		}
		at = next
	}
	return at, dir, nil
}

func openPart(at int, part string, inside bool) (int, error) {
	if inside {
		return openBeneath(at, part, folderPath)
	}
	return unix.Openat(at, part, folderPath|unix.O_CLOEXEC, 0)
}

type copier struct {
	out     *Out
	from    string
	git     bool // from says itself that it is a git folder
	journal *journal
	top     int // the folder on the host that gets it
	topName string
}

func (c *copier) skip(rel, why string) {
	c.out.Skipped = append(c.out.Skipped, OutOne{path.Join(c.from, rel), why})
}

func (c *copier) fail(rel string, err error) {
	c.out.Failed = append(c.out.Failed, OutOne{path.Join(c.from, rel), err.Error()})
}

// file copies one open file to a path beneath the target's folder.
func (c *copier) file(src int, st *unix.Stat_t, rel, to string) {
	parent, name, err := parentOf(c.top, to)
	if err != nil {
		c.fail(rel, err)
		return
	}
	defer unix.Close(parent)
	now, there, err := lstatAt(parent, name)
	switch {
	case err != nil:
	case there && kindOf(&now) == unix.S_IFLNK:
		err = errors.New("a symbolic link has the name on the host")
	case there && kindOf(&now) != unix.S_IFREG:
		err = errors.New("something else than a file has the name on the host")
	default:
		s := &spot{parent: parent, name: name, there: there, journal: c.journal, top: c.topName, rel: path.Dir(to)}
		err = s.putFile(src, st)
	}
	if err != nil {
		c.fail(rel, err)
		return
	}
	c.out.Files++
	c.out.Size += st.Size
}

// folderAt makes a folder on the host, or takes the one that is there.
func (c *copier) folderAt(to string) (made bool, err error) {
	parent, name, err := parentOf(c.top, to)
	if err != nil {
		return false, err
	}
	defer unix.Close(parent)
	err = unix.Mkdirat(parent, name, 0o700)
	if err != unix.EEXIST {
		return err == nil, err
	}
	switch now, _, err := lstatAt(parent, name); {
	case err != nil:
		return false, err
	case kindOf(&now) == unix.S_IFLNK:
		return false, errors.New("a symbolic link has the name on the host")
	case !isFolder(&now):
		return false, errors.New("something else than a folder has the name on the host")
	}
	return false, nil
}

// tree copies a folder with all in it.
func (c *copier) tree(src int, st *unix.Stat_t, to string) {
	type folder struct {
		rel string
		st  unix.Stat_t
	}
	var made []folder
	list := []folder{{".", *st}}
	for len(list) > 0 {
		f := list[len(list)-1]
		list = list[:len(list)-1]
		fresh, err := c.folderAt(path.Join(to, f.rel))
		if err != nil {
			c.fail(f.rel, err)
			continue
		}
		if fresh {
			made = append(made, f)
		}
		dir, err := openBeneath(src, f.rel, folderList)
		if err != nil {
			c.fail(f.rel, err)
			continue
		}
		names, err := namesIn(dir)
		if err != nil {
			c.fail(f.rel, err)
		}
		slices.Sort(names)
		if !c.git && c.isGitFolder(dir, names, path.Join(to, f.rel)) {
			c.skip(f.rel, "git takes it for a repository, which makes the host run code later: name it itself, as a path that ends with .git")
			unix.Close(dir)
			continue
		}
		for _, n := range names {
			rel := path.Join(f.rel, n)
			in, there, err := lstatAt(dir, n)
			switch {
			case err != nil:
				c.fail(rel, err)
			case !there:
			case sandbox.GuardedName(rel) == rel:
				c.skip(rel, "it makes the host run code later: name it itself")
			case isFolder(&in):
				list = append(list, folder{rel, in})
			default:
				c.entry(dir, n, rel, path.Join(to, rel), &in)
			}
		}
		unix.Close(dir)
	}
	for _, f := range slices.Backward(made) { // modes and times, the innermost first
		fd, err := openBeneath(c.top, path.Join(to, f.rel), folderPath)
		if err == nil {
			err = errors.Join(unix.Chmod(procName(fd), f.st.Mode&modeBits), setTimes(fd, &f.st))
			unix.Close(fd)
		}
		if err != nil {
			c.fail(f.rel, err)
		}
	}
}

// isGitFolder says whether a folder of the host would be a repository with the
// names of one inside.
func (c *copier) isGitFolder(dir int, names []string, to string) bool {
	host, err := openBeneath(c.top, to, folderPath)
	if err != nil {
		host = -1
	} else {
		defer unix.Close(host)
	}
	return isGitFolder(dir, names, host)
}

// entry copies what is no folder.
func (c *copier) entry(dir int, name, rel, to string, st *unix.Stat_t) {
	switch kindOf(st) {
	case unix.S_IFREG:
		fd, err := openBeneath(dir, name, fileRead)
		if err != nil {
			c.fail(rel, err)
			return
		}
		defer unix.Close(fd)
		var now unix.Stat_t
		if err := unix.Fstat(fd, &now); err != nil || kindOf(&now) != unix.S_IFREG {
			c.fail(rel, errors.New("it is no file any more"))
			return
		}
		c.file(fd, &now, rel, to)
	case unix.S_IFLNK:
		c.link(dir, name, rel, to, st)
	case unix.S_IFIFO:
		c.skip(rel, "a FIFO")
	case unix.S_IFSOCK:
		c.skip(rel, "a socket")
	default:
		c.skip(rel, "a device")
	}
}

func (c *copier) link(dir int, name, rel, to string, st *unix.Stat_t) {
	target, err := readlinkAt(dir, name)
	if err != nil {
		c.fail(rel, err)
		return
	}
	if leadsOut(rel, target) {
		c.skip(rel, "a link that leads out of what is copied")
		return
	}
	parent, base, err := parentOf(c.top, to)
	if err != nil {
		c.fail(rel, err)
		return
	}
	defer unix.Close(parent)
	now, there, err := lstatAt(parent, base)
	if err == nil && there {
		if kindOf(&now) == unix.S_IFLNK {
			if old, err := readlinkAt(parent, base); err == nil && old == target {
				return
			}
		}
		err = errors.New("something has the name on the host already, which a link does not replace")
	}
	if err == nil {
		s := &spot{parent: parent, name: base, journal: c.journal, top: c.topName, rel: path.Dir(to)}
		err = s.putLink(target, st)
	}
	if err != nil {
		c.fail(rel, err)
		return
	}
	c.out.Files++
}

// leadsOut says whether a link's target may lie outside the folder that rel is
// beneath. A ".." after a name does not count as its opposite: the name may be a
// link itself.
func leadsOut(rel, target string) bool {
	if path.IsAbs(target) {
		return true
	}
	depth := strings.Count(path.Clean(rel), "/")
	named := false
	for part := range strings.SplitSeq(target, "/") {
		switch part {
		case "", ".":
		case "..":
			if depth--; depth < 0 || named {
				return true
			}
		default:
			named = true
		}
	}
	return false
}
