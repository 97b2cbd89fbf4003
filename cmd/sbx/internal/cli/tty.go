package cli

import (
	"os"
	"sync"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox"
)

// rawTerminal is the caller's terminal, while sbx has it in raw mode.
var rawTerminal rawState

// rawState remembers how a terminal was before raw mode. It has a lock because
// every way out restores it: the end of CMD, a stop, a panic, a signal.
type rawState struct {
	mu    sync.Mutex
	saved *unix.Termios // nil while the terminal is as the caller had it
}

func (r *rawState) active() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.saved != nil
}

// enter puts the terminal on descriptor 0 into raw mode, where sbx is in the
// foreground: from the background the kernel would stop sbx for it.
func (r *rawState) enter() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.saved != nil || !inForeground() {
		return
	}
	now, err := unix.IoctlGetTermios(0, unix.TCGETS)
	if err != nil {
		return
	}
	raw := *now
	// As cfmakeraw(3): every byte goes to CMD's own terminal, which then does
	// what the user has set there; Ctrl-C and Ctrl-Z too.
	raw.Iflag &^= unix.IGNBRK | unix.BRKINT | unix.PARMRK | unix.ISTRIP | unix.INLCR | unix.IGNCR | unix.ICRNL | unix.IXON
	raw.Oflag &^= unix.OPOST
	raw.Lflag &^= unix.ECHO | unix.ECHONL | unix.ICANON | unix.ISIG | unix.IEXTEN
	raw.Cflag = raw.Cflag&^(unix.CSIZE|unix.PARENB) | unix.CS8
	raw.Cc[unix.VMIN], raw.Cc[unix.VTIME] = 1, 0
	if unix.IoctlSetTermios(0, unix.TCSETS, &raw) == nil {
		r.saved = now
	}
}

// leave makes the terminal what it was.
func (r *rawState) leave() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.saved != nil {
		_ = unix.IoctlSetTermios(0, unix.TCSETS, r.saved)
		r.saved = nil
	}
}

// inForeground says whether sbx is in the foreground process group of the
// terminal on descriptor 0, or that terminal is not the controlling one.
func inForeground() bool {
	group, err := unix.IoctlGetInt(0, unix.TIOCGPGRP)
	return err != nil || group == unix.Getpgrp()
}

// terminal is the pty that CMD has as its own, and the copying between it and
// the caller's. A nil terminal is none: its methods do nothing.
type terminal struct {
	master, slave *os.File
	outer         *os.File // the caller's terminal, for the size; nil where there is none
	input         bool     // descriptor 0 is a terminal
	copied        chan struct{}
}

// openTerminal makes a pty with the settings and the size of the caller's
// terminal, as far as there is one.
func openTerminal() (*terminal, error) {
	t := &terminal{copied: make(chan struct{}), input: isTerminal(os.Stdin)}
	var err error
	if t.master, t.slave, err = pty.Open(); err != nil {
		return nil, &usageError{msg: "no terminal can be made: " + err.Error(), hint: "-T goes on without one"}
	}
	for _, f := range []*os.File{os.Stdin, os.Stdout, os.Stderr} {
		if isTerminal(f) {
			t.outer = f
			break
		}
	}
	if t.outer != nil {
		if settings, err := unix.IoctlGetTermios(int(t.outer.Fd()), unix.TCGETS); err == nil {
			_ = unix.IoctlSetTermios(int(t.slave.Fd()), unix.TCSETS, settings)
		}
	}
	t.resize()
	return t, nil
}

// lend gives CMD the terminal.
func (t *terminal) lend(cmd *sandbox.Cmd) {
	cmd.Stdin, cmd.Stdout, cmd.Stderr = t.slave, t.slave, t.slave
	cmd.Spec.Terminal = !cmd.Spec.Skips("session")
}

// begin copies, from the start of CMD on.
func (t *terminal) begin() {
	if t == nil {
		return
	}
	t.raw()
	go t.output()
	go t.typed()
}

// output copies what CMD prints. A caller's terminal that is gone does not hold
// CMD up: it gets SIGHUP, and what it prints is dropped.
func (t *terminal) output() {
	defer close(t.copied)
	defer t.restoreOnPanic()
	buf := make([]byte, 32<<10)
	gone := false
	for {
		n, err := t.master.Read(buf)
		if n > 0 && !gone {
			_, werr := os.Stdout.Write(buf[:n])
			gone = werr != nil
		}
		if err != nil {
			return // EIO: nobody has the slave open any more
		}
	}
}

// typed copies what the user types. It reads only in the foreground, where the
// kernel does not stop sbx for it.
func (t *terminal) typed() {
	defer t.restoreOnPanic()
	buf := make([]byte, 4096)
	last := byte('\n')
	for {
		poll := []unix.PollFd{{Fd: 0, Events: unix.POLLIN}}
		if _, err := unix.Poll(poll, -1); err == unix.EINTR {
			continue
		}
		if t.input && !inForeground() {
			time.Sleep(50 * time.Millisecond)
			continue
		}
		n, err := unix.Read(0, buf)
		switch {
		case err == unix.EINTR || err == unix.EAGAIN:
			continue
		case err != nil:
			return
		case n == 0:
			// The end of a file is Ctrl-D at the beginning of a line.
			end := []byte{4}
			if last != '\n' {
				end = []byte{4, 4}
			}
			_, _ = t.master.Write(end)
			return
		}
		last = buf[n-1]
		if _, err := t.master.Write(buf[:n]); err != nil {
			return
		}
	}
}

// resize gives CMD's terminal the size of the caller's.
func (t *terminal) resize() {
	if t == nil || t.outer == nil {
		return
	}
	if size, err := unix.IoctlGetWinsize(int(t.outer.Fd()), unix.TIOCGWINSZ); err == nil {
		_ = unix.IoctlSetWinsize(int(t.master.Fd()), unix.TIOCSWINSZ, size)
	}
}

// raw puts the caller's terminal into raw mode.
func (t *terminal) raw() {
	if t != nil && t.input {
		rawTerminal.enter()
		t.resize() // it may have changed while sbx was stopped
	}
}

// cooked makes the caller's terminal what it was.
func (t *terminal) cooked() {
	if t != nil {
		rawTerminal.leave()
	}
}

// drain waits for the rest of what CMD printed. sbx has held the slave open so
// far, so that a CMD that closes it and opens /dev/tty later is not cut off.
// With pid skipped there may be processes that live on and keep it open.
func (t *terminal) drain(cmd *sandbox.Cmd) {
	if t == nil {
		return
	}
	t.slave.Close()
	t.slave = nil
	if !cmd.Spec.Skips("pid") {
		<-t.copied
		return
	}
	select {
	case <-t.copied:
	case <-time.After(200 * time.Millisecond):
	}
}

// close makes the caller's terminal what it was, and gives the pty up.
func (t *terminal) close() {
	t.cooked()
	if t.slave != nil {
		t.slave.Close()
	}
	t.master.Close()
}

// restoreOnPanic is deferred in every goroutine that runs while the terminal is
// raw: a panic ends the process without running the others' defers.
func (t *terminal) restoreOnPanic() {
	if p := recover(); p != nil {
		t.cooked()
		panic(p)
	}
}
