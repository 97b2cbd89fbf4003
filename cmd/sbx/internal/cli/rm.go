package cli

import (
	"errors"

	"github.com/sbx-dev/sbx/sandbox/layer"
)

// rmCommand is the model of sbx rm.
type rmCommand struct {
	Words []string `arg:"" optional:"" help:"Layers that --keep made."`
}

func rmVerb() command { return &rmCommand{} }

func (*rmCommand) usage() string { return "NAME…" }

// Help implements kong.HelpProvider.
func (*rmCommand) Help() string {
	return `Removes kept layers, with all that CMD wrote in them and that sbx apply has not copied. It also manages what rm -rf cannot: the folders of mode 0 that overlayfs and CMD leave.`
}

func (*rmCommand) examples() [][2]string {
	return [][2]string{{"sbx rm demo", "forget what CMD wrote under --keep demo"}}
}

func (r *rmCommand) run(c *call) error {
	words := c.cmd(r.Words)
	if len(words) == 0 {
		return &usageError{msg: "which layer?", hint: "sbx changes lists them"}
	}
	store, err := layer.DefaultStore()
	if err != nil {
		return err
	}
	var errs []error
	for _, name := range words {
		l, err := store.Open(name)
		if err == nil {
			err = l.Remove()
		}
		errs = append(errs, layerError(store, name, err))
	}
	if len(words) == 1 {
		return errs[0]
	}
	for i, err := range errs {
		var usage *usageError
		if errors.As(err, &usage) {
			say("rm: " + usage.msg)
			errs[i] = exitStatus(exitFailed)
		}
	}
	return errors.Join(errs...)
}
