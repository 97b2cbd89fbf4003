package rawfork

import (
	"encoding/binary"
	"fmt"
	"syscall"
)

// InitMaxSocket is the highest descriptor number that OPTS can carry: two
// bytes between 'a' and 0xff.
const InitMaxSocket = (0xff-'a')<<4 | 15

// InitOptions tells the init program how to start CMD. The zero value is not
// valid, for descriptor 0 is CMD's standard input: set Socket.
type InitOptions struct {
	// Socket is the number that init's end of a SOCK_SEQPACKET Unix socket
	// pair has at the time of the exec, from 1 to InitMaxSocket. It must be
	// blocking and not close-on-exec; init sets close-on-exec itself, so CMD
	// never has it.
	Socket int
	// WaitForAck holds CMD's process after InitStarted, before its exec, until
	// the launcher sends one byte. End of file lets it exit with 127.
	WaitForAck bool
	// NewProcessGroup gives CMD a process group of its own (setpgid(2)), so
	// that kill(0, …) in CMD does not reach further.
	NewProcessGroup bool
	// Terminal is the descriptor, from 0 to 2, of the controlling terminal of
	// init's session. Foreground and OnDemand use it.
	Terminal int
	// Foreground makes CMD's process group the foreground group of the
	// terminal (tcsetpgrp(3)); where that is none of init's session, CMD is not
	// executed and InitExecFailed carries the errno, usually ENOTTY.
	Foreground bool
	// OnDemand does so only once CMD has been stopped because it read from the
	// terminal or changed its settings from the background (SIGTTIN, SIGTTOU):
	// before the stop is reported, so that SIGCONT is all that CMD then needs.
	// Init keeps the terminal open for it. Socket must be above 2.
	OnDemand bool
	// KeepSignalMask starts CMD with the signal mask that init was started
	// with. Otherwise CMD starts with no signal blocked.
	KeepSignalMask bool
}

// InitArgs builds the argument list with which the launcher executes the init
// program:
//
//	sbx-init OPTS CANDIDATE… "" ARGV…
//
// OPTS is four bytes, the socket's number in two digits to the base of 16,
// the lower first and counted from 'a', then '@' plus one bit an option, then
// the terminal's number as a digit. The candidates are the paths that init tries in this order with argv and its own
// environment; without any, the answer is InitExecFailed with ENOENT. An empty
// candidate is left out, for execve(2) would answer ENOENT as well. InitArgs
// panics when opts.Socket is out of range, which is a mistake of the caller
// and of no user.
func InitArgs(opts InitOptions, candidates, argv []string) []string {
	if opts.Socket < 1 || opts.Socket > InitMaxSocket || opts.OnDemand && opts.Socket < 3 {
		panic(fmt.Sprintf("rawfork: init's socket cannot be descriptor %d", opts.Socket))
	}
	bits := byte('@')
	for i, on := range [...]bool{opts.WaitForAck, opts.NewProcessGroup, opts.Foreground, opts.KeepSignalMask, opts.OnDemand} {
		if on {
			bits |= 1 << i
		}
	}
	args := make([]string, 0, 3+len(candidates)+len(argv))
	args = append(args, "sbx-init", string([]byte{'a' + byte(opts.Socket&15), 'a' + byte(opts.Socket>>4), bits, '0' + byte(opts.Terminal)}))
	for _, c := range candidates {
		if c != "" {
			args = append(args, c)
		}
	}
	return append(append(args, ""), argv...)
}

// InitMessageKind says what the init program reports.
type InitMessageKind uint32

const (
	// InitStarted comes first, from CMD's own process before its exec, so
	// that the credentials (SO_PASSCRED, and SO_PASSPIDFD since Linux 6.5)
	// give CMD's pid as the launcher sees it. Its value is 0.
	InitStarted InitMessageKind = 1
	// InitExecFailed means that CMD was not executed; the value is the errno.
	// Where several candidates were tried, it is EACCES if one gave that, else
	// ENOENT; any other error than those of a search along PATH ended the
	// search. Without InitStarted before it, the process could not be made
	// (clone, setpgid) or not get the terminal. Unless it was clone that
	// failed, InitWaitStatus follows with exit status 127.
	InitExecFailed InitMessageKind = 2
	// InitWaitStatus carries CMD's raw wait status (wait(2)), once for every
	// stop and last for its end. Then PID 1 exits with CMD's exit status or
	// 128 plus its signal, and the kernel kills all that is left in the PID
	// namespace. Outside a PID namespace of its own, nothing is killed.
	InitWaitStatus InitMessageKind = 3
	// InitInterpreterMissing means that a candidate exists, but not what it
	// names to run it: the interpreter of a script's first line, or the
	// dynamic loader of an ELF file. execve(2) says ENOENT for both cases,
	// which has confused every user of a shell once. The value is the errno;
	// InitWaitStatus follows with exit status 127.
	InitInterpreterMissing InitMessageKind = 4
)

// String returns the kind in the words of the constants, in lower case.
func (k InitMessageKind) String() string {
	switch k {
	case InitStarted:
		return "started"
	case InitExecFailed:
		return "exec failed"
	case InitWaitStatus:
		return "wait status"
	case InitInterpreterMissing:
		return "interpreter missing"
	}
	return fmt.Sprintf("init message %d", uint32(k))
}

// InitMessageSize is the size of every message in bytes.
const InitMessageSize = 8

// InitMessage is one packet from the init program: two little-endian 32-bit
// words. No code of the sandbox's user can write one, because CMD has no
// descriptor of the socket and cannot take it out of PID 1 (pidfd_getfd(2)
// asks for the rights of ptrace).
type InitMessage struct {
	Kind  InitMessageKind
	Value uint32
}

// Errno returns the value of an InitExecFailed or InitInterpreterMissing.
func (m InitMessage) Errno() syscall.Errno { return syscall.Errno(m.Value) }

// WaitStatus returns the value of an InitWaitStatus.
func (m InitMessage) WaitStatus() syscall.WaitStatus { return syscall.WaitStatus(m.Value) }

// ParseInitMessage reads one packet. It refuses another size and an unknown
// kind. An empty packet is what recvmsg(2) returns at end of file: init is
// gone, and the caller decides whether that was expected.
func ParseInitMessage(packet []byte) (InitMessage, error) {
	if len(packet) != InitMessageSize {
		return InitMessage{}, fmt.Errorf("message of init: %d bytes instead of %d", len(packet), InitMessageSize)
	}
	m := InitMessage{
		Kind:  InitMessageKind(binary.LittleEndian.Uint32(packet)),
		Value: binary.LittleEndian.Uint32(packet[4:]),
	}
	if m.Kind < InitStarted || m.Kind > InitInterpreterMissing {
		return InitMessage{}, fmt.Errorf("message of init: unknown kind %d", uint32(m.Kind))
	}
	return m, nil
}
