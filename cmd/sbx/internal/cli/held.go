package cli

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox/layer"
	"github.com/sbx-dev/sbx/sandbox/state"
)

// held is what a sandbox or a kept layer holds, for sbx changes and sbx apply.
type held struct {
	*layer.Layer
	kind string   // "sandbox" or "layer"
	what string   // "the sandbox web", "the layer demo"
	base *os.File // of a sandbox whose layers lie in memory
}

func (h *held) close() {
	h.Close()
	if h.base != nil {
		h.base.Close()
	}
}

// openHeld finds what a word names: a sandbox, or a layer that --keep made. Of a
// sandbox that has ended with what it wrote, a layer of the name is meant.
func openHeld(word string, forChange bool) (*held, error) {
	layers, err := layer.DefaultStore()
	if err != nil {
		return nil, err
	}
	boxes, err := state.DefaultStore()
	var r *state.Record
	if err == nil {
		r, err = boxes.Find(word)
	}
	if err == nil {
		h, err := heldBy(layers, r, word, forChange)
		var gone *goneError
		if !errors.As(err, &gone) {
			return h, err
		}
		if _, lerr := layers.Look(word); lerr != nil {
			return nil, &usageError{msg: gone.Error(), hint: "sbx run --keep NAME keeps what CMD writes on disk, for sbx changes NAME and sbx apply NAME"}
		}
	}
	var several *state.NameError
	if errors.As(err, &several) && layer.CheckName(word) != nil {
		return nil, stateError(err, "a few digits more tell them apart")
	}
	return heldLayer(layers, word, forChange)
}

func heldLayer(layers layer.Store, name string, forChange bool) (*held, error) {
	open := layers.Look
	if forChange {
		open = layers.Open
	}
	l, err := open(name)
	if err != nil {
		return nil, layerError(layers, name, err)
	}
	return &held{Layer: l, kind: "layer", what: "the layer " + name}, nil
}

// goneError says that what a sandbox wrote was in memory.
type goneError struct{ word, status string }

func (e *goneError) Error() string {
	return e.word + " has ended, and what it wrote was in memory and went with it: " + e.status
}

// heldBy is what the sandbox of a record holds.
func heldBy(layers layer.Store, r *state.Record, word string, forChange bool) (*held, error) {
	running := r.Status == state.Running
	switch {
	case r.Kept != "" && running:
		l, err := layers.LookLive(r.Kept)
		if err != nil {
			return nil, layerError(layers, r.Kept, err)
		}
		return &held{Layer: l, kind: "sandbox", what: "the sandbox " + word}, nil
	case r.Kept != "":
		return heldLayer(layers, r.Kept, forChange)
	}
	var base *os.File
	at := -1
	if running {
		var err error
		if base, err = r.OpenLayers(); err != nil && !errors.Is(err, unix.ESRCH) && !errors.Is(err, unix.ENOENT) {
			return nil, err
		}
		if base != nil {
			at = int(base.Fd())
		}
		running = err == nil
	}
	if !running && !onDisk(r) {
		return nil, &goneError{word, statusText(r)}
	}
	return &held{Layer: layers.Live(word, r.Uppers, at, r.HostDir, r.Created), kind: "sandbox", what: "the sandbox " + word, base: base}, nil
}

// onDisk says whether the upper layers of a sandbox that has ended are there.
func onDisk(r *state.Record) bool {
	for _, u := range r.Uppers {
		if u.Dir[0] != '/' {
			return false
		}
		if _, err := os.Lstat(u.Dir); err != nil {
			return false
		}
	}
	return len(r.Uppers) > 0
}
