package cli

import (
	"bytes"
	"errors"
	"os"
	"slices"
	"strings"

	"github.com/sbx-dev/sbx/sandbox"
	"github.com/sbx-dev/sbx/sandbox/observe"
)

// compareCommand is the model of sbx compare.
//
//nolint:lll // a tag cannot be broken
type compareCommand struct {
	RunFlags

	All  bool `name:"all" common:"" group:"Looking" help:"Go through every step in turn, and print a table."`
	JSON bool `name:"json" common:"" group:"Looking" help:"Print JSON."`

	Words []string `arg:"" optional:"" help:"The steps, and CMD where there is no --."`
}

func compareVerb() command { return &compareCommand{} }

func (*compareCommand) usage() string { return "STEP[,STEP…] [flags] -- CMD [ARG…]" }

// Help implements kong.HelpProvider.
func (*compareCommand) Help() string {
	return `Runs CMD twice: with the flags but without the steps, and with them. It prints both outputs side by side, then how the two processes differed for the kernel. Both get the same standard input (none where that is a terminal), and the exit code is that of the run with the steps.`
}

func (*compareCommand) examples() [][2]string {
	return [][2]string{
		{"sbx compare net -- cat /proc/net/dev", "what a network namespace changes"},
		{"sbx compare pid,proc -- ps -e", "two steps at once"},
		{"sbx compare uts --profile teaching -- hostname box", "where other steps would refuse it, too"},
		{"sbx compare --all -- true", "every step in turn"},
	}
}

func (c *compareCommand) run(line *call) error {
	steps, words, err := c.split(line)
	if err != nil {
		return err
	}
	if len(words) == 0 && c.Image == "" {
		return &usageError{msg: "no CMD is given", hint: "sbx compare " + strings.Join(steps, ",") + " -- CMD [ARG…]"}
	}
	spec, notes, err := c.Spec(words)
	if err != nil {
		return err
	}
	var stdin *replay
	if isTerminal(os.Stdin) {
		stdin = newReplay(nil)
	} else {
		stdin = newReplay(os.Stdin)
	}
	if c.All {
		for _, n := range notes {
			say(n)
		}
		return c.every(spec, stdin)
	}
	return c.two(spec, steps, stdin)
}

// split takes the steps and CMD out of the words.
func (c *compareCommand) split(line *call) (steps, words []string, err error) {
	if c.All {
		return nil, line.cmd(c.Words), nil
	}
	if len(c.Words) == 0 {
		hint := "sbx compare net -- " + shellLine(line.after) + "; steps: " + strings.Join(sandbox.StepNames(), " ")
		if len(line.after) == 0 {
			hint = "sbx compare net -- cat /proc/net/dev; steps: " + strings.Join(sandbox.StepNames(), " ")
		}
		return nil, nil, &usageError{msg: "no step is given", hint: hint}
	}
	for name := range strings.SplitSeq(c.Words[0], ",") {
		if name == "" {
			continue
		}
		if err := namedStep(name); err != nil {
			return nil, nil, err
		}
		if !slices.Contains(steps, name) {
			steps = append(steps, name)
		}
	}
	rest := c.Words[1:]
	if line.dashed && len(rest) > 0 && sandbox.LookupStep(rest[0]) != nil {
		return nil, nil, &usageError{msg: "several steps are one word", hint: "sbx compare " + strings.Join(c.Words, ",") + " -- " + shellLine(line.after)}
	}
	return steps, line.cmd(rest), nil
}

// namedStep says that a word of the command line is no step's name.
func namedStep(name string) error {
	var usage *usageError
	err := checkStep("", name)
	if errors.As(err, &usage) {
		usage.msg = strings.TrimPrefix(usage.msg, ": ")
	}
	return err
}

// shellLine is a command line for a hint.
func shellLine(words []string) string {
	out := make([]string, len(words))
	for i, w := range words {
		out[i] = w
		if w == "" || strings.ContainsAny(w, " \t\n'\"\\$`!*?[]{}()<>|&;#~") {
			out[i] = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
		}
	}
	return strings.Join(out, " ")
}

// neededBy are those of the steps that one of the others needs.
func neededBy(others, steps []string) string {
	var out []string
	for _, n := range steps {
		if slices.ContainsFunc(others, func(o string) bool { return sandbox.LookupStep(o).Requires(n) }) {
			out = append(out, n)
		}
	}
	return strings.Join(out, ", ")
}

