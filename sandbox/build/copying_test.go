package build

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox/image"
)

// files makes files below a folder: a name that ends with a slash is a folder,
// a content that begins with "->" a link.
func files(t *testing.T, dir string, list ...string) string {
	t.Helper()
	for _, entry := range list {
		name, content, _ := strings.Cut(entry, "=")
		at := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		switch target, link := strings.CutPrefix(content, "->"); {
		case strings.HasSuffix(name, "/"):
			err = os.MkdirAll(at, 0o755)
		case link:
			err = os.Symlink(target, at)
		default:
			err = os.WriteFile(at, []byte(content), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// stageOf is a stage with the files of a folder.
func stageOf(dir string) Place { return Place{Layers: []image.Layer{{Folder: dir}}} }

// archived does a copying and lists the archive: name, type, mode and what is in
// it, the folders only by name.
func archived(t *testing.T, c Copying) (string, error) {
	t.Helper()
	c.Verb = CopyArchive
	c.Now = time.Unix(1e9, 0)
	var out bytes.Buffer
	if err := c.Do(context.Background(), &out); err != nil {
		return "", err
	}
	var list []string
	for r := tar.NewReader(&out); ; {
		h, err := r.Next()
		if err == io.EOF {
			return strings.Join(list, " "), nil
		}
		if err != nil {
			t.Fatal(err)
		}
		text := h.Name
		if h.Uid != 0 || h.Gid != 0 {
			text += fmt.Sprintf("@%d:%d", h.Uid, h.Gid)
		}
		switch h.Typeflag {
		case tar.TypeReg:
			data, err := io.ReadAll(r)
			if err != nil {
				t.Fatal(err)
			}
			text += "=" + string(data)
		case tar.TypeSymlink:
			text += "->" + h.Linkname
		case tar.TypeLink:
			text += "=>" + h.Linkname
		case tar.TypeFifo:
			text += "|"
		}
		list = append(list, text)
	}
}

func TestCopy(t *testing.T) {
	context := files(t, t.TempDir(), "a=A", "b=B", "d/x=X", "d/y/z=Z", "d/l=->x", "lib/new=N", "link=->d", "file=->a", "e/", "p/q/r=R")
	stage := files(t, t.TempDir(), "etc/passwd=bob:x:7:8::/:/x", "etc/group=staff:x:50:", "usr/lib/old=O", "lib=->usr/lib", "srv/", "out=->srv", "srv/was=W", "etc/mtab=->/proc/mounts")
	for _, c := range []struct {
		name    string
		sources string
		dest    string
		change  func(*Copying)
		want    string // an error begins with "!"
	}{
		{"a file", "a", "/new", nil, "new=A"},
		{"a file into a folder", "a", "/new/", nil, "new/ new/a=A"},
		{"a file into a folder that is there", "a", "/srv", nil, "srv/ srv/a=A"},
		{"through a link of the stage", "a", "/out/", nil, "srv/ srv/a=A"},
		{"a link of the stage is replaced", "a", "/etc/mtab", nil, "etc/ etc/mtab=A"},
		{"several", "a b", "/n/", nil, "n/ n/a=A n/b=B"},
		{"the contents of a folder", "d", "/n", nil, "n/ n/l->x n/x=X n/y/ n/y/z=Z"},
		{"two of one name", "a d/../a", "/n/", nil, "n/ n/a=A"},
		{"a wildcard", "[ab]", "/n/", nil, "n/ n/a=A n/b=B"},
		{"a wildcard in a folder", "*/y", "/n/", nil, "n/ n/z=Z"},
		{"a wildcard for nothing", "q*", "/n/", nil, ""},
		{"a link is followed where it is named", "file", "/n/", nil, "n/ n/file=A"},
		{"a linked folder", "link", "/n/", nil, "n/ n/l->x n/x=X n/y/ n/y/z=Z"},
		{"no source", "none", "/n", nil, "!none: not found"},
		{"a folder does not replace a link to one", ".", "/", func(c *Copying) { c.Exclude = []string{"*", "!lib"} }, "usr/ usr/lib/ usr/lib/new=N"},
		{"a file is no folder", "a", "/etc/passwd/x", nil, "!a: /etc/passwd is there, and is no folder"},
		{"a folder is no file", "p", "/etc/", func(c *Copying) { c.Sources = []string{"a"}; c.Dest = "/srv/../etc" }, "etc/ etc/a=A"},
		{"chown by name", "a", "/n", func(c *Copying) { c.Chown = "bob:staff" }, "n@7:50=A"},
		{"chown's group is the user's", "a", "/n/", func(c *Copying) { c.Chown = "bob" }, "n/@7:8 n/a@7:8=A"},
		{"chown by number", "a", "/srv/", func(c *Copying) { c.Chown = "5" }, "srv/ srv/a@5:5=A"},
		{"chown nobody", "a", "/n", func(c *Copying) { c.Chown = "eve" }, "!--chown=eve: user eve: /etc/passwd does not name it"},
		{"exclude", "d", "/n", func(c *Copying) { c.Exclude = []string{"y", "*l"} }, "n/ n/x=X"},
		{"exclude with an exception", "d", "/n", func(c *Copying) { c.Exclude = []string{"**", "!y/z"} }, "n/ n/y/ n/y/z=Z"},
		{"parents", "p/q/r d/x", "/n", func(c *Copying) { c.Parents = true }, "n/ n/p/ n/p/q/ n/p/q/r=R n/d/ n/d/x=X"},
		{"parents after a pivot", "p/./q/r", "/n", func(c *Copying) { c.Parents = true }, "n/ n/q/ n/q/r=R"},
		{"a here-document", "", "/n/", func(c *Copying) { c.Contents = []Inline{{"h", "H\n"}} }, "n/ n/h=H\n"},
		{"chmod in letters", "a", "/n", func(c *Copying) { c.Chmod = "u+x" }, "!--chmod=u+x is not done here"},
		{"ignored", ".", "/n", func(c *Copying) { c.From.Ignore = []string{"*", "!d/y"} }, "n/ n/d/ n/d/y/ n/d/y/z=Z"},
		{"ignored folders with nothing let in go", ".", "/n", func(c *Copying) { c.From.Ignore = []string{"*", "!d/none*"} }, "n/"},
		{"an ignored source", "a", "/n", func(c *Copying) { c.From.Ignore = []string{"a"} }, "!a: not found"},
		{"from a stage", "/etc/passwd /lib", "/n/", func(c *Copying) { c.From = stageOf(stage) }, "n/ n/passwd=bob:x:7:8::/:/x n/old=O"},
	} {
		copying := Copying{Stage: stageOf(stage), From: Place{Context: context}, Sources: strings.Fields(c.sources)}
		copying.Dest = destination("/", c.dest, len(copying.Sources))
		if c.change != nil {
			c.change(&copying)
		}
		got, err := archived(t, copying)
		if err != nil {
			got = "!" + err.Error()
		}
		if got != c.want && !(strings.HasPrefix(c.want, "!") && strings.HasPrefix(got, c.want)) {
			t.Errorf("%s: %s\nwant %s", c.name, got, c.want)
		}
	}
}

// TestNothingLeadsOut: the context's and the stage's links, and dots, end at
// their own roots (CVE-2024-1753 and its like).
func TestNothingLeadsOut(t *testing.T) {
	outside := files(t, t.TempDir(), "secret=S", "dir/secret=S")
	dir := files(t, t.TempDir(), "abs=->"+outside+"/secret", "up=->../"+filepath.Base(outside)+"/secret", "dir=->"+outside+"/dir", "in/deep=->../../../../../../../.."+outside+"/dir", "self=->self", "ok=O")
	for _, from := range []Place{{Context: dir}, stageOf(dir)} {
		for _, source := range []string{"abs", "up", "dir", "dir/secret", "in/deep/secret", "../" + filepath.Base(outside) + "/secret", outside + "/secret", "self", "d*/secret", "*/deep/s*"} {
			got, err := archived(t, Copying{From: from, Sources: []string{source}, Dest: "/n/"})
			if strings.Contains(got, "=S") {
				t.Fatalf("%s of %+v leads out: %s", source, from, got)
			}
			if err == nil && !strings.Contains(source, "*") {
				t.Errorf("%s: no error, but %s", source, got)
			}
		}
	}
	// A stage's links as the destination.
	stage := files(t, t.TempDir(), "evil=->../../../../../.."+outside, "loop=->loop")
	got, err := archived(t, Copying{Stage: stageOf(stage), From: Place{Context: dir}, Sources: []string{"ok"}, Dest: "/evil/"})
	if err != nil || !strings.HasSuffix(got, strings.TrimPrefix(outside, "/")+"/ok=O") || strings.Contains(got, "..") {
		t.Errorf("a link in the stage: %s, %v", got, err)
	}
	if _, err := archived(t, Copying{Stage: stageOf(stage), From: Place{Context: dir}, Sources: []string{"ok"}, Dest: "/loop/x"}); !errors.Is(err, unix.ELOOP) {
		t.Errorf("a loop in the stage: %v", err)
	}
}

func TestHostileContext(t *testing.T) {
	dir := files(t, t.TempDir(), "a=A")
	if err := unix.Mkfifo(filepath.Join(dir, "fifo"), 0o644); err != nil {
		t.Fatal(err)
	}
	socket, err := net.Listen("unix", filepath.Join(dir, "socket"))
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	got, err := archived(t, Copying{From: Place{Context: dir}, Sources: []string{"."}, Dest: "/"})
	if err != nil || got != "a=A fifo|" {
		t.Errorf("a FIFO is copied and not read, a socket is left out: %q, %v", got, err)
	}
	files(t, dir, "closed=C", ".wh.a=W")
	if err := os.Chmod(filepath.Join(dir, "closed"), 0); err != nil {
		t.Fatal(err)
	}
	if os.Getuid() != 0 {
		if _, err := archived(t, Copying{From: Place{Context: dir}, Sources: []string{"closed"}, Dest: "/"}); !errors.Is(err, os.ErrPermission) {
			t.Errorf("a file that cannot be read: %v", err)
		}
	}
	for _, source := range []string{".", ".wh.a"} {
		if _, err := archived(t, Copying{From: Place{Context: dir}, Sources: []string{source}, Dest: "/n/"}); !errors.Is(err, errWhiteoutName) {
			t.Errorf("%s: %v", source, err)
		}
	}
}

// digestOf is what a cache key takes of what is copied.
func digestOf(t *testing.T, dir string) string {
	t.Helper()
	var out bytes.Buffer
	c := Copying{Verb: CopyDigest, From: Place{Context: dir}, Sources: []string{"."}, Dest: "/"}
	if err := c.Do(context.Background(), &out); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// TestDigest: content, names, modes and link targets count, times do not.
func TestDigest(t *testing.T) {
	dir := files(t, t.TempDir(), "a=A", "d/b=B", "l=->a")
	first := digestOf(t, dir)
	if err := os.Chtimes(filepath.Join(dir, "a"), time.Unix(1, 0), time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	if digestOf(t, dir) != first {
		t.Error("a time changes the digest")
	}
	seen := map[string]string{first: "the first"}
	for _, change := range []struct {
		name string
		do   func() error
	}{
		{"content", func() error { return os.WriteFile(filepath.Join(dir, "a"), []byte("a"), 0o644) }},
		{"mode", func() error { return os.Chmod(filepath.Join(dir, "a"), 0o755) }},
		{"name", func() error { return os.Rename(filepath.Join(dir, "a"), filepath.Join(dir, "c")) }},
		{"link", func() error {
			return errors.Join(os.Remove(filepath.Join(dir, "l")), os.Symlink("c", filepath.Join(dir, "l")))
		}},
		{"folder", func() error { return os.Mkdir(filepath.Join(dir, "e"), 0o755) }},
	} {
		if err := change.do(); err != nil {
			t.Fatal(err)
		}
		d := digestOf(t, dir)
		if as := seen[d]; as != "" {
			t.Errorf("%s: the digest is that of %s", change.name, as)
		}
		seen[d] = change.name
	}
}

func TestAdd(t *testing.T) {
	archive := func(entries ...tar.Header) string {
		var plain, out bytes.Buffer
		w := tar.NewWriter(&plain)
		for _, h := range entries {
			if h.Typeflag == 0 {
				h.Typeflag, h.Size = tar.TypeReg, 1
			}
			h.Mode = 0o644
			if err := w.WriteHeader(&h); err != nil {
				t.Fatal(err)
			}
			if h.Size > 0 {
				if _, err := w.Write([]byte("x")); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		z := gzip.NewWriter(&out)
		if _, err := z.Write(plain.Bytes()); err != nil {
			t.Fatal(err)
		}
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	for _, c := range []struct{ name, data, want string }{
		{"a tar", archive(tar.Header{Name: "d/", Typeflag: tar.TypeDir}, tar.Header{Name: "d/f", Uid: 3}, tar.Header{Name: "d/h", Typeflag: tar.TypeLink, Linkname: "d/f"}, tar.Header{Name: "s", Typeflag: tar.TypeSymlink, Linkname: "/etc"}), "n/ n/d/ n/d/f@3:0=x n/d/h=>n/d/f n/s->/etc"},
		{"absolute names", archive(tar.Header{Name: "/abs"}), "n/ n/abs=x"},
		{"no archive", "hello", "n/ n/f=hello"},
		{"compressed, and no archive", "\x1f\x8bxx", "n/ n/f=\x1f\x8bxx"},
		{"dots", archive(tar.Header{Name: "a/../../b"}), `!f: entry "a/../../b": a name with .. in it is refused`},
		{"a hard link out", archive(tar.Header{Name: "h", Typeflag: tar.TypeLink, Linkname: "/etc/passwd"}), `!f: entry "h": it is a hard link to`},
		{"through a link of its own", archive(tar.Header{Name: "s", Typeflag: tar.TypeSymlink, Linkname: "/etc"}, tar.Header{Name: "s/f"}), `!f: entry "s/f": /n/s is no folder`},
		{"a whiteout", archive(tar.Header{Name: ".wh.passwd"}), `!f: entry ".wh.passwd": a layer cannot hold`},
		{"xz", "\xfd7zXZ\x00", "!f: ADD of an xz archive is not done here"},
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "f"), []byte(c.data), 0o644); err != nil {
			t.Fatal(err)
		}
		got, err := archived(t, Copying{From: Place{Context: dir}, Sources: []string{"f"}, Dest: "/n/", Unpack: true})
		if err != nil {
			got = "!" + err.Error()
		}
		if got != c.want && !(strings.HasPrefix(c.want, "!") && strings.HasPrefix(got, c.want)) {
			t.Errorf("%s: %q\nwant %q", c.name, got, c.want)
		}
	}
}
