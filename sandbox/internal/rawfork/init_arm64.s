#include "textflag.h"

// The init program for arm64. What it does and why is told in init.go, what
// it reads and writes in init_message.go; init_amd64.s is its twin, label for
// label.
//
// There is no stack frame, no call and no data, only registers and relative
// jumps, so the bytes run wherever the kernel maps them. Every constant fits
// one or two MOV instructions: the assembler would put a pool for others
// behind the sentinel, where it is not copied (a test looks for that). The
// kernel starts the program with SP at the argument count, then the pointers
// of argv, NULL, the pointers of the environment, NULL. Below SP nothing is
// kept by anybody, and no signal handler can come along, so the few bytes
// there serve as a buffer.
//
// Registers (SVC itself overwrites only R0):
//	R19 SP at the start
//	R20 the socket
//	R21 the options
//	R22 the next candidate; in the parent, CMD's pid
//	R23 CMD's argv
//	R24 CMD's environment; in the parent, the highest descriptor to be closed
//	R25 the errno to report when no candidate is left
//	R26 the candidate being tried

#define SYS_dup3           24
#define SYS_fcntl          25
#define SYS_ioctl          29
#define SYS_faccessat      48
#define SYS_chdir          49
#define SYS_read           63
#define SYS_write          64
#define SYS_exit_group     94
#define SYS_rt_sigaction   134
#define SYS_rt_sigprocmask 135
#define SYS_setpgid        154
#define SYS_getpgid        155
#define SYS_prctl          167
#define SYS_clone          220
#define SYS_execve         221
#define SYS_wait4          260
#define SYS_close_range    436

#define PR_SET_DUMPABLE 4
#define PR_SET_NAME     15
#define SIGCHLD         17
#define F_SETFD         2
#define FD_CLOEXEC      1
#define CLONE_FLAGS     0x4111     // CLONE_VFORK|CLONE_VM|SIGCHLD
#define WAIT_OPTIONS    0x40000002 // __WALL|WUNTRACED
#define TIOCSPGRP       0x5410
#define WANTS_INPUT     0x157f     // the wait status of a stop by SIGTTIN
#define WANTS_SETTINGS  0x167f     // by SIGTTOU
#define SIG_SETMASK     2
#define AT_FDCWD        -100

#define ENOENT       2
#define EINTR        4
#define EACCES       13
#define ENODEV       19
#define ENOTDIR      20
#define ENAMETOOLONG 36
#define ELOOP        40

// The bit numbers of the third byte of OPTS.
#define OPT_ACK        0
#define OPT_GROUP      1
#define OPT_FOREGROUND 2
#define OPT_KEEP_MASK  3
#define OPT_ON_DEMAND  4

// The kinds of message.
#define STARTED        1
#define EXEC_FAILED    2
#define WAIT_STATUS    3
#define NO_INTERPRETER 4

// The message under construction.
#define KIND  -16(R19)
#define VALUE -12(R19)

#define DO(nr) \
	MOVD $nr, R8; \
	SVC

// SEND writes the message; R0 is 8 unless the launcher is gone.
#define SEND(kind) \
	MOVD $kind, R1; \
	MOVW R1, KIND; \
	MOVW R20, R0; \
	SUB  $16, R19, R1; \
	MOVD $8, R2; \
	DO(SYS_write)

// TERMINAL loads the descriptor of CMD's terminal from OPTS.
#define TERMINAL \
	MOVD  16(R19), R0; \
	MOVBU 3(R0), R0; \
	SUB   $48, R0

#define EXIT(status) \
	MOVD $status, R0; \
	DO(SYS_exit_group)

// initCode is never called: initImage copies its bytes, up to the sentinel.
TEXT ·initCode(SB), NOSPLIT|NOFRAME, $0-0
	MOVD RSP, R19

	// Nobody looks into this process, whatever the mode of its file was worth
	// to whoever executed it; and ps calls it argv[0], not "memfd:…".
	MOVD $PR_SET_DUMPABLE, R0
	MOVD $0, R1
	DO(SYS_prctl)
	MOVD $PR_SET_NAME, R0
	MOVD 8(R19), R1
	DO(SYS_prctl)

	MOVD  (R19), R0
	ADD   $16, R19, R24
	ADD   R0<<3, R24, R24
	MOVD  16(R19), R2
	MOVBU (R2), R0
	SUB   $97, R0
	MOVBU 1(R2), R20
	SUB   $97, R20
	LSL   $4, R20
	ORR   R0, R20
	MOVBU 2(R2), R21
	ADD   $24, R19, R22
	MOVD  R22, R23

separator:
	MOVD  (R23), R0
	ADD   $8, R23
	CBZ   R0, quit
	MOVBU (R0), R0
	CBNZ  R0, separator

	// A caller that ignored SIGCHLD handed that down, and the kernel would
	// throw the wait statuses away. The handler SIG_DFL is 0.
	MOVD ZR, -64(R19)
	MOVD ZR, -56(R19)
	MOVD ZR, -48(R19)
	MOVD ZR, -40(R19)
	MOVD $SIGCHLD, R0
	SUB  $64, R19, R1
	MOVD $0, R2
	MOVD $8, R3
	DO(SYS_rt_sigaction)

	MOVD R20, R0
	MOVD $F_SETFD, R1
	MOVD $FD_CLOEXEC, R2
	DO(SYS_fcntl)

	// The child has this memory and this stack until it executes CMD, and the
	// parent sleeps until then; all that the parent needs is in registers.
	MOVD $CLONE_FLAGS, R0
	MOVD $0, R1
	MOVD $0, R2
	MOVD $0, R3
	MOVD $0, R4
	DO(SYS_clone)
	CBZ  R0, child
	TBZ  $63, R0, parent

	NEG  R0, R0
	MOVW R0, VALUE
	SEND(EXEC_FAILED)

