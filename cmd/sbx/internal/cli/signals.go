package cli

import (
	"bytes"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox"
)

// forwarded are the signals that CMD gets in place of sbx.
var forwarded = []os.Signal{
	unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT, unix.SIGUSR1, unix.SIGUSR2,
	unix.SIGTSTP, unix.SIGCONT, unix.SIGWINCH,
}

// impatience is how many SIGINT or SIGTERM end a sandbox whose CMD ignores
// them, when they come within patience. Docker has three as well.
const (
	impatience = 3
	patience   = 5 * time.Second
)

// echo is how long after a stop the own SIGTSTP may still come: a thread may
// have been about to handle it when the stop came.
const echo = 100 * time.Millisecond

// farewell is how long CMD may go on once its terminal has hung up.
const farewell = 2 * time.Second

// session is a CMD that runs in the foreground: its signals and its stops.
type session struct {
	cmd     *sandbox.Cmd
	term    *terminal // nil where CMD has none of its own
	signals chan os.Signal
	done    chan struct{}
	begun   bool
	seen    *evidence   // nil until CMD has lasted
	asked   []time.Time // when CMD was asked to end
	nohup   bool        // the caller ignores SIGHUP
	hungUp  sync.Once
	// stopping says that a SIGTSTP is that of suspend itself: sbx is in the
	// group that it goes to.
	stopping atomic.Bool
}

// newSession must be called before cmd.Start.
func newSession(cmd *sandbox.Cmd, term *terminal) *session {
	s := &session{cmd: cmd, term: term, signals: make(chan os.Signal, 16), done: make(chan struct{})}
	cmd.Stopped = func(sig unix.Signal) {
		if s.term.demanded(sig) {
			s.forward(unix.SIGCONT)
		} else {
			s.suspend()
		}
	}
	return s
}

// begin passes signals on from now to end. Before, they end sbx, and a
// half-made sandbox with it.
func (s *session) begin() {
	s.begun = true
	defer release()
	s.seen = gather(s.cmd)
	s.nohup = signal.Ignored(unix.SIGHUP) // Notify changes that
	signal.Notify(s.signals, forwarded...)
	go func() {
		defer s.term.restoreOnPanic()
		for {
			select {
			case <-s.done:
				return
			case sig := <-s.signals:
				s.handle(sig.(unix.Signal))
			}
		}
	}()
}

func (s *session) end() {
	if s.begun {
		signal.Stop(s.signals)
		close(s.done)
	}
}

func (s *session) handle(sig unix.Signal) {
	switch sig {
	case unix.SIGINT, unix.SIGTERM:
		s.asked = append(s.asked, time.Now())
		if n := len(s.asked); n >= impatience && s.asked[n-1].Sub(s.asked[n-impatience]) < patience {
			say("CMD does not end, so the sandbox is killed")
			_ = s.cmd.Kill()
			return
		}
	case unix.SIGWINCH:
		if s.term != nil {
			s.term.resize() // for which the kernel signals CMD
			return
		}
	case unix.SIGCONT:
		s.term.raw()
	case unix.SIGTSTP:
		if s.stopping.Load() {
			return
		}
	}
	s.forward(sig)
}

// hangup ends a sandbox whose terminal is gone, as the kernel does with what is
// in the foreground of one: SIGHUP, and SIGCONT for what is stopped and could
// not act on it. Both go to the groups of CMD and of the foreground of CMD's own
// terminal: a process in vfork(2) waits for a child that may be what is stopped.
// A CMD that stays, for nobody to see, is killed. As for any program, nohup(1)
// keeps one alive.
func (s *session) hangup() {
	if s.nohup {
		return
	}
	s.hungUp.Do(func() {
		s.everywhere(unix.SIGHUP)
		s.everywhere(unix.SIGCONT)
		select {
		case <-s.done:
		case <-time.After(farewell):
			_ = s.cmd.Kill()
		}
	})
}

