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
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The tests of this file run the init program as PID 1 of new user, PID and
// mount namespaces. The test binary itself plays two more parts, told by an
// environment variable: the stage, which is in the namespaces and executes init
// as the launcher's child would, and the probe, a CMD that attacks PID 1. A
// third part is that of a launcher with a folder that is mounted noexec.
const roleVariable = "RAWFORK_INIT_TEST_ROLE"

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
		t.Skipf("this host gives user %d no user, PID and mount namespaces: %v", uid, err)
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
		t.Skipf("this host lets no user mount a new /proc: %s", &r.stderr)
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

func TestInitOutcome(t *testing.T) {
	denied := file(t, "denied", "#!/bin/sh\n", 0o600)
	orphan := file(t, "orphan", "#!/nonexistent/interpreter\n", 0o700)
	text := file(t, "text", "just text\n", 0o700)
	said := file(t, "said", "#!/bin/sh\nexit 21\n", 0o700)
	loop := filepath.Join(t.TempDir(), "loop")
	if err := os.Symlink(loop, loop); err != nil {
		t.Fatal(err)
	}
	long := "/" + strings.Repeat("n", 300)
	under := said + "/under" // ENOTDIR
	sh := "/bin/sh"

	ended := func(s int) InitMessage { return InitMessage{InitWaitStatus, uint32(s)} }
	failed := func(e unix.Errno) InitMessage { return InitMessage{InitExecFailed, uint32(e)} }
	notRun := ended(127 << 8)
	for _, c := range []struct {
		name       string
		candidates []string
		script     string
		want       []InitMessage // after InitStarted
		exit       int           // of PID 1
	}{
		{"exit 0", []string{sh}, "exit 0", []InitMessage{ended(0)}, 0},
		{"exit 255", []string{sh}, "exit 255", []InitMessage{ended(255 << 8)}, 255},
		{"exit 137 is not a signal", []string{sh}, "exit 137", []InitMessage{ended(137 << 8)}, 137},
		{"SIGKILL", []string{sh}, "kill -KILL $$", []InitMessage{ended(9)}, 137},
		{"SIGTERM", []string{sh}, "kill -TERM $$", []InitMessage{ended(15)}, 143},
		{"first wins", []string{said, sh}, "exit 22", []InitMessage{ended(21 << 8)}, 21},
		{"search goes on", []string{"/nonexistent", under, long, loop, denied, sh}, "exit 22", []InitMessage{ended(22 << 8)}, 22},
		{"nothing", nil, "", []InitMessage{failed(unix.ENOENT), notRun}, 127},
		{"not found", []string{"/nonexistent", under, long, loop}, "", []InitMessage{failed(unix.ENOENT), notRun}, 127},
		{"denied counts more than not found", []string{denied, "/nonexistent"}, "", []InitMessage{failed(unix.EACCES), notRun}, 127},
		{"a folder", []string{"/"}, "", []InitMessage{failed(unix.EACCES), notRun}, 127},
		{"no executable format", []string{text, sh}, "", []InitMessage{failed(unix.ENOEXEC), notRun}, 127},
		{"interpreter missing", []string{denied, orphan, sh}, "", []InitMessage{{InitInterpreterMissing, uint32(unix.ENOENT)}, notRun}, 127},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := shell(c.script)
			r.candidates = c.candidates
			got := r.run(t)
			if want := append([]InitMessage{{InitStarted, 0}}, c.want...); !slices.Equal(got, want) {
				t.Errorf("messages %v, want %v; stderr: %s", got, want, &r.stderr)
			}
			if code := r.cmd.ProcessState.ExitCode(); code != c.exit {
				t.Errorf("PID 1 exited with %d, want %d", code, c.exit)
			}
		})
	}
}

