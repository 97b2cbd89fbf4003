package sandbox

import (
	"path"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox/internal/rawfork"
)

// Plan is the exact list of system calls that makes one sandbox, ready to be
// printed or launched. Text and raw arguments come from the same values, so
// what is printed is what runs. A Plan is one launch: its slots are written.
type Plan struct {
	// Flags are the CLONE_NEW* flags of the clone3(2) that begins the plan.
	Flags uint64
	// OwnMemory says that the child gets a copy of the launcher's memory,
	// because the plan changes its kernel uid or gid.
	OwnMemory bool
	// PlainClone says that the plan begins with clone(2), as clone3 is refused.
	PlainClone bool
	// Calls are made in order by the child.
	Calls []Call
	// Env is the environment of CMD.
	Env []string
	// Shown are the parts of the root, in the order in which they are made.
	Shown []Shown
	// Tools are the tools of the caller's home that are shown.
	Tools []ShownTool
	// Notes are what the caller must be told, one line each: steps that were
	// skipped with another, things that the host could not do.
	Notes []string

	skipped []string // every step that is off, in table order
	dir     string   // CMD's working folder
	init    bool     // PID 1 is ours, not CMD
	data    []byte
	names   []slotName
	args    []arg
	relocs  []rawfork.Reloc
	flagsBy []stepFlag
	pauses  []func(*Cmd, int) error
	slots   struct {
		launcher, socket, init slot
		pidfd, proc            slot // of the process to join
		files                  []slot
	}
	umask    slot
	options  int // offset of init's option word in data
	exec     int // index of the first OpExec
	uppers   []upper
	ranges   *ranges
	userName string   // of the caller, for subuid(5)
	ownRoot  bool     // the root is a folder of the sandbox's tmpfs
	ownPaths []string // folders and links that the plan makes there
	layers   bool     // a descriptor of the layers comes over the socket
	watched  []watch
	// hiddenPaths are compared before and in the last pause.
	hiddenPaths []hiddenPath
}

// Upper is the writable layer of one overlay on the host's disk.
type Upper struct {
	Target string `json:"target"` // where CMD sees it
	Lower  string `json:"lower"`  // the folder of the host below it
	// Lowers are in place of Lower the layers of an image, the lowest first, and
	// Made the paths in it that the sandbox itself made: mount points.
	Lowers []string `json:"lowers,omitempty"`
	Made   []string `json:"made,omitempty"`
	Dir    string   `json:"dir"` // the upper layer's folder
	Why    string   `json:"why,omitempty"`
}

// Uppers are the upper layers in Spec.Upper; none where they lie in memory.
func (p *Plan) Uppers() []Upper {
	return slices.DeleteFunc(p.Layers(), func(u Upper) bool { return !path.IsAbs(u.Dir) })
}

// Layers are all upper layers. Where they lie in memory, Dir is relative to
// Cmd.Layers.
func (p *Plan) Layers() []Upper {
	var out []Upper
	for _, u := range p.uppers {
		up := Upper{Target: u.Target, Lower: u.Lower, Lowers: u.Lowers, Dir: u.Name}
		if u.Target == "/" {
			up.Made = p.Made()
		}
		if i := slices.IndexFunc(p.Shown, func(s Shown) bool { return s.Kind == Overlay && s.Target == u.Target }); i >= 0 {
			up.Why = p.Shown[i].Why
		}
		out = append(out, up)
	}
	return out
}

// Made are the paths of the root that the plan itself makes, as mount points and
// links: what of them is in an upper layer was not written by CMD.
func (p *Plan) Made() []string { return slices.Clone(p.ownPaths) }

// Shown is one part of the sandbox's root.
type Shown struct {
	Kind   string `json:"kind"` // BindRO, BindRW, Overlay, Tmpfs, Hide, "file", "link" or "folder"
	Source string `json:"source,omitempty"`
	Target string `json:"target"`
	Why    string `json:"why,omitempty"`
	// Guarded says that it is read-only in a folder that CMD may write to,
	// because it makes the host run code.
	Guarded bool `json:"guarded,omitempty"`
}

// Call is one system call of a Plan.
type Call struct {
	Step   string // the step that it belongs to; "launch" and "exec" frame them
	sys    *sysno
	first  int32 // its arguments are plan.args[first : first+n]
	n      int32
	result slot
	ignore uint16 // the errno with which it may fail
	op     rawfork.Op
}

// stepFlag says which step brought which flag of clone3.
type stepFlag struct {
	step string
	flag uint64
}

// sysno is a system call's number and name.
type sysno struct {
	nr   uintptr
	name string
}

// slot is a place in the data for one int32, a saved result: its offset + 1.
// The zero slot is none.
type slot int32

// slotName is how a slot is printed: what it is, and of what.
type slotName struct {
	slot     slot
	what, of string
}

func (p *Plan) nameOf(s slot) string {
	for _, n := range p.names {
		if n.slot == s {
			if n.of == "" {
				return n.what
			}
			return n.what + ":" + n.of
		}
	}
	return "?"
}

