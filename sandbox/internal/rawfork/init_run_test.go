package rawfork

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox/internal/testenv"
)

func TestInitOutcome(t *testing.T) {
	denied := file(t, "denied", "#!/bin/sh\n", 0o600)
	orphan := file(t, "orphan", "#!/nonexistent/interpreter\n", 0o700)
	text := file(t, "text", "just text\n", 0o700)
	said := file(t, "said", "#!/bin/sh\nexit 21\n", 0o700)
	loop := filepath.Join(t.TempDir(), "loop")
	if err := os.Symlink(loop, loop); err != nil {
		t.Fatal(err)
	}
	long := "/" + strings.Repeat("n", 300)
	under := said + "/under" // ENOTDIR
	sh := "/bin/sh"

	ended := func(s int) InitMessage { return InitMessage{InitWaitStatus, uint32(s)} }
	failed := func(e unix.Errno) InitMessage { return InitMessage{InitExecFailed, uint32(e)} }
	notRun := ended(127 << 8)
	for _, c := range []struct {
		name       string
		candidates []string
		script     string
		want       []InitMessage // after InitStarted
		exit       int           // of PID 1
	}{
		{"exit 0", []string{sh}, "exit 0", []InitMessage{ended(0)}, 0},
		{"exit 255", []string{sh}, "exit 255", []InitMessage{ended(255 << 8)}, 255},
		{"exit 137 is not a signal", []string{sh}, "exit 137", []InitMessage{ended(137 << 8)}, 137},
		{"SIGKILL", []string{sh}, "kill -KILL $$", []InitMessage{ended(9)}, 137},
		{"SIGTERM", []string{sh}, "kill -TERM $$", []InitMessage{ended(15)}, 143},
		{"first wins", []string{said, sh}, "exit 22", []InitMessage{ended(21 << 8)}, 21},
		{"search goes on", []string{"/nonexistent", under, long, loop, denied, sh}, "exit 22", []InitMessage{ended(22 << 8)}, 22},
		{"nothing", nil, "", []InitMessage{failed(unix.ENOENT), notRun}, 127},
		{"not found", []string{"/nonexistent", under, long, loop}, "", []InitMessage{failed(unix.ENOENT), notRun}, 127},
		{"denied counts more than not found", []string{denied, "/nonexistent"}, "", []InitMessage{failed(unix.EACCES), notRun}, 127},
		{"a folder", []string{"/"}, "", []InitMessage{failed(unix.EACCES), notRun}, 127},
		{"no executable format", []string{text, sh}, "", []InitMessage{failed(unix.ENOEXEC), notRun}, 127},
		{"interpreter missing", []string{denied, orphan, sh}, "", []InitMessage{{InitInterpreterMissing, uint32(unix.ENOENT)}, notRun}, 127},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := shell(c.script)
			r.candidates = c.candidates
			got := r.run(t)
			if want := append([]InitMessage{{InitStarted, 0}}, c.want...); !slices.Equal(got, want) {
				t.Errorf("messages %v, want %v; stderr: %s", got, want, &r.stderr)
			}
			if code := r.cmd.ProcessState.ExitCode(); code != c.exit {
				t.Errorf("PID 1 exited with %d, want %d", code, c.exit)
			}
		})
	}
}

func TestInitTooLong(t *testing.T) {
	// An argument list that init itself can just get is too long for CMD when
	// the limit is lowered in between, which only a test does: with a stack of
	// 1 MiB a quarter of it, 256 KiB, is the limit (execve(2)).
	r := shell(":")
	r.opts.WaitForAck = true
	r.stage.Env = slices.Repeat([]string{strings.Repeat("e", 100_000)}, 4)
	r.start(t)
	p := r.started(t)
	if err := unix.Prlimit(int(p.pid), unix.RLIMIT_STACK, &unix.Rlimit{Cur: 1 << 20, Max: 1 << 20}, nil); err != nil {
		t.Fatalf("the owner of a sandbox may not change its limits: %v", err)
	}
	r.ack(t)
	want := []InitMessage{{InitExecFailed, uint32(unix.E2BIG)}, {InitWaitStatus, 127 << 8}}
	if got := r.finish(t); !slices.Equal(got, want) {
		t.Errorf("messages %v, want %v", got, want)
	}
}

