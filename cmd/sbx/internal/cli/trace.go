package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox"
)

// tracer prints the calls that make a sandbox, live: the step, microseconds,
// the result and the call. On a terminal a call that is too long goes on in
// the next line, at a comma.
type tracer struct {
	f     *os.File
	s     style
	cols  int // 0 where lines are not broken
	step  string
	calls int
	total time.Duration
}

// The columns of a line of the trace.
const (
	traceStep   = 9
	traceTime   = 7
	traceResult = 8
	traceIndent = traceStep + 1 + traceTime + 1 + traceResult + 1
)

func newTracer(f *os.File) *tracer {
	t := &tracer{f: f, s: styleOf(f)}
	if isTerminal(f) {
		t.cols = max(width(f), traceIndent+30)
	}
	return t
}

// event is a sandbox.Cmd's Trace.
func (t *tracer) event(e sandbox.Event) {
	var b strings.Builder
	if t.step == "" {
		b.WriteString(t.s.dim(t.line("STEP", "µs", "RESULT", "CALL")))
		t.step = "STEP"
	}
	name := ""
	if e.Step != t.step {
		name, t.step = e.Step, e.Step
	}
	if e.Kind == sandbox.EventExec {
		b.WriteString(t.s.dim("# " + plural(t.calls, "call") + ", " + microseconds(t.total) + " µs; CMD is in place, pid " + strconv.Itoa(e.Pid) + "\n"))
	} else {
		t.calls++
		t.total += e.Took
		line := t.line(name, microseconds(e.Took), resultText(e.Result), e.Call)
		switch expected := strings.Contains(e.Call, "  # or "); {
		case e.Result < 0 && expected:
			line = t.s.dim(line)
		case e.Result < 0:
			line = t.s.red(line)
		case name != "":
			line = t.s.bold(name) + line[len(name):]
		}
		b.WriteString(line)
	}
	t.f.WriteString(b.String())
}

func (t *tracer) line(step, took, result, call string) string {
	return pad(step, traceStep) + " " + padLeft(took, traceTime) + " " + pad(result, traceResult) + " " +
		strings.Join(breakCall(call, t.cols-traceIndent), "\n"+strings.Repeat(" ", traceIndent)) + "\n"
}

// tracedCall is a line of --trace-file.
type tracedCall struct {
	Version      int     `json:"version"` // 1
	Step         string  `json:"step"`
	Call         string  `json:"call"`
	Result       string  `json:"result"`
	Microseconds float64 `json:"microseconds"`
}

// traceFile is the file of --trace-file. What is to stand in it is kept until
// the end, since CMD may be able to write to it.
type traceFile struct {
	file  *os.File
	lines bytes.Buffer
}

// openTraceFile has each call noted for a file. It returns nil, which can be
// written, where nobody asked.
func openTraceFile(name string, cmd *sandbox.Cmd) (*traceFile, error) {
	if name == "" {
		return nil, nil
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, &usageError{msg: "--trace-file: " + err.Error()}
	}
	t := &traceFile{file: f}
	before, lines := cmd.Trace, json.NewEncoder(&t.lines)
	cmd.Trace = func(e sandbox.Event) {
		if before != nil {
			before(e)
		}
		if e.Kind != sandbox.EventExec {
			_ = lines.Encode(tracedCall{1, e.Step, e.Call, resultText(e.Result), float64(e.Took.Nanoseconds()) / 1000})
		}
	}
	return t, nil
}

func (t *traceFile) write() error {
	if t == nil {
		return nil
	}
	forged := ours(t.file, "--trace-file", t.file.Name())
	_, err := t.lines.WriteTo(t.file)
	return errors.Join(forged, err, t.file.Close())
}

func microseconds(d time.Duration) string {
	return strconv.FormatFloat(float64(d.Nanoseconds())/1000, 'f', 1, 64)
}

// resultText is what a call returned, or the name of its errno.
func resultText(result int64) string {
	if result >= 0 || result < -4095 {
		return strconv.FormatInt(result, 10)
	}
	if name := unix.ErrnoName(unix.Errno(-result)); name != "" {
		return name
	}
	return strconv.FormatInt(result, 10)
}

func padLeft(text string, n int) string {
	return strings.Repeat(" ", max(n-columns(text), 0)) + text
}

// breakCall breaks a call's text after commas and bars into lines of at most n
// columns; what has none is left long. n below 1 breaks nothing.
func breakCall(text string, n int) []string {
	if n < 1 {
		return []string{text}
	}
	var lines []string
	for columns(text) > n {
		cut := strings.LastIndexAny(text[:min(n, len(text))], " |")
		if cut < n/3 {
			if cut = strings.IndexAny(text[n/3:], " |"); cut < 0 {
				break
			}
			cut += n / 3
		}
		lines = append(lines, strings.TrimRight(text[:cut+1], " "))
		text = "  " + strings.TrimLeft(text[cut+1:], " ")
	}
	return append(lines, text)
}
