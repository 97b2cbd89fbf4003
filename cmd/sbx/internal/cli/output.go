package cli

import (
	"errors"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox"
)

// The exit codes that are not CMD's own.
const (
	exitTimeout = 124 // the wall-clock limit ended CMD
	exitFailed  = 125 // wrong usage, or the sandbox could not be made
)

// usageError is a command line that cannot be: exit code 125.
type usageError struct {
	msg  string
	hint string // "" is none
}

func (e *usageError) Error() string { return e.msg }

// exitStatus ends sbx with this code and says nothing more.
type exitStatus int

func (e exitStatus) Error() string { return "exit status " + strconv.Itoa(int(e)) }

// conclude prints an error, if there is one to print, and returns the exit
// code: CMD's own, 128 plus the number of a signal, 124 for a timeout, 126 and
// 127 for a CMD that could not be executed, 125 for everything else.
func conclude(verb string, err error) int {
	var (
		status exitStatus
		exit   *sandbox.ExitError
		exec   *sandbox.ExecError
		usage  *usageError
	)
	switch {
	case err == nil:
		return 0
	case errors.As(err, &status):
		return int(status)
	case errors.As(err, &exit):
		return exit.Code
	case errors.As(err, &usage):
		msg := usage.msg
		if verb != "" {
			msg = verb + ": " + msg
		}
		say(msg)
		hint(usage.hint)
		return exitFailed
	}
	say(errorText(err))
	tip := sandbox.HintOf(err)
	if tip == "" {
		tip = hintOfSpec(err)
	}
	if errors.As(err, &exec) {
		switch {
		case tip != "":
		case len(imagesInUse) == 0:
			tip = hintOfImage(exec.Name)
		case exec.ExitCode() == 127 && !strings.Contains(exec.Name, "/"):
			tip = "no folder of the image's PATH has " + exec.Name + ": sbx image inspect IMAGE shows its config and its layers"
		}
		hint(tip)
		return exec.ExitCode()
	}
	hint(tip)
	return exitFailed
}

// say prints one line for the user on stderr: stdout belongs to CMD.
func say(msg string) {
	s := styleOf(os.Stderr)
	if cols := width(os.Stderr) - len("sbx: "); columns(msg) > cols && isTerminal(os.Stderr) {
		// A hint stays in one line, so that its command can be copied.
		msg = strings.Join(wrap(msg, cols), "\n     ")
	}
	message(s, s.bold("sbx:"), msg)
}

// hint prints what to do about the line before it; "" prints nothing.
func hint(msg string) {
	if msg != "" {
		s := styleOf(os.Stderr)
		message(s, s.cyan("hint:"), msg)
	}
}

// message writes in one call, so that lines of several processes do not mix. A
// terminal in raw mode needs the carriage return.
//
// The text may hold names that were not chosen by the caller, as of a folder or
// in a script's first line: a terminal must not obey what is in them.
func message(s style, who, msg string) {
	msg = visible(msg)
	end := "\n"
	if rawTerminal.active() {
		end = "\r\n"
	}
	os.Stderr.WriteString(who + " " + strings.ReplaceAll(strings.TrimRight(msg, "\n"), "\n", end) + end)
}

// style paints text for one stream: only on a terminal, and never where
// NO_COLOR is set (no-color.org) or the terminal is dumb. The zero style paints
// nothing.
type style struct{ on bool }

func styleOf(f *os.File) style {
	if os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" {
		return style{}
	}
	return style{isTerminal(f)}
}

func (s style) paint(code, text string) string {
	if !s.on || text == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[m"
}

func (s style) bold(text string) string   { return s.paint("1", text) }
func (s style) dim(text string) string    { return s.paint("2", text) }
func (s style) red(text string) string    { return s.paint("31", text) }
func (s style) green(text string) string  { return s.paint("32", text) }
func (s style) yellow(text string) string { return s.paint("33", text) }
func (s style) cyan(text string) string   { return s.paint("36", text) }

// isTerminal says whether the file is a terminal.
func isTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// width is the number of columns of the terminal behind a file: COLUMNS where
// it is no terminal, else 80.
func width(f *os.File) int {
	if ws, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ); err == nil && ws.Col >= 20 {
		return int(ws.Col)
	}
	if n, err := strconv.Atoi(os.Getenv("COLUMNS")); err == nil && n >= 20 {
		return n
	}
	return 80
}

// pad fills text up to n columns. Text holds no escape sequences.
func pad(text string, n int) string {
	if k := n - columns(text); k > 0 {
		return text + strings.Repeat(" ", k)
	}
	return text
}

// columns is how wide text is on a terminal, as far as no character is wider
// than one column.
func columns(text string) int {
	n := 0
	for range text {
		n++
	}
	return n
}

// wrap breaks text at spaces into lines of at most n columns.
func wrap(text string, n int) []string {
	var lines []string
	line := ""
	for word := range strings.FieldsSeq(text) {
		if line != "" && columns(line)+1+columns(word) > n {
			lines = append(lines, line)
			line = ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return append(lines, line)
}

// plural is the noun with its number: "1 file", "3 files".
func plural(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return strconv.Itoa(n) + " " + noun
}

func quoted(s string) string { return strconv.Quote(s) }

// nearest is the name that differs least from word, or "" where none is near.
func nearest(word string, names []string) string {
	best, found := (len(word)+1)/3, ""
	for _, n := range names {
		if d := distance(word, n); d <= best {
			best, found = d-1, n
		}
	}
	return found
}

// distance counts the letters to insert, delete, exchange or swap with their
// neighbour to make one word of the other.
func distance(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for k := range rows[0] {
		rows[0][k] = k
	}
	for i := 1; i <= len(a); i++ {
		for k := 1; k <= len(b); k++ {
			d := rows[i-1][k-1]
			if a[i-1] != b[k-1] {
				d++
			}
			d = min(d, rows[i-1][k]+1, rows[i][k-1]+1)
			if i > 1 && k > 1 && a[i-1] == b[k-2] && a[i-2] == b[k-1] {
				d = min(d, rows[i-2][k-2]+1)
			}
			rows[i][k] = d
		}
	}
	return rows[len(a)][len(b)]
}
