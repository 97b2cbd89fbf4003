package filter

import (
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// String is the program as a listing, one instruction a line: its index, what
// it does, and for a jump where it goes. Calls, architectures and actions bear
// their names as far as the paths that lead to the line agree on what is being
// compared. A program that is not valid is listed too.
//
//	0  load arch
//	1  unless arch == amd64 goto 9
//	2  load nr
//	3  if nr == mount(165) goto 8
func (p Program) String() string {
	var b strings.Builder
	known := make([]knowledge, len(p)+1)
	known[0].reached = true
	for pc, in := range p {
		k := known[pc]
		number := strconv.Itoa(pc)
		b.WriteString(strings.Repeat(" ", max(0, 4-len(number))))
		b.WriteString(number)
		b.WriteString("  ")
		b.WriteString(describe(in, pc, k))
		b.WriteByte('\n')
		p.learn(known, pc)
	}
	return b.String()
}

// knowledge is what is certain when an instruction is reached, on whatever
// path: which words a reader can use for the register A, and which architecture
// has been found.
type knowledge struct {
	reached bool
	a       string // such as "nr" or "args[1].low & 0xff"; "" when paths differ
	arch    string // Go's word; "" when not known
}

// meet adds a path to an instruction: what the paths disagree on is forgotten.
func (k *knowledge) meet(other knowledge) {
	if !k.reached {
		*k = other
		k.reached = true
		return
	}
	if k.a != other.a {
		k.a = ""
	}
	if k.arch != other.arch {
		k.arch = ""
	}
}

// learn passes what is known at pc on to the instructions that can follow it.
func (p Program) learn(known []knowledge, pc int) {
	k := known[pc]
	if !k.reached {
		return
	}
	to := func(next int, k knowledge) {
		if next < len(p) {
			known[next].meet(k)
		}
	}
	in := p[pc]
	switch {
	case class(in.Code) == unix.BPF_RET:
	case in.Code == opJump:
		if uint64(in.K) < uint64(len(p)) {
			to(pc+1+int(in.K), k)
		}
	case isBranch(in.Code):
		yes, no := k, k
		if k.a == "arch" && in.Code == unix.BPF_JMP|unix.BPF_JEQ|unix.BPF_K {
			yes.arch = archName(in.K)
		}
		to(pc+1+int(in.Jt), yes)
		to(pc+1+int(in.Jf), no)
	default:
		k.a = after(in, k.a)
		to(pc+1, k)
	}
}

// after is what A holds after an instruction that is no jump.
func after(in unix.SockFilter, a string) string {
	switch {
	case in.Code == opLoadData:
		return wordName(in.K)
	case in.Code == unix.BPF_ALU|unix.BPF_AND|unix.BPF_K && a != "":
		return a + " & " + hex(in.K)
	case class(in.Code) == unix.BPF_ST, class(in.Code) == unix.BPF_STX, class(in.Code) == unix.BPF_LDX, in.Code == opToX:
		return a
	}
	return ""
}

// wordName is the field of struct seccomp_data at an offset.
func wordName(offset uint32) string {
	switch {
	case offset == 0:
		return "nr"
	case offset == 4:
		return "arch"
	case offset == 8:
		return "ip.low"
	case offset == 12:
		return "ip.high"
	case offset >= dataSize || offset%4 != 0:
		return "data[" + strconv.FormatUint(uint64(offset), 10) + "]"
	}
	half := ".low"
	if offset%8 == 4 {
		half = ".high"
	}
	return "args[" + strconv.FormatUint(uint64((offset-16)/8), 10) + "]" + half
}

// describe is the line of one instruction.
func describe(in unix.SockFilter, pc int, k knowledge) string {
	word := "M[" + strconv.FormatUint(uint64(in.K), 10) + "]"
	switch in.Code {
	case opLoadData:
		return "load " + wordName(in.K)
	case opLoadLength:
		return "A = 64"
	case opLoad:
		return "A = " + hex(in.K)
	case opLoadMem:
		return "A = " + word
	case opXLength:
		return "X = 64"
	case opXLoad:
		return "X = " + hex(in.K)
	case opXLoadMem:
		return "X = " + word
	case opStore:
		return word + " = A"
	case opXStore:
		return word + " = X"
	case opToX:
		return "X = A"
	case opToA:
		return "A = X"
	case opNegate:
		return "A = -A"
	case opJump:
		return "goto " + strconv.FormatUint(uint64(pc)+1+uint64(in.K), 10)
	case opReturn:
		return "return " + Action(in.K).String()
	case opReturnA:
		return "return A"
	}
	switch {
	case isBranch(in.Code):
		return describeBranch(in, pc, k)
	case isCompute(in.Code):
		return "A = A " + symbol(operation(in.Code)) + " " + right(in)
	}
	return "not allowed: code " + hex(uint32(in.Code)) + ", k " + hex(in.K)
}

// describeBranch leaves out the side that goes on with the next line.
func describeBranch(in unix.SockFilter, pc int, k knowledge) string {
	left := k.a
	if left == "" {
		left = "A"
	}
	value := right(in)
	if !usesX(in.Code) {
		switch k.a {
		case "nr":
			value = callLabel(k.arch, in.K)
		case "arch":
			value = archName(in.K)
		}
	}
	condition := left + " " + relation(operation(in.Code)) + " " + value
	yes, no := strconv.Itoa(pc+1+int(in.Jt)), strconv.Itoa(pc+1+int(in.Jf))
	switch {
	case in.Jt == 0 && in.Jf == 0:
		return "if " + condition + " goto " + yes + " (both ways)"
	case in.Jf == 0:
		return "if " + condition + " goto " + yes
	case in.Jt == 0:
		return "unless " + condition + " goto " + no
	}
	return "if " + condition + " goto " + yes + " else " + no
}

// right is the right side of a computation or comparison.
func right(in unix.SockFilter) string {
	if usesX(in.Code) {
		return "X"
	}
	return hex(in.K)
}

func relation(op uint16) string {
	switch op {
	case unix.BPF_JEQ:
		return "=="
	case unix.BPF_JGT:
		return ">"
	case unix.BPF_JGE:
		return ">="
	}
	return "has a bit of"
}

func symbol(op uint16) string {
	switch op {
	case unix.BPF_ADD:
		return "+"
	case unix.BPF_SUB:
		return "-"
	case unix.BPF_MUL:
		return "*"
	case unix.BPF_DIV:
		return "/"
	case unix.BPF_AND:
		return "&"
	case unix.BPF_OR:
		return "|"
	case unix.BPF_XOR:
		return "^"
	case unix.BPF_LSH:
		return "<<"
	}
	return ">>"
}
