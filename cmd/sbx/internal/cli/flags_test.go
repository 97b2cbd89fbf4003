package cli

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sbx-dev/sbx/sandbox"
)

// TestFlagsToSpec: what each flag sets, and nothing else.
func TestFlagsToSpec(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	// PWD may name the working folder through a link; what counts is where it is.
	t.Setenv("PWD", "/somewhere/else")
	zero, seven := 0, 7
	for _, c := range []struct {
		flags string
		want  sandbox.Spec
	}{
		{"", sandbox.Spec{}},
		{"-v ./a:/b", sandbox.Spec{Mounts: []sandbox.Mount{{Kind: sandbox.BindRW, Source: dir + "/a", Target: "/b"}}}},
		{"-v /a:/b/:ro", sandbox.Spec{Mounts: []sandbox.Mount{{Kind: sandbox.BindRO, Source: "/a", Target: "/b"}}}},
		{"-v .:/b:cow", sandbox.Spec{Mounts: []sandbox.Mount{{Kind: sandbox.Overlay, Source: dir, Target: "/b"}}}},
		{"--ro x --rw /y/ --cow ../z", sandbox.Spec{Mounts: []sandbox.Mount{
			{Kind: sandbox.BindRO, Source: dir + "/x", Target: dir + "/x"},
			{Kind: sandbox.BindRW, Source: "/y", Target: "/y"},
			{Kind: sandbox.Overlay, Source: filepath.Dir(dir) + "/z", Target: filepath.Dir(dir) + "/z"},
		}}},
		{"--tmpfs /t --tmpfs /u:size=64m", sandbox.Spec{Mounts: []sandbox.Mount{
			{Kind: sandbox.Tmpfs, Target: "/t"}, {Kind: sandbox.Tmpfs, Target: "/u", Size: 64 << 20},
		}}},
		{"--hide x", sandbox.Spec{Mounts: []sandbox.Mount{{Kind: sandbox.Hide, Target: dir + "/x"}}}},
		{"-w sub", sandbox.Spec{Dir: dir + "/sub"}},
		{"--rootfs r --upper u --only-cwd --root-with chroot --layer-size 2g", sandbox.Spec{
			Rootfs: dir + "/r", Upper: dir + "/u", OnlyDir: true, RootWith: "chroot", LayerSize: 2 << 30,
		}},
		{"-e A=1,2 -e B", sandbox.Spec{Env: []string{"A=1,2", "B"}}},
		{"-u 0", sandbox.Spec{User: sandbox.User{UID: &zero}}},
		{"-u 0:7", sandbox.Spec{User: sandbox.User{UID: &zero, GID: &seven}}},
		{"--uid-map 0:1000:1 --gid-map 0:1000:2", sandbox.Spec{User: sandbox.User{
			UIDMap: []sandbox.IDMap{{Inside: 0, Outside: 1000, Count: 1}}, GIDMap: []sandbox.IDMap{{Inside: 0, Outside: 1000, Count: 2}},
		}}},
		{"--uid-map auto", sandbox.Spec{User: sandbox.User{Auto: true}}},
		{"--uid-map none --skip mount", sandbox.Spec{Skip: []string{"mount", "overlay", "proc", "dev", "root"}, User: sandbox.User{Unmapped: true}}},
		{"--net host", sandbox.Spec{Net: "host"}},
		{"--tcp-connect 80 --tcp-connect 443 --tcp-bind 0", sandbox.Spec{TCPConnect: []uint16{80, 443}, TCPBind: []uint16{0}}},
		{"--hostname h --cap-add ALL --cap-drop NET_RAW --as-pid-1 --allow-nesting", sandbox.Spec{
			Hostname: "h", CapAdd: []string{"ALL"}, CapDrop: []string{"NET_RAW"}, AsPID1: true, AllowNesting: true,
		}},
		{"-u 0 --fake-owners", sandbox.Spec{User: sandbox.User{UID: &zero}, FakeOwners: true}},
		{"--timeout 1.5", sandbox.Spec{Timeout: 1500 * time.Millisecond}},
		{"--timeout 2m", sandbox.Spec{Timeout: 2 * time.Minute}},
		{"--cpu-time 1500ms", sandbox.Spec{Rlimits: []sandbox.Rlimit{{Name: "cpu", Soft: 2, Hard: 3}}}},
		{"--ulimit fsize=1m --ulimit as=2g:4G --ulimit core=0 --ulimit data=7 --ulimit stack=64kb:-1", sandbox.Spec{Rlimits: []sandbox.Rlimit{
			{Name: "fsize", Soft: 1 << 20, Hard: 1 << 20},
			{Name: "as", Soft: 2 << 30, Hard: 4 << 30},
			{Name: "core"},
			{Name: "data", Soft: 7, Hard: 7},
			{Name: "stack", Soft: 64 << 10, Hard: math.MaxUint64},
		}}},
		{"--pids-limit 9 --ulimit nofile=5:6 --ulimit RLIMIT_FSIZE=unlimited --ulimit nofile=7", sandbox.Spec{Rlimits: []sandbox.Rlimit{
			{Name: "nproc", Soft: 9, Hard: 9}, {Name: "nofile", Soft: 7, Hard: 7}, {Name: "fsize", Soft: math.MaxUint64, Hard: math.MaxUint64},
		}}},
		{"--seccomp log --optional time --require landlock", sandbox.Spec{Seccomp: "log", Optional: []string{"time"}, Require: []string{"landlock"}}},
		{"--seccomp p.json", sandbox.Spec{Seccomp: dir + "/p.json"}},
		{"--boottime-offset 1h", sandbox.Spec{With: []string{"time"}, BootOffset: 3600, MonotonicOffset: 3600}},
		{"--skip net --skip mount", sandbox.Spec{Skip: []string{"net", "mount", "overlay", "proc", "dev", "root"}}},
		{"--profile strict -e X", sandbox.Spec{
			Seccomp: "strict", OnlyDir: true, Require: []string{"landlock"}, Env: []string{"X"},
			Rlimits: []sandbox.Rlimit{{Name: "nproc", Soft: 256, Hard: 256}, {Name: "nofile", Soft: 256, Hard: 256}},
		}},
		{"--profile teaching", sandbox.Spec{User: sandbox.User{UID: &zero}, CapAdd: []string{"ALL"}, Skip: []string{"landlock", "seccomp"}}},
	} {
		m, cmd, err := parsed(t, append(strings.Fields(c.flags), "true")...)
		if err != nil {
			t.Errorf("%s: %v", c.flags, err)
			continue
		}
		have, _, err := m.Spec(cmd)
		c.want.Args = []string{"true"}
		if err != nil || !have.Equal(&c.want) {
			t.Errorf("%s: %v\nhave %+v\nwant %+v", c.flags, err, have, c.want)
		}
		if err := have.Validate(); err != nil {
			t.Errorf("%s: the spec is not valid: %v", c.flags, err)
		}
	}
}

