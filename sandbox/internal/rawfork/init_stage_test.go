package rawfork

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox/internal/testenv"
)

// The tests of init run it as PID 1 of new user, PID and mount namespaces. The
// test binary itself plays three more parts, told by this environment variable:
// the stage, which is in the namespaces and executes init as the launcher's
// child would; the probe, a CMD that attacks PID 1; and a launcher whose only
// folder is mounted noexec. What each file tests: init_run_test.go how CMD is
// found, started and reported, init_process_test.go what kernel state it starts
// with, init_attack_test.go what it cannot reach, init_outside_test.go what is
// seen of PID 1 from outside.
const roleVariable = "SBX_RAWFORK_INIT_ROLE"

func init() {
	switch os.Getenv(roleVariable) {
	case "stage":
		fmt.Fprintln(os.Stderr, "stage:", stageMain())
		os.Exit(stageFailed)
	case "probe":
		probeMain()
		os.Exit(0)
	case "noexec":
		fmt.Println(noexecMain())
		os.Exit(0)
	}
}

// Descriptors of the stage, and its exit status when it cannot execute init.
const (
	stageConfig = 3
	stageImage  = 4
	stageSocket = 5
	stageFailed = 124
)

// stage is what the stage does before it executes init.
type stage struct {
	Args          []string // already with OPTS
	Env           []string
	MountProc     bool // a /proc of the new PID namespace
	DropCaps      bool // all, before the exec of init
	LoseCaps      bool // has them at the exec, but init gets none: no ambient ones, and not root
	IgnoreSIGCHLD bool
}

func stageMain() error {
	runtime.LockOSThread()
	var s stage
	if err := json.NewDecoder(os.NewFile(stageConfig, "config")).Decode(&s); err != nil {
		return err
	}
	unix.CloseOnExec(stageConfig)
	unix.CloseOnExec(stageImage)
	if s.MountProc {
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			return fmt.Errorf("mount / private: %w", err)
		}
		if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
			return fmt.Errorf("mount proc: %w", err)
		}
	}
	if s.DropCaps {
		for c := uintptr(0); unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0) == nil; c++ {
		}
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			return err
		}
		head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var none [2]unix.CapUserData
		if err := unix.Capset(&head, &none[0]); err != nil {
			return fmt.Errorf("capset: %w", err)
		}
	}
	if s.LoseCaps {
		if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
			return err
		}
	}
	if s.IgnoreSIGCHLD {
		signal.Ignore(unix.SIGCHLD)
	}
	argv, err := syscall.SlicePtrFromStrings(s.Args)
	if err != nil {
		return err
	}
	envp, err := syscall.SlicePtrFromStrings(s.Env)
	if err != nil {
		return err
	}
	var all unix.Sigset_t
	for i := range all.Val {
		all.Val[i] = ^all.Val[i]
	}
	if err := unix.PthreadSigmask(unix.SIG_SETMASK, &all, nil); err != nil {
		return err
	}
	empty := [1]byte{}
	_, _, errno := unix.RawSyscall6(unix.SYS_EXECVEAT, stageImage, uintptr(unsafe.Pointer(&empty[0])),
		uintptr(unsafe.Pointer(&argv[0])), uintptr(unsafe.Pointer(&envp[0])), unix.AT_EMPTY_PATH, 0)
	return fmt.Errorf("execveat: %w", errno)
}

// trial is one run of init: what the test chooses, then what came of it.
type trial struct {
	opts       InitOptions
	candidates []string
	argv       []string
	stage      stage
	image      int  // descriptor; 0 means InitFD
	mapRoot    bool // uid 0 inside instead of the own
	under      []string

	cmd     *exec.Cmd
	conn    int   // the launcher's end of the socket
	noPidfd error // why its messages come without a pidfd
	stdout  bytes.Buffer
	stderr  bytes.Buffer
}

// shell is a trial whose CMD is a shell script.
func shell(script string) *trial {
	return &trial{candidates: []string{"/bin/sh"}, argv: []string{"sh", "-c", script}}
}

