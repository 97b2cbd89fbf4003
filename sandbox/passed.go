package sandbox

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox/internal/rawfork"
)

// lowDescriptor duplicates a descriptor to a number that PID 1's options can
// hold, which matters to a program with hundreds of open files.
func lowDescriptor(fd int) (int, error) {
	low, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return -1, &Error{Step: "launch", Call: "fcntl(F_DUPFD_CLOEXEC)", Errno: errno(err)}
	}
	if low > rawfork.InitMaxSocket {
		unix.Close(low)
		return -1, &Error{
			Step: "launch", Call: "fcntl(F_DUPFD_CLOEXEC)", Errno: unix.EMFILE,
			Hint: "more than 2,500 files are open in this process",
		}
	}
	return low, nil
}

// describeFiles looks at each descriptor that CMD gets, refuses those that
// lead out of the sandbox, and says whether they must be moved.
func (c *Cmd) describeFiles(feat *Features) ([]int, error) {
	fds := make([]int, len(c.files))
	inPlace := len(c.files) == 3
	for i, f := range c.files {
		if f == nil {
			return nil, errors.New("sandbox: a file in ExtraFiles is nil")
		}
		fds[i] = int(f.Fd())
		inPlace = inPlace && fds[i] == i
		d, err := describe(i, fds[i])
		if err == nil && d.Mode == unix.S_IFSOCK && !c.Spec.Skips("net") && c.Spec.Net != "host" {
			err = socketLeadsOut(i, fds[i])
		}
		if err != nil {
			return nil, err
		}
		if i < 3 {
			feat.Stdio[i] = d
		}
	}
	feat.Passed = 0
	if !inPlace {
		feat.Passed = len(fds)
	}
	if c.Spec.Terminal && feat.Terminal == "" {
		for i, fd := range fds[:3] {
			if _, err := unix.IoctlGetTermios(fd, unix.TCGETS); err != nil {
				continue
			}
			feat.TerminalFD = i
			if name, err := os.Readlink("/proc/self/fd/" + decimal(nil, uint64(fd))); err == nil {
				feat.Terminal = name
			}
			break
		}
	}
	c.terminalFD = feat.TerminalFD
	return fds, nil
}

// describe refuses what leads out of a root: with a folder's descriptor,
// fchdir(2) does; a block device holds other filesystems; O_PATH may be either.
func describe(number, fd int) (Descriptor, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return Descriptor{}, &FileError{FD: number, What: "not open"}
	}
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err != nil {
		return Descriptor{}, &FileError{FD: number, What: "not open"}
	}
	kind := st.Mode & unix.S_IFMT
	switch {
	case flags&unix.O_PATH != 0:
		return Descriptor{}, &FileError{FD: number, What: "opened with O_PATH"}
	case kind == unix.S_IFDIR:
		return Descriptor{}, &FileError{FD: number, What: "a folder"}
	case kind == unix.S_IFBLK:
		return Descriptor{}, &FileError{FD: number, What: "a block device"}
	}
	access := flags & unix.O_ACCMODE
	return Descriptor{Mode: kind, Read: access != unix.O_WRONLY, Write: access != unix.O_RDONLY}, nil
}

// socketLeadsOut refuses a socket that reaches more than the peer that it has: it
// belongs to the host's network namespace for ever. A TCP connection can be
// dissolved (connect(2) with AF_UNSPEC) and made again to another address, a
// datagram sent anywhere, an abstract Unix socket (unix(7)) included. A stream
// of Unix sockets, which socketpair(2) makes, keeps its peer.
func socketLeadsOut(number, fd int) error {
	domain, err1 := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	kind, err2 := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	listens, err3 := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
	_, unconnected := unix.Getpeername(fd)
	switch {
	case errors.Join(err1, err2, err3) != nil:
		return &FileError{FD: number, What: "an unknown socket"}
	case domain != unix.AF_UNIX:
		return &FileError{FD: number, What: "a socket of the host's network"}
	case kind == unix.SOCK_DGRAM || listens == 0 && unconnected != nil:
		return &FileError{FD: number, What: "a socket that can be sent to any address"}
	}
	return nil
}
