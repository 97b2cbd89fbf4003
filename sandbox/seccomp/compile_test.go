package seccomp

import (
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox/filter"
)

// dockerLike has what other people's profiles have: sub-architectures, calls of
// foreign architectures, choices by capability, architecture and kernel, and a
// condition that the upper half of an int goes around.
const dockerLike = `{
  "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1,
  "archMap": [
    {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"]},
    {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": ["SCMP_ARCH_ARM"]}
  ],
  "syscalls": [
    {"names": ["read", "write", "_llseek", "arm_fadvise64_64", "faccessat2"], "action": "SCMP_ACT_ALLOW"},
    {"names": ["ptrace"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "4.8"}},
    {"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 40, "op": "SCMP_CMP_NE"}]},
    {"names": ["clone"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 2114060288, "op": "SCMP_CMP_MASKED_EQ"}],
     "excludes": {"caps": ["CAP_SYS_ADMIN"], "arches": ["s390", "s390x"]}},
    {"names": ["clone"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN"]}},
    {"names": ["arch_prctl"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["amd64", "x32"]}},
    {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38, "errno": "ENOSYS"}
  ]
}`

// compiled parses and compiles, and compares with the reference.
func compiled(t *testing.T, profile string, o Options) filter.Program {
	t.Helper()
	p, err := Parse([]byte(profile))
	if err != nil {
		t.Fatal(err)
	}
	program, err := p.Compile(o)
	if err != nil {
		t.Fatal(err)
	}
	compareWithReference(t, p, o, program, 2000)
	return program
}

