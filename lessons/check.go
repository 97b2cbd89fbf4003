package lessons

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// claim is one line of a check: a fact of the table, perhaps negated.
type claim struct {
	text string
	not  bool
	fact fact
	args []string
}

// parseClaim reads "[!] FACT ARG…". The last argument of a fact that takes text
// is the rest of the line.
func parseClaim(line string) (claim, error) {
	c := claim{text: line}
	rest, not := strings.CutPrefix(line, "!")
	c.not = not
	words := strings.Fields(rest)
	if len(words) == 0 {
		return c, fmt.Errorf("an empty line where a fact is expected")
	}
	f, ok := lookupFact(words[0])
	if !ok {
		return c, fmt.Errorf("no fact is called %q", words[0])
	}
	c.fact, c.args = f, words[1:]
	if len(c.args) < f.least || f.most >= 0 && len(c.args) > f.most {
		return c, fmt.Errorf("%q: %s takes %d to %d words", line, f.name, f.least, f.most)
	}
	return c, nil
}

// hint is a text for when a fact holds.
type hint struct {
	when claim
	text string
}

// parseHint reads "FACT: text".
func parseHint(line string) (hint, error) {
	when, text, ok := strings.Cut(line, ": ")
	if !ok {
		return hint{}, fmt.Errorf("%q is not FACT: text", line)
	}
	c, err := parseClaim(when)
	return hint{when: c, text: strings.TrimSpace(text)}, err
}

// Finding is what came of one claim of a check.
type Finding struct {
	OK   bool   `json:"ok"`
	Want string `json:"want"` // the claim as a sentence
	Got  string `json:"got"`  // what was seen instead; "" where OK
}

// Report is what a check says of an answer.
type Report struct {
	Version  int       `json:"version"` // 1
	Lesson   string    `json:"lesson"`  // its ID
	Passed   bool      `json:"passed"`
	Findings []Finding `json:"findings"`
	// Hints are the texts whose fact holds, best first; none where it passed.
	Hints []string `json:"hints"`
	// Error is what is wrong with the line itself, or why no CMD ran.
	Error string `json:"error,omitempty"`

	Observed *Observation `json:"-"` // nil where the line could not be read
}

// Check runs an answer and compares the facts with the lesson's check. Secret
// is the step that is off in a lesson with secrets, and "" in every other. An
// error means that nothing could be found out, not that the answer is wrong.
func (l *Lesson) Check(ctx context.Context, r *Runner, answer, secret string) (_ *Report, err error) {
	rep := &Report{Version: 1, Lesson: l.ID(), Findings: []Finding{}, Hints: []string{}}
	o, err := l.observe(ctx, r, answer, secret)
	if err != nil {
		return nil, err
	}
	if o == nil {
		_, err := Parse(answer)
		rep.Error = err.Error()
		rep.Hints = append(rep.Hints, "An answer is one line: sbx run FLAGS -- CMD. Quotes work as in a shell.")
		return rep, nil
	}
	if o.bench != nil {
		defer func() { err = errors.Join(err, o.bench.close()) }()
	}
	rep.Observed = o
	if o.Setup != (SetupError{}) {
		rep.Error = "no CMD ran: " + o.Setup.Evidence
	}
	rep.Passed = true
	for _, c := range l.check {
		f, err := c.try(o)
		if err != nil {
			return nil, err
		}
		rep.Passed = rep.Passed && f.OK
		rep.Findings = append(rep.Findings, f)
	}
	if o.bench != nil {
		if err := o.showBuild(); err != nil {
			return nil, err
		}
	}
	if rep.Passed {
		return rep, nil
	}
	for _, h := range l.hints {
		f, err := h.when.try(o)
		if err != nil {
			return nil, err
		}
		if f.OK {
			rep.Hints = append(rep.Hints, h.text)
		}
	}
	if h := o.Setup.Hint; h != "" {
		rep.Hints = append(rep.Hints, h)
	}
	return rep, nil
}

// observe runs the answer. The observation is nil where the line is wrong.
func (l *Lesson) observe(ctx context.Context, r *Runner, answer, secret string) (*Observation, error) {
	if len(l.Secrets) > 0 {
		word := wordOf(answer)
		return &Observation{runner: r, lesson: l, ctx: ctx, answer: word, secret: secret}, nil
	}
	if l.File != "" {
		b, err := l.openBench(r, answer)
		if err != nil {
			return nil, err
		}
		return &Observation{runner: r, lesson: l, ctx: ctx, answer: answer, bench: b}, nil
	}
	line, err := Parse(answer)
	if err != nil {
		return nil, nil //nolint:nilerr // Check reads it again, to say what is wrong
	}
	lending := *r
	lending.Given = l.Given
	o, err := lending.Run(ctx, line)
	if err != nil {
		return nil, err
	}
	o.lesson, o.ctx = l, ctx
	return o, nil
}

// showBuild makes the build after the first edit of the check that of the
// observation: what it says of each step is for the student to read.
func (o *Observation) showBuild() error {
	edit := ""
	for _, c := range o.lesson.check {
		if edit == "" && len(c.args) > 0 {
			edit = c.args[0]
		}
	}
	b, err := o.bench.build(o.ctx, edit)
	if err != nil {
		return err
	}
	o.Line, o.Code, o.Result, o.Cut = b.run.Line, b.run.Code, b.run.Result, b.run.Cut
	o.Stdout, o.Stderr = b.run.Stdout, b.run.Stderr
	return nil
}

// wordOf is an answer that is one word. As in a line of sbx, lines that begin
// with # are left out.
func wordOf(answer string) string {
	var words []string
	for line := range strings.Lines(answer) {
		if !strings.HasPrefix(line, "#") {
			words = append(words, strings.Fields(line)...)
		}
	}
	return strings.Join(words, " ")
}

// try says whether a claim holds.
func (c claim) try(o *Observation) (Finding, error) {
	found, err := c.fact.look(o, c.args)
	if err != nil {
		return Finding{}, fmt.Errorf("lessons: %s: %w", c.text, err)
	}
	f := Finding{OK: found.holds != c.not && found.known, Want: c.fact.say(c.args, c.not)}
	if c.fact.want != nil {
		if want := c.fact.want(o, c.args); want != "" {
			f.Want = want
		}
	}
	if !f.OK {
		f.Got = found.got
	}
	return f, nil
}

// Box is the line of a lesson with secrets: the flags of its off line with the
// secret step skipped, and a command of the student's.
func (l *Lesson) Box(secret string, cmd []string) (Line, error) {
	if secret == "" {
		return Line{}, fmt.Errorf("lesson %s has no box", l.ID())
	}
	flags := append(append([]string{}, l.Off.Flags...), "--quiet", "--skip", secret)
	return Line{Flags: flags, CMD: cmd}, nil
}
