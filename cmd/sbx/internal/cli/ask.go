package cli

import (
	"os"
	"strings"
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
