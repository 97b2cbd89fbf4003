package layer_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox"
	"github.com/sbx-dev/sbx/sandbox/internal/testenv"
	"github.com/sbx-dev/sbx/sandbox/layer"
)

// TestMain makes the test binary the process that tests kill: with SBX_LAYER_DO
// it applies or removes a layer, or copies out, and nothing else.
func TestMain(m *testing.M) {
	if do := os.Getenv("SBX_LAYER_DO"); do != "" {
		if err := helper(do, os.Getenv("SBX_LAYER_STORE")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	code := m.Run()
	if n := testenv.Skips(); n > 0 {
		fmt.Fprintf(os.Stderr, "%d tests skipped\n", n)
	}
	os.Exit(code)
}

func helper(do, store string) error {
	if do == "out" {
		dir := filepath.Dir(store)
		root, err := unix.Open(filepath.Join(dir, "root"), unix.O_PATH|unix.O_DIRECTORY, 0)
		if err != nil {
			return err
		}
		fmt.Println("ready")
		_, err = layer.NewStore(store).CopyOut(root, "/dist", filepath.Join(dir, "host", "dist"), []string{filepath.Join(dir, "host")})
		return err
	}
	l, err := layer.NewStore(store).Open("box")
	if err != nil {
		return err
	}
	if do == "remove" {
		return l.Remove()
	}
	defer l.Close()
	changes, err := l.Changes()
	if err != nil {
		return err
	}
	fmt.Println("ready") // to be killed from here on
	_, err = l.Apply(changes, func(*layer.Item) bool { return true })
	return err
}

// start runs helper in a process of its own, up to its "ready".
func start(t *testing.T, do string, store layer.Store) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "SBX_LAYER_DO="+do, "SBX_LAYER_STORE="+store.Dir())
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if do != "remove" {
		if _, err := out.Read(make([]byte, 6)); err != nil {
			t.Fatal("the helper did not begin:", err)
		}
	}
	return cmd
}

// box is a project and a layer over it, made by hand.
type box struct {
	t     *testing.T
	host  string // the project
	upper string
	store layer.Store
}

// newBox makes an empty project and an empty layer called box.
func newBox(t *testing.T) *box {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	b := &box{t: t, host: filepath.Join(dir, "host"), store: layer.NewStore(filepath.Join(dir, "layers"))}
	t.Cleanup(func() { _ = exec.Command("chmod", "-R", "u+rwx", dir).Run() })
	b.must(os.Mkdir(b.host, 0o755))
	b.fresh()
	return b
}

// fresh makes the layer anew.
func (b *box) fresh() {
	b.t.Helper()
	if l, err := b.store.Open("box"); err == nil {
		b.must(l.Remove())
	}
	l, err := b.store.Create("box")
	b.must(err)
	defer l.Close()
	b.upper = filepath.Join(l.Upper(), "project", "upper")
	b.must(os.MkdirAll(b.upper, 0o755))
	l.Record.Uppers = []sandbox.Upper{{Target: b.host, Lower: b.host, Dir: b.upper}}
	b.must(l.Begin(&sandbox.Plan{}, b.host, []string{"true"}))
}

func (b *box) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

// write makes a file with its folders.
func (b *box) write(dir, name, content string) {
	b.t.Helper()
	at := filepath.Join(dir, name)
	b.must(os.MkdirAll(filepath.Dir(at), 0o755))
	b.must(os.WriteFile(at, []byte(content), 0o644))
}

// whiteout deletes a name as overlayfs does.
func (b *box) whiteout(name string) {
	b.t.Helper()
	at := filepath.Join(b.upper, name)
	b.must(os.MkdirAll(filepath.Dir(at), 0o755))
	b.must(unix.Mknod(at, unix.S_IFCHR, 0))
}

// opaque makes a folder that hides what is below.
func (b *box) opaque(name string) {
	b.t.Helper()
	at := filepath.Join(b.upper, name)
	b.must(os.MkdirAll(at, 0o755))
	b.must(unix.Setxattr(at, "user.overlay.opaque", []byte("y"), 0))
}

func (b *box) open() *layer.Layer {
	b.t.Helper()
	l, err := b.store.Open("box")
	b.must(err)
	b.t.Cleanup(l.Close)
	return l
}

// changes lists what the layer holds, a line each.
func (b *box) changes() []string {
	b.t.Helper()
	l, err := b.store.Look("box")
	b.must(err)
	changes, err := l.Changes()
	b.must(err)
	return lines(b.host, changes)
}

func lines(host string, changes *layer.Changes) []string {
	var out []string
	for _, it := range changes.Items {
		rel, _ := filepath.Rel(host, it.Host)
		line := it.Kind + " " + it.Type + " " + rel
		if it.Conflict != "" {
			line += " conflict"
		}
		if it.Skip != "" {
			line += " skip"
		}
		if it.Guarded != "" {
			line += " guarded"
		}
		out = append(out, line)
	}
	return out
}

// apply applies everything, and expects no failure.
func (b *box) apply() *layer.Report {
	b.t.Helper()
	l := b.open()
	defer l.Close()
	changes, err := l.Changes()
	b.must(err)
	report, err := l.Apply(changes, func(*layer.Item) bool { return true })
	b.must(err)
	for _, f := range report.Failed {
		b.t.Errorf("%s: %v", f.Item.Host, f.Err)
	}
	return report
}

func (b *box) want(got []string, want ...string) {
	b.t.Helper()
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		b.t.Errorf("got\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
}

// tree describes a folder: a line for each name in it.
func tree(t *testing.T, dir string) []string {
	t.Helper()
	var out []string
	err := filepath.Walk(dir, func(p string, fi os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, p)
		line := fmt.Sprintf("%q %v", rel, fi.Mode())
		switch {
		case fi.Mode().IsRegular():
			data, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			line += fmt.Sprintf(" %q", data)
		case fi.Mode()&os.ModeSymlink != 0:
			target, err := os.Readlink(p)
			if err != nil {
				return err
			}
			line += " -> " + target
		}
		out = append(out, line)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	sort.Strings(out)
	return out
}
