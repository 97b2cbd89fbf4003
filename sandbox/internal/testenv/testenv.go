// Package testenv says what the machine under the tests can do. A test names
// the conditions that it needs; each is tried for real, never derived from a
// version, and a test that lacks one is skipped with what the try said.
//
// A skipped test proves nothing, so a place that must be able to (CI) names the
// conditions in the environment variable SBX_REQUIRE, a comma list: there the
// test fails in place of being skipped.
package testenv

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox/landlock"
)

// conditions are what Need knows. Each tries once in a process and returns why
// it does not hold, or nil.
var conditions = map[string]func() error{
	"userns":            sync.OnceValue(tryUserNamespace),
	"overlay":           sync.OnceValue(tryOverlay),
	"seccomp":           sync.OnceValue(trySeccomp),
	"landlock":          func() error { return tryLandlock(1) },
	"landlock:truncate": func() error { return tryLandlock(3) },
	"landlock:scope":    func() error { return tryLandlock(6) },
	"subuid":            sync.OnceValue(trySubordinate),
	"strace":            sync.OnceValue(tryStrace),
	"git":               sync.OnceValue(tryGit),
	"tiocsti":           func() error { return trySysctl("dev/tty/legacy_tiocsti", "1") },
	"setuid":            sync.OnceValue(trySetuid),
	"sysvipc":           sync.OnceValue(trySysvIPC),
	"i386":              sync.OnceValue(tryI386),
	"pty":               sync.OnceValue(tryTerminal),
	"procmount":         sync.OnceValue(tryProcMount),
	"memfd-exec":        sync.OnceValue(tryMemfdExec),
	"aslr":              sync.OnceValue(tryAddresses),
	"kallsyms":          func() error { return tryFile("/proc/kallsyms") },
	"corefiles":         tryCoreFiles,
	"timens":            func() error { return tryFile("/proc/self/ns/time") },
	"cgroupns":          func() error { return tryFile("/proc/self/ns/cgroup") },
}

// skips counts the tests that Need skipped.
var skips atomic.Int64

// Skips is the number of tests that Need has skipped in this process.
func Skips() int { return int(skips.Load()) }

// Need skips the test unless all of the conditions hold, with the reason; where
// SBX_REQUIRE names the condition it fails instead. As root it always fails:
// root needs no sandbox to be refused, so an attack that root could carry out
// anyway tests nothing, and one that fails might fail for sbx's users only.
func Need(t testing.TB, names ...string) {
	t.Helper()
	if os.Getuid() == 0 {
		t.Fatal("what isolates is tested as a normal user: run make test, or go test -exec scripts/as-user")
	}
	Want(t, names...)
}

// Want is Need for a test that isolates nothing, which root may run as well.
func Want(t testing.TB, names ...string) {
	t.Helper()
	for _, name := range names {
		if err := try(t, name); err != nil {
			Lacks(t, name, err)
		}
	}
}

// Lacks skips a test that has found out itself that a condition does not hold,
// or fails it where SBX_REQUIRE names the condition.
func Lacks(t testing.TB, name string, why any) {
	t.Helper()
	if required(name) {
		t.Fatalf("SBX_REQUIRE names %s, which this machine lacks: %v", name, why)
	}
	skips.Add(1)
	t.Skipf("%s: %v", name, why)
}

// try says why a condition does not hold. "tool:NAME" is one for every program:
// it is on PATH, and tells its version.
func try(t testing.TB, name string) error {
	t.Helper()
	if tool, ok := strings.CutPrefix(name, "tool:"); ok {
		return tryTool(tool)
	}
	condition, ok := conditions[name]
	if !ok {
		t.Fatalf("testenv: no condition is called %q", name)
	}
	return condition()
}

// Has says whether a condition holds, for a test of which only a part needs it.
func Has(name string) bool { return conditions[name]() == nil }

// required says whether SBX_REQUIRE names a condition.
func required(name string) bool {
	return slices.Contains(strings.Split(os.Getenv("SBX_REQUIRE"), ","), name)
}

// inNamespace runs a shell script as root of a new user and mount namespace.
func inNamespace(script string) error {
	cmd := exec.Command("/bin/sh", "-c", script)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w %s", err, strings.TrimSpace(string(out)))
	}
	return nil
}

func tryUserNamespace() error { return inNamespace("true") }

// tryOverlay mounts one, with its upper layer on a tmpfs.
func tryOverlay() error {
	return inNamespace(`mount -t tmpfs t /tmp && cd /tmp && mkdir l u w m &&
		mount -t overlay o -o lowerdir=l,upperdir=u,workdir=w,userxattr m && echo >m/file && test -e u/file`)
}

// trySeccomp asks for an action without installing a filter (seccomp(2)).
func trySeccomp() error {
	if _, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, 0); errno != unix.EFAULT {
		return fmt.Errorf("seccomp(SECCOMP_SET_MODE_FILTER, 0, NULL): %w, want EFAULT", errno)
	}
	return nil
}

func tryLandlock(abi int) error {
	if have := landlock.ABI(); have < abi {
		return fmt.Errorf("the kernel's version is %d, wanted is %d", have, abi)
	}
	return nil
}

func trySubordinate() error {
	if _, err := exec.LookPath("newuidmap"); err != nil {
		return err
	}
	return inNamespaceWithRanges()
}

// inNamespaceWithRanges looks for lines of the caller in subuid(5) and
// subgid(5): unshare(1) maps them with newuidmap(1).
func inNamespaceWithRanges() error {
	out, err := exec.Command("unshare", "--user", "--map-auto", "--map-root-user", "true").CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w %s", err, strings.TrimSpace(string(out)))
	}
	return nil
}

