package sandbox

import (
	"cmp"
	"errors"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox/internal/nofile"

	"github.com/sbx-dev/sbx/sandbox/capability"
	"github.com/sbx-dev/sbx/sandbox/landlock"
	"github.com/sbx-dev/sbx/sandbox/stack"
)

// Features is the host as Compile sees it: who the caller is, what the kernel
// can do, and the caller's files through a Host. Compile asks nothing else, so
// a plan for any kernel and any host can be made on one machine.
type Features struct {
	UID, GID int
	Env      []string // the caller's environment
	Dir      string   // the caller's working folder, without symbolic links
	// NoClone3 says that clone3(2) is answered ENOSYS: a filter around the
	// process makes the C library fall back to clone(2) so, and sbx does the same.
	NoClone3 bool
	// KeysRefused is the errno with which a filter around the process answers every
	// call for keys (keyctl(2), add_key(2), request_key(2)), to CMD as well; 0 means
	// that one gets through, or that it was not asked.
	KeysRefused unix.Errno
	// LandlockABI is the version that landlock_create_ruleset(2) reports; 0
	// means that the kernel has none or that it is switched off.
	LandlockABI int
	// TmpfsXattr says that a tmpfs takes user.* attributes (Linux 6.6), which
	// an upper layer needs.
	TmpfsXattr bool
	LastCap    int    // the highest capability that the kernel knows
	Arch       string // GOARCH
	Host       Host

	// Stdio are the descriptors 0 to 2 that CMD gets.
	Stdio [3]Descriptor
	// Passed is the number of descriptors that must be moved to their places
	// in the child, from 0 up; 0 means that 0, 1 and 2 are inherited as they
	// are.
	Passed int
	// Terminal is the path of the terminal that becomes the controlling one,
	// and TerminalFD the descriptor that it is on.
	Terminal   string
	TerminalFD int
	// OpenFiles is the caller's own limit of open files, which CMD gets back
	// where Go's runtime has raised it; the zero value leaves it as it is.
	OpenFiles Rlimit
	// HoldLayers says that the launcher wants a descriptor of what lies in memory.
	HoldLayers bool
	// Observed says that the launcher looks at CMD before its first
	// instruction.
	Observed bool
}

// Descriptor is an open file that is passed to CMD: the kind of file, and
// whether it was opened for reading and writing.
type Descriptor struct {
	Mode        uint32 // S_IFMT bits; 0 means closed
	Read, Write bool
}

// rights are the rights on files with which it may be opened again, through
// /proc/self/fd: those that it was opened with.
func (d Descriptor) rights() uint64 {
	if d.Mode != unix.S_IFREG && d.Mode != unix.S_IFCHR {
		return 0 // Landlock knows no others: pipes and sockets have no path
	}
	var r uint64
	if d.Read {
		r |= unix.LANDLOCK_ACCESS_FS_READ_FILE
	}
	if d.Write {
		r |= unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_TRUNCATE
	}
	if r != 0 && d.Mode == unix.S_IFCHR {
		r |= unix.LANDLOCK_ACCESS_FS_IOCTL_DEV
	}
	return r
}

// Host is what Compile may ask about files.
type Host interface {
	// Lstat describes a path without following a symbolic link at its end.
	Lstat(path string) File
	// LstatIn describes a path of a root that is made of several layers, the
	// lowest first, and follows no link.
	LstatIn(layers []string, path string) File
	// Real is the path without symbolic links, or "" where it leads nowhere.
	Real(path string) string
	// Writable says whether the caller may write to a folder.
	Writable(path string) bool
	ReadFile(path string) ([]byte, error)
	ReadDir(path string) ([]string, error)
	// GitFolders finds what git would take for a repository in a folder, at any
	// depth: names below it, "." for itself, in order. Whole is false where the
	// folder holds too much to be looked through.
	GitFolders(path string) (found []string, whole bool, err error)
}