func TestInitTooLong(t *testing.T) {
	// An argument list that init itself can just get is too long for CMD when
	// the limit is lowered in between, which only a test does: with a stack of
	// 1 MiB a quarter of it, 256 KiB, is the limit (execve(2)).
	r := shell(":")
	r.opts.WaitForAck = true
	r.stage.Env = slices.Repeat([]string{strings.Repeat("e", 100_000)}, 4)
	r.start(t)
	p := r.started(t)
	if err := unix.Prlimit(int(p.pid), unix.RLIMIT_STACK, &unix.Rlimit{Cur: 1 << 20, Max: 1 << 20}, nil); err != nil {
		t.Skipf("this host does not let the owner of a sandbox change its limits: %v", err)
	}
	r.ack(t)
	want := []InitMessage{{InitExecFailed, uint32(unix.E2BIG)}, {InitWaitStatus, 127 << 8}}
	if got := r.finish(t); !slices.Equal(got, want) {
		t.Errorf("messages %v, want %v", got, want)
	}
}

// ack lets CMD go on.
func (r *trial) ack(t *testing.T) {
	t.Helper()
	if _, err := unix.Write(r.conn, []byte{0}); err != nil {
		t.Fatal(err)
	}
}

func TestInitStop(t *testing.T) {
	r := shell("kill -STOP $$; kill -TSTP $$; exit 5")
	r.start(t)
	p := r.started(t)
	for _, sig := range []unix.Signal{unix.SIGSTOP, unix.SIGTSTP} {
		m, ok := r.next(t)
		if !ok || m.Kind != InitWaitStatus || !m.WaitStatus().Stopped() || m.WaitStatus().StopSignal() != sig {
			t.Fatalf("message %v %#x, want a stop by %v", m.Kind, m.Value, sig)
		}
		if err := unix.Kill(int(p.pid), unix.SIGCONT); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := r.finish(t), []InitMessage{{InitWaitStatus, 5 << 8}}; !slices.Equal(got, want) {
		t.Errorf("messages %v, want %v", got, want)
	}
}

func TestInitReapsOrphans(t *testing.T) {
	r := shell(`
		for i in 1 2 3 4 5 6 7 8 9 10; do (sleep 0.3 & ) ; (true & ) ; done
		grep -l '^PPid:	1$' /proc/[0-9]*/status 2>/dev/null | wc -l
		sleep 1
		grep -l '^State:	Z' /proc/[0-9]*/status 2>/dev/null | wc -l
		ls -d /proc/[0-9]* | wc -l`)
	r.stage.MountProc = true
	var orphans, zombies, all int
	if _, err := fmt.Sscan(r.output(t), &orphans, &zombies, &all); err != nil {
		t.Fatalf("%v in %q", err, &r.stdout)
	}
	// The shell is a child of PID 1 too. At the end there are PID 1, the
	// shell, ls and wc.
	if orphans < 2 || zombies != 0 || all > 4 {
		t.Errorf("%d children of PID 1 while orphans lived, then %d zombies among %d processes", orphans, zombies, all)
	}
}

func TestInitCredentials(t *testing.T) {
	r := shell("echo $$; exec sleep 60")
	r.opts.WaitForAck = true
	out, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	r.cmd = &exec.Cmd{Stdout: in}
	r.start(t)
	in.Close()
	p := r.started(t)
	r.ack(t)
	var inner int
	if _, err := fmt.Fscan(out, &inner); err != nil {
		t.Fatal(err)
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		fmt.Sprintf("PPid:\t%d\n", r.cmd.Process.Pid),
		fmt.Sprintf("NSpid:\t%d\t%d\n", p.pid, inner),
	} {
		if !strings.Contains(string(status), line) {
			t.Errorf("%q is not in %s", line, status)
		}
	}
	kill := func() error { return unix.Kill(int(p.pid), unix.SIGTERM) }
	if r.noPidfd != nil {
		t.Logf("no pidfd with the message before Linux 6.5: %v", r.noPidfd)
	} else {
		kill = func() error { return unix.PidfdSendSignal(p.pidfd, unix.SIGTERM, nil, 0) }
	}
	if err := kill(); err != nil {
		t.Fatal(err)
	}
	if got, want := r.finish(t), []InitMessage{{InitWaitStatus, 15}}; !slices.Equal(got, want) {
		t.Errorf("messages %v, want %v", got, want)
	}
}

func TestInitWaitsForAck(t *testing.T) {
	ran := filepath.Join(t.TempDir(), "ran")
	r := shell("echo > " + ran)
	r.opts.WaitForAck = true
	r.start(t)
	p := r.started(t)
	time.Sleep(50 * time.Millisecond)
	if _, err := os.Stat(ran); err == nil {
		t.Fatal("CMD ran before the byte was sent")
	}
	if comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", p.pid)); err != nil || string(comm) != "sbx-init\n" {
		t.Errorf("CMD's process is called %q before its exec (%v)", comm, err)
	}
	r.ack(t)
	if got, want := r.finish(t), []InitMessage{{InitWaitStatus, 0}}; !slices.Equal(got, want) {
		t.Errorf("messages %v, want %v", got, want)
	}
	if _, err := os.Stat(ran); err != nil {
		t.Error("CMD did not run after the byte was sent")
	}

	t.Run("launcher gone", func(t *testing.T) {
		ran := filepath.Join(t.TempDir(), "ran")
		r := shell("echo > " + ran)
		r.opts.WaitForAck = true
		r.start(t)
		r.started(t)
		if err := unix.Shutdown(r.conn, unix.SHUT_RDWR); err != nil {
			t.Fatal(err)
		}
		r.cmd.Wait()
		if code := r.cmd.ProcessState.ExitCode(); code != 127 {
			t.Errorf("PID 1 exited with %d, want 127", code)
		}
		if _, err := os.Stat(ran); err == nil {
			t.Error("CMD ran although the launcher was gone")
		}
	})
}

