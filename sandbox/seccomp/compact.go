package seccomp

import (
	"slices"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox/filter"
)

// compact writes a program anew so that it does the same with fewer and
// shorter ways through it. Installing a filter costs a launch time in
// proportion to its length (the kernel checks it, compiles it to machine code
// and tries it on every call number), and libseccomp writes one comparison for
// each number where a comparison serves for a range of them.
//
// It evaluates the program for each interval of call numbers that it can tell
// apart. What is left is a constant action, or a small tree of tests on the
// arguments. Neighbours with the same rest are merged, and a search tree over
// the ranges leads to the rests. A program that does something which this does
// not follow (arithmetic on the number, scratch memory) is returned as it is.
func compact(p filter.Program, arch string) filter.Program {
	a, ok := filter.Arch(arch)
	if !ok {
		return p
	}
	c := &compactor{p: p, index: make(map[string]int)}
	breaks := c.breaks()
	foreign, ok := c.foreign(a, breaks)
	if !ok {
		return p
	}
	var ranges []span
	for _, from := range breaks {
		n, ok := c.rest(0, known{}, a, from)
		if !ok {
			return p
		}
		if len(ranges) == 0 || ranges[len(ranges)-1].node != n {
			ranges = append(ranges, span{from, n})
		}
	}
	out := c.write(a, foreign, ranges)
	if len(out) >= len(p) {
		return p
	}
	return out
}

// compactor evaluates a program and holds the rests that it found, each once.
type compactor struct {
	p     filter.Program
	nodes []node
	index map[string]int // a node's content to its place in nodes
	out   []unix.SockFilter
	at    map[int]int // node to its place in out
}

type nodeKind uint8

const (
	nodeReturn nodeKind = iota // return k
	nodeTest                   // A = data[offset] & mask; code compares with k
)

// node is an action, or a test on one word of an argument.
type node struct {
	kind         nodeKind
	k            uint32
	code         uint16
	offset, mask uint32
	yes, no      int // nodes
}

// known is what is known of the register A: its value, or which masked word of
// the arguments it holds.
type known struct {
	loaded       bool // A holds data[offset] & mask, which is not known
	offset, mask uint32
	value        uint32
}

// span is a range of call numbers, up to the next one's, and its rest.
type span struct {
	from uint32
	node int
}

func (c *compactor) intern(n node) int {
	key := ""
	for _, v := range []uint32{uint32(n.kind), n.k, uint32(n.code), n.offset, n.mask, uint32(n.yes), uint32(n.no)} {
		key += strconv.FormatUint(uint64(v), 16) + ","
	}
	if i, ok := c.index[key]; ok {
		return i
	}
	c.nodes = append(c.nodes, n)
	c.index[key] = len(c.nodes) - 1
	return len(c.nodes) - 1
}

// rest evaluates from an instruction on, for a call whose architecture and
// number are known, and returns what is left to be decided by the arguments.
func (c *compactor) rest(pc int, a known, arch, nr uint32) (int, bool) {
	for ; pc < len(c.p); pc++ {
		in := c.p[pc]
		switch in.Code {
		case unix.BPF_LD | unix.BPF_W | unix.BPF_ABS:
			switch {
			case in.K == 0:
				a = known{value: nr}
			case in.K == 4:
				a = known{value: arch}
			default:
				a = known{loaded: true, offset: in.K, mask: ^uint32(0)}
			}
		case unix.BPF_ALU | unix.BPF_AND | unix.BPF_K:
			a.mask &= in.K
			a.value &= in.K
			if a.loaded && a.mask == 0 {
				a = known{}
			}
		case unix.BPF_JMP | unix.BPF_JA:
			pc += int(in.K)
		case unix.BPF_RET | unix.BPF_K:
			return c.intern(node{kind: nodeReturn, k: in.K}), true
		default:
			test, ok := comparison(in.Code)
			if !ok {
				return 0, false
			}
			if !a.loaded {
				if in.Code&0xf0 == unix.BPF_JSET {
					return 0, false // a bit of the number says nothing about its neighbours
				}
				skip := in.Jf
				if test(a.value, in.K) {
					skip = in.Jt
				}
				pc += int(skip)
				continue
			}
			yes, ok1 := c.rest(pc+1+int(in.Jt), a, arch, nr)
			no, ok2 := c.rest(pc+1+int(in.Jf), a, arch, nr)
			if !ok1 || !ok2 {
				return 0, false
			}
			if yes == no {
				return yes, true
			}
			return c.intern(node{nodeTest, in.K, in.Code, a.offset, a.mask, yes, no}), true
		}
	}
	return 0, false
}

