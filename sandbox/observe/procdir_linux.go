package observe

import (
	"errors"
	"io/fs"
	"strconv"

	"golang.org/x/sys/unix"
)

// A procDir is the /proc folder of one process, held open. The folder's inode
// keeps the kernel's struct pid, so after the process has ended every read
// answers ESRCH, even when its number is in use again.
//
// It reads with plain system calls: an os.File would register each of the
// hundred files with the poller, which /proc files refuse anyway.
type procDir struct {
	fd   int
	path string
	buf  []byte // used by each read again
}

// openProcess opens /proc/PID, /proc/self for 0.
func openProcess(pid int) (*procDir, error) {
	path := "/proc/self"
	if pid != 0 {
		path = "/proc/" + strconv.Itoa(pid)
	}
	if pid < 0 {
		return nil, &fs.PathError{Op: "open", Path: path, Err: unix.ENOENT}
	}
	fd, err := openat(unix.AT_FDCWD, path, unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return &procDir{fd: fd, path: path, buf: make([]byte, 16<<10)}, nil
}

func (d *procDir) close() { unix.Close(d.fd) }

func openat(dir int, name string, flags int) (int, error) {
	for {
		fd, err := unix.Openat(dir, name, flags|unix.O_CLOEXEC, 0)
		if err != unix.EINTR {
			return fd, err
		}
	}
}

// read returns up to limit bytes of a file below the folder, valid until the
// next read. When the file is longer it returns that much and an error.
func (d *procDir) read(name string, limit int) ([]byte, error) {
	fd, err := openat(d.fd, name, unix.O_RDONLY)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: d.path + "/" + name, Err: err}
	}
	defer unix.Close(fd)
	text, err := d.readAll(fd, limit)
	if err != nil {
		var tooLong *pathReason
		if errors.As(err, &tooLong) {
			tooLong.path = d.path + "/" + name
			return text, tooLong
		}
		return nil, &fs.PathError{Op: "read", Path: d.path + "/" + name, Err: err}
	}
	return text, nil
}

// readAll reads until the end of the file: one read of a /proc file gives at
// most what the kernel has room for, not all of it.
func (d *procDir) readAll(fd, limit int) ([]byte, error) {
	n := 0
	for {
		if n == len(d.buf) {
			d.buf = append(d.buf, make([]byte, len(d.buf))...)
		}
		got, err := unix.Read(fd, d.buf[n:])
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return nil, err
		case got == 0:
			return d.buf[:n], nil
		}
		if n += got; n > limit {
			return d.buf[:limit], &pathReason{reason: "longer than " + strconv.Itoa(limit) + " bytes, the rest was not read"}
		}
	}
}

// readlink returns the target of a link below the folder.
func (d *procDir) readlink(name string) (string, error) {
	return readlinkat(d.fd, name, d.path)
}

// readlinkat reads a link that lies below the folder dir, whose path is shown
// in an error. The kernel writes at most a page.
func readlinkat(dir int, name, path string) (string, error) {
	var buf [unix.PathMax]byte
	n, err := unix.Readlinkat(dir, name, buf[:])
	if err != nil {
		return "", &fs.PathError{Op: "readlink", Path: path + "/" + name, Err: err}
	}
	return string(buf[:n]), nil
}

// numbers returns the numeric names in an open folder, in the kernel's order,
// which in /proc is ascending.
func (d *procDir) numbers(fd int) ([]int, error) {
	numbers := []int{}
	var names []string
	for {
		n, err := unix.ReadDirent(fd, d.buf)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return nil, err
		}
		if n <= 0 {
			return numbers, nil
		}
		_, _, names = unix.ParseDirent(d.buf[:n], -1, names[:0])
		for _, name := range names {
			if number, err := strconv.Atoi(name); err == nil {
				numbers = append(numbers, number)
			}
		}
	}
}

// A pathReason is a failure without an errno.
type pathReason struct{ path, reason string }

func (e *pathReason) Error() string { return e.path + ": " + e.reason }

// reasonOf returns the path and the reason of an error, an errno by its name.
func reasonOf(err error) (path, reason string) {
	var why *pathReason
	if errors.As(err, &why) {
		return why.path, why.reason
	}
	reason = err.Error()
	var failed *fs.PathError
	if errors.As(err, &failed) {
		path, reason = failed.Path, failed.Err.Error()
	}
	var errno unix.Errno
	if errors.As(err, &errno) {
		if name := unix.ErrnoName(errno); name != "" {
			reason = name
		}
	}
	return path, reason
}
