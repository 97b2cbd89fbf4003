package main

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/sbx-dev/sbx/sandbox/build"
)

// A buildProgress shows a build on stderr.
type buildProgress interface {
	event(build.Event)
	// end shows the last state; err is the build's.
	end(err error)
	summary(r *build.Result, names []string, took time.Duration)
}

// newBuildProgress is docker's --progress.
func newBuildProgress(how string, quiet bool) (buildProgress, error) {
	columns, onTerminal := terminal(os.Stderr)
	live := onTerminal && os.Getenv("TERM") != "dumb"
	switch how {
	case "", "auto":
	case "plain":
		live = false
	case "tty":
		if !onTerminal {
			return nil, &usageError{msg: "--progress tty: stderr is no terminal", hint: "--progress plain prints lines"}
		}
		live = true
	default:
		return nil, &usageError{msg: "--progress " + how + ": is none of auto, plain and tty"}
	}
	switch {
	case quiet:
		return quietProgress{}, nil
	case live:
		return newLiveProgress(columns), nil
	}
	return &plainProgress{steps: map[int]*plainStep{}}, nil
}

// quietProgress shows nothing.
type quietProgress struct{}

func (quietProgress) event(build.Event)                              {}
func (quietProgress) end(error)                                      {}
func (quietProgress) summary(*build.Result, []string, time.Duration) {}

// plainProgress prints a line a step when it has ended, and one for each line of
// output.
type plainProgress struct {
	mu    sync.Mutex
	width int // of what stands before the time
	steps map[int]*plainStep
}

type plainStep struct{ printed bool }

// widest is how many columns an instruction takes before the time.
const widest = 68

func (p *plainProgress) event(e build.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	step := p.steps[e.Step.ID]
	if step == nil {
		step = &plainStep{}
		p.steps[e.Step.ID] = step
	}
	text := stepLabel(e.Step) + " " + printable(e.Step.Text)
	switch e.Kind {
	case build.Planned:
		p.width = min(max(p.width, utf8.RuneCountInString(text)), widest)
	case build.Output:
		if !step.printed {
			step.printed = true
			fmt.Fprintln(os.Stderr, cutTo(text, widest))
		}
		fmt.Fprintln(os.Stderr, strings.TrimRight(stepLabel(e.Step)+" | "+cleanLine(e.Line), " "))
	case build.Cached, build.Finished, build.Failed, build.Canceled:
		fmt.Fprintf(os.Stderr, "%s  %s\n", padTo(cutTo(text, p.width), p.width), ending(e))
	case build.Started:
	}
}

func (*plainProgress) end(error) {}

func (*plainProgress) summary(r *build.Result, names []string, took time.Duration) {
	fmt.Fprintln(os.Stderr, summaryText(r, names, took))
}

// summaryText is the last line of a build.
func summaryText(r *build.Result, names []string, took time.Duration) string {
	text := "Built"
	for _, n := range names {
		text += " " + printable(n)
	}
	cached := "none of the steps"
	switch r.Cached {
	case 0:
	case 1:
		cached = "1 step"
	default:
		cached = fmt.Sprintf("%d steps", r.Cached)
	}
	layers := "layers"
	if r.Layers == 1 {
		layers = "layer"
	}
	return fmt.Sprintf("%s: %d %s, %s from the cache, %s", text, r.Layers, layers, cached, seconds(took))
}

// stepLabel is a step's place: [2/5], or [build 2/5] where there are stages.
func stepLabel(s build.Step) string {
	if s.Stage == "" {
		return fmt.Sprintf("[%d/%d]", s.Number, s.Of)
	}
	return fmt.Sprintf("[%s %d/%d]", printable(s.Stage), s.Number, s.Of)
}

// ending is how a step ended.
func ending(e build.Event) string {
	switch e.Kind {
	case build.Cached:
		return "CACHED"
	case build.Failed:
		return "FAILED after " + seconds(e.Took)
	case build.Canceled:
		return "CANCELED"
	}
	if e.Config {
		return "config"
	}
	return seconds(e.Took)
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.1fs", d.Seconds()) }

func padTo(text string, n int) string {
	return text + strings.Repeat(" ", max(n-utf8.RuneCountInString(text), 0))
}

// cleanLine is a line of a program's output without what could steer a terminal:
// escape sequences and control characters are taken out.
func cleanLine(line string) string {
	var b strings.Builder
	for i := 0; i < len(line); {
		r, n := utf8.DecodeRuneInString(line[i:])
		switch {
		case r == '\x1b':
			n = escapeLength(line[i:])
		case r == '\t':
			b.WriteString("    ")
		case r == utf8.RuneError && n == 1:
			b.WriteRune('�')
		case unicode.IsPrint(r):
			b.WriteRune(r)
		}
		i += n
	}
	return b.String()
}

// escapeLength is how long the escape sequence is that a text begins with
// (ECMA-48): ESC [ … letter, ESC ] … BEL, or ESC and one more.
func escapeLength(text string) int {
	if len(text) < 2 {
		return len(text)
	}
	switch text[1] {
	case '[':
		for i := 2; i < len(text); i++ {
			if text[i] >= 0x40 && text[i] <= 0x7e {
				return i + 1
			}
		}
		return len(text)
	case ']', 'P', '_', '^':
		for i := 2; i < len(text); i++ {
			if text[i] == '\a' {
				return i + 1
			}
			if text[i] == '\x1b' && i+1 < len(text) && text[i+1] == '\\' {
				return i + 2
			}
		}
		return len(text)
	}
	return 2
}
