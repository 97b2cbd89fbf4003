package observe

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

// hostView is a process on a host that nothing isolates.
func hostView() *View {
	v := &View{
		Version: Version, PID: 4242, NStgid: []int{4242}, StartTime: 5, State: "S", Comm: "bash",
		Command: []string{"bash"}, Exe: "/usr/bin/bash", Root: "/", Cwd: "/home/ada",
		UID: Credential{1000, 1000, 1000, 1000, 1000}, GID: Credential{1000, 1000, 1000, 1000, 1000},
		Groups: []uint32{1000}, UIDMap: []IDRange{{0, 0, 1<<32 - 1}}, GIDMap: []IDRange{{0, 0, 1<<32 - 1}}, Setgroups: "allow",
		TimeOffsets: []TimeOffset{{"monotonic", 0, 0}, {"boottime", 0, 0}}, Hostname: "desk",
		Mounts: []Mount{
			{ID: 1, Device: "8:1", Root: "/", Target: "/", FSType: "ext4", Source: "/dev/sda1", Options: []string{"rw"}, Propagation: []string{"shared:1"}},
			{ID: 2, Parent: 1, Device: "0:21", Root: "/", Target: "/proc", FSType: "proc", Source: "proc", Options: []string{"rw"}, Propagation: []string{"shared:2"}},
			{ID: 3, Parent: 1, Device: "0:5", Root: "/", Target: "/dev", FSType: "devtmpfs", Source: "udev", Options: []string{"rw"}, Propagation: []string{"shared:3"}},
			{ID: 4, Parent: 1, Device: "0:40", Root: "/", Target: "/home", FSType: "nfs4", Source: "server:/home", Options: []string{"rw"}, Propagation: []string{"shared:4"}},
		},
		Cgroups: []CgroupPath{{0, []string{}, "/user.slice"}},
		Capabilities: Capabilities{
			Inheritable: []string{}, Permitted: []string{}, Effective: []string{},
			Bounding: CapabilityNames(1<<41 - 1), Ambient: []string{}, Known: 41,
		},
		Seccomp: Seccomp{Mode: "disabled"}, Landlock: Landlock{State: NotVisible},
		Rlimits:    []Rlimit{{"RLIMIT_NPROC", 96365, 96365, "processes"}, {"RLIMIT_FSIZE", Unlimited, Unlimited, "bytes"}},
		Interfaces: []Interface{{Name: "eth0", Addresses: []string{"192.0.2.2/24"}}, {Name: "lo", Addresses: []string{"127.0.0.1"}}},
		Addresses:  []string{},
		FDs: []FD{
			{0, "/dev/pts/3", "rw", []string{}},
			{1, "/dev/pts/3", "rw", []string{}},
			{2, "/dev/pts/3", "rw", []string{}},
			{5, "/home/ada/secret", "r", []string{}},
		},
		Environment: []Variable{{"HOME", "/home/ada"}, {"PATH", "/bin"}, {"API_TOKEN", "hunter2"}},
		Session:     Session{ID: 4000, Group: 4242, Shared: true, TTY: "pts/3"},
		Unreadable:  []Unread{},
	}
	for i, kind := range []string{"user", "mnt", "pid", "pid_for_children", "uts", "ipc", "net", "cgroup", "time"} {
		inode := uint64(4026531837 + i)
		if kind == "pid_for_children" {
			inode--
		}
		v.Namespaces = append(v.Namespaces, Namespace{Kind: kind, Inode: inode, Shared: true})
	}
	for pid := 1; pid <= 142; pid++ {
		v.Processes = append(v.Processes, Process{PID: pid, Comm: "daemon"})
	}
	return v
}

