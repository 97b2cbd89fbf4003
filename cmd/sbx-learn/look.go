package main

import (
	"fmt"
	"os"
	"regexp"
	"strings"

	"charm.land/glamour/v2"
	"charm.land/glamour/v2/ansi"
	"charm.land/glamour/v2/styles"
	"charm.land/lipgloss/v2"
	"golang.org/x/term"

	"github.com/sbx-dev/sbx/lessons"
)

// The look of everything that is printed. Colours are of the terminal's own
// sixteen, so that they fit its ground; lipgloss takes them away where the
// output is no terminal or NO_COLOR is set.
var (
	bold  = lipgloss.NewStyle().Bold(true)
	soft  = lipgloss.NewStyle().Faint(true)
	good  = lipgloss.NewStyle().Foreground(lipgloss.Color("2"))
	bad   = lipgloss.NewStyle().Foreground(lipgloss.Color("1"))
	blue  = lipgloss.NewStyle().Foreground(lipgloss.Color("4"))
	noted = lipgloss.NewStyle().Foreground(lipgloss.Color("3"))
)

// marks are the comments around a transcript, which are for its generator.
var marks = regexp.MustCompile(`(?m)^<!-- /?transcript.*-->\n`)

// mostWide is the widest that text is set: longer lines are hard to read.
const mostWide = 90

// markdown sets Markdown for a terminal so many columns wide. Without colour it
// stays plain.
func markdown(text string, width int, color bool) string {
	style := styles.NoTTYStyleConfig
	if color {
		style = styles.LightStyleConfig
		if lipgloss.HasDarkBackground(os.Stdin, os.Stdout) {
			style = styles.DarkStyleConfig
		}
	}
	// A heading is seen by its weight, not by the marks of the source.
	for _, h := range []*ansi.StyleBlock{&style.H1, &style.H2, &style.H3} {
		h.Prefix, h.Suffix = "", ""
		h.BackgroundColor, h.Color = nil, nil
		strong := color
		h.Bold = &strong
	}
	r, err := glamour.NewTermRenderer(glamour.WithStyles(style), glamour.WithWordWrap(min(width-2, mostWide)))
	if err != nil {
		return text
	}
	out, err := r.Render(marks.ReplaceAllString(text, ""))
	if err != nil {
		return text
	}
	return strings.Trim(out, "\n")
}

// colorful says whether stdout is a terminal that is to have colours.
func colorful() bool {
	return os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" && term.IsTerminal(int(os.Stdout.Fd()))
}

// columns is how wide stdout is.
func columns() int {
	if w, _, err := term.GetSize(int(os.Stdout.Fd())); err == nil && w >= 40 {
		return w
	}
	return 80
}

// state is how far one is in a lesson, in a word and its colour.
func stateOf(p lessons.Progress) string {
	switch {
	case !p.Done.IsZero():
		return good.Render("✓ done ")
	case !p.Started.IsZero():
		return noted.Render("… begun")
	}
	return soft.Render("  new  ")
}

// bar is a progress bar of so many cells.
func bar(done, all, cells int) string {
	full := 0
	if all > 0 {
		full = done * cells / all
	}
	return good.Render(strings.Repeat("█", full)) + soft.Render(strings.Repeat("░", cells-full)) + fmt.Sprintf(" %d of %d", done, all)
}

// listText is the list of lessons; at marks one.
func listText(progress map[string]lessons.Progress, at *lessons.Lesson) string {
	var b strings.Builder
	for _, l := range lessons.All() {
		lead, title := "  ", l.Title
		if l == at {
			lead, title = blue.Render("▸ "), bold.Render(l.Title)
		}
		fmt.Fprintf(&b, "%s%2d  %s  %s %s\n", lead, l.Number, stateOf(progress[l.ID()]),
			lipgloss.NewStyle().Width(36).Render(title), soft.Render(fmt.Sprintf("%2d min  %s", l.Minutes, strings.Join(l.Steps, " "))))
	}
	return b.String()
}

// wrapped sets text in lines, indented but for the first.
func wrapped(text string, width, indent int) string {
	return strings.ReplaceAll(lipgloss.Wrap(text, max(width-indent, 20), ""), "\n", "\n"+strings.Repeat(" ", indent))
}

// reportText is what came of a check.
func reportText(r *lessons.Report, width int) string {
	var b strings.Builder
	if r.Passed {
		b.WriteString(good.Bold(true).Render("✓ "+r.Lesson+": right") + "\n")
	} else {
		b.WriteString(bad.Bold(true).Render("✗ "+r.Lesson+": not yet") + "\n")
	}
	if r.Error != "" {
		b.WriteString("  " + bad.Render(wrapped(r.Error, width, 2)) + "\n")
	}
	for _, f := range r.Findings {
		mark := good.Render("✓")
		if !f.OK {
			mark = bad.Render("✗")
		}
		b.WriteString("  " + mark + " " + wrapped(f.Want, width, 4) + "\n")
		if f.Got != "" {
			b.WriteString("    " + soft.Render("seen: "+wrapped(f.Got, width-6, 10)) + "\n")
		}
	}
	return b.String()
}