quit:
	EXIT(125)

child:
	TBZ  $OPT_GROUP, R21, foreground
	MOVD $0, R0
	MOVD $0, R1
	DO(SYS_setpgid)
	CBNZ R0, refused

foreground:
	TBZ  $OPT_FOREGROUND, R21, started
	MOVD $0, R0
	DO(SYS_getpgid)
	MOVW R0, VALUE
	TERMINAL
	MOVD $TIOCSPGRP, R1
	SUB  $12, R19, R2
	DO(SYS_ioctl)
	CBNZ R0, refused

started:
	MOVW ZR, VALUE
	SEND(STARTED)
	CMP  $8, R0
	BNE  gone
	TBZ  $OPT_ACK, R21, mask
	MOVD R20, R0
	SUB  $16, R19, R1
	MOVD $1, R2
	DO(SYS_read)
	CMP  $1, R0
	BNE  gone

mask:
	TBNZ $OPT_KEEP_MASK, R21, search
	MOVD $SIG_SETMASK, R0
	SUB  $64, R19, R1
	MOVD $0, R2
	MOVD $8, R3
	DO(SYS_rt_sigprocmask)

search:
	MOVD $ENOENT, R25

next:
	MOVD  (R22), R26
	ADD   $8, R22
	MOVBU (R26), R0
	CBZ   R0, exhausted
	MOVD  R26, R0
	MOVD  R23, R1
	MOVD  R24, R2
	DO(SYS_execve)
	NEG   R0, R0
	CMP   $EACCES, R0
	BEQ   denied
	CMP   $ENOENT, R0
	BEQ   missing
	CMP   $ENODEV, R0
	BEQ   missing
	CMP   $ENOTDIR, R0
	BEQ   missing
	CMP   $ENAMETOOLONG, R0
	BEQ   missing
	CMP   $ELOOP, R0
	BEQ   missing
	MOVD  R0, R25

exhausted:
	MOVW R25, VALUE

report:
	SEND(EXEC_FAILED)

gone:
	EXIT(127)

refused:
	NEG  R0, R0
	MOVW R0, VALUE
	B    report

denied:
	MOVD R0, R25
	B    next

	// The candidate may be there, and only what it names to run it missing.
missing:
	MOVW R0, VALUE
	MOVD $AT_FDCWD, R0
	MOVD R26, R1
	MOVD $0, R2
	DO(SYS_faccessat)
	CBNZ R0, next
	SEND(NO_INTERPRETER)
	B    gone

	// The launcher's pipes reach their end when CMD's processes close them,
	// not when the sandbox ends; and a working folder can be unmounted.
parent:
	MOVD R0, R22
	SUB  $1, R20, R24
	TBZ  $OPT_ON_DEMAND, R21, below

	// The terminal stays, as the descriptor below the socket's, which may be
	// its own: dup3 then says EINVAL.
	TERMINAL
	MOVD R24, R1
	MOVD $0, R2
	DO(SYS_dup3)
	SUB  $1, R24

below:
	TBNZ $63, R24, above
	MOVD $0, R0
	MOVD R24, R1
	MOVD $0, R2
	DO(SYS_close_range)

above:
	ADD  $1, R20, R0
	MOVD $-1, R1
	MOVD $0, R2
	DO(SYS_close_range)
	MOVD $47, R0
	MOVW R0, VALUE
	SUB  $12, R19, R0
	DO(SYS_chdir)

reap:
	MOVD $-1, R0
	SUB  $12, R19, R1
	MOVD $WAIT_OPTIONS, R2
	MOVD $0, R3
	DO(SYS_wait4)
	CMN  $EINTR, R0
	BEQ  reap
	TBNZ $63, R0, quit
	CMP  R22, R0
	BNE  reap
	TBZ  $OPT_ON_DEMAND, R21, tell
	MOVWU VALUE, R1
	MOVD $WANTS_INPUT, R2
	CMP  R2, R1
	BEQ  lend
	MOVD $WANTS_SETTINGS, R2
	CMP  R2, R1
	BNE  tell

lend:
	MOVD R22, R0
	DO(SYS_getpgid)
	MOVW R0, KIND
	SUB  $1, R20, R0
	MOVD $TIOCSPGRP, R1
	SUB  $16, R19, R2
	DO(SYS_ioctl)

tell:
	SEND(WAIT_STATUS)
	MOVWU VALUE, R1
	AND  $0xff, R1, R2
	CMP  $0x7f, R2
	BNE  ended
	CMP  $8, R0
	BEQ  reap
	B    quit

ended:
	AND $0x7f, R1, R0
	CBZ R0, exited
	ADD $128, R0
	DO(SYS_exit_group)

exited:
	LSR $8, R1, R0
	AND $0xff, R0
	DO(SYS_exit_group)

	// The sentinel, "sbx init" and "the end\n".
	WORD $0x20786273
	WORD $0x74696e69
	WORD $0x20656874
	WORD $0x0a646e65

// func initText() unsafe.Pointer
TEXT ·initText(SB), NOSPLIT, $0-8
	MOVD $·initCode(SB), R0
	MOVD R0, ret+0(FP)
	RET