// sandboxView is the same host's process with every step on.
func sandboxView() *View {
	v := hostView()
	v.PID, v.NStgid, v.StartTime = 5151, []int{5151, 2}, 99
	v.UID.Inside, v.GID.Inside = 0, 0
	v.UIDMap, v.GIDMap, v.Setgroups = []IDRange{{0, 1000, 1}}, []IDRange{{0, 1000, 1}}, "deny"
	v.TimeOffsets[1].Seconds = 86400
	v.Hostname = "sandbox"
	for i := range v.Namespaces {
		v.Namespaces[i].Shared = false
		v.Namespaces[i].Inode += 500
	}
	v.Mounts = []Mount{
		{ID: 51, Device: "0:60", Root: "/", Target: "/", FSType: "tmpfs", Source: "tmpfs", Options: []string{"ro"}, ReadOnly: true},
		{ID: 52, Device: "8:1", Root: "/usr", Target: "/usr", FSType: "ext4", Source: "/dev/sda1", Options: []string{"ro"}, ReadOnly: true},
		{ID: 53, Device: "0:61", Root: "/", Target: "/work", FSType: "overlay", Options: []string{"rw"}, Overlay: &Overlay{Lower: []string{"/work"}, Upper: "/u"}},
		{ID: 54, Device: "0:62", Root: "/", Target: "/proc", FSType: "proc", Source: "proc", Options: []string{"rw"}},
		{ID: 55, Device: "0:63", Root: "/null", Target: "/proc/kcore", FSType: "tmpfs", Options: []string{"ro"}, ReadOnly: true},
		{ID: 56, Device: "0:64", Root: "/", Target: "/dev", FSType: "tmpfs", Options: []string{"ro"}, ReadOnly: true},
		{ID: 57, Device: "0:5", Root: "/null", Target: "/dev/null", FSType: "devtmpfs", Options: []string{"rw"}},
	}
	v.Cwd = "/work"
	v.Cgroups[0].Path = "/user.slice/box"
	v.Capabilities.Bounding = []string{}
	v.NoNewPrivileges = true
	v.Seccomp = Seccomp{Mode: "filter", Filters: 1}
	v.Rlimits[0].Soft, v.Rlimits[0].Hard = 4096, 4096
	v.Rlimits[1].Soft = 16 << 20
	v.Interfaces = []Interface{{Name: "lo", Addresses: []string{}}}
	v.Processes = []Process{{1, "init"}, {2, "bash"}, {3, "cat"}}
	v.FDs = []FD{{0, "/dev/null", "r", nil}, {1, "pipe:[1]", "w", nil}, {2, "pipe:[2]", "w", nil}}
	v.Environment = []Variable{{"HOME", "/root"}, {"PATH", "/bin"}, {"TZ", "UTC"}}
	v.Session = Session{Leader: true}
	return v
}

func TestDiffOfHostAndSandbox(t *testing.T) {
	var got []string
	for _, c := range Diff(hostView(), sandboxView()) {
		got = append(got, c.Step+": "+c.Sentence)
	}
	want := []string{
		"env: 1 of 3 variables of the environment is gone: API_TOKEN",
		"env: 1 variable of the environment is new: TZ",
		"env: 1 variable of the environment has another value: HOME",
		"fds: 1 inherited descriptor is closed: 5",
		"fds: stdin is /dev/null instead of /dev/pts/3",
		"fds: stdout is a pipe instead of /dev/pts/3",
		"fds: stderr is a pipe instead of /dev/pts/3",
		"user: the process is in a user namespace of its own: its ids and capabilities count for nothing outside of it",
		"user: the process sees itself as uid 0 instead of 1000; outside it is 1000 as before",
		"user: the process sees itself as gid 0 instead of 1000; outside it is 1000 as before",
		"user: the uid_map says: 0 inside is 1000 outside; instead of: every id is itself",
		"user: the gid_map says: 0 inside is 1000 outside; instead of: every id is itself",
		"user: setgroups is denied, so the process cannot leave a group that a file's permissions shut out",
		"mount: the process is in a mount namespace of its own: what it mounts and unmounts is not seen outside",
		"mount: the mount table has 7 entries instead of 4",
		"mount: the propagation of / is private instead of shared: no mount passes between the host and the process",
		"pid: the process is in a PID namespace of its own: there it is PID 2, and it cannot signal processes outside",
		"uts: the process is in a UTS namespace of its own: it can be given a hostname that the host does not take over",
		"uts: the hostname is sandbox instead of desk",
		"ipc: the process is in an IPC namespace of its own: System V queues, semaphores and shared memory of the host are out of reach",
		"net: the process is in a network namespace of its own: it has interfaces, ports and abstract sockets of its own",
		"net: the process has 1 network interface (lo) instead of 2 (eth0 and lo)",
		"net: the process has no network address, not even 127.0.0.1, instead of 127.0.0.1 and 192.0.2.2/24",
		"cgroup: the process is in a cgroup namespace of its own: its own cgroup looks like the root of the tree",
		"cgroup: the process is in another cgroup: cgroup2 is /user.slice/box instead of /user.slice",
		"time: the process is in a time namespace of its own: its boot time and monotonic clocks can be set apart from the host's",
		"time: the clocks of the process: boottime 86400 s ahead of the host's; instead of: the host's",
		"overlay: /work is an overlay: what is written goes to a layer above, the folder below stays as it is",
		"proc: 1 entry of /proc is covered by a mount: /proc/kcore",
		"proc: the process sees 3 processes instead of 142",
		"dev: /dev is a read-only tmpfs instead of a devtmpfs",
		"dev: in /dev 1 entry is mounted for the process: /dev/null",
		"root: the working folder is /work instead of /home/ada",
		"root: / is a read-only tmpfs instead of an ext4",
		"root: 1 mount of the first view is gone: /home",
		"root: 1 mount is new: /usr",
		"root: beside those of /proc, /dev and overlays, 0 of 1 mount can be written instead of 1 of 1",
		"session: the process is in a session of its own, out of reach of the caller's terminal and its signals",
		"session: the process leads its session",
		"session: the process has no controlling terminal instead of pts/3",
		"rlimits: the number of processes may be 4096 instead of 96365",
		"rlimits: a written file may be 16 MiB (at most unlimited) instead of unlimited",
		"caps: no bounding capability is left of 41",
		"nnp: no_new_privs is set: no setuid program and no file capability can raise the process's privileges",
		"seccomp: a seccomp filter judges every system call",
	}
	for i := 0; i < max(len(got), len(want)); i++ {
		a, b := "(none)", "(none)"
		if i < len(got) {
			a = got[i]
		}
		if i < len(want) {
			b = want[i]
		}
		if a != b {
			t.Errorf("change %d:\ngot  %s\nwant %s", i, a, b)
		}
	}
}

