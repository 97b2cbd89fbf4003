package sandbox

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox/internal/testenv"
)

// program writes a file and returns its path.
func program(t *testing.T, mode os.FileMode, text string, parts ...string) string {
	t.Helper()
	name := filepath.Join(parts...)
	if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte(text), 0o600), os.Chmod(name, mode)); err != nil {
		t.Fatal(err)
	}
	return name
}

// TestHintOfAProgram runs what cannot be executed, in a working folder that is
// shown and beside a home that is not.
func TestHintOfAProgram(t *testing.T) {
	home, work := t.TempDir(), t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("PATH", os.Getenv("PATH")+":"+home+"/.foo/bin:"+home+"/links")
	t.Chdir(work)
	const script = "#!/bin/sh\necho ran\n"
	program(t, 0o755, script, home, ".foo", "bin", "hidden-tool")
	program(t, 0o755, script, home, "deep", "er", "real-tool")
	program(t, 0o755, script, home, "loader")
	program(t, 0o755, script, home, "course", "bin", "solve")
	program(t, 0o755, script, home, "course", "python", "bin", "solve")
	program(t, 0o644, "", home, "course", "python", "lib", "solve.py")
	program(t, 0o755, script, home, ".local", "bin", "solve")
	program(t, 0o644, "", home, ".local", "lib", "solve.py")
	program(t, 0o755, script, home, "a folder", "solve")
	if err := errors.Join(os.Mkdir(filepath.Join(home, "links"), 0o755), os.Symlink("../deep/er/real-tool", filepath.Join(home, "links", "linked-tool"))); err != nil {
		t.Fatal(err)
	}
	program(t, 0o755, script, work, "here")
	program(t, 0o644, script, work, "unmarked")
	program(t, 0o755, "#!/no/such/python -u\n", work, "lost.py")
	program(t, 0o755, "#!"+home+"/loader\n", work, "hidden-interpreter")
	program(t, 0o755, "#!/bin/sh\r\necho hi\r\n", work, "windows.sh")
	program(t, 0o755, "echo hi\n", work, "no-first-line")
	program(t, 0o755, "", work, "empty")
	program(t, 0o755, foreignELF(), work, "foreign")
	program(t, 0o755, elfWithLoader("/lib/ld-none.so.1"), work, "no-loader")

	for _, test := range []struct {
		name string
		code int
		want string
	}{
		{"hidden-tool", 127, "hidden-tool is " + home + "/.foo/bin/hidden-tool, which is hidden: --ro ~/.foo"},
		{"linked-tool", 127, "which is hidden: --ro ~/links --ro ~/deep/er"},
		{home + "/.foo/bin/hidden-tool", 127, "is hidden: --ro ~/.foo"},
		{home + "/course/bin/solve", 127, "/course/bin/solve is hidden: --ro ~/course/bin"},
		{home + "/course/python/bin/solve", 127, "/course/python/bin/solve is hidden: --ro ~/course/python"},
		{home + "/.local/bin/solve", 127, "/.local/bin/solve is hidden: --ro ~/.local/bin"},
		{home + "/a folder/solve", 127, "/a folder/solve is hidden: --ro '" + home + "/a folder'"},
		{"here", 127, "named with its path: ./here"},
		{"alpine", 127, "An image? sbx run --image alpine"},
		{"python:3", 127, "sbx run --image python:3"},
		{"no-such-program", 127, ""},
		{"./unmarked", 126, "is not marked as a program: chmod +x " + work + "/unmarked"},
		{"/etc", 126, "/etc is a folder"},
		{"./lost.py", 126, "its first line asks for /no/such/python, which is not on the host either"},
		{"./hidden-interpreter", 126, "its first line asks for " + home + "/loader, which is hidden: --ro ~/loader"},
		{"./windows.sh", 126, "ends in a carriage return"},
		{"./no-first-line", 126, "is text without a #! line: add one, or run it with its interpreter: sh ./no-first-line"},
		{"./empty", 126, "is empty"},
		{"./foreign", 126, "is a program for another machine (s390x; this one is " + runtime.GOARCH + ")"},
		{"./no-loader", 126, "its loader is /lib/ld-none.so.1, which is not on the host either"},
	} {
		t.Run(filepath.Base(test.name), func(t *testing.T) {
			err := Command(test.name).Run()
			var failed *ExecError
			if !errors.As(err, &failed) {
				t.Fatalf("got %v, want an *ExecError", err)
			}
			if failed.ExitCode() != test.code {
				t.Errorf("exit code %d, want %d (%v)", failed.ExitCode(), test.code, err)
			}
			if test.want == "" && failed.Hint != "" || !strings.Contains(failed.Hint, test.want) {
				t.Errorf("the hint is %q, want %q in it", failed.Hint, test.want)
			}
		})
	}
}

// TestHintWithoutPID1: the launcher itself is told of a failed execve only, and
// still tells a missing file from a missing interpreter.
func TestHintWithoutPID1(t *testing.T) {
	work := t.TempDir()
	t.Chdir(work)
	program(t, 0o755, "#!/no/such/python\n", work, "lost.py")
	for name, code := range map[string]int{"./lost.py": 126, "./nothing": 127, "no-such-program": 127} {
		for _, spec := range []Spec{{AsPID1: true}, {Skip: []string{"pid", "proc"}}} {
			spec.Args = []string{name}
			err := (&Cmd{Spec: spec}).Run()
			var failed *ExecError
			if !errors.As(err, &failed) || failed.ExitCode() != code {
				t.Errorf("%s: %v, want the exit code %d", name, err, code)
			}
			if code == 126 {
				wantIn(t, HintOf(err), "asks for /no/such/python")
			}
		}
	}
}

