package rawfork

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sbx-dev/sbx/sandbox/internal/testenv"
)

// TestInitClosesPipes: the reader of CMD's stdout sees the end while PID 1 and
// CMD still live. It also looks at the live PID 1 from outside.
func TestInitClosesPipes(t *testing.T) {
	stdin, hold, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer hold.Close()
	out, stdout, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	r := shell("echo said; exec >&-; read x; exit 4")
	r.cmd = &exec.Cmd{Stdin: stdin, Stdout: stdout}
	r.start(t)
	stdin.Close()
	stdout.Close()
	r.started(t)
	if err := out.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	said, err := io.ReadAll(out)
	if err != nil || string(said) != "said\n" {
		t.Errorf("read %q, %v", said, err)
	}

	proc := fmt.Sprintf("/proc/%d/", r.cmd.Process.Pid)
	if comm, err := os.ReadFile(proc + "comm"); err != nil || string(comm) != "sbx-init\n" {
		t.Errorf("PID 1 is called %q (%v)", comm, err)
	}
	if cwd, err := os.Readlink(proc + "cwd"); err != nil || cwd != "/" {
		t.Errorf("PID 1's working folder is %q (%v)", cwd, err)
	}
	fds, err := os.ReadDir(proc + "fdinfo")
	if err != nil || len(fds) != 1 || fds[0].Name() != strconv.Itoa(stageSocket) {
		t.Errorf("PID 1 has the descriptors %v (%v), want only the socket", fds, err)
	}
	rollup, err := os.ReadFile(proc + "smaps_rollup")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^Pss:\s+(\d+) kB$`).FindSubmatch(rollup)
	if m == nil {
		t.Fatalf("no Pss in %s", rollup)
	}
	if kb, _ := strconv.Atoi(string(m[1])); kb > 50 {
		t.Errorf("PID 1 uses %d KB", kb)
	}
	t.Logf("PID 1 uses %s KB", m[1])

	hold.Close()
	if got, want := r.finish(t), []InitMessage{{InitWaitStatus, 4 << 8}}; !slices.Equal(got, want) {
		t.Errorf("messages %v, want %v", got, want)
	}
}

// TestInitAddress looks where the kernel put the program, which works at
// different addresses: nothing in it is absolute.
func TestInitAddress(t *testing.T) {
	testenv.Want(t, "aslr")
	seen := map[string]bool{}
	for range 3 {
		r := shell("read x; exit 6")
		stdin, hold, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		r.cmd = &exec.Cmd{Stdin: stdin}
		r.start(t)
		stdin.Close()
		r.started(t)
		maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", r.cmd.Process.Pid))
		if err != nil {
			t.Fatal(err)
		}
		m := regexp.MustCompile(`(?m)^([0-9a-f]+)-[0-9a-f]+ r-xp .* (/memfd:sbx-init|/.*/#\d+) \(deleted\)$`).FindSubmatch(maps)
		if m == nil {
			t.Fatalf("no text of init in:\n%s", maps)
		}
		seen[string(m[1])] = true
		if regexp.MustCompile(`(?m)^\S+ .wx`).Match(maps) {
			t.Errorf("memory that can be written and executed:\n%s", maps)
		}
		hold.Close()
		if got, want := r.finish(t), []InitMessage{{InitWaitStatus, 6 << 8}}; !slices.Equal(got, want) {
			t.Errorf("messages %v, want %v", got, want)
		}
	}
	if len(seen) < 2 {
		t.Errorf("three runs were all at %v", seen)
	}
}

// TestInitCalls compares what strace(1) saw with the list in init.go.
func TestInitCalls(t *testing.T) {
	testenv.Want(t, "strace")
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Fatal(err)
	}
	log := filepath.Join(t.TempDir(), "log")
	r := shell(":")
	r.candidates = []string{"/nonexistent", "/bin/true"}
	r.opts.NewProcessGroup, r.opts.WaitForAck = true, true
	r.under = []string{strace, "-f", "-o", log}
	r.mapRoot = true // only a tracer with CAP_SYS_PTRACE reads a path there
	r.start(t)
	p, ok := r.next(t)
	if !ok {
		r.finish(t)
		t.Fatalf("strace cannot trace here: %s", &r.stderr)
	}
	if p.Kind != InitStarted {
		t.Fatalf("first message %v", p.Kind)
	}
	r.ack(t)
	if got, want := r.finish(t), []InitMessage{{InitWaitStatus, 0}}; !slices.Equal(got, want) {
		t.Errorf("messages %v, want %v", got, want)
	}
	text, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	// Every line begins with a pid. A call during which another process does
	// something is shown twice, the second time as "<... NAME resumed>".
	executed := regexp.MustCompile(`(?m) execveat(\(| resumed>).* = 0$`).FindIndex(text)
	if executed == nil {
		t.Fatalf("no execveat that succeeded in:\n%s", text)
	}
	text = text[executed[1]:]
	calls := map[string][]string{}
	var pids []string
	for _, m := range regexp.MustCompile(`(?m)^(\d+) +(\w+)\(([^,)\n]*)`).FindAllStringSubmatch(string(text), -1) {
		pid, name := m[1], m[2]
		if !slices.Contains(pids, pid) {
			pids = append(pids, pid)
		}
		if name == "prctl" || name == "execve" || name == "faccessat" {
			name += " " + m[3]
		}
		calls[pid] = append(calls[pid], name)
	}
	if len(pids) != 2 {
		t.Fatalf("calls of %v, want two processes:\n%s", pids, text)
	}
	parent, child := calls[pids[0]], calls[pids[1]]
	wantParent := "prctl PR_SET_DUMPABLE, prctl PR_SET_NAME, rt_sigaction, fcntl, clone, close_range, close_range, chdir, wait4, write, exit_group"
	wantChild := `setpgid, write, read, rt_sigprocmask, execve "/nonexistent", faccessat AT_FDCWD, execve "/bin/true"`
	if got := strings.Join(parent, ", "); got != wantParent {
		t.Errorf("PID 1 called\n%s, want\n%s, in:\n%s", got, wantParent, text)
	}
	if got := strings.Join(child[:min(7, len(child))], ", "); got != wantChild {
		t.Errorf("CMD's process called\n%s, want\n%s, in:\n%s", got, wantChild, text)
	}
}
