package sandbox_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox"
	"github.com/sbx-dev/sbx/sandbox/internal/testenv"
)

// marks counts the marks of mark.
var marks atomic.Int64

// mark is a word that only one command line holds: that of one sandbox's CMD,
// and of the launcher, whose specification holds it, and of the child until it
// executes its program, since it has the launcher's memory until then.
func mark() string { return fmt.Sprintf("1000.%d%05d", os.Getpid(), marks.Add(1)) }

// marked are the processes whose command line holds the mark, zombies aside.
func marked(mark string) []int {
	var pids []int
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, name := range files {
		line, err := os.ReadFile(name)
		pid, _ := strconv.Atoi(strings.Split(name, "/")[2])
		if err == nil && pid != os.Getpid() && bytes.Contains(line, []byte(mark)) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// gone is nil when no process holds the mark. Others are ended, so that a test
// that fails leaves nothing behind either.
func gone(t *testing.T, mark string) error {
	t.Helper()
	err := testenv.Settle(func() error {
		if pids := marked(mark); len(pids) > 0 {
			return fmt.Errorf("the processes %v live on", pids)
		}
		return nil
	})
	for _, pid := range marked(mark) {
		line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		err = fmt.Errorf("%w: %d is %.40q, its parent %d", err, pid, line, parentOf(pid))
		_ = unix.Kill(pid, unix.SIGKILL)
	}
	return err
}

// orphanSpecs are sandboxes that are made in different ways.
var orphanSpecs = []struct {
	name  string
	needs []string
	spec  sandbox.Spec
}{
	{"default", nil, sandbox.Spec{}},
	{"uid 0 and capabilities", nil, sandbox.Spec{User: sandbox.User{UID: new(int)}, CapAdd: []string{"all"}}},
	{"CMD is PID 1", nil, sandbox.Spec{AsPID1: true}},
	{"no PID namespace", nil, sandbox.Spec{Skip: []string{"pid", "proc"}}},
	{"nothing at all", nil, only()},
	{"subordinate ids", []string{"subuid"}, sandbox.Spec{User: sandbox.User{UID: new(int), Auto: true}, HideDir: true}},
	{"another mapped uid", []string{"subuid"}, anotherUID()},
}

// anotherUID makes CMD a uid that is not the caller's to the kernel either.
func anotherUID() sandbox.Spec {
	uid := 1
	return sandbox.Spec{User: sandbox.User{UID: &uid, GID: &uid, Auto: true}, HideDir: true}
}

// TestKilledLauncher kills the launcher at random times while it makes a
// sandbox. Whenever it dies, nothing of the sandbox lives on.
func TestKilledLauncher(t *testing.T) {
	needAll(t)
	rounds := 60
	if testing.Short() {
		rounds = 6
	}
	for _, test := range orphanSpecs {
		t.Run(test.name, func(t *testing.T) {
			testenv.Need(t, test.needs...)
			var workers sync.WaitGroup
			for worker := range 3 {
				workers.Go(func() {
					for i := worker; i < rounds; i += 3 {
						killLauncher(t, test.spec, time.Duration(1500+rand.IntN(3_000))*time.Microsecond)
					}
				})
			}
			workers.Wait()
		})
	}
}

func killLauncher(t *testing.T, spec sandbox.Spec, after time.Duration) {
	word := mark()
	spec.Args = []string{"sleep", word}
	text, err := json.Marshal(spec)
	if err != nil {
		t.Error(err)
		return
	}
	cmd := exec.Command(testBinary(), probeWord, "launch", string(text))
	if err := cmd.Start(); err != nil {
		t.Error(err)
		return
	}
	time.Sleep(after)
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if err := gone(t, word); err != nil {
		t.Errorf("killed after %v: %v", after, err)
	}
}

// TestKilledBeforePromise kills the launcher in the moment in which the child
// exists and has not asked yet to die with it: strace(1) holds it there.
func TestKilledBeforePromise(t *testing.T) {
	needAll(t)
	testenv.Need(t, "strace")
	word := mark()
	spec := sandbox.Spec{Args: []string{"sleep", word}}
	text, err := json.Marshal(spec)
	if err != nil {
		t.Fatal(err)
	}
	log := filepath.Join(t.TempDir(), "log")
	cmd := exec.Command("strace", "-f", "-qq", "-o", log, "-e", "trace=prctl", "-e", "signal=none",
		"-e", "inject=prctl:delay_enter=400ms:when=1", testBinary(), probeWord, "launch", string(text))
	cmd.Env = append(os.Environ(), "GODEBUG=decoratemappings=0") // else the Go runtime calls prctl, too
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	// strace holds the mark, the launcher is its child, and the sandbox's child
	// that of the launcher.
	child, launcher := 0, 0
	if err := testenv.Settle(func() error {
		for _, pid := range marked(word) {
			parent := parentOf(pid)
			if parent > 0 && parentOf(parent) == cmd.Process.Pid {
				child, launcher = pid, parent
				return nil
			}
		}
		return errors.New("no child of the launcher")
	}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Kill(launcher, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := testenv.Settle(func() error {
		if alive(child) {
			return fmt.Errorf("the child %d lives on without its launcher", child)
		}
		return nil
	}); err != nil {
		t.Errorf("%v: %s", err, readFile(t, "/proc/"+strconv.Itoa(child)+"/status"))
	}
	if err := gone(t, word); err != nil && !strings.Contains(err.Error(), strconv.Itoa(cmd.Process.Pid)) {
		t.Error(err)
	}
}

func parentOf(pid int) int {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	f := strings.Fields(rest)
	parent, _ := strconv.Atoi(f[1])
	return parent
}

// TestNoProcessOutlivesCMD: what CMD leaves running ends with it, however it has
// detached itself.
func TestNoProcessOutlivesCMD(t *testing.T) {
	needAll(t)
	word := mark()
	c := sandbox.Command("sh", "-c", "setsid sleep $1 & (setsid setsid sleep $1 &) & trap '' HUP TERM; nohup sleep $1 & exit 4", "sh", word)
	var exit *sandbox.ExitError
	if err := c.Run(); !errors.As(err, &exit) || exit.Code != 4 {
		t.Errorf("%v", err)
	}
	if pids := marked(word); len(pids) > 0 {
		t.Errorf("Wait has returned, and the processes %v live on", pids)
	}
}

// TestThreadsThatEnd: the sandbox is bound to the life of the thread that cloned
// it (PR_SET_PDEATHSIG in prctl(2)). Go ends a thread when a goroutine ends
// that is still locked to it, as programs that change namespaces let theirs do.
// A sandbox must not die of that.
func TestThreadsThatEnd(t *testing.T) {
	needAll(t)
	for round := range 10 {
		c := sandbox.Command("sleep", "1000")
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		var ended sync.WaitGroup
		for range 50 {
			ended.Go(func() {
				lockThreadForGood()
				time.Sleep(time.Millisecond)
			})
		}
		ended.Wait()
		time.Sleep(20 * time.Millisecond)
		died := !alive(c.Pid())
		_ = c.Kill()
		_ = c.Wait()
		if died {
			t.Fatalf("round %d: the sandbox died with a thread of the caller", round)
		}
	}
}

// TestKilledByTerminal: a signal to the caller's process group, as Ctrl-C sends
// it, reaches CMD only by the caller's will: it has its own session.
func TestKilledByTerminal(t *testing.T) {
	needAll(t)
	word := mark()
	spec := sandbox.Spec{Args: []string{"sh", "-c", "sleep 0.3; echo done " + word}}
	c := &sandbox.Cmd{Spec: spec}
	cmd := callerCommand(t, c, &syscall.SysProcAttr{Setpgid: true}, "-ignore")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(150 * time.Millisecond)
	if err := unix.Kill(-cmd.Process.Pid, unix.SIGINT); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if !strings.Contains(out.String(), "done "+word) {
		t.Errorf("CMD got the signal: %s", out.String())
	}
}
