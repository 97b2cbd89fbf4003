package sandbox

import (
	"errors"
	"strconv"

	"golang.org/x/sys/unix"
)

// Error is a sandbox that could not be made: the step, the call as the plan
// prints it, and its errno. Nothing of CMD ran. errors.Is finds the errno.
type Error struct {
	Step  string
	Call  string // "clone3({…}, 64)", or what the launcher itself tried
	Errno unix.Errno
	Hint  string // what to do about it, where a probe confirmed the cause; or ""
}

func (e *Error) Error() string {
	name := unix.ErrnoName(e.Errno)
	if name == "" {
		name = "errno " + strconv.Itoa(int(e.Errno))
	}
	return e.Step + ": " + e.Call + ": " + name
}

// Unwrap makes errors.Is(err, unix.EPERM) work.
func (e *Error) Unwrap() error { return e.Errno }

// SpecError is a spec that cannot be: the field and the reason.
type SpecError struct {
	Field  string // as in Spec, with an index where it is a list
	Reason string
}

func (e *SpecError) Error() string { return e.Field + ": " + e.Reason }

// StepError is a step that this host cannot do, found before anything ran.
type StepError struct {
	Step   string
	Reason string
	Hint   string
	Err    error // the cause, or nil
}

func (e *StepError) Error() string { return e.Step + ": " + e.Reason }
func (e *StepError) Unwrap() error { return e.Err }

// ExecError is a CMD that was not executed in a sandbox that stood: it was not
// found, may not be executed, or needs an interpreter that is not there.
type ExecError struct {
	Name        string // as it was asked for
	Errno       unix.Errno
	Interpreter bool // the file exists, its interpreter or loader does not
	Hint        string
}

func (e *ExecError) Error() string {
	switch {
	case e.Interpreter:
		return "exec: " + strconv.Quote(e.Name) + ": the file is there, but the interpreter or loader that it names is not"
	case e.Errno == unix.ENOENT:
		return "exec: " + strconv.Quote(e.Name) + ": not found in the sandbox"
	case e.Errno == unix.ENOEXEC:
		return "exec: " + strconv.Quote(e.Name) + ": not a program: no known format and no #! line (ENOEXEC)"
	}
	return "exec: " + strconv.Quote(e.Name) + ": " + unix.ErrnoName(e.Errno)
}

// Unwrap makes errors.Is(err, fs.ErrNotExist) work.
func (e *ExecError) Unwrap() error { return e.Errno }

// ExitCode is 127 for a CMD that was not found and 126 for one that cannot be
// executed, as a shell has it.
func (e *ExecError) ExitCode() int {
	if !e.Interpreter && (e.Errno == unix.ENOENT || e.Errno == unix.ENOTDIR) {
		return 127
	}
	return 126
}

// FileError is a descriptor that may not be passed into a sandbox, because it
// leads out of it: a folder, a block device, an O_PATH descriptor, or, where the
// network is isolated, a socket that could be connected elsewhere.
type FileError struct {
	FD   int // the number that CMD would have it as
	What string
}

func (e *FileError) Error() string {
	return "fds: descriptor " + strconv.Itoa(e.FD) + " is " + e.What + ", which would be a way out of the sandbox"
}

// ExitError is a CMD that ran and did not exit with 0.
type ExitError struct{ *Result }

func (e *ExitError) Error() string {
	switch {
	case e.Verdict == VerdictTimeout:
		return "timeout after " + e.Wall.String()
	case e.Signal != 0:
		return "signal: " + unix.SignalName(e.Signal)
	}
	return "exit status " + strconv.Itoa(e.Code)
}

// HintOf is the hint of an error of this package, or "".
func HintOf(err error) string {
	var (
		sandbox *Error
		step    *StepError
		exec    *ExecError
	)
	switch {
	case errors.As(err, &sandbox):
		return sandbox.Hint
	case errors.As(err, &step):
		return step.Hint
	case errors.As(err, &exec):
		return exec.Hint
	}
	return ""
}
