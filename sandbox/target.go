package sandbox

import (
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// place in the tree of the sandbox: a path in the sandbox's own tmpfs, which
// only the plan has written, or the descriptor of what a path led to.
type target struct {
	path string
	fd   slot
}

// target makes sure that an entry has something to be mounted on.
func (c *compiler) target(e *entry) (target, error) {
	if !c.ours(e) {
		return c.resolve(e)
	}
	c.ensureFolder(path.Dir(e.target), 0o755)
	at := c.root + e.target
	switch {
	case slices.Contains(c.made, e.target):
	case e.file:
		c.call(sysMknodat, cwd(), c.str(at), word(regular|0o666, modeText), integer(0))
		c.ownPaths = append(c.ownPaths, e.target)
	default:
		c.ensureFolder(e.target, 0o755)
	}
	return target{path: at}, nil
}

// ours says whether an entry lies in a tmpfs that only the plan has written.
func (c *compiler) ours(e *entry) bool {
	if e.inside < 0 {
		return c.on["root"]
	}
	return c.entries[e.inside].kind == Tmpfs
}

// ensureFolder makes a folder and its parents in the sandbox's own tmpfs.
func (c *compiler) ensureFolder(dir string, m uint32) {
	if dir == "/" || slices.Contains(c.made, dir) {
		return
	}
	for i := range c.entries { // a mount that stands already
		if e := &c.entries[i]; e.target == dir && e.placed {
			return
		}
	}
	c.ensureFolder(path.Dir(dir), 0o755)
	c.call(sysMkdirat, cwd(), c.str(c.root+dir), mode(m))
	c.made = append(c.made, dir)
	c.ownPaths = append(c.ownPaths, dir)
}

// linkOnTheWay is the first symbolic link on the way to a target in something
// that is shown, as seen on the host; "" where there is none.
func (c *compiler) linkOnTheWay(e *entry) string {
	if e.inside < 0 || !c.entries[e.inside].ofHost() {
		return ""
	}
	o := &c.entries[e.inside]
	at := "/"
	for part := range strings.SplitSeq(strings.Trim(strings.TrimPrefix(e.target, o.target), "/"), "/") {
		at = path.Join(at, part)
		if c.lookIn(o, at).isLink() {
			return o.name(at)
		}
	}
	return ""
}

// underneath is what a target would cover, as seen on the host.
func (c *compiler) underneath(e *entry) File {
	if e.inside < 0 {
		if c.on["root"] {
			return File{}
		}
		return c.feat.Host.Lstat(e.target)
	}
	o := &c.entries[e.inside]
	if !o.ofHost() {
		return File{}
	}
	return c.lookIn(o, strings.TrimPrefix(e.target, o.target))
}

// resolve opens a target that lies in something that is shown. No symbolic
// link is followed on the way: whoever can write there could exchange one.
// What is missing is made where that is copy on write.
func (c *compiler) resolve(e *entry) (target, error) {
	o, writable := &entry{source: "/", target: "/"}, false
	if e.inside >= 0 {
		o = &c.entries[e.inside]
		writable = o.kind == Overlay
	}
	holder, host := o.target, "/"
	if c.rootFD == 0 {
		root := c.root
		if root == "" {
			root = "/"
		}
		c.rootFD = c.newSlot("root", "")
		c.call(sysOpenat, cwd(), c.str(root), openFlags(unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC)).saves(c.rootFD)
	}
	bad := func(reason string) (target, error) {
		return target{}, &SpecError{Field: "Mounts", Reason: "the target " + e.target + " " + reason}
	}
	inside := holder
	parts := strings.Split(strings.Trim(strings.TrimPrefix(e.target, holder), "/"), "/")
	for i, part := range parts {
		parent := inside
		host, inside = path.Join(host, part), path.Join(inside, part)
		wantFile := i == len(parts)-1 && (e.file || e.kind == content)
		f := c.lookIn(o, host)
		switch {
		case f.isLink() && !((e.kind == content || e.asLink) && i == len(parts)-1):
			return bad("goes through a symbolic link, " + o.name(host) + ": name what it points to")
		case f.exists() && f.isDir() && wantFile:
			return bad("is a folder, but the source is a file")
		case f.exists() && !f.isDir() && !wantFile:
			return bad("needs a folder where " + o.name(host) + " is a file")
		case f.exists() || slices.Contains(c.made, inside):
		case !writable:
			return bad("does not exist, and cannot be made inside read-only " + holder)
		default:
			at := c.rootFD
			if parent != "/" {
				at = c.openBeneath(parent, true, false)
			}
			if wantFile {
				c.call(sysMknodat, use(at), c.str(part), word(regular|0o666, modeText), integer(0)).mayFail(unix.EEXIST)
			} else {
				m := e.mode
				if m == 0 || i < len(parts)-1 {
					m = 0o755
				}
				c.call(sysMkdirat, use(at), c.str(part), mode(m)).mayFail(unix.EEXIST)
				c.made = append(c.made, inside)
			}
			if holder == "/" {
				c.ownPaths = append(c.ownPaths, inside)
			}
		}
	}
	return target{fd: c.openBeneath(e.target, !e.file && e.kind != content, e.kind == content || e.asLink)}, nil
}

// openBeneath opens a path of the new root. A link at its very end may be
// covered by a file of our own; it is not followed either.
func (c *compiler) openBeneath(p string, isDir, link bool) slot {
	how := c.reserve(24) // struct open_how: flags, mode, resolve
	open := uint64(unix.O_PATH | unix.O_CLOEXEC)
	if isDir {
		open |= unix.O_DIRECTORY
	}
	if link {
		open |= unix.O_NOFOLLOW
	}
	putUint64(c.data[how:], open)
	putUint64(c.data[how+16:], unix.RESOLVE_NO_SYMLINKS|unix.RESOLVE_BENEATH)
	fd := c.newSlot("target", p)
	c.call(sysOpenat2, use(c.rootFD), c.str(strings.Trim(p, "/")), c.mem(how, howText), integer(24)).saves(fd)
	return fd
}

func howText(p *Plan, v uint64) string {
	return "{flags=" + openText(p, getUint64(p.data[v:])) + ", resolve=" + flagText(&resolveFlags, getUint64(p.data[v+16:])) + "}"
}
