package cli

import (
	"bytes"
	"os"
	"slices"
	"strings"

	"github.com/sbx-dev/sbx/sandbox"
	"github.com/sbx-dev/sbx/sandbox/observe"
)

// seen is what one step of compare --all changed.
type seen struct {
	Step    string           `json:"step"`
	Without string           `json:"without"` // in a few words; "" where no difference was seen
	With    string           `json:"with"`
	Also    []string         `json:"also_skipped"`
	Changes []observe.Change `json:"differences"`
	Error   string           `json:"error,omitempty"`
}

// every leaves out each step in turn, with what needs it.
func (c *compareCommand) every(spec sandbox.Spec, stdin *replay) error {
	base := &side{title: "with all", spec: spec}
	var names, exposed []string
	for i := range sandbox.Steps {
		name := sandbox.Steps[i].Name
		names = append(names, name)
		off, _ := withoutSteps(spec, []string{name})
		if slices.ContainsFunc([]string{"root", "user", "net", "env"}, off.Skips) {
			exposed = append(exposed, name)
		}
	}
	if len(exposed) > 0 {
		say("CMD runs exposed where one of root, user, net and env is off: without " + sentence(exposed))
	}
	base.run(stdin)
	if base.err != nil {
		return base.err
	}
	rows := make([]seen, 0, len(names))
	for _, name := range names {
		right := base
		if sandbox.LookupStep(name).OnRequest || base.spec.Skips(name) {
			right = &side{spec: withSteps(spec, []string{name})}
			right.run(stdin)
		}
		off, also := withoutSteps(spec, []string{name})
		left := &side{spec: off}
		left.run(stdin)
		rows = append(rows, see(name, also, left, right))
	}
	if c.JSON {
		err := writeJSON(os.Stdout, struct {
			Version int      `json:"version"`
			With    sideJSON `json:"with"`
			Steps   []seen   `json:"steps"`
		}{1, base.json(), rows})
		if err != nil {
			return err
		}
		return exitStatus(base.code())
	}
	s, cols := styleOf(os.Stdout), width(os.Stdout)
	var b strings.Builder
	cells := make([][]cell, 0, len(rows))
	for _, r := range rows {
		switch {
		case r.Error != "":
			cells = append(cells, []cell{{r.Step, "1"}, {r.Error, "31"}, {"", ""}})
		case r.Without == "" && r.With == "":
			cells = append(cells, []cell{{r.Step, "1"}, {"no difference was seen", "2"}, {"", ""}})
		default:
			cells = append(cells, []cell{{r.Step, "1"}, {r.Without, "33"}, {r.With, "32"}})
		}
	}
	writeTable(&b, s, cols, []string{"STEP", "SEEN WITHOUT", "SEEN WITH"}, cells)
	if _, err := os.Stdout.WriteString(b.String()); err != nil {
		return err
	}
	return exitStatus(base.code())
}

// see puts the most telling difference of two sides into a few words: what CMD
// itself wrote, then what the kernel said under the step's own name, then under
// another's.
func see(step string, also []string, left, right *side) seen {
	out := seen{Step: step, Also: orEmpty(also), Changes: []observe.Change{}}
	switch {
	case right.err != nil:
		out.Error = "with it: " + errorText(right.err)
		return out
	case left.err != nil:
		out.Error = "without it: " + errorText(left.err)
		return out
	}
	if left.view != nil && right.view != nil {
		out.Changes = observe.Diff(left.view, right.view)
	}
	if !bytes.Equal(left.output, right.output) {
		l, r := left.lines(), right.lines()
		for _, p := range align(l, r) {
			var x, y string
			if p.left >= 0 {
				x = l[p.left]
			}
			if p.right >= 0 {
				y = r[p.right]
			}
			if x != y || p.left < 0 || p.right < 0 {
				out.Without, out.With = quoteLine(x, p.left), quoteLine(y, p.right)
				return out
			}
		}
	}
	if left.code() != right.code() {
		out.Without, out.With = left.end(), right.end()
		return out
	}
	for _, own := range []bool{true, false} {
		for _, ch := range out.Changes {
			if (ch.Step == step) == own {
				subject := ch.Subject + ": "
				if counted(ch.Subject) {
					subject = ""
				}
				out.Without, out.With = subject+ch.A, subject+ch.B
				return out
			}
		}
	}
	return out
}

// counted says that a change's subject is what happened to some of several
// things, whose numbers before and after speak for themselves.
func counted(subject string) bool {
	_, verb, ok := strings.Cut(subject, " ")
	return ok && slices.Contains([]string{"removed", "added", "closed", "opened", "changed"}, verb)
}

// quoteLine is a line that CMD wrote, or that there is none.
func quoteLine(line string, at int) string {
	if at < 0 {
		return "(a line less)"
	}
	return "“" + strings.TrimSpace(line) + "”"
}
