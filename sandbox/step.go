package sandbox

import "slices"

// Step is one isolation measure: enough to explain it, to apply it, to leave
// it out and to see it.
type Step struct {
	Name    string
	Summary string   // what CMD gets with it
	Without string   // what is said when it is skipped
	Why     string   // why it stands where it stands in the plan
	Not     string   // what it does not protect from
	Man     []string // pages to read on, section in parentheses
	Watch   []string // where its effect can be seen from outside
	Needs   []string // steps without which it cannot be made
	Kernel  string   // least kernel
	// OnRequest marks a step that is off unless Spec.With names it.
	OnRequest bool

	compile func(*compiler) error
}

// Steps is the table of all isolation measures in the order of the plan. The
// order is not free: the comment on each row says why it stands there.
var Steps = []Step{
	// First, because it is not a call at all: the environment is what the
	// launcher hands to execve. Nothing that runs inside ever holds another.
	{
		Name: "env", Summary: "a clean environment: PATH, HOME, USER, TERM, LANG, TZ and what -e adds",
		Without: "CMD sees all of the caller's environment, secrets included",
		Why:     "decided before the child exists, so that not even PID 1's /proc/1/environ holds a secret",
		Not:     "secrets in files that are shown, or given with -e",
		Man:     []string{"environ(7)", "execve(2)"}, Watch: []string{"/proc/PID/environ"}, Kernel: "any",
		compile: (*compiler).env,
	},
	// Before any namespace is configured, so that no descriptor of the caller
	// outlives the first calls; what the plan opens later is close-on-exec.
	{
		Name: "fds", Summary: "only 0, 1, 2 and what is passed on purpose stays open",
		Without: "CMD inherits every open file",
		Why:     "a folder left open leads out of any root (CVE-2024-21626)",
		Not:     "what the passed descriptors themselves allow: a file opened for writing can be written",
		Man:     []string{"close_range(2)"}, Watch: []string{"/proc/PID/fd"}, Kernel: "5.11",
		compile: (*compiler).fds,
	},
	// The first namespace: it gives a normal user the capabilities, inside,
	// that every other namespace and every mount asks for.
	{
		Name: "user", Summary: "a user namespace with an id map; setgroups denied, no further user namespaces",
		Without: "CMD is in the caller's user namespace; as a normal user no other namespace can be made",
		Why:     "it owns all the namespaces after it, so the kernel asks it, not the host, for permission",
		Not:     "files that the caller may read: to the kernel CMD has the caller's own uid",
		Man:     []string{"user_namespaces(7)", "newuidmap(1)"}, Watch: []string{"/proc/PID/ns/user", "/proc/PID/uid_map", "/proc/PID/setgroups"}, Kernel: "3.8",
		compile: (*compiler).user,
	},
	// Before every mount, and propagation is cut before anything is mounted:
	// else the first mount would be sent to the host.
	{
		Name: "mount", Summary: "a mount namespace of its own, propagation private",
		Without: "CMD shares the host's mount table",
		Why:     "what follows mounts, and must not be seen outside",
		Not:     "files: those that are shown are the host's own",
		Man:     []string{"mount_namespaces(7)", "mount_setattr(2)"}, Watch: []string{"/proc/PID/ns/mnt", "/proc/PID/mountinfo"}, Needs: []string{"user"}, Kernel: "5.12",
		compile: (*compiler).mount,
	},
	// With clone3, because a process cannot move itself into a PID namespace;
	// before proc, which shows the namespace of the process that mounts it.
	{
		Name: "pid", Summary: "a PID namespace; PID 1 reaps, and everything ends with it",
		Without: "CMD sees the caller's processes, and can signal them unless landlock scopes signals (Linux 6.12)",
		Why:     "only a new process can be the first of a PID namespace",
		Not:     "seeing the host's processes, as long as the host's /proc is mounted",
		Man:     []string{"pid_namespaces(7)", "clone(2)"}, Watch: []string{"/proc/PID/ns/pid", "NStgid in /proc/PID/status"}, Needs: []string{"user"}, Kernel: "3.8",
		compile: (*compiler).pid,
	},
	{
		Name: "uts", Summary: "a UTS namespace; the host's name is sandbox",
		Without: "CMD has the host's name",
		Why:     "sethostname needs CAP_SYS_ADMIN, which caps takes away later",
		Not:     "/etc/hostname and other places that hold the name",
		Man:     []string{"uts_namespaces(7)", "sethostname(2)"}, Watch: []string{"/proc/PID/ns/uts"}, Needs: []string{"user"}, Kernel: "3.8",
		compile: (*compiler).uts,
	},
	{
		Name: "ipc", Summary: "an IPC namespace: System V and POSIX queues of its own",
		Without: "CMD shares the host's queues and shared memory",
		Why:     "with clone3, like every namespace that needs no set-up",
		Not:     "files in /dev/shm, which dev hides, and Unix sockets",
		Man:     []string{"ipc_namespaces(7)", "sysvipc(7)"}, Watch: []string{"/proc/PID/ns/ipc"}, Needs: []string{"user"}, Kernel: "3.8",
		compile: (*compiler).ipc,
	},
	{
		Name: "net", Summary: "a network namespace with lo alone",
		Without: "CMD uses the host's network",
		Why:     "made with the others; lo is brought up as the last call that needs a capability, because it waits for a lock",
		Not:     "Unix sockets that have a path: hiding their folder does",
		Man:     []string{"network_namespaces(7)", "netdevice(7)"}, Watch: []string{"/proc/PID/ns/net", "/proc/PID/net/dev"}, Needs: []string{"user"}, Kernel: "3.8",
		compile: (*compiler).net,
	},
	{
		Name: "cgroup", Summary: "a cgroup namespace",
		Without: "CMD sees the host's cgroup tree",
		Why:     "the namespace's root is the cgroup in which the process is at that moment",
		Not:     "using the machine up: that is what limits are for",
		Man:     []string{"cgroup_namespaces(7)", "cgroups(7)"}, Watch: []string{"/proc/PID/ns/cgroup", "/proc/PID/cgroup"}, Needs: []string{"user"}, Kernel: "4.6",
		compile: (*compiler).cgroup,
	},
	// Made by unshare in the child: with clone3 the offsets would be frozen
	// before they could be written.
	{
		Name: "time", Summary: "a time namespace with shifted boot and monotonic clocks",
		Without: "CMD has the host's clocks",
		Why:     "the offsets are written before the first process enters it, which is at execve",
		Not:     "the wall clock, which has no namespace",
		Man:     []string{"time_namespaces(7)"}, Watch: []string{"/proc/PID/ns/time", "/proc/PID/timens_offsets"}, Needs: []string{"user"}, Kernel: "5.6",
		OnRequest: true, compile: (*compiler).time,
	},
	// After the read-only binds, because an overlay may lie inside one.
	{
		Name: "overlay", Summary: "what can be written is copy on write",
		Without: "everything shown is read-only",
		Why:     "an overlay can lie inside a folder that is already shown",
		Not:     "reading: the files below are the host's own",
		Man:     []string{"mount(8), under overlay", "kernel Documentation/filesystems/overlayfs.rst"}, Watch: []string{"/proc/PID/mountinfo"}, Needs: []string{"mount"}, Kernel: "5.11",
		compile: (*compiler).overlay,
	},
	// While the host's own /proc is still visible: the kernel allows a new one
	// only to those who can already see one in full.
	{
		Name: "proc", Summary: "a /proc of the PID namespace, dangerous entries masked",
		Without: "CMD sees the host's /proc",
		Why:     "a process that has lost sight of /proc may not mount a new one",
		Not:     "what the kernel tells everybody, such as /proc/cpuinfo",
		Man:     []string{"proc(5)"}, Watch: []string{"/proc/PID/root/proc", "/proc/PID/mountinfo"}, Needs: []string{"user", "mount", "pid"}, Kernel: "4.8",
		compile: (*compiler).proc,
	},
	{
		Name: "dev", Summary: "a /dev with null, zero, full, random, urandom, tty, pts and shm",
		Without: "CMD sees the host's /dev",
		Why:     "the devices are bound from the host's /dev, which must still be there",
		Not:     "the caller's terminal, when -T passes it",
		Man:     []string{"null(4)", "pts(4)", "shm_overview(7)"}, Watch: []string{"/proc/PID/root/dev"}, Needs: []string{"mount"}, Kernel: "4.7",
		compile: (*compiler).dev,
	},
	// After everything was mounted, before the calls that take away the right
	// to change the root: a Landlock domain forbids pivot_root.
	{
		Name: "root", Summary: "pivot_root into the new root, the old one detached",
		Without: "CMD keeps the host's root: all of your files",
		Why:     "the last look at the host: sources must have been opened before",
		Not:     "what was shown on purpose",
		Man:     []string{"pivot_root(2)", "chroot(2)"}, Watch: []string{"/proc/PID/root", "/proc/PID/mountinfo"}, Needs: []string{"mount"}, Kernel: "2.6",
		compile: (*compiler).rootChange,
	},
	{
		Name: "session", Summary: "a session of its own, and a pty in place of your terminals",
		Without: "CMD can type into your terminal",
		Why:     "the controlling terminal goes with the session",
		Not:     "the terminal that -T passes through descriptors 0 to 2",
		Man:     []string{"setsid(2)", "credentials(7)", "ioctl_tty(2)"}, Watch: []string{"/proc/PID/stat: session, tty_nr"}, Kernel: "any",
		compile: (*compiler).session,
	},
	{
		Name: "rlimits", Summary: "the limits given, and the defaults: 4096 processes, no core files, a share of what the kernel counts for a user",
		Without: "CMD has the caller's limits",
		Why:     "RLIMIT_NPROC counts within the user namespace, which must exist",
		Not:     "the sum of memory and CPU time over processes: only a cgroup counts that",
		Man:     []string{"getrlimit(2)"}, Watch: []string{"/proc/PID/limits", "/proc/PID/oom_score_adj", "/proc/sys/user"}, Kernel: "2.6.36",
		compile: (*compiler).rlimits,
	},
	// After the last call that needs a capability.
	{
		Name: "caps", Summary: "no capability in any of the five sets",
		Without: "CMD keeps every capability of its user namespace",
		Why:     "everything above needed them",
		Not:     "what any user may do without a capability",
		Man:     []string{"capabilities(7)"}, Watch: []string{"Cap* in /proc/PID/status"}, Kernel: "4.3",
		compile: (*compiler).caps,
	},
	// Before landlock and seccomp, which the kernel refuses to those who could
	// use them to trick a setuid program.
	{
		Name: "nnp", Summary: "no_new_privs: execve never adds a privilege",
		Without: "setuid programs and file capabilities work as far as the namespace lets them",
		Why:     "landlock and seccomp ask for it",
		Not:     "privileges that CMD already has",
		Man:     []string{"prctl(2), PR_SET_NO_NEW_PRIVS"}, Watch: []string{"NoNewPrivs in /proc/PID/status"}, Kernel: "3.5",
		compile: (*compiler).nnp,
	},
	{
		Name: "landlock", Summary: "Landlock: nothing but the new root, and scopes, as far as the kernel goes",
		Without: "a way out of the root is not stopped a second time",
		Why:     "its rules name files of the new root; and it forbids every later mount",
		Not:     "chmod, utimes and setxattr through a descriptor that is already open",
		Man:     []string{"landlock(7)", "landlock_add_rule(2)"}, Watch: []string{"errno of a refused open: EACCES"}, Needs: []string{"nnp"}, Kernel: "5.13",
		compile: (*compiler).landlock,
	},
	// Last, because the filter refuses most of the calls above.
	{
		Name: "seccomp", Summary: "a filter that allows the usual system calls and refuses the rest",
		Without: "every system call is allowed",
		Why:     "it refuses mount, unshare and most of what came before",
		Not:     "what the allowed calls do: it sees numbers, not paths",
		Man:     []string{"seccomp(2)", "seccomp_export_bpf(3)"}, Watch: []string{"Seccomp and Seccomp_filters in /proc/PID/status"}, Needs: []string{"nnp"}, Kernel: "3.17",
		compile: (*compiler).seccomp,
	},
}

