package observe

import (
	"bytes"
	"io/fs"
	"strconv"

	"golang.org/x/sys/unix"
)

// namedProcesses is how many processes get their name read; the rest of a
// long list has numbers alone, so that a fork bomb does not slow its observer.
const namedProcesses = 256

// processes lists what the process sees in its own /proc.
//
// Everything below the root of an observed process may be a trap: a symbolic
// link to a folder of the observer, a FIFO or a FUSE file that an open waits
// for without end. So the folder is opened as a place only (O_PATH), without
// following a link; it must be a mount that the kernel's own mountinfo calls
// proc, a question that no file system is asked; and no step into it may cross
// a mount or follow a link.
func (l *look) processes() {
	v := l.view
	at := l.path + "/root/proc"
	root, err := openat(l.fd, "root", unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		l.miss("processes", &fs.PathError{Op: "open", Path: l.path + "/root", Err: err})
		return
	}
	defer unix.Close(root)
	proc, err := openat(root, "proc", unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW)
	if err == unix.ENOENT {
		v.Processes = []Process{}
		return
	}
	if err != nil {
		l.miss("processes", &fs.PathError{Op: "open", Path: at, Err: err})
		return
	}
	defer unix.Close(proc)
	fstype, err := l.fstype(proc)
	if err != nil {
		l.miss("processes", err)
		return
	}
	if fstype != "proc" {
		v.Processes = []Process{} // an empty folder, or something else in its place
		return
	}
	dir, err := openat(proc, ".", unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		l.miss("processes", &fs.PathError{Op: "open", Path: at, Err: err})
		return
	}
	defer unix.Close(dir)
	pids, err := l.numbers(dir)
	if err != nil {
		l.miss("processes", &fs.PathError{Op: "getdents64", Path: at, Err: err})
		return
	}
	v.Processes = make([]Process, len(pids))
	told := false
	for i, pid := range pids {
		v.Processes[i].PID = pid
		if i >= namedProcesses {
			continue
		}
		v.Processes[i].Comm, err = l.comm(proc, pid)
		// One that has just ended is no gap; the others fail for one reason.
		if err != nil && err != unix.ENOENT && err != unix.ESRCH && !told {
			told = true
			l.miss("processes", &fs.PathError{Op: "openat2", Path: at + "/" + strconv.Itoa(pid) + "/comm", Err: err})
		}
	}
}

// fstype returns the type of the mount that an O_PATH descriptor stands on,
// and nothing when the observed process has no such mount.
func (l *look) fstype(fd int) (string, error) {
	path := "/proc/self/fdinfo/" + strconv.Itoa(fd)
	info, err := openat(unix.AT_FDCWD, path, unix.O_RDONLY)
	if err != nil {
		return "", &fs.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(info)
	text, err := l.readAll(info, statusSize)
	if err != nil {
		return "", &fs.PathError{Op: "read", Path: path, Err: err}
	}
	parsed, err := ParseFdinfo(bytes.NewReader(text))
	if err != nil {
		return "", &pathReason{path: path, reason: err.Error()}
	}
	for _, m := range l.view.Mounts {
		if m.ID == parsed.MountID {
			return m.FSType, nil
		}
	}
	return "", nil
}

// comm returns the name of a process in an observed /proc. The error is EXDEV
// when something is mounted over the file, EPERM under hidepid, and ENOSYS
// before Linux 5.6, which has no safe way to step in.
func (l *look) comm(proc, pid int) (string, error) {
	how := unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_CLOEXEC | unix.O_NONBLOCK,
		Resolve: unix.RESOLVE_NO_XDEV | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_BENEATH,
	}
	fd, err := unix.Openat2(proc, strconv.Itoa(pid)+"/comm", &how)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	text, err := l.readAll(fd, statusSize)
	return string(bytes.TrimSuffix(text, []byte{'\n'})), err
}
