package filter

import "golang.org/x/sys/unix"

// Data is what a filter sees of a system call: struct seccomp_data of
// include/uapi/linux/seccomp.h. Arguments are the raw registers, 64 bits each,
// also where the call takes an int: what an int's upper half holds is up to the
// caller, and the kernel does not look at it (CVE-2019-7303).
type Data struct {
	Nr   int32     // number of the call
	Arch uint32    // AUDIT_ARCH_… of the calling convention, see Arch
	IP   uint64    // address of the instruction that makes the call
	Args [6]uint64 // the arguments, unused ones hold anything
}

// word is the 4 bytes at an offset, on a little-endian machine: both
// architectures of this package are.
func (d *Data) word(offset uint32) uint32 {
	var v uint64
	switch {
	case offset == 0:
		return uint32(d.Nr)
	case offset == 4:
		return d.Arch
	case offset < 16:
		v = d.IP
	default:
		v = d.Args[(offset-16)/8]
	}
	if offset%8 == 4 {
		v >>= 32
	}
	return uint32(v)
}

// Run executes the program on one call, as the kernel would, and gives what it
// returns. The error is an *InvalidError when it comes upon an instruction
// that Validate refuses; a valid program never gives one, and always ends,
// since jumps go forward.
func (p Program) Run(d Data) (Action, error) {
	var a, x uint32
	var memory [memoryWords]uint32
	for pc := 0; pc < len(p); pc++ {
		in := p[pc]
		if reason := checkInstruction(in, len(p)-pc-1); reason != "" {
			return KillProcess, &InvalidError{pc, reason}
		}
		switch in.Code {
		case opLoadData:
			a = d.word(in.K)
		case opLoadLength:
			a = dataSize
		case opLoad:
			a = in.K
		case opLoadMem:
			a = memory[in.K]
		case opXLength:
			x = dataSize
		case opXLoad:
			x = in.K
		case opXLoadMem:
			x = memory[in.K]
		case opStore:
			memory[in.K] = a
		case opXStore:
			memory[in.K] = x
		case opToX:
			x = a
		case opToA:
			a = x
		case opNegate:
			a = -a
		case opJump:
			pc += int(in.K)
		case opReturn:
			return Action(in.K), nil
		case opReturnA:
			return Action(a), nil
		default:
			right := in.K
			if usesX(in.Code) {
				right = x
			}
			if isBranch(in.Code) {
				if compare(operation(in.Code), a, right) {
					pc += int(in.Jt)
				} else {
					pc += int(in.Jf)
				}
				continue
			}
			if operation(in.Code) == unix.BPF_DIV && right == 0 {
				// The kernel ends a program that divides by zero with 0.
				return KillThread, nil
			}
			a = compute(operation(in.Code), a, right)
		}
	}
	return KillProcess, &InvalidError{len(p), "the program ends without a return"}
}

// compare is the condition of a branch; all numbers are unsigned.
func compare(op uint16, a, b uint32) bool {
	switch op {
	case unix.BPF_JEQ:
		return a == b
	case unix.BPF_JGT:
		return a > b
	case unix.BPF_JGE:
		return a >= b
	}
	return a&b != 0 // BPF_JSET
}

// compute is one step of arithmetic, modulo 2^32. Shifts use the lowest five
// bits of the distance, as the kernel's eBPF machine does.
func compute(op uint16, a, b uint32) uint32 {
	switch op {
	case unix.BPF_ADD:
		return a + b
	case unix.BPF_SUB:
		return a - b
	case unix.BPF_MUL:
		return a * b
	case unix.BPF_DIV:
		return a / b
	case unix.BPF_AND:
		return a & b
	case unix.BPF_OR:
		return a | b
	case unix.BPF_XOR:
		return a ^ b
	case unix.BPF_LSH:
		return a << (b & 31)
	}
	return a >> (b & 31) // BPF_RSH
}
