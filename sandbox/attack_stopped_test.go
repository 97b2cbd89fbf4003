package sandbox_test

import (
	"errors"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox"
	"github.com/sbx-dev/sbx/sandbox/internal/testenv"
)

// probeFreeze stops PID 1 and ends. From inside, PID 1 ignores SIGSTOP, unless a
// tracer hands it on.
func probeFreeze([]string) error {
	runtime.LockOSThread()
	if err := unix.PtraceAttach(1); err != nil {
		return err
	}
	var ws unix.WaitStatus
	if _, err := unix.Wait4(1, &ws, unix.WALL, nil); err != nil {
		return err
	}
	return unix.PtraceCont(1, int(unix.SIGSTOP))
}

// TestStoppedInit: a CMD that was given the right to trace PID 1 stops it for
// good, so that nobody reaps CMD or tells of its end. The sandbox ends all the
// same. Without the right it ends with what CMD said.
func TestStoppedInit(t *testing.T) {
	testenv.Need(t, "userns")
	for _, test := range []struct {
		name    string
		change  func(*sandbox.Spec)
		stopped bool
	}{
		{"caps skipped", func(s *sandbox.Spec) { s.Skip = []string{"caps", "seccomp"}; s.User.UID = new(int) }, true},
		{"the capability", func(s *sandbox.Spec) { s.Skip = []string{"seccomp"}; s.CapAdd = []string{"SYS_PTRACE"} }, true},
		{"uid 0", func(s *sandbox.Spec) { s.Skip = []string{"seccomp"}; s.User.UID = new(int) }, false},
		{"seccomp skipped", func(s *sandbox.Spec) { s.Skip = []string{"seccomp"} }, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := &sandbox.Cmd{}
			test.change(&c.Spec)
			c = inside(c, "freeze", "1")
			var out strings.Builder
			c.Stdout = &out
			begin := time.Now()
			ended := make(chan error, 1)
			go func() { ended <- c.Run() }()
			var err error
			select {
			case err = <-ended:
			case <-time.After(10 * time.Second):
				_ = c.Kill()
				t.Fatalf("the sandbox has not ended: %s", &out)
			}
			var exit *sandbox.ExitError
			if !errors.As(err, &exit) {
				t.Fatalf("%v: %s", err, &out)
			}
			if test.stopped {
				if exit.Code != 137 || !strings.Contains(exit.Evidence, "PID 1") {
					t.Errorf("after %v: code %d, evidence %q: %s", time.Since(begin), exit.Code, exit.Evidence, &out)
				}
			} else if exit.Code != 1 || !strings.Contains(out.String(), "EPERM") {
				t.Errorf("code %d: %s", exit.Code, &out)
			}
		})
	}
}
