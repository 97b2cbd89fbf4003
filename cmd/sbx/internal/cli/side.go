package cli

import (
	"errors"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox"
	"github.com/sbx-dev/sbx/sandbox/observe"
)

// side is one of the two runs that are compared.
type side struct {
	title  string
	spec   sandbox.Spec
	output []byte
	cut    bool          // it wrote more than is kept, and was ended
	view   *observe.View // at the moment when CMD was in place; nil where there was none
	result *sandbox.Result
	err    error // of the sandbox; nil where CMD ran, however it ended
}

// maxOutput is how much a side may write, in bytes. One that writes more is
// ended: a program that never stops has no other end here.
const maxOutput = 1 << 20

// output keeps what CMD writes, standard output and error as they come, and
// ends a CMD that writes too much.
type output struct {
	side *side
	cmd  *sandbox.Cmd
}

// Write implements io.Writer.
func (o *output) Write(b []byte) (int, error) {
	room := maxOutput - len(o.side.output)
	o.side.output = append(o.side.output, b[:min(room, len(b))]...)
	if len(b) > room && !o.side.cut {
		o.side.cut = true
		_ = o.cmd.Kill()
	}
	return len(b), nil
}

// run makes the sandbox of a side, looks at CMD before its first instruction,
// and waits for its end.
func (s *side) run(stdin *replay) {
	cmd := &sandbox.Cmd{Spec: s.spec}
	in, done, err := stdin.reader()
	if err != nil {
		s.err = err
		return
	}
	defer done()
	if in != nil {
		cmd.Stdin = in
	}
	out := &output{side: s, cmd: cmd}
	cmd.Stdout, cmd.Stderr = out, out
	cmd.Trace = func(e sandbox.Event) {
		if e.Kind != sandbox.EventExec {
			return
		}
		if v, err := observe.Snapshot(e.Pid); err == nil {
			s.view = v
			fill(v, cmd.Plan(), &cmd.Spec)
		}
	}
	err = cmd.Run()
	s.result = cmd.Result
	s.spec = cmd.Spec
	var exit *sandbox.ExitError
	if !errors.As(err, &exit) {
		s.err = err
	}
}

// code is the exit code of a side, as sbx run would have it.
func (s *side) code() int {
	var exec *sandbox.ExecError
	switch {
	case errors.As(s.err, &exec):
		return exec.ExitCode()
	case s.err != nil || s.result == nil:
		return exitFailed
	}
	return s.result.Code
}

// end is how a side ended, in a few words.
func (s *side) end() string {
	switch {
	case s.err != nil:
		return "no CMD ran: exit " + strconv.Itoa(s.code())
	case s.cut:
		return "ended after 1 MiB of output"
	case s.result.Verdict == sandbox.VerdictTimeout:
		return "ended after " + s.spec.Timeout.String() + ": exit 124"
	case s.result.Signal != 0:
		return "ended by " + unix.SignalName(s.result.Signal) + ": exit " + strconv.Itoa(s.result.Code)
	}
	return "exit " + strconv.Itoa(s.result.Code)
}

// text is what a side wrote, and the error of a sandbox that was not made.
func (s *side) text() string {
	text := visible(string(s.output))
	if s.err == nil {
		return text
	}
	if text != "" && !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	text += "sbx: " + visible(errorText(s.err)) + "\n"
	if h := sandbox.HintOf(s.err); h != "" {
		text += "hint: " + visible(h) + "\n"
	}
	return text
}

// lines are the lines that a side wrote, tabs expanded.
func (s *side) lines() []string {
	text := strings.TrimSuffix(s.text(), "\n")
	if text == "" {
		return nil
	}
	lines := strings.Split(text, "\n")
	for i := range lines {
		lines[i] = expandTabs(lines[i])
	}
	return lines
}

// withSteps is a spec with the steps on, and withoutSteps with them off and
// what cannot stand without.
func withSteps(s sandbox.Spec, steps []string) sandbox.Spec {
	s.Skip = slices.DeleteFunc(slices.Clone(s.Skip), func(skipped string) bool {
		return slices.ContainsFunc(steps, func(n string) bool { return n == skipped || sandbox.LookupStep(n).Requires(skipped) })
	})
	for _, n := range steps {
		if sandbox.LookupStep(n).OnRequest && !slices.Contains(s.With, n) {
			s.With = append(slices.Clone(s.With), n)
		}
		if n == "net" && s.Net == "host" {
			s.Net = ""
		}
	}
	return s
}

func withoutSteps(s sandbox.Spec, steps []string) (sandbox.Spec, []string) {
	s = withSteps(s, steps)
	s.With = slices.DeleteFunc(slices.Clone(s.With), func(n string) bool {
		return slices.Contains(steps, n) || slices.ContainsFunc(steps, sandbox.LookupStep(n).Requires)
	})
	for _, n := range steps {
		if !sandbox.LookupStep(n).OnRequest {
			s.Skip = append(slices.Clone(s.Skip), n)
		}
	}
	s, also := s.Resolve()
	// What the flags ask of a step that is off now means nothing.
	if !slices.Contains(s.With, "time") {
		s.BootOffset, s.MonotonicOffset = 0, 0
	}
	if s.Skips("user") {
		s.User, s.CapAdd = sandbox.User{}, nil
	}
	s.FakeOwners = s.FakeOwners && !s.Skips("user") && !s.Skips("seccomp")
	if s.Skips("mount") {
		s.Mounts, s.Upper = nil, ""
	}
	s.Require = slices.DeleteFunc(slices.Clone(s.Require), s.Skips)
	return s, also
}
