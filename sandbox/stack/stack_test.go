package stack_test

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox/stack"
)

// layers makes folders: "name" a file that says which layer it is of, "name/" a
// folder, "name -> target" a link, "-name" a whiteout, "name/!" an opaque folder.
func layers(t *testing.T, all ...string) []string {
	t.Helper()
	var out []string
	for i, text := range all {
		dir := filepath.Join(t.TempDir(), "root")
		must(t, os.Mkdir(dir, 0o755))
		out = append(out, dir)
		for _, entry := range strings.Split(text, ", ") {
			if entry == "" {
				continue
			}
			name, target, link := strings.Cut(entry, " -> ")
			base, white := strings.CutPrefix(filepath.Base(name), "-")
			at := filepath.Join(dir, filepath.Dir(name), base)
			must(t, os.MkdirAll(filepath.Dir(at), 0o755))
			switch {
			case link:
				must(t, os.Symlink(target, at))
			case white:
				must(t, unix.Mknod(at, unix.S_IFCHR, 0))
			case base == "!":
				must(t, unix.Setxattr(filepath.Dir(at), "user.overlay.opaque", []byte("y"), 0))
			case strings.HasSuffix(name, "/"):
				must(t, os.MkdirAll(filepath.Join(dir, name), 0o755))
			default:
				must(t, os.WriteFile(at, []byte{byte('0' + i)}, 0o600))
			}
		}
	}
	return out
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// tree lists everything that a stack shows, each file with the layer that it is
// of.
func tree(t *testing.T, s stack.Stack, dir string) []string {
	t.Helper()
	list, err := s.ReadDir(dir)
	must(t, err)
	var out []string
	for _, i := range list {
		p := filepath.Join(dir, i.Name)
		switch {
		case i.IsDir():
			out = append(append(out, p+"/"), tree(t, s, p)...)
		case i.IsLink():
			target, err := s.Readlink(p)
			must(t, err)
			out = append(out, p+"->"+target)
		default:
			f, err := s.Open(p)
			must(t, err)
			data, err := io.ReadAll(f)
			must(t, errors.Join(err, f.Close()))
			out = append(out, p+"="+string(data))
		}
	}
	return out
}

// sandbox compares with the kernel.
func TestMerge(t *testing.T) {
	for _, c := range []struct {
		name, want string
		layers     []string
	}{
		{"order", "/a=2 /b=1 /c=0", []string{"a, b, c", "a, b", "a"}},
		{"whiteout", "/b=0", []string{"a, b", "-a"}},
		{"a whiteout and a new file", "/a=2", []string{"a", "-a", "a"}},
		{"merged folders", "/d/ /d/x=0 /d/y=1", []string{"d/x", "d/y"}},
		{"an opaque folder", "/d/ /d/y=1", []string{"d/x, d/z/q", "d/!, d/y"}},
		{"opaque, and one above", "/d/ /d/w=2 /d/y=1", []string{"d/x", "d/!, d/y", "d/w"}},
		{"a file over a folder", "/d=1", []string{"d/x", "d"}},
		{"a folder over a file", "/d/ /d/x=1", []string{"d", "d/x"}},
		{"a folder over a file over a folder", "/d/ /d/x=2", []string{"d/old", "d", "d/x"}},
		{"a link over a folder", "/d->/etc", []string{"d/x", "d -> /etc"}},
		{"a folder that was removed and made again", "/d/ /d/y=2", []string{"d/x", "-d", "d/y"}},
		{"a whiteout in a folder", "/d/ /d/b=0", []string{"d/a, d/b", "d/-a"}},
		{"nothing below a whiteout", "", []string{"d/a/b/c", "-d"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := stack.New(layers(t, c.layers...))
			if have := strings.Join(tree(t, s, "/"), " "); have != c.want {
				t.Errorf("%s, want %s", have, c.want)
			}
		})
	}
}

// TestLinksAreNotFollowed: a link of a layer leads nowhere by itself.
func TestLinksAreNotFollowed(t *testing.T) {
	s := stack.New(layers(t, "out -> /etc, file -> /etc/passwd, d/f", "e -> d"))
	for _, p := range []string{"/out/passwd", "/e/f", "/out/../etc/passwd", "/../../etc/passwd"} {
		if i, err := s.Lstat(p); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %+v, %v", p, i.Name, err)
		}
	}
	if f, err := s.Open("/file"); err == nil {
		t.Errorf("the link was opened: %s", f.Name())
	}
	if _, err := s.ReadDir("/out"); !errors.Is(err, unix.ENOTDIR) {
		t.Errorf("the link was listed: %v", err)
	}
}

