package rawfork

// # What PID 1 is for
//
// The first process of a PID namespace is its init, and the kernel treats it
// as no other (pid_namespaces(7)):
//
//   - It inherits orphans. When a process dies before its children, they become
//     children of PID 1. A dead one keeps its entry in the process table, a
//     zombie, until its parent has waited for it. A PID 1 that never calls wait
//     fills the sandbox's limit of processes with zombies.
//   - It ends the namespace. When PID 1 exits, the kernel kills every process
//     that is left. That is why a sandbox cannot leave anything behind.
//   - It cannot be killed from inside. A signal that it has no handler for is
//     dropped, SIGKILL too. A program that was written as an ordinary one and
//     finds itself PID 1 therefore no longer dies of its own SIGTERM.
//
// So the command is not PID 1 but its child, and PID 1 is a program that does
// nothing except: start CMD, reap, tell the launcher how CMD ended, exit.
//
// # Why it is not this program
//
// The launcher could go on as PID 1 itself, without any exec. Two errors of
// others speak against it. In both, a process of the runner stood within reach
// of code that it did not trust, and was worth reaching:
//
//   - CVE-2019-5736: a process in the container opened /proc/PID/exe of runc,
//     which was the runc binary of the host, and overwrote it: whoever started
//     runc next ran the attacker's program as root.
//   - CVE-2016-8659: bubblewrap, setuid root there, set PR_SET_DUMPABLE on
//     itself, so that its user could attach to it with ptrace(2) and make use
//     of what its privileged part would do for it.
//
// PID 1 has the memory, the descriptors, the environment and the binary of
// whoever started it, and runs as the very user whose code it guards. So it
// executes something that is worth nothing: a program whose bytes come from
// the launcher's own text (initCode, in init_amd64.s and init_arm64.s), that
// stands in a sealed memfd that no path leads to, and starts with memory that
// holds nothing but itself, the arguments and CMD's own environment.
//
// It is also made non-dumpable, which closes /proc/1/mem, environ, exe, fd and
// ptrace to a process without CAP_SYS_PTRACE, even of the same user
// (PR_SET_DUMPABLE(2const), ptrace(2) on access mode checking). Its file has
// mode 0111, and who executes what he may not read is non-dumpable from the
// exec on, with no window (would_dump in the kernel's fs/exec.c). That does not
// hold for a launcher with CAP_DAC_OVERRIDE in its user namespace, as it has
// when the step that drops capabilities is skipped: so the program also says
// prctl(PR_SET_DUMPABLE, 0) before it starts anything.
//
// # Why assembler
//
// A C program of this kind needs a compiler when sbx is built, and a Go program
// is 1.5 MB with threads, a collector and 1 ms of start. This one is about 1000
// bytes, 8 to 12 KB of memory (PSS) beside CMD's arguments and environment,
// about 0.1 ms, and reads no input but its arguments and one byte, so there is
// nothing to talk it into.
//
// # What it does
//
//	prctl(PR_SET_DUMPABLE, 0); prctl(PR_SET_NAME, "sbx-init")
//	rt_sigaction(SIGCHLD, SIG_DFL)     an inherited SIG_IGN would lose the status
//	fcntl(socket, F_SETFD, FD_CLOEXEC)
//	clone(CLONE_VM|CLONE_VFORK|SIGCHLD)
//	    in CMD's process:
//	    setpgid(0, 0)                  NewProcessGroup
//	    ioctl(terminal, TIOCSPGRP, getpgid(0))  Foreground
//	    write(socket, InitStarted)
//	    read(socket, 1 byte)           WaitForAck
//	    rt_sigprocmask(SIG_SETMASK, none)  unless KeepSignalMask
//	    execve(candidate, ARGV, environment), one after the other
//	    faccessat(candidate, F_OK)     where execve said that it is not there
//	    write(socket, InitExecFailed or InitInterpreterMissing); exit_group(127)
//	dup3(terminal, socket-1)           OnDemand; that one is then not closed
//	close_range(0, socket-1); close_range(socket+1, ~0)
//	chdir("/")
//	wait4(-1, WUNTRACED|__WALL), again and again
//	ioctl(socket-1, TIOCSPGRP, getpgid(CMD))  OnDemand, as CMD stopped for its terminal
//	write(socket, InitWaitStatus); exit_group(CMD's status)
//
// A seccomp filter that init is to carry must allow these calls. They are the
// oldest of their kind: clone3, for one, is refused by common filters, which
// cannot look into its struct. A close_range or chdir that is refused is not
// reported; then PID 1 keeps CMD's pipes open until CMD ends.
//
// The launcher must have blocked all signals before it executes init, and init
// never unblocks them for itself. Nothing that the terminal sends to a whole
// process group can then stop PID 1; where the PID namespace is skipped, only
// SIGKILL ends it and SIGSTOP stops it; and CMD's process may take the terminal
// before its exec without being stopped by SIGTTOU (tcsetpgrp(3)).

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// initSentinel ends initCode; see the last lines of the assembler files.
	initSentinel = "sbx init" + "the end\n"
	// initLimit is the number of bytes in which the sentinel must come.
	initLimit = 4096

	// initMode is execute only: see above why that makes PID 1 non-dumpable.
	initMode = 0o111

	// Sizes of the parts of an ELF file, in bytes, and its constants, all from
	// elf(5).
	elfHeaderSize  = 64
	elfSegmentSize = 56
	elfEntry       = elfHeaderSize + 2*elfSegmentSize
	elfDyn         = 3          // ET_DYN
	elfLoad        = 1          // PT_LOAD
	elfStack       = 0x6474e551 // PT_GNU_STACK
	elfX           = 1          // PF_X
	elfW           = 2          // PF_W
	elfR           = 4          // PF_R
	elfAlign       = 0x10000    // the largest page of amd64 and arm64
)

