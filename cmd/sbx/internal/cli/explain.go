package cli

import (
	"os"
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
		if len(words) == 0 && !e.JSON && e.As == "" && e.Image == "" {
			return e.list()
		}
		if err := e.mistyped(c, words); err != nil {
			return err
		}
	}
	if len(words) == 0 && e.Image == "" {
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
	if c.dashed || len(words) == 0 || e.Rootfs != "" || e.Image != "" || strings.Contains(words[0], "/") {
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

// The columns of a printed plan.
const (
	planIndent = 3
	planColumn = 13
)
