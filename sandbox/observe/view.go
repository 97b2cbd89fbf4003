package observe

// Version is the layout of [View] and of its JSON form. It rises when a field
// changes its meaning or goes away, not when one is added.
const Version = 1

// View is one look at one process. It is plain data: it can be stored as JSON,
// read back and compared with [Diff] later or elsewhere.
//
// Ids and paths are as the observer sees them unless a field says otherwise. A
// nil slice means that the part could not be read, and Unreadable says why.
type View struct {
	Version int `json:"version"`

	PID       int      `json:"pid"`        // in the PID namespace of the observer's /proc
	NStgid    []int    `json:"ns_tgid"`    // the PID in each nested PID namespace, outermost first; the last is what getpid(2) returns
	StartTime uint64   `json:"start_time"` // clock ticks after boot; with PID it names a process for good
	State     string   `json:"state"`      // R, S, D, T, t, Z, X or I as in proc_pid_status(5)
	Comm      string   `json:"comm"`       // at most 15 bytes, chosen by the process
	Command   []string `json:"command"`    // argv; empty for a zombie and for a kernel thread
	Exe       string   `json:"exe"`        // target of /proc/PID/exe; may end in " (deleted)"
	Root      string   `json:"root"`       // target of /proc/PID/root; "/" after pivot_root(2), a path after chroot(2)
	Cwd       string   `json:"cwd"`        // target of /proc/PID/cwd

	UID       Credential `json:"uid"`
	GID       Credential `json:"gid"`
	Groups    []uint32   `json:"groups"`    // supplementary groups, as seen outside
	UIDMap    []IDRange  `json:"uid_map"`   // empty when no map has been written yet
	GIDMap    []IDRange  `json:"gid_map"`   // empty when no map has been written yet
	Setgroups string     `json:"setgroups"` // "allow" or "deny", user_namespaces(7)

	Namespaces  []Namespace  `json:"namespaces"`
	TimeOffsets []TimeOffset `json:"time_offsets"` // of the time namespace for children
	Hostname    string       `json:"hostname"`     // filled only when the UTS namespace is the observer's, or by a caller who knows it

	Mounts  []Mount      `json:"mounts"` // in the order of mountinfo: a later entry covers an earlier one with the same target
	Cgroups []CgroupPath `json:"cgroups"`

	Capabilities    Capabilities `json:"capabilities"`
	NoNewPrivileges bool         `json:"no_new_privs"`
	Seccomp         Seccomp      `json:"seccomp"`
	Landlock        Landlock     `json:"landlock"`

	Rlimits     []Rlimit `json:"rlimits"`
	OOMScoreAdj int      `json:"oom_score_adj"` // -1000 (never killed) to 1000, proc_pid_oom_score_adj(5)

	Interfaces []Interface `json:"interfaces"`
	// Addresses are IPv4 addresses that no route ties to an interface. The
	// others stand in their Interface.
	Addresses []string `json:"addresses"`

	// Processes are those that the process itself sees: the numbered entries
	// of the /proc in its root. It is empty when that root has no /proc.
	Processes []Process `json:"processes"`

	FDs         []FD       `json:"fds"`
	Environment []Variable `json:"environment"` // as it was at exec; what setenv(3) did since does not show
	Session     Session    `json:"session"`

	// Unreadable lists what could not be read, in the order in which it was
	// tried. It is empty, never nil, when everything was read.
	Unreadable []Unread `json:"unreadable"`
}

// Credential is the four kernel ids that a process has as a user, or as a
// group, as the observer sees them (credentials(7)).
type Credential struct {
	Real       uint32 `json:"real"`
	Effective  uint32 `json:"effective"`
	Saved      uint32 `json:"saved"`
	Filesystem uint32 `json:"filesystem"`
	// Inside is the effective id as the process itself sees it: 65534, the
	// overflow id, where its map has no entry for it (user_namespaces(7)).
	Inside uint32 `json:"inside"`
}

