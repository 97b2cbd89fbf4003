package sandbox

import (
	"strings"

	"golang.org/x/sys/unix"
)

var sysSetns = &sysno{unix.SYS_SETNS, "setns"}

// Join says how a process gets into a sandbox that runs already: what differs
// between the launcher and that sandbox. It is plain data; Process fills it in
// from /proc. The zero Join shares everything with the launcher.
type Join struct {
	// Namespaces are those that differ, by their names in /proc/PID/ns. Joining
	// one that is shared would be refused (EPERM).
	Namespaces []string
	// UIDMap and GIDMap are the lines of the sandbox's user namespace.
	UIDMap, GIDMap []IDMap
	// Env is the environment that the sandbox's CMD got, Dir the folder in which
	// it started, and HostDir the caller's working folder at that time.
	Env          []string
	Dir, HostDir string
}

// namespaceFlags are the namespaces in the order in which setns(2) enters them
// when it is given several: user first, which gives the right to the others.
var namespaceFlags = []struct {
	name string
	flag uint64
}{
	{"user", unix.CLONE_NEWUSER},
	{"mnt", unix.CLONE_NEWNS},
	{"uts", unix.CLONE_NEWUTS},
	{"ipc", unix.CLONE_NEWIPC},
	{"pid", unix.CLONE_NEWPID},
	{"cgroup", unix.CLONE_NEWCGROUP},
	{"net", unix.CLONE_NEWNET},
	{"time", unix.CLONE_NEWTIME},
}

// CompileJoin turns a spec into the plan for one process more in a sandbox that
// was made from this spec: it enters the namespaces, and then takes upon itself
// what no namespace carries, with the same calls as the sandbox's own plan did:
// session, limits, no capabilities, no_new_privs, Landlock and the filter. So it
// is no way around any of them. Like Compile it is pure.
//
// A Landlock domain cannot be joined, only made again: the same rules, but of
// another domain than the sandbox's. With the scopes on (steps pid or net
// skipped) processes of the two cannot signal each other, and never can one
// trace the other.
func CompileJoin(s *Spec, f *Features, j *Join) (*Plan, error) {
	if err := s.Validate(); err != nil {
		return nil, err
	}
	feat := *f
	feat.Dir = j.HostDir
	c := newCompiler(s, &feat)
	// A change of the user namespace changes credentials: in shared memory that
	// would make the launcher non-dumpable. And a time namespace is entered by
	// nobody who shares memory (EUSERS).
	c.OwnMemory, c.init = true, true
	c.home = c.feat.getenv("HOME")
	c.realHome = c.feat.Host.Real(c.home)
	c.dir = j.Dir
	if s.Dir != "" {
		c.dir = s.Dir
	}
	c.Plan.dir = c.dir
	c.Env = c.addEnv(append([]string(nil), j.Env...))
	c.launch()
	c.enter(j)
	for i := range Steps {
		switch Steps[i].Name {
		case "session", "rlimits", "caps", "nnp", "landlock", "seccomp":
		default:
			continue
		}
		switch Steps[i].Name {
		case "caps":
			c.switchUser()
		case "seccomp":
			c.ownOpenFiles()
		}
		if !c.on[Steps[i].Name] {
			if err := c.without(Steps[i].Name); err != nil {
				return nil, err
			}
			continue
		}
		c.step = Steps[i].Name
		if err := Steps[i].compile(c); err != nil {
			return nil, err
		}
	}
	for _, kv := range c.Env {
		if value, ok := strings.CutPrefix(kv, "PATH="); ok {
			c.path = strings.Split(value, ":")
		}
	}
	c.joined = true
	c.execute()
	return c.Plan, nil
}

// enter joins the namespaces (setns(2) with a pidfd, Linux 5.8). All of them in
// one call, which the kernel does as a whole or not at all.
func (c *compiler) enter(j *Join) {
	c.step = "fds"
	if c.on["fds"] {
		_ = c.fds()
	}
	if c.on["user"] {
		c.firstVictim() // while the host's /proc is there
	}
	c.step = "join"
	var bits uint64
	for _, n := range namespaceFlags {
		for _, name := range j.Namespaces {
			if name == n.name {
				bits |= n.flag
			}
		}
	}
	c.slots.pidfd = c.newSlot("pidfd", "")
	c.slots.proc = c.newSlot("proc", "")
	mounts := bits&unix.CLONE_NEWNS != 0
	var root slot
	if mounts {
		// The root of the mount namespace is not the sandbox's where that was
		// changed with chroot(2): then it is the host's. So it is taken from
		// the process itself.
		root = c.newSlot("root", "")
		c.call(sysOpenat, use(c.slots.proc), c.str("root"), openFlags(unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC)).saves(root)
	}
	if bits != 0 {
		c.call(sysSetns, use(c.slots.pidfd), flags(&cloneFlags, bits))
	}
	if mounts {
		c.call(sysFchdir, use(root))
		c.call(sysChroot, c.str("."))
	}
	if uid, gid := c.insideIDs(); bits&unix.CLONE_NEWUSER != 0 && !c.spec.User.Unmapped && !c.spec.User.Switch &&
		(outside(j.UIDMap, uid) != c.feat.UID || outside(j.GIDMap, gid) != c.feat.GID) {
		c.call(sysSetresgid, integer(gid), integer(gid), integer(gid))
		c.call(sysSetresuid, integer(uid), integer(uid), integer(uid))
	}
	c.dieWithParent()
}
