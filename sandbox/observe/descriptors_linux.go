package observe

import (
	"bytes"
	"io/fs"
	"strconv"

	"golang.org/x/sys/unix"
)

// descriptors lists the open files. A process that is not dumpable hides
// /proc/PID/fd but not fdinfo: then the numbers and flags are known and the
// targets are not.
func (l *look) descriptors() {
	v := l.view
	dir, err := openat(l.fd, "fd", unix.O_RDONLY|unix.O_DIRECTORY)
	targets := err == nil
	if !targets {
		l.miss("fds", &fs.PathError{Op: "open", Path: l.path + "/fd", Err: err})
		if dir, err = openat(l.fd, "fdinfo", unix.O_RDONLY|unix.O_DIRECTORY); err != nil {
			return
		}
	}
	defer unix.Close(dir)
	numbers, err := l.numbers(dir)
	if err != nil {
		l.miss("fds", &fs.PathError{Op: "getdents64", Path: l.path + "/fd", Err: err})
		return
	}
	self := v.PID == unix.Getpid()
	v.FDs = make([]FD, 0, len(numbers))
	for _, number := range numbers {
		// The observer's own look is not part of what it looks at.
		if self && (number == dir || number == l.fd) {
			continue
		}
		f := FD{FD: number, Flags: []string{}}
		name := strconv.Itoa(number)
		if targets {
			if f.Target, err = readlinkat(dir, name, l.path+"/fd"); err == unix.ENOENT {
				continue // closed meanwhile
			} else if err != nil {
				l.miss("fds", err)
			}
		}
		if text, err := l.read("fdinfo/"+name, statusSize); err == nil {
			if info, err := ParseFdinfo(bytes.NewReader(text)); err == nil {
				f.Access, f.Flags = openFlags(info.Flags)
			}
		}
		v.FDs = append(v.FDs, f)
	}
}

// openFlags returns the access mode of a descriptor and the names of its other
// flags, whose values differ between architectures (open(2)).
func openFlags(flags uint32) (access string, names []string) {
	switch flags & unix.O_ACCMODE {
	case unix.O_RDONLY:
		access = "r"
	case unix.O_WRONLY:
		access = "w"
	default:
		access = "rw"
	}
	if flags&unix.O_PATH != 0 {
		access = "path"
	}
	names = []string{}
	for _, f := range []struct {
		bits uint32
		name string
	}{
		{unix.O_APPEND, "O_APPEND"},
		{unix.O_NONBLOCK, "O_NONBLOCK"},
		{unix.O_SYNC, "O_SYNC"},
		{unix.O_DIRECT, "O_DIRECT"},
		{unix.O_DIRECTORY, "O_DIRECTORY"},
		{unix.O_NOFOLLOW, "O_NOFOLLOW"},
		{unix.O_CLOEXEC, "O_CLOEXEC"},
	} {
		// O_SYNC is two bits: both must be there.
		if flags&f.bits == f.bits {
			names = append(names, f.name)
		}
	}
	return access, names
}
