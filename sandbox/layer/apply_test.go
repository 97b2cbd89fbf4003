package layer_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox/layer"
)

func TestApplyEveryKind(t *testing.T) {
	b := newBox(t)
	for _, name := range []string{"keep", "edit", "gone", "dir/a", "dir/b", "old/x", "old/deep/y", "tofolder", "tofile/z", "sub/.envrc"} {
		b.write(b.host, name, "host "+name)
	}
	b.must(os.Symlink("keep", filepath.Join(b.host, "link")))
	b.fresh() // so that its run begins after

	b.write(b.upper, "edit", "new")
	b.must(os.Chmod(filepath.Join(b.upper, "edit"), 0o4750|os.ModeSetuid))
	when := time.Unix(1e9, 5)
	b.must(os.Chtimes(filepath.Join(b.upper, "edit"), when, when))
	b.must(unix.Setxattr(filepath.Join(b.upper, "edit"), "user.mine", []byte("v"), 0))
	b.must(unix.Setxattr(filepath.Join(b.upper, "edit"), "user.overlay.origin", []byte("v"), 0))
	b.whiteout("gone")
	b.whiteout("dir/a")
	b.opaque("old")
	b.write(b.upper, "old/new", "n")
	b.must(os.Mkdir(filepath.Join(b.upper, "tofolder"), 0o700))
	b.write(b.upper, "tofolder/in", "i")
	b.write(b.upper, "tofile", "f")
	b.write(b.upper, "sub/.envrc", "evil")
	b.must(os.Symlink("../edit", filepath.Join(b.upper, "dir", "l")))
	b.must(os.Symlink("elsewhere", filepath.Join(b.upper, "link")))
	b.write(b.upper, "dir/one", "linked")
	b.must(os.Link(filepath.Join(b.upper, "dir", "one"), filepath.Join(b.upper, "two")))
	b.must(unix.Mkfifo(filepath.Join(b.upper, "fifo"), 0o600))
	sparse, err := os.Create(filepath.Join(b.upper, "sparse"))
	b.must(err)
	_, err = sparse.WriteAt([]byte("end"), 64<<20)
	b.must(errors.Join(err, sparse.Close()))
	b.must(os.Chmod(filepath.Join(b.upper, "dir"), 0o711))

	b.want(b.changes(),
		"modified folder dir", "deleted  dir/a", "added link dir/l", "added file dir/one", "modified file edit",
		"added  fifo skip", "deleted  gone", "modified link link", "deleted folder old/deep", "added file old/new", "deleted  old/x",
		"added file sparse", "modified file sub/.envrc guarded", "modified file tofile", "modified folder tofolder", "added file tofolder/in", "added file two")
	report := b.apply()
	if report.Left != 1 {
		t.Errorf("%d changes are left, want the FIFO", report.Left)
	}
	b.want(b.changes(), "added  fifo skip")

	var st, st2 unix.Stat_t
	b.must(unix.Stat(filepath.Join(b.host, "sparse"), &st))
	if st.Blocks*512 > 1<<20 || st.Size != 64<<20+3 {
		t.Errorf("sparse has %d bytes in %d blocks", st.Size, st.Blocks)
	}
	b.must(os.Remove(filepath.Join(b.host, "sparse")))
	b.must(unix.Stat(filepath.Join(b.host, "dir", "one"), &st))
	b.must(unix.Stat(filepath.Join(b.host, "two"), &st2))
	if st.Ino != st2.Ino {
		t.Error("two names of one file became two files")
	}
	b.must(unix.Stat(filepath.Join(b.host, "edit"), &st))
	if got := time.Unix(st.Mtim.Unix()); !got.Equal(when) {
		t.Errorf("edit was modified at %v, want %v", got, when)
	}
	value := make([]byte, 8)
	if n, err := unix.Getxattr(filepath.Join(b.host, "edit"), "user.mine", value); err != nil || string(value[:n]) != "v" {
		t.Errorf("user.mine is %q, %v", value, err)
	}
	if _, err := unix.Getxattr(filepath.Join(b.host, "edit"), "user.overlay.origin", value); err != unix.ENODATA {
		t.Errorf("an attribute of overlayfs came along: %v", err)
	}
	b.want(tree(t, b.host),
		`"." drwxr-xr-x`, `"dir" drwx--x--x`, `"dir/b" -rw-r--r-- "host dir/b"`, `"dir/l" Lrwxrwxrwx -> ../edit`, `"dir/one" -rw-r--r-- "linked"`,
		`"edit" -rwxr-x--- "new"`, `"keep" -rw-r--r-- "host keep"`, `"link" Lrwxrwxrwx -> elsewhere`,
		`"old" drwxr-xr-x`, `"old/new" -rw-r--r-- "n"`, `"sub" drwxr-xr-x`, `"sub/.envrc" -rw-r--r-- "evil"`,
		`"tofile" -rw-r--r-- "f"`, `"tofolder" drwx------`, `"tofolder/in" -rw-r--r-- "i"`, `"two" -rw-r--r-- "linked"`)
	// Again, nothing happens.
	before := tree(t, b.host)
	b.apply()
	b.want(tree(t, b.host), before...)
}

