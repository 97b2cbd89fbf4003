package nofile_test

import (
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox/internal/nofile"
)

// TestOriginal executes this test with a soft limit that nothing else has.
func TestOriginal(t *testing.T) {
	if os.Getenv("SBX_NOFILE") != "" {
		soft, hard := nofile.Original()
		var now unix.Rlimit
		if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &now); err != nil {
			t.Fatal(err)
		}
		if soft != 123 || hard != now.Max {
			t.Errorf("the limits at the start were %d and %d, now %d and %d", soft, hard, now.Cur, now.Max)
		}
		if now.Cur == 123 {
			t.Error("Go has not raised the limit: this package is not needed any more")
		}
		return
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sh", "-c", `ulimit -Sn 123 && exec "$0" -test.run=TestOriginal`, self)
	cmd.Env = append(os.Environ(), "SBX_NOFILE=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	// And in this very process, what os/exec gives to others.
	soft, _ := nofile.Original()
	out, err := exec.Command("sh", "-c", "ulimit -Sn").Output()
	if want := strconv.FormatUint(soft, 10); err != nil || strings.TrimSpace(string(out)) != want && soft < 1<<62 {
		t.Errorf("a program has the limit %s, want %s: %v", out, want, err)
	}
}
