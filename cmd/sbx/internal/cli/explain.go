package cli

import (
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox"
)

// explainCommand is the model of sbx explain.
//
//nolint:lll // a tag cannot be broken
type explainCommand struct {
	RunFlags

	Keep string `name:"keep" group:"Written files" placeholder:"NAME" help:"The plan of a run with --keep NAME, whose layer is neither made nor changed."`
	As   string `name:"as" common:"" group:"Looking" placeholder:"bwrap|unshare" help:"Print the nearest command line of another program, and what it lacks."`
	JSON bool   `name:"json" common:"" group:"Looking" help:"Print JSON."`

	Words []string `arg:"" optional:"" passthrough:"partial" help:"Steps, or CMD and its arguments."`
}

func explainVerb() command { return &explainCommand{} }

func (*explainCommand) quick() {}

func (*explainCommand) usage() string { return "[flags] -- CMD [ARG…]  |  sbx explain STEP…" }

// Help implements kong.HelpProvider.
func (*explainCommand) Help() string {
	return `With CMD it prints the plan: each step with its system calls in order, why it stands there, what CMD would see. Nothing is run. It takes every flag of sbx run. With names of steps it prints a page on each, and without any word the list of steps.`
}

func (*explainCommand) examples() [][2]string {
	return [][2]string{
		{"sbx explain", "the steps, in order"},
		{"sbx explain user caps", "a page on each of the two"},
		{"sbx explain --net host -- make test", "what exactly would sbx run do?"},
		{"sbx explain --as bwrap -- make test", "and how would bubblewrap be told?"},
	}
}

func (e *explainCommand) run(c *call) error {
	steps, err := e.pages(c)
	if err != nil {
		return err
	}
	words := c.after
	if steps == nil {
		words = c.cmd(e.Words)
		if len(words) == 0 && !e.JSON && e.As == "" {
			return e.list()
		}
		if err := e.mistyped(c, words); err != nil {
			return err
		}
	}
	if len(words) == 0 {
		words = []string{"true"}
	}
	spec, _, err := e.Spec(words)
	if err != nil {
		return err
	}
	if e.Keep != "" {
		if err := planKept(&spec, e.Keep); err != nil {
			return err
		}
	}
	// As run does, which gives CMD a terminal of its own then.
	spec.Terminal = isTerminal(os.Stdin) && isTerminal(os.Stdout) && !spec.Skips("session")
	plan, err := planOf(&spec)
	if err != nil {
		return err
	}
	switch {
	case e.As != "":
		return e.equivalent(&spec, plan)
	case e.JSON:
		return explainJSON(os.Stdout, &spec, plan, steps)
	case steps != nil:
		return printPages(os.Stdout, &spec, plan, steps)
	}
	return printPlan(os.Stdout, &spec, plan)
}

// pages are the steps that are to be explained, nil where CMD is. The words
// are steps when all of them are names of steps; flags may stand among them.
func (e *explainCommand) pages(c *call) ([]string, error) {
	n := 0
	for n < len(e.Words) && sandbox.LookupStep(e.Words[n]) != nil {
		n++
	}
	if n == 0 {
		return nil, nil
	}
	steps, rest := e.Words[:n:n], e.Words[n:]
	if len(rest) == 0 {
		return steps, nil
	}
	if !strings.HasPrefix(rest[0], "-") {
		// The first words are steps, and this one was to be another: sbx knows
		// no program that is called like most steps.
		if near := nearest(rest[0], sandbox.StepNames()); near != "" && !c.dashed {
			return nil, &usageError{msg: "no step is called " + quoted(rest[0]), hint: "did you mean " + near + "?"}
		}
		return nil, nil
	}
	v, _ := lookupVerb("explain")
	again := &explainCommand{}
	if _, done, err := parse(v, again, rest); err != nil || done {
		return nil, err
	}
	if len(again.Words) > 0 {
		return nil, nil
	}
	*e = *again
	return steps, nil
}

// mistyped says that a first word without a -- is neither a step nor a program
// of the host: the plan of a program that is not there tells nothing.
func (e *explainCommand) mistyped(c *call, words []string) error {
	if c.dashed || len(words) == 0 || e.Rootfs != "" || strings.Contains(words[0], "/") {
		return nil
	}
	for dir := range strings.SplitSeq(os.Getenv("PATH"), ":") {
		if unix.Access(dir+"/"+words[0], unix.X_OK) == nil {
			return nil
		}
	}
	name := words[0]
	if len(words) > 1 && sandbox.LookupStep(name) != nil {
		return namedStep(words[1])
	}
	tip := "sbx explain lists the steps; sbx explain -- " + shellLine(words) + " prints the plan all the same"
	if near := nearest(name, sandbox.StepNames()); near != "" {
		tip = "did you mean " + near + "?"
	}
	return &usageError{msg: quoted(name) + " is neither a step nor a program on PATH", hint: tip}
}

