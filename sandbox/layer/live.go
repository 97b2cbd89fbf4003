package layer

import (
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox"
)

// Live is what a sandbox holds whose processes may go on writing: Changes compares
// it as it is at that moment, and Apply copies from it and takes nothing out of
// it. Uppers are its upper layers; those without an absolute path lie beneath the
// descriptor base, which stays the caller's. Began is when the sandbox was
// started.
func (s Store) Live(name string, uppers []sandbox.Upper, base int, dir string, began time.Time) *Layer {
	return &Layer{
		Name: name, store: s, live: true, base: base,
		Record: Record{Version: 1, Name: name, Created: began, LastUsed: began, Dir: dir, Project: dir, Uppers: uppers, Runs: []time.Time{began}},
	}
}

// LookLive is Look for a layer that a run is going on with, which Apply may copy
// from, as with Live.
func (s Store) LookLive(name string) (*Layer, error) {
	l, err := s.Look(name)
	if err != nil {
		return nil, err
	}
	l.live, l.base = true, -1
	return l, nil
}

// openUpper opens an upper layer's folder.
func (l *Layer) openUpper(u *sandbox.Upper) (int, error) {
	if filepath.IsAbs(u.Dir) {
		return openTop(u.Dir)
	}
	if !l.live || l.base < 0 {
		return -1, pathError("open", u.Dir, unix.ENOENT)
	}
	fd, err := openBeneath(l.base, u.Dir, folderPath)
	if err != nil {
		return -1, pathError("openat2", u.Dir, err)
	}
	return fd, nil
}
