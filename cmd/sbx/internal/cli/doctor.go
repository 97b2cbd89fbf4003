package cli

import (
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/sbx-dev/sbx/cmd/sbx/internal/usage"
	"github.com/sbx-dev/sbx/sandbox"
)

// doctorCommand is the model of sbx doctor.
//
//nolint:lll // a tag cannot be broken
type doctorCommand struct {
	Fix  usage.Optional `name:"fix" help:"Print what mends what is broken; =all prints every remedy, =apparmor, =sysctl, =docker, =github and =gitlab one."`
	JSON bool           `name:"json" help:"Print JSON."`

	Words []string `arg:"" optional:"" help:"The steps to try; none means all."`
}

func doctorVerb() command { return &doctorCommand{} }

func (*doctorCommand) usage() string { return "[--fix[=REMEDY]] [--json] [STEP…]" }

// Help implements kong.HelpProvider.
func (*doctorCommand) Help() string {
	return `Makes a sandbox of each step alone with what it needs, runs a program that does nothing in it, and says what came of it: versions and switches of a host do not tell, trying does. The exit code is 1 where a step that is on by default does not work.`
}

func (*doctorCommand) examples() [][2]string {
	return [][2]string{
		{"sbx doctor", "does everything work here?"},
		{"sbx doctor --fix=docker", "how is a container to be started so that sbx works inside?"},
	}
}

// diagnosis is what doctor found out.
type diagnosis struct {
	Version int              `json:"version"`
	OK      bool             `json:"ok"`
	Steps   []*sandbox.Trial `json:"steps"`
	Host    []fact           `json:"host"`
	Fixes   []remedy         `json:"fixes"`
}

func (d *doctorCommand) run(c *call) error {
	words := c.cmd(d.Words)
	for _, name := range words {
		if err := namedStep(name); err != nil {
			return err
		}
	}
	if d.Fix.Value != "" {
		if err := checkRemedy(d.Fix.Value); err != nil {
			return err
		}
		if d.Fix.Value != "all" && len(words) == 0 && !d.JSON {
			return printRemedies(remediesNamed(d.Fix.Value))
		}
	}
	found := diagnose(words)
	switch {
	case d.Fix.Value != "":
		found.Fixes = remediesNamed(d.Fix.Value)
	case !found.OK || d.Fix.Asked:
		found.Fixes = remediesFor(found)
	}
	var err error
	switch {
	case d.JSON:
		err = writeJSON(os.Stdout, found)
	case d.Fix.Asked:
		err = printRemedies(found.Fixes)
	default:
		err = found.print(os.Stdout)
	}
	if err == nil && !found.OK {
		err = exitStatus(1)
	}
	return err
}

// diagnose tries the named steps, or all.
func diagnose(names []string) *diagnosis {
	d := &diagnosis{Version: 1, OK: true, Steps: []*sandbox.Trial{}, Fixes: []remedy{}}
	asked := len(names) > 0
	if !asked {
		names = sandbox.StepNames()
	}
	for _, name := range names {
		t := sandbox.TryStep(name)
		d.Steps = append(d.Steps, t)
		if t.State == sandbox.Fails && (asked || !sandbox.LookupStep(name).OnRequest) {
			d.OK = false
		}
	}
	d.Host = facts(names, !asked && works(d.Steps, "user"))
	return d
}

// works says whether a step was tried and can be made.
func works(trials []*sandbox.Trial, name string) bool {
	for _, t := range trials {
		if t.Step == name {
			return t.State != sandbox.Fails
		}
	}
	return false
}

