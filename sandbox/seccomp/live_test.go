package seccomp

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox/filter"
	"github.com/sbx-dev/sbx/sandbox/internal/testenv"
)

// childVariable names the profile under which the test binary runs as a child;
// its arguments are "probe", "bench N", or "exec" and a command.
const childVariable = "SBX_SECCOMP_TEST_PROFILE"

func TestMain(m *testing.M) {
	if profile := os.Getenv(childVariable); profile != "" {
		if err := child(profile, os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// child becomes a normal user, installs the filter ("none" for none) and does
// what it is told.
func child(profile string, args []string) error {
	if os.Geteuid() == 0 {
		const nobody = 65534
		if err := syscall.Setgroups(nil); err != nil {
			return err
		}
		if err := syscall.Setresgid(nobody, nobody, nobody); err != nil {
			return err
		}
		if err := syscall.Setresuid(nobody, nobody, nobody); err != nil {
			return err
		}
	}
	if profile != "none" {
		p := filter.Program{{Code: unix.BPF_RET | unix.BPF_K, K: uint32(filter.Allow)}}
		if profile != "allow-all" {
			p, _ = filter.Builtin(profile, runtime.GOARCH)
		}
		if err := install(p); err != nil {
			return err
		}
	}
	switch args[0] {
	case "probe":
		return json.NewEncoder(os.Stdout).Encode(runProbes())
	case "bench":
		n, err := strconv.Atoi(args[1])
		if err != nil {
			return err
		}
		fmt.Println(timeGetppid(n))
		return nil
	}
	return syscall.Exec(args[1], args[1:], os.Environ())
}

// install puts the filter on all threads. The address comes from reflect: this
// module keeps package unsafe to one place.
func install(p filter.Program) error {
	runtime.LockOSThread() // no_new_privs belongs to a thread; TSYNC passes it on
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	prog := &unix.SockFprog{Len: uint16(len(p)), Filter: &p[0]}
	var pin runtime.Pinner
	defer pin.Unpin()
	pin.Pin(prog)
	pin.Pin(&p[0])
	_, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER,
		unix.SECCOMP_FILTER_FLAG_TSYNC, reflect.ValueOf(prog).Pointer())
	if errno != 0 {
		return os.NewSyscallError("seccomp", errno)
	}
	return nil
}

// start prepares the test binary as a child under a profile.
func start(profile string, args ...string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Env = []string{childVariable + "=" + profile, "PATH=/usr/local/go/bin:/usr/local/bin:/usr/bin:/bin", "LANG=C.UTF-8"}
	return cmd
}

// needFilters skips where the kernel or an outer sandbox takes no filter.
func needFilters(t testing.TB) {
	t.Helper()
	if out, err := start("allow-all", "exec", "/bin/true").CombinedOutput(); err != nil {
		testenv.Lacks(t, "seccomp", fmt.Sprintf("%v: %s", err, out))
	}
}

// probe is one real system call with arguments that do no harm if it passes.
type probe struct {
	name string
	nr   uintptr
	args [6]uintptr
	// want is the errno under default and strict.
	normal, strict unix.Errno
	// same says that the kernel refuses an unprivileged user with the same
	// errno, so that the probe proves nothing about the filter.
	same bool
}

const (
	high64 = 1 << 32
	noFD   = ^uintptr(0)
)

// probes are calls whose answer tells whether the kernel or the filter gave it:
// the kernel would say EBADF, EFAULT or EINVAL, or carry them out.
func probes() []probe {
	a := func(args ...uintptr) (out [6]uintptr) {
		copy(out[:], args)
		return out
	}
	return []probe{
		{"getppid", unix.SYS_GETPPID, a(), 0, 0, true},
		{"unshare(0)", unix.SYS_UNSHARE, a(0), unix.EPERM, unix.EPERM, false},
		{"setns(-1)", unix.SYS_SETNS, a(noFD), unix.EPERM, unix.EPERM, false},
		{"clone(bad namespace flags)", unix.SYS_CLONE, a(unix.CLONE_NEWUSER | unix.CLONE_FS | high64), unix.EPERM, unix.EPERM, false},
		{"clone3(0)", unix.SYS_CLONE3, a(), unix.ENOSYS, unix.ENOSYS, false},
		{"keyctl(KEYCTL_GET_KEYRING_ID)", unix.SYS_KEYCTL, a(0, ^uintptr(2), 1), unix.EPERM, unix.EPERM, false},
		{"io_uring_setup(0)", unix.SYS_IO_URING_SETUP, a(), unix.ENOSYS, unix.ENOSYS, false},
		{"open_tree(-1, NULL)", unix.SYS_OPEN_TREE, a(noFD), unix.EPERM, unix.EPERM, false},
		{"fsopen(NULL)", unix.SYS_FSOPEN, a(), unix.EPERM, unix.EPERM, true},
		{"mount", unix.SYS_MOUNT, a(), unix.EPERM, unix.EPERM, true},
		{"ioctl(-1, TIOCSTI)", unix.SYS_IOCTL, a(noFD, unix.TIOCSTI), unix.EPERM, unix.EPERM, false},
		{"ioctl(-1, TIOCSTI with a high bit)", unix.SYS_IOCTL, a(noFD, high64|unix.TIOCSTI), unix.EPERM, unix.EPERM, false},
		{"ioctl(-1, TIOCLINUX)", unix.SYS_IOCTL, a(noFD, unix.TIOCLINUX), unix.EPERM, unix.EPERM, false},
		{"ioctl(-1, TIOCSETD)", unix.SYS_IOCTL, a(noFD, unix.TIOCSETD), unix.EPERM, unix.EPERM, false},
		{"ioctl(-1, TIOCEXCL)", unix.SYS_IOCTL, a(noFD, unix.TIOCEXCL), unix.EPERM, unix.EPERM, false},
		{"ioctl(-1, TCGETS)", unix.SYS_IOCTL, a(noFD, unix.TCGETS), unix.EBADF, unix.EBADF, true},
		{"socket(AF_NETLINK, NETLINK_GENERIC)", unix.SYS_SOCKET, a(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_GENERIC), unix.EPERM, unix.EPERM, false},
		{"socket(AF_ALG, bad type)", unix.SYS_SOCKET, a(unix.AF_ALG, 0xe), unix.EPERM, unix.EPERM, false},
		{"socket(AF_INET, bad protocol)", unix.SYS_SOCKET, a(unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_UDP), unix.EPERM, unix.EPERM, false},
		{"socket(AF_UNIX)", unix.SYS_SOCKET, a(unix.AF_UNIX, unix.SOCK_STREAM), 0, 0, true},
		{"socket(AF_INET)", unix.SYS_SOCKET, a(unix.AF_INET, unix.SOCK_DGRAM), 0, unix.EPERM, true},
		{"personality(READ_IMPLIES_EXEC)", unix.SYS_PERSONALITY, a(0x0400000), unix.EPERM, unix.EPERM, false},
		{"kcmp(-1)", unix.SYS_KCMP, a(noFD, noFD), unix.EPERM, unix.EPERM, false},
		{"process_vm_readv(-1)", unix.SYS_PROCESS_VM_READV, a(noFD, 0, 1, 0, 1), unix.EFAULT, unix.EPERM, true},
		{"fchmod(-1, 04755)", unix.SYS_FCHMOD, a(noFD, 0o4755), unix.EBADF, unix.EPERM, true},
		{"fchmod(-1, 0755)", unix.SYS_FCHMOD, a(noFD, 0o755), unix.EBADF, unix.EBADF, true},
		{"call 1000", 1000, a(), unix.ENOSYS, unix.ENOSYS, true},
		{"x32 getpid", 0x40000000 | 39, a(), unix.ENOSYS, unix.ENOSYS, true},
	}
}

// runProbes makes the calls, one errno each.
func runProbes() []unix.Errno {
	var out []unix.Errno
	for _, p := range probes() {
		_, _, errno := unix.RawSyscall6(p.nr, p.args[0], p.args[1], p.args[2], p.args[3], p.args[4], p.args[5])
		out = append(out, errno)
	}
	return out
}

func TestLiveRefusals(t *testing.T) {
	needFilters(t)
	answers := map[string][]unix.Errno{}
	for _, profile := range []string{"none", "default", "strict", "log", "nesting"} {
		cmd := start(profile, "probe")
		cmd.Stderr = os.Stderr
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%s: %v", profile, err)
		}
		var got []unix.Errno
		if err := json.Unmarshal(out, &got); err != nil {
			t.Fatalf("%s: %v in %q", profile, err, out)
		}
		answers[profile] = got
	}
	for i, p := range probes() {
		without := answers["none"][i]
		if got := answers["default"][i]; got != p.normal {
			t.Errorf("default: %s: %v, want %v", p.name, got, p.normal)
		}
		if got := answers["strict"][i]; got != p.strict {
			t.Errorf("strict: %s: %v, want %v", p.name, got, p.strict)
		}
		if got := answers["log"][i]; got != without {
			t.Errorf("log: %s: %v, without a filter %v", p.name, got, without)
		}
		if !p.same && without == p.normal {
			t.Errorf("%s gives %v without a filter too: it proves nothing", p.name, without)
		}
	}
	opened := slices.IndexFunc(probes(), func(p probe) bool { return p.name == "unshare(0)" })
	if got := answers["nesting"][opened]; got != 0 {
		t.Errorf("nesting: unshare(0): %v", got)
	}
}

// TestLiveForeignArchitecture makes a 32-bit call from a 64-bit program: with
// the filter the process dies by SIGSYS, without it the call is answered.
func TestLiveForeignArchitecture(t *testing.T) {
	testenv.Want(t, "i386", "tool:gcc")
	needFilters(t)
	dir := openDir(t)
	source, binary := filepath.Join(dir, "i386.c"), filepath.Join(dir, "i386")
	// 20 is getpid of i386, and writev of amd64.
	const program = `#include <unistd.h>
int main(void) {
	long pid;
	__asm__ volatile("int $0x80" : "=a"(pid) : "a"(20) : "memory", "r8", "r9", "r10", "r11");
	return pid == getpid() ? 42 : 1;
}
`
	if err := os.WriteFile(source, []byte(program), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("gcc", "-o", binary, source).CombinedOutput(); err != nil {
		t.Fatalf("gcc: %v: %s", err, out)
	}
	for _, profile := range []string{"none", "log", "default", "strict", "nesting"} {
		cmd := start(profile, "exec", binary)
		_ = cmd.Run() // the status below says more
		status := cmd.ProcessState.Sys().(syscall.WaitStatus)
		if profile == "none" || profile == "log" {
			if status.ExitStatus() != 42 {
				t.Errorf("%s: wait status %#x, want exit code 42", profile, status)
			}
			continue
		}
		if !status.Signaled() || status.Signal() != unix.SIGSYS {
			t.Errorf("%s: wait status %#x, want death by SIGSYS", profile, status)
		}
	}
}

// openDir is a folder that the child may use although it is another user.
func openDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "seccomp")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestLivePrograms runs what people run.
func TestLivePrograms(t *testing.T) {
	if testing.Short() {
		t.Skip("compilers take seconds")
	}
	needFilters(t)
	for _, tt := range []struct {
		name, script, want string
		profiles           []string
	}{
		{
			"bash",
			`set -e; for i in 1 2 3; do echo $i; done | sort -r | tr -d '\n'; (exec 3<>f; echo x >&3); cp -p f g; mv g h
			cat < <(echo in) > /dev/null; ls -lR . > /dev/null; sleep 0.01 & wait; kill -0 $$; ulimit -n 64; date > /dev/null; echo`,
			"321", nil,
		},
		{"fifo", `mkfifo p && (echo through > p &) && cat p`, "through", []string{"default", "nesting"}},
		{
			"python", `python3 -c '
import asyncio, subprocess, threading, multiprocessing, tempfile, socket, os, time, shutil
def f(x): return x * x
if __name__ == "__main__":
    with multiprocessing.Pool(2) as p: assert p.map(f, range(4)) == [0, 1, 4, 9]
    t = threading.Thread(target=f, args=(1,)); t.start(); t.join()
    assert subprocess.run(["echo", "a"], capture_output=True).stdout == b"a\n"
    async def g():
        p = await asyncio.create_subprocess_exec("true"); return await p.wait()
    assert asyncio.run(g()) == 0
    a, b = socket.socketpair(); a.send(b"x"); assert b.recv(1) == b"x"
    with tempfile.TemporaryDirectory(dir=".") as d:
        open(d + "/x", "w").write("y"); shutil.copy2(d + "/x", d + "/z")
    print("ok")'`, "ok", nil,
		},
		{
			"python sockets", `python3 -c '
import socket, threading
s = socket.create_server(("127.0.0.1", 0))
c = socket.create_connection(s.getsockname()); a, _ = s.accept(); c.sendall(b"hi"); print(a.recv(2).decode())
assert socket.getaddrinfo("localhost", 80)'`, "hi", []string{"default", "nesting"},
		},
		{
			"node", `node -e '
const fs = require("fs"), cp = require("child_process"), { Worker } = require("worker_threads");
fs.writeFileSync("n", "1"); if (cp.execSync("cat n").toString() !== "1") process.exit(1);
new Worker("require(\"worker_threads\").parentPort.postMessage(7)", { eval: true }).on("message", m => console.log("worker", m));'`,
			"worker 7", nil,
		},
		{"gcc", `echo '#include <stdio.h>
#include <pthread.h>
void *f(void *x) { puts("thread"); return x; }
int main(void) { pthread_t t; return pthread_create(&t, 0, f, 0) || pthread_join(t, 0); }' > a.c && gcc -O1 -pthread a.c && ./a.out`, "thread", nil},
		{"java", `echo 'class A { public static void main(String[] a) throws Exception {
			Thread t = new Thread(() -> System.out.println("java")); t.start(); t.join(); } }' > A.java && java A.java`, "java", nil},
		{"go", `mkdir m && cd m; printf 'module m\n' > go.mod; printf 'package m\n\nimport "testing"\n\nfunc TestX(t *testing.T) { c := make(chan int); go func() { c <- 1 }(); <-c }\n' > m_test.go
			HOME=$PWD GOTOOLCHAIN=local GOFLAGS=-buildvcs=false GOPROXY=off CGO_ENABLED=0 go test -vet=off . | cut -f1`, "ok  ", []string{"default", "strict"}},
		{"gdb", `gdb -nx -batch -ex 'break main' -ex run -ex 'print 6*7' -ex kill /bin/true 2>&1 | grep -o ' = 42'`, " = 42", []string{"default", "nesting"}},
		{"strace", `strace -f -o log sh -c 'echo traced' && grep -q execve log`, "traced", []string{"default", "nesting"}},
		{"strace refused", `strace true 2> /dev/null || echo refused`, "refused", []string{"strict"}},
	} {
		tool := strings.Fields(tt.name)[0]
		if tool == "fifo" {
			tool = "mkfifo"
		}
		if tool == "python" {
			tool = "python3"
		}
		profiles := tt.profiles
		if profiles == nil {
			profiles = []string{"default", "strict", "nesting", "log"}
		}
		for _, profile := range profiles {
			t.Run(tt.name+" "+profile, func(t *testing.T) {
				dir := openDir(t)
				run := func(profile, script string) (string, error) {
					cmd := start(profile, "exec", "/bin/bash", "-c", script)
					cmd.Dir = dir
					cmd.Env = append(cmd.Env, "HOME="+dir, "TMPDIR="+dir)
					out, err := cmd.CombinedOutput()
					return strings.TrimRight(string(out), "\n"), err
				}
				if out, err := run("none", "command -v "+tool+" && "+tool+" --version || "+tool+" version"); err != nil {
					testenv.Lacks(t, "tool:"+tool, out)
				}
				begin := time.Now()
				out, err := run(profile, tt.script)
				if err != nil || !strings.HasSuffix(out, tt.want) {
					t.Errorf("%v after %v:\n%s", err, time.Since(begin), out)
				}
			})
		}
	}
}

// timeGetppid is the time of one getppid in nanoseconds, the best of ten parts:
// noise only adds.
func timeGetppid(n int) float64 {
	runtime.LockOSThread()
	best := time.Duration(1 << 62)
	for range 10 {
		begin := time.Now()
		for range n / 10 {
			unix.RawSyscallNoError(unix.SYS_GETPPID, 0, 0, 0)
		}
		best = min(best, time.Since(begin))
	}
	return float64(best.Nanoseconds()) / float64(n/10)
}

// BenchmarkGetppid is what a filter costs each system call: the cheapest one,
// under no filter, under one instruction that allows everything, and under the
// built-in profiles. Each is a child, since a filter stays until the end.
func BenchmarkGetppid(b *testing.B) {
	needFilters(b)
	for _, profile := range []string{"none", "allow-all", "default", "strict", "nesting"} {
		b.Run(profile, func(b *testing.B) {
			cmd := start(profile, "bench", strconv.Itoa(max(b.N, 1000)))
			cmd.Stderr = os.Stderr
			out, err := cmd.Output()
			if err != nil {
				b.Fatal(err)
			}
			ns, err := strconv.ParseFloat(strings.TrimSpace(string(out)), 64)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(ns, "ns/call")
		})
	}
}
