package lessons

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sbx-dev/sbx/internal/built"
	"github.com/sbx-dev/sbx/sandbox"
)

// student is a runner with a new folder that holds a lesson's files.
func student(t *testing.T, l *Lesson) *Runner {
	t.Helper()
	r := &Runner{Sbx: built.Sbx(t), Dir: filepath.Join(t.TempDir(), l.ID())}
	if err := r.Prepare(l, false); err != nil {
		t.Fatal(err)
	}
	// What a line left beside the folder goes, too.
	t.Cleanup(func() {
		if err := removeAll(filepath.Dir(r.Dir)); err != nil {
			t.Error(err)
		}
	})
	return r
}

// Every lesson's check refuses what the student begins with, and the experiment
// without the step, with a hint; and it takes the solution, in a folder that
// the wrong answers were tried in, as a student would.
func TestEveryLesson(t *testing.T) {
	for _, l := range All() {
		t.Run(l.ID(), func(t *testing.T) {
			t.Parallel()
			r := student(t, l)
			secret := ""
			if len(l.Secrets) > 0 {
				secret = l.Secrets[0]
			}
			wrong := map[string]string{"the first answer": l.Answer}
			if !l.Off.IsZero() && len(l.Secrets) == 0 {
				wrong["the off line"] = l.Off.String()
			}
			for name, answer := range wrong {
				rep, err := l.Check(t.Context(), r, answer, secret)
				if err != nil {
					t.Fatal(err)
				}
				if rep.Passed {
					t.Errorf("%s passes: %s", name, answer)
				}
				if len(rep.Hints) == 0 {
					t.Errorf("%s: there is no hint for it: %s\n%+v", name, answer, rep.Findings)
				}
			}
			solution := l.SolutionFor(r)
			if secret != "" {
				solution = secret
			}
			rep, err := l.Check(t.Context(), r, solution, secret)
			if err != nil {
				t.Fatal(err)
			}
			if !rep.Passed {
				t.Errorf("the solution fails: %s\n%s", solution, rep.Error)
				for _, f := range rep.Findings {
					t.Logf("ok=%t want=%q got=%q", f.OK, f.Want, f.Got)
				}
				if rep.Observed != nil {
					t.Logf("stdout %q stderr %q", rep.Observed.Stdout, rep.Observed.Stderr)
				}
			}
			if rep.Passed && len(rep.Hints) > 0 {
				t.Errorf("there are hints for the solution: %q", rep.Hints)
			}
		})
	}
}

// Printing what the right command would print passes no check: CMD is replaced
// by an echo of all that the solution printed.
func TestPrintingDoesNotPass(t *testing.T) {
	for _, l := range All() {
		if len(l.Secrets) > 0 || l.File != "" {
			continue // its answer is a word, or a file, of which TestCheatsFail has some that print
		}
		t.Run(l.ID(), func(t *testing.T) {
			t.Parallel()
			r := student(t, l)
			line, err := Parse(l.SolutionFor(r))
			if err != nil {
				t.Fatal(err)
			}
			o, err := r.Run(t.Context(), line)
			if err != nil {
				t.Fatal(err)
			}
			if err := r.Prepare(l, true); err != nil {
				t.Fatal(err)
			}
			// The flags are those of the first answer, or what is wrong with it
			// would be mended.
			first, err := Parse(l.Answer)
			if err != nil {
				t.Fatal(err)
			}
			first.CMD = []string{"printf", "%s", string(o.Stdout)}
			rep, err := l.Check(t.Context(), r, first.String(), "")
			if err != nil {
				t.Fatal(err)
			}
			if rep.Passed {
				t.Errorf("%s passes", first)
			}
		})
	}
}

// Steps and switches that a lesson names are real, the numbers are in order, and
// each lesson has a right answer to its question and a way to read on.
func TestWhatLessonsName(t *testing.T) {
	last := 0
	for _, l := range All() {
		if l.Number <= last {
			t.Errorf("%s has the number of another", l.ID())
		}
		last = l.Number
		for _, s := range append(slices.Clone(l.Steps), l.Secrets...) {
			if sandbox.LookupStep(s) == nil {
				t.Errorf("%s: no step is called %q", l.ID(), s)
			}
		}
		right := 0
		for _, c := range l.Predict.Choices {
			if c.Right {
				right++
			}
		}
		if right != 1 {
			t.Errorf("%s: %d choices are right", l.ID(), right)
		}
		if !strings.HasPrefix(l.Readme, "# ") {
			t.Errorf("%s/README.md does not begin with a heading", l.ID())
		}
		for _, page := range l.Man {
			if !strings.Contains(l.Readme, page) {
				t.Errorf("%s/README.md does not name %s", l.ID(), page)
			}
		}
	}
}
