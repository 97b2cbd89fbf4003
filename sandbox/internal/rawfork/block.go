package rawfork

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Readable blocks the calling thread until a descriptor can be read, is at its
// end or has an error. It is what a program uses that waits for one thing only
// and has nothing else to do: the poller of the runtime would cost it several
// system calls and a thread.
func Readable(fd int) error {
	p := &pollFd{fd: int32(fd), events: unix.POLLIN}
	for {
		_, errno := block(unix.SYS_PPOLL, uintptr(unsafe.Pointer(p)), 1)
		switch unix.Errno(errno) {
		case 0:
			return nil
		case unix.EINTR:
		default:
			return unix.Errno(errno)
		}
	}
}

// pollFd is struct pollfd of poll(2).
type pollFd struct {
	fd              int32
	events, revents int16
}

// block makes a system call that is known to block. The memory that its
// arguments point to is kept where it is by uintptrescapes.
//
//go:nosplit
//go:norace
//go:noinline
//go:uintptrescapes
func block(nr, a0, a1 uintptr) (r, errno uintptr) {
	entersyscallblock()
	r, _, e := syscall.RawSyscall6(nr, a0, a1, 0, 0, 0, 0)
	exitsyscall()
	return r, uintptr(e)
}
