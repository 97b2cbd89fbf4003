package cli

import (
	"bytes"
	"os"
	"sync"
	"sync/atomic"
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
	fd    int           // of the terminal, while saved is not nil
	plain bool          // what is printed is not processed either
}

func (r *rawState) active() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.saved != nil
}

// enter puts the terminal on a descriptor into raw mode, where sbx is in the
// foreground: from the background the kernel would stop sbx for it. Unless plain
// is set, what is printed is still processed.
func (r *rawState) enter(fd int, plain bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.saved != nil || !inForeground(fd) {
		return
	}
	now, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return
	}
	raw := *now
	// As cfmakeraw(3): every byte goes to CMD's own terminal, which then does
	// what the user has set there; Ctrl-C and Ctrl-Z too.
	raw.Iflag &^= unix.IGNBRK | unix.BRKINT | unix.PARMRK | unix.ISTRIP | unix.INLCR | unix.IGNCR | unix.ICRNL | unix.IXON
	if plain {
		raw.Oflag &^= unix.OPOST
	}
	raw.Lflag &^= unix.ECHO | unix.ECHONL | unix.ICANON | unix.ISIG | unix.IEXTEN
	raw.Cflag = raw.Cflag&^(unix.CSIZE|unix.PARENB) | unix.CS8
	raw.Cc[unix.VMIN], raw.Cc[unix.VTIME] = 1, 0
	if unix.IoctlSetTermios(fd, unix.TCSETS, &raw) == nil {
		r.saved, r.fd, r.plain = now, fd, plain
	}
}

// print switches between plain and processed output, while the terminal is raw.
func (r *rawState) print(plain bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.saved == nil || r.plain == plain || !inForeground(r.fd) {
		return
	}
	term, err := unix.IoctlGetTermios(r.fd, unix.TCGETS)
	if err != nil {
		return
	}
	term.Oflag &^= unix.OPOST
	if !plain {
		term.Oflag |= r.saved.Oflag & unix.OPOST
	}
	if unix.IoctlSetTermios(r.fd, unix.TCSETS, term) == nil {
		r.plain = plain
	}
}

// leave makes the terminal what it was.
func (r *rawState) leave() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.saved != nil {
		_ = unix.IoctlSetTermios(r.fd, unix.TCSETS, r.saved)
		r.saved = nil
	}
}

// inForeground says whether sbx is in the foreground process group of the
// terminal on a descriptor, or that terminal is not the controlling one.
func inForeground(fd int) bool {
	group, err := unix.IoctlGetInt(fd, unix.TIOCGPGRP)
	return err != nil || group == unix.Getpgrp()
}

// typing says when CMD gets what the user types.
type typing uint8

const (
	// typedNever is for a CMD that has the terminal for its messages alone: what
	// is typed meanwhile is meant for the caller's shell.
	typedNever typing = iota
	// typedOnDemand waits until CMD reads from its terminal or changes its
	// settings. It may stand in a pipeline with another program that reads the
	// caller's terminal, as in `sbx run -- make | less`, and must not take the
	// keys from it.
	typedOnDemand
	// typedAtOnce is for a CMD that has the terminal to itself.
	typedAtOnce
)

// terminal is the pty that CMD has in place of the caller's terminal, and the
// copying between the two. A nil terminal is none: its methods do nothing.
type terminal struct {
	master, slave *os.File
	on            [3]bool  // which of CMD's descriptors it is
	outer         *os.File // the caller's terminal, for the size; nil where there is none
	out           *os.File // where to what CMD prints goes
	typing        typing
	in            *os.File // what the user types; nil until it is known
	gone          func()   // called when the caller's terminal hung up, by two goroutines at most
	woken         sync.Once
	awake         atomic.Bool // the keys go to CMD, and in is known
	copied        chan struct{}
	enough        *os.File      // an eventfd that ends typed; nil where there is none
	heard         chan struct{} // closed when typed has ended
}

