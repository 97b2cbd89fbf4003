package sandbox

import (
	"errors"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox/internal/rawfork"
)

// Start makes the sandbox. When it returns nil, CMD's process exists; whether
// CMD could be executed is known by Wait. Where a step of Spec.Optional fails,
// it is skipped with what needs it, noted, and the sandbox made without.
func (c *Cmd) Start() (err error) {
	if c.done != nil {
		return errors.New("sandbox: already started")
	}
	c.done = make(chan struct{})
	c.pidfd, c.cmdPidfd, c.ends = -1, -1, [2]int{-1, -1}
	defer func() {
		closeAll(c.ours)
		if err != nil {
			c.release()
			c.pid, c.cmdPid = 0, 0 // there is nothing to wait for
		}
	}()
	if c.ctx != nil && c.ctx.Err() != nil {
		return c.ctx.Err()
	}
	if err := c.openFiles(); err != nil {
		return err
	}
	var notes []string
	for tries := 1; ; {
		err := c.attempt()
		if err == nil {
			break
		}
		var moved *unsteady
		if errors.As(err, &moved) {
			if tries == steadyTries {
				return moved.refuse()
			}
			tries++
			c.forget()
			continue
		}
		step := failedStep(err)
		if !slices.Contains(c.Spec.Optional, step) || c.Spec.Skips(step) {
			return err
		}
		notes = append(notes, "went on without "+step+": "+err.Error())
		c.forget()
		c.Spec.Skip = append(slices.Clone(c.Spec.Skip), step)
		var also []string
		if c.Spec, also = c.Spec.Resolve(); len(also) > 0 {
			notes = append(notes, "also skipped "+strings.Join(also, ", ")+": they need "+step)
		}
	}
	c.plan.Notes = append(c.plan.Notes, notes...)
	c.watch()
	return nil
}

// attempt goes from the spec to a running CMD once.
func (c *Cmd) attempt() error {
	c.reaped = false
	if err := c.prepare(); err != nil {
		return err
	}
	if err := c.launch(); err != nil {
		return err
	}
	if !c.plan.init {
		c.cmdPid, c.cmdPidfd = c.pid, c.pidfd
		if !c.plan.layers {
			return nil
		}
		m, err := c.first()
		c.keepLayers(m)
		return err
	}
	err := c.awaitCMD()
	if err == nil && c.mayTrace() {
		err = c.watchInit()
	}
	if err != nil {
		_ = c.Kill()
		c.reap()
	}
	return err
}

// failedStep is the step that an error blames, or "".
func failedStep(err error) string {
	var sandbox *Error
	var step *StepError
	switch {
	case errors.As(err, &sandbox):
		return sandbox.Step
	case errors.As(err, &step):
		return step.Step
	}
	return ""
}

// prepare compiles the plan and makes what it refers to.
func (c *Cmd) prepare() error {
	feat := c.Features
	if feat == nil {
		var err error
		if feat, err = Probe(&c.Spec); err != nil {
			return err
		}
	} else {
		copied := *feat
		feat = &copied
	}
	fds, err := c.describeFiles(feat)
	if err != nil {
		return err
	}
	feat.Observed = c.Trace != nil
	feat.HoldLayers = c.HoldLayers
	if c.Joined != nil {
		if c.Join, err = c.Joined.join(c.Join); err != nil {
			return err
		}
		if c.plan, err = CompileJoin(&c.Spec, feat, &c.Join); err != nil {
			return err
		}
		c.plan.setSlot(c.plan.slots.pidfd, c.Joined.pidfd)
		c.plan.setSlot(c.plan.slots.proc, c.Joined.proc)
		return c.prepareSocket(fds)
	}
	if c.Spec.Upper == "" && !feat.TmpfsXattr && !c.Spec.Skips("overlay") {
		// Before Linux 6.6 no tmpfs can be an upper layer.
		if c.upperTmp, err = os.MkdirTemp("/var/tmp", "sbx-layers-"); err != nil {
			return err
		}
		c.Spec.Upper = c.upperTmp
	}
	if c.plan, err = Compile(&c.Spec, feat); err != nil {
		return err
	}
	if len(c.plan.uppers) > 0 && c.Spec.Upper != "" {
		if err := os.MkdirAll(c.Spec.Upper, 0o700); err != nil {
			return &StepError{Step: "overlay", Reason: err.Error(), Err: err}
		}
	}
	if err := c.settleHidden(); err != nil {
		return err
	}
	if err := c.openWatched(); err != nil {
		return err
	}
	return c.prepareSocket(fds)
}

