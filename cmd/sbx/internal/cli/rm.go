package cli

import (
	"errors"

	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox/layer"
	"github.com/sbx-dev/sbx/sandbox/state"
)

// rmCommand is the model of sbx rm.
type rmCommand struct {
	Force bool `name:"force" short:"f" help:"Kill a sandbox that runs, first."`

	Words []string `arg:"" optional:"" help:"Names or ids of sandboxes, or layers that --keep made."`
}

func rmVerb() command { return &rmCommand{} }

func (*rmCommand) usage() string { return "[-f] NAME…" }

// Help implements kong.HelpProvider.
func (*rmCommand) Help() string {
	return `Forgets sandboxes that have ended, with their logs; and removes kept layers, with all that CMD wrote in them and that sbx apply has not copied. Of a name that both have it takes the sandbox. It also manages what rm -rf cannot: the folders of mode 0 that overlayfs and CMD leave.`
}

func (*rmCommand) examples() [][2]string {
	return [][2]string{
		{"sbx rm demo", "forget what CMD wrote under --keep demo"},
		{"sbx rm -f web", "kill the sandbox web, and forget it"},
	}
}

func (r *rmCommand) run(c *call) error {
	words := c.cmd(r.Words)
	if len(words) == 0 {
		return &usageError{msg: "which sandbox or layer?", hint: "sbx ps -a lists the sandboxes, sbx changes the layers"}
	}
	return each("rm", words, r.remove)
}

func (r *rmCommand) remove(word string) error {
	layers, err := layerStore()
	if err != nil {
		return err
	}
	boxes, err := state.DefaultStore()
	if err == nil {
		var box *state.Record
		if box, err = boxes.Find(word); err == nil {
			return r.removeSandbox(boxes, box, word)
		}
	}
	if layer.CheckName(word) == nil {
		l, lerr := layers.Open(word)
		if lerr == nil {
			return layerError(layers, word, l.Remove())
		}
		if !errors.Is(lerr, layer.ErrNotExist) || errors.Is(err, state.ErrNotExist) {
			return layerError(layers, word, lerr)
		}
	}
	if errors.Is(err, state.ErrNotExist) {
		_, err = layers.Open(word)
		return layerError(layers, word, err)
	}
	return stateError(err, "a few digits more tell them apart")
}

func (r *rmCommand) removeSandbox(store state.Store, box *state.Record, word string) error {
	if r.Force {
		if err := endSandbox(store, box, unix.SIGKILL, 0); err != nil {
			return err
		}
	}
	err := store.Remove(box)
	if err == nil {
		err = removeLayerOf(box)
	}
	switch {
	case errors.Is(err, state.ErrRunning):
		return &usageError{msg: word + " is running", hint: "sbx stop " + word + " first, or sbx rm -f " + word}
	case errors.Is(err, state.ErrNotExist):
		if r.Force {
			return nil // another one was faster, or its own --rm
		}
		return &usageError{msg: "no sandbox has the name or id " + quoted(word) + " any more"}
	}
	return stateError(err, "")
}
