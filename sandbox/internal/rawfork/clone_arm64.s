#include "textflag.h"

// func clone3(args, size uintptr) uintptr
//
// The return address is in the link register, of which parent and child each
// have their own copy; nothing of this frame is in the shared memory.
TEXT ·clone3(SB),NOSPLIT|NOFRAME,$0-24
	MOVD	args+0(FP), R0
	MOVD	size+8(FP), R1
	MOVD	$435, R8
	SVC
	MOVD	R0, ret+16(FP)
	RET

// func clone(flags, pidfd uintptr) uintptr
//
// As clone3 above. The arguments are flags with the exit signal, stack,
// parent_tid (the pidfd's place), tls, child_tid: the last two stand in another
// order than on amd64 (CONFIG_CLONE_BACKWARDS).
TEXT ·clone(SB),NOSPLIT|NOFRAME,$0-24
	MOVD	flags+0(FP), R0
	MOVD	ZR, R1
	MOVD	pidfd+8(FP), R2
	MOVD	ZR, R3
	MOVD	ZR, R4
	MOVD	$220, R8
	SVC
	MOVD	R0, ret+16(FP)
	RET