func TestInitSignals(t *testing.T) {
	const all = "fffffffffffbfeff" // SIGKILL and SIGSTOP cannot be blocked
	for _, c := range []struct {
		name string
		keep bool
		want string
	}{{"cleared", false, "0000000000000000"}, {"kept", true, all}} {
		t.Run(c.name, func(t *testing.T) {
			// cat shows what it inherited; a shell would change it.
			r := &trial{candidates: []string{"/usr/bin/cat", "/bin/cat"}, argv: []string{"cat", "/proc/self/status"}}
			r.opts.KeepSignalMask = c.keep
			if out := r.output(t); !regexp.MustCompile(`(?m)^SigBlk:\s+` + c.want + `$`).MatchString(out) {
				t.Errorf("SigBlk is not %s in:\n%s", c.want, out)
			}
		})
	}
	t.Run("SIGCHLD ignored by the caller", func(t *testing.T) {
		r := shell("exit 9")
		r.stage.IgnoreSIGCHLD = true
		want := []InitMessage{{InitStarted, 0}, {InitWaitStatus, 9 << 8}}
		if got := r.run(t); !slices.Equal(got, want) {
			t.Errorf("messages %v, want %v", got, want)
		}
	})
}

func TestInitProcessGroup(t *testing.T) {
	groups := func(t *testing.T, r *trial) (pid, pgrp, session, tpgid int) {
		t.Helper()
		stat := r.output(t)
		var state string
		var ppid, tty int
		if _, err := fmt.Sscanf(stat[strings.LastIndex(stat, ")")+2:], "%s %d %d %d %d %d", &state, &ppid, &pgrp, &session, &tty, &tpgid); err != nil {
			t.Fatalf("%v in %q", err, stat)
		}
		pid, _ = strconv.Atoi(stat[:strings.Index(stat, " ")])
		return
	}
	cat := func() *trial {
		return &trial{candidates: []string{"/usr/bin/cat", "/bin/cat"}, argv: []string{"cat", "/proc/self/stat"}, stage: stage{MountProc: true}}
	}

	r := cat()
	if pid, pgrp, _, _ := groups(t, r); pid == pgrp {
		t.Error("CMD leads a process group that was not asked for")
	}
	r = cat()
	r.opts.NewProcessGroup = true
	if pid, pgrp, _, _ := groups(t, r); pid != pgrp {
		t.Errorf("process group %d, want CMD's pid %d", pgrp, pid)
	}

	t.Run("foreground", func(t *testing.T) {
		master, terminal := openTerminal(t)
		defer master.Close()
		defer terminal.Close()
		for _, group := range []bool{false, true} {
			r := cat()
			r.opts.NewProcessGroup, r.opts.Foreground = group, true
			r.cmd = &exec.Cmd{Stdin: terminal, SysProcAttr: &syscall.SysProcAttr{Setsid: true, Setctty: true}}
			pid, pgrp, session, tpgid := groups(t, r)
			if tpgid != pgrp || session != 1 || (pgrp == pid) != group {
				t.Errorf("pid %d: group %d, session %d, but %d has the terminal", pid, pgrp, session, tpgid)
			}
		}
	})
	t.Run("no terminal", func(t *testing.T) {
		r := cat()
		r.opts.Foreground = true
		want := []InitMessage{{InitExecFailed, uint32(unix.ENOTTY)}, {InitWaitStatus, 127 << 8}}
		if got := r.run(t); !slices.Equal(got, want) {
			t.Errorf("messages %v, want %v", got, want)
		}
	})
}

