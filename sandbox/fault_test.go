package sandbox

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox/internal/rawfork"
	"github.com/sbx-dev/sbx/sandbox/internal/testenv"
)

// noSuchCall is a number that no kernel has a system call for.
const noSuchCall = 0x7fff_0000

// startBroken is Start with a change of the plan between its making and its
// launch.
func startBroken(c *Cmd, breakIt func(*Plan)) (err error) {
	c.done = make(chan struct{})
	c.pidfd, c.cmdPidfd, c.ends = -1, -1, [2]int{-1, -1}
	defer func() {
		closeAll(c.ours)
		if err != nil {
			c.release()
		}
	}()
	if err := c.openFiles(); err != nil {
		return err
	}
	if err := c.prepare(); err != nil {
		return err
	}
	breakIt(c.plan)
	return c.launch()
}

// TestEveryCallFails makes each call of a plan fail in turn. Whichever it is,
// the error names its step, the call as the plan prints it, and its errno;
// nothing of CMD runs, and no process, descriptor or folder is left.
func TestEveryCallFails(t *testing.T) {
	testenv.Need(t, "userns", "overlay", "seccomp", "landlock")
	for _, test := range []struct {
		name  string
		needs []string
		spec  Spec
	}{
		{"default", nil, Spec{}},
		{"uid 0, changes, time", []string{"timens"}, Spec{User: User{UID: new(int)}, Changes: true, With: []string{"time"}, BootOffset: 1}},
		{"subordinate ids", []string{"subuid"}, Spec{User: User{UID: new(int), Auto: true}, HideDir: true}},
		{"CMD is PID 1", nil, Spec{AsPID1: true, Mounts: []Mount{{Kind: Hide, Target: "/etc/passwd"}, {Kind: Tmpfs, Target: "/data"}}}},
		{"the host's root", nil, Spec{Skip: []string{"root", "landlock"}, Mounts: []Mount{{Kind: Hide, Target: "/usr/share"}}}},
		{"layers on a disk", nil, Spec{Upper: "/set/by/the/test"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			testenv.Need(t, test.needs...)
			mark := filepath.Join(t.TempDir(), "ran")
			test.spec.Args = []string{"touch", mark}
			if test.spec.Upper != "" {
				test.spec.Upper = t.TempDir()
			}
			before := held(t)
			tried := 0
			for i, more := 0, true; more; i++ {
				step, text := "", ""
				err := startBroken(&Cmd{Spec: test.spec}, func(p *Plan) {
					for i < len(p.Calls) && p.Calls[i].op == rawfork.OpPause {
						i++ // which is no system call
					}
					more = i+1 < len(p.Calls)
					call := &p.Calls[i]
					step = call.Step
					text, _, _ = strings.Cut(p.Text(i), "  # ")
					for k := i + 1; call.op == rawfork.OpExec && k < len(p.Calls); k++ {
						p.Calls[k].sys = &sysno{noSuchCall, "execve"} // else the next candidate is tried
						more = false
					}
					call.sys = &sysno{noSuchCall, call.sys.name}
				})
				tried++
				checkFailure(t, i, step, text, err)
			}
			if tried < 40 {
				t.Errorf("only %d calls were tried", tried)
			}
			if _, err := os.Stat(mark); err == nil {
				t.Error("CMD ran")
			}
			if err := testenv.Settle(func() error { return before.same(t) }); err != nil {
				t.Error(err)
			}
		})
	}
}

func checkFailure(t *testing.T, i int, step, text string, err error) {
	t.Helper()
	var failed *Error
	var exec *ExecError
	switch {
	case errors.As(err, &exec): // CMD itself is what the plan executes
		if exec.Errno != unix.ENOSYS {
			t.Errorf("call %d, %s: %v", i, text, err)
		}
	case !errors.As(err, &failed):
		t.Errorf("call %d, %s: %v (%T)", i, text, err, err)
	case failed.Step != step || failed.Call != text || failed.Errno != unix.ENOSYS:
		t.Errorf("call %d: %v, want %s: %s: ENOSYS", i, err, step, text)
	}
}

// holdings are what a leak would add to.
type holdings struct{ fds, children, mounts, layers int }

func held(t *testing.T) holdings {
	t.Helper()
	// The program of PID 1 is made once and kept.
	if _, err := rawfork.InitFD(); err != nil {
		t.Fatal(err)
	}
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	layers, err := filepath.Glob("/var/tmp/sbx-layers-*")
	if err != nil {
		t.Fatal(err)
	}
	return holdings{len(fds), children(), strings.Count(string(mounts), "\n"), len(layers)}
}

