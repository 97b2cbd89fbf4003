package sandbox

import (
	"bytes"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/sbx-dev/sbx/sandbox/internal/testenv"
)

// namespacesOf runs a command line and tells for each kind of namespace whether
// the shell in it is in another one than this test.
func namespacesOf(t *testing.T, args []string) string {
	t.Helper()
	cmd := exec.Command(args[0], args[1:]...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, stderr.String())
	}
	return differing(t, string(out))
}

// listNamespaces prints a line for each kind of namespace.
const listNamespaces = `for n in user mnt pid uts ipc net cgroup time; do readlink /proc/self/ns/$n; done`

func differing(t *testing.T, lines string) string {
	t.Helper()
	var kinds []string
	for line := range strings.Lines(lines) {
		kind, _, ok := strings.Cut(strings.TrimSpace(line), ":")
		if !ok {
			t.Fatalf("no namespaces:\n%s", lines)
		}
		own, err := os.Readlink("/proc/self/ns/" + kind)
		if err != nil {
			t.Fatal(err)
		}
		if own != strings.TrimSpace(line) {
			kinds = append(kinds, kind)
		}
	}
	return strings.Join(kinds, " ")
}

// TestEquivalentRuns runs the command lines that are printed, and compares the
// namespaces that they make with those of the sandbox.
func TestEquivalentRuns(t *testing.T) {
	zero := 0
	for _, test := range []struct {
		name string
		spec Spec
	}{
		{"default", Spec{}},
		{"root inside", Spec{User: User{UID: &zero}, CapAdd: []string{"ALL"}, Skip: []string{"landlock", "seccomp"}}},
		{"the host's network and name", Spec{Net: "host", Skip: []string{"uts"}}},
		{"no overlay, a folder more", Spec{Skip: []string{"overlay"}, Mounts: []Mount{{Kind: BindRO, Source: "/etc", Target: "/mine"}, {Kind: Tmpfs, Target: "/scratch"}, {Kind: Hide, Target: "/usr/share"}}}},
		{"namespaces alone", Spec{Skip: []string{"env", "overlay", "dev", "root", "session", "rlimits", "caps", "nnp", "landlock", "seccomp"}}},
	} {
		for _, program := range []string{"bwrap", "unshare"} {
			t.Run(test.name+", "+program, func(t *testing.T) {
				testenv.Need(t, "tool:"+program)
				t.Chdir(t.TempDir())
				c := &Cmd{Spec: test.spec}
				c.Spec.Args = []string{"/bin/sh", "-c", listNamespaces}
				out, err := c.Output()
				if err != nil {
					t.Fatal(err, HintOf(err))
				}
				e, err := EquivalentOf(program, &c.Spec, c.Plan())
				if err != nil {
					t.Fatal(err)
				}
				want, got := differing(t, string(out)), namespacesOf(t, e.Args)
				if got != want {
					t.Errorf("%s makes %s, the sandbox %s", program, got, want)
				}
				if shell := namespacesOf(t, []string{"sh", "-c", e.String()}); shell != want {
					t.Errorf("as a shell reads it, %s makes %s, the sandbox %s", program, shell, want)
				}
			})
		}
	}
}

// TestEquivalentRoot compares the root that bwrap makes with the sandbox's, and
// what CMD may do in it.
func TestEquivalentRoot(t *testing.T) {
	testenv.Need(t, "tool:bwrap")
	t.Chdir(t.TempDir())
	c := Command("/bin/sh", "-c", `ls -d /* /var/*; pwd; id -u; hostname; env | sort | grep -v '^SHLVL\|^_='; grep -E '^(Cap|NoNewPrivs)' /proc/self/status; stat -c '%a %n' /tmp "$HOME"`)
	own, err := c.Output()
	if err != nil {
		t.Fatal(err)
	}
	e, err := EquivalentOf("bwrap", &c.Spec, c.Plan())
	if err != nil {
		t.Fatal(err)
	}
	other, err := exec.Command(e.Args[0], e.Args[1:]...).Output()
	if err != nil {
		t.Fatal(err)
	}
	if string(own) != string(other) {
		t.Errorf("sbx:\n%s\nbwrap:\n%s", own, other)
	}
}

// TestEquivalentMissing says of each thing that the other program has not that
// it has not, and of nothing that was skipped.
func TestEquivalentMissing(t *testing.T) {
	for _, program := range []string{"bwrap", "unshare"} {
		c := Command("/bin/true")
		if err := c.Run(); err != nil {
			t.Fatal(err)
		}
		e, err := EquivalentOf(program, &c.Spec, c.Plan())
		if err != nil {
			t.Fatal(err)
		}
		for _, step := range []string{"fds", "rlimits", "seccomp", "proc", "overlay"} {
			if !slices.ContainsFunc(e.Missing, func(m string) bool { return strings.Contains(m, step) }) {
				t.Errorf("%s: nothing is said of %s in %q", program, step, e.Missing)
			}
		}
		skip, _ := Only([]string{"uts"})
		c = &Cmd{Spec: Spec{Args: []string{"/bin/true"}, Skip: skip}}
		if err := c.Run(); err != nil {
			t.Fatal(err)
		}
		if e, err = EquivalentOf(program, &c.Spec, c.Plan()); err != nil {
			t.Fatal(err)
		}
		for _, m := range e.Missing {
			for _, step := range []string{"seccomp:", "rlimits:", "fds:", "proc:", "landlock:"} {
				if strings.HasPrefix(m, step) {
					t.Errorf("%s: %q is said although the step is skipped", program, m)
				}
			}
		}
	}
	if _, err := EquivalentOf("docker", &Spec{}, &Plan{}); err == nil {
		t.Error("docker has an equivalent")
	}
}
