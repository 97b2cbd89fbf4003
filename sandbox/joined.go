package sandbox

import (
	"errors"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox/internal/rawfork"
)

// Process is one process, held so that nothing that is done to it can reach
// another that has got its number: a pidfd, and its folder of /proc, which is
// gone with it too.
type Process struct {
	pid, pidfd, proc int
	uidMap, gidMap   []IDMap // read when asked for
}

// OpenProcess opens the process that has this id and began at this time, in the
// kernel's ticks since boot (StartTime). The error is unix.ESRCH where there is
// none: the time tells a process from a later one with its number
// (pidfd_open(2), proc_pid_stat(5)).
func OpenProcess(pid int, start uint64) (*Process, error) {
	if pid <= 0 {
		return nil, unix.ESRCH
	}
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		if err == unix.EINVAL {
			err = unix.ESRCH // a thread's number by now
		}
		return nil, err
	}
	p := &Process{pid: pid, pidfd: pidfd, proc: -1}
	if p.proc, err = unix.Open("/proc/"+strconv.Itoa(pid), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err == nil {
		var now uint64
		if now, err = StartTime(pid); err == nil && (now != start || p.Ended()) {
			err = unix.ESRCH
		}
	}
	if err != nil {
		p.Close()
		if err == unix.ENOENT {
			err = unix.ESRCH
		}
		return nil, err
	}
	return p, nil
}

// Pid is the process's id.
func (p *Process) Pid() int { return p.pid }

// Root opens the root of the process, with its mount namespace around it: what is
// resolved beneath it is what the process sees. The error is ErrSharedRoot where
// the process is in the caller's own mount namespace.
func (p *Process) Root() (*os.File, error) {
	var own, its unix.Stat_t
	err := unix.Stat("/proc/self/ns/mnt", &own)
	if err == nil {
		err = unix.Fstatat(p.proc, "ns/mnt", &its, 0)
	}
	if err != nil {
		return nil, os.NewSyscallError("fstatat", err)
	}
	if own.Dev == its.Dev && own.Ino == its.Ino {
		return nil, ErrSharedRoot
	}
	return p.open("root", unix.O_PATH|unix.O_DIRECTORY)
}

// ErrSharedRoot is the error for a process that has no mounts of its own.
var ErrSharedRoot = errors.New("it shares the mounts of the host")

// File opens what the process has open as descriptor fd, with O_PATH.
func (p *Process) File(fd int) (*os.File, error) {
	return p.open("fd/"+strconv.Itoa(fd), unix.O_PATH)
}

func (p *Process) open(name string, flags int) (*os.File, error) {
	fd, err := unix.Openat(p.proc, name, flags|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "openat", Path: "/proc/" + strconv.Itoa(p.pid) + "/" + name, Err: err}
	}
	return os.NewFile(uintptr(fd), name), nil
}

// IDs are the ids that a uid and a gid of the host have in the process' user
// namespace; 65534 where they have none.
func (p *Process) IDs(uid, gid uint32) (int, int) {
	if p.uidMap == nil {
		p.uidMap, _ = p.readMap("uid_map") // of a process that is gone none has an id
		p.gidMap, _ = p.readMap("gid_map")
	}
	return inside(p.uidMap, uid), inside(p.gidMap, gid)
}

// inside is what an id of the host is called inside.
func inside(m []IDMap, id uint32) int {
	for _, line := range m {
		if n := int(id) - line.Outside; n >= 0 && n < line.Count {
			return line.Inside + n
		}
	}
	return 65534
}

// Ended says whether the process is no more, or a zombie.
func (p *Process) Ended() bool {
	ended, err := rawfork.Readable(p.pidfd, 0)
	return ended || err != nil
}

// Wait blocks until the process has ended, or for that long, and says whether it
// has; a negative time has no end. It holds a thread.
func (p *Process) Wait(limit time.Duration) (bool, error) { return rawfork.Readable(p.pidfd, limit) }

// Signal sends a signal; the error is unix.ESRCH when the process has ended.
func (p *Process) Signal(sig unix.Signal) error { return unix.PidfdSendSignal(p.pidfd, sig, nil, 0) }

// Close lets go of the process.
func (p *Process) Close() {
	unix.Close(p.pidfd)
	if p.proc >= 0 {
		unix.Close(p.proc)
	}
}

// StartTime is when a process began, in ticks since boot: field 22 of
// proc_pid_stat(5). The error is unix.ESRCH or unix.ENOENT where there is none.
func StartTime(pid int) (uint64, error) {
	fd, err := unix.Open("/proc/"+strconv.Itoa(pid)+"/stat", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	buf := make([]byte, 4096)
	n, err := unix.Read(fd, buf)
	if err != nil {
		return 0, err
	}
	text := string(buf[:n])
	// The name, in parentheses, may hold anything.
	fields := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
	if len(fields) < 20 {
		return 0, unix.ESRCH
	}
	if fields[0] == "Z" || fields[0] == "X" {
		return 0, unix.ESRCH
	}
	return strconv.ParseUint(fields[19], 10, 64)
}

// join reads in what the process differs from this one.
func (p *Process) join(j Join) (Join, error) {
	j.Namespaces = nil
	for _, n := range namespaceFlags {
		var own, its unix.Stat_t
		if err := unix.Stat("/proc/self/ns/"+n.name, &own); err != nil {
			continue // this kernel has none of the kind
		}
		if err := unix.Fstatat(p.proc, "ns/"+n.name, &its, 0); err != nil {
			return j, &Error{Step: "join", Call: "fstatat(proc, \"ns/" + n.name + "\")", Errno: errno(err)}
		}
		if own.Dev != its.Dev || own.Ino != its.Ino {
			j.Namespaces = append(j.Namespaces, n.name)
		}
	}
	if slices.Contains(j.Namespaces, "user") {
		for name, to := range map[string]*[]IDMap{"uid_map": &j.UIDMap, "gid_map": &j.GIDMap} {
			var err error
			if *to, err = p.readMap(name); err != nil {
				return j, &Error{Step: "join", Call: "openat(proc, \"" + name + "\")", Errno: errno(err)}
			}
		}
	}
	return j, nil
}

// readMap reads uid_map or gid_map.
func (p *Process) readMap(name string) ([]IDMap, error) {
	fd, err := unix.Openat(p.proc, name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	text := make([]byte, 64<<10)
	n, _ := f.Read(text)
	return parseMap(string(text[:n])), nil
}

// parseMap reads uid_map or gid_map (user_namespaces(7)).
func parseMap(text string) []IDMap {
	var out []IDMap
	for line := range strings.Lines(text) {
		var n [3]int
		fields := strings.Fields(line)
		if len(fields) != len(n) {
			continue
		}
		good := true
		for i, f := range fields {
			v, err := strconv.Atoi(f)
			n[i], good = v, good && err == nil
		}
		if good {
			out = append(out, IDMap{Inside: n[0], Outside: n[1], Count: n[2]})
		}
	}
	return out
}
