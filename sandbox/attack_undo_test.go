package sandbox_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sbx-dev/sbx/sandbox"
)

// TestUndoneMounts: a CMD that keeps CAP_SYS_ADMIN where nothing refuses mount
// takes back what --ro and --hide asked for, and the plan says so; without the
// capability, or with any of the other steps, it cannot, and nothing is said.
func TestUndoneMounts(t *testing.T) {
	needAll(t)
	root := 0
	open := []string{"landlock", "seccomp"}
	for _, test := range []struct {
		name string
		spec sandbox.Spec
		can  bool
	}{
		{"teaching", sandbox.Spec{CapAdd: []string{"ALL"}, Skip: open}, true},
		{"caps skipped", sandbox.Spec{Skip: append([]string{"caps"}, open...)}, true},
		{"a filter that logs", sandbox.Spec{CapAdd: []string{"ALL"}, Seccomp: "log", Skip: []string{"landlock"}}, true},
		{"nesting", sandbox.Spec{CapAdd: []string{"ALL"}, AllowNesting: true}, true},
		{"dropped", sandbox.Spec{CapAdd: []string{"ALL"}, CapDrop: []string{"SYS_ADMIN"}, Skip: open}, false},
		{"no capability", sandbox.Spec{Skip: open}, false},
		{"filter", sandbox.Spec{CapAdd: []string{"ALL"}, Skip: []string{"landlock"}}, false},
		{"Landlock", sandbox.Spec{CapAdd: []string{"ALL"}, Skip: []string{"seccomp"}}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			shown, hidden := filepath.Join(dir, "shown"), filepath.Join(dir, "hidden")
			if err := errors.Join(os.Mkdir(shown, 0o755), os.Mkdir(hidden, 0o755), os.WriteFile(filepath.Join(hidden, "f"), []byte(aSecret), 0o600)); err != nil {
				t.Fatal(err)
			}
			c := sandbox.Command("sh", "-c", "mount -o remount,bind,rw "+shown+"; echo changed >"+shown+"/new; umount "+hidden+"; cat "+hidden+"/f")
			c.Spec.User.UID = &root
			c.Spec.CapAdd, c.Spec.CapDrop, c.Spec.Skip = test.spec.CapAdd, test.spec.CapDrop, test.spec.Skip
			c.Spec.Seccomp, c.Spec.AllowNesting = test.spec.Seccomp, test.spec.AllowNesting
			c.Spec.Mounts = []sandbox.Mount{
				{Kind: sandbox.BindRO, Source: dir, Target: dir},
				{Kind: sandbox.BindRO, Source: shown, Target: shown},
				{Kind: sandbox.Hide, Target: hidden},
			}
			_, said := says(t, c)
			_, err := os.Stat(filepath.Join(shown, "new"))
			if wrote, read := err == nil, strings.Contains(said, aSecret); wrote != test.can || read != test.can {
				t.Errorf("CMD wrote to the host: %v, read what is hidden: %v, want %v\n%s", wrote, read, test.can, said)
			}
			notes := strings.Join(c.Result.Notes, "\n")
			if told := strings.Contains(notes, "can write to what is shown read-only and unmount what hides"); told != test.can {
				t.Errorf("notes are %q", notes)
			}
		})
	}
}

// TestStdinThatCanBeWritten: without Landlock's rules for files CMD overwrites
// the file that it has been given to read, and the plan says so; with them it
// cannot, and nothing is said.
func TestStdinThatCanBeWritten(t *testing.T) {
	needAll(t)
	for _, test := range []struct {
		name string
		spec sandbox.Spec
		mode int
		can  bool // overwrite it
		told bool
	}{
		{"with Landlock", sandbox.Spec{}, os.O_RDONLY, false, false},
		{"without", sandbox.Spec{Skip: []string{"landlock"}}, os.O_RDONLY, true, true},
		{"nesting", sandbox.Spec{AllowNesting: true}, os.O_RDONLY, true, true},
		{"opened for writing", sandbox.Spec{Skip: []string{"landlock"}}, os.O_RDWR, true, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			file := homeFile(t)
			f, err := os.OpenFile(file, test.mode, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			c := sandbox.Command("true")
			c.Spec.Skip, c.Spec.AllowNesting = test.spec.Skip, test.spec.AllowNesting
			c.Stdin = f
			_, said := says(t, inside(c, "overwrite"))
			if did := readFile(t, file) != aSecret; did != test.can {
				t.Errorf("CMD overwrote the file: %v, want %v: %s", did, test.can, said)
			}
			notes := strings.Join(c.Result.Notes, "\n")
			if told := strings.Contains(notes, "descriptor 0 is a file, and without Landlock's rules"); told != test.told {
				t.Errorf("notes are %q", notes)
			}
		})
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	w.Close()
	defer r.Close()
	c := sandbox.Command("true")
	c.Spec.Skip, c.Stdin = []string{"landlock"}, r
	if err := c.Run(); err != nil || strings.Contains(strings.Join(c.Result.Notes, "\n"), "descriptor 0") {
		t.Errorf("a pipe: %v, notes %q", err, c.Result.Notes)
	}
}