// list prints the steps in the order of the plan.
func (*explainCommand) list() error {
	s, cols := styleOf(os.Stdout), width(os.Stdout)
	var b strings.Builder
	rows := make([][]cell, 0, len(sandbox.Steps))
	for i := range sandbox.Steps {
		step := &sandbox.Steps[i]
		text := step.Summary
		if step.OnRequest {
			text += " (only with --with " + step.Name + ")"
		}
		rows = append(rows, []cell{{step.Name, "1"}, {text, ""}})
	}
	writeTable(&b, s, cols, []string{"STEP", "WHAT CMD GETS, IN THE ORDER OF THE PLAN"}, rows)
	b.WriteString("\n" + strings.Join(fold("sbx explain STEP is a page on a step, sbx explain -- CMD the plan for a command, sbx compare STEP -- CMD the difference that a step makes.", cols), "\n") + "\n")
	_, err := os.Stdout.WriteString(b.String())
	return err
}

// planOf compiles what sbx run would launch from here, without launching it.
func planOf(spec *sandbox.Spec) (*sandbox.Plan, error) {
	feat, err := sandbox.Probe(spec)
	if err != nil {
		return nil, err
	}
	for fd := range feat.Stdio {
		feat.Stdio[fd] = descriptor(fd)
	}
	if spec.Terminal {
		feat.Terminal = "/dev/pts/N" // the number is known once it is made
	}
	return sandbox.Compile(spec, feat)
}

// descriptor describes one of the open files that CMD would get.
func descriptor(fd int) sandbox.Descriptor {
	var st unix.Stat_t
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err != nil || unix.Fstat(fd, &st) != nil {
		return sandbox.Descriptor{}
	}
	access := flags & unix.O_ACCMODE
	return sandbox.Descriptor{Mode: st.Mode & unix.S_IFMT, Read: access != unix.O_WRONLY, Write: access != unix.O_RDONLY}
}

// equivalent prints another program's command line, with what it lacks as
// comments of the shell.
func (e *explainCommand) equivalent(spec *sandbox.Spec, plan *sandbox.Plan) error {
	other, err := sandbox.EquivalentOf(e.As, spec, plan)
	if err != nil {
		return &usageError{msg: "--as " + e.As + ": there are bwrap and unshare"}
	}
	if e.JSON {
		return writeJSON(os.Stdout, struct {
			Version int `json:"version"`
			*sandbox.Equivalent
		}{1, other})
	}
	s, cols := styleOf(os.Stdout), width(os.Stdout)
	var b strings.Builder
	b.WriteString(visible(other.String()) + "\n")
	if len(other.Missing) > 0 {
		b.WriteString(s.dim("\n# not done by it:") + "\n")
		for _, m := range other.Missing {
			for i, part := range fold(m, cols-4) {
				lead := "#   "
				if i == 0 {
					lead = "# - "
				}
				b.WriteString(s.dim(lead+part) + "\n")
			}
		}
	}
	_, err = os.Stdout.WriteString(b.String())
	return err
}

// section is a part of the printed plan: a step, or what frames the steps, and
// a run of its calls.
type section struct {
	name  string
	calls []int // indices into Plan.Calls
	again bool  // the step stood further above already
	off   bool
}

// sections puts the plan's calls, which stand in the order in which they are
// made, under the steps, and the steps that have none in between.
func sections(plan *sandbox.Plan, spec *sandbox.Spec) []section {
	var out []section
	seen := map[string]bool{}
	next := 0 // the first step of the table that has no section yet
	upTo := func(end int) {
		for ; next < end; next++ {
			name := sandbox.Steps[next].Name
			calls := slices.ContainsFunc(plan.Calls, func(c sandbox.Call) bool { return c.Step == name })
			if seen[name] || calls && stepOn(plan, spec, name) {
				continue
			}
			seen[name] = true
			out = append(out, section{name: name, off: !stepOn(plan, spec, name)})
		}
	}
	for i := range plan.Calls {
		name := plan.Calls[i].Step
		if len(out) == 0 || out[len(out)-1].name != name {
			at := slices.Index(sandbox.StepNames(), name)
			switch {
			case at >= 0 && !seen[name]:
				upTo(at)
			case name == "exec":
				upTo(len(sandbox.Steps))
			}
			out = append(out, section{name: name, again: seen[name]})
			seen[name] = true
		}
		last := &out[len(out)-1]
		last.calls = append(last.calls, i)
	}
	return out
}

// stepOn says whether the plan makes a step.
func stepOn(plan *sandbox.Plan, spec *sandbox.Spec, name string) bool {
	if sandbox.LookupStep(name).OnRequest {
		return slices.Contains(spec.With, name)
	}
	return !slices.Contains(plan.Skipped(), name)
}

