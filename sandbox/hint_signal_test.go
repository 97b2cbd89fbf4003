package sandbox

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox/filter"
	"github.com/sbx-dev/sbx/sandbox/internal/testenv"
)

// i386Program is a program for i386 that exits with 0.
func i386Program() string {
	const base, header = 0x10000, 52 + 32
	code := []byte{0xb8, 1, 0, 0, 0, 0x31, 0xdb, 0xcd, 0x80} // mov eax, exit; xor ebx, ebx; int 0x80
	le := binary.LittleEndian
	b := make([]byte, header, header+len(code))
	copy(b, "\x7fELF\x01\x01\x01")
	le.PutUint16(b[16:], 2) // ET_EXEC
	le.PutUint16(b[18:], 3) // EM_386
	le.PutUint32(b[20:], 1)
	le.PutUint32(b[24:], base+header) // e_entry
	le.PutUint32(b[28:], 52)          // e_phoff
	le.PutUint16(b[40:], 52)
	le.PutUint16(b[42:], 32)
	le.PutUint16(b[44:], 1)
	le.PutUint32(b[52:], 1) // PT_LOAD
	le.PutUint32(b[60:], base)
	le.PutUint32(b[64:], base)
	le.PutUint32(b[68:], uint32(header+len(code)))
	le.PutUint32(b[72:], uint32(header+len(code)))
	le.PutUint32(b[76:], 5)
	le.PutUint32(b[80:], 0x1000)
	return string(append(b, code...))
}

// TestSIGSYS provokes every way in which CMD ends by SIGSYS and reads what is
// said of it.
func TestSIGSYS(t *testing.T) {
	testenv.Need(t, "userns", "seccomp")
	work := t.TempDir()
	t.Chdir(work)
	t.Setenv("XDG_CACHE_HOME", filepath.Join(work, "cache"))
	foreign := program(t, 0o755, i386Program(), work, "i386")
	// A profile that ends a process for two calls, compiled by hand.
	mkdir, _ := filter.CallNumber(runtime.GOARCH, "mkdirat")
	sync, _ := filter.CallNumber(runtime.GOARCH, "sync")
	profile := program(t, 0o600, "{}", work, "profile.json")
	kill := filter.Program{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: uint32(mkdir), Jt: 1},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: uint32(sync), Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: uint32(filter.KillProcess)},
		{Code: unix.BPF_RET | unix.BPF_K, K: uint32(filter.Allow)},
	}
	at, err := filter.CachePath([]byte("{}"), runtime.GOARCH)
	if err == nil {
		err = errors.Join(os.MkdirAll(filepath.Dir(at), 0o700), os.WriteFile(at, filter.EncodeEntry([]byte("{}"), kill), 0o600))
	}
	if err != nil {
		t.Fatal(err)
	}
	run := func(seccomp string, skip []string, args ...string) *Result {
		t.Helper()
		c := Command(args[0], args[1:]...)
		c.Spec.Seccomp, c.Spec.Skip = seccomp, skip
		var exit *ExitError
		if err := c.Run(); err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		return c.Result
	}
	for _, test := range []struct {
		name, seccomp string
		skip, args    []string
		verdict, want string
	}{
		{"sent", "", nil, []string{"sh", "-c", "kill -SYS $$"}, VerdictSeccomp, "the filter ends nothing but calls of another architecture"},
		{"sent without a filter", "", []string{"seccomp"}, []string{"sh", "-c", "kill -SYS $$"}, VerdictSignaled, "not from a filter of sbx"},
		{"profile", profile, nil, []string{"sync"}, VerdictSeccomp, "the filter ends a process for "},
		{"silent", "", nil, []string{"false"}, VerdictExited, ""},
	} {
		r := run(test.seccomp, test.skip, test.args...)
		if r.Verdict != test.verdict || !strings.Contains(r.Evidence, test.want) || test.want == "" && r.Evidence != "" {
			t.Errorf("%s: %s, %q", test.name, r.Verdict, r.Evidence)
		}
		if test.seccomp == profile && (!strings.Contains(r.Evidence, "mkdirat") || !strings.Contains(r.Evidence, "sync")) {
			t.Errorf("%s: %q names not both calls", test.name, r.Evidence)
		}
	}
	t.Run("i386", func(t *testing.T) {
		testenv.Need(t, "i386")
		c := Command(foreign)
		c.Spec.Skip = []string{"seccomp"}
		if err := c.Run(); err != nil {
			t.Fatalf("without the filter: %v", err)
		}
		if r := run("", nil, foreign); !strings.Contains(r.Evidence, "it is a program for i386") {
			t.Errorf("%s, %q", r.Verdict, r.Evidence)
		}
		if r := run("log", nil, foreign); r.Code != 0 {
			t.Errorf("--seccomp log lets it through: %s, %q", r.Verdict, r.Evidence)
		}
	})
}

// TestBuiltinsKillNothingOfTheirOwn holds what is said of a SIGSYS: the filters
// that are checked in end a process for no call of the architecture that they
// are for.
func TestBuiltinsKillNothingOfTheirOwn(t *testing.T) {
	for _, name := range filter.Names() {
		for _, arch := range filter.Arches() {
			p, _ := filter.Builtin(name, arch)
			if killed, other := killing(p, arch); len(killed) > 0 || other < 200 {
				t.Errorf("%s on %s ends a process for %v, and not for %d", name, arch, killed, other)
			}
		}
	}
}

// TestOwnSandboxRefused: what a browser's crash looks like, and what does not.
func TestOwnSandboxRefused(t *testing.T) {
	for _, test := range []struct {
		args   []string
		signal unix.Signal
		spec   Spec
		want   bool
	}{
		{[]string{"chromium", "x"}, unix.SIGTRAP, Spec{}, true},
		{[]string{"/opt/google/chrome/chrome"}, unix.SIGILL, Spec{}, true},
		{[]string{"chromium", "--no-sandbox"}, unix.SIGTRAP, Spec{}, false},
		{[]string{"chromium"}, unix.SIGSEGV, Spec{}, false},
		{[]string{"chromium"}, 0, Spec{}, false},
		{[]string{"./solver"}, unix.SIGTRAP, Spec{}, false},
		{[]string{"chromium"}, unix.SIGTRAP, Spec{AllowNesting: true}, false},
		{[]string{"chromium"}, unix.SIGTRAP, Spec{Skip: []string{"user", "seccomp"}}, false},
	} {
		c := Command(test.args[0], test.args[1:]...)
		c.Spec.AllowNesting, c.Spec.Skip = test.spec.AllowNesting, test.spec.Skip
		c.Result = &Result{Signal: test.signal}
		if have := c.OwnSandboxRefused(); have != test.want {
			t.Errorf("%v, signal %d, %+v: %v", test.args, test.signal, test.spec, have)
		}
	}
}
