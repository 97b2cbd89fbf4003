package filter

import (
	"strconv"

	"golang.org/x/sys/unix"
)

// Action is what a filter returns: what the kernel shall do with the call. The
// upper 16 bits are the kind, the lower 16 its data, such as an errno. The zero
// Action is KillThread. When several filters are installed, the kernel obeys
// the kind that is the smallest as a signed number (seccomp(2)).
type Action uint32

// The kinds of actions, from the strictest to the most permissive.
const (
	// KillProcess ends the whole process with SIGSYS.
	KillProcess Action = unix.SECCOMP_RET_KILL_PROCESS
	// KillThread ends only the calling thread.
	KillThread Action = unix.SECCOMP_RET_KILL_THREAD
	// Trap sends SIGSYS to the thread, which may handle it.
	Trap Action = unix.SECCOMP_RET_TRAP
	// Errno skips the call and returns the data as its errno.
	Errno Action = unix.SECCOMP_RET_ERRNO
	// UserNotif asks the process that listens to the filter (seccomp_unotify(2)).
	UserNotif Action = unix.SECCOMP_RET_USER_NOTIF
	// Trace asks a ptrace(2) tracer; without one the call gives ENOSYS.
	Trace Action = unix.SECCOMP_RET_TRACE
	// Log lets the call pass and writes it to the kernel's audit log.
	Log Action = unix.SECCOMP_RET_LOG
	// Allow lets the call pass.
	Allow Action = unix.SECCOMP_RET_ALLOW
)

// MaxErrno is the largest errno that the kernel returns; it lowers what is
// above (MAX_ERRNO in include/linux/err.h).
const MaxErrno = 4095

// WithErrno is the action that skips the call and returns e.
func WithErrno(e unix.Errno) Action { return Errno | Action(e)&unix.SECCOMP_RET_DATA }

// Kind is the action without its data: one of the constants of this package,
// or an unknown number, which the kernel treats as KillProcess.
func (a Action) Kind() Action { return a & unix.SECCOMP_RET_ACTION_FULL }

// Data is the lower 16 bits: the errno of Errno, the message of Trace and Trap.
func (a Action) Data() uint16 { return uint16(a & unix.SECCOMP_RET_DATA) }

// Passes says whether the call is carried out without anybody being asked.
func (a Action) Passes() bool { return a.Kind() == Allow || a.Kind() == Log }

// String is the action in the kernel's words, such as ERRNO(EPERM).
func (a Action) String() string {
	switch a.Kind() {
	case KillProcess:
		return "KILL_PROCESS"
	case KillThread:
		return "KILL_THREAD"
	case Trap:
		return withData("TRAP", a.Data())
	case Errno:
		if name := unix.ErrnoName(unix.Errno(a.Data())); name != "" {
			return "ERRNO(" + name + ")"
		}
		return "ERRNO(" + strconv.Itoa(int(a.Data())) + ")"
	case UserNotif:
		return "USER_NOTIF"
	case Trace:
		return withData("TRACE", a.Data())
	case Log:
		return "LOG"
	case Allow:
		return "ALLOW"
	}
	return "KILL_PROCESS (unknown action " + hex(uint32(a)) + ")"
}

// withData writes the data of an action only where there is some.
func withData(kind string, data uint16) string {
	if data == 0 {
		return kind
	}
	return kind + "(" + strconv.Itoa(int(data)) + ")"
}

// hex writes a number as C does, 0x7f.
func hex(v uint32) string { return "0x" + strconv.FormatUint(uint64(v), 16) }