// The columns of a printed plan.
const (
	planIndent = 3
	planColumn = 13
)

// printPlan prints the whole plan for a reader.
func printPlan(f *os.File, spec *sandbox.Spec, plan *sandbox.Plan) error {
	s, cols := styleOf(f), width(f)
	var b strings.Builder
	parts := sections(plan, spec)
	on := 0
	for i := range sandbox.Steps {
		if stepOn(plan, spec, sandbox.Steps[i].Name) {
			on++
		}
	}
	b.WriteString(s.bold(plural(on, "step")+", "+plural(len(plan.Calls)+1, "system call")) + " before CMD. Nothing is run now.\n")
	number := 0
	for _, p := range parts {
		b.WriteByte('\n')
		switch {
		case p.off:
			printOff(&b, s, cols, p.name)
			continue
		case p.name == "launch":
			b.WriteString(s.bold("launch") + "  " + s.dim("the child that makes every call below; it shares no descriptor and dies with sbx") + "\n")
			printCall(&b, f, cols, plan.Clone())
			if plan.PlainClone {
				writeLabelled(&b, s, cols, planIndent, planColumn, "here", "33", "clone3 is refused (ENOSYS); the child clears its signal handlers itself, by rt_sigaction(SIG_DFL)")
			}
		case p.name == "exec":
			b.WriteString(s.bold("exec") + "  " + s.dim("the first process of the sandbox, and CMD") + "\n")
		case p.again:
			b.WriteString(s.bold(p.name) + s.dim(", continued") + "\n")
		default:
			number++
			printStep(&b, s, cols, number, plan, spec, p.name)
		}
		for _, i := range p.calls {
			printCall(&b, f, cols, plan.Text(i))
		}
	}
	printShown(&b, s, cols, spec, plan)
	printTools(&b, s, cols, spec, plan)
	printEnvironment(&b, s, cols, spec, plan)
	printCMD(&b, s, cols, spec, plan)
	_, err := f.WriteString(b.String())
	return err
}

func printOff(b *strings.Builder, s style, cols int, name string) {
	step := sandbox.LookupStep(name)
	text := "skipped: " + step.Without
	if step.OnRequest {
		text = "not asked for (--with " + name + "): " + step.Without
	}
	lead := name + "  "
	for i, part := range fold(text, cols-len(lead)) {
		if i == 0 {
			b.WriteString(s.bold(name) + "  ")
		} else {
			b.WriteString(strings.Repeat(" ", len(lead)))
		}
		b.WriteString(s.yellow(part) + "\n")
	}
}

// printStep prints what stands above a step's calls.
func printStep(b *strings.Builder, s style, cols, number int, plan *sandbox.Plan, spec *sandbox.Spec, name string) {
	step := sandbox.LookupStep(name)
	lead := strconv.Itoa(number) + " " + name + "  "
	for i, part := range fold(step.Summary, cols-len(lead)) {
		if i == 0 {
			b.WriteString(s.dim(strconv.Itoa(number)) + " " + s.bold(name) + "  ")
		} else {
			b.WriteString(strings.Repeat(" ", len(lead)))
		}
		b.WriteString(part + "\n")
	}
	kernel := "Linux " + step.Kernel + " or later"
	if step.Kernel == "any" {
		kernel = "any Linux"
	}
	writeLabelled(b, s, cols, planIndent, planColumn, "why here", "2", step.Why)
	writeLabelled(b, s, cols, planIndent, planColumn, "man", "2", strings.Join(step.Man, ", ")+"; "+kernel)
	if flags := plan.FlagsOf(name); flags != "" {
		call, _, _ := strings.Cut(plan.Clone(), "(")
		writeLabelled(b, s, cols, planIndent, planColumn, call, "2", flags)
	}
	if name == "net" && spec.Net == "host" {
		writeLabelled(b, s, cols, planIndent, planColumn, "here", "33", "nothing is made: --net host asks for the host's network")
	}
}

// printCall prints a call as the plan has it. On a terminal it is broken where
// it is too long; else it is one line, for grep and diff.
func printCall(b *strings.Builder, f *os.File, cols int, text string) {
	n := 0
	if isTerminal(f) {
		n = max(cols-planIndent, 30)
	}
	s := styleOf(f)
	for i, part := range breakCall(visible(text), n) {
		b.WriteString(strings.Repeat(" ", planIndent))
		if name, rest, ok := strings.Cut(part, "("); ok && i == 0 {
			b.WriteString(s.cyan(name) + "(" + rest + "\n")
			continue
		}
		b.WriteString(part + "\n")
	}
}

