package cli

import (
	"os"

	"golang.org/x/sys/unix"
)

// killCommand is the model of sbx kill.
type killCommand struct {
	Signal string `name:"signal" short:"s" placeholder:"SIGNAL" help:"The signal that CMD gets; without it the whole sandbox is killed."`

	Words []string `arg:"" optional:"" help:"Names or ids of sandboxes."`
}

func killVerb() command { return &killCommand{} }

func (*killCommand) usage() string { return "[-s SIGNAL] ID…" }

// Help implements kong.HelpProvider.
func (*killCommand) Help() string {
	return `Kills a sandbox with everything in it, at once; with -s it sends CMD a signal and does nothing else.`
}

func (*killCommand) examples() [][2]string {
	return [][2]string{
		{"sbx kill web", "at once"},
		{"sbx kill -s HUP web", "as many servers want it: read the configuration again"},
	}
}

func (k *killCommand) run(c *call) error {
	sig, err := parseSignal(k.Signal, unix.SIGKILL)
	if err != nil {
		return err
	}
	return each("kill", c.cmd(k.Words), func(word string) error {
		which := cmdOf
		if sig == unix.SIGKILL {
			which = initOf
		}
		store, r, p, err := runningSandbox(word, which)
		if err != nil {
			return err
		}
		defer p.Close()
		if sig == unix.SIGKILL {
			return endSandbox(store, r, sig, 0)
		}
		if err := p.Signal(sig); err != nil {
			return os.NewSyscallError("pidfd_send_signal", err)
		}
		return nil
	})
}
