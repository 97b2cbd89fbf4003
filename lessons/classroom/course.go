package classroom

import (
	"bytes"
	"math/rand/v2"
	"regexp"
	"slices"
	"time"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/extension"

	"github.com/sbx-dev/sbx/lessons"
)

// marks are the comments around a transcript, which are for its generator.
var marks = regexp.MustCompile(`(?m)^<!-- /?transcript.*-->\n`)

// renderLessons makes HTML of every README. Goldmark leaves raw HTML and links
// such as javascript: out.
func renderLessons() (map[string]string, error) {
	md := goldmark.New(goldmark.WithExtensions(extension.Table))
	out := map[string]string{}
	for _, l := range lessons.All() {
		var b bytes.Buffer
		if err := md.Convert(marks.ReplaceAll([]byte(l.Readme), nil), &b); err != nil {
			return nil, err
		}
		out[l.ID()] = b.String()
	}
	return out, nil
}

// lessonText is a lesson as the page shows it. Which choice is right and the
// solution are not in it.
type lessonText struct {
	Version  int      `json:"version"`
	ID       string   `json:"id"`
	Title    string   `json:"title"`
	HTML     string   `json:"html"`
	Task     string   `json:"task"`
	Question string   `json:"question"`
	Choices  []string `json:"choices"`
	Steps    []string `json:"steps"`
	Off      string   `json:"off"` // lines of the experiment; "" where there is none
	On       string   `json:"on"`
	Answer   string   `json:"answer"` // what the student begins with
	File     string   `json:"file"`   // the answer is the text of this file; "" where it is a line
	Word     bool     `json:"word"`   // the answer is a step's name, found with commands in the box
	Refused  string   `json:"refused"`
	Next     string   `json:"next"` // the ID of the lesson after it
}

// find is the lesson that a request names.
func find(id string) (*lessons.Lesson, error) {
	if l, ok := lessons.Find(id); ok {
		return l, nil
	}
	return nil, &refusal{"there is no lesson " + id}
}

func (s *Server) readLesson(r *request) (any, error) {
	l, err := find(r.PathValue("id"))
	if err != nil {
		return nil, err
	}
	out := lessonText{
		Version: 1, ID: l.ID(), Title: l.Title, HTML: s.lesson[l.ID()], Task: l.Task, Question: l.Predict.Text,
		Choices: []string{}, Steps: l.Steps, Answer: l.Answer, File: l.File, Word: len(l.Secrets) > 0, Refused: s.refused(l),
	}
	for _, c := range l.Predict.Choices {
		out.Choices = append(out.Choices, c.Text)
	}
	if !l.Off.IsZero() && !out.Word {
		out.Off = l.Off.String()
	}
	if !l.On.IsZero() && !out.Word {
		out.On = l.On.String()
	}
	if next := lessons.Next(l); next != nil {
		out.Next = next.ID()
	}
	return out, nil
}

// predict says whether a choice is right.
func (s *Server) predict(r *request) (any, error) {
	var in struct {
		Lesson string `json:"lesson"`
		Choice int    `json:"choice"`
	}
	if err := r.read(&in); err != nil {
		return nil, err
	}
	l, err := find(in.Lesson)
	if err != nil {
		return nil, err
	}
	if in.Choice < 0 || in.Choice >= len(l.Predict.Choices) {
		return nil, &refusal{"there is no such choice"}
	}
	right := 0
	for i, c := range l.Predict.Choices {
		if c.Right {
			right = i
		}
	}
	return map[string]any{"version": 1, "right": in.Choice == right, "answer": l.Predict.Choices[right].Text}, nil
}

// experiment runs a lesson's two lines, or in the capstone a command in the box
// with the secret step off and the same with every step on... which would tell:
// there it is the box alone.
func (s *Server) experiment(r *request) (any, error) {
	var in struct {
		Lesson  string `json:"lesson"`
		Command string `json:"command"` // in the capstone
	}
	if err := r.read(&in); err != nil {
		return nil, err
	}
	l, err := find(in.Lesson)
	if err != nil {
		return nil, err
	}
	runner, err := s.prepare(r, l.ID(), l, false)
	if err != nil {
		return nil, err
	}
	if len(l.Secrets) > 0 {
		return s.box(r, runner, l, in.Command)
	}
	// Not clamped: the two lines are the course's own, CMD included, and no line
	// that is clamped can write into the folder that they begin in. What such a
	// process sees of the server is not for another machine.
	titles := [2]string{"without", "with"}
	if len(l.On.Other) > 0 { // it is not a step that makes the difference
		titles = [2]string{"first", "then"}
	}
	out, err := s.both(r, runner, titles, l.Off, l.On)
	if err != nil {
		return nil, err
	}
	for i := range out.Panes {
		if s.clamp.remote {
			out.Panes[i].View, out.Panes[i].Drawing = nil, ""
		}
	}
	return out, nil
}

