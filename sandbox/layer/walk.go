package layer

import (
	"errors"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox"
)

// copier goes through what is copied. It opens nothing but folders and regular
// files, each beneath the source and through no link.
type copier struct {
	out  *Out
	from string
	all  bool // nothing is left out to protect the host
	git  bool // a repository is copied as well: from says so
	sink sink
	end  error       // of the sink, after which no more can be copied
	host *folderSink // is asked for what it has, where git must not find a repository
}

// sink is where a copy goes to. To is a path beneath it.
type sink interface {
	// folder makes a folder, or takes one that is there, which is not made.
	folder(to string, st *unix.Stat_t) (made bool, err error)
	// finish gives a folder that was made, with folder src, its mode and times.
	finish(to string, src int, st *unix.Stat_t) error
	file(to string, src int, st *unix.Stat_t) error
	link(to, target string, st *unix.Stat_t) error
}

// fatal is an error of a sink after which no more can be copied.
type fatal struct{ error }

func (c *copier) skip(rel, why string) {
	c.out.Skipped = append(c.out.Skipped, OutOne{path.Join(c.from, rel), why})
}

// fail notes an error down, and says whether that is the end.
func (c *copier) fail(rel string, err error) bool {
	var end *fatal
	if errors.As(err, &end) {
		c.end = end.error
		return true
	}
	c.out.Failed = append(c.out.Failed, OutOne{path.Join(c.from, rel), err.Error()})
	return false
}

// copy copies a source to a name of the sink.
func (c *copier) copy(src *source, name string) {
	switch kindOf(&src.st) {
	case unix.S_IFREG:
		fd, err := unix.Open(procName(src.fd), unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
		if err != nil {
			c.fail(".", err)
			return
		}
		defer unix.Close(fd)
		c.file(fd, &src.st, ".", name)
	case unix.S_IFDIR:
		c.tree(src.fd, &src.st, name)
	case unix.S_IFLNK:
		target, err := readlinkAt(src.fd, "")
		if err != nil {
			c.fail(".", err)
			return
		}
		c.link(target, &src.st, ".", name)
	default:
		c.skip(".", "neither a file nor a folder")
	}
}

// file copies one open file.
func (c *copier) file(src int, st *unix.Stat_t, rel, to string) bool {
	if err := c.sink.file(to, src, st); err != nil {
		return c.fail(rel, err)
	}
	c.out.Files++
	c.out.Size += st.Size
	return false
}

func (c *copier) link(target string, st *unix.Stat_t, rel, to string) bool {
	if !c.all && leadsOut(rel, target) {
		c.skip(rel, "a link that leads out of what is copied")
		return false
	}
	if err := c.sink.link(to, target, st); err != nil {
		return c.fail(rel, err)
	}
	c.out.Files++
	return false
}

// tree copies a folder with all in it.
func (c *copier) tree(src int, st *unix.Stat_t, to string) {
	type folder struct {
		rel string
		st  unix.Stat_t
	}
	var made []folder
	list := []folder{{".", *st}}
	end := false
	for len(list) > 0 && !end {
		f := list[len(list)-1]
		list = list[:len(list)-1]
		if len(f.rel) > deepest {
			c.skip(f.rel, "too deep")
			continue
		}
		dir, err := openBeneath(src, f.rel, folderList)
		if err != nil {
			end = c.fail(f.rel, err)
			continue
		}
		if f.st.Dev != st.Dev && ofTheKernel(dir) {
			c.skip(f.rel, "the kernel makes what is in it")
			unix.Close(dir)
			continue
		}
		fresh, err := c.sink.folder(path.Join(to, f.rel), &f.st)
		if err != nil {
			end = c.fail(f.rel, err)
			unix.Close(dir)
			continue
		}
		if fresh {
			made = append(made, f)
		}
		names, err := namesIn(dir)
		if err != nil {
			c.fail(f.rel, err)
		}
		slices.Sort(names)
		if c.host != nil && c.host.isGitFolder(dir, names, path.Join(to, f.rel)) {
			c.skip(f.rel, "git takes it for a repository, which makes the host run code later: name it itself, as a path that ends with .git")
			unix.Close(dir)
			continue
		}
		for _, n := range names {
			rel := path.Join(f.rel, n)
			in, there, err := lstatAt(dir, n)
			switch {
			case err != nil:
				end = c.fail(rel, err)
			case !there:
			case !c.all && sandbox.GuardedName(rel) == rel:
				c.skip(rel, "it makes the host run code later: name it itself")
			case isFolder(&in):
				list = append(list, folder{rel, in})
			default:
				end = c.entry(dir, n, rel, path.Join(to, rel), &in)
			}
			if end {
				break
			}
		}
		unix.Close(dir)
	}
	for _, f := range slices.Backward(made) { // the innermost first
		fd, err := openBeneath(src, f.rel, folderPath)
		if err != nil {
			fd = -1 // it is gone
		}
		if err := c.sink.finish(path.Join(to, f.rel), fd, &f.st); err != nil {
			c.fail(f.rel, err)
		}
		if fd >= 0 {
			unix.Close(fd)
		}
	}
}

// ofTheKernel says whether a folder is of a file system without files of its own:
// they have no size, and some act when they are opened.
func ofTheKernel(dir int) bool {
	var st unix.Statfs_t
	if unix.Fstatfs(dir, &st) != nil {
		return false
	}
	switch st.Type {
	case unix.PROC_SUPER_MAGIC, unix.SYSFS_MAGIC, unix.CGROUP_SUPER_MAGIC, unix.CGROUP2_SUPER_MAGIC, unix.DEBUGFS_MAGIC, unix.TRACEFS_MAGIC, unix.BPF_FS_MAGIC, unix.SECURITYFS_MAGIC:
		return true
	}
	return false
}

// entry copies what is no folder.
func (c *copier) entry(dir int, name, rel, to string, st *unix.Stat_t) bool {
	switch kindOf(st) {
	case unix.S_IFREG:
		fd, err := openBeneath(dir, name, fileRead)
		if err != nil {
			return c.fail(rel, err)
		}
		defer unix.Close(fd)
		var now unix.Stat_t
		if err := unix.Fstat(fd, &now); err != nil || kindOf(&now) != unix.S_IFREG {
			return c.fail(rel, errors.New("it is no file any more"))
		}
		return c.file(fd, &now, rel, to)
	case unix.S_IFLNK:
		target, err := readlinkAt(dir, name)
		if err != nil {
			return c.fail(rel, err)
		}
		return c.link(target, st, rel, to)
	case unix.S_IFIFO:
		c.skip(rel, "a FIFO")
	case unix.S_IFSOCK:
		c.skip(rel, "a socket")
	default:
		c.skip(rel, "a device")
	}
	return false
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
