package sandbox_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox"
)

// longLived starts a sandbox of the spec whose CMD sleeps, and shows the test's
// probes in it.
func longLived(t *testing.T, spec sandbox.Spec) *sandbox.Cmd {
	t.Helper()
	ctx, end := context.WithCancel(context.Background())
	c := sandbox.CommandContext(ctx, "sleep", "1000.0002")
	spec.Args = c.Spec.Args
	c.Spec = spec
	inside(c, "posture")
	c.Spec.Args = spec.Args
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- c.Wait() }()
	t.Cleanup(func() {
		end()
		<-ended
	})
	return c
}

// joining is a Cmd that runs in the sandbox of another.
func joining(t *testing.T, c *sandbox.Cmd, args ...string) *sandbox.Cmd {
	t.Helper()
	start, err := sandbox.StartTime(c.InitPid())
	if err != nil {
		t.Fatal(err)
	}
	p, err := sandbox.OpenProcess(c.InitPid(), start)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	host, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	j := &sandbox.Cmd{Spec: c.Spec, Joined: p, Join: sandbox.Join{Env: c.Plan().Env, Dir: c.Plan().Dir(), HostDir: host}}
	j.Spec.Args = args
	return j
}

// program is how the test's probes are called in a sandbox.
func program(c *sandbox.Cmd, probe string, args ...string) []string {
	name := "/probe"
	if c.Spec.Skips("root") {
		name = testBinary()
	}
	return slices.Concat([]string{name, probeWord, probe}, args)
}

// TestJoinedPosture: a program that was started in a running sandbox finds the
// same as the sandbox's own CMD: capabilities, descriptors, namespaces, mounts,
// filter, limits.
func TestJoinedPosture(t *testing.T) {
	needAll(t)
	dir := ownFolder(t)
	first := inside(in(t, &sandbox.Cmd{}, dir), "posture")
	first.Spec.Skip = nil
	ok, want := says(t, first)
	if !ok {
		t.Fatal(want)
	}
	c := longLived(t, sandbox.Spec{})
	ok, got := says(t, joining(t, c, program(c, "posture")...))
	if !ok {
		t.Fatal(got)
	}
	// The namespaces of two sandboxes differ in their numbers, and the processes
	// in there being one more.
	keep := func(text string) string {
		var out []string
		for line := range strings.Lines(maskPosture(t, text, dir)) {
			kind, _, _ := strings.Cut(line, " ")
			if slices.Contains([]string{"status", "init", "fd", "ids", "limit", "interface", "environment"}, kind) {
				out = append(out, line)
			}
		}
		return strings.Join(out, "")
	}
	if keep(got) != keep(want) || !strings.Contains(keep(got), "Seccomp 2") {
		t.Errorf("a joined program finds another sandbox (- CMD, + joined):\n%s", lineDifference(keep(want), keep(got)))
	}
}

// TestJoinedNamespaces: the namespaces are those of the sandbox's CMD.
func TestJoinedNamespaces(t *testing.T) {
	needAll(t)
	for name, spec := range map[string]sandbox.Spec{
		"default": {}, "host's network": {Net: "host"}, "no PID namespace": {Skip: []string{"pid", "proc"}},
		"clocks": {With: []string{"time"}, BootOffset: 1000}, "chroot": {RootWith: "chroot"}, "root inside": {User: sandbox.User{UID: new(int)}},
		"host's root": {Skip: []string{"root"}}, "CMD is PID 1": {AsPID1: true}, "nothing": {Skip: sandbox.StepNames()},
	} {
		t.Run(name, func(t *testing.T) {
			c := longLived(t, spec)
			for _, ns := range []string{"user", "mnt", "pid", "uts", "ipc", "net", "cgroup", "time"} {
				want, err := os.Readlink("/proc/" + strconv.Itoa(c.Pid()) + "/ns/" + ns)
				if err != nil {
					t.Fatal(err)
				}
				j := joining(t, c, "readlink", "/proc/self/ns/"+ns)
				if ok, got := says(t, j); !ok || got != want {
					t.Errorf("%s: joined %s, CMD's is %s", ns, got, want)
				}
			}
		})
	}
}

