package state

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox"
)

// The values of Record.Status. What is written is Created, Running or Exited;
// Dead is what a reader finds.
const (
	Created = "created" // its monitor is about to start it
	Running = "running"
	Exited  = "exited"
	Dead    = "dead" // the monitor was killed, and the sandbox with it
)

// Record is what is known of a sandbox, as it stands in state.json.
type Record struct {
	Version int    `json:"version"` // 1
	ID      string `json:"id"`      // 12 hexadecimal digits, the first of them a letter
	Name    string `json:"name,omitempty"`
	Status  string `json:"status"`
	// Detached says that CMD was started with no terminal, and its output logged.
	Detached bool `json:"detached"`
	// Spec is what the sandbox was made from, Env and Dir what CMD got, HostDir
	// the caller's working folder.
	Spec    sandbox.Spec `json:"spec"`
	Env     []string     `json:"env,omitempty"`
	Dir     string       `json:"dir,omitempty"`
	HostDir string       `json:"host_dir,omitempty"`
	Skipped []string     `json:"skipped,omitempty"` // steps that are off
	// Folders are those of the host in which CMD may have made links.
	Folders []string `json:"folders,omitempty"`
	// Image is the image as it was asked for, "" without one; ImageDigest its
	// manifest's. Ports are those that it says it listens on ("80/tcp"), StopSignal
	// is what asks its program to end; "" is TERM.
	Image       string   `json:"image,omitempty"`
	ImageDigest string   `json:"image_digest,omitempty"`
	Ports       []string `json:"ports,omitempty"`
	StopSignal  string   `json:"stop_signal,omitempty"`
	// Uppers are the upper layers. Those that lie in memory are relative to the
	// monitor's descriptor LayersFD, and gone with the sandbox; Kept is the name of
	// the layer (package layer) that has them, or "".
	Uppers   []sandbox.Upper `json:"uppers,omitempty"`
	LayersFD int             `json:"layers_fd,omitempty"`
	Kept     string          `json:"kept,omitempty"`
	Created  time.Time       `json:"created"`
	Ended    time.Time       `json:"ended,omitzero"`
	// Monitor is the process that waits for the sandbox, Init the sandbox's first
	// one, CMD itself the third; of the zero Process nothing is known yet.
	Monitor Process `json:"monitor,omitzero"`
	Init    Process `json:"init,omitzero"`
	CMD     Process `json:"cmd,omitzero"`
	// Boot and PIDNamespace say where the numbers of the processes count.
	Boot         string          `json:"boot"`
	PIDNamespace uint64          `json:"pid_namespace"`
	Result       *sandbox.Result `json:"result,omitempty"` // how CMD ended
	// Failed is why CMD could not be executed, or "".
	Failed string `json:"failed,omitempty"`
}

// Process is a process of a Record: its number, and when it began, in ticks
// since boot.
type Process struct {
	Pid   int    `json:"pid"`
	Start uint64 `json:"start"`
}

// ProcessOf is the process that has a number now. Only who knows that the process
// is its own, or itself, may ask.
func ProcessOf(pid int) Process {
	start, err := sandbox.StartTime(pid)
	if err != nil {
		return Process{}
	}
	return Process{pid, start}
}

// Open holds a process of the record. The error is unix.ESRCH where that is no
// more, or where its number counted in another boot or PID namespace.
func (r *Record) Open(p Process) (*sandbox.Process, error) {
	if r.Boot != bootID() || r.PIDNamespace != pidNamespace() {
		return nil, unix.ESRCH
	}
	return sandbox.OpenProcess(p.Pid, p.Start)
}

// OpenLayers opens the folder (O_PATH) that the Uppers of a sandbox which runs are
// relative to; nil where none is. The error is unix.ESRCH where it has ended.
func (r *Record) OpenLayers() (*os.File, error) {
	if r.LayersFD == 0 {
		return nil, nil
	}
	monitor, err := r.Open(r.Monitor)
	if err != nil {
		return nil, err
	}
	defer monitor.Close()
	return monitor.File(r.LayersFD)
}

