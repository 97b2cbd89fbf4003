package sandbox

import (
	"errors"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox/landlock"
)

// TestTryStep tries each step on this machine. A step that fails here would
// fail every other test too, so the reason is this test's message.
func TestTryStep(t *testing.T) {
	for _, name := range StepNames() {
		trial := TryStep(name)
		if trial.State == Fails || trial.Err != nil {
			t.Errorf("%s: %s\nhint: %s", name, trial.Detail, trial.Hint)
		}
		for _, needed := range trial.Needed {
			if !LookupStep(name).Requires(needed) {
				t.Errorf("%s was tried with %s, which it does not need", name, needed)
			}
		}
	}
}

// TestTryStepThatFails tries a step in a place where what it needs is refused.
func TestTryStepThatFails(t *testing.T) {
	if os.Getenv("SANDBOX_TEST_TRY") != "" {
		trial := TryStep("proc")
		_, _ = os.Stdout.WriteString(trial.State + " " + trial.Blamed + " " + trial.Detail + " " + trial.Hint + "\n")
		os.Exit(0)
	}
	t.Setenv("SANDBOX_TEST_TRY", "1")
	out := imitated(t, "", "-Ur", `echo 0 >/proc/sys/user/max_user_namespaces; exec "$1" -test.run=^TestTryStepThatFails$`)
	wantIn(t, out, "fails user needs user, which fails", "user.max_user_namespaces is 0")
	out = imitated(t, "", "-Urm", `mount --bind /dev/null /proc/keys; exec "$1" -test.run=^TestTryStepThatFails$`)
	wantIn(t, out, "fails proc proc: mount(", "an outer container masks /proc")
}

func TestTryStepOfNoName(t *testing.T) {
	trial := TryStep("procc")
	var spec *SpecError
	if trial.State != Fails || !errors.As(trial.Err, &spec) || !strings.Contains(trial.Detail, `"procc"`) {
		t.Errorf("%+v", trial)
	}
}

func TestLostRights(t *testing.T) {
	wish := landlock.Ruleset{FS: landlock.AllFS(), Net: unix.LANDLOCK_ACCESS_NET_BIND_TCP, Scope: unix.LANDLOCK_SCOPE_SIGNAL}
	for abi, want := range map[int]string{
		1: "rules for paths (they need ABI 2), truncate (ABI 3), TCP ports (ABI 4), ioctl on devices (ABI 5), scopes for signals and abstract sockets (ABI 6)",
		3: "TCP ports (ABI 4), ioctl on devices (ABI 5), scopes for signals and abstract sockets (ABI 6)",
		5: "scopes for signals and abstract sockets (ABI 6)",
		6: "",
	} {
		_, lost := landlock.Downgrade(wish, abi)
		if got := lostRights(lost); got != want {
			t.Errorf("ABI %d: %q, want %q", abi, got, want)
		}
	}
}
