package classroom

import (
	"context"
	"encoding/json"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sbx-dev/sbx/lessons"
	"github.com/sbx-dev/sbx/sandbox"
	"github.com/sbx-dev/sbx/sandbox/observe"
)

// What one run may use. The flags stand before those of a student, who may make
// them tighter; clamp.line refuses to make them wider from another machine.
const runTimeout = 10 * time.Second

func limitFlags() []string {
	return []string{
		"--pids-limit", strconv.Itoa(maxPids), "--layer-size", strconv.Itoa(maxLayer), "--cpu-time", runTimeout.String(),
		"--ulimit", "fsize=" + strconv.Itoa(maxLayer), "--ulimit", "data=" + strconv.Itoa(maxData),
	}
}

// stepJSON is a switch of the board.
type stepJSON struct {
	Name      string   `json:"name"`
	Summary   string   `json:"summary"`
	Without   string   `json:"without"`
	Not       string   `json:"not"`
	Needs     []string `json:"needs"`      // on only together with these
	OnRequest bool     `json:"on_request"` // off unless asked for
	Locked    string   `json:"locked"`     // why it cannot be switched off; "" where it can
	Broken    string   `json:"broken"`     // why this host cannot do it; "" where it can
}

func (s *Server) steps() []stepJSON {
	out := make([]stepJSON, 0, len(sandbox.Steps))
	for i := range sandbox.Steps {
		st := &sandbox.Steps[i]
		out = append(out, stepJSON{
			Name: st.Name, Summary: st.Summary, Without: st.Without, Not: st.Not, Needs: append([]string{}, st.Needs...),
			OnRequest: st.OnRequest, Locked: s.clamp.locked(st.Name), Broken: s.broken[st.Name],
		})
	}
	return out
}

// probe asks sbx doctor what this host can do.
func (s *Server) probe() map[string]string {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, s.config.Sbx, "doctor", "--json")
	cmd.Dir = s.work
	out, _ := cmd.Output() // its exit code says that something is broken
	var report struct {
		Steps []struct {
			Step   string `json:"step"`
			State  string `json:"state"`
			Detail string `json:"detail"`
			Error  string `json:"error"`
		} `json:"steps"`
	}
	broken := map[string]string{}
	if json.Unmarshal(out, &report) != nil {
		return broken
	}
	for _, st := range report.Steps {
		if st.State == "fails" {
			broken[st.Step] = strings.TrimSpace(st.Error + " " + st.Detail)
		}
	}
	return broken
}

// boardRequest is the state of the switches and a command.
type boardRequest struct {
	Off     []string `json:"off"`
	With    []string `json:"with"`
	Root    bool     `json:"root"`    // -u 0
	Keep    bool     `json:"keep"`    // --cap-add ALL
	Command string   `json:"command"` // words as in a shell, without its expansions
}

// lines are the board's two lines: as switched, and with every step on.
func (s *Server) lines(in *boardRequest) (switched, full lessons.Line, err error) {
	if err := s.clamp.off(in.Off); err != nil {
		return switched, full, err
	}
	for _, name := range in.With {
		if st := sandbox.LookupStep(name); st == nil || !st.OnRequest {
			return switched, full, &refusal{"“" + name + "” is no step that is off by default"}
		}
	}
	if in.Keep {
		if why := s.clamp.locked("caps"); why != "" {
			return switched, full, &refusal{"the capabilities stay dropped here: " + why}
		}
	}
	line, err := lessons.Parse("sbx run -- " + in.Command)
	if err != nil {
		return switched, full, &refusal{err.Error()}
	}
	var flags []string
	if lacking := s.lacking(); len(lacking) > 0 {
		line.Flags = append(line.Flags, "--skip", strings.Join(lacking, ","))
	}
	flags = slices.Clone(line.Flags)
	if len(in.Off) > 0 {
		flags = append(flags, "--skip", strings.Join(in.Off, ","))
	}
	if len(in.With) > 0 {
		flags = append(flags, "--with", strings.Join(in.With, ","))
	}
	if in.Root { // who CMD is is no step: both sides have it
		flags, line.Flags = append(flags, "-u", "0"), append(line.Flags, "-u", "0")
	}
	if in.Keep {
		flags = append(flags, "--cap-add", "ALL")
	}
	return lessons.Line{Flags: flags, CMD: line.CMD}, line, nil
}

// lacking are the steps that this host cannot do, which are off in every line of
// the board; but for what protects the server from other machines, where a run
// fails instead.
func (s *Server) lacking() []string {
	var out []string
	for _, name := range sortedNames(s.broken) {
		if st := sandbox.LookupStep(name); st != nil && !st.OnRequest && s.clamp.locked(name) == "" {
			out = append(out, name)
		}
	}
	return out
}

