package sandbox_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox"
	"github.com/sbx-dev/sbx/sandbox/internal/testenv"
)

// TestSoak makes many sandboxes from several goroutines while the collector
// runs all the time, which is what would find a child that touches memory that
// the launcher has moved on with. Each ends in another way, and says so; when
// all are gone, nothing of them is left.
func TestSoak(t *testing.T) {
	needAll(t)
	const atOnce = 8
	sandboxes := int64(2000)
	if testing.Short() {
		sandboxes = 400
	}
	if err := sandbox.Command("true").Run(); err != nil { // what is made once and kept
		t.Fatal(err)
	}
	before := leftovers(t)

	stop := make(chan struct{})
	var pressure, workers sync.WaitGroup
	pressure.Go(func() {
		var keep [64][]byte
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			keep[i%len(keep)] = make([]byte, 16<<10)
			if i%256 == 0 {
				runtime.GC()
			}
		}
	})
	var next, failures atomic.Int64
	begin := time.Now()
	for range atOnce {
		workers.Go(func() {
			for n := next.Add(1); n <= sandboxes && failures.Load() < 10; n = next.Add(1) {
				ending := endings[n%int64(len(endings))]
				if err := ending.run(int(n)); err != nil {
					failures.Add(1)
					t.Errorf("sandbox %d, %s: %v", n, ending.name, err)
				}
			}
		})
	}
	workers.Wait()
	close(stop)
	pressure.Wait()
	t.Logf("%d sandboxes in %v", sandboxes, time.Since(begin).Round(time.Millisecond))
	if err := testenv.Settle(func() error {
		now := leftovers(t)
		// The threads that clone are kept for the next sandbox: no more than
		// have cloned at the same time.
		if now.goroutines > before.goroutines && now.goroutines <= before.goroutines+atOnce {
			now.goroutines = before.goroutines
		}
		if now != before {
			return fmt.Errorf("left behind: before %+v, now %+v", before, now)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
}

// leftover is what a leak would add to.
type leftover struct{ fds, children, mounts, goroutines int }

func leftovers(t *testing.T) leftover {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	processes, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range processes {
		if p.Name()[0] >= '1' && p.Name()[0] <= '9' {
			if pid := 0; must(fmt.Sscan(p.Name(), &pid)) && parentOf(pid) == os.Getpid() {
				n++
			}
		}
	}
	return leftover{len(fds), n, strings.Count(readFile(t, "/proc/self/mountinfo"), "\n"), runtime.NumGoroutine()}
}

func must(_ int, err error) bool { return err == nil }

// endings are the ways in which a sandbox can end.
var endings = []struct {
	name string
	run  func(n int) error
}{
	{"exit code", func(n int) error {
		code := n % 256
		return ends(sandbox.Command("sh", "-c", fmt.Sprint("exit ", code)), code, 0, sandbox.VerdictExited)
	}},
	{"the code of a signal, without one", func(int) error {
		return ends(sandbox.Command("sh", "-c", "exit 137"), 137, 0, sandbox.VerdictExited)
	}},
	{"signal", func(int) error {
		return ends(sandbox.Command("sh", "-c", "kill -9 $$"), 137, unix.SIGKILL, sandbox.VerdictSignaled)
	}},
	{"program not found", func(int) error {
		c := sandbox.Command("/no/such/program")
		var exec *sandbox.ExecError
		if err := c.Run(); !errors.As(err, &exec) || exec.ExitCode() != 127 || c.Result.Verdict != sandbox.VerdictSetup {
			return fmt.Errorf("%v", err)
		}
		return nil
	}},
	{"timeout", func(int) error {
		c := sandbox.Command("sleep", "1000")
		c.Spec.Timeout = 20 * time.Millisecond
		return ends(c, 124, unix.SIGKILL, sandbox.VerdictTimeout)
	}},
	{"killed at once", func(int) error {
		c := sandbox.Command("sleep", "1000")
		if err := c.Start(); err != nil {
			return err
		}
		if err := c.Kill(); err != nil {
			return err
		}
		return is(c, c.Wait(), 137, unix.SIGKILL, sandbox.VerdictSignaled)
	}},
	{"context ends during the start", func(int) error {
		ctx, cancel := context.WithTimeout(context.Background(), time.Duration(rand.IntN(10_000))*time.Microsecond)
		defer cancel()
		if err := sandbox.CommandContext(ctx, "sleep", "1000").Run(); !errors.Is(err, context.DeadlineExceeded) {
			return fmt.Errorf("%v", err)
		}
		return nil
	}},
	{"input and output", func(n int) error {
		text := bytes.Repeat([]byte{byte(n)}, 100_000)
		c := sandbox.Command("cat")
		c.Stdin = bytes.NewReader(text)
		out, err := c.Output()
		if err != nil || !bytes.Equal(out, text) {
			return fmt.Errorf("%d bytes of %d, %v", len(out), len(text), err)
		}
		return nil
	}},
	{"CMD is PID 1", func(n int) error {
		c := sandbox.Command("sh", "-c", fmt.Sprint("exit ", n%256))
		c.Spec.AsPID1 = true
		return ends(c, n%256, 0, sandbox.VerdictExited)
	}},
	{"spec that cannot be", func(int) error {
		c := sandbox.Command("true")
		c.Spec.Dir = "relative"
		var refused *sandbox.SpecError
		if err := c.Run(); !errors.As(err, &refused) {
			return fmt.Errorf("%v", err)
		}
		return nil
	}},
}

// ends runs a sandbox and compares how it ended.
func ends(c *sandbox.Cmd, code int, signal unix.Signal, verdict string) error {
	return is(c, c.Run(), code, signal, verdict)
}

func is(c *sandbox.Cmd, err error, code int, signal unix.Signal, verdict string) error {
	var exit *sandbox.ExitError
	switch r := c.Result; {
	case r == nil:
		return fmt.Errorf("no result: %w", err)
	case r.Code != code || r.Signal != signal || r.Verdict != verdict:
		return fmt.Errorf("code %d, signal %d, %s (%v); want %d, %d, %s", r.Code, r.Signal, r.Verdict, err, code, signal, verdict)
	case (err == nil) != (code == 0):
		return fmt.Errorf("the error of code %d is %w", code, err)
	case err != nil && !errors.As(err, &exit):
		return fmt.Errorf("%w is no ExitError", err)
	}
	return nil
}