// print writes the tables, and below them why and what mends it.
func (d *diagnosis) print(f *os.File) error {
	s, cols := styleOf(f), width(f)
	var b strings.Builder
	rows := make([][]cell, 0, len(d.Steps))
	counts := map[string]int{}
	for _, t := range d.Steps {
		counts[t.State]++
		detail, code := t.Detail, ""
		if t.State == sandbox.Works {
			code = "2"
			if detail == "" && len(t.Needed) > 0 {
				detail = "with " + strings.Join(t.Needed, ", ")
			}
		} else if t.State == sandbox.Fails && (t.Blamed == t.Step || sandbox.LookupStep(t.Blamed) == nil) {
			detail = brief(t.Detail)
		}
		rows = append(rows, []cell{{t.Step, "1"}, {t.State, stateColor(t.State)}, {milliseconds(t.Took), "2"}, {visible(detail), code}})
	}
	writeTable(&b, s, cols, []string{"STEP", "STATE", "   MS", "DETAIL"}, rows)
	b.WriteByte('\n')
	hostRows := make([][]cell, 0, len(d.Host))
	for _, h := range d.Host {
		hostRows = append(hostRows, []cell{{h.Name, "1"}, {h.State, stateColor(h.State)}, {visible(h.Detail), ""}})
	}
	writeTable(&b, s, cols, []string{"HOST", "STATE", "DETAIL"}, hostRows)
	d.printReasons(&b, s, cols)
	b.WriteByte('\n')
	switch {
	case !d.OK:
		verb := " fail."
		if counts[sandbox.Fails] == 1 {
			verb = " fails."
		}
		b.WriteString(s.red(strconv.Itoa(counts[sandbox.Fails]) + " of " + plural(len(d.Steps), "step") + verb))
		if len(d.Fixes) > 0 {
			b.WriteString(" sbx doctor --fix prints what mends it.")
		}
		b.WriteByte('\n')
	case counts[sandbox.Fails] > 0 || counts[sandbox.Degraded] > 0:
		b.WriteString(s.yellow("Every step that is on by default can be made") + "; what is degraded does less than it says.\n")
	default:
		b.WriteString(s.green("Everything works.") + "\n")
	}
	_, err := f.WriteString(b.String())
	return err
}

// printReasons says once for each cause what failed, in full, and the hint.
func (d *diagnosis) printReasons(b *strings.Builder, s style, cols int) {
	said := map[string]bool{}
	for _, t := range d.Steps {
		if t.State == sandbox.Works || t.Hint == "" && (t.Blamed != t.Step || t.Err == nil) {
			continue
		}
		key := t.Hint
		if key == "" {
			key = t.Err.Error()
		}
		if said[key] {
			continue
		}
		said[key] = true
		b.WriteByte('\n')
		if t.Err != nil {
			b.WriteString(strings.Join(breakCall(visible(t.Err.Error()), cols), "\n") + "\n")
		} else {
			b.WriteString(strings.Join(fold(t.Step+": "+visible(t.Detail), cols), "\n") + "\n")
		}
		writeLabelled(b, s, cols, 0, 6, "hint:", "36", visible(t.Hint))
	}
	for _, h := range d.Host {
		if h.Hint != "" {
			b.WriteByte('\n')
			b.WriteString(strings.Join(fold(h.Name+": "+visible(h.Detail), cols), "\n") + "\n")
			writeLabelled(b, s, cols, 0, 6, "hint:", "36", visible(h.Hint))
		}
	}
}

// brief is an error for a table: the call's name and the errno.
func brief(detail string) string {
	open, end := strings.Index(detail, "("), strings.LastIndex(detail, "): ")
	if open < 0 || end < open {
		return detail
	}
	_, call, found := strings.Cut(detail[:open], ": ")
	if !found {
		call = detail[:open]
	}
	return call + ": " + detail[end+len("): "):]
}

func stateColor(state string) string {
	switch state {
	case sandbox.Works:
		return "32"
	case sandbox.Degraded, "absent":
		return "33"
	case sandbox.Fails:
		return "31"
	}
	return ""
}

// milliseconds is a duration without its unit.
func milliseconds(d time.Duration) string {
	return padLeft(strconv.FormatFloat(float64(d.Microseconds())/1000, 'f', 1, 64), 5)
}