// TestResolve: links are followed as with the stack as the root.
func TestResolve(t *testing.T) {
	s := stack.New(layers(t, "a/b/f, abs -> /a/b, up -> ../../../../a, loop -> loop, x -> y, y -> x, dead -> /no/such", "rel/l -> ../a"))
	for p, want := range map[string]string{
		"/": "/", "": "/", "/a/../../..": "/", "/abs/f": "/a/b/f", "/up/b": "/a/b", "/rel/l/b/": "/a/b",
		"/new/thing": "/new/thing", "/a/new": "/a/new", "/dead/x": "/no/such/x", "/abs/../f": "/a/f",
	} {
		if have, err := s.Resolve(p); err != nil || have != want {
			t.Errorf("%s: %s, %v, want %s", p, have, err, want)
		}
	}
	long := strings.Repeat("/a", 2048) // a million components would take hours
	for p, want := range map[string]error{long: unix.ENAMETOOLONG, "/loop": unix.ELOOP, "/x/z": unix.ELOOP, "/a/b/f/x": unix.ENOTDIR} {
		if have, err := s.Resolve(p); !errors.Is(err, want) {
			t.Errorf("%s: %s, %v, want %v", p, have, err, want)
		}
	}
}

// TestResolveClosed: in a layer with real owners a folder may be another id's,
// and closed to who makes the plan. What lies in there is taken as it is.
func TestResolveClosed(t *testing.T) {
	dirs := layers(t, "closed/x/y, link -> /closed")
	must(t, os.Chmod(dirs[0]+"/closed", 0))
	t.Cleanup(func() { must(t, os.Chmod(dirs[0]+"/closed", 0o700)) })
	if os.Geteuid() == 0 {
		t.Fatal("nothing is closed to root: go test -exec scripts/as-user, as make test does")
	}
	s := stack.New(dirs)
	if have, err := s.Resolve("/link/x/../z"); err != nil || have != "/closed/z" {
		t.Errorf("%s, %v", have, err)
	}
	if _, err := s.Lstat("/closed/x"); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("the folder is not closed: %v", err)
	}
}

func TestReadFile(t *testing.T) {
	dirs := layers(t, "f, fifo/")
	must(t, os.WriteFile(dirs[0]+"/large", make([]byte, 100), 0o600))
	must(t, unix.Mkfifo(dirs[0]+"/pipe", 0o600))
	s := stack.New(dirs)
	if data, err := s.ReadFile("/f", 1); err != nil || string(data) != "0" {
		t.Errorf("%q, %v", data, err)
	}
	if _, err := s.ReadFile("/large", 99); !errors.Is(err, unix.EFBIG) {
		t.Errorf("a file that is too large: %v", err)
	}
	for _, p := range []string{"/pipe", "/fifo"} {
		if _, err := s.ReadFile(p, 1); err == nil {
			t.Errorf("%s is no regular file, and was read", p)
		}
	}
	if _, err := (stack.Stack{}).Lstat("/"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the zero stack has a root: %v", err)
	}
	list, err := s.ReadDir("/")
	if names := len(list); err != nil || names != 4 || !slices.IsSortedFunc(list, func(a, b stack.Info) int { return strings.Compare(a.Name, b.Name) }) {
		t.Errorf("the list is not sorted: %v, %v", list, err)
	}
}