// TestPartOfAFolder applies one of two files in a folder that hides all below.
func TestPartOfAFolder(t *testing.T) {
	b := newBox(t)
	b.write(b.host, "d/old", "o")
	b.fresh()
	b.opaque("d")
	b.write(b.upper, "d/a", "a")
	b.write(b.upper, "d/b", "b")
	l := b.open()
	changes, err := l.Changes()
	b.must(err)
	_, err = l.Apply(changes, func(it *layer.Item) bool { return filepath.Base(it.Path) == "a" })
	b.must(err)
	l.Close()
	// a must stay where it hides nothing less: without it CMD would not see it.
	if _, err := os.Stat(filepath.Join(b.upper, "d", "a")); err != nil {
		t.Error(err)
	}
	b.want(b.changes(), "added file d/b", "deleted  d/old")
	b.apply()
	b.want(b.changes())
	b.want(tree(t, b.host), `"." drwxr-xr-x`, `"d" drwxr-xr-x`, `"d/a" -rw-r--r-- "a"`, `"d/b" -rw-r--r-- "b"`)
	if names, _ := os.ReadDir(b.upper); len(names) > 0 {
		t.Errorf("the layer still holds %v", names)
	}
}

func TestConflict(t *testing.T) {
	b := newBox(t)
	b.write(b.host, "f", "old")
	b.write(b.host, "same", "old")
	b.write(b.host, "d/x", "old")
	b.fresh()
	b.write(b.upper, "f", "inside")
	b.write(b.upper, "same", "both")
	b.write(b.upper, "made", "inside")
	b.whiteout("d")
	b.want(b.changes(), "deleted folder d", "modified file f", "added file made", "modified file same")
	time.Sleep(20 * time.Millisecond) // more than a tick of the clock of change times
	b.write(b.host, "f", "outside")
	b.write(b.host, "same", "both")
	b.write(b.host, "made", "outside too")
	b.write(b.host, "d/y", "outside")
	b.want(b.changes(), "deleted folder d conflict", "modified file f conflict", "modified file made conflict")

	// A copy that a later run makes of the new version is not in conflict.
	l := b.open()
	b.must(l.Begin(&sandboxPlan, b.host, nil))
	l.Close()
	b.must(os.Remove(filepath.Join(b.upper, "f")))
	b.write(b.upper, "f", "inside again")
	b.want(b.changes(), "deleted folder d conflict", "modified file f", "modified file made conflict")
}

// TestChangedMeanwhile changes the host between the list and the copy.
func TestChangedMeanwhile(t *testing.T) {
	b := newBox(t)
	b.write(b.host, "f", "old")
	b.fresh()
	b.write(b.upper, "f", "new")
	b.write(b.upper, "g", "new")
	l := b.open()
	changes, err := l.Changes()
	b.must(err)
	b.must(os.Remove(filepath.Join(b.host, "f")))
	b.write(b.host, "f", "another")
	b.write(b.host, "g", "another")
	report, err := l.Apply(changes, func(*layer.Item) bool { return true })
	b.must(err)
	if len(report.Failed) != 2 {
		t.Errorf("%d failures, want 2", len(report.Failed))
	}
	b.want(tree(t, b.host), `"." drwxr-xr-x`, `"f" -rw-r--r-- "another"`, `"g" -rw-r--r-- "another"`)
}

