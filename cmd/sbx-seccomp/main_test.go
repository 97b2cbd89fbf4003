package main

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox/filter"
)

// command runs the program in this process.
func command(stdin string, args ...string) (status int, stdout, stderr string) {
	var out, errs bytes.Buffer
	status = run(args, strings.NewReader(stdin), &out, &errs)
	return status, out.String(), errs.String()
}

const profile = `{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mount"], "action": "SCMP_ACT_ERRNO"}]}`

func TestUsage(t *testing.T) {
	for _, tt := range []struct {
		args string
		want string
	}{
		{"", "a verb is missing"},
		{"complie x", `unknown verb "complie"`},
		{"compile", "needs one profile, not 0"},
		{"compile a b -o x", "needs one profile, not 2"},
		{"compile a", "either -o FILE or -cache"},
		{"compile a -o x -cache", "either -o FILE or -cache"},
		{"compile a -cache -cap CAP_SYS_ADMIN", "-cap needs -o FILE"},
		{"compile a -o x -arch vax", "-arch vax is none of"},
		{"compile a -x", "flag provided but not defined: -x"},
		{"generate", "generate needs"},
		{"generate all .", "generate knows"},
	} {
		status, stdout, stderr := command("", strings.Fields(tt.args)...)
		if status != 125 || stdout != "" || !strings.Contains(stderr, tt.want) || !strings.Contains(stderr, "usage:") {
			t.Errorf("%q: status %d, %q, %q", tt.args, status, stdout, stderr)
		}
	}
	if status, stdout, _ := command("", "--help"); status != 0 || !strings.HasPrefix(stdout, "usage:") {
		t.Errorf("help: status %d, %q", status, stdout)
	}
}

func TestCompileToFile(t *testing.T) {
	dir := t.TempDir()
	source, target := filepath.Join(dir, "p.json"), filepath.Join(dir, "p.bpf")
	if err := os.WriteFile(source, []byte(profile), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"compile", source, "-arch", "arm64", "-o", target},
		{"compile", "-o=" + target, "-arch=arm64", source},
		{"compile", "--arch", "arm64", source, "--o", target},
	} {
		if status, stdout, stderr := command("", args...); status != 0 || stdout != "" || stderr != "" {
			t.Fatalf("%q: status %d, %q, %q", args, status, stdout, stderr)
		}
		raw, err := os.ReadFile(target)
		if err != nil {
			t.Fatal(err)
		}
		p, err := filter.Parse(raw)
		if err != nil {
			t.Fatal(err)
		}
		token, _ := filter.Arch("arm64")
		nr, _ := filter.CallNumber("arm64", "mount")
		if a, err := p.Run(filter.Data{Nr: nr, Arch: token}); a != filter.WithErrno(unix.EPERM) || err != nil {
			t.Errorf("%q: mount: %v, %v", args, a, err)
		}
	}
	status, stdout, stderr := command(profile, "compile", "-", "-arch", "arm64", "-o", "-")
	if raw, _ := os.ReadFile(target); status != 0 || stdout != string(raw) || stderr != "" {
		t.Errorf("through stdin and stdout: status %d, %d bytes, %q", status, len(stdout), stderr)
	}
}

func TestCompileToCache(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", filepath.Join(t.TempDir(), "cache"))
	if _, err := filter.Cached([]byte(profile), "amd64"); !os.IsNotExist(err) {
		t.Fatalf("before: %v", err)
	}
	status, stdout, stderr := command(profile, "compile", "--cache", "-arch", "amd64", "-")
	if status != 0 || stderr != "" {
		t.Fatalf("status %d, %q", status, stderr)
	}
	p, err := filter.Cached([]byte(profile), "amd64")
	if err != nil || len(p) == 0 {
		t.Fatalf("after: %v", err)
	}
	path := strings.TrimSuffix(stdout, "\n")
	want, _ := filter.CachePath([]byte(profile), "amd64")
	st, err := os.Stat(path)
	if err != nil || path != want || st.Mode() != 0o600 {
		t.Errorf("%s instead of %s: %v, %v", path, want, st.Mode(), err)
	}
	if names, err := fs.ReadDir(os.DirFS(filepath.Dir(path)), "."); err != nil || len(names) != 1 {
		t.Errorf("left behind: %v, %v", names, err)
	}
	for other, arch := range map[string]string{profile: "arm64", profile + " ": "amd64"} {
		if _, err := filter.Cached([]byte(other), arch); !os.IsNotExist(err) {
			t.Errorf("%q for %s: %v", other, arch, err)
		}
	}
}

func TestFailures(t *testing.T) {
	dir := t.TempDir()
	target := filepath.Join(dir, "out")
	for _, tt := range []struct {
		stdin string
		args  []string
		want  string
	}{
		{"{", []string{"compile", "-", "-o", target}, "sbx-seccomp: stdin: seccomp: line 1, column 1: unexpected end of JSON input\n"},
		{`{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["x"], "action": "SCMP_ACT_TRAP"}]}`, []string{"compile", "-", "-o", target}, `unknown system call "x"`},
		{strings.Repeat(" ", filter.MaxProfile+1), []string{"compile", "-", "-o", target}, "larger than 1048576 bytes"},
		{"", []string{"compile", filepath.Join(dir, "absent"), "-o", target}, "no such file"},
		{profile, []string{"compile", "-", "-o", filepath.Join(dir, "absent", "out")}, "no such file"},
		{profile, []string{"compile", "-", "-o", dir}, "is a directory"},
	} {
		status, stdout, stderr := command(tt.stdin, tt.args...)
		if status != 1 || stdout != "" || !strings.Contains(stderr, tt.want) {
			t.Errorf("%q: status %d, %q, %q", tt.args, status, stdout, stderr)
		}
	}
	if _, err := os.Stat(target); !os.IsNotExist(err) {
		t.Errorf("a failure left a file: %v", err)
	}
}

// TestGenerated generates the tables and the programs and compares the tables
// with the checked-in ones; the programs are compared by package seccomp.
func TestGenerated(t *testing.T) {
	dir := t.TempDir()
	for _, what := range []string{"calls", "programs"} {
		if status, _, stderr := command("", "generate", what, dir); status != 0 {
			t.Fatalf("%s: %s", what, stderr)
		}
	}
	for _, arch := range filter.Arches() {
		name := "zz_" + arch + "_calls.go"
		fresh, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		checkedIn, err := os.ReadFile(filepath.Join("..", "..", "sandbox", "filter", name))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(fresh, checkedIn) {
			t.Errorf("%s is not current: run go generate in sandbox/filter", name)
		}
		if _, err := os.Stat(filepath.Join(dir, "zz_"+arch+"_programs.go")); err != nil {
			t.Error(err)
		}
	}
}