// TestEnvFile reads docker's format: no quotes, comments at the start only.
func TestEnvFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "vars")
	if err := os.WriteFile(name, []byte("# comment\n\n  A=1 # no comment\r\nB=\"q\"\nC\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, _, err := (&RunFlags{EnvFile: []string{name}, Env: []string{"A=2"}}).Spec([]string{"true"})
	if err != nil {
		t.Fatal(err)
	}
	if have, want := strings.Join(s.Env, "|"), "A=1 # no comment|B=\"q\"|C|A=2"; have != want {
		t.Errorf("env is %q, want %q", have, want)
	}
}

func TestSizes(t *testing.T) {
	for text, want := range map[string]int64{"1": 1, "1b": 1, "2k": 2048, "64m": 64 << 20, "64MB": 64 << 20, "1g": 1 << 30, "1t": 1 << 40} {
		if n, err := parseSize(text); err != nil || n != want {
			t.Errorf("%s: %d, %v, want %d", text, n, err, want)
		}
	}
	for _, text := range []string{"", "m", "-1", "1x", "9999999999g", "1.5g"} {
		if n, err := parseSize(text); err == nil {
			t.Errorf("%q: %d, want an error", text, n)
		}
	}
}

func TestNearest(t *testing.T) {
	for word, want := range map[string]string{"nett": "net", "teh": "", "rlimit": "rlimits", "secomp": "seccomp", "xyzzy": ""} {
		if have := nearest(word, sandbox.StepNames()); have != want {
			t.Errorf("%s: %q, want %q", word, have, want)
		}
	}
}