// TestApplyThroughLinks has links of the host, and of the layer, on the way.
func TestApplyThroughLinks(t *testing.T) {
	b := newBox(t)
	victim := filepath.Join(filepath.Dir(b.host), "victim")
	b.write(victim, "f", "precious")
	b.write(b.host, "d/f", "old")
	b.fresh()
	b.write(b.upper, "d/f", "new")
	b.write(b.upper, "d/sub/g", "new")
	b.must(os.Symlink("../../victim", filepath.Join(b.upper, "way")))
	// The host's d is a link by now.
	b.must(os.RemoveAll(filepath.Join(b.host, "d")))
	b.must(os.Symlink(victim, filepath.Join(b.host, "d")))
	l := b.open()
	changes, err := l.Changes()
	b.must(err)
	report, err := l.Apply(changes, func(it *layer.Item) bool { return it.Type != "folder" })
	b.must(err)
	if len(report.Failed) != 2 {
		t.Errorf("%d failures, want those of d/f and d/sub/g: %v", len(report.Failed), report.Failed)
	}
	b.want(tree(t, victim), `"." drwxr-xr-x`, `"f" -rw-r--r-- "precious"`)
	l.Close()
	// Taken as a whole, d replaces the link, and not what it leads to.
	b.apply()
	b.want(tree(t, victim), `"." drwxr-xr-x`, `"f" -rw-r--r-- "precious"`)
	b.want(tree(t, b.host), `"." drwxr-xr-x`, `"d" drwxr-xr-x`, `"d/f" -rw-r--r-- "new"`, `"d/sub" drwxr-xr-x`, `"d/sub/g" -rw-r--r-- "new"`,
		`"way" Lrwxrwxrwx -> ../../victim`)
}

// TestApplyRace exchanges a folder of the host for a link all the time.
func TestApplyRace(t *testing.T) {
	b := newBox(t)
	victim := filepath.Join(filepath.Dir(b.host), "victim")
	b.must(os.Mkdir(victim, 0o755))
	b.must(os.Mkdir(filepath.Join(b.host, "d"), 0o755))
	b.must(os.Symlink(victim, filepath.Join(b.host, "e")))
	b.fresh()
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Add(1)
	go func() {
		defer wg.Done()
		for {
			select {
			case <-stop:
				return
			default:
				_ = unix.Renameat2(unix.AT_FDCWD, filepath.Join(b.host, "d"), unix.AT_FDCWD, filepath.Join(b.host, "e"), unix.RENAME_EXCHANGE)
			}
		}
	}()
	applied := 0
	for round := range 30 {
		for i := range 40 {
			b.write(b.upper, fmt.Sprintf("d/f%d-%d", round, i), "new")
		}
		l := b.open()
		changes, err := l.Changes()
		if err != nil {
			l.Close()
			continue // the folder was exchanged while it was listed
		}
		report, _ := l.Apply(changes, func(it *layer.Item) bool { return it.Type == "file" })
		applied += len(report.Applied)
		l.Close()
	}
	close(stop)
	wg.Wait()
	if applied == 0 {
		t.Error("nothing was ever applied: the race was not tried")
	}
	if names, _ := os.ReadDir(victim); len(names) > 0 {
		t.Errorf("%d files went through the link", len(names))
	}
}

