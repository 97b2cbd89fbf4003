package main

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sbx-dev/sbx/sandbox/image"
)

// bars shows how far layers are: a line each, on a terminal, once the work has
// taken a moment. Elsewhere it shows nothing.
type bars struct {
	mu      sync.Mutex
	on      bool
	columns int
	began   time.Time
	drawn   time.Time
	lines   int // how many are on the screen
	order   []string
	states  map[string]barState
}

type barState struct {
	state       image.State
	done, total int64
}

const (
	barsAfter = 200 * time.Millisecond // quicker work shows nothing
	barsEvery = 80 * time.Millisecond
)

func newBars(quiet bool) *bars {
	columns, ok := terminal(os.Stderr)
	return &bars{on: ok && !quiet && os.Getenv("TERM") != "dumb", columns: columns, began: time.Now(), states: map[string]barState{}}
}

// layer is an image.Progress.
func (b *bars) layer(id v1.Hash, state image.State, done, total int64) {
	b.tell(image.Short(id), barState{state, done, total})
}

// whole tells of a transfer that is not counted by layers.
func (b *bars) whole(done, total int64) { b.tell("sent", barState{image.Fetching, done, total}) }

func (b *bars) tell(name string, s barState) {
	if !b.on {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, ok := b.states[name]; !ok {
		b.order = append(b.order, name)
	}
	b.states[name] = s
	now := time.Now()
	if now.Sub(b.began) < barsAfter || now.Sub(b.drawn) < barsEvery {
		return
	}
	b.drawn = now
	b.draw()
}

// draw writes the lines over those of the last time.
func (b *bars) draw() {
	var out strings.Builder
	if b.lines > 0 {
		fmt.Fprintf(&out, "\x1b[%dA", b.lines)
	}
	for _, name := range b.order {
		out.WriteString("\r\x1b[K" + cutTo(b.line(name), b.columns-1) + "\n")
	}
	b.lines = len(b.order)
	os.Stderr.WriteString(out.String()) //nolint:errcheck // nothing depends on what is shown
}

func (b *bars) line(name string) string {
	s := b.states[name]
	switch s.state {
	case image.Present:
		return name + "  was here"
	case image.Unpacking:
		return name + "  unpacking " + sizeText(s.total)
	case image.Done:
		return name + "  done " + sizeText(s.total)
	}
	const width = 24
	full := 0
	if s.total > 0 {
		full = int(min(s.done, s.total) * width / s.total)
	}
	return fmt.Sprintf("%s  %s%s %s of %s", name, strings.Repeat("━", full), strings.Repeat("─", width-full), sizeText(s.done), sizeText(s.total))
}

// end shows the last state, where any was shown.
func (b *bars) end() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.lines > 0 {
		b.draw()
	}
}
