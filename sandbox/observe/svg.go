package observe

import (
	"fmt"
	"io"
	"strings"
)

// The measures of the drawing, in pixels of SVG. Text is monospaced, so that its
// width is known without a font: letterWidth is generous for every common one.
const (
	letterWidth = 8.6 // at fontSize
	fontSize    = 14
	lineHeight  = 20
	boxPadding  = 14
	boxGap      = 10
	badgeHeight = 26
	leastWidth  = 340
)

// svgStyle colours each kind of namespace: the border and the title in a strong
// colour, the ground in the same at a few per cent. Text has a contrast of at
// least 4.5 to its ground in both schemes (WCAG AA).
const svgStyle = `
svg.boxes { --ink: #1b1f24; --soft: #57606a; --ground: #ffffff; --on: #116329; --off: #953800;
  --host: #57606a; --user: #8250df; --mnt: #0550ae; --pid: #116329; --uts: #7d4e00; --ipc: #0a6069; --net: #a40e26; --cgroup: #57606a; --time: #57606a; --process: #1b1f24 }
@media (prefers-color-scheme: dark) { svg.boxes { --ink: #e6edf3; --soft: #9ea7b3; --ground: #0d1117; --on: #56d364; --off: #f0883e;
  --host: #9ea7b3; --user: #d2a8ff; --mnt: #79c0ff; --pid: #56d364; --uts: #e3b341; --ipc: #56d4dd; --net: #ff938a; --cgroup: #9ea7b3; --time: #9ea7b3; --process: #e6edf3 } }
svg.boxes text { font: 14px ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; fill: var(--ink) }
svg.boxes .title { font-weight: 600 }
svg.boxes .fact, svg.boxes .inode { fill: var(--soft) }
svg.boxes .paper { fill: var(--ground) }
svg.boxes rect.box { fill-opacity: .07; stroke-width: 2; rx: 8px }
svg.boxes .on { fill: var(--on) } svg.boxes .off { fill: var(--off) }
svg.boxes rect.badge { fill: none; stroke-width: 1.5; rx: 6px }
svg.boxes rect.badge.on { stroke: var(--on); fill: none } svg.boxes rect.badge.off { stroke: var(--off); fill: none; stroke-dasharray: 5 3 }
`

// SVGStyle is the style sheet of the drawing, for a page that shows it inline.
func SVGStyle() string {
	var b strings.Builder
	b.WriteString(svgStyle)
	for _, k := range kindColors {
		fmt.Fprintf(&b, "svg.boxes rect.%s { fill: var(--%[1]s); stroke: var(--%[1]s) } svg.boxes text.%[1]s { fill: var(--%[1]s) }\n", k.kind)
	}
	return b.String()
}

// WriteSVG draws a box and what is in it. Inline leaves the style sheet out, for
// a page that has SVGStyle already; else the drawing stands alone, in light and
// dark.
func (b *Box) WriteSVG(w io.Writer, inline bool) error {
	d := &drawing{}
	size := d.measure(b)
	width, height := size.width+2*boxPadding, size.height+2*boxPadding
	var out strings.Builder
	fmt.Fprintf(&out, `<svg xmlns="http://www.w3.org/2000/svg" class="boxes" viewBox="0 0 %d %d" width="%d" height="%d" role="img" aria-label="%s">`+"\n",
		width, height, width, height, escape("How the process is isolated: "+b.outline()))
	if !inline {
		out.WriteString("<style>" + SVGStyle() + "</style>\n")
		fmt.Fprintf(&out, `<rect class="paper" width="%d" height="%d"/>`+"\n", width, height)
	}
	d.draw(&out, b, boxPadding, boxPadding, size.width)
	out.WriteString("</svg>\n")
	_, err := io.WriteString(w, out.String())
	return err
}

// outline names the boxes from the outside in, for those who hear the drawing.
func (b *Box) outline() string {
	text := b.Title
	for i := range b.Inside {
		text += "; in it: " + b.Inside[i].outline()
	}
	return text
}

type extent struct{ width, height int }

// drawing keeps what was measured, so that no box is measured twice on each
// level above it.
type drawing struct{ sizes map[*Box]extent }

// measure is how large a box must be.
func (d *drawing) measure(b *Box) extent {
	if e, ok := d.sizes[b]; ok {
		return e
	}
	title := textWidth(b.Title)
	if b.Inode != 0 {
		title += textWidth(fmt.Sprintf("  %d", b.Inode))
	}
	e := extent{max(leastWidth, title), lineHeight}
	for _, f := range b.Facts {
		e.width = max(e.width, textWidth(f))
		e.height += lineHeight
	}
	if len(b.Guards) > 0 {
		row := 0
		for _, g := range b.Guards {
			row += badgeWidth(g) + boxGap
		}
		e.width = max(e.width, row-boxGap)
		e.height += badgeHeight + boxGap
	}
	for i := range b.Inside {
		in := d.measure(&b.Inside[i])
		e.width = max(e.width, in.width)
		e.height += in.height + boxGap
	}
	e.width += 2 * boxPadding
	e.height += 2*boxPadding - 4
	if d.sizes == nil {
		d.sizes = map[*Box]extent{}
	}
	d.sizes[b] = e
	return e
}

func textWidth(text string) int { return int(float64(len([]rune(text))) * letterWidth) }

func badgeWidth(g Guard) int { return textWidth(badgeText(g)) + 18 }

func badgeText(g Guard) string { return either(g.On, "✓ ", "✗ ") + g.Text }

// draw writes a box at a place, as wide as what is around it allows.
func (d *drawing) draw(out *strings.Builder, b *Box, x, y, width int) {
	height := d.measure(b).height
	// On paper of its own, or the tints of the boxes around it would add up and
	// take the text's contrast.
	fmt.Fprintf(out, `<rect class="paper" x="%d" y="%d" width="%d" height="%d" rx="8"/>`+"\n", x, y, width, height)
	fmt.Fprintf(out, `<rect class="box %s" x="%d" y="%d" width="%d" height="%d" rx="8"/>`+"\n", b.Kind, x, y, width, height)
	left, line := x+boxPadding, y+boxPadding+fontSize-2
	fmt.Fprintf(out, `<text class="title %s" x="%d" y="%d">%s</text>`+"\n", b.Kind, left, line, escape(b.Title))
	if b.Inode != 0 {
		fmt.Fprintf(out, `<text class="inode" x="%d" y="%d" text-anchor="end">%d</text>`+"\n", x+width-boxPadding, line, b.Inode)
	}
	for _, f := range b.Facts {
		line += lineHeight
		fmt.Fprintf(out, `<text class="fact" x="%d" y="%d">%s</text>`+"\n", left, line, escape(f))
	}
	top := line + boxGap - 2
	if len(b.Guards) > 0 {
		at := left
		for _, g := range b.Guards {
			state := either(g.On, "on", "off")
			fmt.Fprintf(out, `<rect class="badge %s" x="%d" y="%d" width="%d" height="%d" rx="6"/>`+"\n", state, at, top, badgeWidth(g), badgeHeight)
			fmt.Fprintf(out, `<text class="%s" x="%d" y="%d">%s</text>`+"\n", state, at+9, top+18, escape(badgeText(g)))
			at += badgeWidth(g) + boxGap
		}
		top += badgeHeight + boxGap
	}
	for i := range b.Inside {
		d.draw(out, &b.Inside[i], left, top, width-2*boxPadding)
		top += d.measure(&b.Inside[i]).height + boxGap
	}
}

// escape makes text fit for XML, in content and in attributes. What XML has no
// way to write at all is gone already: the texts of a Box are printable.
func escape(text string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;").Replace(text)
}