// initText returns the address of initCode, the init program in assembler. That
// has no declaration in Go, for nobody may call it: it would take the process
// over.
func initText() unsafe.Pointer

// InitELF returns the init program as an executable file, a new slice at each
// call. Its header is the smallest that the kernel takes without a dynamic
// loader: one segment that is read and executed, and a stack that is not. Being
// ET_DYN it has no address of its own, so it is mapped at a random one.
func InitELF() []byte {
	text := unsafe.Slice((*byte)(initText()), initLimit)
	end := bytes.Index(text, []byte(initSentinel))
	if end < 0 {
		panic("rawfork: the init program has no end") // a broken build; a test executes it
	}
	return initImage(text[:end])
}

// initImage puts the ELF header before code.
func initImage(code []byte) []byte {
	size := uint64(elfEntry + len(code))
	le := binary.LittleEndian
	b := make([]byte, 0, size)
	// The identification: 64 bits, little-endian, version 1, System V.
	b = append(b, "\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00"...)
	b = le.AppendUint16(b, elfDyn)
	b = le.AppendUint16(b, initMachine)
	b = le.AppendUint32(b, 1)              // version
	b = le.AppendUint64(b, elfEntry)       // where to start
	b = le.AppendUint64(b, elfHeaderSize)  // where the segments' headers are
	b = le.AppendUint64(b, 0)              // no sections
	b = le.AppendUint32(b, 0)              // no flags
	b = le.AppendUint16(b, elfHeaderSize)  // this header
	b = le.AppendUint16(b, elfSegmentSize) // a segment's header
	b = le.AppendUint16(b, 2)              // how many
	b = le.AppendUint16(b, 0)
	b = le.AppendUint16(b, 0)
	b = le.AppendUint16(b, 0)

	segment := func(kind, flags uint32, size, align uint64) {
		b = le.AppendUint32(b, kind)
		b = le.AppendUint32(b, flags)
		b = le.AppendUint64(b, 0) // offset in the file
		b = le.AppendUint64(b, 0) // virtual address, relative
		b = le.AppendUint64(b, 0) // physical address
		b = le.AppendUint64(b, size)
		b = le.AppendUint64(b, size)
		b = le.AppendUint64(b, align)
	}
	segment(elfLoad, elfR|elfX, size, elfAlign)
	segment(elfStack, elfR|elfW, 0, 16)
	return append(b, code...)
}

// initFile is the descriptor that InitFD made, once there is one.
var initFile struct {
	sync.Mutex
	fd   int
	made bool
}

