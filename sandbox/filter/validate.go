package filter

import (
	"strconv"

	"golang.org/x/sys/unix"
)

// Validate checks what the kernel checks when a filter is installed, so that a
// program that passes is not answered with EINVAL: known opcodes, loads inside
// struct seccomp_data, jumps that stay inside, no division by a constant zero,
// no scratch word read before it is written on every path, a return at the end.
// The error is an *InvalidError. Sources: bpf_check_classic and
// check_load_and_stores in net/core/filter.c, seccomp_check_filter in
// kernel/seccomp.c.
func (p Program) Validate() error {
	if len(p) == 0 {
		return &InvalidError{-1, "no instructions"}
	}
	if len(p) > MaxInstructions {
		return tooLong(len(p))
	}
	for pc, in := range p {
		if reason := checkInstruction(in, len(p)-pc-1); reason != "" {
			return &InvalidError{pc, reason}
		}
	}
	if class(p[len(p)-1].Code) != unix.BPF_RET {
		return &InvalidError{len(p) - 1, "the program ends without a return"}
	}
	return p.checkMemory()
}

// checkInstruction checks one instruction which after instructions follow, and
// says what is wrong with it, or nothing.
func checkInstruction(in unix.SockFilter, after int) string {
	switch in.Code {
	case opLoadData:
		if in.K%4 != 0 {
			return "load at byte " + strconv.FormatUint(uint64(in.K), 10) + ", which is no multiple of 4"
		}
		if in.K >= dataSize {
			return "load at byte " + strconv.FormatUint(uint64(in.K), 10) + " of the 64 of struct seccomp_data"
		}
		return ""
	case opLoadMem, opXLoadMem, opStore, opXStore:
		if in.K >= memoryWords {
			return "scratch word " + strconv.FormatUint(uint64(in.K), 10) + " of 16"
		}
		return ""
	case opJump:
		if uint64(in.K) >= uint64(after) {
			return "jump beyond the end"
		}
		return ""
	case opLoadLength, opLoad, opXLength, opXLoad, opToX, opToA, opNegate, opReturn, opReturnA:
		return ""
	}
	switch {
	case isBranch(in.Code):
		if int(in.Jt) >= after || int(in.Jf) >= after {
			return "branch beyond the end"
		}
		return ""
	case isCompute(in.Code):
		return checkConstant(in)
	}
	return "opcode " + hex(uint32(in.Code)) + " is not allowed in a seccomp filter"
}

// checkConstant refuses the constants that make a computation meaningless. A
// zero or a large number in X is known only when the program runs.
func checkConstant(in unix.SockFilter) string {
	if usesX(in.Code) {
		return ""
	}
	switch operation(in.Code) {
	case unix.BPF_DIV:
		if in.K == 0 {
			return "division by zero"
		}
	case unix.BPF_LSH, unix.BPF_RSH:
		if in.K >= 32 {
			return "shift by " + strconv.FormatUint(uint64(in.K), 10) + " of 32 bits"
		}
	}
	return ""
}

// checkMemory makes sure that every scratch word is written before it is read,
// on every path. Jumps go forward only, so one pass in order is enough: each
// instruction knows which words all of its predecessors have written.
func (p Program) checkMemory() error {
	const all = 1<<memoryWords - 1
	written := make([]uint16, len(p)) // one bit a word
	for i := range written {
		written[i] = all
	}
	here := uint16(0)
	for pc, in := range p {
		here &= written[pc]
		switch {
		case in.Code == opStore || in.Code == opXStore:
			here |= 1 << in.K
		case in.Code == opLoadMem || in.Code == opXLoadMem:
			if here&(1<<in.K) == 0 {
				return &InvalidError{pc, "scratch word " + strconv.FormatUint(uint64(in.K), 10) + " is read before it is written"}
			}
		case in.Code == opJump:
			written[pc+1+int(in.K)] &= here
			here = all
		case isBranch(in.Code):
			written[pc+1+int(in.Jt)] &= here
			written[pc+1+int(in.Jf)] &= here
			here = all
		}
	}
	return nil
}
