package sandbox_test

import (
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox"
)

// privilegeAttacks are on what a program may do that others may not.
var privilegeAttacks = []attack{
	{
		step: "caps", name: "change the host name", beside: []string{"user", "uts"}, spec: asRoot,
		run: func(t *testing.T, c *sandbox.Cmd) (bool, string) { return says(t, inside(c, "hostname")) },
	},
	{
		// uid 0 gains everything again at execve: what counts is that the
		// bounding set is empty.
		step: "caps", name: "mount", beside: []string{"user", "mount"}, spec: asRoot,
		run: func(t *testing.T, c *sandbox.Cmd) (bool, string) {
			return says(t, inside(c, "call", strconv.Itoa(unix.SYS_MOUNT), "page:tmpfs", "page:/mnt", "page:tmpfs", "0", "0"))
		},
	},
	{
		step: "nnp", name: "run a setuid program", needs: []string{"setuid"},
		run: shadowEntry,
	},
}

// asRoot makes CMD uid 0 of its user namespace, whose capabilities come back at
// each execve.
func asRoot(s *sandbox.Spec) { s.User.UID = new(int) }

// TestSkippedCapsAreKept: without the step CMD has every capability of its user
// namespace, whatever its uid: else skipping it would show nothing.
func TestSkippedCapsAreKept(t *testing.T) {
	needAll(t)
	for name, change := range map[string]func(*sandbox.Spec){"the caller's uid": func(*sandbox.Spec) {}, "uid 0": asRoot} {
		t.Run(name, func(t *testing.T) {
			spec := sandbox.Spec{Args: []string{"grep", "-c", "^Cap\\(Eff\\|Prm\\):.*[^0]", "/proc/self/status"}, Skip: []string{"caps"}}
			change(&spec)
			if _, said := says(t, &sandbox.Cmd{Spec: spec}); !strings.HasPrefix(said, "2") {
				t.Errorf("sets with a capability: %s", said)
			}
		})
	}
}

// TestNoCapabilities holds that all five sets are empty, of CMD and of PID 1.
func TestNoCapabilities(t *testing.T) {
	needAll(t)
	c := sandbox.Command("grep", "-h", "^Cap", "/proc/self/status", "/proc/1/status")
	ok, said := says(t, c)
	if !ok || strings.Count(said, "Cap") != 10 {
		t.Fatalf("%s", said)
	}
	for line := range strings.Lines(said) {
		if f := strings.Fields(line); f[1] != "0000000000000000" {
			t.Errorf("%s", line)
		}
	}
}
