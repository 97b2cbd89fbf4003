package sandbox

import (
	"errors"
	"os"
	"runtime"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox/internal/rawfork"
)

// message is one packet of the sandbox's socket: of PID 1, or of the plan.
type message struct {
	data  [16]byte
	size  int // 0 is the end of the file
	pid   int // of the sender, as the host counts
	pidfd int // of the sender; -1 where the kernel gives none
	fd    int // a descriptor that was sent; -1 is none
}

// receive reads one message and blocks until there is one.
func receive(socket int) (message, error) {
	m := message{pidfd: -1, fd: -1}
	var control [96]byte
	for {
		n, used, _, _, err := unix.Recvmsg(socket, m.data[:], control[:], unix.MSG_CMSG_CLOEXEC)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return m, err
		}
		m.size = n
		m.control(control[:used])
		return m, nil
	}
}

// control reads the ancillary data: credentials, a pidfd, a passed descriptor.
func (m *message) control(b []byte) {
	messages, err := unix.ParseSocketControlMessage(b)
	if err != nil {
		return
	}
	for i := range messages {
		c := &messages[i]
		if c.Header.Level != unix.SOL_SOCKET || len(c.Data) < 4 {
			continue
		}
		value := int(int32(uint32(c.Data[0]) | uint32(c.Data[1])<<8 | uint32(c.Data[2])<<16 | uint32(c.Data[3])<<24))
		switch c.Header.Type {
		case unix.SCM_CREDENTIALS:
			m.pid = value
		case unix.SCM_PIDFD:
			m.pidfd = value
		case unix.SCM_RIGHTS:
			m.fd = value
		}
	}
}

// awaitCMD reads PID 1's first message: CMD's process exists.
func (c *Cmd) awaitCMD() error {
	for {
		m, err := c.first()
		if err != nil {
			return &Error{Step: "launch", Call: "recvmsg(launcher)", Errno: errno(err)}
		}
		if c.keepLayers(m) {
			continue
		}
		if m.size == 0 {
			return &Error{Step: "exec", Call: "execveat(init)", Errno: unix.ECHILD}
		}
		im, err := rawfork.ParseInitMessage(m.data[:m.size])
		if err != nil {
			return err
		}
		if im.Kind != rawfork.InitStarted {
			return &Error{Step: "exec", Call: "init: clone(CLONE_VM|CLONE_VFORK|SIGCHLD)", Errno: im.Errno()}
		}
		c.cmdPid, c.cmdPidfd = m.pid, m.pidfd
		break
	}
	ack := false
	if c.cmdPidfd < 0 {
		fd, err := unix.PidfdOpen(c.cmdPid, 0)
		if err != nil {
			return &Error{Step: "launch", Call: "pidfd_open(CMD)", Errno: errno(err)}
		}
		c.cmdPidfd, ack = fd, true
	}
	if c.Trace != nil {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		return c.seize(c.cmdPid)
	}
	if ack {
		return c.letGo()
	}
	return nil
}

// awaitLayers reads what the plan sent where there is no PID 1 whose messages
// are followed. The other ends are closed by now, so there is an end.
func (c *Cmd) awaitLayers() {
	for _, m := range c.early {
		c.keepLayers(m)
	}
	c.early = nil
	for !c.plan.init {
		m, err := receive(c.ends[0])
		if err != nil || m.size == 0 {
			return
		}
		c.keepLayers(m)
	}
}

// keepLayers takes the descriptor of the layers out of a message.
func (c *Cmd) keepLayers(m message) bool {
	if m.size != 1 {
		return false
	}
	if m.pidfd >= 0 {
		unix.Close(m.pidfd)
	}
	switch {
	case m.fd < 0:
	case c.layers == nil:
		c.layers = os.NewFile(uintptr(m.fd), "layers")
	default: // not of the plan: CMD has got hold of PID 1's socket
		unix.Close(m.fd)
	}
	return true
}

