package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync"
	"time"

	"charm.land/lipgloss/v2"
	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/lessons"
)

type listCommand struct {
	JSON bool `help:"Print JSON."`
}

// Run lists the lessons.
func (cmd *listCommand) Run() error {
	c, err := openCourse()
	if err != nil {
		return err
	}
	progress, err := c.state.Read()
	if err != nil {
		return err
	}
	if cmd.JSON {
		return writeJSON(listing(progress))
	}
	at, err := c.find("")
	if err != nil {
		return err
	}
	_, err = lipgloss.Print(listText(progress, at))
	return err
}

// listJSON is the list of lessons for programs.
type listJSON struct {
	Version int       `json:"version"`
	Lessons []listRow `json:"lessons"`
}

type listRow struct {
	Number  int      `json:"number"`
	Name    string   `json:"name"`
	Title   string   `json:"title"`
	Minutes int      `json:"minutes"`
	Steps   []string `json:"steps"`
	State   string   `json:"state"` // "", "begun" or "done"
	Tries   int      `json:"tries"`
}

func listing(progress map[string]lessons.Progress) listJSON {
	out := listJSON{Version: 1, Lessons: []listRow{}}
	for _, l := range lessons.All() {
		p := progress[l.ID()]
		row := listRow{Number: l.Number, Name: l.Name, Title: l.Title, Minutes: l.Minutes, Steps: l.Steps, Tries: p.Tries}
		switch {
		case !p.Done.IsZero():
			row.State = "done"
		case !p.Started.IsZero():
			row.State = "begun"
		}
		out.Lessons = append(out.Lessons, row)
	}
	return out
}

type startCommand struct {
	Lesson string `arg:"" optional:"" help:"A number or a name."`
}

// Run explains a lesson.
func (cmd *startCommand) Run() error {
	c, err := openCourse()
	if err != nil {
		return err
	}
	l, err := c.find(cmd.Lesson)
	if err != nil {
		return err
	}
	if err := c.start(l); err != nil {
		return err
	}
	text := markdown(l.Readme+"\n\n## Your task\n\n"+l.Task, columns(), colorful())
	_, err = lipgloss.Printf("%s\n\nYour answer is "+c.answerIs(l)+"\n  %s\nThen: %s\n", text, blue.Render(c.answerPath(l)), bold.Render("sbx lesson check"))
	return err
}

type runCommand struct {
	Lesson string   `arg:"" optional:"" help:"A number or a name."`
	CMD    []string `arg:"" optional:"" passthrough:"" help:"In the capstone: what is to run in the box."`
}

// Run runs the experiment, both sides one after the other.
func (cmd *runCommand) Run() error {
	c, err := openCourse()
	if err != nil {
		return err
	}
	l, err := c.find(cmd.Lesson)
	if err != nil {
		return err
	}
	if err := c.start(l); err != nil {
		return err
	}
	if len(l.Secrets) > 0 {
		return c.box(l, cmd.CMD)
	}
	for _, line := range []lessons.Line{l.Off, l.On} {
		if line.IsZero() {
			continue
		}
		fmt.Println("$", line)
		if err := c.pass(l, line); err != nil {
			return err
		}
	}
	return nil
}

// box runs a command with the step off that the student is to find.
func (c *course) box(l *lessons.Lesson, cmd []string) error {
	if len(cmd) > 0 && cmd[0] == "--" {
		cmd = cmd[1:]
	}
	if len(cmd) == 0 {
		return &usageError{msg: "the box needs a command", hint: "sbx lesson run " + l.Name + " -- cat /proc/self/status"}
	}
	p, err := c.state.Change(l, func(*lessons.Progress) {})
	if err != nil {
		return err
	}
	line, err := l.Box(p.SecretOf(l), cmd)
	if err != nil {
		return err
	}
	return c.pass(l, line)
}

// pass runs a line with this program's own stdin, stdout and stderr. How it
// ends is part of the experiment, not an error.
func (c *course) pass(l *lessons.Lesson, line lessons.Line) error {
	cmd := exec.Command(c.sbx, line.Args()...)
	cmd.Dir = c.state.Folder(l)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	takeBack, err := l.Given.Lend(cmd)
	if err != nil {
		return err
	}
	defer takeBack()
	err = cmd.Run()
	if cmd.ProcessState == nil {
		return err
	}
	if code := cmd.ProcessState.ExitCode(); code != 0 {
		fmt.Printf("(exit %d)\n", code)
	}
	return nil
}

type checkCommand struct {
	Lesson string `arg:"" optional:"" help:"A number or a name."`
	All    bool   `help:"Check every lesson that was started."`
	JSON   bool   `help:"Print JSON."`
}

