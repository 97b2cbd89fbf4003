package filter_test

import (
	"math"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox/filter"
)

// ownerCalls are the calls that owners answers in place of the kernel, with the
// arguments that are ids.
var ownerCalls = map[string][]int{
	"chown": {1, 2}, "lchown": {1, 2}, "fchown": {1, 2}, "fchownat": {2, 3},
	"setuid": {0}, "setgid": {0}, "setfsuid": {0}, "setfsgid": {0},
	"setreuid": {0, 1}, "setregid": {0, 1}, "setresuid": {0, 1, 2}, "setresgid": {0, 1, 2},
}

// TestOwnersDecisions tries every combination of ids, with and without what the
// kernel drops of a register, on every architecture: a call whose ids are all 0
// or -1 is the kernel's, any other succeeds without it. The other arguments make
// no difference.
func TestOwnersDecisions(t *testing.T) {
	ids := []uint64{0, math.MaxUint32, high, high | math.MaxUint32, math.MaxUint64, 1, 42, 65534, high | 1, math.MaxUint32 - 1, 1 << 31}
	mapped := func(id uint64) bool { return uint32(id) == 0 || uint32(id) == math.MaxUint32 }
	success := filter.WithErrno(0)
	for _, arch := range filter.Arches() {
		token, _ := filter.Arch(arch)
		p, _ := filter.Builtin("owners", arch)
		check := func(call string, nr int32, args [6]uint64, want filter.Action) {
			t.Helper()
			if got, err := p.Run(filter.Data{Nr: nr, Arch: token, Args: args}); got != want || err != nil {
				t.Errorf("%s: %s%#x: %v, %v, want %v", arch, call, args, got, err, want)
			}
		}
		tried := 0
		for call, at := range ownerCalls {
			nr, ok := filter.CallNumber(arch, call)
			if !ok {
				continue // arm64 has fchown and fchownat alone
			}
			combinations := 1
			for range at {
				combinations *= len(ids)
			}
			for n := range combinations {
				for _, other := range []uint64{0, 7, math.MaxUint64} {
					args, want := [6]uint64{other, other, other, other, other, other}, filter.Allow
					for i, rest := 0, n; i < len(at); i, rest = i+1, rest/len(ids) {
						args[at[i]] = ids[rest%len(ids)]
						if !mapped(args[at[i]]) {
							want = success
						}
					}
					check(call, nr, args, want)
					tried++
				}
			}
		}
		nr, _ := filter.CallNumber(arch, "setgroups")
		check("setgroups", nr, [6]uint64{}, success)
		check("setgroups", nr, [6]uint64{3, 0x1000}, success)
		if tried < 9000 {
			t.Errorf("%s: only %d decisions", arch, tried)
		}
	}
}

// TestOwnersIsDefault: of every other call owners thinks as default does.
func TestOwnersIsDefault(t *testing.T) {
	values := []uint64{0, 1, 2, 3, 0x10, unix.CLONE_NEWUSER, 0x5412, unix.S_IFCHR, math.MaxUint32, high}
	for _, arch := range filter.Arches() {
		token, _ := filter.Arch(arch)
		normal, _ := filter.Builtin("default", arch)
		owners, _ := filter.Builtin("owners", arch)
		for nr := int32(-1); nr < 600; nr++ {
			name, _ := filter.CallName(arch, nr)
			if _, own := ownerCalls[name]; own || name == "setgroups" {
				continue
			}
			for _, a := range values {
				for _, b := range values {
					d := filter.Data{Nr: nr, Arch: token, Args: [6]uint64{a, b, a, b, a, b}}
					want, _ := normal.Run(d)
					if got, err := owners.Run(d); got != want || err != nil {
						t.Fatalf("%s: %s(%d) %#x: %v, %v, default says %v", arch, name, nr, d.Args, got, err, want)
					}
				}
			}
		}
	}
}
