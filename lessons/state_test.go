package lessons

import (
	"os"
	"os/exec"
	"sync"
	"testing"
)

// Several processes count tries in one file, each several times, and none is
// lost: two terminals may be at the course at once.
func TestStateOfTwoTerminals(t *testing.T) {
	const processes, tries = 4, 50
	l := All()[0]
	if dir := os.Getenv("LESSONS_STATE"); dir != "" {
		for range tries {
			if _, err := Open(dir).Change(l, func(p *Progress) { p.Tries++ }); err != nil {
				t.Fatal(err)
			}
		}
		return
	}
	dir := t.TempDir()
	var wg sync.WaitGroup
	for range processes {
		wg.Go(func() {
			cmd := exec.Command(os.Args[0], "-test.run", "^TestStateOfTwoTerminals$")
			cmd.Env = append(os.Environ(), "LESSONS_STATE="+dir)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
	wg.Wait()
	progress, err := Open(dir).Read()
	if err != nil || progress[l.ID()].Tries != processes*tries {
		t.Errorf("%d tries are kept of %d: %v", progress[l.ID()].Tries, processes*tries, err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 2 {
		t.Errorf("left are %v, %v", entries, err)
	}
}

// A lesson with secrets keeps the one that was chosen until it is forgotten.
func TestSecretStays(t *testing.T) {
	l := &Lesson{Number: 23, Name: "capstone", Secrets: []string{"uts", "ipc", "net", "pid"}}
	s := Open(t.TempDir())
	first, err := s.Change(l, func(*Progress) {})
	if err != nil {
		t.Fatal(err)
	}
	for range 5 {
		again, err := s.Change(l, func(p *Progress) { p.Tries++ })
		if err != nil || again.SecretOf(l) != first.SecretOf(l) || again.SecretOf(l) == "" {
			t.Fatalf("%q, then %q: %v", first.SecretOf(l), again.SecretOf(l), err)
		}
	}
}
