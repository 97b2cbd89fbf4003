package rawfork

import (
	"runtime"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Readable blocks the calling thread until a descriptor can be read, is at its
// end or has an error, or until the time is over; a negative time never is. It
// is what a program uses that waits for one thing only and has nothing else to
// do: the poller of the runtime would cost it several system calls and a thread.
func Readable(fd int, timeout time.Duration) (bool, error) {
	w := &pollFd{fd: int32(fd), events: unix.POLLIN, Timespec: unix.NsecToTimespec(int64(timeout))}
	limit := uintptr(unsafe.Pointer(&w.Timespec))
	if timeout < 0 {
		limit = 0
	}
	for {
		n, errno := block(unix.SYS_PPOLL, uintptr(unsafe.Pointer(w)), 1, limit)
		switch unix.Errno(errno) {
		case 0:
			runtime.KeepAlive(w)
			return n != 0, nil
		case unix.EINTR: // the kernel has taken the time that passed from Timespec
		default:
			return false, unix.Errno(errno)
		}
	}
}

// pollFd is struct pollfd of poll(2), and the time limit.
type pollFd struct {
	fd              int32
	events, revents int16
	unix.Timespec
}

// block makes a system call that is known to block. The memory that its
// arguments point to must not be on the stack.
//
//go:nosplit
//go:norace
//go:noinline
//go:uintptrescapes
func block(nr, a0, a1, a2 uintptr) (r, errno uintptr) {
	entersyscallblock()
	r, _, e := syscall.RawSyscall6(nr, a0, a1, a2, 0, 0, 0)
	exitsyscall()
	return r, uintptr(e)
}
