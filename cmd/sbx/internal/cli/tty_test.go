package cli

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"
)

// screen is a terminal with a program in it, and a user who types.
type screen struct {
	t      *testing.T
	master *os.File
	slave  *os.File
	cmd    *exec.Cmd
	mu     sync.Mutex
	seen   []byte
	read   int // how much of seen has been waited for
	ended  chan error
	before unix.Termios // the terminal's settings before the program
}

// sbxPath is the sbx that testscript.Main put on PATH: the test binary itself.
func sbxPath(t *testing.T) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	link := t.TempDir() + "/sbx"
	if err := os.Symlink(self, link); err != nil {
		t.Fatal(err)
	}
	return link
}

// open starts a program in a terminal of 100 columns and 30 lines.
func open(t *testing.T, name string, args ...string) *screen {
	t.Helper()
	need(t, "userns")
	// Tests under nohup(1) have SIGHUP ignored, and so would all that they start.
	signal.Notify(make(chan os.Signal, 1), unix.SIGHUP)
	s := &screen{t: t, ended: make(chan error, 1)}
	var err error
	if s.master, s.slave, err = pty.Open(); err != nil {
		t.Fatal(err)
	}
	if err := pty.Setsize(s.master, &pty.Winsize{Rows: 30, Cols: 100}); err != nil {
		t.Fatal(err)
	}
	// A reader that blocks in the kernel would keep a closed terminal open.
	fd, err := unix.FcntlInt(s.master.Fd(), unix.F_DUPFD_CLOEXEC, 3)
	if err == nil {
		err = unix.SetNonblock(fd, true)
	}
	if err != nil {
		t.Fatal(err)
	}
	s.master.Close()
	s.master = os.NewFile(uintptr(fd), "terminal")
	s.before = s.settings()
	s.cmd = exec.Command(name, args...)
	s.cmd.Stdin, s.cmd.Stdout, s.cmd.Stderr = s.slave, s.slave, s.slave
	s.cmd.Env = append(os.Environ(), "PS1=outer> ", "TERM=dumb", "PATH="+strings.TrimSuffix(sbxPath(t), "/sbx")+":"+os.Getenv("PATH"))
	s.cmd.Dir = t.TempDir()
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { s.ended <- s.cmd.Wait() }()
	go func() {
		buf := make([]byte, 4096)
		for {
			n, err := s.master.Read(buf)
			s.mu.Lock()
			s.seen = append(s.seen, buf[:n]...)
			s.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() {
		_ = s.cmd.Process.Kill()
		s.slave.Close()
		s.master.Close()
	})
	return s
}

// await waits until the text has appeared after what was waited for before.
func (s *screen) await(text string) {
	s.t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for time.Now().Before(deadline) {
		s.mu.Lock()
		at := bytes.Index(s.seen[s.read:], []byte(text))
		if at >= 0 {
			s.read += at + len(text)
			s.mu.Unlock()
			return
		}
		s.mu.Unlock()
		time.Sleep(5 * time.Millisecond)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.t.Fatalf("%q did not appear; the screen after what was there:\n%s\n--- and before:\n%s", text, s.seen[s.read:], s.seen[:s.read])
}

func (s *screen) typed(text string) {
	s.t.Helper()
	if _, err := s.master.WriteString(text); err != nil {
		s.t.Fatal(err)
	}
}

// settings are the terminal's, as stty(1) would show them.
func (s *screen) settings() unix.Termios {
	s.t.Helper()
	term, err := unix.IoctlGetTermios(int(s.slave.Fd()), unix.TCGETS)
	if err != nil {
		s.t.Fatal(err)
	}
	return *term
}

// awaitRaw waits until the terminal is, or is not, in raw mode.
func (s *screen) awaitRaw(raw bool) {
	s.t.Helper()
	for range 2000 {
		term := s.settings()
		if (term.Lflag&unix.ICANON == 0) == raw {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	s.t.Fatalf("the terminal's raw mode is not %v", raw)
}

// awaitEnd waits for the program and returns its exit code.
func (s *screen) awaitEnd() int {
	s.t.Helper()
	select {
	case <-s.ended:
		return s.cmd.ProcessState.ExitCode()
	case <-time.After(20 * time.Second):
		s.t.Fatal("the program did not end")
		return -1
	}
}

// TestTerminalShell drives a real bash in the sandbox: job control of its own,
// Ctrl-C, and the size of the window.
func TestTerminalShell(t *testing.T) {
	s := open(t, sbxPath(t), "run", "-e", "PS1=inner> ", "bash", "--norc", "--noprofile", "-i")
	s.await("inner> ")
	s.typed("tty; stty size; test -t 0 -a -t 1 -a -t 2 && echo all-are\r")
	s.await("/dev/console")
	s.await("30 100")
	s.await("\r\nall-are")
	s.await("inner> ")
	s.typed("sleep 100\r")
	time.Sleep(300 * time.Millisecond)
	s.typed("\x1a")
	s.await("Stopped")
	s.await("inner> ")
	s.typed("bg\r")
	s.await("sleep 100 &")
	s.await("inner> ")
	s.typed("fg\r")
	s.await("sleep 100")
	time.Sleep(300 * time.Millisecond)
	s.typed("\x03")
	s.await("inner> ")
	s.typed("echo code=$?\r")
	s.await("\r\ncode=130")
	s.await("inner> ")
	if err := pty.Setsize(s.master, &pty.Winsize{Rows: 41, Cols: 77}); err != nil {
		t.Fatal(err)
	}
	time.Sleep(300 * time.Millisecond)
	s.typed("stty size\r")
	s.await("41 77")
	s.await("inner> ")
	s.typed("exit 5\r")
	if code := s.awaitEnd(); code != 5 {
		t.Errorf("exit code %d, want 5", code)
	}
	s.awaitRaw(false)
}

// TestTerminalJob: sbx itself is a job of the caller's shell. Ctrl-Z stops it
// with CMD and gives the shell its terminal back; bg and fg go on.
func TestTerminalJob(t *testing.T) {
	s := open(t, "bash", "--norc", "--noprofile", "-i")
	s.await("outer> ")
	// The line as it is echoed is not what the command prints. Raw mode alone
	// says nothing: bash has the terminal so while a line is typed.
	s.typed("sbx run sh -c 'echo be\"\"gun; exec cat'\r")
	s.await("begun")
	s.typed("one\r")
	s.await("one\r\none\r\n")
	s.typed("\x1a")
	s.await("Stopped")
	s.await("outer> ")
	s.typed("stty -a | tr ' ' '\\n' | grep icanon\r")
	s.await("\nicanon")
	s.await("outer> ")
	s.typed("fg\r")
	s.await("exec cat")
	time.Sleep(300 * time.Millisecond)
	s.typed("two\r")
	s.await("two\r\ntwo\r\n")
	s.typed("\x04")
	s.await("outer> ")

	s.typed("sbx run sh -c 'echo be\"\"gun; sleep 2; echo from-be\"\"hind; sleep 100'\r")
	s.await("begun")
	s.typed("\x1a")
	s.await("Stopped")
	s.await("outer> ")
	s.typed("bg\r")
	s.await("outer> ")
	s.await("from-behind")
	s.typed("fg\r")
	s.await("sleep 100")
	time.Sleep(300 * time.Millisecond)
	s.typed("\x03")
	s.await("outer> ")
	s.typed("echo code=$?\r")
	s.await("\r\ncode=130")
	s.await("outer> ")
	s.typed("exit\r")
	s.awaitEnd()
	if now := s.settings(); now != s.before {
		t.Errorf("the terminal is not what it was:\n%+v, before\n%+v", now, s.before)
	}
}

// TestTerminalRestored: raw mode ends on every way out.
func TestTerminalRestored(t *testing.T) {
	for _, c := range []struct {
		name string
		sig  unix.Signal
		args []string
		code int
	}{
		{"term", unix.SIGTERM, []string{"sleep", "100"}, 143},
		{"hangup", unix.SIGHUP, []string{"sleep", "100"}, 129},
		{"interrupt", unix.SIGINT, []string{"sleep", "100"}, 130},
		{"quit", unix.SIGQUIT, []string{"sleep", "100"}, 131},
		{"end", 0, []string{"sleep", "0.3"}, 0},
		{"timeout", 0, []string{"--timeout", "0.5", "sleep", "100"}, 124},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := open(t, sbxPath(t), append([]string{"run"}, c.args...)...)
			s.awaitRaw(true)
			if c.sig != 0 {
				time.Sleep(100 * time.Millisecond)
				if err := s.cmd.Process.Signal(c.sig); err != nil {
					t.Fatal(err)
				}
			}
			if code := s.awaitEnd(); code != c.code {
				t.Errorf("exit code %d, want %d", code, c.code)
			}
			if after := s.settings(); after != s.before {
				t.Errorf("the terminal is not what it was:\n%+v, before\n%+v", after, s.before)
			}
		})
	}
}

// TestTerminalGone: a job in the background whose terminal hangs up, and whose
// shell could not tell it, ends with all that it started; one under nohup does
// not.
func TestTerminalGone(t *testing.T) {
	for i, c := range []struct {
		name, line string
		stays      bool
	}{
		{"plain", "sbx run sh -c 'echo be\"\"gun; sleep MARK; true' &", false},
		{"one stopped", "sbx run sh -c 'sleep MARK & kill -STOP $!; echo be\"\"gun; wait' &", false},
		{"in vfork", "sbx run python3 -c 'import subprocess; subprocess.Popen([\"sh\", \"-c\", \"kill -STOP $$; echo be\"\"gun; sleep MARK\"]); print(\"be\" \"gun\", flush=True); input()' &", false},
		{"hangup ignored", "sbx run sh -c 'trap \"\" HUP; echo be\"\"gun; sleep MARK; sleep MARK' &", false},
		{"output alone", "sbx run sh -c 'echo be\"\"gun >&2; sleep MARK; true' </dev/null >/dev/null &", false},
		{"in a pipeline", "sbx run sh -c 'echo be\"\"gun >&2; sleep MARK; true' | cat &", false},
		{"nohup", "(trap '' HUP; sbx run sh -c 'echo be\"\"gun; sleep MARK; true') &", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			if strings.Contains(c.line, "python3") {
				need(t, "tool:python3")
			}
			s := open(t, "bash", "--norc", "--noprofile", "-i")
			s.await("outer> ")
			mark := strconv.Itoa(600000000 + os.Getpid()*100 + i)
			s.typed(strings.ReplaceAll(c.line, "MARK", mark) + "\r")
			s.await("begun")
			if len(processesWith(mark)) == 0 {
				t.Fatal("CMD does not run")
			}
			_ = s.cmd.Process.Kill() // it passes no SIGHUP on
			s.awaitEnd()
			s.slave.Close()
			s.master.Close()
			left := processesWith(mark)
			for end := time.Now().Add(farewell + 8*time.Second); len(left) > 0 && time.Now().Before(end); left = processesWith(mark) {
				if c.stays && time.Until(end) < 7*time.Second {
					break
				}
				time.Sleep(10 * time.Millisecond)
			}
			if len(left) > 0 != c.stays {
				t.Errorf("left are %q", left)
			}
			for _, p := range left { // of this test alone: the mark is its own
				if pid, err := strconv.Atoi(p[:strings.IndexByte(p, ':')]); err == nil {
					_ = unix.Kill(pid, unix.SIGKILL)
				}
			}
		})
	}
}

// TestTerminalPatience: a CMD that ignores SIGTERM is killed at the third.
func TestTerminalPatience(t *testing.T) {
	s := open(t, sbxPath(t), "run", "sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.1; done")
	s.await("ready")
	for range impatience {
		time.Sleep(200 * time.Millisecond)
		_ = s.cmd.Process.Signal(unix.SIGTERM)
	}
	s.await("the sandbox is killed")
	if code := s.awaitEnd(); code != 137 {
		t.Errorf("exit code %d, want 137", code)
	}
	s.awaitRaw(false)
}

// TestTerminalOffline: who looks on while CMD waits for a network is told soon
// that there is none, and once.
func TestTerminalOffline(t *testing.T) {
	need(t, "tool:python3")
	s := open(t, sbxPath(t), "run", "python3", "-c",
		"import socket; socket.socket().connect_ex(('192.0.2.1', 80)); input('waiting'); raise SystemExit(4)")
	s.await("waiting")
	s.await("sbx: CMD tried the network, which it does not have\r\n")
	s.await("hint: ")
	s.typed("\r")
	if code := s.awaitEnd(); code != 4 {
		t.Errorf("exit code %d, want 4", code)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := bytes.Count(s.seen, []byte("tried the network")); n != 1 {
		t.Errorf("told %d times:\n%s", n, s.seen)
	}
}

// TestExplainInATerminal: the plan has the terminal that run would make, here
// and nowhere else.
func TestExplainInATerminal(t *testing.T) {
	sbx := sbxPath(t)
	s := open(t, sbx, "explain", "--", "true")
	s.await("/dev/console")
	s.await("TIOCSCTTY")
	if code := s.awaitEnd(); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	s = open(t, sbx, "explain", "--skip", "session", "--", "true")
	s.awaitEnd()
	out, err := exec.Command(sbx, "explain", "--", "true").Output()
	if err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, text := range map[string][]byte{"without session": s.seen, "into a pipe": out} {
		if bytes.Contains(text, []byte("TIOCSCTTY")) {
			t.Errorf("%s, the plan takes a terminal:\n%s", name, text)
		}
	}
}

// TestNothingLeft: whatever signal ends sbx, and whenever, nothing of the
// sandbox lives on.
func TestNothingLeft(t *testing.T) {
	need(t, "userns")
	sbx := sbxPath(t)
	dir := t.TempDir()
	for i := range 60 {
		sig := []unix.Signal{unix.SIGINT, unix.SIGTERM, unix.SIGKILL}[i%3]
		mark := strconv.Itoa(700000000 + os.Getpid()*100 + i)
		// With exec, since dash loses a SIGINT while it forks, sandbox or not.
		cmd := exec.Command(sbx, "run", "--", "sh", "-c", "sleep "+mark+" & exec sleep "+mark)
		cmd.Dir = dir
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		// From the very start on to where CMD runs.
		time.Sleep(time.Duration(i) * 400 * time.Microsecond)
		_ = cmd.Process.Signal(sig)
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		select {
		case <-ended:
		case <-time.After(20 * time.Second):
			t.Fatalf("%v after %d µs did not end sbx; there are\n%s", sig, i*400, strings.Join(processesWith(mark), "\n"))
		}
		left := processesWith(mark)
		for range 400 { // SIGKILL: the kernel ends the rest a moment later
			if len(left) == 0 {
				break
			}
			time.Sleep(5 * time.Millisecond)
			left = processesWith(mark)
		}
		if len(left) > 0 {
			t.Fatalf("%v after %d µs left processes: %v", sig, i*400, left)
		}
	}
}

// processesWith lists the processes whose command line holds the text.
func processesWith(text string) []string {
	var out []string
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		if _, err := strconv.Atoi(e.Name()); err != nil {
			continue
		}
		line, err := os.ReadFile("/proc/" + e.Name() + "/cmdline")
		if err == nil && bytes.Contains(line, []byte(text)) {
			wait, _ := os.ReadFile("/proc/" + e.Name() + "/wchan")
			out = append(out, e.Name()+": "+strings.ReplaceAll(string(line), "\x00", " ")+"in "+string(wait))
		}
	}
	return out
}

// TestReviewAsksAnew takes nothing for an answer that was typed before the
// question: CMD may have asked for a "y" itself and left it unread.
func TestReviewAsksAnew(t *testing.T) {
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	s := open(t, "sh", "-c", "sbx run --review -- sh -c 'echo x >f; echo Sure?; sleep 1' | cat")
	s.await("Sure?")
	s.typed("y\n")
	s.await("[N]o")
	time.Sleep(100 * time.Millisecond)
	s.typed("n\n")
	s.await("nothing is copied")
	if _, err := os.Stat(s.cmd.Dir + "/f"); err == nil {
		t.Error("what was typed before answered the question")
	}
}

// TestReview answers the questions at the end of a run, each when it stands.
func TestReview(t *testing.T) {
	need(t, "overlay")
	state := t.TempDir()
	t.Setenv("XDG_STATE_HOME", state)
	const plan = `set -e; cd "$(mktemp -d)"; mkdir proj; cd proj; echo 1 >file; pwd; sbx run %s --review -- sh -c '%s'; echo; echo "file $(cat file)," *; cd /; echo all done`
	for _, c := range []struct {
		flags, does string
		answers     []string // "question|answer"
		after       string
	}{
		{"", "echo 2 >file; touch new", []string{"2 changes in the layer of this run:|", "files? [y]es|n"}, "file 1, file"},
		{
			"-T", "echo 2 >file; touch new; touch other",
			[]string{"files? [y]es|s", "Copy the changed|y", "Copy the new|y", "Copy the new|n"},
			"file 2, file new",
		},
		{"-T", "rm file; echo d >x; echo e >file", []string{"files? [y]es|y"}, "file e, file x"},
		{"--out dist", "mkdir dist; echo d >dist/x; echo 3 >file", []string{"sbx: --out: 1 file|", "files? [y]es|y"}, "file 3, dist file"},
		{"", "ln -s ../../root/.bashrc log; touch ok", []string{"log -> ../../root/.bashrc|", "Copy 1 change|y", "a link that leads out|n"}, "file 1, file ok"},
	} {
		s := open(t, "sh", "-c", fmt.Sprintf(plan, c.flags, c.does))
		for _, a := range c.answers {
			question, answer, _ := strings.Cut(a, "|")
			s.await(question)
			if answer != "" {
				s.await("[N]o")
				s.typed(answer + "\n")
			}
		}
		s.await(c.after + "\r\n")
		s.await("all done")
		if names, err := os.ReadDir(state + "/sbx/layers"); err != nil || len(names) > 0 {
			t.Errorf("%s: of the layer stays %v, %v", c.does, names, err)
		}
	}
}
