// Castsvg draws the last screen of a recorded terminal session as an SVG:
//
//	go run -C tools ./castsvg <FILE.cast >FILE.svg
//
// The input is an asciicast, version 2 (docs.asciinema.org/manual/asciicast/v2).
// Its title becomes the picture's, for those who do not see it.
// The picture needs no script, no style sheet and no font of its own: each run
// of text says how wide it is, so that columns align in whatever monospaced font
// the reader has, and the lines of tables are drawn as lines.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/charmbracelet/x/vt"
)

func main() {
	if err := convert(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "castsvg:", err)
		os.Exit(1)
	}
}

// convert plays a cast on a terminal of its size and draws what is left.
func convert(r io.Reader, w io.Writer) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20) // an event of an asciicast is one line
	if !lines.Scan() {
		return fmt.Errorf("no header: %w", io.ErrUnexpectedEOF)
	}
	var header struct {
		Version, Width, Height int
		Title                  string
	}
	if err := json.Unmarshal(lines.Bytes(), &header); err != nil {
		return fmt.Errorf("header: %w", err)
	}
	if header.Version != 2 || header.Width < 1 || header.Height < 1 || header.Width > 500 || header.Height > 500 {
		return fmt.Errorf("header: not an asciicast of version 2 with a size: %s", lines.Bytes())
	}
	screen := vt.NewEmulator(header.Width, header.Height)
	for n := 2; lines.Scan(); n++ {
		var kind, text string
		event := []any{new(float64), &kind, &text}
		if err := json.Unmarshal(lines.Bytes(), &event); err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
		if kind != "o" {
			continue
		}
		if _, err := screen.WriteString(text); err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
	}
	if err := lines.Err(); err != nil {
		return err
	}
	_, err := io.WriteString(w, draw(screen, header.Title))
	return err
}
