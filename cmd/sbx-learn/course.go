package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/sbx-dev/sbx/lessons"
)

// answerFile is the file of the student's folder that holds the answer.
const answerFile = "answer"

// course is where the student's files and progress are.
type course struct {
	state *lessons.State
	sbx   string
}

func openCourse() (*course, error) {
	home, err := lessons.Home()
	if err != nil {
		return nil, err
	}
	sbx, err := findSbx()
	if err != nil {
		return nil, err
	}
	return &course{state: lessons.Open(home), sbx: sbx}, nil
}

// findSbx is the sbx that executed this program, or the one that it was
// installed with.
func findSbx() (string, error) {
	if sbx := os.Getenv("SBX"); filepath.IsAbs(sbx) {
		return sbx, nil
	}
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	dir := filepath.Dir(self)
	for _, at := range []string{filepath.Join(dir, "sbx"), filepath.Join(dir, "..", "..", "bin", "sbx")} {
		if _, err := os.Stat(at); err == nil {
			return at, nil
		}
	}
	return "", &usageError{msg: "sbx is neither beside " + self + " nor in the bin folder of its prefix"}
}

// find is the lesson of a word; without one it is the one that the student is
// at: the last that was started and is not done, else the first that is not.
func (c *course) find(word string) (*lessons.Lesson, error) {
	if word != "" {
		if l, ok := lessons.Find(word); ok {
			return l, nil
		}
		return nil, &usageError{msg: "no lesson is called “" + word + "”", hint: "sbx lesson ls"}
	}
	progress, err := c.state.Read()
	if err != nil {
		return nil, err
	}
	var at *lessons.Lesson
	var began time.Time
	for _, l := range lessons.All() {
		p := progress[l.ID()]
		if p.Done.IsZero() && p.Started.After(began) {
			at, began = l, p.Started
		}
	}
	if at != nil {
		return at, nil
	}
	for _, l := range lessons.All() {
		if progress[l.ID()].Done.IsZero() {
			return l, nil
		}
	}
	return lessons.All()[0], nil
}

func (c *course) runner(l *lessons.Lesson) *lessons.Runner {
	return &lessons.Runner{Sbx: c.sbx, Dir: c.state.Folder(l), Given: l.Given}
}

// start makes the folder of a lesson and takes note of it.
func (c *course) start(l *lessons.Lesson) error {
	if err := c.runner(l).Prepare(l, false); err != nil {
		return err
	}
	answer := c.answerPath(l) // a file of the lesson's is there already
	if _, err := os.Lstat(answer); errors.Is(err, fs.ErrNotExist) {
		text := "# " + l.ID() + ": " + "change the line below, then: sbx lesson check\n" + l.Answer + "\n"
		if err := os.WriteFile(answer, []byte(text), 0o644); err != nil {
			return err
		}
	}
	_, err := c.state.Change(l, func(p *lessons.Progress) { p.Started = time.Now().UTC().Truncate(time.Second) })
	return err
}

// answerPath is the file that holds the answer: a line, or what the lesson says.
func (c *course) answerPath(l *lessons.Lesson) string {
	if l.File != "" {
		return filepath.Join(c.state.Folder(l), filepath.FromSlash(l.File))
	}
	return filepath.Join(c.state.Folder(l), answerFile)
}

// answerIs says what the file of answerPath is.
func (c *course) answerIs(l *lessons.Lesson) string {
	if l.File != "" {
		return "the file"
	}
	return "one line in"
}

// answer is what the student has written.
func (c *course) answer(l *lessons.Lesson) (string, error) {
	text, err := os.ReadFile(c.answerPath(l))
	if errors.Is(err, fs.ErrNotExist) {
		return "", &usageError{msg: "lesson " + l.ID() + " has not been started", hint: "sbx lesson start " + l.Name}
	}
	return string(text), err
}
