package seccomp

import (
	"math/rand/v2"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox/filter"
)

// TestCompactDoesTheSame runs the program as libseccomp wrote it and the
// compact one on every call number, each with arguments that are near to what
// either compares, and with the upper halves filled.
func TestCompactDoesTheSame(t *testing.T) {
	for _, name := range filter.Names() {
		for _, arch := range filter.Arches() {
			profile, err := Builtin(name)
			if err != nil {
				t.Fatal(err)
			}
			long, err := profile.assemble(Options{Arch: arch})
			if err != nil {
				t.Fatal(err)
			}
			short := compact(long, arch)
			if err := short.Validate(); err != nil {
				t.Fatalf("%s %s: %v", name, arch, err)
			}
			t.Logf("%s %s: %d instructions, %d compact", name, arch, len(long), len(short))
			if len(short) > len(long)*3/4 {
				t.Errorf("%s %s: %d instructions of %d are not compact", name, arch, len(short), len(long))
			}
			same(t, long, short, arch)
		}
	}
}

func same(t *testing.T, long, short filter.Program, arch string) {
	t.Helper()
	native, _ := filter.Arch(arch)
	values := []uint64{0, 1, ^uint64(0)}
	for _, in := range long {
		if in.Code&7 == unix.BPF_JMP || in.Code&7 == unix.BPF_ALU {
			values = append(values, uint64(in.K), uint64(in.K)+1, uint64(in.K)|1<<32, uint64(in.K)<<32)
		}
	}
	r := rand.New(rand.NewPCG(1, 2))
	numbers := []int32{-1, 1 << 30, 1<<30 + 5, 1<<31 - 1, -1 << 31}
	for nr := range int32(700) {
		numbers = append(numbers, nr)
	}
	for _, a := range []uint32{native, 0, unix.AUDIT_ARCH_I386, unix.AUDIT_ARCH_ARM, ^uint32(0)} {
		for _, nr := range numbers {
			for range 60 {
				d := filter.Data{Nr: nr, Arch: a}
				for i := range d.Args {
					d.Args[i] = values[r.IntN(len(values))]
				}
				want, err1 := long.Run(d)
				got, err2 := short.Run(d)
				if err1 != nil || err2 != nil || want != got {
					t.Fatalf("%+v: %v, want %v (%v %v)", d, got, want, err1, err2)
				}
			}
		}
	}
}

// TestCompactLeavesWhatItCannotFollow gives programs whose meaning depends on
// more than comparisons of the number with constants.
func TestCompactLeavesWhatItCannotFollow(t *testing.T) {
	ret := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: uint32(filter.Allow)}
	for name, p := range map[string]filter.Program{
		"bit of the number": {
			{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS},
			{Code: unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K, K: 1, Jt: 1},
			{Code: unix.BPF_RET | unix.BPF_K},
			ret,
		},
		"arithmetic": {{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS}, {Code: unix.BPF_ALU | unix.BPF_ADD | unix.BPF_K, K: 1}, ret},
		"two architectures": {
			{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 4},
			{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.AUDIT_ARCH_I386, Jt: 1},
			ret,
			{Code: unix.BPF_RET | unix.BPF_K},
		},
	} {
		got := compact(p, "amd64")
		if len(got) != len(p) {
			t.Errorf("%s: was rewritten to\n%v", name, got)
		}
	}
}