func (h holdings) same(t *testing.T) error {
	t.Helper()
	if now := held(t); now != h {
		return fmt.Errorf("left behind: before %+v, now %+v", h, now)
	}
	return nil
}

// children counts this process's children, zombies too.
func children() int {
	n := 0
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, name := range stats {
		stat, err := os.ReadFile(name)
		if err != nil {
			continue
		}
		_, rest, _ := strings.Cut(string(stat), ") ")
		if f := strings.Fields(rest); len(f) > 1 && f[1] == fmt.Sprint(os.Getpid()) {
			n++
		}
	}
	return n
}

// TestLaunchFails: the launcher's own part fails, and leaves nothing either.
func TestLaunchFails(t *testing.T) {
	testenv.Need(t, "userns", "overlay", "seccomp", "landlock")
	before := held(t)
	for name, test := range map[string]struct {
		breakIt func(*Plan)
		step    string
	}{
		"clone3":            {func(p *Plan) { p.Flags |= unix.CLONE_THREAD }, "user"},
		"no such namespace": {func(p *Plan) { p.Flags |= 1 << 40 }, "user"},
	} {
		var failed *Error
		err := startBroken(&Cmd{Spec: Spec{Args: []string{"true"}}}, test.breakIt)
		if !errors.As(err, &failed) || failed.Step != test.step || !strings.HasPrefix(failed.Call, "clone3(") || failed.Errno != unix.EINVAL {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := testenv.Settle(func() error { return before.same(t) }); err != nil {
		t.Error(err)
	}
}

// TestRetryLeavesNothing: with a step of Optional the sandbox is made a second
// time, without what failed.
func TestRetryLeavesNothing(t *testing.T) {
	testenv.Need(t, "userns", "overlay", "seccomp", "landlock")
	before := held(t)
	c := Command("true")
	c.Spec.Optional, c.Spec.Changes = []string{"caps"}, true
	f, err := Probe(&c.Spec)
	if err != nil {
		t.Fatal(err)
	}
	f.LastCap = 62 // more than the kernel has
	c.Features = f
	if err := c.Run(); err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(c.Result.Skipped, "caps") {
		t.Errorf("skipped is %v", c.Result.Skipped)
	}
	// The second attempt is one like the first: it can be ended.
	c = Command("sleep", "1000")
	c.Spec.Optional, c.Features, c.Spec.Timeout = []string{"caps"}, f, 20*time.Millisecond
	var exit *ExitError
	if err := c.Run(); !errors.As(err, &exit) || exit.Verdict != VerdictTimeout {
		t.Errorf("a timeout after a second attempt: %v", err)
	}
	// What failed first was the launcher's part of a pause.
	c = Command("sh", "-c", "exit 4")
	c.Spec.Optional, c.Spec.User.UIDMap = []string{"user"}, []IDMap{{Inside: 0, Outside: 1, Count: 1}}
	if err := c.Run(); !errors.As(err, &exit) || exit.Code != 4 {
		t.Errorf("without ranges that are not the caller's: %v", err)
	}
	if err := testenv.Settle(func() error { return before.same(t) }); err != nil {
		t.Error(err)
	}
}

// TestLayersOnDisk: where no tmpfs can hold the layers they lie in /var/tmp, and
// are gone when the sandbox is, whether it was made or not.
func TestLayersOnDisk(t *testing.T) {
	testenv.Need(t, "userns", "overlay", "seccomp", "landlock")
	before := held(t)
	for _, args := range [][]string{
		{"sh", "-c", "echo x >file; mkdir -p a/b; chmod 0 a"},
		{"/no/such/program"},
	} {
		c := Command(args[0], args[1:]...)
		f, err := Probe(&c.Spec)
		if err != nil {
			t.Fatal(err)
		}
		f.TmpfsXattr = false
		c.Features = f
		var exec *ExecError
		if err := c.Run(); err != nil && !errors.As(err, &exec) {
			t.Errorf("%v: %v", args, err)
		}
	}
	c := Command("true")
	f, err := Probe(&c.Spec)
	if err != nil {
		t.Fatal(err)
	}
	f.TmpfsXattr = false
	c.Features = f
	if err := startBroken(c, func(p *Plan) { p.Calls[len(p.Calls)/2].sys = &sysno{noSuchCall, "broken"} }); err == nil {
		t.Error("a broken plan was launched")
	}
	if err := testenv.Settle(func() error { return before.same(t) }); err != nil {
		t.Error(err)
	}
}
