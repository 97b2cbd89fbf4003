package state

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// newStore is an empty store of the test's own.
func newStore(t *testing.T) Store {
	t.Helper()
	return NewStore(filepath.Join(t.TempDir(), "sbx"))
}

// create makes a sandbox whose monitor is the test, and says that it runs.
func create(t *testing.T, s Store, name string) *Sandbox {
	t.Helper()
	b, err := s.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	own := ProcessOf(os.Getpid())
	if err := b.Update(func(r *Record) { r.Status, r.Init, r.CMD = Running, own, own }); err != nil {
		t.Fatal(err)
	}
	return b
}

// TestFind: by name, by id, and by what an id alone begins with.
func TestFind(t *testing.T) {
	s := newStore(t)
	if list, err := s.List(); err != nil || len(list) != 0 {
		t.Fatal(list, err)
	}
	if _, err := s.Find("web"); !errors.Is(err, ErrNotExist) {
		t.Fatal(err)
	}
	b := create(t, s, "web")
	id := b.Record.ID
	if len(id) != 12 || !IsID(id) {
		t.Fatalf("id %q", id)
	}
	for _, word := range []string{"web", id, id[:6], id[:1]} {
		if r, err := s.Find(word); err != nil || r.ID != id || r.Status != Running {
			t.Errorf("%s: %+v, %v", word, r, err)
		}
	}
	for _, word := range []string{"", "we", "webs", "../" + id, id + "0", "12"} {
		if r, err := s.Find(word); !errors.Is(err, ErrNotExist) {
			t.Errorf("%q: %+v, %v", word, r, err)
		}
	}
	// Six more, so that two begin with the same letter.
	for range 6 {
		create(t, s, "")
	}
	var ambiguous *NameError
	found := false
	for _, letter := range "abcdef" {
		_, err := s.Find(string(letter))
		found = found || errors.As(err, &ambiguous)
	}
	if !found {
		t.Error("no letter begins two of seven ids")
	}
	var taken *NameError
	if _, err := s.Create("web"); !errors.As(err, &taken) {
		t.Errorf("a name that is taken: %v", err)
	}
}

func TestCheckName(t *testing.T) {
	for _, good := range []string{"web", "a", "Web-1.2_x", "abc", strings.Repeat("x", 64)} {
		if err := CheckName(good); err != nil {
			t.Error(err)
		}
	}
	for _, bad := range []string{"", "1", "-a", ".a", "a/b", "a b", "a\n", "ä", strings.Repeat("x", 65), "abcdef012345"} {
		if CheckName(bad) == nil {
			t.Errorf("%q is a name", bad)
		}
	}
}

// TestStale: nothing that a file says makes a dead sandbox a running one, or
// gives a process that is another by now.
func TestStale(t *testing.T) {
	victim := exec.Command("sleep", "1000.0003")
	if err := victim.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = victim.Process.Kill()
		_ = victim.Wait()
	}()
	its := ProcessOf(victim.Process.Pid)
	if its.Start == 0 {
		t.Fatal("the victim has no start time")
	}
	for name, forge := range map[string]func(*Record){
		"the monitor's number is another's now": func(r *Record) { r.Monitor = Process{its.Pid, its.Start - 1} },
		"the monitor is gone":                   func(r *Record) { r.Monitor = Process{1 << 30, 1} },
		"another boot":                          func(r *Record) { r.Boot = "another" },
		"another PID namespace":                 func(r *Record) { r.PIDNamespace++ },
		"no monitor":                            func(r *Record) { r.Monitor = Process{} },
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t)
			b := create(t, s, "old")
			if err := b.Update(func(r *Record) {
				r.Init, r.CMD = Process{its.Pid, its.Start - 1}, Process{its.Pid, its.Start - 1}
				forge(r)
			}); err != nil {
				t.Fatal(err)
			}
			r, err := s.Find("old") // the lock is held
			if err != nil || r.Status != Dead {
				t.Fatalf("%+v, %v", r, err)
			}
			if p, err := r.Open(r.Init); err != unix.ESRCH {
				t.Errorf("another's process is opened: %v, %v", p, err)
			}
			if err := s.Remove(r); err != nil {
				t.Error(err)
			}
		})
	}
	t.Run("nobody holds the lock", func(t *testing.T) {
		s := newStore(t)
		b := create(t, s, "old")
		b.Close()
		if r, err := s.Find("old"); err != nil || r.Status != Dead {
			t.Errorf("%+v, %v", r, err)
		}
	})
	t.Run("all of it holds", func(t *testing.T) { // else the above tests nothing
		s := newStore(t)
		b := create(t, s, "new")
		if err := b.Update(func(r *Record) { r.Init = its }); err != nil {
			t.Fatal(err)
		}
		r, err := s.Find("new")
		if err != nil || r.Status != Running {
			t.Fatalf("%+v, %v", r, err)
		}
		p, err := r.Open(r.Init)
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		if err := s.Remove(r); !errors.Is(err, ErrRunning) {
			t.Errorf("one that runs is removed: %v", err)
		}
	})
}