// warnExposed says that a side lets CMD at what is the caller's.
func warnExposed(title string, spec *sandbox.Spec) {
	var missing, means []string
	for _, name := range []string{"env", "user", "net", "root"} {
		if spec.Skips(name) || name == "net" && spec.Net == "host" {
			missing = append(missing, name)
		}
	}
	for _, m := range missing {
		switch m {
		case "env":
			means = append(means, "sees your environment, secrets included")
		case "net":
			means = append(means, "uses your network")
		case "root":
			means = append(means, "can write your files")
		case "user":
			if !slices.Contains(missing, "root") {
				means = append(means, "has your ids")
			}
		}
	}
	if len(means) == 0 {
		return
	}
	say(title + ": CMD runs exposed, without " + sentence(missing) + ": it " + sentence(means))
}

// sentence joins words as a sentence does.
func sentence(words []string) string {
	if n := len(words); n > 1 {
		return strings.Join(words[:n-1], ", ") + " and " + words[n-1]
	}
	return strings.Join(words, "")
}

// two compares the steps together.
func (c *compareCommand) two(spec sandbox.Spec, steps []string, stdin *replay) error {
	off, also := withoutSteps(spec, steps)
	left := &side{title: "without " + strings.Join(steps, ", "), spec: off}
	right := &side{title: "with " + strings.Join(steps, ", "), spec: withSteps(spec, steps)}
	if len(also) > 0 {
		they := "they need "
		if len(also) == 1 {
			they = "it needs "
		}
		say("the side without: also skipped " + strings.Join(also, ", ") + ": " + they + neededBy(also, steps))
	}
	warnExposed("the side without", &left.spec)
	warnExposed("the side with", &right.spec)
	left.run(stdin)
	right.run(stdin)
	if left.err != nil && right.err != nil && left.err.Error() == right.err.Error() && !c.JSON {
		return right.err // there is nothing to compare
	}
	changes := []observe.Change{}
	if left.view != nil && right.view != nil {
		changes = observe.Diff(left.view, right.view)
	}
	advice := c.advise(spec, steps, left, right, stdin)
	if c.JSON {
		if err := writeJSON(os.Stdout, compareJSON(steps, also, left, right, changes, advice)); err != nil {
			return err
		}
		return exitStatus(right.code())
	}
	s, cols := styleOf(os.Stdout), width(os.Stdout)
	var b strings.Builder
	writeColumns(&b, s, cols, left.column(s), right.column(s))
	if left.view != nil && right.view != nil {
		writeChanges(&b, s, cols, changes)
	}
	if advice.why != "" {
		b.WriteByte('\n')
		writeLabelled(&b, s, cols, 0, 6, "hint:", "36", advice.why+":")
		b.WriteString("      " + visible(advice.try) + "\n") // in one line, to be copied
	}
	if _, err := os.Stdout.WriteString(b.String()); err != nil {
		return err
	}
	return exitStatus(right.code())
}

// column is a side as it is printed.
func (s *side) column(st style) column {
	code := "32"
	if s.code() != 0 {
		code = "31"
	}
	return column{title: s.title, lines: s.lines(), end: s.end(), endCode: code}
}

// writeChanges prints what the two looks at CMD told, under the step that each
// belongs to.
func writeChanges(b *strings.Builder, s style, cols int, changes []observe.Change) {
	b.WriteByte('\n')
	if len(changes) == 0 {
		b.WriteString(s.dim("For the kernel the two processes did not differ.") + "\n")
		return
	}
	b.WriteString(s.bold("How the process on the right differs for the kernel") + "\n")
	step := ""
	for _, ch := range changes {
		label := ""
		if ch.Step != step {
			label, step = ch.Step, ch.Step
		}
		for i, part := range fold(ch.Sentence, max(cols-11, 20)) {
			if i > 0 {
				label = ""
			}
			b.WriteString(s.cyan(label) + strings.Repeat(" ", 11-len(label)) + part + "\n")
		}
	}
}

// advice is why both sides agree, and the command that shows a difference.
type advice struct{ why, try string }

// advise says why both sides agree, and how to see the step alone. That other
// steps refuse what CMD tries is said only after it was tried without them.
func (c *compareCommand) advise(spec sandbox.Spec, steps []string, left, right *side, stdin *replay) advice {
	if left.err != nil || right.err != nil || left.code() != right.code() || !bytes.Equal(left.output, right.output) {
		return advice{}
	}
	if right.code() != 0 {
		if a := c.isolate(spec, steps, left, right, stdin); a.why != "" {
			return a
		}
	}
	isolate := " isolates"
	if len(steps) > 1 {
		isolate = " isolate"
	}
	flags, cmd := tryWords(steps[0])
	words := append([]string{"sbx compare", steps[0]}, flags...)
	return advice{
		"both sides are the same: CMD does not touch what " + sentence(steps) + isolate + ". It is seen with",
		strings.Join(append(append(words, "--"), cmd), " "),
	}
}

