package layer_test

import (
	"archive/tar"
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox"
	"github.com/sbx-dev/sbx/sandbox/layer"
)

// inside is a folder that stands for the root of a sandbox that runs.
func (b *box) inside() (dir string, fd int) {
	b.t.Helper()
	dir = filepath.Join(filepath.Dir(b.host), "inside")
	b.must(os.MkdirAll(dir, 0o755))
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	b.must(err)
	b.t.Cleanup(func() { unix.Close(fd) })
	return dir, fd
}

// TestNames copies both ways with the names that docker cp gives.
func TestNames(t *testing.T) {
	for _, c := range []struct {
		from, to string
		want     string // a path below the target that holds "a", or "error"
	}{
		{"/d/a", "/new", "new"},
		{"/d/a", "/there", "there/a"},
		{"/d/a", "/there/", "there/a"},
		{"/d/a", "/there/old", "there/old"},
		{"/d/a", "/new/", "error"},
		{"/d/a", "/no/new", "error"},
		{"/d/a", "/there/old/", "error"},
		{"/d/a", "/there/old/x", "error"},
		{"/d/a/", "/new", "error"},
		{"/d", "/new", "new/a"},
		{"/d", "/new/", "new/a"},
		{"/d/", "/there", "there/d/a"},
		{"/d/.", "/there", "there/a"},
		{"/d/.", "/new", "new/a"},
		{"/d/sub/..", "/there", "there/d/a"},
		{"/link", "/there", "error"}, // as a link, which has no content there
		{"/link/", "/there", "there/link/a"},
		{"/link/a", "/there", "there/a"},
		{"/none", "/there", "error"},
	} {
		for _, into := range []bool{false, true} {
			b := newBox(t)
			root, fd := b.inside()
			from, to := root, b.host
			if into {
				from, to = b.host, root
			}
			b.write(from, "d/a", "content")
			b.must(os.Mkdir(filepath.Join(from, "d/sub"), 0o755))
			b.must(os.Symlink("d", filepath.Join(from, "link")))
			b.write(to, "there/old", "old")
			var out *layer.Out
			var err error
			if into {
				out, err = layer.CopyInto(fd, from+c.from, c.to, layer.Copying{})
			} else {
				out, err = b.store.CopyFrom(fd, c.from, to+c.to, layer.Copying{})
			}
			text, _ := os.ReadFile(filepath.Join(to, c.want))
			switch {
			case c.want != "error" && (err != nil || len(out.Failed) > 0 || string(text) != "content"):
				t.Errorf("%s to %s (into: %v): %+v, %v, %q", c.from, c.to, into, out, err, tree(t, to))
			case c.want == "error" && err == nil && len(out.Failed) == 0 && c.from != "/link":
				t.Errorf("%s to %s (into: %v): no error: %q", c.from, c.to, into, tree(t, to))
			}
		}
	}
}

