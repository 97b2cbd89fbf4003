package observe

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox/internal/testenv"
)

// A program file without the right to read it makes its process non-dumpable:
// a user may not see its environment nor its files, but their numbers.
func TestSnapshotOfNonDumpable(t *testing.T) {
	testenv.Need(t) // root reads what a user may not
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(sleep)
	if err != nil {
		t.Fatal(err)
	}
	hidden := filepath.Join(t.TempDir(), "sleep")
	if err := os.WriteFile(hidden, program, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(hidden, 0o111); err != nil {
		t.Fatal(err)
	}
	pid := start(t, false, nil, "sh", "-c", `echo ready; exec "$0" 60`, hidden)
	v := waitFor(t, pid, func(v *View) bool { return v.Comm == "sleep" })
	for _, part := range []string{"environment", "fds"} {
		if u := v.unread(part); u == nil || u.Reason != "EACCES" || !strings.HasPrefix(u.Path, v.path("")) {
			t.Errorf("%s: %+v", part, u)
		}
	}
	if v.Environment != nil || v.NoNewPrivileges || len(v.Mounts) == 0 || len(v.Rlimits) == 0 {
		t.Errorf("environment %v, %d mounts, %d limits", v.Environment, len(v.Mounts), len(v.Rlimits))
	}
	text := ""
	for _, c := range Diff(self(t), v) {
		text += c.Sentence + "\n"
	}
	if !strings.Contains(text, "the environment cannot be compared: the second look could not read it (EACCES)") {
		t.Error(text)
	}
}

// What stands in the place of /proc may be a trap. None of these may lead the
// observer out of the process's root, nor make it wait.
func TestSnapshotOfHostileProc(t *testing.T) {
	for _, c := range []struct {
		name   string
		set    func(t *testing.T, root string)
		reason string // in Unreadable for processes, nothing when they are an empty list
	}{
		{"no /proc", func(*testing.T, string) {}, ""},
		{"a link to the observer's /proc", func(t *testing.T, root string) {
			if err := os.Symlink("/proc", filepath.Join(root, "proc")); err != nil {
				t.Fatal(err)
			}
		}, "ENOTDIR"},
		{"a file", func(t *testing.T, root string) {
			if err := os.WriteFile(filepath.Join(root, "proc"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}, "ENOTDIR"},
		{"a folder with FIFOs", func(t *testing.T, root string) {
			if err := os.MkdirAll(filepath.Join(root, "proc", "1"), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := unix.Mkfifo(filepath.Join(root, "proc", "1", "comm"), 0o600); err != nil {
				t.Fatal(err)
			}
		}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			root := t.TempDir()
			c.set(t, root)
			program, err := os.Executable()
			if err != nil {
				t.Fatal(err)
			}
			pid := start(t, false, []string{"OBSERVE_TEST_CHROOT=" + root}, "unshare", "-Ur", program)
			v := snapshotWithin(t, pid)
			if v.Root != root {
				t.Errorf("root %q, want %q", v.Root, root)
			}
			u := v.unread("processes")
			switch {
			case c.reason == "" && (u != nil || v.Processes == nil || len(v.Processes) != 0):
				t.Errorf("it sees %v, %+v", v.Processes, u)
			case c.reason != "" && (u == nil || u.Reason != c.reason || v.Processes != nil):
				t.Errorf("it sees %v, %+v", v.Processes, u)
			}
		})
	}
}

// A FIFO mounted over a file of a real /proc is not opened either.
func TestSnapshotOfCoveredComm(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	pid := start(t, true, nil, "unshare", "-Urmpf", "--kill-child", "--mount-proc", "sh", "-c",
		`mount --bind "$0" /proc/1/comm && echo ready && exec sleep 60`, fifo)
	v := snapshotWithin(t, pid)
	if len(v.Processes) != 1 || v.Processes[0] != (Process{PID: 1}) {
		t.Errorf("it sees %+v", v.Processes)
	}
	if u := v.unread("processes"); u == nil || u.Reason != "EXDEV" {
		t.Errorf("not readable: %+v", v.Unreadable)
	}
}

func snapshotWithin(t *testing.T, pid int) *View {
	t.Helper()
	type answer struct {
		view *View
		err  error
	}
	done := make(chan answer, 1)
	go func() {
		v, err := Snapshot(pid)
		done <- answer{v, err}
	}()
	select {
	case a := <-done:
		if a.err != nil {
			t.Fatal(a.err)
		}
		return a.view
	case <-time.After(5 * time.Second):
		t.Fatal("the look hangs")
		return nil
	}
}