// TestJoinedRefusals: what a step refuses to CMD it refuses to a program that is
// started in the sandbox later; and with the step off it works, in both.
func TestJoinedRefusals(t *testing.T) {
	needAll(t)
	mount := []string{"call", strconv.Itoa(unix.SYS_MOUNT), "page:tmpfs", "page:/var/tmp", "page:tmpfs", "0", "0"}
	for _, a := range []struct {
		step, name string
		spec       sandbox.Spec
		probe      []string
	}{
		{"caps", "mount", sandbox.Spec{User: sandbox.User{UID: new(int)}, Skip: []string{"seccomp", "landlock"}}, mount},
		{"caps", "set the host's name", sandbox.Spec{User: sandbox.User{UID: new(int)}, Skip: []string{"seccomp"}}, []string{"hostname"}},
		{"landlock", "mount", sandbox.Spec{User: sandbox.User{UID: new(int)}, CapAdd: []string{"ALL"}, Skip: []string{"seccomp"}}, mount},
		{"seccomp", "join a keyring", sandbox.Spec{}, []string{"call", strconv.Itoa(unix.SYS_KEYCTL), "1", "0"}},
		{"seccomp", "unshare", sandbox.Spec{User: sandbox.User{UID: new(int)}, CapAdd: []string{"ALL"}}, []string{"call", strconv.Itoa(unix.SYS_UNSHARE), strconv.Itoa(unix.CLONE_NEWUTS)}},
	} {
		t.Run(a.step+"/"+a.name, func(t *testing.T) {
			c := longLived(t, a.spec)
			if ok, said := says(t, joining(t, c, program(c, a.probe[0], a.probe[1:]...)...)); ok {
				t.Errorf("%s does not stop it in a joined program: %s", a.step, said)
			}
			off := a.spec
			off.Skip = append(slices.Clone(off.Skip), a.step)
			off, _ = off.Resolve()
			c = longLived(t, off)
			if ok, said := says(t, joining(t, c, program(c, a.probe[0], a.probe[1:]...)...)); !ok {
				t.Errorf("without %s it does not work either, so it tests nothing: %s", a.step, said)
			}
		})
	}
}

// TestJoinedLooksAtCMD: CMD cannot be traced by a program of another Landlock
// domain, nor the other way round; without Landlock its variables are read.
func TestJoinedLooksAtCMD(t *testing.T) {
	needAll(t)
	spec := sandbox.Spec{Env: []string{"TOKEN=" + aSecret}}
	for _, on := range []bool{true, false} {
		if !on {
			spec.Skip = []string{"landlock"}
		}
		c := longLived(t, spec)
		// Before CMD is executed it is PID 1's child, which nobody may look into.
		_, said := says(t, joining(t, c, "sh", "-c",
			"for i in 1 2 3 4 5 6 7 8 9; do grep -azs ^TOKEN= /proc/2/environ && exit; sleep 0.2; done"))
		if strings.Contains(said, aSecret) == on {
			t.Errorf("Landlock %v: %s", on, said)
		}
	}
}

// TestJoinedRoot: neither way of changing the root leads a joined program to the
// host's files; with the step root skipped it sees them, as CMD does.
func TestJoinedRoot(t *testing.T) {
	needAll(t)
	file := homeFile(t)
	for _, a := range []struct {
		spec sandbox.Spec
		sees bool
	}{
		{sandbox.Spec{}, false},
		{sandbox.Spec{RootWith: "chroot"}, false},
		{sandbox.Spec{Skip: []string{"root", "landlock"}}, true},
	} {
		c := longLived(t, a.spec)
		_, said := says(t, joining(t, c, "cat", file))
		if strings.Contains(said, aSecret) != a.sees {
			t.Errorf("%q, skipped %v: %s", a.spec.RootWith, a.spec.Skip, said)
		}
	}
}