// TestHostileInside copies out of a tree and into it that holds all that could
// deceive; nothing outside is read, or written to.
func TestHostileInside(t *testing.T) {
	b := newBox(t)
	root, fd := b.inside()
	victim := filepath.Join(filepath.Dir(b.host), "victim")
	b.write(victim, "key", "secret")
	b.write(root, "d/file", "x")
	b.must(os.Chmod(filepath.Join(root, "d/file"), 0o755|os.ModeSetuid))
	b.must(os.Symlink(victim, filepath.Join(root, "d/way")))
	b.must(os.Symlink(victim+"/key", filepath.Join(root, "d/key")))
	b.must(os.Symlink("../../../../../../../.."+victim, filepath.Join(root, "d/up")))
	b.must(unix.Mkfifo(filepath.Join(root, "d/fifo"), 0o600))
	b.must(os.WriteFile(filepath.Join(root, "d/hole"), nil, 0o600))
	b.must(os.Truncate(filepath.Join(root, "d/hole"), 1<<40))

	for _, p := range []string{"/d/way/key", "/d/key", "/d/up/key", "/d/../../" + victim} {
		if _, err := b.store.CopyFrom(fd, p, b.host+"/leak", layer.Copying{Follow: true, All: true}); err == nil {
			t.Errorf("%s was copied out", p)
		}
	}
	out, err := b.store.CopyFrom(fd, "/d", b.host+"/d", layer.Copying{})
	b.must(err)
	if out.Files != 2 || len(out.Skipped) != 4 || len(out.Failed) != 0 {
		t.Errorf("%+v", out)
	}
	if st, err := os.Lstat(b.host + "/d/file"); err != nil || st.Mode() != 0o755 {
		t.Errorf("%v, %v", st, err)
	}
	out, err = b.store.CopyFrom(fd, "/d/key", b.host+"/key", layer.Copying{All: true})
	b.must(err)
	if to, err := os.Readlink(b.host + "/key"); err != nil || to != victim+"/key" {
		t.Errorf("the link with All: %s, %v, %+v", to, err, out)
	}

	// Into it: links on the way lead to places inside, and those that have a name
	// are refused.
	b.write(b.host, "new", "new")
	b.write(b.host, "t/way/key", "new")
	for _, to := range []string{"/d/way/key", "/d/up/key", "/d/key", "/d/way", "/d/fifo"} {
		if out, err := layer.CopyInto(fd, b.host+"/new", to, layer.Copying{}); err == nil && len(out.Failed) == 0 {
			t.Errorf("to %s: no error", to)
		}
	}
	if out, err := layer.CopyInto(fd, b.host+"/t/.", "/d", layer.Copying{}); err != nil || len(out.Failed) != 1 {
		t.Errorf("a folder onto a link: %+v, %v", out, err)
	}
	b.want(tree(t, victim), `"." drwxr-xr-x`, `"key" -rw-r--r-- "secret"`)

	// As a stream.
	var stream bytes.Buffer
	out, err = layer.WriteTar(&stream, fd, "/d", layer.Copying{}, func(uid, gid uint32) (int, int) { return 7, 8 })
	b.must(err)
	if out.Files != 4 || len(out.Skipped) != 1 || len(out.Failed) != 1 || !strings.Contains(out.Failed[0].Why, "bytes of zeros in the stream") {
		t.Errorf("%+v", out)
	}
	r := tar.NewReader(&stream)
	for {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		b.must(err)
		if h.Uid != 7 || h.Gid != 8 || h.Mode&0o7000 != 0 || h.Name != "d/" && !strings.HasPrefix(h.Name, "d/") {
			t.Errorf("%+v", h)
		}
		if text, _ := io.ReadAll(r); bytes.Contains(text, []byte("secret")) {
			t.Errorf("%s holds the secret", h.Name)
		}
	}
}

// TestHostileStream unpacks tar streams that want out.
func TestHostileStream(t *testing.T) {
	b := newBox(t)
	root, fd := b.inside()
	victim := filepath.Join(filepath.Dir(b.host), "victim")
	b.write(victim, "key", "secret")
	b.must(os.Mkdir(root+"/d", 0o755))
	b.must(os.Symlink(victim, root+"/d/planted"))
	var stream bytes.Buffer
	w := tar.NewWriter(&stream)
	entry := func(kind byte, name, link, text string) {
		b.must(w.WriteHeader(&tar.Header{Typeflag: kind, Name: name, Linkname: link, Mode: 0o6755, Size: int64(len(text)), ModTime: time.Unix(1e9, 0)}))
		_, err := w.Write([]byte(text))
		b.must(err)
	}
	entry(tar.TypeReg, "../../victim/key", "", "evil")
	entry(tar.TypeReg, "/abs", "", "abs")
	entry(tar.TypeSymlink, "way", victim, "")
	entry(tar.TypeReg, "way/key", "", "evil")
	entry(tar.TypeReg, "planted/key", "", "evil")
	entry(tar.TypeLink, "hard", "way/key", "")
	entry(tar.TypeLink, "hard2", victim+"/key", "")
	entry(tar.TypeChar, "null", "", "")
	entry(tar.TypeFifo, "fifo", "", "")
	entry(tar.TypeReg, "sub/deep/file", "", "x")
	entry(tar.TypeLink, "same", "sub/deep/file", "")
	entry(tar.TypeLink, "same", "sub/deep/file", "") // again
	entry(tar.TypeReg, "abs", "", "twice")
	entry(tar.TypeDir, "sub/", "", "")
	b.must(w.Close())
	out, err := layer.ReadTar(&stream, fd, "/d")
	b.must(err)
	if out.Files != 6 || len(out.Skipped) != 3 || len(out.Failed) != 4 {
		t.Errorf("%+v", out)
	}
	b.want(tree(t, victim), `"." drwxr-xr-x`, `"key" -rw-r--r-- "secret"`)
	b.want(tree(t, root+"/d"), `"." drwxr-xr-x`, `"abs" -rwxr-xr-x "twice"`, `"planted" Lrwxrwxrwx -> `+victim, `"same" -rwxr-xr-x "x"`,
		`"sub" drwxr-xr-x`, `"sub/deep" drwxr-xr-x`, `"sub/deep/file" -rwxr-xr-x "x"`, `"way" Lrwxrwxrwx -> `+victim)
	if _, err := layer.ReadTar(strings.NewReader("no archive at all"), fd, "/d"); err == nil {
		t.Error("what is no archive: no error")
	}
	if _, err := layer.ReadTar(&stream, fd, "/d/abs"); err == nil {
		t.Error("into a file: no error")
	}
}