func TestInitStop(t *testing.T) {
	r := shell("kill -STOP $$; kill -TSTP $$; exit 5")
	r.opts.NewProcessGroup = true // SIGTSTP stops nobody in an orphaned group, as this test may be in
	r.start(t)
	p := r.started(t)
	for _, sig := range []unix.Signal{unix.SIGSTOP, unix.SIGTSTP} {
		m, ok := r.next(t)
		if !ok || m.Kind != InitWaitStatus || !m.WaitStatus().Stopped() || m.WaitStatus().StopSignal() != sig {
			t.Fatalf("message %v %#x, want a stop by %v", m.Kind, m.Value, sig)
		}
		if err := unix.Kill(int(p.pid), unix.SIGCONT); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := r.finish(t), []InitMessage{{InitWaitStatus, 5 << 8}}; !slices.Equal(got, want) {
		t.Errorf("messages %v, want %v", got, want)
	}
}

func TestInitWaitsForAck(t *testing.T) {
	ran := filepath.Join(t.TempDir(), "ran")
	r := shell("echo > " + ran)
	r.opts.WaitForAck = true
	r.start(t)
	p := r.started(t)
	time.Sleep(50 * time.Millisecond)
	if _, err := os.Stat(ran); err == nil {
		t.Fatal("CMD ran before the byte was sent")
	}
	if comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", p.pid)); err != nil || string(comm) != "sbx-init\n" {
		t.Errorf("CMD's process is called %q before its exec (%v)", comm, err)
	}
	r.ack(t)
	if got, want := r.finish(t), []InitMessage{{InitWaitStatus, 0}}; !slices.Equal(got, want) {
		t.Errorf("messages %v, want %v", got, want)
	}
	if _, err := os.Stat(ran); err != nil {
		t.Error("CMD did not run after the byte was sent")
	}

	t.Run("launcher gone", func(t *testing.T) {
		ran := filepath.Join(t.TempDir(), "ran")
		r := shell("echo > " + ran)
		r.opts.WaitForAck = true
		r.start(t)
		r.started(t)
		if err := unix.Shutdown(r.conn, unix.SHUT_RDWR); err != nil {
			t.Fatal(err)
		}
		r.cmd.Wait()
		if code := r.cmd.ProcessState.ExitCode(); code != 127 {
			t.Errorf("PID 1 exited with %d, want 127", code)
		}
		if _, err := os.Stat(ran); err == nil {
			t.Error("CMD ran although the launcher was gone")
		}
	})
}

func TestInitManyArguments(t *testing.T) {
	r := &trial{candidates: []string{"/bin/sh"}, argv: []string{"sh", "-c", `echo $# "${1000}"; env | wc -c`, "sh"}}
	for i := 1; i <= 1000; i++ {
		r.argv = append(r.argv, "argument "+strconv.Itoa(i))
	}
	r.candidates = append(slices.Repeat([]string{"/nonexistent/folder/of/PATH/sh"}, 100), r.candidates...)
	r.stage.Env = []string{"PATH=/usr/bin:/bin"}
	for i := range 16 {
		r.stage.Env = append(r.stage.Env, fmt.Sprintf("V%02d=%s", i, strings.Repeat("v", 1<<16)))
	}
	var n, size int
	var word string
	if _, err := fmt.Sscanf(r.output(t), "%d argument %s\n%d", &n, &word, &size); err != nil {
		t.Fatal(err)
	}
	if n != 1000 || word != "1000" || size < 1<<20 {
		t.Errorf("CMD got %d arguments, the last %q, and %d bytes of environment", n, word, size)
	}
}

// TestInitFromFile executes the replacement of the memfd.
func TestInitFromFile(t *testing.T) {
	fd, err := initTempfile(InitELF(), os.Getenv("XDG_RUNTIME_DIR"), os.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	r := shell("echo ok")
	r.image = fd
	if out := r.output(t); out != "ok\n" {
		t.Errorf("output %q", out)
	}
}

// TestInitNoexec: a folder that is mounted noexec is passed over, for the exec
// would only fail with EACCES later.
func TestInitNoexec(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	noexec, dir := t.TempDir(), t.TempDir()
	cmd := exec.Command(self, noexec, dir)
	cmd.Env = append(os.Environ(), roleVariable+"=noexec")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	out, err := cmd.Output()
	if err != nil {
		testenv.Lacks(t, "userns", err)
	}
	if want := "init: " + noexec + " is mounted noexec: permission denied; then <nil>\n"; string(out) != want {
		t.Errorf("got %q, want %q", out, want)
	}
}

func noexecMain() error {
	noexec, dir := os.Args[1], os.Args[2]
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	if err := unix.Mount("tmpfs", noexec, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return err
	}
	_, err := initTempfile(InitELF(), noexec)
	_, then := initTempfile(InitELF(), noexec, dir)
	return fmt.Errorf("%w; then %v", err, then)
}
