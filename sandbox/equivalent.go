package sandbox

import (
	"errors"
	"path"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Equivalent is the nearest command line of another program for a sandbox.
type Equivalent struct {
	Program string `json:"program"`
	// Args is the whole command line, the program's name or env's first.
	Args []string `json:"args"`
	// Missing says, one sentence for each, what of the sandbox the command
	// line does not do.
	Missing []string `json:"missing"`

	heads []int // where in Args a new option begins
	spec  *Spec
	plan  *Plan
}

// String is the command line as a shell takes it, an option a line.
func (e *Equivalent) String() string {
	var b strings.Builder
	for i, a := range e.Args {
		switch {
		case i == 0:
		case slices.Contains(e.heads, i):
			b.WriteString(" \\\n    ")
		default:
			b.WriteByte(' ')
		}
		b.WriteString(shellWord(a))
	}
	return b.String()
}

// add appends one option with its values.
func (e *Equivalent) add(words ...string) {
	e.heads = append(e.heads, len(e.Args))
	e.Args = append(e.Args, words...)
}

func (e *Equivalent) miss(text string) { e.Missing = append(e.Missing, text) }

// EquivalentOf is the nearest command line of bwrap (bubblewrap 0.8) or of
// unshare (util-linux 2.38) for a spec and its plan. It is a comparison for
// reading: what it lacks stands in Missing.
func EquivalentOf(program string, s *Spec, p *Plan) (*Equivalent, error) {
	e := &Equivalent{Program: program, Missing: []string{}, spec: s, plan: p}
	switch program {
	case "bwrap":
		e.bwrap()
	case "unshare":
		e.unshare()
	default:
		return nil, errors.New("no equivalent for " + strconv.Quote(program) + ": there are bwrap and unshare")
	}
	if e.on("landlock") && slices.ContainsFunc(p.Calls, func(c Call) bool { return c.Step == "landlock" }) {
		e.miss("landlock: " + program + " sets no Landlock rules, so a way out of the root is not stopped a second time")
	}
	if e.on("rlimits") {
		e.miss("rlimits: " + program + " sets no limits; prlimit(1) in front of CMD does")
	}
	if s.Timeout > 0 {
		e.miss("a timeout: timeout(1) in front of CMD counts from inside")
	}
	return e, nil
}

// on says whether the plan has a step.
func (e *Equivalent) on(step string) bool {
	if LookupStep(step).OnRequest {
		return slices.Contains(e.spec.With, step)
	}
	return !slices.Contains(e.plan.Skipped(), step)
}

// makes says whether the plan makes namespaces with this flag of clone3.
func (e *Equivalent) makes(flag uint64) bool { return e.plan.Flags&flag != 0 }

// FlagsOf are the flags of clone3 that a step brings, as the plan prints them,
// or "".
func (p *Plan) FlagsOf(step string) string {
	var bits uint64
	for _, f := range p.flagsBy {
		if f.step == step {
			bits |= f.flag
		}
	}
	if bits == 0 {
		return ""
	}
	return flagText(&cloneFlags, bits)
}

// linkOf is where a symbolic link of the new root leads to.
func (p *Plan) linkOf(target string) string {
	for i := range p.Calls {
		text := p.Text(i)
		if strings.HasPrefix(text, "symlinkat(") && strings.HasSuffix(quotedIn(text, 1), "/root"+target) {
			return quotedIn(text, 0)
		}
	}
	return ""
}

func (e *Equivalent) bwrap() {
	s, p := e.spec, e.plan
	e.Args = []string{"bwrap"}
	e.add("--die-with-parent")
	e.bwrapNamespaces()
	if e.on("env") {
		e.add("--clearenv")
	}
	for _, kv := range e.addedEnv() {
		name, value, _ := strings.Cut(kv, "=")
		e.add("--setenv", name, value)
	}
	e.bwrapRoot()
	if e.on("session") {
		e.add("--new-session")
	}
	switch {
	case !e.on("caps"):
		e.add("--cap-add", "ALL")
	case len(s.CapAdd) > 0:
		e.add("--cap-drop", "ALL")
		for _, name := range s.CapAdd {
			e.add("--cap-add", capOption(name))
		}
		for _, name := range s.CapDrop {
			e.add("--cap-drop", capOption(name))
		}
	default:
		e.add("--cap-drop", "ALL")
	}
	if p.dir != "" {
		e.add("--chdir", p.dir)
	}
	if e.on("fds") {
		e.miss("fds: bwrap leaves every inherited descriptor open to CMD")
	}
	if !e.on("nnp") {
		e.miss("--skip nnp: bwrap always sets no_new_privs")
	}
	if e.on("seccomp") {
		e.miss("seccomp: bwrap has no filter of its own; --seccomp FD reads a compiled one")
		e.missOwners()
	}
	if e.on("session") && s.Terminal {
		e.miss("session: bwrap makes no pty, so CMD has no terminal to control jobs on")
	}
	e.add("--")
	e.Args = append(e.Args, s.Args...)
}

// missOwners tells what nothing but a filter can do.
func (e *Equivalent) missOwners() {
	if e.spec.FakeOwners {
		e.miss("seccomp: so chown and setuid to an id that is not mapped are refused (fakeroot(1) pretends for programs that are linked dynamically)")
	}
}

func capOption(name string) string {
	if strings.EqualFold(name, "all") {
		return "ALL"
	}
	return "CAP_" + strings.TrimPrefix(strings.ToUpper(name), "CAP_")
}

// bwrapNamespaces adds what makes namespaces, and their settings.
func (e *Equivalent) bwrapNamespaces() {
	s := e.spec
	if e.on("user") {
		e.add("--unshare-user")
		if !s.AllowNesting {
			e.add("--disable-userns")
		}
		switch u := &s.User; {
		case u.Auto || len(u.UIDMap) > 0 || len(u.GIDMap) > 0:
			e.miss("user: bwrap maps one id only, no ranges")
		case u.Unmapped:
			e.miss("user: bwrap always maps one id")
		default:
			if u.UID != nil {
				e.add("--uid", strconv.Itoa(*u.UID))
			}
			if u.GID != nil {
				e.add("--gid", strconv.Itoa(*u.GID))
			} else if u.UID != nil && *u.UID == 0 {
				e.add("--gid", "0")
			}
		}
	} else {
		e.miss("--skip user: as a normal user bwrap always makes a user namespace")
	}
	for _, ns := range [...]struct {
		flag   uint64
		option string
	}{
		{unix.CLONE_NEWPID, "--unshare-pid"},
		{unix.CLONE_NEWUTS, "--unshare-uts"},
		{unix.CLONE_NEWIPC, "--unshare-ipc"},
		{unix.CLONE_NEWNET, "--unshare-net"},
		{unix.CLONE_NEWCGROUP, "--unshare-cgroup"},
	} {
		if e.makes(ns.flag) {
			e.add(ns.option)
		}
		if ns.flag == unix.CLONE_NEWUTS && e.makes(ns.flag) {
			e.add("--hostname", hostnameOf(s))
		}
	}
	if e.on("pid") && s.AsPID1 {
		e.add("--as-pid-1")
	}
	if e.on("time") {
		e.miss("time: bwrap makes no time namespace")
	}
	if !e.on("mount") {
		e.miss("--skip mount: bwrap always makes a mount namespace")
	}
}

// bwrapRoot adds what is shown. bwrap has no overlays before 0.11.
func (e *Equivalent) bwrapRoot() {
	p := e.plan
	if !e.on("root") {
		e.add("--dev-bind", "/", "/")
		e.miss("--skip root: bwrap always makes a root of its own; the host's, bound on it, looks the same")
	}
	var files, layers []string
	for _, s := range p.Shown {
		if e.on("dev") && within(s.Target, "/dev") || e.on("proc") && s.Target == "/proc" {
			continue
		}
		switch s.Kind {
		case Overlay:
			layers = append(layers, s.Target)
			e.add("--ro-bind", s.Source, s.Target)
		case BindRO:
			e.add("--ro-bind", s.Source, s.Target)
		case BindRW:
			if within(s.Source, "/dev") || within(s.Source, "/proc") {
				e.add("--dev-bind", s.Source, s.Target)
			} else {
				e.add("--bind", s.Source, s.Target)
			}
		case Tmpfs:
			e.add("--tmpfs", s.Target)
		case Hide:
			e.add("--tmpfs", s.Target)
			e.add("--remount-ro", s.Target)
		case symlink:
			e.add("--symlink", p.linkOf(s.Target), s.Target)
		case folder:
			mode := "0755"
			switch {
			case s.Target == "/tmp" || s.Target == "/var/tmp":
				mode = "1777"
			case strings.HasPrefix(s.Why, "HOME"):
				mode = "0700"
			}
			e.add("--perms", mode, "--dir", s.Target)
		case content:
			files = append(files, s.Target)
		}
	}
	if e.on("proc") {
		e.add("--proc", "/proc")
		e.miss("proc: bwrap makes sys, irq, bus and sysrq-trigger of /proc read-only, and hides none of kcore, keys, kallsyms, timer_list and the like")
	}
	if e.on("dev") {
		e.add("--dev", "/dev")
	}
	if len(layers) > 0 {
		e.miss("overlay: read-only here; bubblewrap 0.11 has --overlay-src SRC --tmp-overlay DST, for " + strings.Join(layers, ", "))
	}
	for i := range p.Tools {
		if hidden := p.Tools[i].Hidden; len(hidden) > 0 {
			e.miss("credentials of " + p.Tools[i].Name + ": hidden whether they are there or not; here each that is there needs --ro-bind /dev/null FILE: " + strings.Join(hidden, ", "))
		}
	}
	if len(files) > 0 {
		e.miss("files of sbx's own in place of the host's: --ro-bind-data FD for " + strings.Join(files, ", "))
	}
}

// addedEnv are the variables that a command line has to set: all of a clean
// environment, else those of the spec.
func (e *Equivalent) addedEnv() []string {
	if e.on("env") {
		return e.plan.Env
	}
	var out []string
	for _, kv := range e.spec.Env {
		if strings.Contains(kv, "=") {
			out = append(out, kv)
		}
	}
	return out
}

func hostnameOf(s *Spec) string {
	if s.Hostname != "" {
		return s.Hostname
	}
	return "sandbox"
}

// unshare adds setpriv(1), which belongs to util-linux too, for what
// unshare(1) itself does not do.
func (e *Equivalent) unshare() {
	s, p := e.spec, e.plan
	if e.on("env") {
		e.Args = []string{"env", "-i"}
		for _, kv := range p.Env {
			e.add(kv)
		}
		e.add("unshare")
	} else {
		e.Args = []string{"unshare"}
	}
	if e.on("user") {
		u := &s.User
		switch {
		case u.Auto:
			e.add("--map-users=auto")
			e.add("--map-groups=auto")
		case len(u.UIDMap) > 0 || len(u.GIDMap) > 0:
			e.miss("user: unshare 2.38 takes one range only (--map-users=OUTER,INNER,COUNT)")
			e.add("--user")
		case u.Unmapped:
			e.add("--user")
		case u.UID != nil && *u.UID == 0:
			e.add("--map-root-user")
		case u.UID != nil || u.GID != nil:
			if u.UID != nil {
				e.add("--map-user=" + strconv.Itoa(*u.UID))
			}
			if u.GID != nil {
				e.add("--map-group=" + strconv.Itoa(*u.GID))
			}
		default:
			e.add("--map-current-user")
		}
		if !s.AllowNesting {
			e.miss("user: further user namespaces are not refused (0 in /proc/sys/user/max_user_namespaces)")
		}
	}
	for _, ns := range [...]struct {
		flag    uint64
		options []string
	}{
		{unix.CLONE_NEWNS, []string{"--mount", "--propagation=private"}},
		{unix.CLONE_NEWPID, []string{"--pid", "--fork", "--kill-child"}},
		{unix.CLONE_NEWUTS, []string{"--uts"}},
		{unix.CLONE_NEWIPC, []string{"--ipc"}},
		{unix.CLONE_NEWNET, []string{"--net"}},
		{unix.CLONE_NEWCGROUP, []string{"--cgroup"}},
	} {
		if e.makes(ns.flag) {
			e.add(ns.options...)
		}
	}
	if e.on("time") {
		e.add("--time", "--boottime", strconv.FormatInt(s.BootOffset, 10), "--monotonic", strconv.FormatInt(s.MonotonicOffset, 10))
	}
	if e.on("proc") {
		e.add("--mount-proc")
	}
	if !e.on("root") && p.dir != "" {
		e.add("--wd=" + p.dir)
	}
	e.setpriv()
	e.add(s.Args...)
	e.unshareMissing()
}

func (e *Equivalent) setpriv() {
	s := e.spec
	var options []string
	if e.on("nnp") {
		options = append(options, "--no-new-privs")
	}
	if e.on("caps") {
		if len(s.CapAdd) == 0 {
			options = append(options, "--ambient-caps=-all", "--inh-caps=-all", "--bounding-set=-all")
		} else {
			e.miss("caps: setpriv(1) empties sets, or lists what is to be kept")
		}
	}
	if len(options) > 0 {
		e.add(append([]string{"setpriv"}, options...)...)
	}
}

func (e *Equivalent) unshareMissing() {
	s, p := e.spec, e.plan
	if e.on("fds") {
		e.miss("fds: unshare leaves every inherited descriptor open to CMD")
	}
	if e.on("uts") {
		e.miss("uts: hostname(1) inside gives the name " + hostnameOf(s))
	}
	if e.makes(unix.CLONE_NEWNET) {
		e.miss("net: lo stays down; ip link set lo up inside brings it up")
	}
	if e.on("pid") && !s.AsPID1 {
		e.miss("pid: CMD itself is PID 1, and nothing reaps orphans for it")
	}
	if e.on("overlay") || e.on("root") {
		e.miss("mount, overlay, dev, root: unshare shows the host's whole root, writable as for the caller; --root=DIR is a chroot to a folder that mount(8) has to fill before")
	}
	if e.on("proc") {
		e.miss("proc: no entry of /proc is masked")
	}
	if e.on("session") {
		e.miss("session: setsid(1) in front of CMD leaves the terminal's session")
	}
	if e.on("seccomp") {
		e.miss("seccomp: unshare and setpriv 2.38 install no filter")
		e.missOwners()
	}
	if p.dir != "" && e.on("root") {
		e.miss("the working folder: " + path.Clean(p.dir) + " is the host's own")
	}
}
