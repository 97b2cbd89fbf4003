#include "textflag.h"

// func clone3(args, size uintptr) uintptr
//
// The child shares this stack and runs first; whatever it pushes overwrites
// the return address that the CALL left here. So that address waits in a
// register over the system call, of which each side has its own copy.
TEXT ·clone3(SB),NOSPLIT|NOFRAME,$0-24
	MOVQ	args+0(FP), DI
	MOVQ	size+8(FP), SI
	MOVQ	$435, AX
	POPQ	R12
	SYSCALL
	PUSHQ	R12
	MOVQ	AX, ret+16(FP)
	RET

// func clone(flags, pidfd uintptr) uintptr
//
// As clone3 above. The arguments are flags with the exit signal, stack,
// parent_tid (the pidfd's place), child_tid, tls.
TEXT ·clone(SB),NOSPLIT|NOFRAME,$0-24
	MOVQ	flags+0(FP), DI
	XORL	SI, SI
	MOVQ	pidfd+8(FP), DX
	XORL	R10, R10
	XORL	R8, R8
	MOVQ	$56, AX
	POPQ	R12
	SYSCALL
	PUSHQ	R12
	MOVQ	AX, ret+16(FP)
	RET