// arg is one argument: the value, and how it is passed and printed. It is two
// words, because a plan has some 700 of them and is made between the caller's
// wish and the start of CMD.
type arg struct {
	v    uint64
	kind *argKind
}

// argKind is how arguments of one sort are passed and printed.
type argKind struct {
	pass  argPass
	text  func(p *Plan, v uint64) string
	table []flag // names of the bits, where text is nil
}

type argPass uint8

const (
	argValue argPass = iota // v is the argument
	argMem                  // v is an offset into data
	argSlot                 // v is an offset into data of an int32
)

func decimal(_ *Plan, v uint64) string { return strconv.FormatInt(int64(v), 10) }

var (
	kindDecimal = argKind{text: decimal}
	kindOctal   = argKind{text: func(_ *Plan, v uint64) string { return "0" + strconv.FormatUint(v, 8) }}
	kindNull    = argKind{text: func(*Plan, uint64) string { return "NULL" }}
	kindString  = argKind{pass: argMem, text: func(p *Plan, v uint64) string { return strconv.Quote(p.cstring(v)) }}
	kindSlot    = argKind{pass: argSlot, text: func(p *Plan, v uint64) string { return p.nameOf(slot(v + 1)) }}
	kindCwd     = argKind{text: func(*Plan, uint64) string { return "AT_FDCWD" }}
)

func integer(v int) arg { return arg{uint64(v), &kindDecimal} }
func mode(v uint32) arg { return arg{uint64(v), &kindOctal} }
func nothing() arg      { return arg{0, &kindNull} }
func cwd() arg          { n := unix.AT_FDCWD; return arg{uint64(n), &kindCwd} }

// word is an argument with a printer of its own.
func word(v uint64, text func(*Plan, uint64) string) arg { return arg{v, &argKind{text: text}} }

// use is an argument that an earlier call's result, or the launcher, filled.
func use(s slot) arg { return arg{uint64(s - 1), &kindSlot} }

// cstring reads back the NUL-terminated string at an offset.
func (p *Plan) cstring(v uint64) string {
	end := int(v)
	for p.data[end] != 0 {
		end++
	}
	return string(p.data[v:end])
}

// reserve appends n zero bytes, aligned for any field, and returns their offset.
func (p *Plan) reserve(n int) int {
	at := (len(p.data) + 7) &^ 7
	p.data = append(p.data, make([]byte, at+n-len(p.data))...)
	return at
}

// newSlot makes a slot that holds -1 until a call's result is saved in it.
func (p *Plan) newSlot(what, of string) slot {
	at := p.reserve(4)
	copy(p.data[at:], "\xff\xff\xff\xff")
	return p.fieldSlot(at, what, of)
}

// fieldSlot is a slot inside a struct.
func (p *Plan) fieldSlot(at int, what, of string) slot {
	s := slot(at + 1)
	if p.names == nil {
		p.names = make([]slotName, 0, 48)
	}
	p.names = append(p.names, slotName{s, what, of})
	return s
}

func (p *Plan) setSlot(s slot, v int) {
	putUint32(p.data[s-1:], uint32(int32(v)))
}

func (p *Plan) cstr(s string) int {
	at := len(p.data)
	p.data = append(append(p.data, s...), 0)
	return at
}

// str is a NUL-terminated string argument.
func (p *Plan) str(s string) arg { return arg{uint64(p.cstr(s)), &kindString} }

// mem is the address of data, with a function that prints what is there.
func (p *Plan) mem(at int, text func(*Plan, uint64) string) arg {
	return arg{uint64(at), &argKind{pass: argMem, text: text}}
}

// vector writes an argv or envp array and returns its offset.
func (p *Plan) vector(words []string) int {
	total := 0
	for _, w := range words {
		total += len(w) + 1
	}
	if need := len(p.data) + total + 8*len(words) + 32; cap(p.data) < need {
		p.data = append(make([]byte, 0, need+4096), p.data...)
	}
	at := p.reserve(8 * (len(words) + 1))
	for i, w := range words {
		p.relocs = append(p.relocs, rawfork.Reloc{At: uint32(at + 8*i), Target: uint32(p.cstr(w))})
	}
	return at
}

// pointer makes data[at] the address of data[target].
func (p *Plan) pointer(at, target int) {
	p.relocs = append(p.relocs, rawfork.Reloc{At: uint32(at), Target: uint32(target)})
}

// add appends a call. The returned pointer is valid until the next add.
func (p *Plan) add(step string, sys *sysno, args ...arg) *Call {
	first := len(p.args)
	p.args = append(p.args, args...)
	p.Calls = append(p.Calls, Call{Step: step, sys: sys, first: int32(first), n: int32(len(args))})
	return &p.Calls[len(p.Calls)-1]
}