// result runs a program on a call by name.
func result(t *testing.T, p filter.Program, arch, call string, args ...uint64) filter.Action {
	t.Helper()
	nr, ok := filter.CallNumber(arch, call)
	if !ok {
		t.Fatalf("%s has no %s", arch, call)
	}
	token, _ := filter.Arch(arch)
	d := filter.Data{Nr: nr, Arch: token}
	copy(d.Args[:], args)
	a, err := p.Run(d)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestCompileDockerLike(t *testing.T) {
	const eperm, enosys = filter.Errno | filter.Action(unix.EPERM), filter.Errno | filter.Action(unix.ENOSYS)
	for _, arch := range filter.Arches() {
		plain := compiled(t, dockerLike, Options{Arch: arch, Kernel: "6.1"})
		admin := compiled(t, dockerLike, Options{Arch: arch, Kernel: "4.7", Capabilities: []string{"CAP_SYS_ADMIN"}})
		for _, tt := range []struct {
			p    filter.Program
			call string
			arg  uint64
			want filter.Action
		}{
			{plain, "read", 0, filter.Allow},
			{plain, "openat", 0, eperm},
			{plain, "clone3", 0, enosys},
			{plain, "mseal", 0, enosys}, // newer than what the profile names
			{plain, "ptrace", 0, filter.Allow},
			{admin, "ptrace", 0, eperm},
			{plain, "clone", unix.CLONE_NEWUSER, eperm},
			{admin, "clone", unix.CLONE_NEWUSER, filter.Allow},
			{plain, "socket", unix.AF_VSOCK, eperm},
			{plain, "socket", 1<<32 | unix.AF_VSOCK, eperm}, // CVE-2019-7303
			{plain, "socket", unix.AF_INET, filter.Allow},
		} {
			if got := result(t, tt.p, arch, tt.call, tt.arg); got != tt.want {
				t.Errorf("%s %s(%#x): %v, want %v", arch, tt.call, tt.arg, got, tt.want)
			}
		}
		if got, _ := plain.Run(filter.Data{Nr: 3, Arch: unix.AUDIT_ARCH_I386}); got != filter.KillProcess {
			t.Errorf("%s: i386 of a profile that names it: %v", arch, got)
		}
	}
}

// TestCompileOperators compares every operator on an int, a long, in profiles
// that allow and in profiles that refuse.
func TestCompileOperators(t *testing.T) {
	for _, fallback := range []string{"SCMP_ACT_ERRNO", "SCMP_ACT_ALLOW", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_LOG"} {
		for _, action := range []string{"SCMP_ACT_ALLOW", "SCMP_ACT_TRAP"} {
			for _, op := range []string{"NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"} {
				for _, arg := range []struct {
					call  string
					index int
				}{{"ioctl", 1}, {"ioctl", 2}, {"mmap", 1}, {"personality", 0}} {
					for _, value := range []uint64{0, 1, 0x5412, 0x80000001, 0xffffffff} {
						profile := fmt.Sprintf(`{"defaultAction": %q, "syscalls": [
							{"names": [%q], "action": %q, "args": [{"index": %d, "value": %d, "valueTwo": 4098, "op": "SCMP_CMP_%s"}]}]}`,
							fallback, arg.call, action, arg.index, value, op)
						p, err := Parse([]byte(profile))
						if err != nil {
							t.Fatal(err)
						}
						o := Options{Arch: "amd64"}
						program, err := p.Compile(o)
						if err != nil {
							t.Fatalf("%s: %v", profile, err)
						}
						compareWithReference(t, p, o, program, 200)
					}
				}
			}
		}
	}
}

// TestCompileExceptions checks that conditions go before a rule without, which
// libseccomp alone would forget.
func TestCompileExceptions(t *testing.T) {
	p := compiled(t, `{"defaultAction": "SCMP_ACT_KILL_PROCESS", "syscalls": [
		{"names": ["ioctl", "read"], "action": "SCMP_ACT_ALLOW"},
		{"names": ["ioctl"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 1, "value": 21522, "op": "SCMP_CMP_EQ"}]},
		{"names": ["ioctl"], "action": "SCMP_ACT_TRAP", "args": [{"index": 1, "value": 21532, "op": "SCMP_CMP_EQ"}]},
		{"names": ["kill"], "action": "SCMP_ACT_ERRNO"},
		{"names": ["kill"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 1, "value": 0, "op": "SCMP_CMP_EQ"}]}
	]}`, Options{Arch: "amd64"})
	for _, tt := range []struct {
		call string
		arg  uint64
		want filter.Action
	}{
		{"ioctl", unix.TCGETS, filter.Allow},
		{"ioctl", unix.TIOCSTI, filter.WithErrno(unix.EPERM)},
		{"ioctl", 1<<40 | unix.TIOCLINUX, filter.Trap},
		{"kill", 9, filter.WithErrno(unix.EPERM)},
		{"kill", 0, filter.Allow},
		{"write", 0, filter.KillProcess},
	} {
		if got := result(t, p, "amd64", tt.call, 0, tt.arg); got != tt.want {
			t.Errorf("%s(0, %#x): %v, want %v", tt.call, tt.arg, got, tt.want)
		}
	}
}

func TestCompileErrors(t *testing.T) {
	for _, tt := range []struct{ name, rules, want string }{
		{"misspelt", `{"names": ["read", "opnat"], "action": "SCMP_ACT_ALLOW"}`, `syscalls[0].names[1]: unknown system call "opnat"`},
		{"NUL", `{"names": ["re\u0000ad"], "action": "SCMP_ACT_ALLOW"}`, `unknown system call`},
		{"contradiction", `{"names": ["read"], "action": "SCMP_ACT_ALLOW"}, {"names": ["read"], "action": "SCMP_ACT_TRAP"}`, "read: one rule says"},
		{
			"overlap", `{"names": ["ioctl"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 1, "value": 1, "op": "SCMP_CMP_GT"}]},
			{"names": ["ioctl"], "action": "SCMP_ACT_TRAP", "args": [{"index": 1, "value": 7, "op": "SCMP_CMP_EQ"}]}`,
			"ioctl of syscalls[0] and syscalls[1] may both hold",
		},
		{"value too wide", `{"names": ["ioctl"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 1, "value": 4294967296, "op": "SCMP_CMP_EQ"}]}`, "more than 32 bits"},
		{
			"too many", `{"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_NE"}, {"index": 1, "value": 1, "op": "SCMP_CMP_NE"}]}`,
			"too many",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, err := Parse([]byte(`{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [` + tt.rules + `]}`))
			if err != nil {
				t.Fatal(err)
			}
			if _, err = p.Compile(Options{Arch: "amd64"}); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want …%s…", err, tt.want)
			}
		})
	}
	p, err := Parse([]byte(`{"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_AARCH64"]}`))
	if err != nil {
		t.Fatal(err)
	}
	for arch, want := range map[string]string{"amd64": "not for SCMP_ARCH_X86_64", "vax": `"vax" is none of`} {
		if _, err := p.Compile(Options{Arch: arch}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", arch, err)
		}
	}
	if _, err := p.Compile(Options{Arch: "arm64", Kernel: "x"}); err == nil {
		t.Error("a kernel x")
	}
}

func ExampleProfile_Compile() {
	profile, err := Parse([]byte(`{
		"defaultAction": "SCMP_ACT_ALLOW",
		"syscalls": [{"names": ["mount"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1}]
	}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	program, err := profile.Compile(Options{Arch: "arm64"})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Print(program)
	// Output:
	//    0  load arch
	//    1  unless arch == arm64 goto 6
	//    2  load nr
	//    3  if nr == mount(40) goto 5
	//    4  return ALLOW
	//    5  return ERRNO(EPERM)
	//    6  return KILL_PROCESS
}