// TestCopyRace copies out and in while a process inside exchanges folders and
// files for links that lead out, as fast as it can.
func TestCopyRace(t *testing.T) {
	b := newBox(t)
	root, fd := b.inside()
	victim := filepath.Join(filepath.Dir(b.host), "victim")
	b.write(victim, "f", "secret")
	for _, name := range []string{"d/a/f", "d/b/f", "d/f"} {
		b.write(root, name, "harmless")
	}
	b.must(os.Symlink(victim, root+"/d/l"))
	b.must(os.Symlink(victim+"/f", root+"/d/m"))
	for _, name := range []string{"src/a/f", "src/f", "src/l/f"} {
		b.write(b.host, name, "new")
	}
	var stop atomic.Bool
	done := make(chan struct{})
	go func() {
		defer close(done)
		for !stop.Load() {
			_ = unix.Renameat2(fd, "d/a", fd, "d/l", unix.RENAME_EXCHANGE)
			_ = unix.Renameat2(fd, "d/f", fd, "d/m", unix.RENAME_EXCHANGE)
		}
	}()
	links := 0
	for end := time.Now().Add(2 * time.Second); time.Now().Before(end); {
		to := b.host + "/out"
		out, err := b.store.CopyFrom(fd, "/d", to, layer.Copying{})
		if err != nil {
			t.Fatal(err)
		}
		if len(out.Skipped)+len(out.Failed) > 0 {
			links++
		}
		_, _ = layer.CopyInto(fd, b.host+"/src/.", "/d", layer.Copying{})
		_, _ = layer.CopyInto(fd, b.host+"/src/f", "/d/a", layer.Copying{})
		var stream bytes.Buffer
		_, _ = layer.WriteTar(&stream, fd, "/d", layer.Copying{Follow: true}, func(uid, gid uint32) (int, int) { return 0, 0 })
		if bytes.Contains(stream.Bytes(), []byte("secret")) {
			t.Fatal("the stream holds what lies outside")
		}
		if found, _ := exec.Command("grep", "-r", "secret", to).Output(); len(found) > 0 {
			t.Fatalf("it was copied out: %s", found)
		}
		b.must(os.RemoveAll(to))
	}
	stop.Store(true)
	<-done
	if links == 0 {
		t.Error("no copy met an exchanged name: the test tests nothing")
	}
	b.want(tree(t, victim), `"." drwxr-xr-x`, `"f" -rw-r--r-- "secret"`)
}

