package build

import (
	"errors"
	"fmt"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

// Error is what went wrong at one instruction of a Dockerfile.
type Error struct {
	File        string // as the user named it
	Line        int    // the instruction's first line, from 1; 0 where no line is to blame
	Instruction string // its source, in one line; empty where it could not be read
	Err         error
	Excerpt     string // the lines around it, the instruction's own marked; "" where there is none
}

// Error is one line: file, line, instruction and reason.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.File)
	if e.Line > 0 {
		fmt.Fprintf(&b, ":%d", e.Line)
	}
	if e.Instruction != "" {
		b.WriteString(": " + cut(e.Instruction, 72))
	}
	return b.String() + ": " + e.Err.Error()
}

// Unwrap gives the reason.
func (e *Error) Unwrap() error { return e.Err }

// unsupported is an instruction or a flag that this builder does not do.
func unsupported(what, why string) error {
	return fmt.Errorf("%s is not done here: %s", what, why)
}

// at puts the place of an instruction around an error that has none yet.
func (f *file) at(ranges []parser.Range, instruction string, err error) error {
	var placed *Error
	if err == nil || errors.As(err, &placed) {
		return err
	}
	e := &Error{File: f.name, Instruction: oneLine(instruction), Err: err}
	if len(ranges) > 0 {
		e.Line = ranges[0].Start.Line
		e.Excerpt = f.excerpt(ranges[0].Start.Line, ranges[len(ranges)-1].End.Line)
	}
	return e
}

// excerpt shows the lines first to last with one more on either side.
func (f *file) excerpt(first, last int) string {
	var b strings.Builder
	for n := max(first-1, 1); n <= min(last+1, len(f.lines)); n++ {
		mark := "   "
		if n >= first && n <= last {
			mark = ">>>"
		}
		fmt.Fprintf(&b, "%4d | %s %s\n", n, mark, f.lines[n-1])
	}
	return b.String()
}

// oneLine is source text without its line breaks and continuations.
func oneLine(text string) string {
	return strings.Join(strings.Fields(strings.ReplaceAll(text, "\\\n", " ")), " ")
}

// cut shortens a text to n characters.
func cut(text string, n int) string {
	if r := []rune(text); len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return text
}
