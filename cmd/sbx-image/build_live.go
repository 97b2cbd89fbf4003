package main

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox/build"
)

// liveProgress shows a build as it goes, on a terminal: what has ended stays as
// lines, what runs and what is to come is drawn over and over below them.
type liveProgress struct {
	mu      sync.Mutex
	colour  bool
	began   time.Time
	steps   []*liveStep // in the order of their ids
	shown   int         // how many of them have their last line on the screen
	rows    int         // how many rows are drawn below those
	stop    chan struct{}
	stopped sync.WaitGroup
	frame   int
}

type liveStep struct {
	step    build.Step
	kind    build.EventKind
	started time.Time
	last    build.Event
	output  []string // the last lines
}

const (
	liveEvery  = 100 * time.Millisecond
	liveOutput = 5  // lines of a running step
	liveFailed = 40 // lines of one that failed
)

func newLiveProgress(int) *liveProgress {
	p := &liveProgress{colour: colours(os.Stderr), began: time.Now(), stop: make(chan struct{})}
	p.stopped.Go(func() {
		tick := time.NewTicker(liveEvery)
		defer tick.Stop()
		for {
			select {
			case <-p.stop:
				return
			case <-tick.C:
				p.mu.Lock()
				p.draw(false)
				p.mu.Unlock()
			}
		}
	})
	return p
}

func (p *liveProgress) event(e build.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.find(e.Step)
	switch e.Kind {
	case build.Output:
		if s.output = append(s.output, cleanLine(e.Line)); len(s.output) > liveFailed {
			s.output = s.output[1:]
		}
		return
	case build.Started:
		s.started = time.Now()
	default:
	}
	s.kind, s.last = e.Kind, e
}

func (p *liveProgress) find(step build.Step) *liveStep {
	for _, s := range p.steps {
		if s.step.ID == step.ID {
			return s
		}
	}
	s := &liveStep{step: step}
	p.steps = append(p.steps, s)
	return s
}

func (p *liveProgress) end(err error) {
	close(p.stop)
	p.stopped.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.draw(true)
	if err == nil {
		return
	}
	for _, s := range p.steps {
		if s.kind == build.Failed && len(s.output) > 0 {
			fmt.Fprintln(os.Stderr, p.paint("2", "── output of "+stepLabel(s.step)+" "+printable(s.step.Text)))
			fmt.Fprintln(os.Stderr, strings.Join(s.output, "\n"))
			fmt.Fprintln(os.Stderr, p.paint("2", "──"))
		}
	}
}

func (p *liveProgress) summary(r *build.Result, names []string, took time.Duration) {
	fmt.Fprintln(os.Stderr, p.paint("1", summaryText(r, names, took)))
}

func (p *liveProgress) paint(code, text string) string {
	if !p.colour || text == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func (s *liveStep) ended() bool {
	switch s.kind {
	case build.Cached, build.Finished, build.Failed, build.Canceled:
		return true
	case build.Planned, build.Started, build.Output:
	}
	return false
}

// draw writes one frame at once, so that nothing flickers: over the rows of the
// last one, first the steps that have ended in their order, for good, then what
// runs and what is to come, as far as the screen goes.
func (p *liveProgress) draw(last bool) {
	rows, columns := 24, 80
	if size, err := unix.IoctlGetWinsize(int(os.Stderr.Fd()), unix.TIOCGWINSZ); err == nil && size.Col > 0 {
		rows, columns = int(size.Row), int(size.Col)
	}
	p.frame++
	var out strings.Builder
	out.WriteString("\x1b[?2026h") // terminals that know it show the frame at once
	if p.rows > 0 {
		fmt.Fprintf(&out, "\x1b[%dA", p.rows)
	}
	out.WriteString("\r")
	for p.shown < len(p.steps) && (p.steps[p.shown].ended() || last) {
		if s := p.steps[p.shown]; s.ended() || !last {
			out.WriteString(p.line(s, columns) + "\x1b[K\n")
		}
		p.shown++
	}
	var live []string
	if !last {
		for _, s := range p.steps[p.shown:] {
			live = append(live, p.line(s, columns))
			if s.kind == build.Started {
				for _, line := range s.output[max(len(s.output)-liveOutput, 0):] {
					live = append(live, p.paint("2", cutTo("     │ "+line, columns-1)))
				}
			}
		}
		if most := max(rows-2, 1); len(live) > most {
			live = append(live[:most-1], p.paint("2", fmt.Sprintf("   … %d more", len(p.steps)-p.shown-(most-1))))
		}
	}
	for _, line := range live {
		out.WriteString(line + "\x1b[K\n")
	}
	p.rows = len(live)
	out.WriteString("\x1b[J\x1b[?2026l")
	os.Stderr.WriteString(out.String()) //nolint:errcheck // nothing depends on what is shown
}

// line is one step: a mark, the instruction, and at the right edge how long it
// took.
func (p *liveProgress) line(s *liveStep, columns int) string {
	mark, colour, right := " ", "2", ""
	switch s.kind {
	case build.Started:
		mark, colour = string([]rune("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏")[p.frame%10]), "33"
		right = seconds(time.Since(s.started))
	case build.Cached:
		mark, colour, right = "✔", "36", "CACHED"
	case build.Finished:
		mark, colour, right = "✔", "32", ending(s.last)
		if s.last.Config {
			colour = "2"
		}
	case build.Failed:
		mark, colour, right = "✘", "31", ending(s.last)
	case build.Canceled:
		mark, colour, right = "-", "2", ending(s.last)
	case build.Planned, build.Output:
	}
	width := min(columns-1, 110)
	label := stepLabel(s.step)
	room := width - 4 - utf8.RuneCountInString(label) - utf8.RuneCountInString(right) - 2
	text := padTo(cutTo(printable(s.step.Text), max(room, 1)), max(room, 1))
	if s.kind == build.Planned {
		return cutTo("   ", columns) + p.paint("2", strings.TrimRight(label+" "+text, " "))
	}
	return " " + p.paint(colour, mark) + " " + p.paint("2", label) + " " + text + "  " + p.paint(colour, right)
}