// TestCopyFolders follows no link of the host in a folder that CMD can write to,
// also where the caller's own link leads into it.
func TestCopyFolders(t *testing.T) {
	b := newBox(t)
	root, fd := b.inside()
	victim := filepath.Join(filepath.Dir(b.host), "victim")
	b.write(victim, "key", "secret")
	b.write(root, "f", "x")
	b.must(os.Symlink(victim, b.host+"/way"))
	door := filepath.Join(filepath.Dir(b.host), "door")
	b.must(os.Symlink("host/way", door))
	how := layer.Copying{Follow: true, Folders: []string{b.host}}
	for _, p := range []string{b.host + "/way", door, door + "/"} {
		if out, err := b.store.CopyFrom(fd, "/f", p+"/key", how); err == nil {
			t.Errorf("to %s: %+v", p, out)
		}
		if out, err := layer.CopyInto(fd, p+"/key", "/", how); err == nil {
			t.Errorf("from %s: %+v", p, out)
		}
	}
	b.want(tree(t, victim), `"." drwxr-xr-x`, `"key" -rw-r--r-- "secret"`)
	if _, err := layer.CopyInto(fd, door+"/key", "/", layer.Copying{}); err != nil {
		t.Errorf("the caller's own links: %v", err)
	}
}

// TestCopyDeep copies a tree that is deeper than any path.
func TestCopyDeep(t *testing.T) {
	b := newBox(t)
	_, fd := b.inside()
	at, err := unix.Openat(fd, ".", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	b.must(err)
	name := strings.Repeat("n", 250)
	for range 140 { // 35 kB
		b.must(unix.Mkdirat(at, name, 0o755))
		next, err := unix.Openat(at, name, unix.O_RDONLY|unix.O_DIRECTORY, 0)
		b.must(err)
		unix.Close(at)
		at = next
	}
	unix.Close(at)
	out, err := b.store.CopyFrom(fd, "/.", b.host+"/out", layer.Copying{})
	b.must(err)
	if len(out.Failed) != 0 || len(out.Skipped) != 1 || out.Skipped[0].Why != "too deep" {
		t.Errorf("%d failed, %d left out", len(out.Failed), len(out.Skipped))
	}
	for _, dir := range []string{b.host, filepath.Dir(b.host) + "/inside"} { // which os.RemoveAll cannot
		b.must(exec.Command("rm", "-rf", dir).Run())
	}
}

// TestLiveApply copies from a layer that goes on changing. Nothing leaves it, and
// what was exchanged since it was listed is not copied.
func TestLiveApply(t *testing.T) {
	b := newBox(t)
	b.write(b.host, "old", "old")
	b.write(b.upper, "old", "new")
	b.write(b.upper, "exchanged", "as listed")
	b.must(os.Symlink("old", b.upper+"/link"))
	b.must(os.Symlink("old", b.upper+"/stays"))
	base, err := unix.Open(filepath.Dir(b.upper), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	b.must(err)
	defer unix.Close(base)
	l := b.store.Live("web", []sandbox.Upper{{Target: b.host, Lower: b.host, Dir: filepath.Base(b.upper)}}, base, b.host, time.Now())
	changes, err := l.Changes()
	b.must(err)
	if len(changes.Items) != 4 {
		t.Fatalf("%+v", changes.Items)
	}
	b.must(os.Remove(b.upper + "/link"))
	b.must(os.Symlink("/etc/shadow", b.upper+"/link"))
	b.must(os.Rename(b.upper+"/exchanged", b.upper+"/away"))
	b.write(b.upper, "exchanged", "another one")
	report, err := l.Apply(changes, func(*layer.Item) bool { return true })
	b.must(err)
	if len(report.Applied) != 2 || len(report.Failed) != 2 {
		t.Errorf("%+v", report)
	}
	b.want(tree(t, b.host), `"." drwxr-xr-x`, `"old" -rw-r--r-- "new"`, `"stays" Lrwxrwxrwx -> old`)
	b.want(tree(t, b.upper), `"." drwxr-xr-x`, `"away" -rw-r--r-- "as listed"`, `"exchanged" -rw-r--r-- "another one"`, `"link" Lrwxrwxrwx -> /etc/shadow`,
		`"old" -rw-r--r-- "new"`, `"stays" Lrwxrwxrwx -> old`)
	if changes, err = l.Changes(); err != nil || len(changes.Items) != 3 {
		t.Errorf("%+v, %v", changes, err)
	}
}
