package cli

import (
	"errors"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox/state"
)

// logsCommand is the model of sbx logs.
type logsCommand struct {
	Follow bool   `name:"follow" short:"f" help:"Go on until the sandbox ends."`
	Tail   string `name:"tail" short:"n" placeholder:"N" help:"The last N lines alone, of what is there when it begins; all by default."`

	Words []string `arg:"" optional:"" help:"A sandbox's name or id."`
}

func logsVerb() command { return &logsCommand{} }

func (*logsCommand) usage() string { return "[-f] [-n N] ID" }

// Help implements kong.HelpProvider.
func (*logsCommand) Help() string {
	return `Prints what the CMD of a sandbox that was started with -d has printed, stdout and stderr in the order in which they came, and what sbx said about it. The newest 8 to 16 MiB are kept.`
}

func (*logsCommand) examples() [][2]string {
	return [][2]string{
		{"sbx logs -f web", "what it prints, as it comes"},
		{"sbx logs --tail 20 web", "the last twenty lines"},
	}
}

func (l *logsCommand) run(c *call) error {
	words := c.cmd(l.Words)
	if len(words) != 1 {
		return &usageError{msg: "one sandbox at a time", hint: "sbx ps -a lists them"}
	}
	store, r, err := findSandbox(words[0])
	if err != nil {
		return err
	}
	if !r.Detached {
		return &usageError{msg: words[0] + " has no log: it was started in the foreground, and printed to where it was called"}
	}
	lines := state.AllLines
	if l.Tail != "" && l.Tail != "all" {
		if lines, err = strconv.Atoi(l.Tail); err != nil || lines < 0 {
			return &usageError{msg: "--tail " + l.Tail + ": is no number of lines"}
		}
	}
	err = store.CopyLog(os.Stdout, r, lines, l.Follow)
	if errors.Is(err, unix.EPIPE) {
		return nil
	}
	return err
}