// TestJoinedEnd: the exit code is the joined program's own, and it ends with the
// sandbox.
func TestJoinedEnd(t *testing.T) {
	needAll(t)
	c := longLived(t, sandbox.Spec{})
	for script, code := range map[string]int{"exit 7": 7, "kill -9 $$": 137, "true": 0} {
		j := joining(t, c, "sh", "-c", script)
		_ = j.Run()
		if j.Result == nil || j.Result.Code != code {
			t.Errorf("%s: %+v", script, j.Result)
		}
	}
	var exec *sandbox.ExecError
	if err := joining(t, c, "no-such-program").Run(); !errors.As(err, &exec) || exec.ExitCode() != 127 {
		t.Errorf("a program that is not there: %v", err)
	}
	timed := joining(t, c, "sleep", "1000")
	timed.Spec.Timeout = 50 * time.Millisecond
	_ = timed.Run()
	if timed.Result == nil || timed.Result.Verdict != sandbox.VerdictTimeout {
		t.Errorf("a joined program's timeout: %+v", timed.Result)
	}
	j := joining(t, c, "sleep", "1000")
	if err := j.Start(); err != nil {
		t.Fatal(err)
	}
	pid := j.Pid()
	if !alive(pid) {
		t.Fatal("it does not run")
	}
	if err := c.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = j.Wait()
	if alive(pid) || j.Result.Signal != unix.SIGKILL {
		t.Errorf("it outlives the sandbox: %+v", j.Result)
	}
	if err := joining2(c, j.Joined).Run(); err == nil {
		t.Error("a sandbox that has ended is joined")
	}
}

// joining2 is a Cmd that runs in the sandbox of a process that is open already.
func joining2(c *sandbox.Cmd, p *sandbox.Process) *sandbox.Cmd {
	j := &sandbox.Cmd{Spec: c.Spec, Joined: p}
	j.Spec.Args = []string{"true"}
	return j
}

// TestOpenProcess: a process with the number but not the beginning is another.
func TestOpenProcess(t *testing.T) {
	v := victim(t)
	start, err := sandbox.StartTime(v.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range []uint64{0, start - 1, start + 1} {
		if p, err := sandbox.OpenProcess(v.Process.Pid, at); err != unix.ESRCH {
			t.Errorf("a process that began at %d, not %d: %v, %v", start, at, p, err)
		}
	}
	for _, pid := range []int{0, -1, 1 << 30} {
		if _, err := sandbox.OpenProcess(pid, start); err != unix.ESRCH {
			t.Errorf("process %d: %v", pid, err)
		}
	}
	p, err := sandbox.OpenProcess(v.Process.Pid, start)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if p.Ended() {
		t.Error("it has not ended")
	}
	if err := p.Signal(unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if ended, err := p.Wait(time.Minute); err != nil || !ended || !p.Ended() {
		t.Errorf("it has ended: %v", err)
	}
	if _, err := sandbox.OpenProcess(v.Process.Pid, start); err != unix.ESRCH {
		t.Errorf("a zombie: %v", err)
	}
}

// probeJoin makes a sandbox, starts a program in it, and prints that one's plan.
func probeJoin([]string) error {
	if err := os.Chdir(filepath.Dir(testBinary())); err != nil {
		return err
	}
	c := sandbox.Command("sleep", "1000")
	if err := c.Start(); err != nil {
		return err
	}
	start, err := sandbox.StartTime(c.InitPid())
	if err != nil {
		return err
	}
	p, err := sandbox.OpenProcess(c.InitPid(), start)
	if err != nil {
		return err
	}
	j := &sandbox.Cmd{Spec: c.Spec, Joined: p, Join: sandbox.Join{Env: c.Plan().Env, Dir: "/"}}
	j.Spec.Args = []string{"true", "an argument"}
	j.Stdin, j.Stdout, j.Stderr = os.Stdin, os.Stdout, os.Stderr
	err = j.Run()
	_ = c.Kill()
	_ = c.Wait()
	os.Stdout.WriteString(j.Plan().String())
	return err
}
