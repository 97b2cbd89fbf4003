package sandbox

import (
	"path"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox/internal/rawfork"
)

// compiler holds what the steps share while a plan is made.
type compiler struct {
	*Plan
	spec *Spec
	feat *Features
	on   map[string]bool
	step string // the step under which calls are added

	entries  []entry // what the root shows, in the order of its making
	made     []string
	base     string // the host's folder on which the sandbox's tmpfs is mounted
	based    bool   // the tmpfs is mounted there
	root     string // the new root as a path of the old one; "" when it stays
	home     string
	realHome string       // home without symbolic links; "" where there is none
	path     []string     // folders of PATH that exist inside
	toolPath []pathFolder // folders of PATH that tools are shown by, and what stands for them inside
	toolVars []string     // variables of the caller that tools need
	points   []string     // the host's mount points, once they were asked for
	rootFD   slot         // the root, once something must be resolved beneath it
	joined   bool         // the plan joins a sandbox, and cannot tell what is shown there
}

// Compile turns a spec into the plan for a host. It is pure: the same spec and
// features give the same plan, byte for byte. An error is a *SpecError where
// the spec asks for what cannot be, and names the field.
func Compile(s *Spec, f *Features) (*Plan, error) {
	if err := s.Validate(); err != nil {
		return nil, err
	}
	c := newCompiler(s, f)
	if c.on["user"] && !s.User.Unmapped && !s.User.Auto {
		uids, gids := c.idMaps()
		uid, gid := c.insideIDs()
		c.OwnMemory = outside(uids, uid) != f.UID || outside(gids, gid) != f.GID
	}
	if s.User.Switch {
		c.OwnMemory = true
	}
	if s.User.Auto {
		c.Plan.userName = c.callerName()
	}
	c.init = c.on["pid"] && !s.AsPID1
	if err := c.layout(); err != nil {
		return nil, err
	}
	c.launch()
	for i := range Steps {
		if Steps[i].Name == "caps" {
			c.loopback()
			c.switchUser()
		}
		if Steps[i].Name == "seccomp" {
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
	c.execute()
	return c.Plan, nil
}

// newCompiler returns a compiler that has done nothing yet but note which steps
// are on.
func newCompiler(s *Spec, f *Features) *compiler {
	c := &compiler{
		Plan: &Plan{
			PlainClone: f.NoClone3,
			Calls:      make([]Call, 0, 224),
			args:       make([]arg, 0, 720),
			data:       make([]byte, 0, 16<<10),
		},
		spec: s, feat: f, on: make(map[string]bool, len(Steps)),
		entries: make([]entry, 0, 48), made: make([]string, 0, 32),
	}
	for i := range Steps {
		name := Steps[i].Name
		if s.Skips(name) || (Steps[i].OnRequest && !slices.Contains(s.With, name)) {
			if s.Skips(name) {
				c.skipped = append(c.skipped, name)
			}
			continue
		}
		c.on[name] = true
	}
	return c
}

// call adds a call under the current step.
func (c *compiler) call(sys *sysno, args ...arg) *Call { return c.add(c.step, sys, args...) }

// flag adds a flag of clone3 for the current step.
func (c *compiler) flag(bit uint64) {
	c.Flags |= bit
	c.flagsBy = append(c.flagsBy, stepFlag{c.step, bit})
}

func (c *compiler) note(text string) { c.Notes = append(c.Notes, text) }

// without adds what must be done because a step is off: a root of our own
// shows the host's /proc and /dev where no new ones are made.
func (c *compiler) without(step string) error {
	c.step = "mount"
	switch step {
	case "env":
		c.inheritEnv()
	case "landlock":
		c.readableFiles()
	case "caps":
		if uid, _ := c.insideIDs(); uid == 0 { // another uid loses them at execve
			return c.undoable()
		}
	case "overlay":
		return c.place(rankOverlay)
	case "proc":
		return c.place(rankProc)
	case "dev":
		return c.place(rankDev)
	case "root":
		if c.based {
			// The layers stay in use by the overlays; their folder need not
			// be seen.
			c.call(sysUmount, c.str(c.base), flags(&umountFlags, unix.MNT_DETACH))
		}
	case "user":
		if len(c.spec.CapAdd) > 0 {
			return &SpecError{Field: "CapAdd", Reason: "needs the step user: a capability is one of a user namespace"}
		}
	}
	return nil
}

var (
	sysClose       = &sysno{unix.SYS_CLOSE, "close"}
	sysPrctl       = &sysno{unix.SYS_PRCTL, "prctl"}
	sysOpenat      = &sysno{unix.SYS_OPENAT, "openat"}
	sysOpenat2     = &sysno{unix.SYS_OPENAT2, "openat2"}
	sysWrite       = &sysno{unix.SYS_WRITE, "write"}
	sysChdir       = &sysno{unix.SYS_CHDIR, "chdir"}
	sysFchdir      = &sysno{unix.SYS_FCHDIR, "fchdir"}
	sysExecve      = &sysno{unix.SYS_EXECVE, "execve"}
	sysExecveat    = &sysno{unix.SYS_EXECVEAT, "execveat"}
	sysSigprocmask = &sysno{unix.SYS_RT_SIGPROCMASK, "rt_sigprocmask"}
	sysFcntl       = &sysno{unix.SYS_FCNTL, "fcntl"}
)

// launch is what frames every plan: the ends of the socket, and the promise to
// die with the launcher. It comes first so that a launcher which is killed
// while the plan pauses leaves an end of file, or a signal, behind.
func (c *compiler) launch() {
	c.step = "launch"
	c.slots.launcher = c.newSlot("launcher", "")
	c.slots.socket = c.newSlot("socket", "")
	c.slots.init = c.newSlot("init", "")
	c.call(sysClose, use(c.slots.launcher))
	if !c.OwnMemory || c.spec.User.Switch {
		c.dieWithParent()
	}
	c.passFiles()
}

// dieWithParent comes after a change of the kernel uid, which would clear it.
// A launcher that was killed before sends no signal any more. PID 1 notices, as
// its messages find no reader; without it the child writes one here, which fails
// with EPIPE then.
func (c *compiler) dieWithParent() {
	c.call(sysPrctl, word(unix.PR_SET_PDEATHSIG, constant("PR_SET_PDEATHSIG")), word(uint64(unix.SIGKILL), constant("SIGKILL")))
	if !c.init {
		c.call(sysWrite, use(c.slots.socket), c.str("?"), integer(1))
	}
}

// execute ends the plan: CMD's folder and the program that replaces the child,
// which is PID 1's, or CMD itself where it is PID 1 or no PID namespace is made.
func (c *compiler) execute() {
	c.step = "exec"
	if len(c.hiddenPaths) > 0 {
		c.pauses = append(c.pauses, (*Cmd).checkHidden)
		c.pause()
	}
	if c.umask != 0 {
		c.call(sysUmask, use(c.umask))
	}
	if c.dir != "" {
		c.call(sysChdir, c.str(c.dir))
	}
	if c.init {
		c.keepSocket()
	} else if c.feat.Observed {
		c.pauses = append(c.pauses, (*Cmd).seize)
		c.pause()
	}
	candidates := c.candidates()
	envp := c.vector(c.Env)
	c.exec = len(c.Calls)
	if !c.init {
		c.restoreSignals()
		c.exec++
		argv := c.vector(c.spec.Args)
		for _, path := range candidates {
			c.call(sysExecve, c.str(path), c.mem(argv, argvText), c.mem(envp, envpText)).op = rawfork.OpExec
		}
		return
	}
	argv := rawfork.InitArgs(rawfork.InitOptions{Socket: 1}, candidates, c.spec.Args)
	first := len(c.relocs)
	at := c.vector(argv)
	c.options = int(c.relocs[first+1].Target)
	c.call(sysExecveat, use(c.slots.init), c.str(""), c.mem(at, argvText), c.mem(envp, envpText),
		word(unix.AT_EMPTY_PATH, constant("AT_EMPTY_PATH"))).op = rawfork.OpExec
}

// restoreSignals unblocks the signals that the launcher blocked around the
// clone. Where PID 1 is ours it does so for CMD, and keeps its own blocked.
func (c *compiler) restoreSignals() {
	mask := c.reserve(8)
	c.call(sysSigprocmask, word(unix.SIG_SETMASK, constant("SIG_SETMASK")), c.mem(mask, constant("[]")), nothing(), integer(8))
}

// candidates are the paths at which CMD may be, in the order of the search.
func (c *compiler) candidates() []string {
	if len(c.spec.Args) == 0 {
		return nil
	}
	name := c.spec.Args[0]
	if strings.Contains(name, "/") {
		return []string{name}
	}
	out := make([]string, 0, len(c.path))
	for _, dir := range c.path {
		// An execve that fails costs more than a look at the host, where that
		// shows what is inside.
		if at := dir + "/" + name; c.joined || !c.sameInside(dir) || c.feat.Host.Lstat(at).exists() {
			out = append(out, at)
		}
	}
	if len(out) == 0 { // for the kernel to say so
		for _, dir := range c.path {
			out = append(out, dir+"/"+name)
		}
	}
	return out
}

// sameInside says whether a folder of PATH has what the host's has.
func (c *compiler) sameInside(dir string) bool {
	return !c.spec.givenRoot() && (!c.on["mount"] || c.shows(path.Clean(dir)))
}

// constant prints a fixed name.
func constant(name string) func(*Plan, uint64) string {
	return func(*Plan, uint64) string { return name }
}

// argvText prints an argument vector in full, envpText the number of its words.
func argvText(p *Plan, v uint64) string {
	words := p.words(v)
	for i, w := range words {
		words[i] = strconv.Quote(w)
	}
	return "[" + strings.Join(words, ", ") + "]"
}

func envpText(p *Plan, v uint64) string {
	return "[" + decimal(p, uint64(len(p.words(v)))) + " vars]"
}

// words reads back a vector through its relocations.
func (p *Plan) words(v uint64) []string {
	var out []string
	for at := uint32(v); ; at += 8 {
		i := slices.IndexFunc(p.relocs, func(r rawfork.Reloc) bool { return r.At == at })
		if i < 0 {
			return out
		}
		out = append(out, p.cstring(uint64(p.relocs[i].Target)))
	}
}