func (c *Call) saves(s slot) *Call             { c.result = s; return c }
func (c *Call) mayFail(errno unix.Errno) *Call { c.ignore = uint16(errno); return c }

// program turns the plan into what rawfork runs.
func (p *Plan) program() *rawfork.Program {
	calls := make([]rawfork.Call, len(p.Calls))
	for i := range p.Calls {
		c, o := &p.Calls[i], &calls[i]
		o.Op, o.Ignore, o.Save = c.op, unix.Errno(c.ignore), rawfork.NoSave
		if c.sys != nil {
			o.Nr = c.sys.nr
		}
		if c.result != 0 {
			o.Save = int32(c.result - 1)
		}
		for k := range c.n {
			a := &p.args[c.first+k]
			o.Args[k] = a.v
			switch a.kind.pass {
			case argMem:
				o.Mem |= 1 << k
			case argSlot:
				o.Slot |= 1 << k
			}
		}
	}
	return &rawfork.Program{Flags: p.Flags, OwnMemory: p.OwnMemory, PlainClone: p.PlainClone, Calls: calls, Data: p.data, Relocs: p.relocs}
}

// Text is call i as strace(1) would print it, with names in place of the
// numbers of descriptors.
func (p *Plan) Text(i int) string {
	c := &p.Calls[i]
	var b strings.Builder
	if c.op == rawfork.OpPause {
		switch {
		case c.Step == "user":
			return "# pause: the launcher runs newuidmap and newgidmap, and lets go"
		case len(p.hiddenPaths) > 0:
			return "# pause: the launcher looks whether what is hidden is what was to be, and lets go"
		}
		return "# pause: the launcher looks at CMD, and lets go"
	}
	b.WriteString(c.sys.name)
	b.WriteByte('(')
	for k := range c.n {
		if k > 0 {
			b.WriteString(", ")
		}
		a := &p.args[c.first+k]
		if a.kind.text == nil {
			b.WriteString(flagText(a.kind, a.v))
		} else {
			b.WriteString(a.kind.text(p, a.v))
		}
	}
	b.WriteByte(')')
	if c.result != 0 {
		b.WriteString(" = ")
		b.WriteString(p.nameOf(c.result))
	}
	if c.ignore != 0 {
		b.WriteString("  # or " + unix.ErrnoName(unix.Errno(c.ignore)))
	}
	return b.String()
}

// Clone is the text of the clone3 that begins the plan, or of the clone where
// clone3 is refused.
func (p *Plan) Clone() string {
	if p.PlainClone {
		flags := flagText(&cloneFlags, p.Flags|unix.CLONE_VFORK|unix.CLONE_PIDFD|p.vm())
		return "clone(" + flags + "|SIGCHLD, NULL, [pidfd], NULL, 0)"
	}
	flags := flagText(&cloneFlags, p.Flags|unix.CLONE_VFORK|unix.CLONE_PIDFD|unix.CLONE_PARENT_SETTID|unix.CLONE_CLEAR_SIGHAND|p.vm())
	return "clone3({flags=" + flags + ", exit_signal=SIGCHLD}, 64)"
}

func (p *Plan) vm() uint64 {
	if p.OwnMemory {
		return 0
	}
	return unix.CLONE_VM
}

// String is the whole plan: clone3 first, then the calls under the step that
// each belongs to.
func (p *Plan) String() string {
	var b strings.Builder
	b.WriteString(p.Clone())
	b.WriteByte('\n')
	if p.PlainClone {
		b.WriteString("# clone3 is refused (ENOSYS), and clone has no CLONE_CLEAR_SIGHAND: the child begins with rt_sigaction(SIG_DFL) for each signal that has a handler\n")
	}
	for _, f := range p.flagsBy {
		b.WriteString("# " + f.step + ": " + flagText(&cloneFlags, f.flag) + "\n")
	}
	step := ""
	for i := range p.Calls {
		if p.Calls[i].Step != step {
			step = p.Calls[i].Step
			b.WriteString("# " + step + "\n")
		}
		b.WriteString(p.Text(i))
		b.WriteByte('\n')
	}
	return b.String()
}

// Skipped lists the steps that are off, in the order of Steps.
func (p *Plan) Skipped() []string { return p.skipped }

// Dir is the folder in which CMD starts.
func (p *Plan) Dir() string { return p.dir }

func putUint16(b []byte, v uint16) { b[0], b[1] = byte(v), byte(v>>8) }
func putUint32(b []byte, v uint32) {
	b[0], b[1], b[2], b[3] = byte(v), byte(v>>8), byte(v>>16), byte(v>>24)
}

func putUint64(b []byte, v uint64) {
	putUint32(b, uint32(v))
	putUint32(b[4:], uint32(v>>32))
}

func getUint32(b []byte) uint32 {
	return uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16 | uint32(b[3])<<24
}

func getUint64(b []byte) uint64 {
	var v uint64
	for i := 7; i >= 0; i-- {
		v = v<<8 | uint64(b[i])
	}
	return v
}
