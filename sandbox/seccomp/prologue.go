package seccomp

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox/filter"
)

// makePrologue is what runs before the program that libseccomp made, for the
// target's own convention only:
//
//   - With a default of ERRNO, a call above the highest number that the profile
//     names gets ENOSYS: it is newer than the profile, and ENOSYS lets the C
//     library fall back. EPERM would be taken for the call's own answer. The
//     numbers of x32 and -1 are above it too.
//   - Calls that this libseccomp does not know are decided here.
//
// Numbers are compared unsigned, as the filter sees them.
func makePrologue(arch string, fallback filter.Action, calls []callRules, newer []newerCall) (filter.Program, error) {
	limited := fallback.Kind() == filter.Errno && len(calls) > 0
	if !limited && len(newer) == 0 {
		return nil, nil
	}
	token, ok := filter.Arch(arch)
	if !ok {
		return nil, fmt.Errorf("architecture %q has no number", arch)
	}

	// One return for each action, in the order in which they are needed.
	var returns []filter.Action
	indexOf := func(a filter.Action) int {
		for i, r := range returns {
			if r == a {
				return i
			}
		}
		returns = append(returns, a)
		return len(returns) - 1
	}
	type branch struct {
		op     uint16
		nr     uint32
		target int // index into returns
	}
	var branches []branch
	if limited {
		highest := uint32(calls[len(calls)-1].nr)
		branches = append(branches, branch{unix.BPF_JGT, highest, indexOf(filter.WithErrno(unix.ENOSYS))})
	}
	lists := len(branches) // where the list of newer calls begins
	for _, c := range newer {
		branches = append(branches, branch{unix.BPF_JEQ, uint32(c.nr), indexOf(c.action)})
	}

	var p filter.Program
	skip := 0
	if len(newer) > 0 {
		skip = 1 // one branch jumps over the list
	}
	start := 3 // load, branch, load
	body := start + len(branches) + skip + 1 + len(returns)
	if body > 255 {
		return nil, fmt.Errorf("%d calls that libseccomp %s does not know are too many", len(newer), LibraryVersion())
	}
	add := func(code uint16, k uint32, yes, no int) {
		next := len(p) + 1
		p = append(p, unix.SockFilter{Code: code, K: k, Jt: uint8(yes - next), Jf: uint8(no - next)})
	}
	firstReturn := body - len(returns)
	const compareK = unix.BPF_JMP | unix.BPF_K
	p = append(p, load(4))
	add(compareK|unix.BPF_JEQ, token, 2, body)
	p = append(p, load(0))
	for i, b := range branches {
		if i == lists {
			// The list is by rising number: what is below its first is not in it.
			add(compareK|unix.BPF_JGE, b.nr, len(p)+1, body)
		}
		add(compareK|b.op, b.nr, firstReturn+b.target, len(p)+1)
	}
	p = append(p, jump(len(returns)))
	for _, r := range returns {
		p = append(p, unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: uint32(r)})
	}
	if len(p) != body {
		return nil, fmt.Errorf("the prologue has %d instructions instead of %d", len(p), body)
	}
	return p, nil
}

// load reads four bytes of struct seccomp_data: 0 is the number, 4 the
// architecture.
func load(offset uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset}
}

// jump skips a number of instructions.
func jump(skipped int) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JA, K: uint32(skipped)}
}

func isReturn(in unix.SockFilter) bool { return in.Code == unix.BPF_RET|unix.BPF_K }
