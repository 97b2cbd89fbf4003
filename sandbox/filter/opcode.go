package filter

import "golang.org/x/sys/unix"

// The opcodes that a seccomp filter may use. It is fewer than a socket filter
// has: words only, no packet, no length arithmetic (seccomp_check_filter in
// the kernel's kernel/seccomp.c).
const (
	opLoadData   = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS // A = 4 bytes of struct seccomp_data
	opLoadLength = unix.BPF_LD | unix.BPF_W | unix.BPF_LEN // A = 64
	opLoad       = unix.BPF_LD | unix.BPF_IMM              // A = K
	opLoadMem    = unix.BPF_LD | unix.BPF_MEM              // A = M[K]
	opXLength    = unix.BPF_LDX | unix.BPF_W | unix.BPF_LEN
	opXLoad      = unix.BPF_LDX | unix.BPF_IMM
	opXLoadMem   = unix.BPF_LDX | unix.BPF_MEM
	opStore      = unix.BPF_ST
	opXStore     = unix.BPF_STX
	opToX        = unix.BPF_MISC | unix.BPF_TAX
	opToA        = unix.BPF_MISC | unix.BPF_TXA
	opNegate     = unix.BPF_ALU | unix.BPF_NEG
	opJump       = unix.BPF_JMP | unix.BPF_JA
	opReturn     = unix.BPF_RET | unix.BPF_K
	opReturnA    = unix.BPF_RET | unix.BPF_A
)

// memoryWords is the size of the machine's scratch memory M (BPF_MEMWORDS).
const memoryWords = 16

// dataSize is the size of struct seccomp_data in bytes.
const dataSize = 64

// class is the part of the opcode that says load, store, compute, jump, return.
func class(code uint16) uint16 { return code & 0x07 }

// operation is the part that says which computation or comparison.
func operation(code uint16) uint16 { return code & 0xf0 }

// usesX says whether the right side of a computation or comparison is the
// register X instead of the constant K.
func usesX(code uint16) bool { return code&unix.BPF_X != 0 }

// isCompute says whether the opcode is arithmetic that a filter may use. There
// is no remainder: the kernel's list leaves BPF_MOD out.
func isCompute(code uint16) bool {
	if class(code) != unix.BPF_ALU || code&^uint16(0xf8|unix.BPF_ALU) != 0 {
		return false
	}
	switch operation(code) {
	case unix.BPF_ADD, unix.BPF_SUB, unix.BPF_MUL, unix.BPF_DIV, unix.BPF_AND, unix.BPF_OR,
		unix.BPF_XOR, unix.BPF_LSH, unix.BPF_RSH:
		return true
	}
	return false
}

// isBranch says whether the opcode is a conditional jump.
func isBranch(code uint16) bool {
	if class(code) != unix.BPF_JMP || code&^uint16(0xf8|unix.BPF_JMP) != 0 {
		return false
	}
	switch operation(code) {
	case unix.BPF_JEQ, unix.BPF_JGT, unix.BPF_JGE, unix.BPF_JSET:
		return true
	}
	return false
}
