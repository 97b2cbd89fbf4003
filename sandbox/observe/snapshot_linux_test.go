package observe

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox/internal/testenv"
)

// TestMain lets the test binary be the observed process, in a root that holds
// no other program.
func TestMain(m *testing.M) {
	if root := os.Getenv("OBSERVE_TEST_CHROOT"); root != "" {
		if err := unix.Chroot(root); err != nil {
			fmt.Println("chroot:", err)
			os.Exit(1)
		}
		fmt.Println("ready")
		_, _ = os.Stdin.Read(make([]byte, 1)) // until the test closes it
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// start runs a command until the test ends and returns the pid of the process
// that said "ready": its child when the command is an unshare --fork.
func start(t *testing.T, forks bool, env []string, name string, args ...string) int {
	t.Helper()
	if name == "unshare" {
		testenv.Need(t, "tool:unshare", "userns")
	}
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), env...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if _, err := cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil || line != "ready\n" {
		_ = cmd.Wait()
		if strings.Contains(stderr.String(), "unshare failed") || strings.Contains(stderr.String(), "Operation not permitted") {
			testenv.Lacks(t, "procmount", stderr.String()) // namespaces it makes, as userns says
		}
		t.Fatalf("%s said %q, %v; %s", name, line, err, stderr.String())
	}
	if !forks {
		return cmd.Process.Pid
	}
	return childOf(t, cmd.Process.Pid)
}

func childOf(t *testing.T, parent int) int {
	t.Helper()
	folders, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range folders {
		text, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		if s, err := ParseStat(bytes.NewReader(text)); err == nil && s.PPID == parent {
			return s.PID
		}
	}
	t.Fatalf("process %d has no child", parent)
	return 0
}

// waitFor looks until a fact holds: "ready" is said before the exec of sleep.
func waitFor(t *testing.T, pid int, holds func(*View) bool) *View {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		v, err := Snapshot(pid)
		if err != nil {
			t.Fatal(err)
		}
		if holds(v) {
			return v
		}
		if time.Now().After(end) {
			t.Fatalf("process %d did not get there: %+v", pid, v)
		}
	}
}

// runsSleep says whether a process sleeps: sleep(1) has the name before, while
// its libraries are opened and closed (proc_pid_syscall(5)).
func runsSleep(v *View) bool {
	call, err := os.ReadFile(v.path("syscall"))
	nr, _, _ := strings.Cut(string(call), " ")
	return err == nil && v.Comm == "sleep" && (nr == strconv.Itoa(unix.SYS_CLOCK_NANOSLEEP) || nr == strconv.Itoa(unix.SYS_NANOSLEEP))
}