// TestDamaged: a record that cannot be read, or is another's, is no sandbox.
func TestDamaged(t *testing.T) {
	s := newStore(t)
	// Names that no id can begin with: an id is found by its beginning, too.
	a, b := create(t, s, "one"), create(t, s, "two")
	for _, text := range []string{"", "{", "[]", `{"version": 2}`, `{"version": 1, "id": "` + b.Record.ID + `"}`} {
		if err := os.WriteFile(filepath.Join(a.Dir(), "state.json"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if list, err := s.List(); err != nil || len(list) != 1 || list[0].ID != b.Record.ID {
			t.Errorf("%q: %v, %v", text, list, err)
		}
		if r, err := s.Find("one"); err == nil {
			t.Errorf("%q: found %+v", text, r)
		}
	}
}

// TestConcurrent: twenty at once ask for one name, and one gets it; twenty remove
// one sandbox, and one does; nothing half made is left.
func TestConcurrent(t *testing.T) {
	s := newStore(t)
	const n = 20
	var wg sync.WaitGroup
	boxes := make(chan *Sandbox, n)
	for range n {
		wg.Go(func() {
			b, err := s.Create("one")
			var taken *NameError
			if err == nil {
				boxes <- b
			} else if !errors.As(err, &taken) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if len(boxes) != 1 {
		t.Fatalf("%d have the name", len(boxes))
	}
	b := <-boxes
	if err := b.Update(func(r *Record) { r.Status = Exited }); err != nil {
		t.Fatal(err)
	}
	b.Close()
	removed := make(chan bool, n)
	for range n {
		wg.Go(func() {
			switch err := s.Remove(&b.Record); {
			case err == nil:
				removed <- true
			case !errors.Is(err, ErrNotExist):
				t.Error(err)
			}
		})
		wg.Go(func() {
			if r, err := s.Create(""); err == nil {
				err = r.Remove()
				if err != nil {
					t.Error(err)
				}
			} else {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if len(removed) != 1 {
		t.Errorf("%d have removed it", len(removed))
	}
	left := names(t, s)
	if !slices.Equal(left, []string{".lock", ".names"}) {
		t.Errorf("left behind: %q", left)
	}
}

func names(t *testing.T, s Store) []string {
	t.Helper()
	entries, err := os.ReadDir(s.Dir())
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// TestInterrupted: what a kill leaves of a making and of a removal is swept up.
func TestInterrupted(t *testing.T) {
	s := newStore(t)
	b := create(t, s, "kept")
	for _, name := range []string{".new-abcdef012345", ".dead-abcdef012345"} {
		if err := os.MkdirAll(filepath.Join(s.Dir(), name, "x"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("abcdef012345", filepath.Join(s.Dir(), namesFolder, "stale")); err != nil {
		t.Fatal(err)
	}
	if list, err := s.List(); err != nil || len(list) != 1 {
		t.Fatal(list, err)
	}
	create(t, s, "stale") // the name of one that is no more
	for _, name := range names(t, s) {
		if strings.HasPrefix(name, ".new-") || strings.HasPrefix(name, ".dead-") {
			t.Errorf("%s is left", name)
		}
	}
	if r, err := s.Find("kept"); err != nil || r.ID != b.Record.ID {
		t.Error(r, err)
	}
}

// TestFolder: a store that others could have made or can write to is refused.
func TestFolder(t *testing.T) {
	dir := t.TempDir()
	for name, prepare := range map[string]func(string) error{
		"a link":              func(p string) error { return os.Symlink(dir, p) },
		"a file":              func(p string) error { return os.WriteFile(p, nil, 0o600) },
		"writable for others": func(p string) error { return errors.Join(os.Mkdir(p, 0o700), os.Chmod(p, 0o777)) },
	} {
		at := filepath.Join(t.TempDir(), "sbx")
		if err := prepare(at); err != nil {
			t.Fatal(err)
		}
		var folder *FolderError
		s := NewStore(at)
		_, err1 := s.Create("x")
		_, err2 := s.List()
		_, err3 := s.Find("x")
		for _, err := range []error{err1, err2, err3} {
			if !errors.As(err, &folder) {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	t.Setenv("XDG_RUNTIME_DIR", "relative") // to be ignored
	if s, err := DefaultStore(); err != nil || !filepath.IsAbs(s.Dir()) {
		t.Error(s, err)
	}
	t.Setenv("XDG_RUNTIME_DIR", dir)
	if s, err := DefaultStore(); err != nil || s.Dir() != filepath.Join(dir, "sbx") {
		t.Error(s, err)
	}
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if _, err := DefaultStore(); err == nil {
		t.Error("a folder that others can write to is taken")
	}
}

// TestTwoHundred: 200 sandboxes are listed in less than 100 ms.
func TestTwoHundred(t *testing.T) {
	s := newStore(t)
	for range 200 {
		create(t, s, "")
	}
	best := time.Hour
	for range 5 {
		begin := time.Now()
		list, err := s.List()
		if best = min(best, time.Since(begin)); err != nil || len(list) != 200 || list[7].Status != Running {
			t.Fatal(len(list), err)
		}
	}
	t.Logf("%v", best)
	if best > 100*time.Millisecond {
		t.Errorf("it took %v", best)
	}
}

// TestWait: it returns when the monitor lets go, with what that has written.
func TestWait(t *testing.T) {
	s := newStore(t)
	b := create(t, s, "x")
	r := b.Record
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		time.Sleep(20 * time.Millisecond)
		_ = b.Update(func(r *Record) { r.Status = Exited })
		b.Close()
	}()
	now, err := s.Wait(&r)
	<-closed
	if err != nil || now.Status != Exited || now.Code() != 137 {
		t.Errorf("%+v, %v", now, err)
	}
	if err := s.Remove(now); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Wait(now); !errors.Is(err, ErrNotExist) {
		t.Errorf("one that was removed: %v", err)
	}
}

// TestLog: the newest of what was printed is kept, and a reader that follows gets
// all of it although the file is exchanged meanwhile.
func TestLog(t *testing.T) {
	s := newStore(t)
	b := create(t, s, "x")
	l, err := NewLog(b.Dir(), 64<<10)
	if err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	done := make(chan error, 1)
	go func() { done <- s.CopyLog(&got, &b.Record, AllLines, true) }()
	var want bytes.Buffer
	for i := range 40 {
		line := bytes.Repeat([]byte{byte('a' + i%26)}, 1000)
		if n, err := l.Write(line); n != len(line) || err != nil {
			t.Fatal(n, err)
		}
		want.Write(line)
		if i%10 == 0 {
			time.Sleep(60 * time.Millisecond)
		}
	}
	if err := b.Update(func(r *Record) { r.Status = Exited }); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil || !bytes.Equal(got.Bytes(), want.Bytes()) {
		t.Errorf("%v: %d bytes of %d", err, got.Len(), want.Len())
	}
	big := bytes.Repeat([]byte("0123456789"), 30000)
	_, _ = l.Write(big)
	_, _ = l.Write([]byte("the end"))
	l.Close()
	got.Reset()
	if err := s.CopyLog(&got, &b.Record, AllLines, false); err != nil || got.Len() > 64<<10 || got.Len() < 32<<10 || !bytes.HasSuffix(got.Bytes(), []byte("9the end")) {
		t.Errorf("%v: %d bytes", err, got.Len())
	}
}

// TestLogTail: the last lines, also where they begin in the older half.
func TestLogTail(t *testing.T) {
	for _, c := range []struct {
		older, newer string
		lines        int
		want         string
	}{
		{"", "a\nb\nc\n", 0, ""},
		{"", "a\nb\nc\n", 1, "c\n"},
		{"", "a\nb\nc\n", 3, "a\nb\nc\n"},
		{"", "a\nb\nc\n", 9, "a\nb\nc\n"},
		{"", "a\nb\nc", 1, "c"},
		{"", "a\n\n\n", 2, "\n\n"},
		{"", "", 5, ""},
		{"a\nb\n", "c\n", 2, "b\nc\n"},
		{"a\nb", "c\nd\n", 2, "bc\nd\n"},
		{"a\nb\n", "c\nd\n", 2, "c\nd\n"},
		{"a\nb\n", "", 1, "b\n"},
		{"a\nb\n", "c\n", 0, ""},
		{"a\nb\n", "c\n", AllLines, "a\nb\nc\n"},
		{strings.Repeat("x", 70000) + "\ny\n", strings.Repeat("z", 70000) + "\n", 2, "y\n" + strings.Repeat("z", 70000) + "\n"},
	} {
		s := newStore(t)
		b := create(t, s, "x")
		for name, text := range map[string]string{"log.1": c.older, "log": c.newer} {
			if err := os.WriteFile(filepath.Join(b.Dir(), name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		var got bytes.Buffer
		if err := s.CopyLog(&got, &b.Record, c.lines, false); err != nil || got.String() != c.want {
			t.Errorf("%d of %.20q and %.20q: %.20q, %v", c.lines, c.older, c.newer, got.String(), err)
		}
		b.Close()
	}
}

// TestRecordJSON: a record is the same after a round trip.
func TestRecordJSON(t *testing.T) {
	s := newStore(t)
	b := create(t, s, "x")
	text, err := json.Marshal(&b.Record)
	if err != nil {
		t.Fatal(err)
	}
	r, err := s.Find("x")
	if err != nil {
		t.Fatal(err)
	}
	again, err := json.Marshal(r)
	if err != nil || !bytes.Equal(text, again) || !bytes.Contains(text, []byte(`"version":1`)) {
		t.Errorf("%s\n%s", text, again)
	}
}