func tryTool(name string) error {
	out, err := exec.Command(name, "--version").CombinedOutput()
	if err != nil && exec.Command(name, "version").Run() != nil {
		return fmt.Errorf("%w %.200s", err, strings.TrimSpace(string(out)))
	}
	return nil
}

// tryI386 executes a program of 64 bits that makes a system call of 32: exit(42)
// through int 0x80.
func tryI386() error {
	if runtime.GOARCH != "amd64" {
		return errors.New("only amd64 has the calls of i386")
	}
	code := []byte{0xb8, 1, 0, 0, 0, 0xbb, 42, 0, 0, 0, 0xcd, 0x80, 0x0f, 0x0b} // mov, mov, int, ud2
	err := execute(elf(code))
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == 42 {
		return nil
	}
	return fmt.Errorf("exit(42) through int 0x80: %v", err)
}

// elf is the smallest program file for amd64 with this code: elf(5).
func elf(code []byte) []byte {
	const base, head = 0x400000, 64 + 56
	le := binary.LittleEndian
	b := []byte("\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x3e\x00\x01\x00\x00\x00")
	b = le.AppendUint64(b, base+head)
	b = le.AppendUint64(b, 64)
	b = append(b, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 64, 0, 56, 0, 1, 0, 0, 0, 0, 0, 0, 0)
	b = append(b, 1, 0, 0, 0, 5, 0, 0, 0) // PT_LOAD, read and execute
	for _, v := range []int{0, base, base, head + len(code), head + len(code), 0x1000} {
		b = le.AppendUint64(b, uint64(v))
	}
	return append(b, code...)
}

// execute runs a program from a memfd.
func execute(program []byte) error {
	fd, err := unix.MemfdCreate("testenv", unix.MFD_CLOEXEC|unix.MFD_EXEC)
	if err == unix.EINVAL { // before Linux 6.3 all are executable
		fd, err = unix.MemfdCreate("testenv", unix.MFD_CLOEXEC)
	}
	if err != nil {
		return fmt.Errorf("memfd_create: %w", err)
	}
	f := os.NewFile(uintptr(fd), "testenv")
	defer f.Close()
	if _, err := f.Write(program); err != nil {
		return err
	}
	return exec.Command(fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), fd)).Run()
}

func tryMemfdExec() error {
	program, err := os.ReadFile("/bin/true")
	if err != nil {
		return err
	}
	return execute(program)
}

func tryTerminal() error {
	master, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open(/dev/ptmx): %w", err)
	}
	defer unix.Close(master)
	if err := unix.IoctlSetPointerInt(master, unix.TIOCSPTLCK, 0); err != nil {
		return err
	}
	n, err := unix.IoctlGetInt(master, unix.TIOCGPTN)
	if err != nil {
		return err
	}
	slave, err := unix.Open("/dev/pts/"+strconv.Itoa(n), unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	return unix.Close(slave)
}

// tryProcMount mounts a /proc of a new PID namespace, which an outer container
// that masks its own prevents.
func tryProcMount() error {
	out, err := exec.Command("unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc", "true").CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w %s", err, strings.TrimSpace(string(out)))
	}
	return nil
}

// tryAddresses looks whether the kernel maps programs at random addresses.
func tryAddresses() error {
	value, err := os.ReadFile("/proc/sys/kernel/randomize_va_space")
	if err == nil && strings.TrimSpace(string(value)) == "0" {
		return errors.New("kernel.randomize_va_space is 0")
	}
	return nil //nolint:nilerr // no such switch: they are
}

func tryCoreFiles() error {
	var have unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_CORE, &have); err != nil {
		return err
	}
	if have.Max == 0 {
		return errors.New("the hard limit on core files is 0")
	}
	return nil
}

func tryStrace() error {
	out, err := exec.Command("strace", "-f", "-qq", "-e", "trace=none", "true").CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w %s", err, strings.TrimSpace(string(out)))
	}
	return nil
}

func tryGit() error {
	out, err := exec.Command("git", "version").CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w %s", err, strings.TrimSpace(string(out)))
	}
	return nil
}

// trySetuid looks whether a setuid program gets its rights here, which it does
// not under an outer no_new_privs or on a nosuid mount. passwd -S tells from
// /etc/shadow, which a normal user cannot read.
func trySetuid() error {
	out, err := exec.Command("passwd", "-S").CombinedOutput()
	if err != nil {
		return fmt.Errorf("passwd -S: %w %s", err, strings.TrimSpace(string(out)))
	}
	return nil
}

func trySysvIPC() error {
	id, err := unix.SysvShmGet(unix.IPC_PRIVATE, os.Getpagesize(), 0o600)
	if err != nil {
		return err
	}
	_, err = unix.SysvShmCtl(id, unix.IPC_RMID, nil)
	return err
}

func tryFile(name string) error {
	_, err := os.Lstat(name)
	return err
}

func trySysctl(name, want string) error {
	value, err := os.ReadFile(filepath.Join("/proc/sys", name))
	if errors.Is(err, os.ErrNotExist) {
		return nil // older than the switch
	}
	if err != nil {
		return err
	}
	if got := strings.TrimSpace(string(value)); got != want {
		return fmt.Errorf("%s is %s", name, got)
	}
	return nil
}

// Settle tries a condition again and again until it holds, for what the kernel
// does a moment later (a pipe's end, a process that is being reaped). It returns
// the last answer.
func Settle(try func() error) error {
	var err error
	for range 200 {
		if err = try(); err == nil {
			return nil
		}
		runtime.Gosched()
		_ = unix.Nanosleep(&unix.Timespec{Nsec: 10_000_000}, nil)
	}
	return err
}