func self(t *testing.T) *View {
	t.Helper()
	v, err := Self()
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// The whole of it: a process in seven namespaces of its own.
func TestSnapshotOfIsolatedProcess(t *testing.T) {
	pid := start(t, true, nil, "unshare", "-Urmpfiun", "--kill-child", "--mount-proc", "sh", "-c",
		"mount -t tmpfs -o ro '' /mnt; ulimit -n 77; echo ready; exec sleep 60")
	v := waitFor(t, pid, runsSleep)

	if v.Version != 1 || v.PID != pid || v.InsidePID() != 1 || len(v.NStgid) != 2 {
		t.Errorf("version %d, pid %d, chain %v", v.Version, v.PID, v.NStgid)
	}
	if strings.Join(v.Command, " ") != "sleep 60" || filepath.Base(v.Exe) != "sleep" && filepath.Base(v.Exe) != "coreutils" && filepath.Base(v.Exe) != "busybox" {
		t.Errorf("command %q, exe %q", v.Command, v.Exe)
	}
	for _, n := range v.Namespaces {
		shared := n.Kind == "cgroup" || n.Kind == "time"
		if n.Shared != shared || n.Inode == 0 {
			t.Errorf("%+v", n)
		}
	}
	uid := uint32(os.Getuid())
	if len(v.UIDMap) != 1 || v.UIDMap[0] != (IDRange{0, uid, 1}) || v.UID.Effective != uid || v.UID.Inside != 0 || v.Setgroups != "deny" {
		t.Errorf("uid_map %v, uid %+v, setgroups %s", v.UIDMap, v.UID, v.Setgroups)
	}
	if len(v.Capabilities.Effective) != v.Capabilities.Known || v.Capabilities.Known < 38 {
		t.Errorf("%d capabilities of %d", len(v.Capabilities.Effective), v.Capabilities.Known)
	}
	if proc := v.MountAt("/proc"); proc == nil || proc.FSType != "proc" || proc.PropagationType() != "private" {
		t.Errorf("/proc is %+v", proc)
	}
	if mnt := v.MountAt("/mnt"); mnt == nil || mnt.FSType != "tmpfs" || mnt.Source != "" || !mnt.ReadOnly {
		t.Errorf("/mnt is %+v", mnt)
	}
	if len(v.Interfaces) != 1 || v.Interfaces[0].Name != "lo" || len(v.Interfaces[0].Addresses) != 0 {
		t.Errorf("interfaces %+v", v.Interfaces)
	}
	if len(v.Processes) != 1 || v.Processes[0] != (Process{1, "sleep"}) {
		t.Errorf("it sees %v", v.Processes)
	}
	var nofile Rlimit
	for _, l := range v.Rlimits {
		if l.Name == "RLIMIT_NOFILE" {
			nofile = l
		}
	}
	if nofile.Soft != 77 || nofile.Unit != "files" {
		t.Errorf("nofile %+v", nofile)
	}
	if v.Hostname != "" || v.unread("hostname") == nil {
		t.Errorf("hostname %q of another namespace", v.Hostname)
	}
	for _, u := range v.Unreadable {
		if u.Part != "hostname" && u.Path != v.path("net/if_inet6") && u.Part != "time_offsets" {
			t.Errorf("not readable: %+v", u)
		}
	}

	text := map[string]string{}
	for _, c := range Diff(self(t), v) {
		text[c.Step] += c.Sentence + "\n"
	}
	for step, part := range map[string]string{
		"user": "user namespace of its own", "mount": "mount namespace of its own", "pid": "it is PID 1", "uts": "UTS namespace of its own",
		"ipc": "IPC namespace of its own", "net": "1 network interface (lo)", "proc": "the process sees 1 process instead of", "root": "1 mount is new: /mnt",
	} {
		if step == "root" && self(t).MountAt("/mnt") != nil {
			continue
		}
		if !strings.Contains(text[step], part) {
			t.Errorf("%s says nothing of %q: %s", step, part, text[step])
		}
	}
	for _, step := range []string{"cgroup", "time", "overlay", "seccomp", "nnp"} {
		if text[step] != "" {
			t.Errorf("%s: %s", step, text[step])
		}
	}
	if again := Diff(v, waitFor(t, pid, runsSleep)); len(again) != 0 {
		t.Errorf("a sleeping process changed: %v", again)
	}
}

// path returns the path of a file of the process, as Unreadable spells it.
func (v *View) path(name string) string { return "/proc/" + strconv.Itoa(v.PID) + "/" + name }

func TestSelf(t *testing.T) {
	t.Setenv("OBSERVE_TEST_LATE", "not seen") // changes the environment after exec
	file, err := os.OpenFile(filepath.Join(t.TempDir(), "an open file"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	v := self(t)
	if v.PID != os.Getpid() || v.UID.Effective != uint32(os.Geteuid()) || v.UID.Inside != v.UID.Effective {
		t.Errorf("pid %d, uid %+v", v.PID, v.UID)
	}
	if host, err := os.Hostname(); err != nil || v.Hostname != host {
		t.Errorf("hostname %q, want %q, %v", v.Hostname, host, err)
	}
	if cwd, err := os.Getwd(); err != nil || v.Cwd != cwd {
		t.Errorf("cwd %q, want %q, %v", v.Cwd, cwd, err)
	}
	if len(v.Command) != len(os.Args) || v.Command[0] != os.Args[0] {
		t.Errorf("command %q", v.Command)
	}
	for _, n := range v.Namespaces {
		if !n.Shared {
			t.Errorf("%s is not shared with itself", n.Kind)
		}
	}
	if !v.Session.Shared {
		t.Errorf("session %+v", v.Session)
	}
	found := false
	for _, f := range v.FDs {
		if f.FD == int(file.Fd()) {
			found = true
			if f.Target != file.Name() || f.Access != "w" || strings.Join(f.Flags, " ") != "O_APPEND O_CLOEXEC" {
				t.Errorf("%+v", f)
			}
		}
		if f.Target == v.path("fd") {
			t.Errorf("the look shows in itself: %+v", f)
		}
	}
	if !found {
		t.Errorf("descriptor %d is missing in %+v", file.Fd(), v.FDs)
	}
	seen := false
	for _, p := range v.Processes {
		seen = seen || p.PID == v.PID && p.Comm == v.Comm
	}
	if !seen {
		t.Errorf("process %d (%s) does not see itself", v.PID, v.Comm)
	}
	for _, e := range v.Environment {
		if e.Name == "OBSERVE_TEST_LATE" {
			t.Error("the environment is not that of exec")
		}
	}
	if _, err := json.Marshal(v); err != nil {
		t.Error(err)
	}
}

// The addresses from /proc must be those that the kernel tells by netlink.
func TestSelfAddresses(t *testing.T) {
	v := self(t)
	for _, i := range v.Interfaces {
		known, err := net.InterfaceByName(i.Name)
		if err != nil {
			t.Fatal(err)
		}
		addresses, err := known.Addrs()
		if err != nil {
			t.Fatal(err)
		}
		want := map[string]bool{}
		for _, a := range addresses {
			prefix, _, _ := strings.Cut(a.String(), "/")
			want[prefix] = true
		}
		for _, a := range i.Addresses {
			prefix, _, _ := strings.Cut(a, "/")
			if !want[prefix] {
				t.Errorf("%s has %s, the kernel says %v", i.Name, a, addresses)
			}
		}
		if known.Flags&net.FlagLoopback != 0 && known.Flags&net.FlagUp != 0 && len(i.Addresses) == 0 {
			t.Errorf("%s is up and has no address", i.Name)
		}
	}
}

func TestSnapshotOfNobody(t *testing.T) {
	cmd := exec.Command("true")
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	if _, err := Snapshot(cmd.Process.Pid); !errors.Is(err, unix.ENOENT) {
		t.Errorf("a reaped process: %v", err)
	}
	if _, err := Snapshot(-1); !errors.Is(err, unix.ENOENT) {
		t.Errorf("a negative pid: %v", err)
	}
	if _, err := OutNoRoutes(-1); !errors.Is(err, unix.ENOENT) {
		t.Errorf("OutNoRoutes of a negative pid: %v", err)
	}
}

// The look holds on to one process: when it ends half-way the answer is an
// error, not a view of nothing or of its successor.
func TestSnapshotOfEndingProcess(t *testing.T) {
	cmd := exec.Command("sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	d, err := openProcess(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	defer d.close()
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if text, err := d.read("status", statusSize); !errors.Is(err, unix.ESRCH) && !errors.Is(err, unix.ENOENT) {
		t.Errorf("read %q, %v", text, err)
	}
}

func TestSnapshotOfZombie(t *testing.T) {
	cmd := exec.Command("true")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Wait() }()
	v := waitFor(t, cmd.Process.Pid, func(v *View) bool { return v.State == "Z" })
	if len(v.Command) != 0 || v.Exe != "" || v.unread("exe") == nil || v.unread("mounts") == nil {
		t.Errorf("command %q, exe %q, not readable %v", v.Command, v.Exe, v.Unreadable)
	}
	var b strings.Builder
	if err := v.Write(&b, WriteOptions{}); err != nil || !strings.Contains(b.String(), "[true]") {
		t.Errorf("%v: %s", err, b.String())
	}
}

// A connect in a namespace without a network leaves its mark.
func TestOutNoRoutes(t *testing.T) {
	testenv.Need(t, "tool:bash") // for its /dev/tcp
	quiet := start(t, false, nil, "unshare", "-Urn", "bash", "-c", "echo ready; exec sleep 60")
	if n, err := OutNoRoutes(quiet); err != nil || n != 0 {
		t.Errorf("without a try: %d, %v", n, err)
	}
	tried := start(t, false, nil, "unshare", "-Urn", "bash", "-c",
		"{ : > /dev/tcp/192.0.2.1/80; } 2>/dev/null; { : > /dev/tcp/192.0.2.1/81; } 2>/dev/null; echo ready; exec sleep 60")
	if n, err := OutNoRoutes(tried); err != nil || n < 2 {
		t.Errorf("after two tries: %d, %v", n, err)
	}
	if n, err := OutNoRoutes(0); err != nil || n < 0 {
		t.Errorf("of the caller: %d, %v", n, err)
	}
}

// An observer in the same user namespace as the process sees the map of their
// common parent, which says nothing of how the process sees itself. In a PID
// namespace that began within an outer session, as in a container, that session
// has no number.
func TestSelfInsideNamespaces(t *testing.T) {
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, flags := range [][]string{{"-Ur"}, {"-Urpf", "--mount-proc"}} {
		t.Run(strings.Join(flags, " "), func(t *testing.T) {
			testenv.Need(t, "userns")
			args := append(flags, program, "-test.run", "^TestSelf$", "-test.v")
			out, err := exec.Command("unshare", args...).CombinedOutput()
			if err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			if !strings.Contains(string(out), "--- PASS: TestSelf") {
				t.Errorf("%s", out)
			}
		})
	}
}

func BenchmarkSnapshot(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Self(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkOutNoRoutes(b *testing.B) {
	for b.Loop() {
		if _, err := OutNoRoutes(0); err != nil {
			b.Fatal(err)
		}
	}
}
