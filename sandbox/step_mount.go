package sandbox

import (
	"golang.org/x/sys/unix"
)

var (
	sysPivotRoot = &sysno{unix.SYS_PIVOT_ROOT, "pivot_root"}
	sysChroot    = &sysno{unix.SYS_CHROOT, "chroot"}
)

// mount cuts propagation, opens everything that will be shown, and builds the
// new root out of read-only binds and folders of the sandbox's own tmpfs.
func (c *compiler) mount() error {
	c.flag(unix.CLONE_NEWNS)
	c.call(sysMount, nothing(), c.str("/"), nothing(), flags(&mountFlags, unix.MS_REC|unix.MS_PRIVATE), nothing())
	c.umask = c.newSlot("umask", "")
	c.call(sysUmask, mode(0)).saves(c.umask)
	c.openSources()
	if c.on["root"] || c.needsBase() {
		c.based = true
		c.mountBase()
	}
	if c.on["root"] {
		// A bind of a folder of the tmpfs on itself: pivot_root wants a mount,
		// and what else lies in the tmpfs stays out of sight.
		c.call(sysMkdirat, cwd(), c.str(c.root), mode(0o755))
		if !c.spec.givenRoot() {
			c.ownRoot = true
			c.call(sysMount, c.str(c.root), c.str(c.root), nothing(), flags(&mountFlags, unix.MS_BIND), nothing())
		}
	}
	return c.place(rankMount)
}

// needsBase says whether something but the new root needs the tmpfs.
func (c *compiler) needsBase() bool {
	for i := range c.entries {
		switch c.entries[i].kind {
		case Overlay, Tmpfs, content, Hide:
			return true
		}
	}
	return c.on["proc"] && !c.spec.AllowNesting // for the empty folder of the masks
}

// overlay mounts the copy-on-write folders.
func (c *compiler) overlay() error { return c.place(rankOverlay) }

// root changes the root. The old one is stacked below the new at "/", and
// detached with everything on it, the sandbox's tmpfs included: what is in use
// of it lives on through the mounts that use it.
func (c *compiler) rootChange() error {
	c.call(sysChdir, c.str(c.root))
	if c.spec.RootWith == "chroot" {
		c.call(sysChroot, c.str("."))
		c.call(sysChdir, c.str("/"))
		return nil
	}
	c.call(sysPivotRoot, c.str("."), c.str("."))
	c.call(sysUmount, c.str("."), flags(&umountFlags, unix.MNT_DETACH))
	c.call(sysChdir, c.str("/"))
	return nil
}

// masked are the entries of /proc that tell about, or act on, the whole
// machine. Those that the kernel does not have are passed over.
var masked = []struct {
	name string
	dir  bool
}{
	{"acpi", true},
	{"asound", true},
	{"scsi", true},
	{"kcore", false},
	{"keys", false},
	{"key-users", false},
	{"kallsyms", false},
	{"latency_stats", false},
	{"sched_debug", false},
	{"sysrq-trigger", false},
	{"timer_list", false},
}

// readOnly are folders of /proc with switches in them. Their files belong to
// uid 0 of the host, or to uid 0 inside where the namespace has its own.
var readOnly = []string{"bus", "fs", "irq", "sys"}

// proc mounts the /proc of the new PID namespace and covers parts of it.
func (c *compiler) proc() error {
	at := c.root + "/proc"
	mount := func(at string) error {
		c.call(sysMount, c.str("proc"), c.str(at), c.str("proc"),
			flags(&mountFlags, unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC), nothing())
		return nil
	}
	if i := c.find("/proc"); i >= 0 {
		if err := c.mountAt(&c.entries[i], mount); err != nil {
			return err
		}
	} else {
		_ = mount(at) // the root stays: on the host's
	}
	if c.spec.AllowNesting {
		// The kernel allows a new /proc inside only where no part of the
		// outer one is covered.
		return c.place(rankProc)
	}
	null, empty := c.str("/dev/null"), arg{}
	for _, m := range masked {
		source := null
		if m.dir {
			if empty.kind == nil {
				empty = c.str(c.base + "/empty")
				c.call(sysMkdirat, cwd(), empty, mode(0o555))
			}
			source = empty
		}
		c.call(sysMount, source, c.str(at+"/"+m.name), nothing(), flags(&mountFlags, unix.MS_BIND), nothing()).mayFail(unix.ENOENT)
	}
	attr := c.attr(unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOEXEC)
	for _, name := range readOnly {
		dir := c.str(at + "/" + name)
		c.call(sysMount, dir, dir, nothing(), flags(&mountFlags, unix.MS_BIND|unix.MS_REC), nothing())
		c.call(sysMountSetattr, cwd(), dir, flags(&treeFlags, unix.AT_RECURSIVE), attr, integer(32))
	}
	return c.place(rankProc)
}

// devices adds what /dev shows, or the host's own where dev or proc is off.
func (c *compiler) devices() {
	if !c.on["proc"] {
		c.replace(entry{kind: BindRW, source: "/proc", target: "/proc", why: "proc is skipped", rank: rankProc, noFlags: true})
	}
	if !c.on["dev"] {
		c.replace(entry{kind: BindRW, source: "/dev", target: "/dev", why: "dev is skipped", rank: rankDev, noFlags: true})
		return
	}
	c.deviceEntries()
}

func (c *compiler) replace(e entry) {
	if i := c.find(e.target); i >= 0 {
		c.entries[i] = e
		return
	}
	c.addEntry(e)
}

// deviceNodes are bound from the host: in a user namespace none can be made.
var deviceNodes = []string{"null", "zero", "full", "random", "urandom", "tty"}

// deviceLinks point into /proc/self, as on every Linux.
var deviceLinks = [...][2]string{
	{"fd", "/proc/self/fd"},
	{"stdin", "/proc/self/fd/0"},
	{"stdout", "/proc/self/fd/1"},
	{"stderr", "/proc/self/fd/2"},
	{"ptmx", "pts/ptmx"},
}

func (c *compiler) deviceEntries() {
	for _, name := range deviceNodes {
		c.addEntry(entry{kind: BindRW, source: "/dev/" + name, target: "/dev/" + name, file: true, noFlags: true, rank: rankDev})
	}
	for _, l := range deviceLinks {
		c.addEntry(entry{kind: symlink, link: l[1], target: "/dev/" + l[0], rank: rankDev})
	}
	c.addEntry(entry{kind: folder, target: "/dev/pts", mode: 0o755, rank: rankDev})
	c.addEntry(entry{kind: folder, target: "/dev/shm", mode: 0o1777, rank: rankDev})
	if c.tellsApt() {
		c.addEntry(entry{kind: content, link: aptAsRoot, target: aptConf, file: true, why: "owners are pretended", rank: rankDev})
	}
	if c.feat.Terminal != "" {
		c.addEntry(entry{kind: BindRW, source: c.feat.Terminal, target: "/dev/console", file: true, noFlags: true, rank: rankDev})
	}
}

// dev makes /dev and a devpts of its own, whose terminals nobody else sees. All
// devpts together have 4096 terminals (kernel.pty.max), so this one has a limit.
func (c *compiler) dev() error {
	if err := c.place(rankDev); err != nil {
		return err
	}
	c.call(sysMount, c.str("devpts"), c.str(c.root+"/dev/pts"), c.str("devpts"),
		flags(&mountFlags, unix.MS_NOSUID|unix.MS_NOEXEC), c.str("newinstance,ptmxmode=0666,mode=620,max=256"))
	return nil
}