// File is what Compile needs to know of a path. The zero File is absent.
type File struct {
	Mode uint32 // S_IFMT bits; 0 means that nothing is there
	Link string // target of a symbolic link
	UID  int

	// Dev and Ino are which file it is, Changed when it last changed, in
	// nanoseconds (st_ctim in inode(7)). A Host may leave them 0.
	Dev, Ino uint64
	Changed  int64
}

// The kinds of File.
func (f File) exists() bool { return f.Mode != 0 }
func (f File) isDir() bool  { return f.Mode == unix.S_IFDIR }
func (f File) isLink() bool { return f.Mode == unix.S_IFLNK }

// What the kernel can do does not change while a program runs: it is asked once.
var (
	lastCap      = sync.OnceValue(capability.Last)
	landlockABI  = sync.OnceValue(landlock.ABI)
	xattrOnTmpfs = sync.OnceValue(tmpfsXattr)
	noClone3     = sync.OnceValue(clone3Missing)
	noKeys       = sync.OnceValue(keysRefused)
)

// Probe asks this machine for the features that a plan of the spec needs, and
// for nothing else: it stands between the caller and the start of CMD.
func Probe(s *Spec) (*Features, error) {
	f := &Features{UID: os.Getuid(), GID: os.Getgid(), Env: os.Environ(), Arch: runtime.GOARCH, LastCap: lastCap(), Host: osHost{}}
	f.NoClone3 = noClone3()
	if s.Skips("seccomp") && !s.Skips("session") {
		f.KeysRefused = noKeys()
	}
	f.Dir = workingFolder()
	f.OpenFiles = openFiles()
	if !s.Skips("landlock") {
		f.LandlockABI = landlockABI()
	}
	if !s.Skips("overlay") {
		f.TmpfsXattr = xattrOnTmpfs()
	}
	return f, nil
}

// clone3Missing asks for a child with a struct of no bytes, which the kernel
// refuses with EINVAL before it looks at anything (kernel/fork.c).
func clone3Missing() bool {
	_, _, errno := unix.RawSyscall(unix.SYS_CLONE3, 0, 0, 0)
	return errno == unix.ENOSYS
}

// keysRefused makes each call with which keys are read, searched, changed or
// passed on, for a key that is none: the kernel answers EINVAL, ENOKEY or EFAULT
// (security/keys/keyctl.c), and EPERM or ENOSYS only a filter, or a kernel
// without keys.
func keysRefused() unix.Errno {
	var answer unix.Errno
	for _, call := range [...][2]uintptr{
		{unix.SYS_KEYCTL, unix.KEYCTL_READ},
		{unix.SYS_KEYCTL, unix.KEYCTL_SEARCH},
		{unix.SYS_KEYCTL, unix.KEYCTL_DESCRIBE},
		{unix.SYS_KEYCTL, unix.KEYCTL_UPDATE},
		{unix.SYS_KEYCTL, unix.KEYCTL_LINK},
		{unix.SYS_ADD_KEY, 0},
		{unix.SYS_REQUEST_KEY, 0},
	} {
		_, _, answer = unix.RawSyscall6(call[0], call[1], 0, 0, 0, 0, 0)
		if answer != unix.EPERM && answer != unix.ENOSYS {
			return 0
		}
	}
	return answer
}

// openFiles is the limit of open files before Go's runtime raised it: the soft
// limit then is one below the hard one, unless the program has set it since.
func openFiles() Rlimit {
	soft, hard := nofile.Original()
	var now unix.Rlimit
	if soft >= hard || unix.Getrlimit(unix.RLIMIT_NOFILE, &now) != nil || now.Max != hard || now.Cur != hard-1 || soft == now.Cur {
		return Rlimit{}
	}
	return Rlimit{Name: "nofile", Soft: soft, Hard: hard}
}

// workingFolder is the kernel's name of it, without symbolic links; "" where it
// was removed, or lies outside of the caller's root.
func workingFolder() string {
	for size := 256; size <= 64<<10; size *= 4 { // not on the stack, which would have to grow
		buf := make([]byte, size)
		n, err := unix.Getcwd(buf)
		switch {
		case err == unix.ERANGE:
			continue
		case err != nil || n < 2 || buf[0] != '/':
			return ""
		}
		return string(buf[:n-1])
	}
	return ""
}