// CmdLine is CMD with its arguments in one line.
func (r *Record) CmdLine() string { return strings.Join(r.Spec.Args, " ") }

// Code is the exit code of a sandbox that has ended: CMD's own, or 137 where
// nobody knows, since both were killed.
func (r *Record) Code() int {
	if r.Result == nil {
		return 128 + int(unix.SIGKILL)
	}
	return r.Result.Code
}

// bootID is this boot's (random(4)); "" where /proc has none.
func bootID() string {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(id))
}

// pidNamespace is the inode of this process's PID namespace.
func pidNamespace() uint64 {
	var st unix.Stat_t
	if unix.Stat("/proc/self/ns/pid", &st) != nil {
		return 0
	}
	return st.Ino
}

// readRecord reads a sandbox's record and finds out whether what it says still
// holds.
func readRecord(dir string) (*Record, error) {
	text, err := os.ReadFile(filepath.Join(dir, "state.json"))
	if err != nil {
		return nil, err
	}
	r := &Record{}
	if err := json.Unmarshal(text, r); err != nil {
		return nil, err
	}
	if r.Version != 1 || r.ID != filepath.Base(dir) {
		return nil, &os.PathError{Op: "read", Path: filepath.Join(dir, "state.json"), Err: unix.EBADMSG}
	}
	if (r.Status == Created || r.Status == Running) && !r.alive(dir) {
		// It may have ended between the two looks.
		if text, err = os.ReadFile(filepath.Join(dir, "state.json")); err != nil {
			return nil, err
		}
		again := &Record{}
		if err := json.Unmarshal(text, again); err != nil {
			return nil, err
		}
		if r = again; r.Status != Exited {
			r.Status = Dead
		}
	}
	return r, nil
}

// alive says whether the monitor lives: it holds the lock, and is the process of
// the record.
func (r *Record) alive(dir string) bool {
	if r.Boot != bootID() || r.PIDNamespace != pidNamespace() {
		return false
	}
	if start, err := sandbox.StartTime(r.Monitor.Pid); err != nil || start != r.Monitor.Start {
		return false
	}
	fd, err := unix.Open(filepath.Join(dir, "lock"), unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	return flock(fd, unix.LOCK_SH|unix.LOCK_NB) == unix.EWOULDBLOCK
}

func flock(fd, how int) error {
	for {
		if err := unix.Flock(fd, how); err != unix.EINTR {
			return err
		}
	}
}

// hexadecimal digits of an id; the first is a letter, so that an id is never
// taken for the number of a process.
func newID() (string, error) {
	var b [12]byte
	for n := 0; n < len(b); {
		k, err := unix.Getrandom(b[n:], 0)
		if err != nil && err != unix.EINTR {
			return "", os.NewSyscallError("getrandom", err)
		}
		n += max(k, 0)
	}
	for i := range b {
		if i == 0 {
			b[i] = "abcdef"[b[i]%6]
		} else {
			b[i] = "0123456789abcdef"[b[i]&15]
		}
	}
	return string(b[:]), nil
}

// IsID says whether a word is an id, or how one may begin.
func IsID(word string) bool {
	if word == "" || len(word) > 12 || word[0] < 'a' || word[0] > 'f' {
		return false
	}
	for _, b := range []byte(word) {
		if (b < '0' || b > '9') && (b < 'a' || b > 'f') {
			return false
		}
	}
	return true
}

// CheckName says what is wrong with a name, or nil: a letter, then letters,
// digits, ".", "_" and "-", 64 bytes at most, and not what an id looks like.
func CheckName(name string) error {
	ok := name != "" && len(name) <= 64
	for i := 0; ok && i < len(name); i++ {
		b := name[i]
		letter := b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z'
		ok = letter || i > 0 && (b >= '0' && b <= '9' || b == '.' || b == '_' || b == '-')
	}
	switch {
	case !ok:
		return &NameError{strconv.Quote(name) + " is no name of a sandbox: a letter, then letters, digits, '.', '_' and '-', 64 at most"}
	case len(name) == 12 && IsID(name):
		return &NameError{strconv.Quote(name) + " looks like an id"}
	}
	return nil
}