// terminalFor makes the terminal of a CMD: a pty in place of each of the
// descriptors 0 to 2 that is a terminal, and with -t of all. It is nil where
// none is, with -T, and where CMD is not to have it to itself but gets at the
// caller's through /dev/tty anyway, since the step session is skipped.
func (r *runCommand) terminalFor(cmd *sandbox.Cmd) (*terminal, error) {
	on := [3]bool{isTerminal(os.Stdin), isTerminal(os.Stdout), isTerminal(os.Stderr)}
	how := typedNever
	switch {
	case r.Detach:
		return nil, nil // stderr is the caller's for as long as he waits
	case r.NoTTY:
		if on != [3]bool{} && !cmd.Spec.Skips("session") {
			say("CMD has your terminal as it is: it can read what you type, and change its settings")
		}
		return nil, nil
	case r.TTY || on[0] && on[1]:
		how = typedAtOnce
	case !on[0] && !on[1] && !on[2] || cmd.Spec.Skips("session"):
		return nil, nil
	case on[0] || on[1]:
		how = typedOnDemand
		if cmd.Spec.AsPID1 || cmd.Spec.Skips("pid") {
			how = typedAtOnce // there is no PID 1 that could tell of the demand
		}
	}
	return openTerminal(on, r.TTY, how)
}

// openTerminal makes a pty in place of the descriptors that are terminals, or of
// all, with the settings and the size of the caller's terminal.
func openTerminal(on [3]bool, all bool, how typing) (*terminal, error) {
	t := &terminal{copied: make(chan struct{}), on: on, typing: how, out: os.Stdout}
	var err error
	if t.master, t.slave, err = pty.Open(); err != nil {
		return nil, &usageError{msg: "no terminal can be made: " + err.Error(), hint: "-T gives CMD yours as it is"}
	}
	for i, f := range []*os.File{os.Stdin, os.Stdout, os.Stderr} {
		if on[i] {
			t.outer = f
			break
		}
	}
	switch {
	case all:
		t.on = [3]bool{true, true, true}
	case on[1]:
	case on[2]:
		t.out = os.Stderr
	default:
		t.out = os.Stdin // for the echo, where it can be written
	}
	if on[0] || all {
		t.in = os.Stdin
	}
	// In the background the settings are those with which the shell reads its
	// next line: the kernel's for a new terminal are nearer to what CMD expects.
	if t.outer != nil && inForeground(int(t.outer.Fd())) {
		if settings, err := unix.IoctlGetTermios(int(t.outer.Fd()), unix.TCGETS); err == nil {
			_ = unix.IoctlSetTermios(int(t.slave.Fd()), unix.TCSETS, settings)
		}
	}
	t.resize()
	return t, nil
}

// lend gives CMD the terminal.
func (t *terminal) lend(cmd *sandbox.Cmd) {
	if t.on[0] {
		cmd.Stdin = t.slave
	}
	if t.on[1] {
		cmd.Stdout = t.slave
	}
	if t.on[2] {
		cmd.Stderr = t.slave
	}
	cmd.Spec.Terminal = t.typing != typedNever && !cmd.Spec.Skips("session")
	cmd.Spec.TerminalOnDemand = cmd.Spec.Terminal && t.typing == typedOnDemand
}

// begin copies, from the start of CMD on, and calls gone when the caller's
// terminal hangs up.
func (t *terminal) begin(gone func()) {
	t.gone = gone
	if t.outer != nil {
		go t.line()
	}
	// What CMD prints may be answered at once: the keys are its own by then.
	if t.typing == typedAtOnce {
		t.wake()
	}
	go t.output()
}

// wake lets CMD have what the user types, from now on.
func (t *terminal) wake() {
	t.woken.Do(func() {
		if t.in == nil {
			// The descriptors that are terminals were given for output.
			var err error
			if t.in, err = os.OpenFile("/dev/tty", os.O_RDWR|unix.O_NOCTTY, 0); err != nil {
				t.in = t.outer
			}
		}
		if fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC); err == nil {
			t.enough, t.heard = os.NewFile(uintptr(fd), "eventfd"), make(chan struct{})
		}
		t.awake.Store(true)
		t.raw()
		go t.typed()
	})
}

// demanded says whether CMD was stopped by a signal because it needs the
// terminal, and gets it then. A CMD that needs it while sbx is in the background
// stops sbx as well, as any program would be.
func (t *terminal) demanded(sig unix.Signal) bool {
	if t == nil || t.typing != typedOnDemand || sig != unix.SIGTTIN && sig != unix.SIGTTOU {
		return false
	}
	t.wake()
	if !inForeground(int(t.in.Fd())) {
		_ = unix.Kill(0, sig)
		t.raw()
	}
	return true
}

