package cli

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/cmd/sbx/internal/model"
	"github.com/sbx-dev/sbx/sandbox/filter"
)

func TestMain(m *testing.M) {
	parser = model.Kong{}
	testscript.Main(m, map[string]func(){"sbx": func() { Main(model.Kong{}) }})
}

// TestScript runs testdata/script/*.txtar, one file a behaviour.
func TestScript(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		UpdateScripts:       os.Getenv("UPDATE") != "",
		Condition:           condition,
		Setup: func(e *testscript.Env) error {
			e.Setenv("NO_COLOR", "1")
			e.Setenv("USER", "tester")
			if program, err := filepath.Abs(builtSbx); err == nil {
				e.Setenv("BUILT", filepath.Dir(program))
			}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits":  exits,
			"refuse": refuse,
		},
	})
}

// exits runs a command and checks its exit code: exits 125 sbx run.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND [ARG…]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	code := 0
	var exit *exec.ExitError
	if err := ts.Exec(args[1], args[2:]...); errors.As(err, &exit) {
		code = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if code != want {
		ts.Fatalf("exit code %d, want %d", code, want)
	}
}

// refuse makes refuse.json a profile that answers some calls with an errno and
// lets the rest through, compiled, in the cache below $WORK/cache: refuse EPERM
// clone3 mount. It stands for the filter around a container.
func refuse(ts *testscript.TestScript, neg bool, args []string) {
	errnos := map[string]unix.Errno{"EPERM": unix.EPERM, "ENOSYS": unix.ENOSYS}
	if neg || len(args) < 2 || errnos[args[0]] == 0 {
		ts.Fatalf("usage: refuse EPERM|ENOSYS CALL…")
	}
	p := filter.Program{{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0}} // the call's number
	for i, name := range args[1:] {
		nr, ok := filter.CallNumber(runtime.GOARCH, name)
		if !ok {
			ts.Fatalf("no call is called %s", name)
		}
		p = append(p, unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: uint32(nr), Jt: uint8(len(args) - 1 - i)})
	}
	p = append(
		p, unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: uint32(filter.Allow)},
		unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: uint32(filter.WithErrno(errnos[args[0]]))},
	)
	profile := []byte("{}")
	at, err := filter.CachePath(profile, runtime.GOARCH)
	ts.Check(err)
	at = filepath.Join(ts.Getenv("XDG_CACHE_HOME"), "sbx", "seccomp", filepath.Base(at))
	ts.Check(os.MkdirAll(filepath.Dir(at), 0o700))
	ts.Check(os.WriteFile(at, filter.EncodeEntry(profile, p), 0o600))
	ts.Check(os.WriteFile(ts.MkAbs("refuse.json"), profile, 0o600))
}

// builtSbx is the program that make builds: static, where a test's own binary
// may be linked with a C library, whose threads need calls of their own.
const builtSbx = "../../../../bin/sbx"

// conditions say whether this host can do something: nil, or why not. Each is
// tried for real, by programs that are not sbx.
var conditions = map[string]func() error{
	"userns":  sync.OnceValue(func() error { return try("unshare", "--user", "--map-root-user", "true") }),
	"subuid":  sync.OnceValue(func() error { return try("unshare", "--user", "--map-auto", "--map-root-user", "true") }),
	"overlay": sync.OnceValue(tryOverlay),
	"built": func() error {
		_, err := os.Stat(builtSbx)
		return err
	},
	"git": sync.OnceValue(func() error { return try("git", "version") }),
	"landlock": sync.OnceValue(func() error {
		if _, _, errno := unix.RawSyscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION); errno != 0 {
			return errno
		}
		return nil
	}),
}

func tryOverlay() error {
	return try("unshare", "--user", "--map-root-user", "--mount", "sh", "-c",
		`mount -t tmpfs t /tmp && cd /tmp && mkdir l u w m && mount -t overlay o -o lowerdir=l,upperdir=u,workdir=w,userxattr m`)
}

func try(name string, args ...string) error {
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, strings.TrimSpace(string(out)))
	}
	return nil
}

// condition is what a script writes in brackets. One that SBX_REQUIRE names
// must hold: the script fails in place of skipping. What isolates is tested as
// a normal user, for as root it proves nothing.
func condition(name string) (bool, error) {
	holds, ok := lookup(name)
	if !ok {
		return false, fmt.Errorf("no condition is called %q", name)
	}
	if os.Getuid() == 0 {
		return false, errors.New("run as a normal user: go test -exec scripts/as-user ./cmd/sbx")
	}
	err := holds()
	if err != nil && slices.Contains(strings.Split(os.Getenv("SBX_REQUIRE"), ","), name) {
		return false, fmt.Errorf("SBX_REQUIRE names %s, which this host lacks: %w", name, err)
	}
	return err == nil, nil
}

// lookup finds a condition; "tool:NAME" stands for a program that is on PATH and
// tells its version.
func lookup(name string) (holds func() error, ok bool) {
	if tool, is := strings.CutPrefix(name, "tool:"); is {
		return func() error { return try(tool, "--version") }, true
	}
	holds, ok = conditions[name]
	return holds, ok
}

// need skips a Go test as [!name] skip does a script.
func need(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		ok, err := condition(name)
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			holds, _ := lookup(name)
			t.Skipf("%s: %v", name, holds())
		}
	}
}
