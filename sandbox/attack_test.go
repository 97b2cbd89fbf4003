package sandbox_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sbx-dev/sbx/sandbox"
	"github.com/sbx-dev/sbx/sandbox/internal/testenv"
)

// An attack is something that hostile code would do and that one step alone
// prevents. It is carried out three times:
//
//   - with every step skipped but those that the attacked one needs, where it
//     must succeed: an attack that fails anyway tests nothing;
//   - with the attacked step added and nothing else, where it must fail: so it
//     is this step that decides;
//   - in the default sandbox, where it must fail too.
type attack struct {
	step string
	name string
	// beside names steps that are on in the first two runs, since without them
	// the attack could not be tried (a capability comes with a user namespace).
	beside []string
	// bare leaves out of the first run what the step needs, too: the kernel
	// refuses the attack in half-made namespaces anyway.
	bare bool
	// needs are conditions of testenv beside those that the steps bring.
	needs []string
	// spec, when not nil, changes the spec of all three runs.
	spec func(*sandbox.Spec)
	// run carries the attack out and says whether it succeeded, and on what
	// grounds.
	run func(t *testing.T, c *sandbox.Cmd) (succeeded bool, evidence string)
	// notByDefault, when not empty, says why there is no third run.
	notByDefault string
}

// attacks are all of them, one file of tests each.
var attacks = slices.Concat(launchAttacks, namespaceAttacks, rootAttacks, privilegeAttacks, landlockAttacks, filterAttacks, exhaustAttacks)

// TestAttacks carries out every attack with and without its step.
func TestAttacks(t *testing.T) {
	for _, a := range attacks {
		t.Run(a.step+"/"+a.name, func(t *testing.T) {
			testenv.Need(t, a.needs...)
			on := append([]string{a.step}, a.beside...)
			needConditions(t, on)
			off := slices.Concat(sandbox.LookupStep(a.step).Needs, a.beside)
			if a.bare {
				off = a.beside
			}

			spec := only(off...)
			a.change(&spec)
			if ok, evidence := a.run(t, &sandbox.Cmd{Spec: spec}); !ok {
				t.Errorf("without %s (steps %v) the attack does not succeed, so it tests nothing: %s", a.step, off, evidence)
			}
			spec = only(on...)
			a.change(&spec)
			a.onRequest(&spec)
			if ok, evidence := a.run(t, &sandbox.Cmd{Spec: spec}); ok {
				t.Errorf("%s (steps %v) does not stop the attack: %s", a.step, on, evidence)
			}
			if a.notByDefault != "" {
				return
			}
			needConditions(t, sandbox.StepNames())
			spec = sandbox.Spec{}
			a.change(&spec)
			a.onRequest(&spec)
			if ok, evidence := a.run(t, &sandbox.Cmd{Spec: spec}); ok {
				t.Errorf("the default sandbox does not stop the attack: %s", evidence)
			}
		})
	}
}

// TestEveryStepIsAttacked holds that no step of the table goes untested.
func TestEveryStepIsAttacked(t *testing.T) {
	for _, step := range sandbox.StepNames() {
		if !slices.ContainsFunc(attacks, func(a attack) bool { return a.step == step }) {
			t.Errorf("no attack shows what the step %s prevents", step)
		}
	}
}

func (a *attack) change(s *sandbox.Spec) {
	if a.spec != nil {
		a.spec(s)
	}
}

// onRequest asks for a step that is off by default.
func (a *attack) onRequest(s *sandbox.Spec) {
	if sandbox.LookupStep(a.step).OnRequest {
		s.With = []string{a.step}
		s.BootOffset, s.MonotonicOffset = clockOffset, clockOffset
	}
}

// only is a spec with the named steps, those that they need, and no others.
func only(steps ...string) sandbox.Spec {
	skip, _ := sandbox.Only(steps)
	return sandbox.Spec{Skip: skip}
}

