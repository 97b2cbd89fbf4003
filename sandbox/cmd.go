package sandbox

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox/internal/rawfork"
)

// Cmd is a command that runs in a sandbox of its own. Its fields and methods
// are those of os/exec's Cmd where they have the same name; a Cmd is used once.
//
// A CMD that ran and failed is an *ExitError. Any other error means that
// nothing of it ran: *SpecError, *StepError, *Error, *FileError, *ExecError.
type Cmd struct {
	// Spec is the sandbox. Spec.Args holds CMD and its arguments.
	Spec Spec

	// Stdin, Stdout and Stderr are as in os/exec: nil is the null device, an
	// *os.File is passed as it is, and anything else is copied through a pipe.
	// Whichever of the three is a terminal, CMD can read what is typed there and
	// change its settings: pass a pty, with Spec.Terminal for job control.
	Stdin  io.Reader
	Stdout io.Writer
	Stderr io.Writer
	// ExtraFiles become descriptors 3 and up.
	ExtraFiles []*os.File

	// Trace, when not nil, gets an Event for clone3 and each call of the plan, and one
	// when CMD has been executed but has not run an instruction yet: the
	// sandbox waits until Trace returns, so that it can be looked at. Events
	// come in order, on one goroutine at a time. It costs about a millisecond.
	Trace func(Event)

	// Stopped, when not nil, is told when a signal has stopped CMD (Ctrl-Z).
	// SIGCONT lets it go on.
	Stopped func(unix.Signal)

	// Lasting, when not nil, is called once by Wait as soon as CMD has run for a
	// few milliseconds: for what is not worth while if it ends before.
	Lasting func()

	// HoldLayers makes Layers work: while the sandbox lives, the upper layers that
	// lie in memory can be looked at.
	HoldLayers bool

	// Joined, when not nil, is the first process of a sandbox that runs already
	// (InitPid), and CMD is started in that sandbox in place of a new one. Spec
	// must be the one that it was made from, but for Args, Env, which adds to
	// Join.Env, Dir, Timeout and Terminal. Of Join, Start itself fills in the
	// namespaces and the maps.
	Joined *Process
	Join   Join

	// Features overrides what is found out about the host; nil probes it.
	Features *Features

	// Result is set by Wait, once the sandbox is gone.
	Result *Result

	ctx      context.Context
	plan     *Plan
	files    []*os.File // what CMD gets, from 0 up
	ours     []*os.File // to be closed once CMD has its own copy
	pipes    []*os.File // to be closed after Wait
	copies   []func() error
	copied   chan error
	started  time.Time
	pid      int // PID 1 of the sandbox, or CMD
	pidfd    int
	cmdPid   int
	cmdPidfd int
	socket   *os.File
	ends     [2]int // the launcher's and the sandbox's end of the socket
	layers   *os.File
	watched  []watched // what CMD may write to, with Wait's look at it
	upperTmp string    // a folder that holds the layers where no tmpfs can
	timedOut bool
	stuck    atomic.Bool // PID 1 was killed, since it did not end with CMD
	canceled bool
	done     chan struct{}
	// terminalFD is CMD's descriptor of Spec.Terminal.
	terminalFD int
	kill       sync.Mutex // held while the processes may be signalled
	reaped     bool
	pauseErr   error
	early      []message
	program    *rawfork.Program
	tracing    sync.Mutex // held while Trace runs
	reported   int        // calls that Trace has been told of
	child      int        // what clone3 made, as far as Trace is concerned
	cloning    time.Duration
}

// Event is one thing that happened while a sandbox was made.
type Event struct {
	Kind   EventKind
	Step   string
	Call   string        // as the plan prints it
	Result int64         // of a call; minus an errno when it failed
	Start  time.Duration // since clone3
	Took   time.Duration
	Pid    int // of EventExec: CMD, as the host counts
}

// EventKind says what an Event is about.
type EventKind uint8

// The kinds of Event.
const (
	EventCall EventKind = iota // a call of the plan returned
	EventExec                  // CMD is in place and has not run an instruction
)

// Command returns a Cmd that runs the named program, fully isolated, with the
// working folder shown copy on write. A name without a slash is looked for
// along PATH, inside.
func Command(name string, args ...string) *Cmd {
	return &Cmd{Spec: Spec{Args: append([]string{name}, args...)}}
}

// CommandContext is Command with a context, whose end kills the sandbox.
func CommandContext(ctx context.Context, name string, args ...string) *Cmd {
	c := Command(name, args...)
	c.ctx = ctx
	return c
}

// Run starts the sandbox and waits for it to end.
func (c *Cmd) Run() error {
	if err := c.Start(); err != nil {
		return err
	}
	return c.Wait()
}

// Output runs CMD and returns what it wrote to its standard output.
func (c *Cmd) Output() ([]byte, error) {
	if c.Stdout != nil {
		return nil, errors.New("sandbox: Stdout already set")
	}
	var b bytes.Buffer
	c.Stdout = &b
	err := c.Run()
	return b.Bytes(), err
}

