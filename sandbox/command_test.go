package sandbox_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox"
)

// The tests of this file use a Cmd as os/exec's is used.

func TestOutput(t *testing.T) {
	needAll(t)
	out, err := sandbox.Command("sh", "-c", "echo out; echo err >&2").Output()
	if err != nil || string(out) != "out\n" {
		t.Errorf("Output: %q, %v", out, err)
	}
	out, err = sandbox.Command("sh", "-c", "echo out; echo err >&2; exit 3").CombinedOutput()
	var exit *sandbox.ExitError
	if string(out) != "out\nerr\n" || !errors.As(err, &exit) || exit.Code != 3 || err.Error() != "exit status 3" {
		t.Errorf("CombinedOutput: %q, %v", out, err)
	}
	c := sandbox.Command("true")
	c.Stdout = io.Discard
	if _, err := c.Output(); err == nil {
		t.Error("Output with Stdout set is no error")
	}
	if _, err := c.CombinedOutput(); err == nil {
		t.Error("CombinedOutput with Stdout set is no error")
	}
	if _, err := c.StdoutPipe(); err == nil {
		t.Error("StdoutPipe with Stdout set is no error")
	}
}

// TestLargeOutput: more than any pipe holds, from both, at the same time as
// input of the same size.
func TestLargeOutput(t *testing.T) {
	needAll(t)
	const size = 4 << 20
	var out, err bytes.Buffer
	c := sandbox.Command("sh", "-c", "tee /dev/stderr")
	c.Stdin, c.Stdout, c.Stderr = bytes.NewReader(make([]byte, size)), &out, &err
	if err := c.Run(); err != nil {
		t.Fatal(err)
	}
	if out.Len() != size || err.Len() != size {
		t.Errorf("%d and %d bytes, want %d", out.Len(), err.Len(), size)
	}
}

func TestPipes(t *testing.T) {
	needAll(t)
	c := sandbox.Command("sh", "-c", "while read line; do echo got $line; echo warn >&2; done")
	stdin, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	stderr, err := c.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.StdinPipe(); err == nil {
		t.Error("a second StdinPipe is no error")
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 64)
	for i := range 3 {
		fmt.Fprintln(stdin, i)
		for want, from := range map[string]io.Reader{fmt.Sprintln("got", i): stdout, "warn\n": stderr} {
			if n, err := from.Read(buf); err != nil || string(buf[:n]) != want {
				t.Errorf("%q, %v; want %q", buf[:n], err, want)
			}
		}
	}
	stdin.Close()
	if rest, err := io.ReadAll(stdout); err != nil || len(rest) != 0 {
		t.Errorf("after the end: %q, %v", rest, err)
	}
	if err := c.Wait(); err != nil {
		t.Error(err)
	}
}

// TestUnreadInput: CMD need not read its input, and Wait does not wait for that.
func TestUnreadInput(t *testing.T) {
	needAll(t)
	c := sandbox.Command("true")
	c.Stdin = bytes.NewReader(make([]byte, 1<<20))
	if err := c.Run(); err != nil {
		t.Error(err)
	}
}

