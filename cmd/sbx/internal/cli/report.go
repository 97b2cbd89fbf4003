package cli

import (
	"encoding/json"
	"errors"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox"
)

// reports are the files that get the result as JSON. They are opened before
// the sandbox is made: who cannot be told how CMD ended should learn that
// before it runs.
type reports struct {
	files []*os.File
	name  string // of the last one, where it was opened by name
}

func openReports(name, fd string) (*reports, error) {
	r := &reports{}
	if fd != "" {
		n, err := strconv.Atoi(fd)
		if err != nil || n < 0 {
			return nil, &usageError{msg: "--result-fd " + fd + ": is no number of a descriptor"}
		}
		flags, err := unix.FcntlInt(uintptr(n), unix.F_GETFL, 0)
		if err != nil || flags&unix.O_ACCMODE == unix.O_RDONLY {
			return nil, &usageError{msg: "--result-fd " + fd + ": is not open for writing", hint: "in a shell: sbx run --result-fd 3 -- CMD 3>result.json"}
		}
		if n > 2 {
			unix.CloseOnExec(n) // it is not for CMD, also with fds skipped
		}
		r.files = append(r.files, os.NewFile(uintptr(n), "--result-fd"))
	}
	if name != "" {
		f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
		if err != nil {
			return nil, &usageError{msg: "--report: " + err.Error()}
		}
		r.files, r.name = append(r.files, f), name
	}
	return r, nil
}

// setupReport is the result of a sandbox that could not be made.
type setupReport struct {
	Version  int    `json:"version"` // 1
	Verdict  string `json:"verdict"`
	Code     int    `json:"code"`
	Step     string `json:"step,omitempty"`
	Call     string `json:"call,omitempty"`
	Errno    string `json:"errno,omitempty"`
	Evidence string `json:"evidence"`
	Hint     string `json:"hint,omitempty"`
}

// write puts the result into every file.
func (r *reports) write(cmd *sandbox.Cmd, failed error) error {
	if len(r.files) == 0 {
		return nil
	}
	var what any = cmd.Result
	if cmd.Result == nil {
		what = setupResult(failed)
	}
	data, err := json.MarshalIndent(what, "", "  ")
	if err != nil {
		return err
	}
	var errs []error
	for i, f := range r.files {
		named := r.name != "" && i == len(r.files)-1
		if named {
			errs = append(errs, ours(f, "--report", r.name))
		}
		_, err := f.Write(append(data, '\n'))
		errs = append(errs, err, f.Close())
	}
	return errors.Join(errs...)
}

// ours makes sure that the report is what its reader will find under its name.
// A CMD that may write to the folder (--rw) can have put another file there, or
// have written into this one.
func ours(f *os.File, flag, name string) error {
	opened, err := f.Stat()
	if err != nil || !opened.Mode().IsRegular() {
		return err
	}
	if there, err := os.Stat(name); err != nil || !os.SameFile(opened, there) {
		return &forgedError{flag, name}
	}
	return f.Truncate(0)
}

// forgedError is a report that CMD has put something else in place of: the exit
// code is not CMD's then, since nothing that is read there can be believed.
type forgedError struct{ flag, name string }

func (e *forgedError) Error() string {
	return e.flag + ": CMD has replaced " + e.name + ": what is there is not what sbx wrote"
}

func setupResult(failed error) setupReport {
	s := setupReport{Version: 1, Verdict: sandbox.VerdictSetup, Code: exitFailed, Hint: sandbox.HintOf(failed)}
	if failed != nil {
		s.Evidence = errorText(failed)
	}
	var call *sandbox.Error
	var step *sandbox.StepError
	switch {
	case errors.As(failed, &call):
		s.Step, s.Call, s.Errno = call.Step, call.Call, unix.ErrnoName(call.Errno)
	case errors.As(failed, &step):
		s.Step = step.Step
	}
	return s
}
