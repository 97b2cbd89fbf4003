#include "textflag.h"

// The init program for amd64. What it does and why is told in init.go, what
// it reads and writes in init_message.go; init_arm64.s is its twin, label for
// label.
//
// There is no stack frame, no call and no data, only registers and relative
// jumps, so the bytes run wherever the kernel maps them. The kernel starts the
// program with SP at the argument count, then the pointers of argv, NULL, the
// pointers of the environment, NULL. Below SP nothing is kept by anybody, and
// no signal handler can come along, so the few bytes there serve as a buffer.
//
// Registers (SYSCALL itself overwrites only AX, CX and R11):
//	R9  SP at the start
//	R12 the socket
//	R13 the options
//	R14 the next candidate; in the parent, CMD's pid
//	R15 CMD's argv
//	BX  CMD's environment; in the parent, the highest descriptor to be closed
//	R8  the errno to report when no candidate is left

#define SYS_read           0
#define SYS_write          1
#define SYS_rt_sigaction   13
#define SYS_rt_sigprocmask 14
#define SYS_ioctl          16
#define SYS_clone          56
#define SYS_execve         59
#define SYS_wait4          61
#define SYS_fcntl          72
#define SYS_chdir          80
#define SYS_setpgid        109
#define SYS_getpgid        121
#define SYS_prctl          157
#define SYS_exit_group     231
#define SYS_faccessat      269
#define SYS_dup3           292
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

// The bits of the third byte of OPTS.
#define OPT_ACK        1
#define OPT_GROUP      2
#define OPT_FOREGROUND 4
#define OPT_KEEP_MASK  8
#define OPT_ON_DEMAND  16

// The kinds of message.
#define STARTED        1
#define EXEC_FAILED    2
#define WAIT_STATUS    3
#define NO_INTERPRETER 4

// The message under construction.
#define KIND  -16(R9)
#define VALUE -12(R9)

#define DO(nr) \
	MOVL $nr, AX; \
	SYSCALL

// SEND writes the message; AX is 8 unless the launcher is gone.
#define SEND(kind) \
	MOVL $kind, KIND; \
	MOVL R12, DI; \
	LEAQ KIND, SI; \
	MOVL $8, DX; \
	DO(SYS_write)

// TERMINAL loads the descriptor of CMD's terminal from OPTS.
#define TERMINAL \
	MOVQ    16(R9), DX; \
	MOVBLZX 3(DX), DI; \
	SUBL    $48, DI

#define EXIT(status) \
	MOVL $status, DI; \
	DO(SYS_exit_group)

// initCode is never called: initImage copies its bytes, up to the sentinel.
TEXT ·initCode(SB), NOSPLIT|NOFRAME, $0-0
	MOVQ SP, R9

	// Nobody looks into this process, whatever the mode of its file was worth
	// to whoever executed it; and ps calls it argv[0], not "memfd:…".
	MOVL $PR_SET_DUMPABLE, DI
	XORL SI, SI
	DO(SYS_prctl)
	MOVL $PR_SET_NAME, DI
	MOVQ 8(R9), SI
	DO(SYS_prctl)

	MOVQ    (R9), AX
	LEAQ    16(R9)(AX*8), BX
	MOVQ    16(R9), DX
	MOVBLZX (DX), AX
	SUBL    $97, AX
	MOVBLZX 1(DX), R12
	SUBL    $97, R12
	SHLL    $4, R12
	ORL     AX, R12
	MOVBLZX 2(DX), R13
	LEAQ    24(R9), R14
	MOVQ    R14, R15

separator:
	MOVQ  (R15), AX
	ADDQ  $8, R15
	TESTQ AX, AX
	JEQ   quit
	CMPB  (AX), $0
	JNE   separator

	// A caller that ignored SIGCHLD handed that down, and the kernel would
	// throw the wait statuses away. The handler SIG_DFL is 0.
	XORL AX, AX
	MOVQ AX, -64(R9)
	MOVQ AX, -56(R9)
	MOVQ AX, -48(R9)
	MOVQ AX, -40(R9)
	MOVL $SIGCHLD, DI
	LEAQ -64(R9), SI
	XORL DX, DX
	MOVL $8, R10
	DO(SYS_rt_sigaction)

	MOVL R12, DI
	MOVL $F_SETFD, SI
	MOVL $FD_CLOEXEC, DX
	DO(SYS_fcntl)

	// The child has this memory and this stack until it executes CMD, and the
	// parent sleeps until then; all that the parent needs is in registers.
	MOVL  $CLONE_FLAGS, DI
	XORL  SI, SI
	XORL  DX, DX
	XORL  R10, R10
	XORL  R8, R8
	DO(SYS_clone)
	TESTQ AX, AX
	JEQ   child
	JGT   parent

	NEGL AX
	MOVL AX, VALUE
	SEND(EXEC_FAILED)

quit:
	EXIT(125)

child:
	TESTL $OPT_GROUP, R13
	JEQ   foreground
	XORL  DI, DI
	XORL  SI, SI
	DO(SYS_setpgid)
	TESTQ AX, AX
	JNE   refused

