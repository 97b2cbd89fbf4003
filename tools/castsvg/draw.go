package main

import (
	"encoding/xml"
	"fmt"
	"image/color"
	"strings"

	uv "github.com/charmbracelet/ultraviolet"
	"github.com/charmbracelet/x/ansi"
	"github.com/charmbracelet/x/vt"
)

// Sizes in SVG's user units, which are pixels where the picture is not scaled.
const (
	cellWidth  = 8.4
	cellHeight = 19.0
	fontSize   = 14
	baseline   = 14.0 // from a cell's top to the foot of its letters
	margin     = 16.0
)

// The picture is dark on any page, with a border that a dark one shows too.
const (
	background = "#0d1117"
	border     = "#3d444d"
	foreground = "#e6edf3"
	dim        = "#9198a1" // 6.6:1 on the background; WCAG asks for 4.5:1
)

// palette are the terminal's first 16 colours, each at least 5:1 on the
// background.
var palette = [16]string{
	"#6e7681", "#ff7b72", "#7ee787", "#e3b341", "#79c0ff", "#d2a8ff", "#56d4dd", "#e6edf3",
	"#9198a1", "#ffa198", "#aff5b4", "#f2cc60", "#a5d6ff", "#e2c5ff", "#b3f0ff", "#ffffff",
}

// draw makes the picture of a screen, as high as what is written on it.
func draw(screen *vt.Emulator, title string) string {
	rows := 1
	for y := range screen.Height() {
		for x := range screen.Width() {
			if c := screen.CellAt(x, y); c != nil && strings.TrimSpace(c.Content) != "" {
				rows = y + 1
			}
		}
	}
	width := float64(screen.Width())*cellWidth + 2*margin
	height := float64(rows)*cellHeight + 2*margin
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %[1]g %[2]g" width="%[1]g" height="%[2]g" role="img">`+"\n", width, height)
	fmt.Fprintf(&b, "<title>%s</title>\n", escape(title))
	fmt.Fprintf(&b, `<rect x="0.5" y="0.5" width="%g" height="%g" rx="8" fill="%s" stroke="%s"/>`+"\n", width-1, height-1, background, border)
	fmt.Fprintf(&b, `<g font-family="ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace" font-size="%d" fill="%s" xml:space="preserve">`+"\n", fontSize, foreground)
	for y := range rows {
		drawRow(&b, screen, y)
	}
	b.WriteString("</g>\n</svg>\n")
	return b.String()
}

// drawRow writes the runs of one style in a row. A run ends at two spaces too,
// so that a table's cell begins where the terminal has it.
func drawRow(b *strings.Builder, screen *vt.Emulator, y int) {
	for x := 0; x < screen.Width(); {
		c := cellAt(screen, x, y)
		if lines := strokes(c.Content); lines != "" {
			fmt.Fprintf(b, `<path d="%s" stroke="%s" fill="none"/>`+"\n", place(lines, x, y), ink(c.Style))
			x++
			continue
		}
		if c.Content == " " {
			x++
			continue
		}
		end, text := x, ""
		for end < screen.Width() {
			next := cellAt(screen, end, y)
			if next.Content == " " && (end+1 >= screen.Width() || cellAt(screen, end+1, y).Content == " ") {
				break
			}
			if strokes(next.Content) != "" || next.Content != " " && !next.Style.Equal(&c.Style) {
				break
			}
			text += next.Content
			end += max(next.Width, 1)
		}
		written := strings.TrimRight(text, " ")
		fmt.Fprintf(b, `<text x="%.4g" y="%.5g" textLength="%.4g" lengthAdjust="spacingAndGlyphs"%s>%s</text>`+"\n",
			margin+float64(x)*cellWidth, margin+float64(y)*cellHeight+baseline,
			float64(end-x-len(text)+len(written))*cellWidth, attributes(c.Style), escape(written))
		x = end
	}
}

// cellAt is a cell of the screen; one that nothing was written to is a space.
func cellAt(screen *vt.Emulator, x, y int) uv.Cell {
	c := screen.CellAt(x, y)
	if c == nil || c.Content == "" {
		return uv.Cell{Content: " ", Width: 1}
	}
	return *c
}

// strokes are the lines of a box-drawing character as a path in a cell of 2 by 2
// whose middle is 1,1; "" where the text is something else.
func strokes(text string) string {
	switch text {
	case "─":
		return "M0,1H2"
	case "│":
		return "M1,0V2"
	case "┼":
		return "M0,1H2M1,0V2"
	case "┬":
		return "M0,1H2M1,1V2"
	case "┴":
		return "M0,1H2M1,0V1"
	case "├":
		return "M1,0V2M1,1H2"
	case "└":
		return "M1,0V1H2"
	}
	return ""
}

// place moves a path of strokes to its cell.
func place(path string, x, y int) string {
	across := func(n float64) string { return fmt.Sprintf("%.5g", margin+(float64(x)+n/2)*cellWidth) }
	down := func(n float64) string { return fmt.Sprintf("%.5g", margin+(float64(y)+n/2)*cellHeight) }
	var b strings.Builder
	for i := 0; i < len(path); i += 2 {
		n := float64(path[i+1] - '0')
		b.WriteByte(path[i])
		switch path[i] {
		case 'H':
			b.WriteString(across(n))
		case 'V':
			b.WriteString(down(n))
		case 'M':
			b.WriteString(across(n) + "," + down(float64(path[i+3]-'0')))
			i += 2
		}
	}
	return b.String()
}

// attributes are a style's, with a space before each.
func attributes(s uv.Style) string {
	var b strings.Builder
	if c := ink(s); c != foreground {
		fmt.Fprintf(&b, ` fill="%s"`, c)
	}
	if s.Attrs&uv.AttrBold != 0 {
		b.WriteString(` font-weight="bold"`)
	}
	if s.Attrs&uv.AttrItalic != 0 {
		b.WriteString(` font-style="italic"`)
	}
	return b.String()
}

// ink is the colour that a style writes in.
func ink(s uv.Style) string {
	switch c := s.Fg.(type) {
	case nil:
		if s.Attrs&uv.AttrFaint != 0 {
			return dim
		}
		return foreground
	case ansi.BasicColor:
		return palette[c&15]
	case color.Color:
		r, g, b, _ := c.RGBA()
		return fmt.Sprintf("#%02x%02x%02x", r>>8, g>>8, b>>8)
	}
	return foreground
}

// escape is text as XML has it.
func escape(text string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(text)) // a Builder has no errors
	return b.String()
}
