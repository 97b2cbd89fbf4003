package sandbox_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox"
)

// launchAttacks are on what a process inherits: environment, open files,
// session and limits.
var launchAttacks = []attack{
	{
		step: "env", name: "a secret of the environment",
		run: func(t *testing.T, c *sandbox.Cmd) (bool, string) {
			t.Setenv("SBX_TEST_TOKEN", aSecret)
			return tells(aSecret, "env")(t, c)
		},
	},
	{
		// PID 1 has CMD's environment, never the caller's, so there is no time
		// at which /proc/1/environ could be read with profit.
		step: "env", name: "a secret in the environ of PID 1",
		beside: []string{"proc"},
		run: func(t *testing.T, c *sandbox.Cmd) (bool, string) {
			t.Setenv("SBX_TEST_TOKEN", aSecret)
			c.Spec.AsPID1 = true
			return tells(aSecret, "sh", "-c", "tr '\\0' '\\n' </proc/1/environ")(t, c)
		},
	},
	{
		step: "fds", name: "an open file",
		run: func(t *testing.T, c *sandbox.Cmd) (bool, string) {
			fd := inheritable(t, homeFile(t), unix.O_RDONLY)
			_, said := says(t, inside(c, "readfd", strconv.Itoa(fd)))
			return strings.Contains(said, aSecret), said
		},
	},
	{
		step: "fds", name: "an open folder",
		run: func(t *testing.T, c *sandbox.Cmd) (bool, string) {
			secret := homeFile(t)
			fd := inheritable(t, filepath.Dir(secret), unix.O_RDONLY|unix.O_DIRECTORY)
			_, said := says(t, inside(c, "readfd", strconv.Itoa(fd), "secret"))
			return strings.Contains(said, aSecret), said
		},
	},
	{
		// kill(0) goes to the caller's process group, which is CMD's too.
		step: "session", name: "kill the caller's process group",
		run: func(t *testing.T, c *sandbox.Cmd) (bool, string) {
			said := asCaller(t, inside(c, "kill", "0", "9"), &syscall.SysProcAttr{Setpgid: true})
			return !strings.Contains(said, "the caller lives"), said
		},
	},
	{
		step: "session", name: "open the controlling terminal",
		run: func(t *testing.T, c *sandbox.Cmd) (bool, string) {
			said := onTerminal(t, inside(c, "terminal", "open"))
			return strings.Contains(said, "the terminal is mine"), said
		},
	},
	{
		// CVE-2017-5226: what is pushed into the terminal's input is read by
		// the caller's shell when the sandbox is gone.
		step: "session", name: "type into the terminal", needs: []string{"tiocsti"},
		run: func(t *testing.T, c *sandbox.Cmd) (bool, string) {
			said := onTerminal(t, inside(c, "terminal", "type", "rm -rf"))
			return strings.Contains(said, "rm -rf"), said
		},
	},
	{
		step: "rlimits", name: "a fork bomb", beside: []string{"user"},
		spec: func(s *sandbox.Spec) {
			s.Rlimits = []sandbox.Rlimit{{Name: "nproc", Soft: 30, Hard: 30}}
		},
		run: func(t *testing.T, c *sandbox.Cmd) (bool, string) { return says(t, inside(c, "forks", "40")) },
	},
	{
		step: "rlimits", name: "a core file on the host", needs: []string{"corefiles"},
		run: func(t *testing.T, c *sandbox.Cmd) (bool, string) {
			return says(t, inside(c, "rlimit", strconv.Itoa(unix.RLIMIT_CORE)))
		},
	},
}

// inheritable opens a file as careless code does, without close-on-exec.
func inheritable(t *testing.T, name string, flags int) int {
	t.Helper()
	fd, err := unix.Open(name, flags, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

// onTerminal runs the sandbox from a process that has a terminal of its own, as
// a shell's command does, and returns what appeared on it: what programs wrote,
// and the echo of what was typed.
func onTerminal(t *testing.T, c *sandbox.Cmd) string {
	t.Helper()
	cmd := callerCommand(t, c, nil)
	terminal, err := pty.Start(cmd) // a session with this terminal
	if err != nil {
		t.Fatal(err)
	}
	defer terminal.Close()
	var seen strings.Builder
	read := make(chan struct{})
	go func() {
		defer close(read)
		buf := make([]byte, 4096)
		for {
			n, err := terminal.Read(buf)
			seen.Write(buf[:n])
			if err != nil {
				return // EIO: the last process with the terminal is gone
			}
		}
	}()
	err = cmd.Wait()
	<-read
	return fmt.Sprintf("%s (%v)", strings.TrimSpace(seen.String()), err)
}

// TestPassedFiles: a descriptor through which CMD could leave is refused before
// anything runs, whatever its number.
func TestPassedFiles(t *testing.T) {
	dir := t.TempDir()
	folder, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer folder.Close()
	file := writeFile(t, filepath.Join(dir, "file"), "")
	fd, err := unix.Open(file, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	pathOnly := os.NewFile(uintptr(fd), file)
	defer pathOnly.Close()
	for _, test := range []struct {
		what string
		file *os.File
	}{{"a folder", folder}, {"opened with O_PATH", pathOnly}} {
		for number := range 5 {
			c := sandbox.Command("true")
			switch number {
			case 0:
				c.Stdin = test.file
			case 1:
				c.Stdout = test.file
			case 2:
				c.Stderr = test.file
			default:
				for range number - 3 {
					null, err := os.Open(os.DevNull)
					if err != nil {
						t.Fatal(err)
					}
					defer null.Close()
					c.ExtraFiles = append(c.ExtraFiles, null)
				}
				c.ExtraFiles = append(c.ExtraFiles, test.file)
			}
			var refused *sandbox.FileError
			if err := c.Run(); !errors.As(err, &refused) || refused.FD != number || refused.What != test.what {
				t.Errorf("%s as descriptor %d: %v", test.what, number, err)
			}
		}
	}
	closed, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	c := sandbox.Command("true")
	c.ExtraFiles = []*os.File{closed}
	var refused *sandbox.FileError
	if err := c.Run(); !errors.As(err, &refused) {
		t.Errorf("a closed file: %v", err)
	}
}

// TestBlockDeviceRefused looks for a block device that this user may open,
// which a test machine rarely has; where there is none the kind alone is known.
func TestBlockDeviceRefused(t *testing.T) {
	devices, err := filepath.Glob("/dev/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range devices {
		if info, err := os.Stat(name); err != nil || info.Mode()&os.ModeDevice == 0 || info.Mode()&os.ModeCharDevice != 0 {
			continue
		}
		f, err := os.Open(name)
		if err != nil {
			continue
		}
		defer f.Close()
		c := sandbox.Command("true")
		c.Stdin = f
		var refused *sandbox.FileError
		if err := c.Run(); !errors.As(err, &refused) || refused.What != "a block device" {
			t.Errorf("%s as standard input: %v", name, err)
		}
		return
	}
	t.Skip("this user may open no block device")
}

// shadowEntry is an attack that succeeds when a setuid program gets the rights
// of root: passwd -S reads the dates in /etc/shadow, and without that right it
// prints the name alone.
func shadowEntry(t *testing.T, c *sandbox.Cmd) (bool, string) {
	path, err := exec.LookPath("passwd")
	if err != nil {
		t.Fatal(err)
	}
	c.Spec.Args = []string{path, "-S"}
	ok, said := says(t, c)
	return ok && len(strings.Fields(said)) > 2, said
}
