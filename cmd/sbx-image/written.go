package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/sbx-dev/sbx/sandbox"
	"github.com/sbx-dev/sbx/sandbox/image"
	"github.com/sbx-dev/sbx/sandbox/layer"
	"github.com/sbx-dev/sbx/sandbox/state"
)

// written is what a CMD wrote, and what is known of its run.
type written struct {
	uppers []sandbox.Upper
	args   []string // CMD
	dir    string   // where it ran
	close  func()

	base *os.File // the folder of those uppers that lie in the memory of a sandbox which runs
}

// findWritten finds what a word names: a sandbox, or a layer that --keep made. Of
// a sandbox that has ended with what it wrote, a layer of the name is meant.
func findWritten(word string) (*written, error) {
	boxes, err := state.DefaultStore()
	var r *state.Record
	if err == nil {
		r, err = boxes.Find(word)
	}
	if err != nil {
		var several *state.NameError
		if errors.As(err, &several) && layer.CheckName(word) != nil {
			return nil, err
		}
		return keptLayer(word, false)
	}
	running := r.Status == state.Running
	if r.Kept != "" {
		return keptLayer(r.Kept, running)
	}
	w := &written{uppers: r.Uppers, args: r.Spec.Args, dir: r.Dir, close: func() {}}
	inMemory := slices.ContainsFunc(r.Uppers, func(u sandbox.Upper) bool { return !filepath.IsAbs(u.Dir) })
	if !inMemory && len(r.Uppers) > 0 {
		return w, nil
	}
	if running {
		w.base, err = r.OpenLayers()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", word, err)
		}
	}
	if w.base == nil {
		if kept, err := keptLayer(word, false); err == nil {
			return kept, nil
		}
		return nil, &usageError{msg: word + " has ended, and what it wrote was in memory and went with it", hint: "sbx run --keep NAME keeps what CMD writes on the disk"}
	}
	w.close = func() { w.base.Close() }
	return w, nil
}

// keptLayer takes a layer, which no run may change meanwhile; that of a sandbox
// which runs is taken as it is.
func keptLayer(name string, running bool) (*written, error) {
	store, err := layer.DefaultStore()
	if err != nil {
		return nil, err
	}
	open := store.Open
	if running {
		open = store.Look
	}
	l, err := open(name)
	if errors.Is(err, layer.ErrNotExist) {
		return nil, &usageError{msg: "no sandbox and no kept layer has the name " + name, hint: "sbx ps -a lists the sandboxes, sbx changes the layers that sbx run --keep NAME has kept"}
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return &written{uppers: l.Record.Uppers, args: l.Record.Args, dir: l.Record.Dir, close: l.Close}, nil
}

// layers are the upper folders as the store takes them. One that was planned and
// never written to need not be there.
func (w *written) layers() []image.Upper {
	var made []string // to mount something on
	for _, u := range w.uppers {
		made = append(append(made, u.Target), u.Made...)
	}
	var out []image.Upper
	for _, u := range w.uppers {
		up := image.Upper{Dir: u.Dir, At: u.Target, LeaveOut: made}
		if !filepath.IsAbs(u.Dir) {
			up.Dir, up.Live = fmt.Sprintf("/proc/self/fd/%d/%s", w.base.Fd(), u.Dir), true
		}
		if _, err := os.Lstat(up.Dir); !errors.Is(err, os.ErrNotExist) {
			out = append(out, up)
		}
	}
	return out
}
