package layer_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox"
	"github.com/sbx-dev/sbx/sandbox/internal/testenv"
	"github.com/sbx-dev/sbx/sandbox/layer"
)

// script makes random changes to a folder, as a program for sh.
func script(r *rand.Rand, steps int) string {
	names := []string{"a", "b", "d", "d/x", "d/y", "d/e", "d/e/z", "f", "f/g", "'n\nl'", "'s p'", "l"}
	name := func() string { return names[r.IntN(len(names))] }
	var b strings.Builder
	for i := range steps {
		n, m := name(), name()
		fmt.Fprintln(&b, []string{
			fmt.Sprintf("echo %d >%s", i, n),
			fmt.Sprintf("echo %d >>%s", i, n),
			"rm -f " + n,
			"rm -rf " + n,
			"mkdir " + n,
			"mkdir -p " + n + "/sub",
			"rm -rf " + n + "; mkdir -p " + n + "; echo " + fmt.Sprint(i) + " >" + n + "/in",
			"mv " + n + " " + m,
			"cp -a " + n + " " + m,
			"ln " + n + " " + m,
			"ln -s " + m + " " + n,
			fmt.Sprintf("chmod %o %s", 0o700|r.IntN(0o100), n),
			"touch -d @1000000" + fmt.Sprint(i) + " " + n,
			"truncate -s 300000 " + n,
		}[r.IntN(14)], "2>/dev/null")
	}
	return b.String()
}

// inspect prints what a folder holds: names, kinds, modes, links and contents.
const inspect = `find . -mindepth 1 -printf '%P %y %m %l\n' | sort; find . -type f -exec cksum {} + | sort`

// TestRandom makes random changes in a kept layer, in several runs, and applies
// them: the host then holds what was seen inside, and the layer nothing. Until
// then the host is what it was.
func TestRandom(t *testing.T) {
	testenv.Need(t, "userns", "overlay")
	for seed := range uint64(40) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 1))
			dir, err := filepath.EvalSymlinks(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			host := filepath.Join(dir, "host")
			if err := os.Mkdir(host, 0o755); err != nil {
				t.Fatal(err)
			}
			store := layer.NewStore(filepath.Join(dir, "layers"))
			t.Chdir(host)
			run := func(text string, keep bool) string {
				t.Helper()
				spec := sandbox.Spec{Args: []string{"sh", "-c", text}, Mounts: []sandbox.Mount{{Kind: sandbox.BindRW, Source: host, Target: host}}}
				var l *layer.Layer
				if keep {
					if l, err = store.Create("box"); err != nil {
						t.Fatal(err)
					}
					defer l.Close()
					spec.Mounts, spec.Upper, spec.Home = nil, l.Upper(), l.Home()
				}
				feat, err := sandbox.Probe(&spec)
				if err != nil {
					t.Fatal(err)
				}
				if keep {
					plan, err := sandbox.Compile(&spec, feat)
					if err != nil {
						t.Fatal(err)
					}
					if err := l.Begin(plan, feat.Dir, spec.Args); err != nil {
						t.Fatal(err)
					}
				}
				out, _ := (&sandbox.Cmd{Spec: spec}).Output()
				return string(out)
			}
			run(script(r, 15), false)
			before := run(inspect, false)
			for range 3 {
				run(script(r, 15), true)
			}
			inside := run(inspect, true)
			if after := run(inspect, false); after != before {
				t.Fatalf("the host changed:\n%s\nwas\n%s", after, before)
			}
			l, err := store.Open("box")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			changes, err := l.Changes()
			if err != nil {
				t.Fatal(err)
			}
			report, err := l.Apply(changes, func(*layer.Item) bool { return true })
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range report.Failed {
				t.Errorf("%s: %v", f.Item.Path, f.Err)
			}
			if after := run(inspect, false); after != inside {
				t.Errorf("applied:\n%s\ninside it was\n%s\nthe changes were\n%s", after, inside, strings.Join(lines(host, changes), "\n"))
			}
			if changes, err = l.Changes(); err != nil || len(changes.Items) > 0 {
				t.Errorf("the layer still holds %v, %v", changes.Items, err)
			}
			for _, u := range l.Record.Uppers {
				if names, _ := os.ReadDir(u.Dir); u.Target == host && len(names) > 0 {
					t.Errorf("the layer's folder still holds %v", names)
				}
			}
		})
	}
}

