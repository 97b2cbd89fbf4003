package observe

import (
	"strings"
	"unicode/utf8"
)

// labelWidth is the column, after the indent, where values of rows begin.
const labelWidth = 18

// A style is an ANSI colour by meaning.
type style string

const (
	stylePlain    style = ""
	styleHeading  style = "\x1b[1m"
	styleIsolated style = "\x1b[32m"
	styleShared   style = "\x1b[33m"
	styleMissing  style = "\x1b[2m"
	styleReset    style = "\x1b[0m"
)

// mark returns the style of what is isolated, or is not.
func mark(isolated bool) style {
	if isolated {
		return styleIsolated
	}
	return styleShared
}

// A page collects lines that are at most width columns wide.
type page struct {
	text  strings.Builder
	width int
	color bool
}

func (p *page) line(text string, s style) {
	if text = strings.TrimRight(text, " "); p.color && s != stylePlain && text != "" {
		text = string(s) + text + string(styleReset)
	}
	p.text.WriteString(text)
	p.text.WriteByte('\n')
}

// heading begins a section, after an empty line but for the first.
func (p *page) heading(name string) {
	if p.text.Len() > 0 {
		p.line("", stylePlain)
	}
	p.line(strings.ToUpper(name), styleHeading)
}

func (p *page) row(label, value string) { p.styled(label, value, stylePlain) }

// styled writes a label and a value, which goes on below itself where it does
// not fit. A row without a value is left out: its reason stands in the section
// of what could not be read.
func (p *page) styled(label, value string, s style) {
	if value == "" {
		return
	}
	label = cut(printable(label), labelWidth-1)
	indent := "  " + label + strings.Repeat(" ", labelWidth-utf8.RuneCountInString(label))
	for _, part := range wrap(printable(value), p.width-2-labelWidth) {
		if p.color && s != stylePlain {
			part = string(s) + part + string(styleReset)
		}
		p.line(indent+part, stylePlain)
		indent = strings.Repeat(" ", 2+labelWidth)
	}
}

// wrap breaks text at spaces into lines of at most width characters; a word
// that is longer than a line is cut in the middle.
func wrap(text string, width int) []string {
	var lines []string
	line, length := "", 0
	// Runs of spaces are kept within a line, so that columns stay aligned.
	for _, word := range strings.SplitAfter(text, " ") {
		bare := strings.TrimRight(word, " ")
		n := utf8.RuneCountInString(bare)
		if length > 0 && length+n > width {
			lines = append(lines, strings.TrimRight(line, " "))
			line, length = "", 0
		}
		if n > width {
			word = cut(bare, width) + " "
		}
		line += word
		length += utf8.RuneCountInString(word)
	}
	if line = strings.TrimRight(line, " "); line != "" || len(lines) == 0 {
		lines = append(lines, line)
	}
	return lines
}

// cut shortens text to width characters with a … in the middle, since both
// ends of a path tell more than its middle.
func cut(text string, width int) string {
	runes := []rune(text)
	if len(runes) <= width {
		return text
	}
	if width < 1 {
		return ""
	}
	tail := (width - 1) / 2
	head := width - 1 - tail
	return string(runes[:head]) + "…" + string(runes[len(runes)-tail:])
}

// table writes rows under a header in aligned columns. When they are too wide
// the widest column is narrowed, again and again, but none below its header.
func (p *page) table(header []string, rows [][]string) {
	if len(rows) == 0 {
		return
	}
	widths := make([]int, len(header))
	for i, h := range header {
		widths[i] = utf8.RuneCountInString(h)
	}
	for _, row := range rows {
		for i, cell := range row {
			row[i] = printable(cell)
			widths[i] = max(widths[i], utf8.RuneCountInString(row[i]))
		}
	}
	const gap = 2
	// Even 40 columns hold the widest header, so this ends.
	for {
		total, widest := 0, -1
		for i, w := range widths {
			total += gap + w
			if w > utf8.RuneCountInString(header[i]) && (widest < 0 || w > widths[widest]) {
				widest = i
			}
		}
		if total <= p.width || widest < 0 {
			break
		}
		widths[widest]--
	}
	write := func(row []string, s style) {
		var b strings.Builder
		for i, cell := range row {
			cell = cut(cell, widths[i])
			b.WriteString(strings.Repeat(" ", gap))
			b.WriteString(cell)
			b.WriteString(strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell)))
		}
		p.line(b.String(), s)
	}
	write(header, styleMissing)
	for _, row := range rows {
		write(row, stylePlain)
	}
}
