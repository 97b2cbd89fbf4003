#include "textflag.h"

#define SYS_prlimit64 302
#define RLIMIT_NOFILE 7

// func limit() (soft, hard uint64)
TEXT ·limit(SB), NOSPLIT, $0-16
	MOVQ $0, soft+0(FP)
	MOVQ $0, hard+8(FP)
	MOVL $SYS_prlimit64, AX
	XORL DI, DI
	MOVL $RLIMIT_NOFILE, SI
	XORL DX, DX
	LEAQ soft+0(FP), R10
	SYSCALL
	RET