// TestToolsStayInTheLayer has changes in a folder that nobody asked for.
func TestToolsStayInTheLayer(t *testing.T) {
	b := newBox(t)
	b.write(b.upper, "registry/poison", "x")
	l := b.open()
	l.Record.Uppers[0].Why = "the tool cargo"
	changes, err := l.Changes()
	b.must(err)
	if len(changes.Items) != 0 || changes.OwnFiles != 1 {
		t.Errorf("%d changes and %d files of its own, want 0 and 1", len(changes.Items), changes.OwnFiles)
	}
	_, err = l.Apply(changes, func(*layer.Item) bool { return true })
	b.must(err)
	b.want(tree(t, b.host), `"." drwxr-xr-x`)
}

// TestCopyOut copies out of a folder that stands for a sandbox's root.
func TestCopyOut(t *testing.T) {
	b := newBox(t)
	root := filepath.Join(filepath.Dir(b.host), "root")
	victim := filepath.Join(filepath.Dir(b.host), "victim")
	b.write(victim, "key", "secret")
	b.write(root, "work/dist/a", "a")
	b.must(os.Chmod(filepath.Join(root, "work/dist/a"), 0o4755|os.ModeSetuid))
	b.must(os.Symlink(victim, filepath.Join(root, "work/dist/abs")))
	b.must(os.Symlink("sub/../../..", filepath.Join(root, "work/dist/up")))
	b.must(os.Symlink("a", filepath.Join(root, "work/dist/in")))
	b.must(os.Symlink(victim, filepath.Join(root, "work/leak")))
	b.must(os.Symlink("../../../../../../../../../../.."+victim, filepath.Join(root, "work/leak2")))
	b.must(unix.Mkfifo(filepath.Join(root, "work/dist/fifo"), 0o600))
	b.write(root, "work/dist/.vscode/tasks.json", "evil")
	fd, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY, 0)
	b.must(err)
	defer unix.Close(fd)

	out, err := b.store.CopyOut(fd, "/work/dist", filepath.Join(b.host, "dist"), []string{b.host})
	b.must(err)
	if out.Files != 2 || len(out.Skipped) != 4 || len(out.Failed) != 0 {
		t.Errorf("%+v", out)
	}
	b.want(tree(t, b.host), `"." drwxr-xr-x`, `"dist" drwxr-xr-x`, `"dist/a" -rwxr-xr-x "a"`, `"dist/in" Lrwxrwxrwx -> a`)
	for _, leak := range []string{"/work/leak", "/work/leak/key", "/work/leak2", "/work/leak2/key", "/work/../../" + victim, "/none"} {
		if _, err := b.store.CopyOut(fd, leak, filepath.Join(b.host, "leak"), []string{b.host}); err == nil || !strings.Contains(err.Error(), layer.ErrAbsent.Error()) {
			t.Errorf("%s: %v", leak, err)
		}
	}
	// A link of the host is in the way, at the end and before it.
	b.must(os.Symlink(victim, filepath.Join(b.host, "way")))
	if out, err := b.store.CopyOut(fd, "/work/dist", filepath.Join(b.host, "way"), []string{b.host}); err != nil || len(out.Failed) == 0 || out.Files != 0 {
		t.Errorf("to a link: %+v, %v", out, err)
	}
	if _, err := b.store.CopyOut(fd, "/work/dist/a", filepath.Join(b.host, "way", "key"), []string{b.host}); err == nil {
		t.Error("through a link: no error")
	}
	b.want(tree(t, victim), `"." drwxr-xr-x`, `"key" -rw-r--r-- "secret"`)
	if names, _ := os.ReadDir(b.store.Dir()); len(names) != 1 {
		t.Errorf("journals are left: %v", names)
	}
}
