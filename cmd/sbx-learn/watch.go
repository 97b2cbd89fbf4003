package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"
	"golang.org/x/term"

	"github.com/sbx-dev/sbx/lessons"
)

type watchCommand struct {
	Lesson string `arg:"" optional:"" help:"Where to begin: a number or a name."`
}

// Run goes through the course with single keys, until q.
func (cmd *watchCommand) Run() error {
	if !term.IsTerminal(int(os.Stdin.Fd())) || !term.IsTerminal(int(os.Stdout.Fd())) {
		return &usageError{msg: "watch needs a terminal", hint: "sbx lesson start, check and hint do the same step by step"}
	}
	c, err := openCourse()
	if err != nil {
		return err
	}
	l, err := c.find(cmd.Lesson)
	if err != nil {
		return err
	}
	w := &watch{course: c, color: colorful(), tty: true, width: columns(), height: 24}
	if err := w.open(l); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel() // a check that runs ends with the program
	w.ctx = ctx
	_, err = tea.NewProgram(w).Run()
	return err
}

// The panes of the screen.
type pane int

const (
	paneText   pane = iota // the lesson
	paneList               // all lessons
	paneResult             // what came of a check, a hint or an experiment
	paneAsk                // a question to be answered by a key
)

// watch is bubbletea's model: one lesson and what is shown of it.
type watch struct {
	course *course
	ctx    context.Context
	color  bool
	tty    bool // stdin is a terminal, until that hangs up

	lesson   *lessons.Lesson
	chosen   *lessons.Lesson // in the list
	progress map[string]lessons.Progress
	pane     pane
	ask      func(key string) tea.Cmd // what the next key means in paneAsk
	lines    []string                 // of the pane
	top      int                      // first line that is shown
	status   string
	busy     bool
	saved    time.Time // of the answer file when it was last looked at
	width    int
	height   int
}

// open shows a lesson from its beginning.
func (w *watch) open(l *lessons.Lesson) error {
	if err := w.course.start(l); err != nil {
		return err
	}
	progress, err := w.course.state.Read()
	if err != nil {
		return err
	}
	w.lesson, w.progress, w.pane, w.top, w.status = l, progress, paneText, 0, ""
	w.saved = w.modified()
	w.layText()
	return nil
}

// modified is when the answer was last written.
func (w *watch) modified() time.Time {
	info, err := os.Stat(w.course.answerPath(w.lesson))
	if err != nil {
		return time.Time{}
	}
	return info.ModTime()
}

type (
	tick    time.Time
	checked struct {
		report *lessons.Report
		err    error
	}
	hinted struct {
		text string
		err  error
	}
	ran struct {
		text string
		err  error
	}
	edited struct{ err error }
)

func ticking() tea.Cmd {
	return tea.Tick(time.Second, func(t time.Time) tea.Msg { return tick(t) })
}

// Init implements tea.Model.
func (w *watch) Init() tea.Cmd { return ticking() }

// Update implements tea.Model.
func (w *watch) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch m := msg.(type) {
	case tea.WindowSizeMsg:
		w.width, w.height = max(m.Width, 40), max(m.Height, 10)
		w.relay()
	case tick:
		// Who started the session may have taken the hangup for itself.
		if w.tty && !term.IsTerminal(int(os.Stdin.Fd())) {
			return w, tea.Quit
		}
		if now := w.modified(); !now.Equal(w.saved) && !w.busy {
			w.saved = now
			return w, tea.Batch(ticking(), w.check())
		}
		return w, ticking()
	case tea.KeyPressMsg:
		return w, w.key(m.String())
	case checked:
		w.busy = false
		w.showCheck(m)
	case hinted:
		w.busy = false
		w.result("A hint", m.text, m.err)
	case ran:
		w.busy = false
		w.result("The experiment", m.text, m.err)
	case edited:
		if m.err != nil {
			w.status = bad.Render(m.err.Error())
		}
	}
	return w, nil
}

// key does what a key stands for.
func (w *watch) key(k string) tea.Cmd {
	if k == "ctrl+c" {
		return tea.Quit
	}
	if w.pane == paneAsk {
		ask := w.ask
		w.back()
		return ask(k)
	}
	if w.pane == paneList && w.choose(k) {
		return nil
	}
	switch k {
	case "q":
		return tea.Quit
	case "down", "j":
		w.scroll(1)
	case "up", "k":
		w.scroll(-1)
	case "pgdown", "space", " ":
		w.scroll(w.room() - 2)
	case "pgup":
		w.scroll(-w.room() + 2)
	case "home":
		w.top = 0
	case "end":
		w.scroll(len(w.lines))
	case "esc", "enter", "t":
		w.back()
	case "l":
		w.pane, w.status, w.chosen = paneList, "", w.lesson
		w.layList()
	case "n":
		w.next()
	case "p":
		w.predict()
	case "x":
		return w.experiment()
	case "e":
		return w.edit()
	case "c":
		return w.check()
	case "h":
		return w.hint()
	case "r":
		w.reset()
	default:
		w.status = soft.Render("no key " + k + "; the keys are below")
	}
	return nil
}

