package sandbox_test

import (
	"os"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox"
)

// landlockAttacks are ways that mounts do not stop.
var landlockAttacks = []attack{
	{
		step: "landlock", name: "read the caller's home below the host's root",
		run: func(t *testing.T, c *sandbox.Cmd) (bool, string) {
			return tells(aSecret, "cat", homeFile(t))(t, c)
		},
	},
	{
		step: "landlock", name: "write to the caller's home below the host's root",
		run: func(t *testing.T, c *sandbox.Cmd) (bool, string) {
			file := homeFile(t)
			c.Spec.Args = []string{"sh", "-c", "echo changed >" + file}
			_, said := says(t, c)
			return readFile(t, file) != aSecret, said
		},
	},
	{
		step: "landlock", name: "overwrite the file that is standard input", needs: []string{"landlock:truncate"},
		run: overwritesStdin,
	},
	{
		// The same in a sandbox that has everything else: a descriptor's file
		// has no mount of the sandbox that could be read-only.
		step: "landlock", name: "overwrite standard input in a full sandbox", needs: []string{"landlock:truncate"},
		beside: []string{"env", "fds", "root", "overlay", "proc", "dev", "session", "caps", "uts", "ipc", "net", "cgroup"},
		run:    overwritesStdin,
	},
	{
		step: "landlock", name: "connect to an abstract socket of the host", needs: []string{"landlock:scope"},
		spec: func(s *sandbox.Spec) { s.Net = "host" },
		run: func(t *testing.T, c *sandbox.Cmd) (bool, string) {
			_, said := says(t, inside(c, "dial", listener(t, abstractName())))
			return strings.Contains(said, aSecret), said
		},
	},
	{
		step: "landlock", name: "kill a process of the caller", needs: []string{"landlock:scope"},
		run: func(t *testing.T, c *sandbox.Cmd) (bool, string) {
			v := victim(t)
			return says(t, inside(c, "kill", strconv.Itoa(v.Process.Pid), "0"))
		},
	},
}

// overwritesStdin gives CMD a file of the caller's for reading, which the
// caller could open for writing by its name: so can CMD, as /proc/self/fd/0.
func overwritesStdin(t *testing.T, c *sandbox.Cmd) (bool, string) {
	file := homeFile(t)
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	c.Stdin = f
	_, said := says(t, inside(c, "overwrite"))
	return readFile(t, file) != aSecret, said
}

// TestStdioStaysUsable: the rules for the descriptors give back what they were
// opened with, so that a program that opens /dev/stdin or /dev/stdout works.
func TestStdioStaysUsable(t *testing.T) {
	needAll(t)
	in, err := os.Open(homeFile(t))
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.CreateTemp(t.TempDir(), "out")
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	c := sandbox.Command("sh", "-c", "cat /dev/stdin >/dev/stdout")
	c.Stdin, c.Stdout = in, out
	if err := c.Run(); err != nil {
		t.Fatal(err)
	}
	if text := readFile(t, out.Name()); text != aSecret {
		t.Errorf("standard output holds %q", text)
	}
}

// TestDescriptorRights: what Landlock cannot hold. fchmod and futimens on a
// passed descriptor change the host's file, as security.md says; writing does
// not.
func TestDescriptorRights(t *testing.T) {
	needAll(t)
	file := homeFile(t)
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	c := sandbox.Command("true")
	c.Stdin = f
	if ok, said := says(t, inside(c, "call", strconv.Itoa(unix.SYS_FCHMOD), "0", "0o640")); !ok {
		t.Errorf("fchmod of a passed descriptor is documented as possible, but: %s", said)
	}
	c = sandbox.Command("true")
	c.Stdin = f
	if ok, said := says(t, inside(c, "call", strconv.Itoa(unix.SYS_FTRUNCATE), "0", "0")); ok || readFile(t, file) != aSecret {
		t.Errorf("ftruncate of a descriptor that was opened for reading: %s", said)
	}
}