foreground:
	TESTL $OPT_FOREGROUND, R13
	JEQ   started
	XORL  DI, DI
	DO(SYS_getpgid)
	MOVL  AX, VALUE
	TERMINAL
	MOVL  $TIOCSPGRP, SI
	LEAQ  VALUE, DX
	DO(SYS_ioctl)
	TESTQ AX, AX
	JNE   refused

started:
	MOVL  $0, VALUE
	SEND(STARTED)
	CMPQ  AX, $8
	JNE   gone
	TESTL $OPT_ACK, R13
	JEQ   mask
	MOVL  R12, DI
	LEAQ  KIND, SI
	MOVL  $1, DX
	DO(SYS_read)
	CMPQ  AX, $1
	JNE   gone

mask:
	TESTL $OPT_KEEP_MASK, R13
	JNE   search
	MOVL  $SIG_SETMASK, DI
	LEAQ  -64(R9), SI
	XORL  DX, DX
	MOVL  $8, R10
	DO(SYS_rt_sigprocmask)

search:
	MOVL $ENOENT, R8

next:
	MOVQ (R14), DI
	ADDQ $8, R14
	CMPB (DI), $0
	JEQ  exhausted
	MOVQ R15, SI
	MOVQ BX, DX
	DO(SYS_execve)
	NEGL AX
	CMPL AX, $EACCES
	JEQ  denied
	CMPL AX, $ENOENT
	JEQ  missing
	CMPL AX, $ENODEV
	JEQ  missing
	CMPL AX, $ENOTDIR
	JEQ  missing
	CMPL AX, $ENAMETOOLONG
	JEQ  missing
	CMPL AX, $ELOOP
	JEQ  missing
	MOVL AX, R8

exhausted:
	MOVL R8, VALUE

report:
	SEND(EXEC_FAILED)

gone:
	EXIT(127)

refused:
	NEGL AX
	MOVL AX, VALUE
	JMP  report

denied:
	MOVL AX, R8
	JMP  next

	// The candidate may be there, and only what it names to run it missing.
missing:
	MOVL  AX, VALUE
	MOVQ  DI, SI
	MOVL  $AT_FDCWD, DI
	XORL  DX, DX
	DO(SYS_faccessat)
	TESTQ AX, AX
	JNE   next
	SEND(NO_INTERPRETER)
	JMP   gone

	// The launcher's pipes reach their end when CMD's processes close them,
	// not when the sandbox ends; and a working folder can be unmounted.
parent:
	MOVL  AX, R14
	LEAL  -1(R12), BX
	TESTL $OPT_ON_DEMAND, R13
	JEQ   below

	// The terminal stays, as the descriptor below the socket's, which may be
	// its own: dup3 then says EINVAL.
	TERMINAL
	MOVL  BX, SI
	XORL  DX, DX
	DO(SYS_dup3)
	DECL  BX

below:
	TESTL BX, BX
	JLT   above
	XORL  DI, DI
	MOVL  BX, SI
	XORL  DX, DX
	DO(SYS_close_range)

above:
	LEAL 1(R12), DI
	MOVL $-1, SI
	XORL DX, DX
	DO(SYS_close_range)
	MOVL $47, VALUE
	LEAQ VALUE, DI
	DO(SYS_chdir)

reap:
	MOVQ  $-1, DI
	LEAQ  VALUE, SI
	MOVL  $WAIT_OPTIONS, DX
	XORL  R10, R10
	DO(SYS_wait4)
	CMPQ  AX, $-EINTR
	JEQ   reap
	TESTQ AX, AX
	JLT   quit
	CMPL  AX, R14
	JNE   reap
	TESTL $OPT_ON_DEMAND, R13
	JEQ   tell
	MOVL  VALUE, CX
	CMPL  CX, $WANTS_INPUT
	JEQ   lend
	CMPL  CX, $WANTS_SETTINGS
	JNE   tell

lend:
	MOVL R14, DI
	DO(SYS_getpgid)
	MOVL AX, KIND
	LEAL -1(R12), DI
	MOVL $TIOCSPGRP, SI
	LEAQ KIND, DX
	DO(SYS_ioctl)

tell:
	SEND(WAIT_STATUS)
	MOVL  VALUE, CX
	CMPB  CX, $0x7f
	JNE   ended
	CMPQ  AX, $8
	JEQ   reap
	JMP   quit

ended:
	MOVL  CX, DI
	ANDL  $0x7f, DI
	JEQ   exited
	ADDL  $128, DI
	DO(SYS_exit_group)

exited:
	MOVL CX, DI
	SHRL $8, DI
	ANDL $255, DI
	DO(SYS_exit_group)

	// The sentinel, "sbx init" and "the end\n".
	QUAD $0x74696e6920786273
	QUAD $0x0a646e6520656874

// func initText() unsafe.Pointer
TEXT ·initText(SB), NOSPLIT, $0-8
	LEAQ ·initCode(SB), AX
	MOVQ AX, ret+0(FP)
	RET