// first reads a message that is due at once.
func (c *Cmd) first() (message, error) {
	if len(c.early) > 0 {
		m := c.early[0]
		c.early = c.early[1:]
		return m, nil
	}
	if _, err := rawfork.Readable(c.ends[0], -1); err != nil {
		return message{}, err
	}
	return receive(c.ends[0])
}

// waiting is set while one Cmd of this process waits on a thread.
var waiting atomic.Bool

// next reads a message. The first to wait in a process blocks a thread, which
// is all that a program with a single sandbox needs; the others wait in the
// poller and hold none.
func (c *Cmd) next() (message, error) {
	if c.socket == nil && waiting.CompareAndSwap(false, true) {
		defer waiting.Store(false)
		if err := c.settle(); err != nil {
			return message{}, err
		}
		return receive(c.ends[0])
	}
	if c.Lasting != nil {
		c.Lasting()
		c.Lasting = nil
	}
	var m message
	if c.socket == nil {
		if err := unix.SetNonblock(c.ends[0], true); err != nil {
			return m, err
		}
		c.socket = os.NewFile(uintptr(c.ends[0]), "sandbox")
	}
	conn, err := c.socket.SyscallConn()
	if err != nil {
		return m, err
	}
	var failed error
	err = conn.Read(func(fd uintptr) bool {
		m, failed = receive(int(fd))
		return failed != unix.EAGAIN
	})
	return m, errors.Join(err, failed)
}

// settle waits for a message, and calls Lasting once when none has come for a
// while.
func (c *Cmd) settle() error {
	limit := time.Duration(-1)
	if c.Lasting != nil {
		limit = soon
	}
	ready, err := rawfork.Readable(c.ends[0], limit)
	if err != nil || ready {
		return err
	}
	c.Lasting()
	c.Lasting = nil
	_, err = rawfork.Readable(c.ends[0], -1)
	return err
}

// soon is for how long Wait puts Lasting off.
const soon = 5 * time.Millisecond

// Wait waits for CMD to end, and then for the sandbox to be gone with all that
// it held. It returns nil when CMD exited with 0, an *ExitError when it ended
// otherwise, an *ExecError when it could not be executed. Result is set.
func (c *Cmd) Wait() error {
	if c.pid == 0 {
		return errors.New("sandbox: not started")
	}
	if c.Result != nil {
		return errors.New("sandbox: Wait was already called")
	}
	var failed error
	var status unix.WaitStatus
	ended := false
	if c.plan.init {
		status, ended, failed = c.waitInit()
	} else {
		failed = c.waitDirect()
	}
	r := &Result{Version: 1, Skipped: c.plan.Skipped(), Notes: c.plan.Notes}
	if ws := c.reapInto(r); !ended {
		status = ws
	}
	close(c.done)
	r.Wall = time.Since(c.started)
	r.Limits = c.limits()
	r.judge(status, c.timedOut)
	if c.stuck.Load() && !ended && !c.timedOut && !c.canceled {
		r.Evidence = "PID 1 did not tell how CMD ended: CMD may trace it, and has stopped it"
	}
	if r.Verdict == VerdictSeccomp {
		c.judgeSIGSYS(r)
	}
	c.Result = r
	r.Appeared = c.appeared()
	// CMD's descriptors are closed with its last process, so the copies end;
	// the one into it may wait for a reader of ours, which closing ends.
	for range c.copies {
		if err := <-c.copied; err != nil && failed == nil {
			failed = err
		}
	}
	if c.Spec.Changes && c.plan.layers {
		c.awaitLayers()
		changes, err := c.changes()
		r.Changes = changes
		if failed == nil {
			failed = err
		}
	}
	c.release()
	var exec *ExecError
	switch {
	case errors.As(failed, &exec):
		r.Verdict, r.Code, r.Step, r.Evidence = VerdictSetup, exec.ExitCode(), "exec", exec.Error()
		return failed
	case failed != nil:
		return failed
	case c.canceled:
		return c.ctx.Err()
	case r.Verdict != VerdictExited || r.Code != 0:
		return &ExitError{r}
	}
	return nil
}

