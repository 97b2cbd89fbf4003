package sandbox_test

import (
	"bytes"
	"errors"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox"
	"github.com/sbx-dev/sbx/sandbox/internal/testenv"
)

// plain is a CMD whose sandbox is made with clone(2), as where a filter answers
// ENOSYS to clone3.
func plain(t *testing.T, args ...string) *sandbox.Cmd {
	t.Helper()
	c := sandbox.Command(args[0], args[1:]...)
	f, err := sandbox.Probe(&c.Spec)
	if err != nil {
		t.Fatal(err)
	}
	f.NoClone3 = true
	c.Features = f
	return c
}

// TestPlainClone: what clone3 makes clone makes as well, and the trace tells
// which it was.
func TestPlainClone(t *testing.T) {
	needAll(t)
	for name, change := range map[string]func(*sandbox.Cmd){
		"default":       func(*sandbox.Cmd) {},
		"CMD is PID 1":  func(c *sandbox.Cmd) { c.Spec.AsPID1 = true },
		"no namespaces": func(c *sandbox.Cmd) { c.Spec.Skip = []string{"user"}; c.Spec, _ = c.Spec.Resolve() },
		"ranges": func(c *sandbox.Cmd) {
			testenv.Need(t, "subuid")
			c.Spec.User.Auto = true
		},
	} {
		t.Run(name, func(t *testing.T) {
			for _, traced := range []bool{false, true} {
				c := plain(t, "sh", "-c", "kill -USR1 $$; exit 3")
				change(c)
				var first sandbox.Event
				if traced {
					c.Trace = func(e sandbox.Event) {
						if first.Call == "" {
							first = e
						}
					}
				}
				// The launcher's own handlers are CMD's no more. PID 1 has none for
				// the kernel to kill it by.
				want := 128 + int(unix.SIGUSR1)
				if c.Spec.AsPID1 {
					want = 3
				}
				var exit *sandbox.ExitError
				if err := c.Run(); !errors.As(err, &exit) || exit.Code != want {
					t.Fatalf("traced %v: %v, want %d", traced, err, want)
				}
				if traced && (!strings.HasPrefix(first.Call, "clone(CLONE_VFORK") && !strings.HasPrefix(first.Call, "clone(CLONE_VM") || first.Result <= 0) {
					t.Errorf("the first event is %+v", first)
				}
			}
		})
	}
}

// TestPlainCloneSoak is TestSoak for the fallback: many at once under a
// collector that never rests.
func TestPlainCloneSoak(t *testing.T) {
	needAll(t)
	done := make(chan struct{})
	var gc, work sync.WaitGroup
	gc.Go(func() {
		var keep [64][]byte
		for i := 0; ; i++ {
			select {
			case <-done:
				return
			default:
				keep[i%len(keep)] = bytes.Repeat([]byte{1}, 16<<10)
				if i%256 == 0 {
					runtime.GC()
				}
			}
		}
	})
	var next atomic.Int64
	for range 6 {
		work.Go(func() {
			for n := next.Add(1); n <= 300 && !t.Failed(); n = next.Add(1) {
				c := plain(t, "sh", "-c", "exit 9")
				c.Spec.AsPID1 = n%5 == 0
				var exit *sandbox.ExitError
				if err := c.Run(); !errors.As(err, &exit) || exit.Code != 9 {
					t.Errorf("sandbox %d: %v, want exit 9", n, err)
				}
			}
		})
	}
	work.Wait()
	close(done)
	gc.Wait()
}