// The way back has as many steps in the same order, and nothing of what the
// first direction said.
func TestDiffReversed(t *testing.T) {
	there, back := Diff(hostView(), sandboxView()), Diff(sandboxView(), hostView())
	steps := func(changes []Change) (names []string) {
		for _, c := range changes {
			if len(names) == 0 || names[len(names)-1] != c.Step {
				names = append(names, c.Step)
			}
		}
		return names
	}
	want := strings.Fields("env fds user mount pid uts ipc net cgroup time overlay proc dev root session rlimits caps nnp seccomp")
	if got := steps(there); !reflect.DeepEqual(got, want) {
		t.Errorf("there: %v", got)
	}
	if got := steps(back); !reflect.DeepEqual(got, want) {
		t.Errorf("back: %v", got)
	}
	said := map[string]bool{}
	for _, c := range there {
		said[c.Sentence] = true
		if c.A == c.B && !strings.HasPrefix(c.Subject, "variables") && !strings.HasPrefix(c.Subject, "mounts") && !strings.HasPrefix(c.Subject, "overlays") {
			t.Errorf("%s: both sides are %q", c.Subject, c.A)
		}
	}
	for _, c := range back {
		if c.Subject == "variables changed" {
			continue // values are not told, so it reads alike both ways
		}
		if said[c.Sentence] {
			t.Errorf("said both ways: %s", c.Sentence)
		}
	}
}

func TestDiffOfEqualViews(t *testing.T) {
	for name, view := range map[string]func() *View{"host": hostView, "sandbox": sandboxView} {
		if got := Diff(view(), view()); len(got) != 0 {
			t.Errorf("%s: %v", name, got)
		}
	}
	// A second sandbox, made later: every number is new and nothing differs.
	a, b := sandboxView(), sandboxView()
	b.PID, b.NStgid, b.StartTime = 9999, []int{9999, 3}, 1234
	b.FDs[1].Target = "pipe:[77]"
	for i := range b.Namespaces {
		b.Namespaces[i].Inode += 1000
	}
	for i := range b.Mounts {
		b.Mounts[i].ID += 100
		b.Mounts[i].Device = "0:99"
	}
	b.Interfaces[0].RxBytes = 7
	if got := Diff(a, b); len(got) != 0 {
		t.Errorf("two sandboxes: %v", got)
	}
}