// choose moves in the list or opens the chosen lesson, and says whether the key
// was for that.
func (w *watch) choose(k string) bool {
	all := lessons.All()
	at := slices.Index(all, w.chosen)
	switch k {
	case "down", "j":
		at++
	case "up", "k":
		at--
	case "enter":
		if err := w.open(w.chosen); err != nil {
			w.status = bad.Render(err.Error())
		}
		return true
	default:
		return false
	}
	w.chosen = all[max(0, min(at, len(all)-1))]
	w.layList()
	w.status = soft.Render("enter opens it, t goes back")
	return true
}

func (w *watch) back() {
	w.pane = paneText
	w.layText()
}

func (w *watch) next() {
	next := lessons.Next(w.lesson)
	if next == nil {
		w.status = good.Render("That was the last lesson.")
		return
	}
	if err := w.open(next); err != nil {
		w.status = bad.Render(err.Error())
	}
}

// predict asks the lesson's question; a digit answers it.
func (w *watch) predict() {
	q := w.lesson.Predict
	var b strings.Builder
	b.WriteString(bold.Render("First, predict") + "\n\n" + wrapped(q.Text, min(w.width, mostWide), 0) + "\n\n")
	for i, c := range q.Choices {
		fmt.Fprintf(&b, "  %s  %s\n", blue.Render(fmt.Sprint(i+1)), wrapped(c.Text, min(w.width, mostWide), 5))
	}
	b.WriteString("\n" + soft.Render("Type the number of your guess."))
	w.set(b.String())
	w.pane, w.status = paneAsk, ""
	w.ask = func(k string) tea.Cmd {
		for i, c := range q.Choices {
			if k != fmt.Sprint(i+1) {
				continue
			}
			if c.Right {
				w.status = good.Render("✓ Right.") + " x shows it happen"
			} else {
				w.status = bad.Render("✗ Not so.") + " x shows what happens"
			}
		}
		return nil
	}
}

// experiment runs both lines of the lesson.
func (w *watch) experiment() tea.Cmd {
	l := w.lesson
	if len(l.Secrets) > 0 {
		w.status = "the box is opened from a shell: sbx lesson run " + l.Name + " -- CMD"
		return nil
	}
	return w.work("running", func() tea.Msg {
		var b strings.Builder
		for _, line := range []lessons.Line{l.Off, l.On} {
			if line.IsZero() {
				continue
			}
			o, err := w.course.runner(l).Run(w.ctx, line)
			if err != nil {
				return ran{err: err}
			}
			b.WriteString(blue.Render("$ ") + bold.Render(line.String()) + "\n" + string(o.Stderr) + string(o.Stdout) + soft.Render(o.Ended()) + "\n\n")
		}
		return ran{text: b.String()}
	})
}

// edit opens the answer in the student's editor.
func (w *watch) edit() tea.Cmd {
	words := strings.Fields(os.Getenv("EDITOR"))
	for _, name := range []string{"nano", "vim", "vi"} {
		if len(words) > 0 {
			break
		}
		if p, err := exec.LookPath(name); err == nil {
			words = []string{p}
		}
	}
	if len(words) == 0 {
		w.status = bad.Render("there is no editor: set EDITOR, or write to " + w.course.answerPath(w.lesson))
		return nil
	}
	cmd := exec.Command(words[0], append(words[1:], w.course.answerPath(w.lesson))...)
	return tea.ExecProcess(cmd, func(err error) tea.Msg { return edited{err} })
}

// work does something that takes longer than a key may.
func (w *watch) work(what string, do func() tea.Msg) tea.Cmd {
	if w.busy {
		w.status = soft.Render("one thing at a time")
		return nil
	}
	w.busy, w.status = true, noted.Render("… "+what)
	return do
}

func (w *watch) check() tea.Cmd {
	l := w.lesson
	return w.work("checking", func() tea.Msg {
		r, err := w.course.check(w.ctx, l)
		return checked{r, err}
	})
}

func (w *watch) hint() tea.Cmd {
	l := w.lesson
	return w.work("looking", func() tea.Msg {
		text, err := w.course.hint(w.ctx, l)
		return hinted{text, err}
	})
}

// reset asks before it removes anything.
func (w *watch) reset() {
	w.set(bold.Render("Begin lesson "+w.lesson.ID()+" anew?") + "\n\nYour answer and the files of its folder are removed.\n\n" + bold.Render("y") + " removes them, any other key leaves them.")
	w.pane, w.status = paneAsk, ""
	w.ask = func(k string) tea.Cmd {
		if k != "y" {
			w.status = "nothing was removed"
			return nil
		}
		err := w.course.reset(w.lesson)
		if err == nil {
			err = w.open(w.lesson)
		}
		if err != nil {
			w.status = bad.Render(err.Error())
		} else {
			w.status = "begun anew"
		}
		return nil
	}
}