// StepNames lists the steps' names in the order of the plan.
func StepNames() []string {
	names := make([]string, len(Steps))
	for i := range Steps {
		names[i] = Steps[i].Name
	}
	return names
}

// LookupStep returns the step with this name, or nil.
func LookupStep(name string) *Step {
	for i := range Steps {
		if Steps[i].Name == name {
			return &Steps[i]
		}
	}
	return nil
}

// Requires says whether the step needs the other, directly or through a third.
func (s *Step) Requires(other string) bool {
	for _, n := range s.Needs {
		if n == other || LookupStep(n).Requires(other) {
			return true
		}
	}
	return false
}

// Dependents lists the steps that need the named one, in table order.
func Dependents(name string) []string {
	var out []string
	for i := range Steps {
		if Steps[i].Requires(name) {
			out = append(out, Steps[i].Name)
		}
	}
	return out
}

// Closure returns the steps with everything that skipping them takes along, in
// table order.
func Closure(skip []string) []string {
	var out []string
	for i := range Steps {
		s := &Steps[i]
		if slices.Contains(skip, s.Name) || slices.ContainsFunc(skip, s.Requires) {
			out = append(out, s.Name)
		}
	}
	return out
}

// Only returns the steps to skip so that the named ones are left, and those
// that were kept beside them because they are needed.
func Only(names []string) (skip, pulled []string) {
	for i := range Steps {
		s := &Steps[i]
		if slices.Contains(names, s.Name) {
			continue
		}
		needed := slices.ContainsFunc(names, func(n string) bool {
			o := LookupStep(n)
			return o != nil && o.Requires(s.Name)
		})
		switch {
		case needed:
			pulled = append(pulled, s.Name)
		case !s.OnRequest:
			skip = append(skip, s.Name)
		}
	}
	return skip, pulled
}
