package layer_test

import (
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox"
	"github.com/sbx-dev/sbx/sandbox/layer"
)

// sandboxPlan is a plan that shows nothing.
var sandboxPlan sandbox.Plan

func TestCheckName(t *testing.T) {
	for _, name := range []string{"a", "demo", "web-1.2_x", "A9", strings.Repeat("a", 64)} {
		if err := layer.CheckName(name); err != nil {
			t.Error(err)
		}
	}
	for _, name := range []string{"", "1", "-a", ".a", "_a", "a/b", "a b", "..", "é", "a\n", strings.Repeat("a", 65)} {
		if layer.CheckName(name) == nil {
			t.Errorf("%q is taken as a name", name)
		}
	}
}

func TestDefaultStore(t *testing.T) {
	t.Setenv("XDG_STATE_HOME", "/x/state")
	t.Setenv("HOME", "/home/u")
	for state, want := range map[string]string{"/x/state": "/x/state/sbx/layers", "": "/home/u/.local/state/sbx/layers", "relative": "/home/u/.local/state/sbx/layers"} {
		t.Setenv("XDG_STATE_HOME", state)
		if s, err := layer.DefaultStore(); err != nil || s.Dir() != want {
			t.Errorf("XDG_STATE_HOME=%s: %q, %v", state, s.Dir(), err)
		}
	}
	t.Setenv("HOME", "")
	t.Setenv("XDG_STATE_HOME", "")
	if _, err := layer.DefaultStore(); err == nil {
		t.Error("there is no place, and no error")
	}
}

func TestBusy(t *testing.T) {
	b := newBox(t)
	l := b.open()
	if _, err := b.store.Create("box"); !errors.Is(err, layer.ErrBusy) {
		t.Errorf("Create of a layer in use: %v", err)
	}
	if _, err := b.store.Open("box"); !errors.Is(err, layer.ErrBusy) {
		t.Errorf("Open of a layer in use: %v", err)
	}
	if _, err := b.store.Look("box"); err != nil {
		t.Errorf("Look at a layer in use: %v", err)
	}
	l.Close()
	if _, err := b.store.Open("none"); !errors.Is(err, layer.ErrNotExist) {
		t.Errorf("Open of no layer: %v", err)
	}
}

func TestStoreOfOthers(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if _, err := layer.NewStore(dir).Create("a"); err == nil || !strings.Contains(err.Error(), "written by others") {
		t.Errorf("a store that everybody can write to: %v", err)
	}
}

func TestOtherProject(t *testing.T) {
	b := newBox(t)
	l := b.open()
	var other *layer.OtherProjectError
	if err := l.Begin(&sandboxPlan, "/elsewhere", nil); !errors.As(err, &other) || other.Has != b.host || other.Wanted != "/elsewhere" {
		t.Errorf("another working folder: %v", err)
	}
}

func TestRecordOfAnotherVersion(t *testing.T) {
	b := newBox(t)
	for _, text := range []string{`{"version": 2}`, `{`, ``} {
		b.must(os.WriteFile(filepath.Join(b.store.Dir(), "box", "record.json"), []byte(text), 0o600))
		if _, err := b.store.Open("box"); err == nil || !strings.Contains(err.Error(), "record.json") {
			t.Errorf("record %q: %v", text, err)
		}
	}
}

// hostileTree fills a folder with what defeats a plain removal.
func (b *box) hostileTree(files int) {
	b.t.Helper()
	work := filepath.Join(filepath.Dir(b.upper), "work", "work")
	b.must(os.MkdirAll(work, 0o755))
	b.write(work, "in", "x")
	b.must(os.Chmod(work, 0))
	victim := filepath.Join(filepath.Dir(b.host), "victim")
	b.write(victim, "precious", "x")
	b.must(os.Symlink(victim, filepath.Join(b.upper, "link")))
	b.whiteout("w")
	b.must(unix.Mkfifo(filepath.Join(b.upper, "fifo"), 0))
	for i := range files {
		b.write(b.upper, filepath.Join("tree", string(rune('a'+i%26)), strings.Repeat("n", i%200+1)), "x")
	}
	b.write(b.upper, ".sbx-1/x", "x") // the names that a removal uses
	b.write(b.upper, "locked/deep/x", "x")
	b.must(os.Chmod(filepath.Join(b.upper, "locked", "deep"), 0))
	b.must(os.Chmod(filepath.Join(b.upper, "locked"), 0o500))
}

func (b *box) wantGone() {
	b.t.Helper()
	if names, _ := os.ReadDir(b.store.Dir()); len(names) > 0 {
		b.t.Errorf("the store holds %v", names)
	}
	if _, err := os.Stat(filepath.Join(filepath.Dir(b.host), "victim", "precious")); err != nil {
		b.t.Error("a link was followed:", err)
	}
}

func TestRemove(t *testing.T) {
	b := newBox(t)
	b.hostileTree(300)
	if err := os.RemoveAll(filepath.Join(b.store.Dir(), "box", "up")); err == nil {
		t.Error("a plain removal works, so this tests nothing")
	}
	b.must(b.open().Remove())
	b.wantGone()
}

// TestRemoveKilled kills a removal: what it leaves is no layer, and goes with
// the next Sweep.
func TestRemoveKilled(t *testing.T) {
	b := newBox(t)
	interrupted := 0
	for range 12 {
		b.fresh()
		b.hostileTree(400)
		cmd := start(t, "remove", b.store)
		time.AfterFunc(5*time.Millisecond+rand.N(25*time.Millisecond), func() { _ = cmd.Process.Kill() })
		_ = cmd.Wait()
		if b.store.Interrupted() > 0 {
			interrupted++
		}
		if names, _ := b.store.Names(); len(names) > 0 {
			l, err := b.store.Open("box") // it was killed before it began
			b.must(err)
			b.must(l.Remove())
		}
		_, err := b.store.Sweep()
		b.must(err)
		b.wantGone()
	}
	if interrupted == 0 {
		t.Error("no removal was interrupted: the test tests nothing")
	}
}

// TestSweepReview removes the layer of a review whose process is gone, and
// leaves one that is in use.
func TestSweepReview(t *testing.T) {
	b := newBox(t)
	used, err := b.store.CreateReview()
	b.must(err)
	defer used.Close()
	gone, err := b.store.CreateReview()
	b.must(err)
	gone.Close()
	_, err = b.store.Sweep()
	b.must(err)
	if _, err := os.Stat(used.Dir()); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(gone.Dir()); !errors.Is(err, os.ErrNotExist) {
		t.Error("it stays:", err)
	}
}
