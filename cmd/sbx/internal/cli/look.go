package cli

import (
	"encoding/json"
	"errors"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox"
	"github.com/sbx-dev/sbx/sandbox/landlock"
	"github.com/sbx-dev/sbx/sandbox/observe"
)

// lookFile is the file of --look: it is opened before the sandbox is made, as
// that of --report is, and stays empty where no CMD came to be.
type lookFile struct {
	file *os.File
	view *observe.View
	err  error
}

// openLook has CMD looked at before its first instruction. It returns nil, which
// can be written, where nobody asked.
func openLook(name string, cmd *sandbox.Cmd) (*lookFile, error) {
	if name == "" {
		return nil, nil
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, &usageError{msg: "--look: " + err.Error()}
	}
	l := &lookFile{file: f}
	before := cmd.Trace
	cmd.Trace = func(e sandbox.Event) {
		if before != nil {
			before(e)
		}
		if e.Kind != sandbox.EventExec {
			return
		}
		if l.view, l.err = observe.Snapshot(e.Pid); l.err == nil {
			fill(l.view, cmd.Plan(), &cmd.Spec)
		}
	}
	return l, nil
}

func (l *lookFile) write() error {
	if l == nil {
		return nil
	}
	if l.view == nil {
		return errors.Join(l.err, l.file.Close())
	}
	data, err := json.MarshalIndent(l.view, "", "  ")
	if err != nil {
		return errors.Join(err, l.file.Close())
	}
	forged := ours(l.file, "--look", l.file.Name())
	_, err = l.file.Write(append(data, '\n'))
	return errors.Join(forged, err, l.file.Close())
}

// fill adds to a look what no file of /proc tells, and the plan does.
func fill(v *observe.View, plan *sandbox.Plan, spec *sandbox.Spec) {
	v.Landlock.State = "none"
	for i := range plan.Calls {
		if plan.Calls[i].Step == "landlock" && strings.HasPrefix(plan.Text(i), "landlock_restrict_self") {
			v.Landlock.State, v.Landlock.ABI = "enforced", landlock.ABI()
		}
	}
	v.Hostname = "sandbox"
	if spec.Hostname != "" {
		v.Hostname = spec.Hostname
	}
	if plan.Flags&unix.CLONE_NEWUTS == 0 {
		v.Hostname, _ = os.Hostname()
	}
}