// InitFD returns a descriptor of the init program, for execveat(2) with
// AT_EMPTY_PATH. It is the same for the whole life of the process, close-on-exec
// and not to be closed; a call that fails leaves nothing, and the next one
// tries again.
//
// The file is a memfd, sealed against every change. Where the kernel refuses
// memfds that can be executed (sysctl vm.memfd_noexec=2, or an outer filter) it
// is a file without a name in $XDG_RUNTIME_DIR or [os.TempDir], whichever takes
// it and is not mounted noexec. Landlock lets a memfd be executed but asks for a
// rule for such a file: add one with this descriptor as parent_fd, for which a
// memfd answers EBADFD.
func InitFD() (int, error) {
	initFile.Lock()
	defer initFile.Unlock()
	if initFile.made {
		return initFile.fd, nil
	}
	image := InitELF()
	fd, err := initMemfd(image)
	if err != nil {
		var fileErr error
		if fd, fileErr = initTempfile(image, os.Getenv("XDG_RUNTIME_DIR"), os.TempDir()); fileErr != nil {
			return -1, errors.Join(err, fileErr)
		}
	}
	initFile.fd, initFile.made = fd, true
	return fd, nil
}

// initMemfd makes a memfd of image with initMode and all seals.
//
// MFD_EXEC and F_SEAL_EXEC came with Linux 6.3, and an older kernel answers
// EINVAL. With vm.memfd_noexec=1 a memfd is executable only by that flag, with
// 2 never (EACCES).
func initMemfd(image []byte) (int, error) {
	const flags = unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING
	fd, err := unix.MemfdCreate("sbx-init", flags|unix.MFD_EXEC)
	if err == unix.EINVAL {
		fd, err = unix.MemfdCreate("sbx-init", flags)
	}
	if err != nil {
		return -1, fmt.Errorf("init: memfd_create: %w", err)
	}
	if err := initWrite(fd, image); err != nil {
		unix.Close(fd)
		return -1, err
	}
	// The mode comes first, for F_SEAL_EXEC freezes its x bits.
	const seals = unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE
	for _, s := range [...]int{seals | unix.F_SEAL_FUTURE_WRITE | unix.F_SEAL_EXEC, seals} {
		if _, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, s); err != unix.EINVAL {
			break
		}
	}
	if err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("init: fcntl(F_ADD_SEALS): %w", err)
	}
	return fd, nil
}

// initTempfile makes a nameless file of image in the first of dirs that can hold
// an executable one. The descriptor is O_PATH: it can be executed and not
// written, and an exec of a file that anybody has open for writing would fail
// with ETXTBSY.
func initTempfile(image []byte, dirs ...string) (int, error) {
	var errs []error
	for _, dir := range dirs {
		if dir == "" {
			continue
		}
		fd, err := initTempfileIn(image, dir)
		if err == nil {
			return fd, nil
		}
		errs = append(errs, err)
	}
	return -1, errors.Join(errs...)
}

func initTempfileIn(image []byte, dir string) (int, error) {
	w, err := unix.Open(dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o700)
	if err != nil {
		return -1, fmt.Errorf("init: open(%q, O_TMPFILE): %w", dir, err)
	}
	defer unix.Close(w)
	var fs unix.Statfs_t
	if err := unix.Fstatfs(w, &fs); err != nil {
		return -1, fmt.Errorf("init: statfs(%q): %w", dir, err)
	}
	if fs.Flags&unix.ST_NOEXEC != 0 {
		return -1, fmt.Errorf("init: %s is mounted noexec: %w", dir, unix.EACCES)
	}
	if err := initWrite(w, image); err != nil {
		return -1, err
	}
	fd, err := unix.Open("/proc/self/fd/"+strconv.Itoa(w), unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("init: open(/proc/self/fd/%d, O_PATH): %w", w, err)
	}
	return fd, nil
}

// initWrite writes image to the empty file fd and gives it initMode.
func initWrite(fd int, image []byte) error {
	n, err := unix.Write(fd, image)
	if err == nil && n < len(image) {
		err = unix.ENOSPC // a file system cuts a write short when it is full
	}
	if err != nil {
		return fmt.Errorf("init: write: %w", err)
	}
	if err := unix.Fchmod(fd, initMode); err != nil {
		return fmt.Errorf("init: fchmod: %w", err)
	}
	return nil
}
