package observe

import (
	"fmt"
	"io"
	"strconv"
	"strings"
)

// FD is one open file descriptor.
type FD struct {
	FD     int    `json:"fd"`
	Target string `json:"target"` // a path, or pipe:[N], socket:[N], anon_inode:…; empty when it could not be read
	// Access is r, w, rw or path (O_PATH: it can be walked from but not read).
	Access string `json:"access"`
	// Flags are the other names of open(2): O_APPEND, O_CLOEXEC, O_DIRECTORY,
	// O_NONBLOCK and so on.
	Flags []string `json:"flags"`
}

// Fdinfo is what every /proc/PID/fdinfo/N holds (proc_pid_fdinfo(5)); what
// only epoll, inotify and their like write is left out.
type Fdinfo struct {
	Position int64  // file offset in bytes
	Flags    uint32 // as in open(2), in the values of the running architecture
	MountID  int    // the mount in mountinfo; -1 before Linux 3.15
	Inode    uint64 // 0 before Linux 5.14
}

// ParseFdinfo reads /proc/PID/fdinfo/N. It is an error when there are no
// flags, since each kernel writes them.
func ParseFdinfo(r io.Reader) (Fdinfo, error) {
	info := Fdinfo{MountID: -1}
	flags := false
	err := eachLine("fdinfo", r, func(line string) error {
		key, value, ok := strings.Cut(line, ":")
		if !ok {
			return nil
		}
		value = strings.TrimSpace(value)
		var err error
		// A driver may write further lines with the same keys: the first
		// counts, which is the kernel's.
		switch {
		case key == "pos" && !flags:
			info.Position, err = strconv.ParseInt(value, 10, 64)
		case key == "flags" && !flags:
			var n uint64
			n, err = strconv.ParseUint(value, 8, 32)
			info.Flags, flags = uint32(n), true
		case key == "mnt_id" && info.MountID < 0:
			info.MountID, err = strconv.Atoi(value)
		case key == "ino" && info.Inode == 0:
			info.Inode, err = strconv.ParseUint(value, 10, 64)
		}
		if err != nil {
			return fmt.Errorf("%w: %s: %w", errMalformed, key, err)
		}
		return nil
	})
	if err == nil && !flags {
		err = fmt.Errorf("fdinfo: %w: no flags", errMalformed)
	}
	return info, err
}

// targetKind drops the number of a pipe or socket, which differs between any
// two looks.
func targetKind(target string) string {
	for _, kind := range []string{"pipe", "socket"} {
		if strings.HasPrefix(target, kind+":[") {
			return "a " + kind
		}
	}
	return target
}
