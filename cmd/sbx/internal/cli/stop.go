package cli

import (
	"errors"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox"
	"github.com/sbx-dev/sbx/sandbox/state"
)

// stopCommand is the model of sbx stop.
type stopCommand struct {
	Signal string `name:"signal" short:"s" placeholder:"SIGNAL" help:"The signal that asks CMD to end; the image's own by default, or TERM."`
	Time   string `name:"time" short:"t" placeholder:"SECONDS" help:"How long CMD has for it, 10 by default; then SIGKILL ends the sandbox."`

	Words []string `arg:"" optional:"" help:"Names or ids of sandboxes."`
}

func stopVerb() command { return &stopCommand{} }

func (*stopCommand) usage() string { return "[flags] ID…" }

// Help implements kong.HelpProvider.
func (*stopCommand) Help() string {
	return `Asks CMD to end, and ends the sandbox with everything in it when it does not within the time. It returns once the sandbox is gone; one that does not run is left as it is.`
}

func (*stopCommand) examples() [][2]string {
	return [][2]string{{"sbx stop -t 2 web", "two seconds, then SIGKILL"}}
}

// stopTime is how long CMD has for ending.
const stopTime = 10 * time.Second

func (s *stopCommand) run(c *call) error {
	if _, err := parseSignal(s.Signal, unix.SIGTERM); err != nil {
		return err
	}
	limit := stopTime
	if s.Time != "" {
		n, err := strconv.ParseFloat(strings.TrimSuffix(s.Time, "s"), 64)
		if err != nil || n < 0 || n > 1e6 {
			return &usageError{msg: "-t " + s.Time + ": is no number of seconds", hint: "-t 2"}
		}
		limit = time.Duration(n * float64(time.Second))
	}
	return each("stop", c.cmd(s.Words), func(word string) error {
		store, r, err := findSandbox(word)
		if err != nil {
			return err
		}
		return endSandbox(store, r, s.signalFor(r), limit)
	})
}

// signalFor is what asks the CMD of a sandbox to end.
func (s *stopCommand) signalFor(r *state.Record) unix.Signal {
	text := s.Signal
	if text == "" {
		text = r.StopSignal
	}
	sig, err := parseSignal(text, unix.SIGTERM)
	if err != nil {
		return unix.SIGTERM
	}
	return sig
}

// endSandbox asks CMD to end by a signal, and kills the sandbox after the time.
// It returns once its monitor has ended as well.
func endSandbox(store state.Store, r *state.Record, sig unix.Signal, limit time.Duration) error {
	if r.Status != state.Running {
		return nil
	}
	first, err := r.Open(r.Init)
	if err == nil {
		defer first.Close()
		if limit > 0 {
			var cmd *sandbox.Process
			if cmd, err = r.Open(r.CMD); err == nil {
				if err = cmd.Signal(sig); err == nil {
					_, err = first.Wait(limit)
				}
				cmd.Close()
			}
		}
		if err == nil || err == unix.ESRCH {
			err = first.Signal(unix.SIGKILL)
		}
	}
	if err != nil && err != unix.ESRCH {
		return os.NewSyscallError("pidfd_send_signal", err)
	}
	if _, err := store.Wait(r); err != nil && !errors.Is(err, state.ErrNotExist) {
		return err
	}
	return nil
}

// parseSignal reads a signal's name, with or without SIG, or its number.
func parseSignal(text string, otherwise unix.Signal) (unix.Signal, error) {
	if text == "" {
		return otherwise, nil
	}
	if n, err := strconv.Atoi(text); err == nil && n > 0 && n <= 64 {
		return unix.Signal(n), nil
	}
	name := strings.ToUpper(text)
	if !strings.HasPrefix(name, "SIG") {
		name = "SIG" + name
	}
	if sig := unix.SignalNum(name); sig != 0 {
		return sig, nil
	}
	// The C library keeps the first two for itself (signal(7)).
	if n, err := strconv.Atoi(strings.TrimPrefix(name, "SIGRTMIN+")); err == nil && n >= 0 && n <= 30 {
		return unix.Signal(34 + n), nil
	}
	return 0, &usageError{msg: "-s " + text + ": is no signal", hint: "a name such as TERM, INT or HUP, or a number"}
}