// start starts the stage, or skips the test where this host gives a normal user
// no namespaces.
func (r *trial) start(t *testing.T) {
	t.Helper()
	r.opts.Socket = stageSocket
	r.stage.Args = InitArgs(r.opts, r.candidates, r.argv)
	if r.stage.Env == nil {
		r.stage.Env = []string{"PATH=/usr/bin:/bin"}
	}
	if r.image == 0 {
		fd, err := InitFD()
		if err != nil {
			t.Fatal(err)
		}
		r.image = fd
	}
	config, err := os.CreateTemp(t.TempDir(), "config")
	if err != nil {
		t.Fatal(err)
	}
	defer config.Close()
	if err := json.NewEncoder(config).Encode(r.stage); err != nil {
		t.Fatal(err)
	}
	if _, err := config.Seek(0, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	r.conn = pair[0]
	t.Cleanup(func() { unix.Close(r.conn) })
	if err := unix.SetsockoptInt(r.conn, unix.SOL_SOCKET, unix.SO_PASSCRED, 1); err != nil {
		t.Fatal(err)
	}
	r.noPidfd = unix.SetsockoptInt(r.conn, unix.SOL_SOCKET, unix.SO_PASSPIDFD, 1)
	if err := unix.SetsockoptTimeval(r.conn, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 30}); err != nil {
		t.Fatal(err)
	}

	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	words := append(slices.Clone(r.under), self)
	setup := r.cmd // a test may have set stdin, stdout or the terminal
	if setup == nil {
		setup = &exec.Cmd{}
	}
	r.cmd = setup
	r.cmd.Path, r.cmd.Args, r.cmd.Env = words[0], words, append(os.Environ(), roleVariable+"=stage")
	if r.cmd.Stdout == nil {
		r.cmd.Stdout = &r.stdout
	}
	r.cmd.Stderr = &r.stderr

	socket := os.NewFile(uintptr(pair[1]), "socket")
	defer socket.Close()
	image, err := unix.FcntlInt(uintptr(r.image), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	imageFile := os.NewFile(uintptr(image), "image")
	defer imageFile.Close()
	r.cmd.ExtraFiles = []*os.File{config, imageFile, socket}

	uid, gid := os.Getuid(), os.Getgid()
	inside := func(id int) int {
		if r.mapRoot {
			return 0
		}
		return id
	}
	if r.cmd.SysProcAttr == nil {
		r.cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	// What the stage needs of the user namespace's capabilities must survive
	// its own exec as a user who is not root.
	r.cmd.SysProcAttr.AmbientCaps = []uintptr{unix.CAP_DAC_OVERRIDE, unix.CAP_SETPCAP, unix.CAP_SYS_ADMIN}
	r.cmd.SysProcAttr.Cloneflags = unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNS
	r.cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: inside(uid), HostID: uid, Size: 1}}
	r.cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: inside(gid), HostID: gid, Size: 1}}
	if err := r.cmd.Start(); errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) || errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EINVAL) {
		testenv.Lacks(t, "userns", err)
	} else if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if r.cmd.ProcessState == nil {
			r.cmd.Process.Kill()
			r.cmd.Wait()
		}
	})
}

// packet is one message and who sent it.
type packet struct {
	InitMessage
	pid   int32
	pidfd int // -1 without SO_PASSPIDFD
}

// next reads one message; false means end of file.
func (r *trial) next(t *testing.T) (packet, bool) {
	t.Helper()
	var b [64]byte
	oob := make([]byte, 256)
	n, oobn, _, _, err := unix.Recvmsg(r.conn, b[:], oob, unix.MSG_CMSG_CLOEXEC)
	for err == unix.EINTR { // SO_RCVTIMEO: not even SA_RESTART goes on (signal(7))
		n, oobn, _, _, err = unix.Recvmsg(r.conn, b[:], oob, unix.MSG_CMSG_CLOEXEC)
	}
	if err != nil {
		t.Fatalf("recvmsg: %v; stderr: %s", err, &r.stderr)
	}
	if n == 0 {
		return packet{}, false
	}
	m, err := ParseInitMessage(b[:n])
	if err != nil {
		t.Fatal(err)
	}
	p := packet{InitMessage: m, pidfd: -1}
	controls, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range controls {
		switch c.Header.Type {
		case unix.SCM_CREDENTIALS:
			cred, err := unix.ParseUnixCredentials(&c)
			if err != nil {
				t.Fatal(err)
			}
			p.pid = cred.Pid
		case unix.SCM_PIDFD:
			p.pidfd = int(int32(binary.NativeEndian.Uint32(c.Data)))
			t.Cleanup(func() { unix.Close(p.pidfd) })
		}
	}
	return p, true
}

// started reads the first message, which must be InitStarted.
func (r *trial) started(t *testing.T) packet {
	t.Helper()
	p, ok := r.next(t)
	if !ok {
		r.finish(t)
		t.Fatalf("init ended without a message: %v; stderr: %s", r.cmd.ProcessState, &r.stderr)
	}
	if p.Kind != InitStarted || p.Value != 0 {
		t.Fatalf("first message %v %d; stderr: %s", p.Kind, p.Value, &r.stderr)
	}
	return p
}

// finish reads what is left and waits for PID 1.
func (r *trial) finish(t *testing.T) (rest []InitMessage) {
	t.Helper()
	for {
		p, ok := r.next(t)
		if !ok {
			break
		}
		rest = append(rest, p.InitMessage)
	}
	if err := r.cmd.Wait(); err != nil {
		if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) {
			t.Fatal(err)
		}
	}
	if r.cmd.ProcessState.ExitCode() == stageFailed && strings.Contains(r.stderr.String(), "stage: mount") {
		testenv.Lacks(t, "procmount", r.stderr.String())
	}
	return rest
}

// run does the whole.
func (r *trial) run(t *testing.T) []InitMessage {
	t.Helper()
	r.start(t)
	return r.finish(t)
}

// output runs a trial that must end well and returns what CMD printed.
func (r *trial) output(t *testing.T) string {
	t.Helper()
	want := []InitMessage{{InitStarted, 0}, {InitWaitStatus, 0}}
	if got := r.run(t); !slices.Equal(got, want) {
		t.Fatalf("messages %v, want %v; stderr: %s", got, want, &r.stderr)
	}
	return r.stdout.String()
}

// file writes an executable file for a trial.
func file(t *testing.T, name, content string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
	return path
}

// ack lets CMD go on.
func (r *trial) ack(t *testing.T) {
	t.Helper()
	if _, err := unix.Write(r.conn, []byte{0}); err != nil {
		t.Fatal(err)
	}
}