// isolate runs both sides once more as root inside, with every capability and
// without filters, to find out whether it was those that refused. It does so
// only where neither side gives CMD anything of the caller's.
func (c *compareCommand) isolate(spec sandbox.Spec, steps []string, left, right *side, stdin *replay) advice {
	const profile = "teaching"
	for _, s := range []*side{left, right} {
		for _, name := range []string{"env", "user", "net", "root"} {
			if s.spec.Skips(name) || s.spec.Net == "host" {
				return advice{}
			}
		}
	}
	if c.Profile == profile {
		return advice{}
	}
	flags, words := c.RunFlags, []string{"--profile", profile}
	flags.Profile = profile
	if slices.Contains(steps, "caps") {
		// The profile keeps every capability, with the step as without it.
		var skip []string
		for _, name := range []string{"landlock", "seccomp"} {
			if !slices.Contains(steps, name) {
				skip = append(skip, name)
			}
		}
		words = []string{"-u", "0"}
		if len(skip) > 0 {
			words = append(words, "--skip", strings.Join(skip, ","))
		}
		flags.Profile, flags.User, flags.Skip = c.Profile, "0", append(slices.Clone(c.Skip), skip...)
	}
	open, _, err := flags.Spec(spec.Args)
	if err != nil {
		return advice{}
	}
	open.Args = spec.Args // an image's entrypoint is in it
	off, _ := withoutSteps(open, steps)
	again := [2]side{{spec: off}, {spec: withSteps(open, steps)}}
	for i := range again {
		again[i].run(stdin)
		if again[i].err != nil {
			return advice{}
		}
	}
	if again[0].code() == again[1].code() && bytes.Equal(again[0].output, again[1].output) {
		return advice{}
	}
	all := []string{"caps", "landlock", "seccomp"}
	refusing := slices.DeleteFunc(slices.Clone(all), func(name string) bool { return !slices.Contains(steps, name) })
	refuse := []string{}
	for _, name := range all {
		if right.spec.Skips(name) || slices.Contains(steps, name) {
			continue
		}
		// This one step as it was, everything else open: who refuses alone?
		alone := &side{spec: withSteps(open, steps)}
		if len(refusing) > 0 {
			alone.spec, _ = withoutSteps(alone.spec, refusing) // or they would refuse each time
		}
		if name == "caps" {
			alone.spec.CapAdd = spec.CapAdd
		} else {
			alone.spec = withSteps(alone.spec, []string{name})
		}
		if alone.run(stdin); alone.err == nil && alone.code() == right.code() {
			refuse = append(refuse, name)
		}
	}
	because := sentence(refuse) + " refuses it too"
	switch len(refuse) {
	case 0:
		because = "CMD is not root inside"
	case 1:
	default:
		because = sentence(refuse) + " refuse it too"
	}
	does := " alone does is seen with"
	if len(steps) > 1 {
		does = " alone do is seen with"
	}
	return advice{
		"both sides agree because " + because + ". What " + sentence(steps) + does,
		"sbx compare " + strings.Join(steps, ",") + " " + strings.Join(words, " ") + " -- " + shellLine(spec.Args),
	}
}

// sideJSON is one of the two runs in JSON.
type sideJSON struct {
	Skipped   []string        `json:"skipped"`
	Output    string          `json:"output"`
	Truncated bool            `json:"truncated,omitempty"`
	Code      int             `json:"code"`
	Error     string          `json:"error,omitempty"`
	Hint      string          `json:"hint,omitempty"`
	Result    *sandbox.Result `json:"result,omitempty"`
}

func (s *side) json() sideJSON {
	out := sideJSON{Skipped: orEmpty(s.spec.Skip), Output: string(s.output), Truncated: s.cut, Code: s.code(), Result: s.result}
	if s.err != nil {
		out.Error, out.Hint = errorText(s.err), sandbox.HintOf(s.err)
	}
	return out
}

type comparisonJSON struct {
	Version     int              `json:"version"`
	Steps       []string         `json:"steps"`
	Also        []string         `json:"also_skipped"`
	Without     sideJSON         `json:"without"`
	With        sideJSON         `json:"with"`
	Differences []observe.Change `json:"differences"`
	Hint        string           `json:"hint,omitempty"`
	Try         string           `json:"try,omitempty"`
}

func compareJSON(steps, also []string, left, right *side, changes []observe.Change, a advice) comparisonJSON {
	return comparisonJSON{1, steps, orEmpty(also), left.json(), right.json(), changes, a.why, a.try}
}
