package lessons

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// fileLessons are those whose answer is a file.
func fileLessons(t *testing.T) []*Lesson {
	t.Helper()
	var out []*Lesson
	for _, l := range All() {
		if l.File != "" {
			out = append(out, l)
		}
	}
	if len(out) == 0 {
		t.Fatal("no lesson has a file as its answer")
	}
	return out
}

// The experiment of a lesson on builds shows both sides, also when it is run for
// the first time: all is done, then nothing.
func TestBuildExperiment(t *testing.T) {
	for _, l := range fileLessons(t) {
		r := student(t, l)
		r.Given = l.Given
		for _, side := range []struct {
			line   Line
			cached bool
		}{{l.Off, false}, {l.On, true}} {
			o, err := r.Run(t.Context(), side.line)
			if err != nil {
				t.Fatal(err)
			}
			if o.Code != 0 || strings.Contains(string(o.Stderr), "CACHED") != side.cached || strings.Contains(string(o.Stderr), "| ") == side.cached {
				t.Errorf("%s: %s:\n%s", side.line, o.Ended(), o.Stderr)
			}
		}
	}
}

// More than one answer is right, and a check leaves the student's folder alone.
func TestOtherDockerfiles(t *testing.T) {
	l, ok := Find("11-cache")
	if !ok {
		t.Fatal("there is no lesson 11-cache")
	}
	for name, text := range map[string]string{
		"all files at last": "FROM host\nWORKDIR /app\nCOPY requirements install ./\nRUN sh install\nCOPY . .\n",
		"mounts":            "FROM host\nWORKDIR /app\nRUN --mount=type=bind,source=install,target=install --mount=type=bind,source=requirements,target=requirements sh install\nCOPY . .\n",
		"two stages":        "FROM host AS lib\nWORKDIR /app\nCOPY requirements install ./\nRUN sh install\nFROM host\nWORKDIR /app\nCOPY --from=lib /app/lib lib\nCOPY main .\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := student(t, l)
			rep, err := l.Check(t.Context(), r, text, "")
			if err != nil {
				t.Fatal(err)
			}
			if !rep.Passed {
				t.Errorf("it fails: %+v\n%s", rep.Findings, rep.Observed.Stderr)
			}
			if !strings.Contains(string(rep.Observed.Stderr), "CACHED") {
				t.Errorf("the student is shown\n%s", rep.Observed.Stderr)
			}
			entries, err := os.ReadDir(r.Dir)
			if err != nil || len(entries) != 1 || entries[0].Name() != "app" {
				t.Errorf("the folder has %v: %v", entries, err)
			}
			for name, text := range l.Files {
				if got, err := os.ReadFile(r.Dir + "/" + name); err != nil || string(got) != text {
					t.Errorf("%s is changed: %v", name, err)
				}
			}
		})
	}
}

// A lesson can be begun anew, and a check leaves nothing, where what was built has
// owners of its own: the student cannot remove such files, sbx can.
func TestOtherOwners(t *testing.T) {
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	const text = "FROM host\nCOPY --chown=1000:1000 . /other/owner/\n"
	for _, l := range fileLessons(t) {
		r := student(t, l)
		r.Given = l.Given
		if err := os.WriteFile(filepath.Join(r.Dir, filepath.FromSlash(l.File)), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		o, err := r.Run(t.Context(), l.On)
		if err != nil {
			t.Fatal(err)
		}
		if o.Code != 0 {
			t.Fatalf("%s: %s", o.Ended(), o.Stderr)
		}
		if err := r.Prepare(l, true); err != nil {
			t.Errorf("it cannot be begun anew: %v", err)
		}
		if _, err := os.Stat(filepath.Join(r.Dir, dataFolder)); !os.IsNotExist(err) {
			t.Errorf("the store is still there: %v", err)
		}
		if _, err := l.Check(t.Context(), r, text, ""); err != nil {
			t.Error(err)
		}
		if left, err := filepath.Glob(filepath.Join(temp, "sbx-lesson-*")); err != nil || len(left) > 0 {
			t.Errorf("the check leaves %q: %v", left, err)
		}
	}
}
