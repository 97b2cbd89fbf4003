#include "textflag.h"

#define SYS_prlimit64 261
#define RLIMIT_NOFILE 7

// func limit() (soft, hard uint64)
TEXT ·limit(SB), NOSPLIT, $0-16
	MOVD ZR, soft+0(FP)
	MOVD ZR, hard+8(FP)
	MOVD $SYS_prlimit64, R8
	MOVD $0, R0
	MOVD $RLIMIT_NOFILE, R1
	MOVD $0, R2
	MOVD $soft+0(FP), R3
	SVC
	RET
