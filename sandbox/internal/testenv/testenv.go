// Package testenv says what the machine under the tests can do. A test names
// the conditions that it needs; each is tried for real, never derived from a
// version, and a test that lacks one is skipped with what the try said.
//
// A skipped test proves nothing, so a place that must be able to (CI) names the
// conditions in the environment variable SBX_REQUIRE, a comma list: there the
// test fails in place of being skipped.
package testenv

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
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
	for _, name := range names {
		try, ok := conditions[name]
		if !ok {
			t.Fatalf("testenv: no condition is called %q", name)
		}
		err := try()
		if err == nil {
			continue
		}
		if required(name) {
			t.Fatalf("SBX_REQUIRE names %s, which this machine lacks: %v", name, err)
		}
		skips.Add(1)
		t.Skipf("%s: %v", name, err)
	}
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