// line waits until the caller's terminal hangs up: its window was closed, or its
// connection lost. The kernel sends SIGHUP to the leader of the session and to
// the group in the foreground alone (tty_signal_session_leader in its
// drivers/tty/tty_jobctrl.c); a job in the background hears of it only from a
// shell that lives long enough and cares. Poll(2) reports a hangup unasked.
func (t *terminal) line() {
	defer t.restoreOnPanic()
	poll := []unix.PollFd{{Fd: int32(t.outer.Fd())}}
	for {
		n, err := unix.Poll(poll, -1)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return
		case n > 0:
			t.gone()
			return
		}
	}
}

// output copies what CMD prints. A caller's terminal that is gone does not hold
// CMD up: it gets SIGHUP, and what it prints is dropped.
func (t *terminal) output() {
	defer close(t.copied)
	defer t.restoreOnPanic()
	buf := make([]byte, 32<<10)
	var lines lineEnds
	gone := false
	for {
		n, err := t.master.Read(buf)
		text := buf[:n]
		if t.translated() {
			text = lines.undo(text, err != nil)
		}
		if len(text) > 0 && !gone {
			_, werr := t.out.Write(text)
			gone = werr != nil
		}
		if err != nil {
			return // EIO: nobody has the slave open any more
		}
	}
}

// translated says that both CMD's terminal and the caller's make two characters
// of the end of a line: once is enough. Where CMD may stand in a pipeline, what
// the others print needs the caller's as it is, as long as CMD itself does not
// switch that off, as full-screen programs do.
func (t *terminal) translated() bool {
	if t.outer == nil {
		return false
	}
	const both = unix.OPOST | unix.ONLCR
	term, err := unix.IoctlGetTermios(int(t.master.Fd()), unix.TCGETS)
	if err != nil {
		return false
	}
	if t.typing == typedOnDemand {
		rawTerminal.print(term.Oflag&both != both)
	}
	if term.Oflag&both != both {
		return false
	}
	term, err = unix.IoctlGetTermios(int(t.out.Fd()), unix.TCGETS)
	return err == nil && term.Oflag&both == both
}

// lineEnds makes one character of each end of a line again.
type lineEnds struct{ held bool }

// undo works on pieces of a stream: the first half of an end of line is kept
// for the next piece, unless this is the last.
func (l *lineEnds) undo(text []byte, last bool) []byte {
	if l.held {
		text = append([]byte{'\r'}, text...)
	}
	if l.held = !last && bytes.HasSuffix(text, []byte{'\r'}); l.held {
		text = text[:len(text)-1]
	}
	return bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n"))
}

// typed copies what the user types. It reads only in the foreground, where the
// kernel does not stop sbx for it. It ends with CMD: what is typed afterwards
// answers a question of sbx, or is the shell's.
func (t *terminal) typed() {
	enough := int32(-1) // poll(2) passes it over
	if t.enough != nil {
		enough = int32(t.enough.Fd())
		defer close(t.heard)
	}
	defer t.restoreOnPanic()
	buf := make([]byte, 4096)
	last := byte('\n')
	in := int(t.in.Fd())
	keys := isTerminal(t.in)
	for {
		poll := []unix.PollFd{{Fd: int32(in), Events: unix.POLLIN}, {Fd: enough, Events: unix.POLLIN}}
		if _, err := unix.Poll(poll, -1); err == unix.EINTR {
			continue
		}
		if poll[1].Revents != 0 {
			return
		}
		if keys && poll[0].Revents&(unix.POLLHUP|unix.POLLERR|unix.POLLNVAL) != 0 {
			t.gone() // not the end of a file: CMD gets SIGHUP, and no Ctrl-D
			return
		}
		if keys && !inForeground(in) {
			time.Sleep(50 * time.Millisecond)
			continue
		}
		n, err := unix.Read(in, buf)
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

// raw puts the caller's terminal into raw mode, where CMD has the keys.
func (t *terminal) raw() {
	if t != nil && t.awake.Load() {
		rawTerminal.enter(int(t.in.Fd()), t.typing != typedOnDemand) // no terminal: nothing
		t.resize()                                                   // it may have changed while sbx was stopped
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
	if t.awake.Load() && t.enough != nil {
		_, _ = unix.Write(int(t.enough.Fd()), []byte{1, 0, 0, 0, 0, 0, 0, 0})
		select {
		case <-t.heard:
			t.enough.Close()
		case <-time.After(200 * time.Millisecond): // a terminal that takes nothing
		}
	}
}

// restoreOnPanic is deferred in every goroutine that runs while the terminal is
// raw: a panic ends the process without running the others' defers.
func (t *terminal) restoreOnPanic() {
	if p := recover(); p != nil {
		t.cooked()
		panic(p)
	}
}