// printShown prints what the root holds.
func printShown(b *strings.Builder, s style, cols int, spec *sandbox.Spec, plan *sandbox.Plan) {
	if len(plan.Shown) == 0 {
		return
	}
	b.WriteString("\n" + s.bold("What is visible") + "\n")
	shown := slices.Clone(plan.Shown)
	slices.SortStableFunc(shown, func(x, y sandbox.Shown) int { return strings.Compare(x.Target, y.Target) })
	rows := make([][]cell, 0, len(shown))
	for _, e := range shown {
		if strings.HasPrefix(e.Target, "/dev/") && e.Why == "" {
			continue // told in the row of /dev
		}
		how, code := howShown(e.Kind)
		why := e.Why
		if e.Source != "" && e.Source != e.Target {
			why = strings.TrimSuffix("the host's "+e.Source+", "+why, ", ")
		}
		if e.Target == "/dev" && e.Kind == "folder" {
			why = deviceNames(shown)
		}
		rows = append(rows, []cell{{visible(e.Target), ""}, {how, code}, {visible(why), "2"}})
	}
	writeTable(b, s, cols, []string{"PATH", "HOW", "WHY"}, rows)
	if !spec.Skips("root") {
		b.WriteString(s.dim("Everything else of the host is hidden.") + "\n")
	} else {
		b.WriteString(s.dim("Beside it, all of the host's files: the step root is skipped.") + "\n")
	}
	for _, n := range plan.Notes {
		b.WriteString(s.yellow(strings.Join(fold(visible(n), cols), "\n")) + "\n")
	}
}

// deviceNames is what the new /dev holds, in a sentence.
func deviceNames(shown []sandbox.Shown) string {
	var devices, own []string
	for _, e := range shown {
		name, ok := strings.CutPrefix(e.Target, "/dev/")
		switch {
		case !ok || e.Why != "":
		case e.Kind == sandbox.BindRW:
			devices = append(devices, name)
		default:
			own = append(own, name)
		}
	}
	return "the host's " + sentence(devices) + "; its own " + sentence(own)
}

// howShown is a kind of Shown in words, with a colour for what reaches the host.
func howShown(kind string) (text, code string) {
	switch kind {
	case sandbox.BindRO:
		return "read-only", ""
	case sandbox.BindRW:
		return "as on the host", "33"
	case sandbox.Overlay:
		return "copy on write", "32"
	case sandbox.Tmpfs:
		return "empty, in memory", "32"
	case sandbox.Hide:
		return "hidden", ""
	case "file":
		return "a file of sbx", ""
	case "link":
		return "a symbolic link", ""
	case "folder":
		return "a new folder", "32"
	}
	return kind, ""
}

// printEnvironment prints CMD's variables. The values of those that are passed
// on from the caller may be secrets, and stay unsaid.
func printEnvironment(b *strings.Builder, s style, cols int, spec *sandbox.Spec, plan *sandbox.Plan) {
	b.WriteString("\n" + s.bold("Environment") + "\n")
	if spec.Skips("env") {
		writeLabelled(b, s, cols, 0, 0, "", "", "all of the caller's, "+plural(len(plan.Env), "variable")+": the step env is skipped")
		return
	}
	rows := make([][]cell, 0, len(plan.Env))
	for _, kv := range plan.Env {
		name, value, _ := strings.Cut(kv, "=")
		if passedOn(spec.Env, name) {
			rows = append(rows, []cell{{visible(name), ""}, {"(passed on: your own value)", "2"}})
			continue
		}
		rows = append(rows, []cell{{visible(name), ""}, {visible(value), ""}})
	}
	writeTable(b, s, cols, nil, rows)
}

// passedOn says whether a variable of CMD has the caller's value because of -e.
func passedOn(env []string, name string) bool {
	passed := false
	for _, e := range env {
		if given, _, set := strings.Cut(e, "="); set {
			if given == name {
				passed = false
			}
			continue
		}
		prefix, pattern := strings.CutSuffix(e, "*")
		passed = passed || e == name || pattern && strings.HasPrefix(name, prefix)
	}
	return passed
}

func printCMD(b *strings.Builder, s style, cols int, spec *sandbox.Spec, plan *sandbox.Plan) {
	b.WriteString("\n" + s.bold("CMD") + "\n")
	words := make([]string, len(spec.Args))
	for i, a := range spec.Args {
		words[i] = visible(a)
		if a == "" || strings.ContainsAny(a, " \t\n'\"\\$|&;()<>*?") {
			words[i] = quoted(a)
		}
	}
	dir := plan.Dir()
	if dir == "" {
		dir = "the caller's folder"
	}
	rows := [][]cell{{{"words", ""}, {strings.Join(words, " "), ""}}, {{"folder", ""}, {visible(dir), ""}}}
	writeTable(b, s, cols, nil, rows)
}