func TestExtraFiles(t *testing.T) {
	needAll(t)
	dir := t.TempDir()
	var files []*os.File
	for i := range 4 {
		f, err := os.Open(writeFile(t, filepath.Join(dir, strconv.Itoa(i)), "file "+strconv.Itoa(i)+"\n"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		files = append(files, f)
	}
	c := sandbox.Command("sh", "-c", "cat <&3; cat <&4; cat <&5; ls /proc/self/fd | wc -l")
	c.Stdin = files[3]
	c.ExtraFiles = files[:3]
	out, err := c.Output()
	// 0 to 5, and the one with which ls looks.
	if want := "file 0\nfile 1\nfile 2\n7\n"; err != nil || string(out) != want {
		t.Errorf("%q, %v; want %q", out, err, want)
	}
	c = sandbox.Command("true")
	c.ExtraFiles = []*os.File{nil}
	if err := c.Run(); err == nil {
		t.Error("a nil file is no error")
	}
}

// TestSwappedFiles: the launcher's own 0, 1 and 2 in another order, so that each
// one's source is another's place.
func TestSwappedFiles(t *testing.T) {
	needAll(t)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	c := sandbox.Command("sh", "-c", "echo one; echo two >&2; echo three >&3")
	c.Stdout, c.Stderr, c.ExtraFiles = w, w, []*os.File{w}
	c.Stdin = r
	if err := c.Run(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	if said, err := io.ReadAll(r); err != nil || string(said) != "one\ntwo\nthree\n" {
		t.Errorf("%q, %v", said, err)
	}
}

func TestEnvAndDir(t *testing.T) {
	needAll(t)
	t.Setenv("SBX_TEST_PASSED", "by name")
	t.Setenv("SBX_PREFIX_A", "by prefix")
	c := sandbox.Command("sh", "-c", `echo "$A|$SBX_TEST_PASSED|$SBX_PREFIX_A|$LANG|$PWD|$(pwd)|${SBX_TEST_OTHER-unset}"`)
	t.Setenv("SBX_TEST_OTHER", "never")
	c.Spec.Env = []string{"A=first", "A=last=1,2", "SBX_TEST_PASSED", "SBX_PREFIX_*", "LANG=xx"}
	c.Spec.Dir = "/usr/share"
	out, err := c.Output()
	if want := "last=1,2|by name|by prefix|xx|/usr/share|/usr/share|unset\n"; err != nil || string(out) != want {
		t.Errorf("%q, %v; want %q", out, err, want)
	}
	c = sandbox.Command("true")
	c.Spec.Dir = "/no/such/folder"
	var failed *sandbox.Error
	if err := c.Run(); !errors.As(err, &failed) || failed.Errno != unix.ENOENT || !strings.HasPrefix(failed.Call, "chdir(") {
		t.Errorf("a folder that is not there: %v", err)
	}
}

func TestExecErrors(t *testing.T) {
	needAll(t)
	dir := ownFolder(t)
	for name, text := range map[string]string{"script": "#!/no/such/interpreter\n", "text": "hello\n", "closed": ""} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(filepath.Join(dir, "closed"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, asPID1 := range []bool{false, true} {
		for _, test := range []struct {
			name        string
			code        int
			errno       unix.Errno
			interpreter bool
		}{
			{"no-such-program", 127, unix.ENOENT, false},
			{dir + "/nothing", 127, unix.ENOENT, false},
			{dir + "/closed", 126, unix.EACCES, false},
			{dir + "/text", 126, unix.ENOEXEC, false},
			{dir + "/script", 126, unix.ENOENT, true},
			{dir, 126, unix.EACCES, false},
		} {
			c := in(t, sandbox.Command(test.name), dir)
			c.Spec.AsPID1 = asPID1
			var failed *sandbox.ExecError
			err := c.Run()
			if !errors.As(err, &failed) || failed.ExitCode() != test.code || failed.Errno != test.errno || failed.Interpreter != test.interpreter {
				t.Errorf("%s (as PID 1: %v): %v, %+v", test.name, asPID1, err, failed)
			}
		}
	}
}

func TestContextAndTimeout(t *testing.T) {
	needAll(t)
	ctx, cancel := context.WithCancel(context.Background())
	c := sandbox.CommandContext(ctx, "sleep", "1000")
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(30*time.Millisecond, cancel)
	if err := c.Wait(); !errors.Is(err, context.Canceled) {
		t.Errorf("after the end of the context: %v", err)
	}
	if err := sandbox.CommandContext(ctx, "true").Start(); !errors.Is(err, context.Canceled) {
		t.Errorf("a context that has ended before: %v", err)
	}
	c = sandbox.Command("sh", "-c", "trap '' TERM INT; sleep 1000 & wait")
	c.Spec.Timeout = 50 * time.Millisecond
	if err := is(c, c.Run(), 124, unix.SIGKILL, sandbox.VerdictTimeout); err != nil {
		t.Error(err)
	}
	if c.Result.Wall < c.Spec.Timeout || c.Result.Wall > 5*time.Second {
		t.Errorf("a timeout of %v took %v", c.Spec.Timeout, c.Result.Wall)
	}
	if l := c.Result.Limits; len(l) != 1 || l[0].Name != "timeout" || l[0].EnforcedBy != "watchdog" {
		t.Errorf("limits %+v", l)
	}
}

// TestTimeoutAtTheEnd: the time passes in the moment in which CMD exits. Either
// verdict is right, if it agrees with itself.
func TestTimeoutAtTheEnd(t *testing.T) {
	needAll(t)
	for range 60 {
		c := sandbox.Command("sleep", "0.02")
		c.Spec.Timeout = 22 * time.Millisecond
		err := c.Run()
		switch r := c.Result; {
		case r == nil:
			t.Fatal(err)
		case r.Verdict == sandbox.VerdictExited && r.Code == 0 && r.Signal == 0 && err == nil:
		case r.Verdict == sandbox.VerdictTimeout && r.Code == 124 && err != nil:
		default:
			t.Fatalf("%+v, %v", r, err)
		}
	}
}

func TestSignal(t *testing.T) {
	needAll(t)
	c := sandbox.Command("sh", "-c", "trap 'echo caught; exit 5' USR1; echo ready; while :; do sleep 0.01; done")
	stdout, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	if c.Pid() <= 0 || c.InitPid() <= 0 || c.Pid() == c.InitPid() {
		t.Errorf("CMD is %d, PID 1 is %d", c.Pid(), c.InitPid())
	}
	buf := make([]byte, 64)
	if n, err := stdout.Read(buf); err != nil || string(buf[:n]) != "ready\n" {
		t.Fatalf("%q, %v", buf[:n], err)
	}
	if err := c.Signal(unix.SIGUSR1); err != nil {
		t.Error(err)
	}
	if n, err := stdout.Read(buf); err != nil || string(buf[:n]) != "caught\n" {
		t.Errorf("%q, %v", buf[:n], err)
	}
	if err := is(c, c.Wait(), 5, 0, sandbox.VerdictExited); err != nil {
		t.Error(err)
	}
	if err := c.Signal(unix.SIGUSR1); !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("a signal after the end: %v", err)
	}
	if err := c.Kill(); !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("Kill after the end: %v", err)
	}
	c = sandbox.Command("sleep", "1000")
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	if err := c.Signal(unix.SIGTERM); err != nil {
		t.Error(err)
	}
	if err := is(c, c.Wait(), 143, unix.SIGTERM, sandbox.VerdictSignaled); err != nil {
		t.Error(err)
	}
}

// TestMisuse: calls in an order that makes no sense are errors.
func TestMisuse(t *testing.T) {
	needAll(t)
	c := sandbox.Command("true")
	if err := c.Wait(); err == nil {
		t.Error("Wait before Start is no error")
	}
	if err := c.Signal(unix.SIGTERM); err == nil {
		t.Error("Signal before Start is no error")
	}
	if err := c.Kill(); err == nil {
		t.Error("Kill before Start is no error")
	}
	if c.Pid() != 0 || c.Plan() != nil {
		t.Errorf("before Start: pid %d, plan %v", c.Pid(), c.Plan())
	}
	if err := c.Run(); err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err == nil {
		t.Error("a second Start is no error")
	}
	if err := c.Wait(); err == nil {
		t.Error("a second Wait is no error")
	}
	for _, dir := range []string{"relative", "/no/such/folder"} { // before and after the clone
		c = sandbox.Command("true")
		c.Spec.Dir = dir
		if err := c.Start(); err == nil {
			t.Errorf("the folder %s is no error", dir)
		}
		if err := c.Wait(); err == nil || c.Pid() != 0 {
			t.Errorf("Wait after a Start that failed is no error, the pid is %d", c.Pid())
		}
		if err := c.Kill(); err == nil {
			t.Error("Kill after a Start that failed is no error")
		}
	}
}

// TestStopped: Ctrl-Z stops CMD, the caller is told, and SIGCONT lets it go on.
func TestStopped(t *testing.T) {
	needAll(t)
	c := sandbox.Command("sh", "-c", "kill -TSTP $$; echo went on; kill -STOP $$; exit 6")
	var out bytes.Buffer
	c.Stdout = &out
	var seen []unix.Signal
	stopped := make(chan unix.Signal, 4)
	c.Stopped = func(s unix.Signal) { stopped <- s }
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		for s := range stopped {
			seen = append(seen, s)
			_ = c.Signal(unix.SIGCONT)
		}
	}()
	if err := is(c, c.Wait(), 6, 0, sandbox.VerdictExited); err != nil {
		t.Error(err)
	}
	close(stopped)
	if out.String() != "went on\n" {
		t.Errorf("%q", out.String())
	}
	if want := []unix.Signal{unix.SIGTSTP, unix.SIGSTOP}; !slices.Equal(seen, want) {
		t.Errorf("stopped by %v, want %v", seen, want)
	}
}

// TestTrace: one event a call, in the order of the plan, and one when CMD is in
// place and has not run an instruction.
func TestTrace(t *testing.T) {
	needAll(t)
	for name, change := range map[string]func(*sandbox.Spec){
		"default":      func(*sandbox.Spec) {},
		"CMD is PID 1": func(s *sandbox.Spec) { s.AsPID1 = true },
		"nothing":      func(s *sandbox.Spec) { *s = sandbox.Spec{Args: s.Args, Skip: only().Skip} },
	} {
		t.Run(name, func(t *testing.T) {
			c := sandbox.Command("sh", "-c", "echo ran")
			change(&c.Spec)
			var events []sandbox.Event
			var during sync.Mutex
			exe := ""
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			c.Stdout = w
			c.Trace = func(e sandbox.Event) {
				if !during.TryLock() {
					t.Error("two events at a time")
					return
				}
				defer during.Unlock()
				events = append(events, e)
				if e.Kind == sandbox.EventExec {
					exe, _ = os.Readlink("/proc/" + strconv.Itoa(e.Pid) + "/exe")
					time.Sleep(5 * time.Millisecond)
					if n, err := unix.IoctlGetInt(int(r.Fd()), unix.TIOCINQ); err != nil || n > 0 {
						t.Errorf("CMD ran before EventExec returned (%d bytes, %v)", n, err)
					}
				}
			}
			if err := c.Run(); err != nil {
				t.Fatal(err)
			}
			w.Close()
			if out, err := io.ReadAll(r); err != nil || string(out) != "ran\n" {
				t.Errorf("%q, %v", out, err)
			}
			execs, calls := 0, 0
			var last time.Duration
			if first := events[0]; first.Call != c.Plan().Clone() || first.Result <= 0 || first.Took <= 0 {
				t.Errorf("the first event is %+v, not clone3", first)
			}
			for _, e := range events[1:] {
				if e.Kind == sandbox.EventExec {
					execs++
					if e.Pid != c.Pid() {
						t.Errorf("EventExec of %d, CMD is %d", e.Pid, c.Pid())
					}
					continue
				}
				if want := c.Plan().Text(calls); e.Call != want {
					t.Fatalf("event %d is %s, the plan's call %s", calls, e.Call, want)
				}
				if step := c.Plan().Calls[calls].Step; e.Step != step {
					t.Errorf("event %d belongs to %s, the plan's call to %s", calls, e.Step, step)
				}
				if e.Start < last || e.Took < 0 {
					t.Errorf("event %d began at %v, the one before at %v, and took %v", calls, e.Start, last, e.Took)
				}
				last = e.Start
				calls++
			}
			if execs != 1 || calls < len(c.Plan().Calls)-20 {
				t.Errorf("%d events of execve and %d of %d calls", execs, calls, len(c.Plan().Calls))
			}
			if shell, _ := filepath.EvalSymlinks("/bin/sh"); filepath.Base(exe) != filepath.Base(shell) {
				t.Errorf("at EventExec CMD was %q, want %q", exe, shell)
			}
		})
	}
}

// TestOptional: a step that the host refuses is an error that names it, and with
// Optional the sandbox is made without, and says so. Here what the launcher
// believes of the host is wrong.
func TestOptional(t *testing.T) {
	needAll(t)
	for _, test := range []struct {
		step    string
		believe func(*sandbox.Features)
		takes   []string // steps that cannot be made without it
	}{
		{"user", func(f *sandbox.Features) { f.UID++ }, []string{"mount", "pid", "overlay", "proc", "root"}},
		{"proc", func(f *sandbox.Features) { f.Host = before{Host: f.Host, path: "/proc/timer_list"} }, nil},
		{"caps", func(f *sandbox.Features) { f.LastCap = 62 }, nil},
	} {
		refusing := func(c *sandbox.Cmd) *sandbox.Cmd {
			c = in(t, c, "/usr/share")
			test.believe(c.Features)
			return c
		}
		var failed *sandbox.Error
		err := refusing(sandbox.Command("true")).Run()
		if err == nil && test.step == "proc" {
			continue // this kernel has no /proc/timer_list
		}
		if !errors.As(err, &failed) || failed.Step != test.step {
			t.Errorf("the sandbox was to fail in %s: %v", test.step, err)
			continue
		}
		c := refusing(sandbox.Command("sh", "-c", "exit 7"))
		c.Spec.Optional = []string{test.step}
		if err := is(c, c.Run(), 7, 0, sandbox.VerdictExited); err != nil {
			t.Errorf("without %s: %v", test.step, err)
			continue
		}
		for _, step := range append(test.takes, test.step) {
			if !slices.Contains(c.Result.Skipped, step) {
				t.Errorf("without %s: %s is not among the skipped %v", test.step, step, c.Result.Skipped)
			}
		}
		notes := strings.Join(c.Result.Notes, "\n")
		if !strings.Contains(notes, "went on without "+test.step) || test.takes != nil && !strings.Contains(notes, "they need "+test.step) {
			t.Errorf("without %s the notes are:\n%s", test.step, notes)
		}
	}
}

// TestChanges lists what was written, in whatever way the sandbox was made.
func TestChanges(t *testing.T) {
	needAll(t)
	for _, asPID1 := range []bool{false, true} {
		dir := ownFolder(t)
		writeFile(t, filepath.Join(dir, "old"), "as it was")
		writeFile(t, filepath.Join(dir, "kept"), "as it was")
		writeFile(t, filepath.Join(dir, "deleted"), "as it was")
		c := in(t, sandbox.Command("sh", "-c", "echo x >new; echo x >>old; rm deleted; mkdir sub; echo x >/tmp/scratch"), dir)
		c.Spec.Changes, c.Spec.AsPID1 = true, asPID1
		if err := c.Run(); err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, ch := range c.Result.Changes {
			got = append(got, ch.Kind+" "+strings.TrimPrefix(ch.Path, dir+"/"))
		}
		slices.Sort(got)
		want := []string{"added /tmp/scratch", "added new", "added sub", "deleted deleted", "modified old"}
		if !slices.Equal(got, want) {
			t.Errorf("as PID 1: %v: %v, want %v", asPID1, got, want)
		}
	}
}
