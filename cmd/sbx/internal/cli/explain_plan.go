package cli

import (
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/sbx-dev/sbx/sandbox"
)

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
