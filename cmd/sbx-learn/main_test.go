package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	tea "charm.land/bubbletea/v2"
	"charm.land/lipgloss/v2"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/sbx-dev/sbx/internal/built"
	"github.com/sbx-dev/sbx/lessons"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"sbx-learn": main})
}

func TestScript(t *testing.T) {
	sbx := built.Sbx(t)
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			e.Setenv("SBX", sbx)
			e.Setenv("HOME", filepath.Join(e.WorkDir, "home"))
			e.Setenv("XDG_STATE_HOME", filepath.Join(e.WorkDir, "state"))
			return os.Mkdir(filepath.Join(e.WorkDir, "home"), 0o755)
		},
		RequireExplicitExec: true,
	})
}

// student is a watch on a screen of 80 columns, with a home of its own.
func student(t *testing.T) *watch {
	t.Helper()
	c := &course{state: lessons.Open(t.TempDir()), sbx: built.Sbx(t)}
	w := &watch{course: c, ctx: t.Context(), width: 80, height: 24}
	if err := w.open(lessons.All()[0]); err != nil {
		t.Fatal(err)
	}
	return w
}

// press types keys, carries out what they ask for, and returns the screen.
func (w *watch) press(t *testing.T, keys ...string) string {
	t.Helper()
	for _, k := range keys {
		key := tea.KeyPressMsg{Text: k, Code: []rune(k)[0]}
		switch k {
		case "enter":
			key = tea.KeyPressMsg{Code: tea.KeyEnter}
		case "down":
			key = tea.KeyPressMsg{Code: tea.KeyDown}
		}
		if _, cmd := w.Update(key); cmd != nil {
			w.Update(cmd())
		}
	}
	return w.View().Content
}

// A student goes through a lesson with single keys.
func TestWatch(t *testing.T) {
	w := student(t)
	for _, step := range []struct{ key, want string }{
		{"c", "not yet"},
		{"h", "Something on the line takes that step away"},
		{"p", "How many kernels"},
		{"2", "Not so."},
		{"x", "--skip uts"},
		{"z", "no key z"},
		{"r", "anew?"},
		{"n", "nothing was removed"},
	} {
		if got := w.press(t, step.key); !strings.Contains(got, step.want) {
			t.Fatalf("after %s there is no %q in\n%s", step.key, step.want, got)
		}
	}
	// What is saved is checked, without a key.
	if err := os.WriteFile(w.course.answerPath(w.lesson), []byte(w.lesson.Solution), 0o644); err != nil {
		t.Fatal(err)
	}
	_, cmd := w.Update(tick{})
	if cmd == nil {
		t.Fatal("a saved answer is not looked at")
	}
	if batch, ok := cmd().(tea.BatchMsg); ok {
		w.Update(batch[1]())
	}
	if got := w.View().Content; !strings.Contains(got, "right") || !strings.Contains(got, "1 of ") {
		t.Fatalf("after the solution\n%s", got)
	}
	second := lessons.All()[1]
	if got := w.press(t, "l", "down", "enter"); !strings.Contains(got, second.Title) {
		t.Errorf("the second lesson is not opened:\n%s", got)
	}
	if progress, err := w.course.state.Read(); err != nil || progress[lessons.All()[0].ID()].Done.IsZero() {
		t.Errorf("the progress is not kept: %v, %v", progress, err)
	}
}

// No line is wider than the screen, whatever is shown, and the screen is full.
func TestWatchFitsTheScreen(t *testing.T) {
	w := student(t)
	for _, size := range []tea.WindowSizeMsg{{Width: 80, Height: 24}, {Width: 40, Height: 12}, {Width: 200, Height: 60}} {
		w.Update(size)
		for _, key := range []string{"t", "l", "p", "c"} {
			lines := strings.Split(w.press(t, key), "\n")
			if len(lines) != size.Height {
				t.Errorf("%v, key %s: %d lines", size, key, len(lines))
			}
			for _, line := range lines {
				if n := lipgloss.Width(line); n > size.Width {
					t.Errorf("%v, key %s: %d columns: %q", size, key, n, line)
				}
			}
		}
		w.press(t, "t")
	}
}