// TestApplyKilled kills apply at any moment, 100 times: each file is the old one
// or the new one, and nothing temporary stays.
func TestApplyKilled(t *testing.T) {
	b := newBox(t)
	const files = 8
	oldText, newText := strings.Repeat("o", 40<<10), strings.Repeat("n", 60<<10)
	interrupted, took := 0, 40*time.Millisecond
	for round := range 100 {
		for i := range files {
			b.write(b.host, fmt.Sprintf("d%d/f%d", i%3, i), oldText)
		}
		b.write(b.host, "gone/x", oldText)
		b.fresh()
		for i := range files {
			b.write(b.upper, fmt.Sprintf("d%d/f%d", i%3, i), newText)
		}
		b.whiteout("gone")
		cmd := start(t, "apply", b.store)
		began := time.Now()
		if round > 0 {
			time.AfterFunc(rand.N(took), func() { _ = cmd.Process.Kill() })
		}
		err := cmd.Wait()
		if err == nil {
			took = min(took, time.Since(began)+time.Millisecond)
		} else if !cmd.ProcessState.Exited() {
			interrupted++
		}
		for i := range files {
			data, err := os.ReadFile(filepath.Join(b.host, fmt.Sprintf("d%d/f%d", i%3, i)))
			b.must(err)
			if string(data) != oldText && string(data) != newText {
				t.Fatalf("round %d: f%d is neither the old nor the new one: %d bytes", round, i, len(data))
			}
		}
		b.apply()
		for _, line := range tree(t, b.host) {
			if strings.Contains(line, ".sbx-") || strings.Contains(line, "gone") || strings.Contains(line, "ooo") {
				t.Fatalf("round %d: left over: %.80s", round, line)
			}
		}
		if names, _ := os.ReadDir(b.upper); len(names) > 0 {
			t.Fatalf("round %d: the layer holds %v", round, names)
		}
	}
	if interrupted < 20 {
		t.Errorf("only %d of 100 were interrupted: the test tests little", interrupted)
	}
}

// TestApplyHostileNames applies names that are hard to handle.
func TestApplyHostileNames(t *testing.T) {
	b := newBox(t)
	names := []string{
		strings.Repeat("x", 255), "new\nline", "..", "..x", "-rf", "\x1b[31m", "a\\b", "\xff\xfe", " ", "*", ".sbx-1", "u\u202e",
	}
	names = slices.DeleteFunc(names, func(n string) bool { return n == ".." })
	for _, n := range names {
		b.write(b.upper, filepath.Join("dir", n), n)
	}
	for i := range 10000 {
		b.write(b.upper, fmt.Sprintf("many/%d", i), "m")
	}
	report := b.apply()
	if want := len(names) + 10000 + 2; len(report.Applied) != want {
		t.Errorf("%d applied, want %d", len(report.Applied), want)
	}
	for _, n := range names {
		data, err := os.ReadFile(filepath.Join(b.host, "dir", n))
		if err != nil || string(data) != n {
			t.Errorf("%q: %q, %v", n, data, err)
		}
	}
	b.want(b.changes())
}

// TestApplyDeep applies and removes folders deeper than a path can be.
func TestApplyDeep(t *testing.T) {
	b := newBox(t)
	const levels, name = 1000, "a-folder-with-a-long-name"
	at, err := unix.Open(b.upper, unix.O_PATH|unix.O_DIRECTORY, 0)
	b.must(err)
	for range levels {
		b.must(unix.Mkdirat(at, name, 0o755))
		next, err := unix.Openat(at, name, unix.O_PATH|unix.O_DIRECTORY, 0)
		b.must(err)
		unix.Close(at)
		at = next
	}
	fd, err := unix.Openat(at, "bottom", unix.O_CREAT|unix.O_WRONLY, 0o600)
	b.must(err)
	unix.Close(fd)
	unix.Close(at)
	report := b.apply()
	if len(report.Applied) != levels+1 {
		t.Errorf("%d applied, want %d", len(report.Applied), levels+1)
	}
	b.want(b.changes())
	// And away with it again, by a layer that deletes it.
	b.fresh()
	b.whiteout(name)
	b.apply()
	if names, _ := os.ReadDir(b.host); len(names) > 0 {
		t.Errorf("left over: %v", names)
	}
}

// TestApplyReadOnlyFolder changes what is in a folder of mode 0555, which CMD
// made writable for a moment.
func TestApplyReadOnlyFolder(t *testing.T) {
	b := newBox(t)
	b.write(b.host, "d/f", "old")
	b.must(os.Chmod(filepath.Join(b.host, "d"), 0o555))
	b.fresh()
	b.write(b.upper, "d/f", "new")
	b.write(b.upper, "fresh/g", "new")
	b.must(os.Chmod(filepath.Join(b.upper, "d"), 0o555))
	b.must(os.Chmod(filepath.Join(b.upper, "fresh"), 0o555))
	b.apply()
	b.want(tree(t, b.host), `"." drwxr-xr-x`, `"d" dr-xr-xr-x`, `"d/f" -rw-r--r-- "new"`, `"fresh" dr-xr-xr-x`, `"fresh/g" -rw-r--r-- "new"`)
	b.want(b.changes())
}