// comparison is what a conditional jump on a constant compares.
func comparison(code uint16) (func(a, k uint32) bool, bool) {
	switch code {
	case unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K:
		return func(a, k uint32) bool { return a == k }, true
	case unix.BPF_JMP | unix.BPF_JGT | unix.BPF_K:
		return func(a, k uint32) bool { return a > k }, true
	case unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K:
		return func(a, k uint32) bool { return a >= k }, true
	case unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K:
		return func(a, k uint32) bool { return a&k != 0 }, true
	}
	return nil, false
}

// foreign is the one action for every call of another architecture.
func (c *compactor) foreign(arch uint32, breaks []uint32) (int, bool) {
	only := -1
	for _, other := range breaks { // architectures are told apart by comparisons too
		if other == arch {
			continue
		}
		for _, nr := range breaks {
			n, ok := c.rest(0, known{}, other, nr)
			if !ok || c.nodes[n].kind != nodeReturn || only >= 0 && n != only {
				return 0, false
			}
			only = n
		}
	}
	return only, only >= 0
}

// breaks are the call numbers at which the program may begin to do something
// else: it compares numbers with constants only, so none lies between a
// constant and the next.
func (c *compactor) breaks() []uint32 {
	out := []uint32{0}
	for _, in := range c.p {
		if in.Code&7 == unix.BPF_JMP && in.Code != unix.BPF_JMP|unix.BPF_JA {
			out = append(out, in.K)
			if in.K != ^uint32(0) {
				out = append(out, in.K+1)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// write lays the program out from its end to its beginning, since jumps go
// forward and their targets must have a place first.
func (c *compactor) write(arch uint32, foreign int, ranges []span) filter.Program {
	c.at = make(map[int]int)
	body := c.search(ranges)
	c.push(unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0}, body)
	first := len(c.out) - 1
	c.branch(unix.BPF_JMP|unix.BPF_JEQ|unix.BPF_K, arch, func() int { return first }, func() int { return c.place(foreign) })
	c.out = append(c.out, unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 4})
	slices.Reverse(c.out)
	return c.out
}

// push appends an instruction that goes on at a place: the one just before it
// in out, or elsewhere by a jump.
func (c *compactor) push(in unix.SockFilter, next int) {
	if next != len(c.out)-1 {
		c.out = append(c.out, unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JA, K: uint32(len(c.out) - next - 1)})
	}
	c.out = append(c.out, in)
}

// branch appends a conditional jump to two places, and returns its own.
func (c *compactor) branch(code uint16, k uint32, yes, no func() int) int {
	y, n := yes(), no()
	// A conditional jump reaches 255 instructions: place a jump, or another
	// copy of the return, before it where that is not enough.
	reach := func(t int) int {
		if len(c.out)+1-t-1 <= 250 {
			return t
		}
		if in := c.out[t]; in.Code == unix.BPF_RET|unix.BPF_K {
			c.out = append(c.out, in)
		} else {
			c.out = append(c.out, unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JA, K: uint32(len(c.out) - t - 1)})
		}
		return len(c.out) - 1
	}
	y, n = reach(y), reach(n)
	c.out = append(c.out, unix.SockFilter{Code: code, K: k, Jt: uint8(len(c.out) - y - 1), Jf: uint8(len(c.out) - n - 1)})
	return len(c.out) - 1
}

// place writes a node, once, and returns where.
func (c *compactor) place(n int) int {
	if at, ok := c.at[n]; ok {
		return at
	}
	nd := c.nodes[n]
	if nd.kind == nodeReturn {
		c.out = append(c.out, unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: nd.k})
		c.at[n] = len(c.out) - 1
		return c.at[n]
	}
	at := c.branch(nd.code, nd.k, func() int { return c.place(nd.yes) }, func() int { return c.place(nd.no) })
	if nd.mask != ^uint32(0) {
		c.push(unix.SockFilter{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: nd.mask}, at)
		at = len(c.out) - 1
	}
	c.push(unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: nd.offset}, at)
	c.at[n] = len(c.out) - 1
	return c.at[n]
}

// search writes a balanced tree over the ranges and returns its root. The
// rests come first, so that they stand together behind the tree.
func (c *compactor) search(ranges []span) int {
	for _, r := range ranges {
		if c.nodes[r.node].kind == nodeTest {
			c.place(r.node)
		}
	}
	for _, r := range ranges {
		c.place(r.node)
	}
	var tree func(r []span) int
	tree = func(r []span) int {
		if len(r) == 1 {
			return c.place(r[0].node)
		}
		mid := len(r) / 2
		return c.branch(unix.BPF_JMP|unix.BPF_JGE|unix.BPF_K, r[mid].from,
			func() int { return tree(r[mid:]) }, func() int { return tree(r[:mid]) })
	}
	return tree(ranges)
}