// getenv returns the caller's value of a variable, or "".
func (f *Features) getenv(name string) string {
	for _, kv := range f.Env {
		if len(kv) > len(name) && kv[len(name)] == '=' && kv[:len(name)] == name {
			return kv[len(name)+1:]
		}
	}
	return ""
}

// mountPoints lists the host's mount points, parents first, from mountinfo.
func (f *Features) mountPoints() []string {
	data, err := f.Host.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil
	}
	var out []string
	for line := range strings.Lines(string(data)) {
		fields := strings.SplitN(line, " ", 6)
		if len(fields) == 6 {
			out = append(out, unescape(fields[4]))
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// unescape undoes the octal escapes of mountinfo (\040 is a space).
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			v := 0
			for _, c := range []byte(s[i+1 : i+4]) {
				v = v<<3 | int(c-'0')
			}
			b.WriteByte(byte(v))
			i += 3
			continue
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// osHost is this machine.
type osHost struct{}

func (osHost) Lstat(path string) File {
	var st unix.Stat_t
	if unix.Lstat(path, &st) != nil {
		return File{}
	}
	f := File{Mode: st.Mode & unix.S_IFMT, UID: int(st.Uid), Dev: uint64(st.Dev), Ino: st.Ino, Changed: changedAt(&st)}
	if f.isLink() {
		var err error
		if f.Link, err = os.Readlink(path); err != nil {
			return File{}
		}
	}
	return f
}

func (osHost) LstatIn(layers []string, path string) File {
	info, err := stack.New(layers).Lstat(path)
	if err != nil {
		return File{}
	}
	f := File{Mode: info.Stat.Mode & unix.S_IFMT, UID: int(info.Stat.Uid), Dev: uint64(info.Stat.Dev), Ino: info.Stat.Ino}
	if f.isLink() {
		f.Link, _ = stack.New(layers).Readlink(path) // one that is gone now is none
	}
	return f
}

func (osHost) Real(path string) string {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return ""
	}
	defer unix.Close(fd)
	real, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd))
	if err != nil || !strings.HasPrefix(real, "/") {
		return ""
	}
	return real
}

func (osHost) Writable(path string) bool {
	return unix.Faccessat(unix.AT_FDCWD, path, unix.W_OK, unix.AT_EACCESS) == nil
}

// errIrregular is a FIFO, device, folder or socket in place of a file.
var errIrregular = errors.New("is no regular file")

// mostRead is how much of a file is read, in bytes.
const mostRead = 16 << 20

// ReadFile implements Host. What is no regular file, such as a FIFO that nobody
// writes to, is an error and is not waited for, and so is one of more than
// mostRead: a project may hold any.
func (osHost) ReadFile(path string) ([]byte, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, &os.PathError{Op: "read", Path: path, Err: cmp.Or(err, error(errIrregular))}
	}
	buf := make([]byte, 0, 8192)
	for {
		if len(buf) > mostRead {
			return nil, &os.PathError{Op: "read", Path: path, Err: unix.EFBIG}
		}
		if len(buf) == cap(buf) {
			buf = slices.Grow(buf, len(buf))
		}
		n, err := unix.Read(fd, buf[len(buf):cap(buf)])
		if err != nil {
			return nil, &os.PathError{Op: "read", Path: path, Err: err}
		}
		if n == 0 {
			return buf, nil
		}
		buf = buf[:len(buf)+n]
	}
}

func (osHost) ReadDir(path string) ([]string, error) {
	entries, err := os.ReadDir(path)
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names, err
}

func (osHost) GitFolders(path string) (found []string, whole bool, err error) {
	top, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, false, err
	}
	defer unix.Close(top)
	return findGit(top, nil)
}

// tmpfsXattr tries to set a user attribute on a file of the kernel's own tmpfs.
func tmpfsXattr() bool {
	fd, err := unix.MemfdCreate("sbx-probe", unix.MFD_CLOEXEC)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	return unix.Fsetxattr(fd, "user.sbx", []byte{1}, 0) == nil
}
