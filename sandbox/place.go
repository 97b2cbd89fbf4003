package sandbox

import (
	"path"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

var (
	sysMount        = &sysno{unix.SYS_MOUNT, "mount"}
	sysUmount       = &sysno{unix.SYS_UMOUNT2, "umount2"}
	sysOpenTree     = &sysno{unix.SYS_OPEN_TREE, "open_tree"}
	sysMoveMount    = &sysno{unix.SYS_MOVE_MOUNT, "move_mount"}
	sysMountSetattr = &sysno{unix.SYS_MOUNT_SETATTR, "mount_setattr"}
	sysMkdirat      = &sysno{unix.SYS_MKDIRAT, "mkdirat"}
	sysMknodat      = &sysno{unix.SYS_MKNODAT, "mknodat"}
	sysSymlinkat    = &sysno{unix.SYS_SYMLINKAT, "symlinkat"}
	sysUmask        = &sysno{unix.SYS_UMASK, "umask"}
	sysSendmsg      = &sysno{unix.SYS_SENDMSG, "sendmsg"}
)

// upper is one overlay's writable layer, for whoever lists the changes.
type upper struct {
	Target string // where CMD sees it, the same path as the lower layer's
	Lower  string
	Lowers []string // in place of Lower: the layers of an image, the lowest first
	Name   string   // the layer's folder below the layers' descriptor, or absolute
}

// openSources opens everything that is shown, by path and once, before any
// mount of ours can hide it: from here on the plan works on descriptors, and
// nobody can exchange what a name means.
func (c *compiler) openSources() {
	for i := range c.entries {
		e := &c.entries[i]
		switch e.kind {
		case BindRO, BindRW:
			if c.root != "" && !within(e.source, c.base) && c.ours(e) && !e.real {
				continue // mount(2) resolves the source once too, in one call less
			}
			e.tree = c.newSlot("tree", e.source)
			if e.real {
				opened := c.openReal(e.source, e.file, e.asLink)
				c.call(sysOpenTree, use(opened), c.str(""),
					flags(&treeFlags, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE|unix.AT_EMPTY_PATH)).saves(e.tree)
				continue
			}
			c.call(sysOpenTree, cwd(), c.str(e.source),
				flags(&treeFlags, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE)).saves(e.tree)
		case Overlay:
			if e.layers != nil {
				c.openLayers(e)
				continue
			}
			if e.real {
				e.tree = c.openReal(e.source, false, false)
				continue
			}
			e.tree = c.newSlot("lower", e.source)
			c.call(sysOpenat, cwd(), c.str(e.source), openFlags(unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC)).saves(e.tree)
		}
	}
}

// openReal opens a source by a path that was found to have no symbolic link in
// it, and refuses one that has been put there since. The last name may be that
// of a link, which is opened itself then.
func (c *compiler) openReal(p string, file, link bool) slot {
	how := c.reserve(24)
	open := uint64(unix.O_PATH | unix.O_CLOEXEC)
	if !file {
		open |= unix.O_DIRECTORY
	}
	if link {
		open |= unix.O_NOFOLLOW
	}
	putUint64(c.data[how:], open)
	putUint64(c.data[how+16:], unix.RESOLVE_NO_SYMLINKS)
	fd := c.newSlot("lower", p)
	c.call(sysOpenat2, cwd(), c.str(p), c.mem(how, howText), integer(24)).saves(fd)
	return fd
}

// mountBase mounts the sandbox's one tmpfs, of limited size: it holds the new
// root's own folders, the upper layers and the files of our own.
func (c *compiler) mountBase() {
	c.call(sysMount, c.str("tmpfs"), c.str(c.base), c.str("tmpfs"),
		flags(&mountFlags, unix.MS_NOSUID|unix.MS_NODEV), c.str("mode=0755,"+c.tmpfsSize(0)))
	if c.spec.Changes || c.feat.HoldLayers {
		c.sendLayers()
	}
}

// sendLayers hands the launcher a descriptor of the tmpfs, since after
// pivot_root no path leads to it any more.
func (c *compiler) sendLayers() {
	c.layers = true
	// struct msghdr, struct iovec, one byte, and a control message with room
	// for one descriptor, whose field is the slot that openat fills.
	msg := c.reserve(56)
	iov := c.reserve(16)
	body := c.reserve(1)
	control := c.reserve(unix.CmsgSpace(4))
	c.data[body] = 'L'
	c.pointer(msg+16, iov)
	putUint64(c.data[msg+24:], 1)
	c.pointer(msg+32, control)
	putUint64(c.data[msg+40:], uint64(unix.CmsgSpace(4)))
	c.pointer(iov, body)
	putUint64(c.data[iov+8:], 1)
	putUint64(c.data[control:], uint64(unix.CmsgLen(4)))
	putUint32(c.data[control+8:], unix.SOL_SOCKET)
	putUint32(c.data[control+12:], unix.SCM_RIGHTS)
	c.call(sysOpenat, cwd(), c.str(c.base), openFlags(unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC)).saves(c.fieldSlot(control+16, "layers", ""))
	c.call(sysSendmsg, use(c.slots.socket), c.mem(msg, constant(`{msg_name=NULL, msg_namelen=0, msg_iov=[{iov_base="L", iov_len=1}], msg_iovlen=1, msg_control=[{cmsg_len=20, cmsg_level=SOL_SOCKET, cmsg_type=SCM_RIGHTS, cmsg_data=[layers]}], msg_controllen=24, msg_flags=0}`)), integer(0))
}

// place makes the entries of one rank.
func (c *compiler) place(rank int) error {
	step := c.step
	defer func() { c.step = step }()
	for i := range c.entries {
		if c.entries[i].rank != rank {
			continue
		}
		c.step = c.entries[i].step
		if err := c.placeOne(&c.entries[i]); err != nil {
			return err
		}
		c.entries[i].placed = true
	}
	return nil
}

func (c *compiler) placeOne(e *entry) error {
	switch e.kind {
	case folder:
		if !c.ours(e) {
			_, err := c.resolve(e)
			return err
		}
		c.ensureFolder(e.target, e.mode)
		return nil
	case symlink:
		c.ensureFolder(path.Dir(e.target), 0o755)
		c.call(sysSymlinkat, c.str(e.link), cwd(), c.str(c.root+e.target))
		c.ownPaths = append(c.ownPaths, e.target)
		return nil
	case BindRO, BindRW:
		return c.placeBind(e)
	case content:
		return c.placeContent(e)
	case Hide:
		return c.placeHide(e)
	}
	if e.kind == Overlay && e.target == "/" {
		return c.overlayOn(e, c.root)
	}
	return c.mountAt(e, func(at string) error { return c.mountOn(e, at) })
}

// mountAt makes a mount on an entry's target. Where that was resolved to a
// descriptor, which mount(2) does not take, it mounts beside it and moves.
func (c *compiler) mountAt(e *entry, mount func(at string) error) error {
	t, err := c.target(e)
	if err != nil {
		return err
	}
	if t.fd == 0 {
		return mount(t.path)
	}
	beside := c.base + "/m" + strconv.Itoa(len(c.Calls))
	c.call(sysMkdirat, cwd(), c.str(beside), mode(0o700))
	if err := mount(beside); err != nil {
		return err
	}
	c.call(sysMoveMount, cwd(), c.str(beside), use(t.fd), c.str(""), flags(&moveFlags, unix.MOVE_MOUNT_T_EMPTY_PATH))
	return nil
}

// placeBind shows a tree of the host, restricted with all mounts in it:
// restrictions can be added to the host's mounts in a user namespace, never
// taken away.
func (c *compiler) placeBind(e *entry) error {
	attr := uint64(unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV)
	if e.kind == BindRO {
		attr |= unix.MOUNT_ATTR_RDONLY
	}
	if e.tree != 0 {
		if !e.noFlags {
			c.setattr(e.tree, attr)
		}
		return c.attach(e, e.tree)
	}
	t, err := c.target(e)
	if err != nil {
		return err
	}
	kind := uint64(unix.MS_BIND)
	if !e.file {
		kind |= unix.MS_REC
	}
	at := c.str(t.path)
	c.call(sysMount, c.str(e.source), at, nothing(), flags(&mountFlags, kind), nothing())
	if !e.noFlags {
		c.call(sysMountSetattr, cwd(), at, flags(&treeFlags, unix.AT_RECURSIVE), c.attr(attr), integer(32))
	}
	return nil
}

// attr is a struct mount_attr (attr_set, attr_clr, propagation, userns_fd).
func (c *compiler) attr(set uint64) arg {
	at := c.reserve(32)
	putUint64(c.data[at:], set)
	return c.mem(at, attrText)
}

func (c *compiler) mountOn(e *entry, at string) error {
	if e.kind == Tmpfs {
		c.call(sysMount, c.str("tmpfs"), c.str(at), c.str("tmpfs"),
			flags(&mountFlags, unix.MS_NOSUID|unix.MS_NODEV), c.str("mode=0755,"+c.tmpfsSize(e.size)))
		return nil
	}
	return c.overlayOn(e, at)
}

// overlayOn mounts an overlay whose lower layer is the opened source. It is
// named "." after an fchdir, so its path needs no escaping and cannot change.
func (c *compiler) overlayOn(e *entry, at string) error {
	n := strconv.Itoa(len(c.uppers))
	u := upper{Target: e.target, Lower: e.source, Lowers: e.layers, Name: "u" + n}
	upperDir, workDir := c.base+"/u"+n, c.base+"/w"+n
	if c.spec.Upper != "" {
		dir := path.Join(c.spec.Upper, layerName(e.target))
		upperDir, workDir, u.Name = dir+"/upper", dir+"/work", dir+"/upper"
		c.call(sysMkdirat, cwd(), c.str(dir), mode(0o700)).mayFail(unix.EEXIST)
	}
	c.uppers = append(c.uppers, u)
	for _, dir := range []string{upperDir, workDir} {
		call := c.call(sysMkdirat, cwd(), c.str(dir), mode(0o755))
		if c.spec.Upper != "" {
			call.mayFail(unix.EEXIST)
		}
	}
	c.call(sysFchdir, use(e.tree))
	if e.layers != nil {
		return c.stackLayers(e, at, upperDir, workDir)
	}
	c.call(sysMount, c.str("overlay"), c.str(at), c.str("overlay"), flags(&mountFlags, unix.MS_NOSUID|unix.MS_NODEV),
		c.str("lowerdir="+c.maskLayer(e)+".,upperdir="+overlayEscape(upperDir)+",workdir="+overlayEscape(workDir)+",userxattr"))
	return nil
}

// overlayEscape writes a path as a value among overlayfs' options.
func overlayEscape(p string) string {
	return strings.NewReplacer(`\`, `\\`, ",", `\,`, ":", `\:`).Replace(p)
}

// setattr restricts an opened tree.
func (c *compiler) setattr(tree slot, set uint64) {
	c.call(sysMountSetattr, use(tree), c.str(""), flags(&treeFlags, unix.AT_EMPTY_PATH|unix.AT_RECURSIVE), c.attr(set), integer(32))
}

func attrText(p *Plan, v uint64) string {
	return "{attr_set=" + flagText(&attrFlags, getUint64(p.data[v:])) + ", attr_clr=0, propagation=0, userns_fd=0}"
}

// attach moves an opened tree to its target.
func (c *compiler) attach(e *entry, tree slot) error {
	t, err := c.target(e)
	if err != nil {
		return err
	}
	if t.fd != 0 {
		c.call(sysMoveMount, use(tree), c.str(""), use(t.fd), c.str(""),
			flags(&moveFlags, unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH))
		return nil
	}
	c.call(sysMoveMount, use(tree), c.str(""), cwd(), c.str(t.path), flags(&moveFlags, unix.MOVE_MOUNT_F_EMPTY_PATH))
	return nil
}

// placeContent writes a file of our own and shows it in place of the host's.
func (c *compiler) placeContent(e *entry) error {
	name := c.base + "/f" + strconv.Itoa(len(c.Calls))
	fd := c.newSlot("file", e.target)
	c.call(sysOpenat, cwd(), c.str(name), openFlags(unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC), mode(0o444)).saves(fd)
	if e.link != "" {
		c.call(sysWrite, use(fd), c.str(e.link), integer(len(e.link)))
	}
	c.call(sysClose, use(fd))
	if e.inside >= 0 && c.entries[e.inside].kind == BindRO && !c.underneath(e).isLink() {
		// A plain file in a folder of the host's root, which nobody here can
		// exchange: no need to resolve it beneath.
		c.call(sysMount, c.str(name), c.str(c.root+e.target), nothing(), flags(&mountFlags, unix.MS_BIND), nothing())
		return nil
	}
	tree := c.newSlot("tree", name)
	c.call(sysOpenTree, cwd(), c.str(name), flags(&treeFlags, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)).saves(tree)
	return c.attach(e, tree)
}

// placeHide covers a folder or a file with an empty one.
func (c *compiler) placeHide(e *entry) error {
	f := c.underneath(e)
	c.watchHidden(e)
	if !f.exists() {
		// Nothing is there, and nothing can appear: what holds it is absent too.
		// A link on the way means something else inside than on the host.
		if link := c.linkOnTheWay(e); link != "" {
			return &SpecError{Field: "Mounts", Reason: "the target " + e.target + " goes through a symbolic link, " + link + ": name what it points to"}
		}
		if e.asked != "" && !c.feat.Host.Lstat(e.asked).exists() {
			c.note("nothing is at " + e.asked + ", which is to be hidden")
		}
		return nil
	}
	name := c.base + "/h" + strconv.Itoa(len(c.Calls))
	tree := c.newSlot("tree", name)
	if e.file = !f.isDir(); e.file {
		c.call(sysMknodat, cwd(), c.str(name), word(regular|0o444, modeText), integer(0))
	} else {
		c.call(sysMkdirat, cwd(), c.str(name), mode(0o555))
	}
	c.call(sysOpenTree, cwd(), c.str(name), flags(&treeFlags, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)).saves(tree)
	c.setattr(tree, unix.MOUNT_ATTR_RDONLY|unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC)
	return c.attach(e, tree)
}

func modeText(_ *Plan, v uint64) string {
	return "S_IFREG|0" + strconv.FormatUint(v&0o7777, 8)
}
