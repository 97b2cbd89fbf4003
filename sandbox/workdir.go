package sandbox

import (
	"path"
	"slices"
	"strconv"
)

// workingFolder shows the caller's working folder copy on write, or says why
// not, and decides where CMD starts.
func (c *compiler) workingFolder() error {
	dir := c.feat.Dir
	c.dir = c.spec.Dir
	if !c.on["root"] {
		if c.on["overlay"] && dir != "" && !c.spec.HideDir && !c.private(dir) {
			if c.dir == "" {
				c.dir = dir // the inherited working folder is the lower layer's
			}
			return c.overlayFolder(dir, "the working folder")
		}
		return nil
	}
	if c.spec.givenRoot() {
		if c.dir == "" {
			c.dir = "/"
		}
		return nil
	}
	shown := false
	switch {
	case dir == "":
		c.note("the working folder is gone or out of reach; CMD starts in an empty " + c.home)
	case c.spec.HideDir:
	case c.covered(dir), c.asked(dir):
		shown = true
		if top := c.gitTop(dir); !c.spec.OnlyDir && (c.covered(top) || c.asked(top)) {
			if err := c.gitFolders(top); err != nil {
				return err
			}
		}
	case c.private(dir):
		if c.dir == "" {
			c.note(c.notShown(dir))
		}
	default:
		top := dir
		if !c.spec.OnlyDir {
			top = c.gitTop(dir)
		}
		why := "the working folder"
		if top != dir {
			why = "the git work tree of the working folder"
		}
		if err := c.overlayFolder(top, why); err != nil {
			return err
		}
		if !c.spec.OnlyDir {
			if err := c.gitFolders(top); err != nil {
				return err
			}
		}
		shown = true
	}
	if c.dir == "" {
		c.dir = c.home
		if shown {
			c.dir = dir
		}
	}
	return nil
}

// notShown says why a folder is not shown, and what shows it where anything does.
func (c *compiler) notShown(dir string) string {
	start := "CMD starts in an empty " + c.home
	switch {
	case dir == "/":
		return "/ is not shown as a whole: " + start
	case slices.ContainsFunc(neverShown, func(n string) bool { return within(dir, n) }):
		return dir + " is not shown, because what is there is made anew or hidden: " + start
	case within(c.home, dir) && c.home != dir || within("/home", dir):
		return dir + " is not shown, because it holds homes: " + start + " (--cow " + dir + " shows it)"
	}
	return dir + " is not shown, because it is a home: " + start + " (--cow " + dir + " shows it)"
}

// covered says whether a folder lies in one that is shown already and that an
// overlay of its own would not change: the caller may not write there.
func (c *compiler) covered(dir string) bool {
	best := entry{}
	for _, e := range c.entries {
		if within(dir, e.target) && len(e.target) > len(best.target) {
			best = e
		}
	}
	return best.kind == Overlay && best.source == best.target || best.kind == BindRO && !c.feat.Host.Writable(dir)
}

// asked says whether a mount of the spec shows the folder.
func (c *compiler) asked(dir string) bool {
	return slices.ContainsFunc(c.spec.Mounts, func(m Mount) bool {
		return m.Kind != Hide && m.Kind != Tmpfs && within(dir, path.Clean(m.Target))
	})
}

// private says whether a folder is a home, holds homes, or is none for files:
// copy on write protects what is written, not what is read. A home may have
// another name than HOME, through a symbolic link.
func (c *compiler) private(dir string) bool {
	if dir == "/" || dir == "/root" || within(c.home, dir) || c.realHome != "" && within(c.realHome, dir) || path.Dir(dir) == "/home" || within("/home", dir) {
		return true
	}
	return slices.ContainsFunc(neverShown, func(n string) bool { return within(dir, n) })
}

// gitTop is the top of the git work tree around a folder, where the caller
// owns it, else the folder itself.
func (c *compiler) gitTop(dir string) string {
	for top := dir; !c.private(top); top = path.Dir(top) {
		if f := c.feat.Host.Lstat(top + "/.git"); f.exists() && f.UID == c.feat.UID {
			return top
		}
	}
	return dir
}

// overlayFolder shows a folder copy on write, or read-only with overlay
// skipped. The kernel takes no folder that holds other mounts as a lower
// layer: then its children are shown one by one, and what is left read-only.
func (c *compiler) overlayFolder(dir, why string) error {
	if !c.on["overlay"] {
		c.addEntry(entry{kind: BindRO, source: dir, target: dir, why: why, real: true})
		return nil
	}
	if f := c.feat.Host.Lstat(dir); f.UID != c.feat.UID {
		// The kernel would have to give the copy an owner that has no id here.
		c.note(dir + " belongs to another user (uid " + strconv.Itoa(f.UID) + "): what is theirs in it can be read, and not changed even in the copy (EOVERFLOW, EACCES)")
	}
	if c.holdsMounts(dir) {
		c.note(dir + " holds other mounts, so its folders are copy on write one by one and its files read-only")
	}
	return c.overlayAround(dir, why)
}

// overlayAround shows a folder copy on write, around the mounts in it.
func (c *compiler) overlayAround(dir, why string) error {
	if c.holdsMounts(dir) {
		return c.split(dir, why)
	}
	c.addEntry(entry{kind: Overlay, source: dir, target: dir, why: why, real: true})
	return nil
}

// holdsMounts says whether something is mounted in a folder.
func (c *compiler) holdsMounts(dir string) bool {
	if c.points == nil {
		c.points = c.feat.mountPoints()
	}
	return slices.ContainsFunc(c.points, func(m string) bool { return m != dir && within(m, dir) })
}

func (c *compiler) split(dir, why string) error {
	c.addEntry(entry{kind: BindRO, source: dir, target: dir, why: why + ", split around the mounts in it", real: true})
	names, err := c.feat.Host.ReadDir(dir)
	if err != nil {
		return &SpecError{Field: "Dir", Reason: err.Error()}
	}
	for _, name := range names {
		child := path.Join(dir, name)
		switch {
		case !c.feat.Host.Lstat(child).isDir():
		case c.holdsMounts(child):
			if err := c.split(child, why); err != nil {
				return err
			}
		default:
			c.addEntry(entry{kind: Overlay, source: child, target: child, why: why, real: true})
		}
	}
	return nil
}