// runner runs lines of a browser in its folder for a lesson or the board.
func (s *Server) runner(browser, name string) *lessons.Runner {
	return &lessons.Runner{
		Sbx: s.config.Sbx, Dir: s.folder(browser, name), Timeout: s.timeout, Before: limitFlags(),
		// What sbx itself gets of the server's environment, and a run with env
		// off gets all of: nothing of value, and no home that could hold profiles
		// or tools of somebody.
		Env: []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/home/classroom", "USER=classroom", "LANG=C.UTF-8", "TERM=dumb"},
	}
}

// pane is one run as the page shows it.
type pane struct {
	Title   string        `json:"title"`
	Line    string        `json:"line"` // to be copied
	End     string        `json:"end"`
	Code    int           `json:"code"`
	Error   string        `json:"error"` // why no CMD ran
	Hint    string        `json:"hint"`
	Output  []outputLine  `json:"output"`
	Said    []string      `json:"said"` // what sbx itself said
	Cut     bool          `json:"cut"`
	View    *observe.View `json:"view"` // without the values of the environment
	Drawing string        `json:"drawing"`
	Seconds float64       `json:"seconds"`
	Trace   []stepTime    `json:"trace"`
}

// outputLine is a line that CMD wrote, and whether the other side wrote it too.
type outputLine struct {
	Text string `json:"text"`
	Same bool   `json:"same"`
}

// stepTime is what a step cost.
type stepTime struct {
	Step         string  `json:"step"`
	Calls        int     `json:"calls"`
	Microseconds float64 `json:"microseconds"`
}

// boardJSON is what a run of the board gives.
type boardJSON struct {
	Version int    `json:"version"`
	Panes   []pane `json:"panes"`
	// Changes are from the first pane's process to the second's; null where there
	// are no two processes to compare, but lines of another verb than run.
	Changes []observe.Change `json:"changes"`
	Waited  int              `json:"waited"` // how many stood before in the queue
}

func (s *Server) run(r *request) (any, error) {
	var in boardRequest
	if err := r.read(&in); err != nil {
		return nil, err
	}
	switched, full, err := s.lines(&in)
	if err != nil {
		return nil, err
	}
	runner, err := s.prepare(r, "board", boardFiles(), false)
	if err != nil {
		return nil, err
	}
	return s.both(r, runner, [2]string{"as switched", "every step on"}, switched, full)
}

// look shows what the switches make of a process, without its command.
func (s *Server) look(r *request) (any, error) {
	var in boardRequest
	if err := r.read(&in); err != nil {
		return nil, err
	}
	in.Command = "true"
	line, _, err := s.lines(&in)
	if err != nil {
		return nil, err
	}
	runner, err := s.prepare(r, "board", boardFiles(), false)
	if err != nil {
		return nil, err
	}
	// A look does not end a run that the browser has asked for.
	ctx, ahead, leave, err := s.queue.enter(r.Context(), "look of "+r.browser, r.address())
	if err != nil {
		return nil, err
	}
	defer leave()
	o, err := runner.Run(ctx, line)
	if err != nil {
		return nil, err
	}
	return &boardJSON{Version: 1, Panes: []pane{s.pane("as switched", o)}, Changes: []observe.Change{}, Waited: ahead}, nil
}

// boardFiles are the files of the board's folder, for commands to work on.
func boardFiles() *lessons.Lesson {
	return &lessons.Lesson{Files: map[string]string{
		"thesis.txt":          "my only copy\n",
		"notes/chapter-1.txt": "more of it\n",
	}}
}

// both runs two lines in one turn of the queue and compares them.
func (s *Server) both(r *request, runner *lessons.Runner, titles [2]string, first, second lessons.Line) (*boardJSON, error) {
	ctx, ahead, leave, err := s.queue.enter(r.Context(), r.browser, r.address())
	if err != nil {
		return nil, err
	}
	defer leave()
	out := &boardJSON{Version: 1, Changes: []observe.Change{}, Waited: ahead}
	var views [2]*observe.View
	for i, line := range []lessons.Line{first, second} {
		began := time.Now()
		o, err := runner.Run(ctx, line)
		if err != nil {
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			return nil, err
		}
		p := s.pane(titles[i], o)
		p.Seconds = time.Since(began).Seconds()
		views[i] = o.View
		out.Panes = append(out.Panes, p)
	}
	markSame(out.Panes[0].Output, out.Panes[1].Output)
	if views[0] != nil && views[1] != nil {
		out.Changes = observe.Diff(views[0], views[1])
	}
	if len(first.Other)+len(second.Other) > 0 {
		out.Changes = nil
	}
	return out, nil
}

