package rawfork

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// launch clones with every signal blocked and the goroutine marked as being in
// a system call.
//
// Signals are blocked because the child starts with this thread's mask: a
// signal that arrived before CLONE_CLEAR_SIGHAND's effect would run a Go
// handler in the child. The runtime must know that this thread sleeps in the
// kernel (entersyscallblock), else a garbage collection that begins while the child
// pauses waits for this thread for as long as the pause lasts.
//
// From entersyscallblock to exitsyscall the goroutine stays on its thread and
// nothing may grow the stack, so all between them is nosplit; the linker proves
// it. (runtime.LockOSThread would start a thread more, for good.)
func launch(j *job) (pid uintptr, errno unix.Errno) {
	r := enter(j)
	if int(r) < 0 {
		return 0, unix.Errno(-int(r))
	}
	return r, 0
}

//go:nosplit
//go:norace
//go:noinline
func enter(j *job) uintptr {
	entersyscallblock()
	j.block = ^uint64(0)
	_, _, _ = syscall.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_BLOCK,
		uintptr(unsafe.Pointer(&j.block)), uintptr(unsafe.Pointer(&j.restore)), 8, 0, 0)
	r := fork(j)
	_, _, _ = syscall.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK,
		uintptr(unsafe.Pointer(&j.restore)), 0, 8, 0, 0)
	exitsyscall()
	return r
}

// fork is left by the parent alone. Parent and child return from clone3 into
// this same stack frame, so the child must not leave it, and the parent must
// not trust anything in it but the result: the same contract as that of
// forkAndExecInChild1 in the standard library's syscall package.
//
//go:nosplit
//go:norace
//go:noinline
func fork(j *job) uintptr {
	var r uintptr
	if j.plain {
		r = clone(uintptr(j.clone.flags|j.clone.exitSignal), uintptr(j.clone.pidfd))
	} else {
		r = clone3(uintptr(unsafe.Pointer(&j.clone)), unsafe.Sizeof(cloneArgs{}))
	}
	if r != 0 {
		return r
	}
	if j.plain {
		clearHandlers(j)
	}
	run(j)
	return 0 // not reached
}

// clearHandlers does in the child what CLONE_CLEAR_SIGHAND does in the kernel
// (flush_signal_handlers in kernel/signal.c): what has a handler gets the default
// action, and what is ignored stays so. The child has a table of its own, since
// CLONE_SIGHAND is not set, so nobody else changes it meanwhile and the launcher
// keeps its handlers. No signal arrives here: launch has blocked them all, and
// SIGKILL and SIGSTOP, which cannot be, have no handlers. A program may unblock
// them before it executes CMD, and then a handler would run in the launcher's
// memory.
//
//go:nosplit
//go:norace
//go:noinline
func clearHandlers(j *job) {
	for sig := uintptr(1); sig <= signals; sig++ {
		_, _, e := syscall.RawSyscall6(unix.SYS_RT_SIGACTION, sig, 0, uintptr(unsafe.Pointer(&j.had)), 8, 0, 0)
		if e != 0 || j.had.handler <= sigIgn {
			continue
		}
		_, _, _ = syscall.RawSyscall6(unix.SYS_RT_SIGACTION, sig, uintptr(unsafe.Pointer(&j.standard)), 0, 8, 0, 0)
	}
}

// run is the child. It makes the calls in order until one executes a program,
// and exits when one fails.
//
// It runs on the launcher's stack and memory while the launcher's thread
// sleeps and its other threads go on: the collector included. So it makes raw
// system calls only, on memory that the launcher pinned; it does not allocate,
// take a lock, call through an interface, defer or panic, and it writes
// nothing but int32 slots in the program's data, the report and the timings.
// None of these is a Go pointer, so no write barrier is ever needed.
//
//go:nosplit
//go:norace
//go:noinline
func run(j *job) {
	var denied uintptr // EACCES of an earlier OpExec: says more than ENOENT
	for i := uintptr(0); i < j.n; i++ {
		c := (*raw)(unsafe.Add(j.calls, i*unsafe.Sizeof(raw{})))
		var t *Timing
		if j.timings != nil {
			t = (*Timing)(unsafe.Add(j.timings, i*unsafe.Sizeof(Timing{})))
			_, _, _ = syscall.RawSyscall6(unix.SYS_CLOCK_GETTIME, unix.CLOCK_MONOTONIC, uintptr(unsafe.Pointer(&t.Start)), 0, 0, 0, 0)
		}
		var r, errno uintptr
		if c.op == OpPause {
			r, errno = pause(c, j.data)
		} else {
			r, errno = call(c, j.data)
		}
		if errno != 0 {
			r = -errno
		} else if c.save >= 0 {
			*(*int32)(unsafe.Add(j.data, c.save)) = int32(r)
		}
		if t != nil {
			_, _, _ = syscall.RawSyscall6(unix.SYS_CLOCK_GETTIME, unix.CLOCK_MONOTONIC, uintptr(unsafe.Pointer(&t.End)), 0, 0, 0, 0)
			t.Result = int64(r)
			t.done = 1
		}
		if errno == 0 || errno == c.ignore {
			continue
		}
		if c.op == OpExec && notFound(errno) {
			if errno == uintptr(unix.EACCES) {
				denied = errno
			} else if c.nr == unix.SYS_EXECVE && exists(c) {
				j.report.exists = 1
				c.last = true
			}
			if !c.last {
				continue
			}
			if denied != 0 && j.report.exists == 0 {
				errno = denied
			}
		}
		j.report.errno = int32(errno)
		j.report.failed = int32(i) + 1
		break
	}
	for {
		_, _, _ = syscall.RawSyscall6(unix.SYS_EXIT_GROUP, 125, 0, 0, 0, 0, 0)
	}
}

