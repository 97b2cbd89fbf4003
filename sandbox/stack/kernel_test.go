package stack_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox/internal/testenv"
	"github.com/sbx-dev/sbx/sandbox/stack"
)

// kernelWord makes this program, executed anew in a user and mount namespace,
// the one that lists what the kernel shows.
const kernelWord = "-list-overlays"

func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == kernelWord {
		if err := listOverlays(os.Args[2]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// TestAsTheKernel: of random layers, among them whiteouts, opaque folders, and
// links, files and folders over one another, the stack says what overlayfs shows:
// every name and, of paths through links and "..", where they lead. A ".." of what
// does not exist is left out: Resolve takes it, the kernel does not.
func TestAsTheKernel(t *testing.T) {
	testenv.Need(t, "userns", "overlay")
	top := t.TempDir()
	const rounds = 60
	want := map[string]stack.Stack{}
	for n := range rounds {
		r := rand.New(rand.NewPCG(7, uint64(n)))
		dir := filepath.Join(top, fmt.Sprintf("%03d", n))
		must(t, os.MkdirAll(filepath.Join(dir, "at"), 0o755))
		var all []string
		for i := range 2 + r.IntN(4) {
			layer := filepath.Join(dir, fmt.Sprint("l", i))
			must(t, os.Mkdir(layer, 0o755))
			fill(t, r, layer, fmt.Sprint(i), 0)
			all = append(all, layer)
		}
		want[filepath.Base(dir)] = stack.New(all)
	}
	program, err := os.Executable()
	must(t, err)
	out, err := exec.Command("unshare", "--user", "--map-root-user", "--mount", program, kernelWord, top).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	lines := strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
	if len(lines) != rounds {
		t.Fatalf("%d overlays were listed, want %d", len(lines), rounds)
	}
	named := 0
	for _, line := range lines {
		round, kernel, _ := strings.Cut(line, ": ")
		s := want[round]
		have := append(tree(t, s, "/"), resolved(func(p string) (string, error) { return s.Resolve(p) }, func(p string) bool {
			_, err := s.Lstat(p)
			return err == nil
		})...)
		if text := strings.Join(have, " "); text != kernel {
			t.Errorf("round %s: the stack says\n%s\nand the kernel\n%s", round, text, kernel)
		}
		named += len(have)
	}
	if named < 10*rounds {
		t.Errorf("only %d names in %d overlays: they test nothing", named, rounds)
	}
}

// names are few, so that layers meet in them.
var names = []string{"a", "b", "c"}

// fill makes the random content of a folder of one layer.
func fill(t *testing.T, r *rand.Rand, dir, text string, depth int) {
	t.Helper()
	if depth > 0 && r.IntN(5) == 0 {
		must(t, unix.Setxattr(dir, "user.overlay.opaque", []byte("y"), 0))
	}
	for _, name := range names {
		at := filepath.Join(dir, name)
		switch k := r.IntN(10); {
		case k < 4 && depth < 3:
			must(t, os.Mkdir(at, 0o755))
			fill(t, r, at, text, depth+1)
		case k == 4:
			must(t, unix.Mknod(at, unix.S_IFCHR, 0))
		case k == 5:
			must(t, os.WriteFile(at, []byte(text), 0o600))
		case k == 6:
			must(t, os.Symlink(targets[r.IntN(len(targets))], at))
		}
	}
}

var targets = []string{"/a", "b", "../c", "../../../a/b", "/b/c", ".", "/", "a/b/c", "none"}

// resolved says of some paths where they lead, if anything is there.
func resolved(resolve func(string) (string, error), exists func(string) bool) []string {
	var out []string
	for _, x := range names {
		for _, y := range append([]string{".."}, names...) {
			for _, z := range names {
				p := "/" + x + "/" + y + "/" + z
				if real, err := resolve(p); err == nil && exists(real) && (y != ".." || isFolder(resolve, exists, "/"+x)) {
					out = append(out, p+"=>"+real)
				}
			}
		}
	}
	return out
}

func isFolder(resolve func(string) (string, error), exists func(string) bool, p string) bool {
	real, err := resolve(p)
	if err != nil || !exists(real) {
		return false
	}
	_, err = resolve(p + "/.")
	return err == nil
}

// listOverlays mounts the layers of each folder, and prints what is shown.
func listOverlays(top string) error {
	rounds, err := os.ReadDir(top)
	if err != nil {
		return err
	}
	for _, round := range rounds {
		dir := filepath.Join(top, round.Name())
		layers, err := filepath.Glob(dir + "/l*") // in order: there are fewer than ten
		if err != nil {
			return err
		}
		lower := ""
		for _, l := range layers {
			lower = ":" + l + lower
		}
		at := filepath.Join(dir, "at")
		if err := unix.Mount("overlay", at, "overlay", 0, "userxattr,lowerdir="+lower[1:]); err != nil {
			return fmt.Errorf("mount: %w", err)
		}
		fd, err := unix.Open(at, unix.O_PATH|unix.O_DIRECTORY, 0)
		if err != nil {
			return err
		}
		shown, err := list(at, "/")
		if err != nil {
			return err
		}
		shown = append(shown, resolved(func(p string) (string, error) {
			how := unix.OpenHow{Flags: unix.O_PATH, Resolve: unix.RESOLVE_IN_ROOT}
			in, err := unix.Openat2(fd, p, &how)
			for err == unix.EAGAIN { // something was renamed elsewhere (openat2(2))
				in, err = unix.Openat2(fd, p, &how)
			}
			if err != nil {
				return "", err
			}
			defer unix.Close(in)
			real, err := os.Readlink(fmt.Sprint("/proc/self/fd/", in))
			return "/" + strings.TrimPrefix(strings.TrimPrefix(real, at), "/"), err
		}, func(string) bool { return true })...)
		fmt.Println(round.Name() + ": " + strings.Join(shown, " "))
		unix.Close(fd)
	}
	return nil
}

// list is tree of what the kernel shows.
func list(at, dir string) ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(at, dir))
	if err != nil {
		return nil, err
	}
	var out []string
	for _, e := range entries {
		p := filepath.Join(dir, e.Name())
		switch {
		case e.Type()&os.ModeCharDevice != 0:
			// A folder of one layer alone is listed with its whiteouts; looked up
			// they are nothing (fs/overlayfs/readdir.c, ovl_iterate_real).
			if _, err := os.Lstat(filepath.Join(at, p)); !os.IsNotExist(err) {
				return nil, fmt.Errorf("%s: a whiteout is there: %v", p, err)
			}
		case e.IsDir():
			below, err := list(at, p)
			if err != nil {
				return nil, err
			}
			out = append(append(out, p+"/"), below...)
		case e.Type()&os.ModeSymlink != 0:
			target, err := os.Readlink(filepath.Join(at, p))
			if err != nil {
				return nil, err
			}
			out = append(out, p+"->"+target)
		default:
			data, err := os.ReadFile(filepath.Join(at, p))
			if err != nil {
				return nil, err
			}
			out = append(out, p+"="+string(data))
		}
	}
	return out, nil
}
