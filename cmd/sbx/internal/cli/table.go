package cli

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// cell is one field of a table: what it says, and in which colour (an SGR
// code; "" is none).
type cell struct{ text, code string }

// writeTable writes rows under a header in aligned columns, no line wider than
// cols. Where the rows are too wide the widest columns get narrower and their
// text goes on in the next line. A header of nil writes none.
func writeTable(b *strings.Builder, s style, cols int, header []string, rows [][]cell) {
	if len(rows) == 0 {
		return
	}
	const gap = 2
	widths := make([]int, len(rows[0]))
	for i, h := range header {
		widths[i] = displayWidth(h)
	}
	for _, row := range rows {
		for i, c := range row {
			widths[i] = max(widths[i], displayWidth(c.text))
		}
	}
	for {
		total, widest := 0, 0
		for i, w := range widths {
			total += w + gap
			if w >= widths[widest] {
				widest = i
			}
		}
		if total-gap <= cols || widths[widest] <= 12 {
			break
		}
		widths[widest]--
	}
	line := func(cells []cell, parts [][]string, n int) {
		var l strings.Builder
		for i, c := range cells {
			text := ""
			if n < len(parts[i]) {
				text = parts[i][n]
			}
			padded := padDisplay(text, widths[i])
			if i == len(cells)-1 {
				padded = text
			}
			if text != "" {
				padded = s.paint(c.code, text) + padded[len(text):]
			}
			l.WriteString(padded)
			if i < len(cells)-1 {
				l.WriteString(strings.Repeat(" ", gap))
			}
		}
		b.WriteString(strings.TrimRight(l.String(), " ") + "\n")
	}
	if header != nil {
		cells, parts := make([]cell, len(header)), make([][]string, len(header))
		for i, h := range header {
			cells[i], parts[i] = cell{h, "2"}, []string{h}
		}
		line(cells, parts, 0)
	}
	for _, row := range rows {
		parts, height := make([][]string, len(row)), 1
		for i, c := range row {
			parts[i] = fold(c.text, widths[i])
			height = max(height, len(parts[i]))
		}
		for n := range height {
			line(row, parts, n)
		}
	}
}

// writeLabelled writes one label with its text beside it, which goes on below
// itself.
func writeLabelled(b *strings.Builder, s style, cols, indent, column int, label, code string, text string) {
	if text == "" {
		return
	}
	left := strings.Repeat(" ", indent)
	for i, part := range fold(text, max(cols-column, 20)) {
		if i == 0 {
			b.WriteString(left + s.paint(code, label) + strings.Repeat(" ", max(column-indent-displayWidth(label), 1)))
		} else {
			b.WriteString(strings.Repeat(" ", column))
		}
		b.WriteString(part + "\n")
	}
}

// fold breaks text at spaces into lines of at most n columns, and a word that
// is longer than a line anywhere. It always returns a line.
func fold(text string, n int) []string {
	var lines []string
	line := ""
	for word := range strings.FieldsSeq(text) {
		if line != "" && displayWidth(line)+1+displayWidth(word) > n {
			lines = append(lines, line)
			line = ""
		}
		if line != "" {
			line += " " + word
			continue
		}
		for displayWidth(word) > n {
			head, rest := cutDisplay(word, n)
			lines = append(lines, head)
			word = rest
		}
		line = word
	}
	if line != "" || len(lines) == 0 {
		lines = append(lines, line)
	}
	return lines
}

// cutDisplay splits text after at most n columns, and at least one character.
func cutDisplay(text string, n int) (head, rest string) {
	width := 0
	for i, r := range text {
		width += runeWidth(r)
		if width > n && i > 0 {
			return text[:i], text[i:]
		}
	}
	return text, ""
}

// padDisplay fills text with spaces up to n columns.
func padDisplay(text string, n int) string {
	return text + strings.Repeat(" ", max(n-displayWidth(text), 0))
}

// displayWidth is how many columns text takes on a terminal.
func displayWidth(text string) int {
	n := 0
	for _, r := range text {
		n += runeWidth(r)
	}
	return n
}

// runeWidth is 0 for a mark that joins the character before it, 2 for the
// ranges that terminals draw wide (East Asian Width W and F, and emoji), else 1.
func runeWidth(r rune) int {
	switch {
	case r < 0x300:
		return 1
	case unicode.In(r, unicode.Mn, unicode.Me) || r == 0x200d || r == 0xfe0f:
		return 0
	case r >= 0x1100 && (r <= 0x115f || r >= 0x2e80 && r <= 0xa4cf && r != 0x303f || r >= 0xac00 && r <= 0xd7a3 ||
		r >= 0xf900 && r <= 0xfaff || r >= 0xfe30 && r <= 0xfe6f || r >= 0xff00 && r <= 0xff60 || r >= 0xffe0 && r <= 0xffe6 ||
		r >= 0x1f300 && r <= 0x1f64f || r >= 0x1f680 && r <= 0x1f6ff || r >= 0x1f900 && r <= 0x1f9ff || r >= 0x20000 && r <= 0x3fffd):
		return 2
	}
	return 1
}

// visible escapes what a terminal could obey or a reader could not see, and
// leaves tabs and line ends, which the caller lays out.
func visible(text string) string {
	var b strings.Builder
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRuneInString(text[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			const hex = "0123456789abcdef"
			b.WriteString(`\x` + string(hex[text[i]>>4]) + string(hex[text[i]&15]))
		case r == '\t' || r == '\n' || unicode.IsPrint(r) || unicode.In(r, unicode.Mn, unicode.Me):
			b.WriteString(text[i : i+size])
		default:
			q := quoted(string(r))
			b.WriteString(q[1 : len(q)-1])
		}
		i += size
	}
	return b.String()
}

// expandTabs puts spaces up to the next multiple of eight columns in place of
// each tab of a line.
func expandTabs(line string) string {
	if !strings.Contains(line, "\t") {
		return line
	}
	var b strings.Builder
	column := 0
	for _, r := range line {
		if r == '\t' {
			n := 8 - column%8
			b.WriteString(strings.Repeat(" ", n))
			column += n
			continue
		}
		b.WriteRune(r)
		column += runeWidth(r)
	}
	return b.String()
}
