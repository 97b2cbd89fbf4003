package seccomp

import (
	"math"
	"math/rand/v2"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox/filter"
)

// reference is what a profile means, written down a second time and without
// BPF: the tests compare it with what the compiled program does. It is for
// calls of the target's own convention.
type reference struct {
	fallback filter.Action
	highest  int32 // number of the newest call that the profile names, -1 for none
	names    map[int32]string
	plain    map[int32]filter.Action
	cases    map[int32][]referenceCase
}

type referenceCase struct {
	action filter.Action
	args   []Arg
}

func newReference(t *testing.T, p *Profile, o Options) *reference {
	t.Helper()
	to, err := o.resolve()
	if err != nil {
		t.Fatal(err)
	}
	fallback, err := p.defaultAction()
	if err != nil {
		t.Fatal(err)
	}
	ref := &reference{fallback, -1, map[int32]string{}, map[int32]filter.Action{}, map[int32][]referenceCase{}}
	for i := range p.Syscalls {
		r := &p.Syscalls[i]
		if !r.counts(to) {
			continue
		}
		action, err := r.action()
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range r.names() {
			nr, ok := filter.CallNumber(to.arch, name)
			if !ok {
				continue
			}
			ref.highest = max(ref.highest, nr)
			ref.names[nr] = name
			if len(r.Args) == 0 {
				ref.plain[nr] = action
			} else {
				ref.cases[nr] = append(ref.cases[nr], referenceCase{action, r.Args})
			}
		}
	}
	return ref
}

// decide gives the action for a call. A rule with conditions goes before one
// without, and settle has made sure that two which hold agree.
func (ref *reference) decide(nr int32, args [6]uint64) filter.Action {
	for _, c := range ref.cases[nr] {
		if holds(ref.names[nr], c.args, args) {
			return c.action
		}
	}
	if a, ok := ref.plain[nr]; ok {
		return a
	}
	if ref.fallback.Kind() == filter.Errno && ref.highest >= 0 && uint32(nr) > uint32(ref.highest) {
		return filter.WithErrno(unix.ENOSYS)
	}
	return ref.fallback
}

// holds is the conjunction of conditions on arguments as the kernel sees them.
func holds(call string, conditions []Arg, args [6]uint64) bool {
	for _, c := range conditions {
		v, want, two := args[c.Index], c.Value, c.ValueTwo
		if isInt(call, c.Index) {
			v, want, two = v&low32, want&low32, two&low32
		}
		ok := false
		switch c.Op {
		case "SCMP_CMP_EQ":
			ok = v == want
		case "SCMP_CMP_NE":
			ok = v != want
		case "SCMP_CMP_LT":
			ok = v < want
		case "SCMP_CMP_LE":
			ok = v <= want
		case "SCMP_CMP_GT":
			ok = v > want
		case "SCMP_CMP_GE":
			ok = v >= want
		case "SCMP_CMP_MASKED_EQ":
			ok = v&want == two&want
		}
		if !ok {
			return false
		}
	}
	return true
}

// samples are values around those that the conditions of a profile name.
func samples(p *Profile) []uint64 {
	out := []uint64{0, 1, math.MaxUint32, 1 << 32, math.MaxUint64, 1 << 31}
	for _, r := range p.Syscalls {
		for _, a := range r.Args {
			for _, v := range []uint64{a.Value, a.ValueTwo} {
				out = append(out, v, v+1, v-1, v|1<<32, v^1<<63, ^v)
			}
		}
	}
	return out
}

// compareWithReference runs the program on every number and many arguments and
// compares with what the profile means.
func compareWithReference(t *testing.T, p *Profile, o Options, program filter.Program, rounds int) {
	t.Helper()
	token, ok := filter.Arch(o.Arch)
	if !ok {
		t.Fatalf("no architecture %q", o.Arch)
	}
	ref := newReference(t, p, o)
	values := samples(p)
	r := rand.New(rand.NewPCG(3, 4))
	faults := 0
	check := func(nr int32, args [6]uint64) {
		want := ref.decide(nr, args)
		got, err := program.Run(filter.Data{Nr: nr, Arch: token, Args: args})
		if got != want || err != nil {
			name, _ := filter.CallName(o.Arch, nr)
			t.Errorf("%s: %s(%d) %#x: %v, %v, want %v", o.Arch, name, nr, args, got, err, want)
			faults++
		}
	}
	for nr := int32(0); nr < 480 && faults < 10; nr++ {
		check(nr, [6]uint64{})
	}
	for nr := range ref.cases {
		for i := 0; i < rounds && faults < 10; i++ {
			var args [6]uint64
			for j := range args {
				switch r.IntN(8) {
				case 0:
					args[j] = r.Uint64()
				case 1:
					args[j] = uint64(r.IntN(40))
				default:
					args[j] = values[r.IntN(len(values))]
				}
			}
			check(nr, args)
		}
	}
}