// CompileOnly is the plan of a Cmd with Joined, for printing: nothing is started,
// and the Cmd can still be.
func (c *Cmd) CompileOnly() (*Plan, error) {
	feat := c.Features
	if feat == nil {
		var err error
		if feat, err = Probe(&c.Spec); err != nil {
			return nil, err
		}
	}
	if c.Joined == nil {
		return Compile(&c.Spec, feat)
	}
	join, err := c.Joined.join(c.Join)
	if err != nil {
		return nil, err
	}
	return CompileJoin(&c.Spec, feat, &join)
}

// prepareSocket makes the socket between the launcher and the sandbox, and
// writes into the plan what it needs of the launcher's descriptors.
func (c *Cmd) prepareSocket(fds []int) error {
	p := c.plan
	var err error
	c.ends, err = unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return &Error{Step: "launch", Call: "socketpair(AF_UNIX, SOCK_SEQPACKET)", Errno: errno(err)}
	}
	p.setSlot(p.slots.launcher, c.ends[0])
	p.setSlot(p.slots.socket, c.ends[1])
	for i, s := range p.slots.files {
		p.setSlot(s, fds[i])
	}
	if !p.init {
		return nil
	}
	init, err := rawfork.InitFD()
	if err != nil {
		return &Error{Step: "launch", Call: `memfd_create("sbx-init")`, Errno: errno(err)}
	}
	p.setSlot(p.slots.init, init)
	return c.prepareInit()
}

// prepareInit tells PID 1 which socket is its own and how to start CMD.
func (c *Cmd) prepareInit() error {
	p := c.plan
	if c.ends[1] > rawfork.InitMaxSocket || c.ends[1] < 3 {
		fd, err := lowDescriptor(c.ends[1])
		if err != nil {
			return err
		}
		unix.Close(c.ends[1])
		c.ends[1] = fd
		p.setSlot(p.slots.socket, fd)
	}
	if err := unix.SetsockoptInt(c.ends[0], unix.SOL_SOCKET, unix.SO_PASSCRED, 1); err != nil {
		return &Error{Step: "launch", Call: "setsockopt(SO_PASSCRED)", Errno: errno(err)}
	}
	// A pidfd comes with the message since Linux 6.5. Before, CMD waits until
	// one has been opened by its pid, which cannot be reused meanwhile.
	noPidfd := unix.SetsockoptInt(c.ends[0], unix.SOL_SOCKET, unix.SO_PASSPIDFD, 1) != nil
	session := !c.Spec.Skips("session")
	options := rawfork.InitArgs(rawfork.InitOptions{
		Socket:          c.ends[1],
		WaitForAck:      noPidfd || c.Trace != nil,
		NewProcessGroup: session,
		Terminal:        c.terminalFD,
		Foreground:      session && c.Spec.Terminal && !c.Spec.TerminalOnDemand,
		OnDemand:        session && c.Spec.Terminal && c.Spec.TerminalOnDemand,
	}, nil, nil)[1]
	copy(p.data[p.options:], options)
	return nil
}

// launch clones, and explains a call that failed.
func (c *Cmd) launch() error {
	p := c.plan
	program := p.program()
	c.program = program
	program.Trace = c.Trace != nil
	if program.Trace || len(p.pauses) > 0 {
		program.Started = c.attend
	}
	c.started = time.Now()
	if program.Trace {
		var now unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err == nil { // the clock of the child
			c.cloning = time.Duration(now.Nano())
		}
	}
	child, err := onLastingThread(program.Launch)
	runtime.KeepAlive(c.files)
	if c.ends[1] >= 0 {
		unix.Close(c.ends[1])
		c.ends[1] = -1
	}
	if c.Trace != nil && err == nil {
		c.reportCalls()
	}
	if err != nil {
		return c.explain(&Error{Step: cloneStep(p), Call: p.Clone(), Errno: errno(err)})
	}
	c.pid, c.pidfd = child.Pid, child.Pidfd
	if child.Failure == nil && c.pauseErr == nil {
		return nil
	}
	c.reap()
	if c.pauseErr != nil {
		return c.pauseErr
	}
	failed := child.Failure
	call := &p.Calls[failed.Index]
	if call.op == rawfork.OpExec && !p.init {
		return c.execError(failed.Errno, failed.Interpreter)
	}
	text, _, _ := strings.Cut(p.Text(failed.Index), "  # ") // without what it might have failed with
	return c.explain(&Error{Step: call.Step, Call: text, Errno: failed.Errno})
}

