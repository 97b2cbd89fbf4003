package observe

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
)

// maxLine is the longest line that a parser accepts, in bytes. The longest
// that a kernel writes is a mountinfo line of an overlay with 500 lower
// folders, each escaped: below half of this.
const maxLine = 1 << 20

// errMalformed is wrapped by each parser's complaint about a line.
var errMalformed = errors.New("malformed line")

// eachLine calls parse with every line of r, without its newline, and stops at
// the first error. The slice is valid during the call only.
func eachLine(file string, r io.Reader, parse func(line string) error) error {
	s := bufio.NewScanner(r)
	s.Buffer(nil, maxLine)
	s.Split(splitLines)
	n := 0
	for s.Scan() {
		n++
		if err := parse(s.Text()); err != nil {
			return fmt.Errorf("%s: line %d: %w", file, n, err)
		}
	}
	if err := s.Err(); err != nil {
		return fmt.Errorf("%s: line %d: %w", file, n+1, err)
	}
	return nil
}

// splitLines splits at newlines alone. bufio.ScanLines would also drop a
// carriage return at the end, which a name in /proc may have.
func splitLines(data []byte, atEOF bool) (advance int, token []byte, err error) {
	if i := bytes.IndexByte(data, '\n'); i >= 0 {
		return i + 1, data[:i], nil
	}
	if atEOF && len(data) > 0 {
		return len(data), data, nil
	}
	return 0, nil, nil
}
