package cli

import (
	"errors"
	"os"
	"strconv"

	"github.com/sbx-dev/sbx/sandbox/state"
)

// waitCommand is the model of sbx wait.
type waitCommand struct {
	Words []string `arg:"" optional:"" help:"Names or ids of sandboxes."`
}

func waitVerb() command { return &waitCommand{} }

func (*waitCommand) usage() string { return "ID…" }

// Help implements kong.HelpProvider.
func (*waitCommand) Help() string {
	return `Waits until the sandboxes have ended, and prints the exit code of each CMD, one a line. The code of one whose monitor was killed is not known: it counts as 137.`
}

func (*waitCommand) examples() [][2]string {
	return [][2]string{{"sbx wait build", "prints 0 once the build is done"}}
}

func (w *waitCommand) run(c *call) error {
	return each("wait", c.cmd(w.Words), func(word string) error {
		store, r, err := findSandbox(word)
		if err != nil {
			return err
		}
		if r, err = store.Wait(r); errors.Is(err, state.ErrNotExist) {
			return &usageError{msg: word + " was removed when it ended, and its exit code with it", hint: "without --rm it is kept until sbx rm"}
		}
		if err != nil {
			return err
		}
		_, err = os.Stdout.WriteString(strconv.Itoa(r.Code()) + "\n")
		return err
	})
}