// cloneStep is the step to blame when clone3 itself fails.
func cloneStep(p *Plan) string {
	if p.Flags&unix.CLONE_NEWUSER != 0 {
		return "user"
	}
	return "launch"
}

// watch begins what goes on while CMD runs: copying, the time limit, the end
// of the context.
func (c *Cmd) watch() {
	if len(c.copies) > 0 {
		c.copied = make(chan error, len(c.copies))
		for _, f := range c.copies {
			go func() { c.copied <- f() }()
		}
	}
	if c.Spec.Timeout == 0 && c.ctx == nil {
		return
	}
	go func() {
		var timeout <-chan time.Time
		if c.Spec.Timeout > 0 {
			timer := time.NewTimer(c.Spec.Timeout)
			defer timer.Stop()
			timeout = timer.C
		}
		var ended <-chan struct{}
		if c.ctx != nil {
			ended = c.ctx.Done()
		}
		var why *bool
		select {
		case <-timeout:
			why = &c.timedOut
		case <-ended:
			why = &c.canceled
		case <-c.done:
			return
		}
		c.kill.Lock()
		defer c.kill.Unlock()
		if !c.reaped { // else it has ended by itself, and Wait judges already
			*why = true
			_ = c.killNow()
		}
	}()
}

// forget undoes an attempt that failed, so that the next one begins like the
// first.
func (c *Cmd) forget() {
	c.closePidfds()
	c.closeEnds()
	c.closeWatched()
	if c.layers != nil {
		c.layers.Close()
		c.layers = nil
	}
	for _, m := range c.early {
		if m.pidfd >= 0 {
			unix.Close(m.pidfd)
		}
		if m.fd >= 0 {
			unix.Close(m.fd)
		}
	}
	c.early, c.pauseErr, c.reported, c.pid, c.cmdPid = nil, nil, 0, 0, 0
	c.kill.Lock()
	c.reaped = false
	c.kill.Unlock()
}

// closePidfds says that the processes are gone, and lets go of them.
func (c *Cmd) closePidfds() {
	c.kill.Lock()
	defer c.kill.Unlock()
	c.reaped = true
	if c.cmdPidfd >= 0 && c.cmdPidfd != c.pidfd {
		unix.Close(c.cmdPidfd)
	}
	if c.pidfd >= 0 {
		unix.Close(c.pidfd)
	}
	c.cmdPidfd, c.pidfd = -1, -1
}

// release closes and removes what belongs to the sandbox.
func (c *Cmd) release() {
	c.closePidfds()
	c.closeEnds()
	c.closeWatched()
	if c.layers != nil {
		c.layers.Close()
	}
	if c.upperTmp != "" {
		_ = removeLayers(c.upperTmp)
	} else if c.plan != nil && c.Spec.Upper != "" {
		openWorkFolders(c.Spec.Upper, c.plan.uppers)
	}
	closeAll(c.pipes)
}

// closeEnds closes the socket to the sandbox.
func (c *Cmd) closeEnds() {
	if c.socket != nil {
		c.socket.Close()
		c.socket = nil
	} else if c.ends[0] >= 0 {
		unix.Close(c.ends[0])
	}
	if c.ends[1] >= 0 {
		unix.Close(c.ends[1])
	}
	c.ends = [2]int{-1, -1}
}

func errno(err error) unix.Errno {
	var e unix.Errno
	if errors.As(err, &e) {
		return e
	}
	return unix.EIO
}