// box runs a command in the capstone's box. What sbx says of the step that is
// off, and what was observed, stays here: the student is to find it.
func (s *Server) box(r *request, runner *lessons.Runner, l *lessons.Lesson, command string) (any, error) {
	typed, err := lessons.Parse("sbx run -- " + command)
	if err != nil {
		return nil, &refusal{err.Error()}
	}
	secret, err := s.secret(r.browser, l)
	if err != nil {
		return nil, err
	}
	line, err := l.Box(secret, typed.CMD)
	if err != nil {
		return nil, err
	}
	ctx, ahead, leave, err := s.queue.enter(r.Context(), r.browser, r.address())
	if err != nil {
		return nil, err
	}
	defer leave()
	o, err := runner.Run(ctx, line)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, err
	}
	p := s.pane("in the box", o)
	p.Line, p.Said, p.View, p.Drawing, p.Trace = "", []string{}, nil, "", []stepTime{}
	return &boardJSON{Version: 1, Panes: []pane{p}, Waited: ahead}, nil
}

// secrets are those of a lesson's that may be off here, by their places in its
// list.
func (s *Server) secrets(l *lessons.Lesson) []int {
	var out []int
	for i, name := range l.Secrets {
		if s.clamp.off([]string{name}) == nil {
			out = append(out, i)
		}
	}
	return out
}

// secret is the step that is off in a browser's box, "" in a lesson without. It
// is chosen once, and again where what was chosen may no longer be off.
func (s *Server) secret(browser string, l *lessons.Lesson) (string, error) {
	if len(l.Secrets) == 0 {
		return "", nil
	}
	may := s.secrets(l)
	if len(may) == 0 {
		return "", s.clamp.off(l.Secrets)
	}
	if at, chosen := s.roster.of(browser).Secret[l.ID()]; chosen && slices.Contains(may, at) {
		return l.Secrets[at], nil
	}
	st, err := s.roster.change(browser, func(st *student) {
		if at, chosen := st.Secret[l.ID()]; !chosen || !slices.Contains(may, at) {
			st.Secret[l.ID()] = may[rand.IntN(len(may))]
		}
	})
	if err != nil {
		return "", err
	}
	return l.Secrets[st.Secret[l.ID()]], nil
}

// check runs a student's answer and looks at the facts.
func (s *Server) check(r *request) (any, error) {
	var in struct {
		Lesson string `json:"lesson"`
		Answer string `json:"answer"`
	}
	if err := r.read(&in); err != nil {
		return nil, err
	}
	l, err := find(in.Lesson)
	if err != nil {
		return nil, err
	}
	if l.File != "" {
		if why := s.refused(l); why != "" {
			return nil, &refusal{why}
		}
	} else if line, err := lessons.Parse(in.Answer); err == nil {
		if err := s.clamp.line(line); err != nil {
			return nil, err
		}
	}
	secret, err := s.secret(r.browser, l)
	if err != nil {
		return nil, err
	}
	runner, err := s.prepare(r, l.ID(), l, false)
	if err != nil {
		return nil, err
	}
	ctx, _, leave, err := s.queue.enter(r.Context(), r.browser, r.address())
	if err != nil {
		return nil, err
	}
	defer leave()
	rep, err := l.Check(ctx, runner, in.Answer, secret)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, err
	}
	_, err = s.roster.change(r.browser, func(st *student) {
		st.Tries[l.ID()]++
		if rep.Passed && st.Done[l.ID()].IsZero() {
			st.Done[l.ID()] = time.Now().UTC().Truncate(time.Second)
		}
	})
	if err != nil {
		return nil, err
	}
	out := struct {
		*lessons.Report
		Pane *pane `json:"pane"` // nil where nothing ran
	}{Report: rep}
	if rep.Observed != nil && len(l.Secrets) == 0 {
		p := s.pane("your answer", rep.Observed)
		out.Pane = &p
	}
	return out, nil
}

// reset gives a browser the lesson's first files again.
func (s *Server) reset(r *request) (any, error) {
	var in struct {
		Lesson string `json:"lesson"`
	}
	if err := r.read(&in); err != nil {
		return nil, err
	}
	l, err := find(in.Lesson)
	if err != nil {
		return nil, err
	}
	// In the queue, so that no run of this browser is in the folder.
	_, _, leave, err := s.queue.enter(r.Context(), r.browser, r.address())
	if err != nil {
		return nil, err
	}
	defer leave()
	if _, err := s.prepare(r, l.ID(), l, true); err != nil {
		return nil, err
	}
	if len(l.Secrets) > 0 {
		if _, err := s.roster.change(r.browser, func(st *student) { delete(st.Secret, l.ID()) }); err != nil {
			return nil, err
		}
	}
	return map[string]any{"version": 1}, nil
}