// openTerminal returns both ends of a new pseudo-terminal (pts(4)).
func openTerminal(t *testing.T) (master, terminal *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no pseudo-terminals here: %v", err)
	}
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	terminal, err = os.OpenFile("/dev/pts/"+strconv.Itoa(n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	return master, terminal
}

// TestInitClosesPipes: the reader of CMD's stdout sees the end while PID 1 and
// CMD still live. It also looks at the live PID 1 from outside.
func TestInitClosesPipes(t *testing.T) {
	stdin, hold, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer hold.Close()
	out, stdout, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	r := shell("echo said; exec >&-; read x; exit 4")
	r.cmd = &exec.Cmd{Stdin: stdin, Stdout: stdout}
	r.start(t)
	stdin.Close()
	stdout.Close()
	r.started(t)
	if err := out.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	said, err := io.ReadAll(out)
	if err != nil || string(said) != "said\n" {
		t.Errorf("read %q, %v", said, err)
	}

	proc := fmt.Sprintf("/proc/%d/", r.cmd.Process.Pid)
	if comm, err := os.ReadFile(proc + "comm"); err != nil || string(comm) != "sbx-init\n" {
		t.Errorf("PID 1 is called %q (%v)", comm, err)
	}
	if cwd, err := os.Readlink(proc + "cwd"); err != nil || cwd != "/" {
		t.Errorf("PID 1's working folder is %q (%v)", cwd, err)
	}
	fds, err := os.ReadDir(proc + "fdinfo")
	if err != nil || len(fds) != 1 || fds[0].Name() != strconv.Itoa(stageSocket) {
		t.Errorf("PID 1 has the descriptors %v (%v), want only the socket", fds, err)
	}
	rollup, err := os.ReadFile(proc + "smaps_rollup")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^Pss:\s+(\d+) kB$`).FindSubmatch(rollup)
	if m == nil {
		t.Fatalf("no Pss in %s", rollup)
	}
	if kb, _ := strconv.Atoi(string(m[1])); kb > 50 {
		t.Errorf("PID 1 uses %d KB", kb)
	}
	t.Logf("PID 1 uses %s KB", m[1])

	hold.Close()
	if got, want := r.finish(t), []InitMessage{{InitWaitStatus, 4 << 8}}; !slices.Equal(got, want) {
		t.Errorf("messages %v, want %v", got, want)
	}
}

// TestInitAddress looks where the kernel put the program, which works at
// different addresses: nothing in it is absolute.
func TestInitAddress(t *testing.T) {
	if v, err := os.ReadFile("/proc/sys/kernel/randomize_va_space"); err == nil && strings.TrimSpace(string(v)) == "0" {
		t.Skip("this host maps every program at the same address (kernel.randomize_va_space=0)")
	}
	seen := map[string]bool{}
	for range 3 {
		r := shell("read x; exit 6")
		stdin, hold, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		r.cmd = &exec.Cmd{Stdin: stdin}
		r.start(t)
		stdin.Close()
		r.started(t)
		maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", r.cmd.Process.Pid))
		if err != nil {
			t.Fatal(err)
		}
		m := regexp.MustCompile(`(?m)^([0-9a-f]+)-[0-9a-f]+ r-xp .* (/memfd:sbx-init|/.*/#\d+) \(deleted\)$`).FindSubmatch(maps)
		if m == nil {
			t.Fatalf("no text of init in:\n%s", maps)
		}
		seen[string(m[1])] = true
		if regexp.MustCompile(`(?m)^\S+ .wx`).Match(maps) {
			t.Errorf("memory that can be written and executed:\n%s", maps)
		}
		hold.Close()
		if got, want := r.finish(t), []InitMessage{{InitWaitStatus, 6 << 8}}; !slices.Equal(got, want) {
			t.Errorf("messages %v, want %v", got, want)
		}
	}
	if len(seen) < 2 {
		t.Errorf("three runs were all at %v", seen)
	}
}

func TestInitManyArguments(t *testing.T) {
	r := &trial{candidates: []string{"/bin/sh"}, argv: []string{"sh", "-c", `echo $# "${1000}"; env | wc -c`, "sh"}}
	for i := 1; i <= 1000; i++ {
		r.argv = append(r.argv, "argument "+strconv.Itoa(i))
	}
	r.candidates = append(slices.Repeat([]string{"/nonexistent/folder/of/PATH/sh"}, 100), r.candidates...)
	r.stage.Env = []string{"PATH=/usr/bin:/bin"}
	for i := range 16 {
		r.stage.Env = append(r.stage.Env, fmt.Sprintf("V%02d=%s", i, strings.Repeat("v", 1<<16)))
	}
	var n, size int
	var word string
	if _, err := fmt.Sscanf(r.output(t), "%d argument %s\n%d", &n, &word, &size); err != nil {
		t.Fatal(err)
	}
	if n != 1000 || word != "1000" || size < 1<<20 {
		t.Errorf("CMD got %d arguments, the last %q, and %d bytes of environment", n, word, size)
	}
}

// TestInitFromFile executes the replacement of the memfd.
func TestInitFromFile(t *testing.T) {
	fd, err := initTempfile(InitELF(), os.Getenv("XDG_RUNTIME_DIR"), os.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	r := shell("echo ok")
	r.image = fd
	if out := r.output(t); out != "ok\n" {
		t.Errorf("output %q", out)
	}
}

// TestInitNoexec: a folder that is mounted noexec is passed over, for the exec
// would only fail with EACCES later.
func TestInitNoexec(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	noexec, dir := t.TempDir(), t.TempDir()
	cmd := exec.Command(self, noexec, dir)
	cmd.Env = append(os.Environ(), roleVariable+"=noexec")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	out, err := cmd.Output()
	if err != nil {
		t.Skipf("this host gives user %d no user and mount namespaces: %v", os.Getuid(), err)
	}
	if want := "init: " + noexec + " is mounted noexec: permission denied; then <nil>\n"; string(out) != want {
		t.Errorf("got %q, want %q", out, want)
	}
}

func noexecMain() error {
	noexec, dir := os.Args[1], os.Args[2]
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	if err := unix.Mount("tmpfs", noexec, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return err
	}
	_, err := initTempfile(InitELF(), noexec)
	_, then := initTempfile(InitELF(), noexec, dir)
	return fmt.Errorf("%w; then %v", err, then)
}

// probeMain is a CMD that tries to look into PID 1.
func probeMain() {
	status, _ := os.ReadFile("/proc/self/status")
	fmt.Printf("capabilities %v\n", !bytes.Contains(status, []byte("\nCapEff:\t0000000000000000\n")))
	for _, name := range []string{"mem", "environ", "exe"} {
		f, err := os.Open("/proc/1/" + name)
		if err == nil && name == "environ" {
			_, err = io.ReadAll(f)
		}
		fmt.Println(name, err == nil)
	}
	_, err := os.Readlink("/proc/1/fd/" + strconv.Itoa(stageSocket))
	fmt.Println("fd", err == nil)
	_, err = os.ReadDir("/proc/1/map_files")
	fmt.Println("map_files", err == nil)
	pidfd, err := unix.PidfdOpen(1, 0)
	if err != nil {
		fmt.Println("pidfd_open", err)
	}
	_, err = unix.PidfdGetfd(pidfd, stageSocket, 0)
	fmt.Println("pidfd_getfd", err == nil)
	local := make([]byte, 1)
	remote := []unix.RemoteIovec{{Base: 0x1000, Len: 1}}
	_, err = unix.ProcessVMReadv(1, []unix.Iovec{{Base: &local[0], Len: 1}}, remote, 0)
	fmt.Println("process_vm_readv", !errors.Is(err, unix.EPERM)) // EFAULT: allowed, but no such address
	fmt.Println("ptrace", unix.PtraceSeize(1) == nil)            // unlike an attach, does not stop it
	var st unix.Stat_t
	fmt.Println("socket", unix.Fstat(stageSocket, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFSOCK)
}

// TestInitIsNotDumpable attacks PID 1 from inside, with each of its two
// protections alone, and with none, where the attack must succeed or it shows
// nothing.
func TestInitIsNotDumpable(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	plain := InitELF()
	unprotected := withoutPrctl(t, plain)
	memfd := func(t *testing.T, image []byte, mode uint32) int {
		t.Helper()
		fd, err := unix.MemfdCreate("sbx-init", unix.MFD_CLOEXEC|unix.MFD_EXEC)
		if err == unix.EINVAL {
			fd, err = unix.MemfdCreate("sbx-init", unix.MFD_CLOEXEC)
		}
		if err != nil {
			t.Skipf("no executable memfd on this host: %v", err)
		}
		t.Cleanup(func() { unix.Close(fd) })
		if err := initWrite(fd, image); err != nil {
			t.Fatal(err)
		}
		if err := unix.Fchmod(fd, mode); err != nil {
			t.Fatal(err)
		}
		return fd
	}
	for _, c := range []struct {
		name  string
		image []byte
		mode  uint32
		caps  bool // when init is executed
		safe  bool
	}{
		{"as it is", plain, initMode, false, true},
		{"only the mode", unprotected, initMode, false, true},
		{"only prctl", plain, 0o755, false, true},
		{"unprotected", unprotected, 0o755, false, false},
		// Whoever may read everything may read the file, so its mode is worth
		// nothing.
		{"as it is, executed with capabilities", plain, initMode, true, true},
		{"only the mode, executed with capabilities", unprotected, initMode, true, false},
	} {
		for _, root := range []bool{false, true} {
			if c.caps && (root || os.Getuid() == 0) {
				continue // root keeps them, and CMD with CAP_SYS_PTRACE sees all
			}
			t.Run(fmt.Sprintf("%s, root %v", c.name, root), func(t *testing.T) {
				r := &trial{candidates: []string{self}, argv: []string{"probe"}, mapRoot: root}
				r.stage = stage{MountProc: true, DropCaps: !c.caps, LoseCaps: c.caps, Env: []string{roleVariable + "=probe"}}
				r.image = memfd(t, c.image, c.mode)
				out := r.output(t)
				if !strings.Contains(out, "capabilities false\n") || !strings.Contains(out, "socket false\n") {
					t.Errorf("CMD has capabilities or the launcher's socket:\n%s", out)
				}
				if c.safe {
					if strings.Contains(out, " true") {
						t.Errorf("CMD could look into PID 1:\n%s", out)
					}
					return
				}
				// The others may be refused for other reasons: Yama, or the
				// mode of the file, which holds for exe too.
				for _, name := range []string{"environ", "fd", "map_files"} {
					if !strings.Contains(out, name+" true\n") {
						t.Errorf("the attack on %s fails without protection too, so it tests nothing:\n%s", name, out)
					}
				}
			})
		}
	}
}

// withoutPrctl returns image with its first system call, the prctl that makes
// it non-dumpable, turned into getpid(2).
func withoutPrctl(t *testing.T, image []byte) []byte {
	t.Helper()
	var from, to []byte
	switch runtime.GOARCH {
	case "amd64": // MOVL $157, AX; $39
		from, to = []byte{0xb8, 157, 0, 0, 0}, []byte{0xb8, 39, 0, 0, 0}
	case "arm64": // MOVZ X8, #167; #172
		from = binary.LittleEndian.AppendUint32(nil, 0xd2800008|167<<5)
		to = binary.LittleEndian.AppendUint32(nil, 0xd2800008|172<<5)
	}
	if bytes.Count(image, from) != 2 {
		t.Fatalf("%d system calls prctl in the init program, want 2", bytes.Count(image, from))
	}
	return bytes.Replace(image, from, to, 1)
}

// TestInitCalls compares what strace(1) saw with the list in init.go.
func TestInitCalls(t *testing.T) {
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("strace is not installed")
	}
	log := filepath.Join(t.TempDir(), "log")
	r := shell(":")
	r.candidates = []string{"/nonexistent", "/bin/true"}
	r.opts.NewProcessGroup, r.opts.WaitForAck = true, true
	r.under = []string{strace, "-f", "-o", log}
	r.mapRoot = true // only a tracer with CAP_SYS_PTRACE reads a path there
	r.start(t)
	p, ok := r.next(t)
	if !ok {
		r.finish(t)
		t.Skipf("strace cannot trace here: %s", &r.stderr)
	}
	if p.Kind != InitStarted {
		t.Fatalf("first message %v", p.Kind)
	}
	r.ack(t)
	if got, want := r.finish(t), []InitMessage{{InitWaitStatus, 0}}; !slices.Equal(got, want) {
		t.Errorf("messages %v, want %v", got, want)
	}
	text, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	// Every line begins with a pid. A call during which another process does
	// something is shown twice, the second time as "<... NAME resumed>".
	executed := regexp.MustCompile(`(?m) execveat(\(| resumed>).* = 0$`).FindIndex(text)
	if executed == nil {
		t.Fatalf("no execveat that succeeded in:\n%s", text)
	}
	text = text[executed[1]:]
	calls := map[string][]string{}
	var pids []string
	for _, m := range regexp.MustCompile(`(?m)^(\d+) +(\w+)\(([^,)\n]*)`).FindAllStringSubmatch(string(text), -1) {
		pid, name := m[1], m[2]
		if !slices.Contains(pids, pid) {
			pids = append(pids, pid)
		}
		if name == "prctl" || name == "execve" || name == "faccessat" {
			name += " " + m[3]
		}
		calls[pid] = append(calls[pid], name)
	}
	if len(pids) != 2 {
		t.Fatalf("calls of %v, want two processes:\n%s", pids, text)
	}
	parent, child := calls[pids[0]], calls[pids[1]]
	wantParent := "prctl PR_SET_DUMPABLE, prctl PR_SET_NAME, rt_sigaction, fcntl, clone, close_range, close_range, chdir, wait4, write, exit_group"
	wantChild := `setpgid, write, read, rt_sigprocmask, execve "/nonexistent", faccessat AT_FDCWD, execve "/bin/true"`
	if got := strings.Join(parent, ", "); got != wantParent {
		t.Errorf("PID 1 called\n%s, want\n%s, in:\n%s", got, wantParent, text)
	}
	if got := strings.Join(child[:min(7, len(child))], ", "); got != wantChild {
		t.Errorf("CMD's process called\n%s, want\n%s, in:\n%s", got, wantChild, text)
	}
}
