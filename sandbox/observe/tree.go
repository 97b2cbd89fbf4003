package observe

import (
	"fmt"
	"io"
	"strings"
)

// kindColors are the ANSI colours of the kinds of boxes, the same hues as in
// the drawing.
var kindColors = [...]struct{ kind, code string }{
	{"host", "1"},
	{"user", "35"},
	{"mnt", "34"},
	{"pid", "32"},
	{"uts", "33"},
	{"ipc", "36"},
	{"net", "31"},
	{"cgroup", "90"},
	{"time", "90"},
	{"process", "1"},
}

// WriteTree draws a box and what is in it as a tree of lines, one colour a kind
// of namespace. Of the options only Width and Color count.
func (b *Box) WriteTree(w io.Writer, opt WriteOptions) error {
	t := &tree{width: opt.Width, color: opt.Color}
	if t.width == 0 {
		t.width = 80
	}
	t.box(b, "", "")
	_, err := io.WriteString(w, t.text.String())
	return err
}

type tree struct {
	text  strings.Builder
	width int
	color bool
}

// box writes a box: its title after first, everything else after rest.
func (t *tree) box(b *Box, first, rest string) {
	title := b.Title
	if b.Inode != 0 {
		title += fmt.Sprintf(" [%d]", b.Inode)
	}
	t.line(first, title, t.codeOf(b.Kind))
	bar := "   "
	if len(b.Inside) > 0 {
		bar = "│  "
	}
	for _, f := range b.Facts {
		t.line(rest+bar, f, "2")
	}
	if len(b.Guards) > 0 {
		words := make([]string, 0, len(b.Guards))
		for _, g := range b.Guards {
			words = append(words, t.paint(either(g.On, "32", "33"), either(g.On, "✓ ", "✗ ")+g.Text))
		}
		t.text.WriteString(rest + bar + strings.Join(words, "  ") + "\n")
	}
	for i := range b.Inside {
		if i+1 < len(b.Inside) {
			t.box(&b.Inside[i], rest+"├─ ", rest+"│  ")
		} else {
			t.box(&b.Inside[i], rest+"└─ ", rest+"   ")
		}
	}
}

func (t *tree) line(lead, text, code string) {
	t.text.WriteString(lead + t.paint(code, cutText(text, max(t.width-len([]rune(lead)), 20))) + "\n")
}

func (t *tree) paint(code, text string) string {
	if !t.color || code == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[m"
}

func (t *tree) codeOf(kind string) string {
	for _, k := range kindColors {
		if k.kind == kind {
			return k.code
		}
	}
	return ""
}

func either(b bool, yes, no string) string {
	if b {
		return yes
	}
	return no
}