// Run checks one answer, or all. The exit code is 0 where all pass and 1 where
// not.
func (cmd *checkCommand) Run() error {
	c, err := openCourse()
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	defer stop()
	var which []*lessons.Lesson
	if cmd.All {
		which = lessons.All()
	} else {
		l, err := c.find(cmd.Lesson)
		if err != nil {
			return err
		}
		which = []*lessons.Lesson{l}
	}
	reports := make([]*lessons.Report, len(which))
	errs := make([]error, len(which))
	var wg sync.WaitGroup
	limit := make(chan struct{}, 2)
	for i, l := range which {
		wg.Go(func() {
			limit <- struct{}{}
			defer func() { <-limit }()
			reports[i], errs[i] = c.check(ctx, l)
		})
	}
	wg.Wait()
	failed := false
	for i, l := range which {
		switch {
		case errs[i] != nil && !cmd.All:
			return errs[i]
		case errs[i] != nil:
			failed = true
			reports[i] = &lessons.Report{Version: 1, Lesson: l.ID(), Findings: []lessons.Finding{}, Hints: []string{}, Error: errs[i].Error()}
		}
		failed = failed || !reports[i].Passed
		if !cmd.JSON {
			printReport(reports[i], cmd.All)
		}
	}
	if cmd.JSON {
		err := writeJSON(struct {
			Version int               `json:"version"`
			Passed  bool              `json:"passed"`
			Lessons []*lessons.Report `json:"lessons"`
		}{1, !failed, reports})
		if err != nil {
			return err
		}
	}
	if failed {
		return exitCode(1)
	}
	return nil
}

// check checks the answer of a lesson and keeps the outcome.
func (c *course) check(ctx context.Context, l *lessons.Lesson) (*lessons.Report, error) {
	answer, err := c.answer(l)
	if err != nil {
		return nil, err
	}
	p, err := c.state.Change(l, func(p *lessons.Progress) { p.Tries++; p.Hints = 0 })
	if err != nil {
		return nil, err
	}
	rep, err := l.Check(ctx, c.runner(l), answer, p.SecretOf(l))
	if err != nil || !rep.Passed {
		return rep, err
	}
	_, err = c.state.Change(l, func(p *lessons.Progress) {
		if p.Done.IsZero() {
			p.Done = time.Now().UTC().Truncate(time.Second)
		}
	})
	return rep, err
}

// printReport prints what came of a check; short is one line, and why it failed.
func printReport(r *lessons.Report, short bool) {
	text := reportText(r, min(columns(), mostWide))
	if short {
		text, _, _ = strings.Cut(text, "\n")
		if r.Error != "" {
			text += "  " + r.Error
		}
		text += "\n"
	} else if !r.Passed {
		text += "\n" + bold.Render("sbx lesson hint") + " says what this means.\n"
	}
	lipgloss.Print(text)
}

type hintCommand struct {
	Lesson string `arg:"" optional:"" help:"A number or a name."`
}

// Run gives the next hint for what the answer does now.
func (cmd *hintCommand) Run() error {
	c, err := openCourse()
	if err != nil {
		return err
	}
	l, err := c.find(cmd.Lesson)
	if err != nil {
		return err
	}
	text, err := c.hint(context.Background(), l)
	if err != nil {
		return err
	}
	fmt.Println(text)
	return nil
}

// hint runs the answer, and says the next of the texts that what was seen calls
// for; after the last it begins again.
func (c *course) hint(ctx context.Context, l *lessons.Lesson) (string, error) {
	answer, err := c.answer(l)
	if err != nil {
		return "", err
	}
	p, err := c.state.Change(l, func(p *lessons.Progress) { p.Hints++ })
	if err != nil {
		return "", err
	}
	rep, err := l.Check(ctx, c.runner(l), answer, p.SecretOf(l))
	if err != nil {
		return "", err
	}
	switch {
	case rep.Passed:
		return "This answer is right: sbx lesson check", nil
	case len(rep.Hints) > 0:
		return rep.Hints[(p.Hints-1)%len(rep.Hints)], nil
	case rep.Error != "":
		return rep.Error, nil
	}
	for _, f := range rep.Findings {
		if !f.OK {
			return "What was expected: " + f.Want + ". What was seen: " + f.Got + ".", nil
		}
	}
	return "", fmt.Errorf("lesson %s fails without a reason", l.ID())
}

type resetCommand struct {
	Lesson string `arg:"" help:"A number or a name."`
	Yes    bool   `short:"y" help:"Do not ask."`
}

// Run begins a lesson anew, after asking.
func (cmd *resetCommand) Run() error {
	c, err := openCourse()
	if err != nil {
		return err
	}
	l, err := c.find(cmd.Lesson)
	if err != nil {
		return err
	}
	if !cmd.Yes {
		fmt.Printf("Remove your files of lesson %s and begin anew? [y/N] ", l.ID())
		var word string
		if _, err := fmt.Scanln(&word); err != nil || !strings.EqualFold(word, "y") {
			fmt.Println("Nothing was removed.")
			return exitCode(1)
		}
	}
	return c.reset(l)
}

func (c *course) reset(l *lessons.Lesson) error {
	if err := c.runner(l).Prepare(l, true); err != nil {
		return err
	}
	if err := c.state.Forget(l); err != nil {
		return err
	}
	return c.start(l)
}

func writeJSON(v any) error {
	enc := json.NewEncoder(os.Stdout)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}