// everywhere sends a signal to CMD's group and to the one in the foreground of
// CMD's terminal.
func (s *session) everywhere(sig unix.Signal) {
	pid := s.cmd.Pid()
	if group, err := unix.Getpgid(pid); err == nil && group == pid {
		_ = unix.Kill(-pid, sig)
	} else {
		_ = s.cmd.Signal(sig)
	}
	front, err := unix.IoctlGetInt(int(s.term.master.Fd()), unix.TIOCGPGRP)
	if err == nil && front > 1 && front != pid && front != unix.Getpgrp() {
		_ = unix.Kill(-front, sig)
	}
}

// forward sends a signal to CMD. What a terminal sends to all of a process
// group goes to all of CMD's: a shell that waits for a child expects that the
// child got it too.
func (s *session) forward(sig unix.Signal) {
	switch sig {
	case unix.SIGINT, unix.SIGQUIT, unix.SIGTSTP, unix.SIGCONT, unix.SIGWINCH:
		// A pidfd reaches one process alone. The group's number is CMD's pid,
		// which is not free before sbx has been told of CMD's end.
		pid := s.cmd.Pid()
		group, err := unix.Getpgid(pid)
		switch {
		case err == nil && group == pid:
			if unix.Kill(-pid, sig) == nil {
				return
			}
		case err == nil && group == unix.Getpgrp():
			return // with session skipped CMD is in the group of sbx, and has got it
		}
	}
	_ = s.cmd.Signal(sig)
}

// suspend stops sbx as its CMD was stopped, so that the caller's shell sees a
// stopped job, and returns once that shell continues it. Where nobody sits at a
// terminal, or nobody could continue it, CMD goes on at once: a CMD that stops
// itself must not stop the one who watches its limits.
//
// The rest of the process group, such as the script that called sbx, gets
// SIGTSTP as from the terminal. sbx itself takes SIGSTOP: Go's handler stays in
// place of SIGTSTP's default action once it was there. It goes to the own
// thread, since one for the whole process might arrive after this function has
// gone on.
func (s *session) suspend() {
	s.term.cooked()
	if foreground() && continuable() {
		s.stopping.Store(true)
		runtime.LockOSThread()
		_ = unix.Kill(0, unix.SIGTSTP)
		_ = unix.Tgkill(os.Getpid(), unix.Gettid(), unix.SIGSTOP)
		runtime.UnlockOSThread()
		time.AfterFunc(echo, func() { s.stopping.Store(false) })
	}
	s.term.raw()
	s.forward(unix.SIGCONT)
}

// foreground says whether sbx is what its terminal is occupied with.
func foreground() bool {
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return false // no terminal
	}
	defer tty.Close()
	group, err := unix.IoctlGetInt(int(tty.Fd()), unix.TIOCGPGRP)
	return err == nil && group == unix.Getpgrp()
}

// continuable says whether the process group of sbx has a shell with job
// control: a parent of one of its processes in the same session, but in
// another group. Else the group is orphaned, and a stop would be for ever
// (credentials(7), setpgid(2)).
func continuable() bool {
	group := unix.Getpgrp()
	session, err := unix.Getsid(0)
	if err != nil {
		return false
	}
	for pid := unix.Getppid(); pid > 1; pid = parentOf(pid) {
		if sid, err := unix.Getsid(pid); err != nil || sid != session {
			return false
		}
		if g, err := unix.Getpgid(pid); err != nil || g != group {
			return err == nil
		}
	}
	return false
}

// parentOf reads the parent of a process from its stat file (proc_pid_stat(5));
// 0 means that there is none.
func parentOf(pid int) int {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0
	}
	// The name, in parentheses, may hold anything.
	fields := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:]))
	if len(fields) < 2 {
		return 0
	}
	parent, err := strconv.Atoi(fields[1])
	if err != nil {
		return 0
	}
	return parent
}
