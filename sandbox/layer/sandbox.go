package layer

import (
	"errors"
	"os"
	"strings"
	"time"
)

// CreateSandbox makes the layer of a sandbox that is about to start, and holds it.
// State is the folder of what is known of the sandbox: once that is gone, nobody
// asks for the layer any more.
func (s Store) CreateSandbox(id, state string) (*Layer, error) {
	l, err := s.create(boxPrefix + id)
	if err != nil {
		return nil, err
	}
	l.Record.Dir, l.Record.LastUsed = state, time.Now()
	if err := l.write(); err != nil {
		_ = l.Remove()
		return nil, err
	}
	return l, nil
}

// OpenSandbox opens the layer of a sandbox that has ended; ErrNotExist where it has
// none.
func (s Store) OpenSandbox(id string) (*Layer, error) {
	if id == "" || strings.Contains(id, "/") {
		return nil, ErrNotExist
	}
	return s.open(boxPrefix + id)
}

// Forgotten opens the layers of sandboxes that have ended and of which nothing is
// known any more: their monitor was killed as it began, or the folder with their
// state went with a log-out. Remove them, or Close.
func (s Store) Forgotten() []*Layer {
	names, _ := s.all()
	var out []*Layer
	for _, name := range names {
		if !strings.HasPrefix(name, boxPrefix) {
			continue
		}
		l, err := s.open(name)
		if err != nil {
			continue // it runs, or another one is at it
		}
		_, err = os.Lstat(l.Record.Dir)
		if l.Record.Dir == "" || errors.Is(err, os.ErrNotExist) {
			out = append(out, l)
			continue
		}
		l.Close()
	}
	return out
}
