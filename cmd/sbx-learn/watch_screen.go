package main

import (
	"fmt"
	"slices"
	"strings"

	tea "charm.land/bubbletea/v2"
	"charm.land/lipgloss/v2"

	"github.com/sbx-dev/sbx/lessons"
)

// layText sets the lesson's text for the screen's width.
func (w *watch) layText() {
	text := w.lesson.Readme + "\n\n## Your task\n\n" + w.lesson.Task
	w.set(markdown(text, w.width, w.color) + "\n\n  " + bold.Render("Your answer") + " is " + w.course.answerIs(w.lesson) + "\n  " +
		blue.Render(w.course.answerPath(w.lesson)) + "\n  " + soft.Render("e opens it; it is checked when you save it."))
}

func (w *watch) set(text string) {
	w.lines, w.top = strings.Split(strings.TrimRight(text, "\n"), "\n"), 0
}

// relay sets the pane anew after the width has changed.
func (w *watch) relay() {
	top := w.top
	switch w.pane {
	case paneText:
		w.layText()
	case paneList:
		w.layList()
	}
	w.scroll(top - w.top)
}

// layList sets the list of lessons, scrolled so that the chosen one is seen.
func (w *watch) layList() {
	w.set(listText(w.progress, w.chosen))
	w.scroll(slices.Index(lessons.All(), w.chosen) - w.room()/2)
}

func (w *watch) scroll(by int) { w.top = max(0, min(w.top+by, len(w.lines)-w.room())) }

// room is how many lines of the pane fit.
func (w *watch) room() int { return max(w.height-5, 3) }

func (w *watch) showCheck(m checked) {
	if m.err != nil {
		w.result("The check", "", m.err)
		return
	}
	if progress, err := w.course.state.Read(); err == nil {
		w.progress = progress
	}
	text := reportText(m.report, min(w.width, mostWide))
	if m.report.Passed {
		way := w.lesson.SolutionFor(w.course.runner(w.lesson))
		if w.lesson.File != "" {
			way = "\n\n  " + strings.ReplaceAll(way, "\n", "\n  ")
		}
		text += "\n" + soft.Render("One way to do it: ") + way + "\n\n" + bold.Render("n") + " goes on to the next lesson."
	} else {
		text += "\n" + bold.Render("h") + " says what this means."
	}
	w.result("", text, nil)
}

// result shows what came of something.
func (w *watch) result(title, text string, err error) {
	w.pane, w.status = paneResult, ""
	if err != nil {
		text = bad.Render(wrapped(err.Error(), w.width, 0))
	}
	if title != "" {
		text = bold.Render(title) + "\n\n" + lipgloss.Wrap(text, min(w.width, mostWide), "")
	}
	w.set(text)
}

// View implements tea.Model: a heading, the pane, what happened, the keys.
func (w *watch) View() tea.View {
	done := 0
	for _, p := range w.progress {
		if !p.Done.IsZero() {
			done++
		}
	}
	cells := 20
	if w.width < 70 {
		cells = 8
	}
	right := bar(done, len(lessons.All()), cells)
	left := bold.Render(fmt.Sprintf("%d. %s", w.lesson.Number, w.lesson.Title))
	gap := max(w.width-lipgloss.Width(left)-lipgloss.Width(right), 1)
	var b strings.Builder
	b.WriteString(left + strings.Repeat(" ", gap) + right + "\n" + soft.Render(strings.Repeat("─", w.width)) + "\n")
	for i := range w.room() {
		if at := w.top + i; at < len(w.lines) {
			b.WriteString(lipgloss.NewStyle().MaxWidth(w.width).Render(w.lines[at]))
		}
		b.WriteByte('\n')
	}
	more := ""
	if len(w.lines) > w.top+w.room() {
		more = soft.Render("  ↓ space shows more")
	}
	b.WriteString(soft.Render(strings.Repeat("─", w.width)) + "\n")
	b.WriteString(w.status + more + "\n")
	b.WriteString(w.keys())
	v := tea.NewView(b.String())
	v.AltScreen = true
	v.WindowTitle = "sbx lesson " + w.lesson.ID()
	return v
}

// keys is the last line: what a single key does, as much as fits.
func (w *watch) keys() string {
	all := [][2]string{
		{"p", "predict"},
		{"x", "experiment"},
		{"e", "edit"},
		{"c", "check"},
		{"h", "hint"},
		{"n", "next"},
		{"l", "list"},
		{"t", "text"},
		{"r", "reset"},
		{"q", "quit"},
	}
	var b strings.Builder
	used := 0
	for _, k := range all {
		text := k[0] + " " + k[1]
		if used+len(text)+2 > w.width {
			text = k[0]
		}
		if used+len(text)+2 > w.width {
			break
		}
		if used > 0 {
			b.WriteString("  ")
			used += 2
		}
		b.WriteString(blue.Bold(true).Render(k[0]))
		b.WriteString(soft.Render(strings.TrimPrefix(text, k[0])))
		used += len(text)
	}
	return b.String()
}
