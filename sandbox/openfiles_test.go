package sandbox_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox"
	"github.com/sbx-dev/sbx/sandbox/internal/testenv"
)

// TestOpenFiles: CMD has the limits of open files of this process as it was
// started, which Go's runtime has raised since; a program's own choice stands.
func TestOpenFiles(t *testing.T) {
	testenv.Need(t, "userns")
	const ask = "ulimit -Sn; ulimit -Hn"
	if os.Getenv("SBX_OPEN_FILES") == "" {
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("sh", "-c", `ulimit -Sn 345 && ulimit -Hn 999 && exec "$0" -test.run='^TestOpenFiles$'`, self)
		cmd.Env = append(os.Environ(), "SBX_OPEN_FILES=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
		return
	}
	limits := func(change func(*sandbox.Spec)) string {
		c := sandbox.Command("/bin/sh", "-c", ask)
		c.Spec.HideDir = true
		change(&c.Spec)
		out, err := c.Output()
		if err != nil {
			t.Errorf("%v: %s", err, out)
		}
		return strings.Join(strings.Fields(string(out)), " ")
	}
	for name, test := range map[string]struct {
		change func(*sandbox.Spec)
		want   string
	}{
		"default":              {func(*sandbox.Spec) {}, "345 999"},
		"rlimits skipped":      {func(s *sandbox.Spec) { s.Skip = []string{"rlimits"} }, "345 999"},
		"nothing but the user": {func(s *sandbox.Spec) { s.Skip, _ = sandbox.Only([]string{"user"}) }, "345 999"},
		"asked for":            {func(s *sandbox.Spec) { s.Rlimits = []sandbox.Rlimit{{Name: "nofile", Soft: 400, Hard: 401}} }, "400 401"},
	} {
		if got := limits(test.change); got != test.want {
			t.Errorf("%s: %s, want %s", name, got, test.want)
		}
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 500, Max: 998}); err != nil {
		t.Fatal(err)
	}
	if got := limits(func(*sandbox.Spec) {}); got != "500 998" {
		t.Errorf("set by the program itself: %s, want 500 998", got)
	}
}
