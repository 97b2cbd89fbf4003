package cli

import (
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// asking is where a question is put: stderr where that is a terminal, else the
// controlling one. It is nil where nobody can answer.
func asking() *os.File {
	if !isTerminal(os.Stdin) {
		return nil
	}
	if isTerminal(os.Stderr) {
		return os.Stderr
	}
	tty, err := os.OpenFile("/dev/tty", os.O_WRONLY, 0)
	if err != nil {
		return nil
	}
	return tty
}

// ask puts a question on a terminal and returns the letter that answers it. The
// answer that changes nothing is 'n', and for everything that is no answer.
func ask(f *os.File, question, letters string) byte {
	f.WriteString(styleOf(f).bold("sbx:") + " " + visible(question) + " ")
	var line [256]byte
	n, err := os.Stdin.Read(line[:])
	if err != nil || n == 0 { // the end of the input is the end of the questions
		f.WriteString("\n")
		if strings.Contains(letters, "q") {
			return 'q'
		}
		return 'n'
	}
	answer := strings.ToLower(strings.TrimSpace(string(line[:n])))
	if answer != "" && strings.Contains(letters, answer[:1]) {
		return answer[0]
	}
	return 'n'
}

// plainScreen undoes what CMD may have told the terminal, so that what is shown
// next is seen: hidden letters, a scroll region of one line in which a list runs
// away below one that CMD has printed, the other screen, other letters. The
// sequences are those of ECMA-48 and of DEC's terminals, which Linux' console,
// xterm and the like obey; the cursor goes to the last line.
func plainScreen(f *os.File) {
	if term := os.Getenv("TERM"); term == "" || term == "dumb" {
		return
	}
	f.WriteString("\x1b[?1049l\x1b[r\x1b[?6l\x1b[4l\x1b[?7h\x1b[?69l\x1b[0m\x1b(B\x0f\x1b[?25h\x1b[999;1H\r\n")
}

// forgetTyped drops what was typed while CMD ran. It is no answer to a question
// that nobody has seen yet: CMD may have asked for a "y" and left it unread.
func forgetTyped() { _ = unix.IoctlSetInt(int(os.Stdin.Fd()), unix.TCFLSH, unix.TCIFLUSH) }