// waitInit follows PID 1's messages until it has none left.
func (c *Cmd) waitInit() (status unix.WaitStatus, ended bool, failed error) {
	for {
		m, err := c.next()
		if err != nil || m.size == 0 {
			return status, ended, failed
		}
		if c.keepLayers(m) {
			continue
		}
		if m.pidfd >= 0 {
			unix.Close(m.pidfd)
		}
		if m.fd >= 0 {
			unix.Close(m.fd)
		}
		im, err := rawfork.ParseInitMessage(m.data[:m.size])
		if err != nil {
			return status, ended, err
		}
		switch im.Kind {
		case rawfork.InitExecFailed:
			failed = c.execError(unix.Errno(im.Value), false)
		case rawfork.InitInterpreterMissing:
			failed = c.execError(unix.ENOENT, true)
		case rawfork.InitWaitStatus:
			ws := unix.WaitStatus(im.Value)
			if !ws.Stopped() {
				return ws, true, failed
			}
			if c.Stopped != nil {
				c.Stopped(ws.StopSignal())
			}
		}
	}
}

// mayTrace says whether CMD may have a capability with which it traces PID 1.
func (c *Cmd) mayTrace() bool {
	return c.plan.init && (c.Spec.Skips("caps") || len(c.Spec.CapAdd) > 0)
}

// lag is how long PID 1 has for telling that CMD has ended.
const lag = time.Second

// watchInit ends a sandbox whose PID 1 does not, after CMD has ended: a tracer
// can stop it for good, or change what it does. CMD may trace it only with
// CAP_SYS_PTRACE, which no CMD has by default.
func (c *Cmd) watchInit() error {
	fd, err := unix.FcntlInt(uintptr(c.cmdPidfd), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return &Error{Step: "launch", Call: "fcntl(F_DUPFD_CLOEXEC)", Errno: errno(err)}
	}
	go func() {
		defer unix.Close(fd)
		if _, err := rawfork.Readable(fd, -1); err != nil {
			return
		}
		select {
		case <-c.done:
			return
		case <-time.After(lag):
		}
		c.stuck.Store(true)
		_ = c.Kill()
	}()
	return nil
}

// waitDirect waits for a CMD that is the launcher's own child.
func (c *Cmd) waitDirect() error {
	if c.Lasting != nil {
		if ready, err := rawfork.Readable(c.pidfd, soon); ready || err != nil {
			return err
		}
		c.Lasting()
	}
	if err := unix.SetNonblock(c.pidfd, true); err != nil {
		return err
	}
	fd, err := unix.FcntlInt(uintptr(c.pidfd), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), "pidfd")
	defer f.Close()
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	return conn.Read(func(fd uintptr) bool {
		// WNOWAIT leaves it for wait4, which also tells what it used.
		var info unix.Siginfo
		err := unix.Waitid(unix.P_PIDFD, int(fd), &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
		return err != unix.EAGAIN && (err != nil || info.Signo != 0)
	})
}

func (c *Cmd) reap() { c.reapInto(new(Result)) }

// reapInto waits for the sandbox's first process to be gone. When it is PID 1,
// the kernel has killed and reaped everything else before.
func (c *Cmd) reapInto(r *Result) unix.WaitStatus {
	var ws unix.WaitStatus
	var ru unix.Rusage
	_, _ = rawfork.Readable(c.pidfd, -1) // until it has ended
	for {
		_, err := unix.Wait4(c.pid, &ws, 0, &ru)
		if err != unix.EINTR {
			break
		}
	}
	c.kill.Lock()
	c.reaped = true
	c.kill.Unlock()
	r.use(&ru)
	return ws
}