func TestDiffOneThing(t *testing.T) {
	for _, c := range []struct {
		change func(*View)
		want   string
	}{
		{func(v *View) { v.NStgid = []int{5151, 1} }, "pid: the process is PID 1 of its PID namespace instead of PID 2"},
		{func(v *View) { v.Namespaces[3].Inode++ }, "pid: the children of the process will be in another PID namespace than itself"},
		{func(v *View) { v.UID.Inside = overflowID }, "user: the process sees itself as uid 65534 instead of 0; outside it is 1000 as before (no entry of its map names it)"},
		{func(v *View) { v.Capabilities.Effective = []string{"CAP_NET_RAW"} }, "caps: 1 effective capability is new: CAP_NET_RAW"},
		{func(v *View) { v.Capabilities.Effective = CapabilityNames(1<<41 - 1) }, "caps: all 41 effective capabilities are there instead of none"},
		{func(v *View) { v.Seccomp.Filters = 2 }, "seccomp: seccomp: 2 filters instead of 1 filter"},
		{func(v *View) { v.Mounts[3].ReadOnly = true }, "proc: /proc is a read-only proc instead of a proc"},
		{func(v *View) { v.Mounts[1].ReadOnly = false }, "root: beside those of /proc, /dev and overlays, 1 of 1 mount can be written instead of 0 of 1"},
		{
			func(v *View) { v.Mounts = append(v.Mounts[:5:5], v.Mounts[6]) },
			"dev: /dev is a folder of the tmpfs at / instead of a read-only tmpfs",
		},
		{func(v *View) { v.Mounts[2].FSType = "ext4" }, "overlay: /work is no overlay any more"},
		{
			func(v *View) { v.Mounts = append(v.Mounts, Mount{Target: "/etc/hostname", FSType: "tmpfs"}) },
			"uts: /etc/hostname is mounted over the host's",
		},
		{
			func(v *View) {
				v.Mounts = append(v.Mounts, Mount{Target: "/etc/resolv.conf", FSType: "tmpfs"}, Mount{Target: "/etc/hosts", FSType: "tmpfs"})
			},
			"net: /etc/hosts and /etc/resolv.conf are mounted over the host's",
		},
		{
			func(v *View) { v.Mounts = append(v.Mounts, Mount{Target: "/srv", FSType: "tmpfs", ReadOnly: true}) },
			"root: 1 mount is new: /srv",
		},
		{func(v *View) { v.Processes = []Process{} }, "proc: the process sees no process at all instead of 3: its /proc is empty or missing"},
		{func(v *View) { v.Root = "/srv/root" }, "root: the root folder is /srv/root instead of /, seen from outside"},
		{func(v *View) { v.OOMScoreAdj = 500 }, "rlimits: when memory runs out the process is killed earlier: oom_score_adj is 500 instead of 0"},
		{func(v *View) { v.Interfaces[0].Addresses = []string{"127.0.0.1"} }, "net: the network addresses are 127.0.0.1 instead of none"},
		{func(v *View) { v.Mounts[0].Propagation = []string{"master:1"} }, "mount: the propagation of / is slave instead of private: mounts of the host still arrive, none goes back"},
		{
			func(v *View) { v.Unreadable = []Unread{{"environment", "/proc/5151/environ", "EACCES"}} },
			"env: the environment cannot be compared: the second look could not read it (EACCES)",
		},
		{func(v *View) { v.Cwd = "/\x1b[2J" }, `root: the working folder is /\x1b[2J instead of /work`},
	} {
		a, b := sandboxView(), sandboxView()
		if strings.Contains(c.want, "/proc is a") || strings.Contains(c.want, "no process") {
			b.Mounts[3].Device = "0:99"
		}
		c.change(b)
		var got []string
		for _, change := range Diff(a, b) {
			got = append(got, change.Step+": "+change.Sentence)
		}
		if text := strings.Join(got, "; "); text != c.want {
			t.Errorf("got  %s\nwant %s", text, c.want)
		}
	}
}

// The kernel does not show Landlock; only two views whose caller filled it in
// can differ by it.
func TestDiffLandlock(t *testing.T) {
	a, b := sandboxView(), sandboxView()
	b.Landlock = Landlock{State: "enforced", ABI: 7, Rules: []string{"read /usr"}}
	if got := Diff(a, b); len(got) != 0 {
		t.Errorf("with one side not visible: %v", got)
	}
	a.Landlock = Landlock{State: "none", Rules: []string{}}
	got := Diff(a, b)
	if len(got) != 1 || got[0].Step != "landlock" || got[0].Sentence != "Landlock is enforced instead of none, with 1 rule" {
		t.Errorf("got %v", got)
	}
	a.Landlock = Landlock{State: "enforced", Rules: []string{"read /etc"}}
	got = Diff(a, b)
	if len(got) != 1 || got[0].Sentence != "of the Landlock rules these are gone: read /etc; these are new: read /usr" {
		t.Errorf("got %v", got)
	}
}

func TestJSON(t *testing.T) {
	for _, v := range []*View{hostView(), sandboxView()} {
		text, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		var again View
		if err := json.Unmarshal(text, &again); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(&again, v) {
			t.Errorf("%+v\nbecame\n%+v", v, again)
		}
		if !strings.Contains(string(text), `"version":1`) || !strings.Contains(string(text), `"unreadable":[]`) {
			t.Errorf("%s", text)
		}
	}
}

func TestList(t *testing.T) {
	for want, names := range map[string][]string{
		"none": {}, "a": {"a"}, "a and b": {"a", "b"}, "a, b, c, d, e, f and g": strings.Fields("a b c d e f g"),
		"a, b, c, d, e, f and 2 more": strings.Fields("a b c d e f g h"), `\x1b[2J and b`: {"\x1b[2J", "b"},
	} {
		if got := list(names); got != want {
			t.Errorf("list(%q) = %s, want %s", names, got, want)
		}
	}
	for want, n := range map[string]int{"no process": 0, "1 process": 1, "3 processes": 3} {
		if got := count(n, "process"); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	if got := size(3 << 30); got != "3 GiB" {
		t.Error(got)
	}
	if got := size(1000); got != "1000 bytes" {
		t.Error(got)
	}
}