// TestHintThatIsFollowed does what the hint of a hidden program says.
func TestHintThatIsFollowed(t *testing.T) {
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("PATH", home+"/.foo/bin:"+os.Getenv("PATH"))
	t.Chdir("/")
	program(t, 0o755, "#!/bin/sh\necho ran\n", home, ".foo", "bin", "hidden-tool")
	c := Command("hidden-tool")
	c.Spec.Mounts = []Mount{{Kind: BindRO, Source: home + "/.foo", Target: home + "/.foo"}}
	out, err := c.Output()
	if err != nil || string(out) != "ran\n" {
		t.Errorf("got %q, %v", out, err)
	}
}

func TestHintOfTooMuch(t *testing.T) {
	c := Command("/bin/true", strings.Repeat("x", 200_000))
	err := c.Run()
	if !errors.Is(err, unix.E2BIG) {
		t.Fatal(err)
	}
	wantIn(t, HintOf(err), "argument 1 has 200000 bytes, and the kernel takes 131071 at most")
	c = Command("/bin/true")
	c.Spec.Env = []string{"BIG=" + strings.Repeat("x", 200_000)}
	err = c.Run()
	wantIn(t, HintOf(err), "the variable BIG has 200004 bytes")
}

func TestHintOfNoexec(t *testing.T) {
	out := imitatedProgram(t, `mount -t tmpfs -o noexec none /mnt; cp /bin/true /mnt/prog; cd /mnt; exec "$@"`)
	wantIn(t, out, "EACCES", "/mnt/prog lies on /mnt, which is mounted noexec")
}

func imitatedProgram(t *testing.T, script string) string {
	t.Helper()
	t.Setenv("SANDBOX_TEST_PROGRAM", "./prog")
	return imitated(t, "folder", "-Urm", script)
}

func TestHintOfTheWorkingFolder(t *testing.T) {
	t.Chdir("/")
	hidden := t.TempDir()
	for dir, want := range map[string]string{
		"/no/such/folder": "/no/such/folder does not exist inside, nor on the host",
		hidden:            "it is a folder of the host that is hidden; show it with --ro " + hidden,
		"/etc/passwd":     "/etc/passwd is not a folder",
	} {
		c := Command("/bin/true")
		c.Spec.Dir = dir
		err := c.Run()
		var failed *Error
		if !errors.As(err, &failed) || failed.Step != "exec" {
			t.Fatalf("%s: %v", dir, err)
		}
		wantIn(t, failed.Hint, want)
	}
}

func TestHintOfAClosedFolder(t *testing.T) {
	testenv.Need(t) // nothing is closed to root
	closed := t.TempDir()
	if err := errors.Join(os.Mkdir(closed+"/in", 0o755), os.Chmod(closed, 0)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Chmod(closed, 0o700) })
	e := &Error{Step: "mount", Call: `open_tree(AT_FDCWD, "` + closed + `/in", OPEN_TREE_CLONE) = tree`, Errno: unix.EACCES}
	_ = new(Cmd).explain(e)
	wantIn(t, e.Hint, "you may not enter "+closed+", which belongs to uid ")
}

// foreignELF is the header of a program for s390x, big enough for the kernel.
func foreignELF() string {
	head := make([]byte, 128)
	copy(head, "\x7fELF\x02\x01\x01")
	head[16], head[18] = 2, 22
	return string(head)
}

// elfWithLoader is a real program of this machine with another loader's name.
func elfWithLoader(name string) string {
	for _, p := range []string{"/bin/true", "/bin/cat"} {
		real, err := filepath.EvalSymlinks(p)
		if err != nil {
			continue
		}
		text, err := os.ReadFile(real)
		if err != nil {
			continue
		}
		if old := elfInterpreter(text[:min(len(text), 4096)]); len(old) >= len(name) {
			return strings.Replace(string(text), old+"\x00", name+strings.Repeat("\x00", len(old)-len(name)+1), 1)
		}
	}
	return ""
}

func FuzzELFInterpreter(f *testing.F) {
	f.Add([]byte(foreignELF()))
	f.Add([]byte(elfWithLoader("/lib/ld-none.so.1"))[:4096])
	f.Fuzz(func(t *testing.T, head []byte) {
		if got := elfInterpreter(head); len(got) > len(head) {
			t.Errorf("%d bytes hold a name of %d", len(head), len(got))
		}
	})
}

// TestShellWord gives each path to a shell.
func TestShellWord(t *testing.T) {
	for _, p := range []string{"/a/b", "/a b", "/it's", "/$HOME", "~", "/a;b", "/\"x\"", "/ü", "/a*", "a=b", "/a~b", "~user"} {
		out, err := exec.Command("sh", "-c", "printf %s "+shellWord(p)).Output()
		if err != nil || string(out) != p {
			t.Errorf("%q became %q (%v)", p, out, err)
		}
	}
}