// pane is an observation for the page.
func (s *Server) pane(title string, o *lessons.Observation) pane {
	p := pane{
		Title: title, Line: o.Line.String(), Code: o.Code, End: o.Ended(), Error: o.Setup.Evidence, Hint: o.Setup.Hint,
		Output: []outputLine{}, Said: []string{}, Cut: o.Cut, View: o.View, Trace: []stepTime{},
	}
	stdout := func() {
		for line := range strings.Lines(string(o.Stdout)) {
			p.Output = append(p.Output, outputLine{Text: clean(line)})
		}
	}
	if len(o.Line.Other) == 0 { // what a build prints at its end is its result
		stdout()
	}
	for line := range strings.Lines(string(o.Stderr)) {
		if strings.HasPrefix(line, "sbx: CMD changed none of the folders") {
			continue // it is so for nearly every run
		}
		if strings.HasPrefix(line, "sbx: ") || strings.HasPrefix(line, "hint: ") {
			p.Said = append(p.Said, clean(line))
		} else {
			p.Output = append(p.Output, outputLine{Text: clean(line)})
		}
	}
	if len(o.Line.Other) > 0 {
		stdout()
	}
	const most = 2000
	if len(p.Output) > most {
		p.Output, p.Cut = p.Output[:most], true
	}
	if o.View != nil {
		for i := range o.View.Environment {
			o.View.Environment[i].Value = ""
		}
		box := o.View.Boxes(s.self)
		var b strings.Builder
		if err := box.WriteSVG(&b, true); err == nil {
			p.Drawing = b.String()
		}
	}
	for _, e := range o.Trace {
		k := slices.IndexFunc(p.Trace, func(t stepTime) bool { return t.Step == e.Step })
		if k < 0 {
			p.Trace = append(p.Trace, stepTime{Step: e.Step})
			k = len(p.Trace) - 1
		}
		p.Trace[k].Calls++
		p.Trace[k].Microseconds += e.Microseconds
	}
	return p
}

// clean is a line without its end and without characters that a page cannot
// show; the page itself sets it as text, never as HTML.
func clean(line string) string {
	line = strings.ToValidUTF8(strings.TrimRight(line, "\r\n"), "�")
	return strings.Map(func(c rune) rune {
		if c < ' ' && c != '\t' || c == 0x7f {
			return '�'
		}
		return c
	}, line)
}

// markSame marks the lines that both sides have.
func markSame(a, b []outputLine) {
	count := map[string]int{}
	for _, l := range b {
		count[l.Text]++
	}
	both := map[string]int{}
	for i := range a {
		if count[a[i].Text] > 0 {
			count[a[i].Text]--
			both[a[i].Text]++
			a[i].Same = true
		}
	}
	for i := range b {
		if both[b[i].Text] > 0 {
			both[b[i].Text]--
			b[i].Same = true
		}
	}
}

// planJSON is the plan of the switches without a run.
type planJSON struct {
	Version int        `json:"version"`
	Line    string     `json:"line"`
	Also    []string   `json:"also"` // steps that go with those that are off
	Calls   []planCall `json:"calls"`
	Unshare string     `json:"unshare"` // the nearest lines of other tools
	Bwrap   string     `json:"bwrap"`
}

type planCall struct {
	Step string `json:"step"`
	Call string `json:"call"`
}

func (s *Server) plan(r *request) (any, error) {
	var in boardRequest
	if err := r.read(&in); err != nil {
		return nil, err
	}
	line, _, err := s.lines(&in)
	if err != nil {
		return nil, err
	}
	runner, err := s.prepare(r, "board", boardFiles(), false)
	if err != nil {
		return nil, err
	}
	ctx, _, leave, err := s.plans.enter(r.Context(), r.browser, r.address())
	if err != nil {
		return nil, err
	}
	defer leave()
	out := planJSON{Version: 1, Line: line.String(), Also: []string{}, Calls: []planCall{}}
	var plan struct {
		Calls []planCall `json:"calls"`
	}
	text, err := runner.Explain(ctx, line, "--json")
	if err == nil {
		err = json.Unmarshal(text, &plan)
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil {
		return nil, &refusal{strings.TrimSpace(err.Error())}
	}
	out.Calls = append(out.Calls, plan.Calls...)
	_, also := sandbox.Spec{Skip: in.Off}.Resolve()
	out.Also = append(out.Also, also...)
	for as, to := range map[string]*string{"unshare": &out.Unshare, "bwrap": &out.Bwrap} {
		if text, err := runner.Explain(ctx, line, "--as", as); err == nil {
			*to = string(text)
		}
	}
	return out, nil
}