// CombinedOutput runs CMD and returns what it wrote to its standard output and
// standard error.
func (c *Cmd) CombinedOutput() ([]byte, error) {
	if c.Stdout != nil || c.Stderr != nil {
		return nil, errors.New("sandbox: Stdout or Stderr already set")
	}
	var b bytes.Buffer
	c.Stdout, c.Stderr = &b, &b
	err := c.Run()
	return b.Bytes(), err
}

// StdinPipe returns a pipe that is CMD's standard input. Wait closes it.
func (c *Cmd) StdinPipe() (io.WriteCloser, error) {
	if c.Stdin != nil {
		return nil, errors.New("sandbox: Stdin already set")
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	c.Stdin = r
	c.ours = append(c.ours, r)
	c.pipes = append(c.pipes, w)
	return w, nil
}

// StdoutPipe returns a pipe from CMD's standard output. Read it to its end
// before Wait, which closes it.
func (c *Cmd) StdoutPipe() (io.ReadCloser, error) { return c.outputPipe(&c.Stdout, "Stdout") }

// StderrPipe is StdoutPipe for the standard error.
func (c *Cmd) StderrPipe() (io.ReadCloser, error) { return c.outputPipe(&c.Stderr, "Stderr") }

func (c *Cmd) outputPipe(at *io.Writer, name string) (io.ReadCloser, error) {
	if *at != nil {
		return nil, errors.New("sandbox: " + name + " already set")
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	*at = w
	c.ours = append(c.ours, w)
	c.pipes = append(c.pipes, r)
	return r, nil
}

// Plan is the plan that was launched; nil before Start.
func (c *Cmd) Plan() *Plan { return c.plan }

// Pid is CMD's process id on the host, 0 before Start.
func (c *Cmd) Pid() int { return c.cmdPid }

// InitPid is the process id, on the host, of the sandbox's first process: PID
// 1's, where the step pid is on.
func (c *Cmd) InitPid() int { return c.pid }

// Layers is a descriptor (O_PATH) of the folder that holds the upper layers which
// lie in memory, with HoldLayers, from Start until Wait has returned; nil where
// the plan has no such folder. Plan.Layers says what is in it.
func (c *Cmd) Layers() *os.File { return c.layers }

// Signal sends a signal to CMD. It is an error when CMD has ended.
func (c *Cmd) Signal(sig unix.Signal) error {
	c.kill.Lock()
	defer c.kill.Unlock()
	if c.reaped || c.cmdPidfd < 0 {
		return os.ErrProcessDone
	}
	return unix.PidfdSendSignal(c.cmdPidfd, sig, nil, 0)
}

// Kill ends the sandbox with everything in it.
func (c *Cmd) Kill() error {
	c.kill.Lock()
	defer c.kill.Unlock()
	if c.reaped {
		return os.ErrProcessDone
	}
	return c.killNow()
}

// killNow is Kill for who holds the lock. What was started in a sandbox that ran
// already is CMD alone: the process that watches it is no PID 1, and ends with
// CMD.
func (c *Cmd) killNow() error {
	if c.Joined != nil && c.cmdPidfd >= 0 {
		return unix.PidfdSendSignal(c.cmdPidfd, unix.SIGKILL, nil, 0)
	}
	return unix.PidfdSendSignal(c.pidfd, unix.SIGKILL, nil, 0)
}

// openFiles fills files with what CMD gets, and starts nothing yet.
func (c *Cmd) openFiles() error {
	stdin, err := c.inputFile()
	if err != nil {
		return err
	}
	c.files = append(c.files, stdin)
	stdout, err := c.outputFile(c.Stdout)
	if err != nil {
		return err
	}
	c.files = append(c.files, stdout)
	stderr := stdout
	if c.Stderr != c.Stdout || c.Stderr == nil {
		if stderr, err = c.outputFile(c.Stderr); err != nil {
			return err
		}
	}
	c.files = append(append(c.files, stderr), c.ExtraFiles...)
	return nil
}

func (c *Cmd) inputFile() (*os.File, error) {
	switch in := c.Stdin.(type) {
	case nil:
		return c.null(os.O_RDONLY)
	case *os.File:
		return in, nil
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	c.ours = append(c.ours, r)
	c.pipes = append(c.pipes, w)
	c.copies = append(c.copies, func() error {
		_, err := io.Copy(w, c.Stdin)
		if errors.Is(err, unix.EPIPE) {
			err = nil // CMD need not read all of it
		}
		return errors.Join(err, w.Close())
	})
	return r, nil
}

func (c *Cmd) outputFile(out io.Writer) (*os.File, error) {
	switch out := out.(type) {
	case nil:
		return c.null(os.O_WRONLY)
	case *os.File:
		return out, nil
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	c.ours = append(c.ours, w)
	c.pipes = append(c.pipes, r)
	c.copies = append(c.copies, func() error {
		_, err := io.Copy(out, r)
		return err
	})
	return w, nil
}

func (c *Cmd) null(flag int) (*os.File, error) {
	f, err := os.OpenFile(os.DevNull, flag, 0)
	if err != nil {
		return nil, err
	}
	c.ours = append(c.ours, f)
	return f, nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}