// Namespace is one namespace that a process is in.
type Namespace struct {
	Kind  string `json:"kind"`  // a name in /proc/PID/ns: user, mnt, pid, pid_for_children, uts, ipc, net, cgroup, time
	Inode uint64 `json:"inode"` // the namespace's number, equal for all processes in it
	// Shared says that the observer was in the same namespace. Inodes differ
	// between any two sandboxes; this is what tells isolated from not.
	Shared bool `json:"shared"`
	// Owner is the user namespace whose capabilities count for this one
	// (ioctl_ns(2), NS_GET_USERNS); of a user namespace it is its parent. It is
	// 0 where the kernel does not tell the observer.
	Owner uint64 `json:"owner,omitempty"`
	// Parents are the namespaces around a user or PID namespace, the nearest
	// first, as far as the observer may see them (NS_GET_PARENT).
	Parents []uint64 `json:"parents,omitempty"`
}

// TimeOffset is how far a clock of a time namespace is set apart from the
// host's (time_namespaces(7)).
type TimeOffset struct {
	Clock       string `json:"clock"` // monotonic or boottime
	Seconds     int64  `json:"seconds"`
	Nanoseconds int64  `json:"nanoseconds"`
}

// Capabilities are the five sets of capabilities(7) as names such as
// CAP_SYS_ADMIN, in the order of their numbers.
type Capabilities struct {
	Inheritable []string `json:"inheritable"`
	Permitted   []string `json:"permitted"`
	Effective   []string `json:"effective"`
	Bounding    []string `json:"bounding"`
	Ambient     []string `json:"ambient"`
	// Known is how many capabilities the observer's kernel has: 41 since 5.9.
	Known int `json:"known"`
}

// Seccomp is the state of the system call filter (seccomp(2)).
type Seccomp struct {
	Mode    string `json:"mode"`    // disabled, strict, filter; unknown when the kernel was built without seccomp
	Filters int    `json:"filters"` // stacked filters; -1 before Linux 5.9, which does not say
}

// Landlock is what is known of the Landlock domain of a process. The kernel
// shows none of it in /proc, so Snapshot returns the state [NotVisible]; a
// caller that applied the rules itself writes them here.
type Landlock struct {
	State string   `json:"state"` // NotVisible, or the caller's "enforced" or "none"
	ABI   int      `json:"abi"`   // the ABI that the rules were made for; 0 when not known
	Rules []string `json:"rules"` // one readable line for each rule
}

// NotVisible is the state of a [Landlock] that nobody has filled in.
const NotVisible = "not visible"

// Process is one entry of a /proc.
type Process struct {
	PID  int    `json:"pid"`  // in the PID namespace of that /proc
	Comm string `json:"comm"` // empty for entries past the first 256, and where it could not be read
}

// Variable is one entry of an environment.
type Variable struct {
	Name  string `json:"name"`
	Value string `json:"value"` // may be a secret: Write and Diff never print it
}

// Session is the POSIX session of a process (credentials(7)).
type Session struct {
	ID     int    `json:"id"`     // 0 when it began outside the observer's PID namespace
	Group  int    `json:"group"`  // process group, 0 likewise
	Leader bool   `json:"leader"` // the process began the session itself
	Shared bool   `json:"shared"` // it is the observer's own session
	TTY    string `json:"tty"`    // controlling terminal such as pts/3; empty without one
}

// Unread is one part of a process that could not be looked at.
type Unread struct {
	Part   string `json:"part"`   // the JSON name of the View's field, or namespaces.KIND
	Path   string `json:"path"`   // what was opened
	Reason string `json:"reason"` // the errno's name such as EACCES, or a sentence
}

// Namespace returns the namespace of a kind, and false when it is not known.
func (v *View) Namespace(kind string) (Namespace, bool) {
	for _, n := range v.Namespaces {
		if n.Kind == kind {
			return n, true
		}
	}
	return Namespace{}, false
}

// InsidePID returns the PID as getpid(2) in the process returns it.
func (v *View) InsidePID() int {
	if n := len(v.NStgid); n > 0 {
		return v.NStgid[n-1]
	}
	return v.PID
}

// MountAt returns the mount that is on top at exactly target, a path inside
// the root of the process, and nil when nothing is mounted there.
func (v *View) MountAt(target string) *Mount {
	for i := len(v.Mounts) - 1; i >= 0; i-- {
		if v.Mounts[i].Target == target {
			return &v.Mounts[i]
		}
	}
	return nil
}

// unread returns the entry of Unreadable for a part, and nil when it was read.
func (v *View) unread(part string) *Unread {
	for i := range v.Unreadable {
		if v.Unreadable[i].Part == part {
			return &v.Unreadable[i]
		}
	}
	return nil
}