// needConditions asks for what the kernel must be able to do for these steps.
func needConditions(t *testing.T, steps []string) {
	t.Helper()
	byStep := map[string]string{"user": "userns", "overlay": "overlay", "seccomp": "seccomp", "landlock": "landlock"}
	var conditions []string
	for _, name := range steps {
		step := sandbox.LookupStep(name)
		for _, s := range sandbox.StepNames() {
			if condition := byStep[s]; condition != "" && (s == name || step.Requires(s)) && !slices.Contains(conditions, condition) {
				conditions = append(conditions, condition)
			}
		}
	}
	testenv.Need(t, conditions...)
}

// needAll asks for what the default sandbox needs.
func needAll(t *testing.T) {
	t.Helper()
	needConditions(t, sandbox.StepNames())
}

// inside makes CMD a probe of attack_probe_test.go. The test binary lies in a
// folder that the sandbox hides, so it is shown at /probe where the root is a
// new one.
func inside(c *sandbox.Cmd, probe string, args ...string) *sandbox.Cmd {
	program := testBinary()
	switch {
	case !c.Spec.Skips("root"):
		c.Spec.Mounts = append(slices.Clone(c.Spec.Mounts), sandbox.Mount{Kind: sandbox.BindRO, Source: program, Target: "/probe"})
		program = "/probe"
	case !c.Spec.Skips("landlock") && c.Features == nil:
		// On the host's root Landlock allows programs in the shown folders and
		// in the working folder, which is made to be the binary's.
		if f, err := sandbox.Probe(&c.Spec); err == nil {
			f.Dir = filepath.Dir(program)
			c.Features = f
		}
	}
	c.Spec.Args = slices.Concat([]string{program, probeWord, probe}, args)
	return c
}

// testBinary is this program's file.
func testBinary() string {
	program, err := os.Executable()
	if err != nil {
		panic(err) // without /proc nothing here works
	}
	return program
}

// says runs the sandbox and returns what CMD wrote, and whether it exited with
// 0. A sandbox that could not be made fails the test: it says nothing about the
// attack.
func says(t *testing.T, c *sandbox.Cmd) (ok bool, said string) {
	t.Helper()
	out, err := c.CombinedOutput()
	var exit *sandbox.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("no sandbox: %v (skipped %v)\n%s", err, c.Spec.Skip, out)
	}
	said = strings.TrimSpace(string(out))
	if err != nil {
		said = strings.TrimSpace(said + " (" + err.Error() + ")")
	}
	return err == nil, said
}

// tells is an attack by a command that prints the secret when it succeeds.
func tells(secret string, args ...string) func(*testing.T, *sandbox.Cmd) (bool, string) {
	return func(t *testing.T, c *sandbox.Cmd) (bool, string) {
		c.Spec.Args = args
		_, said := says(t, c)
		return strings.Contains(said, secret), said
	}
}

// aSecret is what attacks look for.
const aSecret = "the caller's secret"

// homeFile makes a file with the secret in the caller's home.
func homeFile(t *testing.T) string {
	t.Helper()
	home, err := os.UserHomeDir()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp(home, "sbx-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return writeFile(t, filepath.Join(dir, "secret"), aSecret)
}

func writeFile(t *testing.T, name, text string) string {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// ownFolder is a folder of the caller's, on the disk, that may be shown: not in
// a home and not in /tmp, which the sandbox covers.
func ownFolder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/var/tmp", "sbx-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// in makes the folder the caller's working folder, for the plan of this sandbox
// alone.
func in(t *testing.T, c *sandbox.Cmd, dir string) *sandbox.Cmd {
	t.Helper()
	f, err := sandbox.Probe(&c.Spec)
	if err != nil {
		t.Fatal(err)
	}
	f.Dir = dir
	c.Features = f
	return c
}

// victim is a process of the caller's that an attack may look for or kill.
func victim(t *testing.T) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("sleep", "1000.0001")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return cmd
}

// alive says whether a process that nobody has waited for yet still runs.
func alive(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(rest, "Z") && !strings.HasPrefix(rest, "X")
}