//go:nosplit
//go:norace
func call(c *raw, data unsafe.Pointer) (r, errno uintptr) {
	a0, a1, a2, a3, a4, a5 := c.args[0], c.args[1], c.args[2], c.args[3], c.args[4], c.args[5]
	if c.slot != 0 {
		if c.slot&1 != 0 {
			a0 = uintptr(*(*int32)(unsafe.Add(data, a0)))
		}
		if c.slot&2 != 0 {
			a1 = uintptr(*(*int32)(unsafe.Add(data, a1)))
		}
		if c.slot&4 != 0 {
			a2 = uintptr(*(*int32)(unsafe.Add(data, a2)))
		}
		if c.slot&8 != 0 {
			a3 = uintptr(*(*int32)(unsafe.Add(data, a3)))
		}
		if c.slot&16 != 0 {
			a4 = uintptr(*(*int32)(unsafe.Add(data, a4)))
		}
	}
	r, _, e := syscall.RawSyscall6(c.nr, a0, a1, a2, a3, a4, a5)
	return r, uintptr(e)
}

// pause uses the argument words themselves as the byte's memory.
//
//go:nosplit
//go:norace
func pause(c *raw, data unsafe.Pointer) (r, errno uintptr) {
	fd := uintptr(*(*int32)(unsafe.Add(data, c.args[0])))
	r, _, e := syscall.RawSyscall6(unix.SYS_WRITE, fd, uintptr(unsafe.Pointer(&c.args[1])), 1, 0, 0, 0)
	if e == 0 && r == 1 {
		r, _, e = syscall.RawSyscall6(unix.SYS_READ, fd, uintptr(unsafe.Pointer(&c.args[2])), 1, 0, 0, 0)
	}
	if e != 0 {
		return 0, uintptr(e)
	}
	if r != 1 {
		return 0, uintptr(unix.EPIPE)
	}
	return 0, 0
}

// notFound says that an execve failed for a reason for which execvp(3) goes on
// to the next folder of PATH.
//
//go:nosplit
//go:norace
func notFound(errno uintptr) bool {
	switch errno {
	case uintptr(unix.ENOENT), uintptr(unix.ENOTDIR), uintptr(unix.EACCES), uintptr(unix.ELOOP), uintptr(unix.ENAMETOOLONG), uintptr(unix.ENODEV):
		return true
	}
	return false
}

// exists says that the file of an execve is there, so that what was not found
// is its interpreter.
//
//go:nosplit
//go:norace
func exists(c *raw) bool {
	at := unix.AT_FDCWD
	_, _, e := syscall.RawSyscall6(unix.SYS_FACCESSAT, uintptr(at), c.args[0], unix.F_OK, 0, 0, 0)
	return e == 0
}

// The runtime's own marks of a system call that blocks: the processor goes to
// other goroutines at once, and where there are none the runtime's monitor
// sleeps too, in place of looking every 20 µs. The linker lets them be reached
// by name because so many programs do.
//
//go:linkname entersyscallblock runtime.entersyscallblock
func entersyscallblock()

//go:linkname exitsyscall runtime.exitsyscall
func exitsyscall()

// clone3 makes the clone3(2) system call. It returns twice: the child's pid or
// minus an errno in the parent, 0 in the child.
//
//go:noescape
func clone3(args, size uintptr) uintptr

// clone makes the clone(2) system call, and returns as clone3 does.
//
//go:noescape
func clone(flags, pidfd uintptr) uintptr
