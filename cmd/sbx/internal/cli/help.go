package cli

import (
	"os"
	"reflect"
	"slices"
	"strings"

	"github.com/sbx-dev/sbx/cmd/sbx/internal/usage"
)

// usageText is implemented by models that say their usage line themselves:
// what stands after "sbx VERB".
type usageText interface{ usage() string }

// exampleText is implemented by models with examples: pairs of a command line
// and what it does.
type exampleText interface{ examples() [][2]string }

// printOverview is the answer to a bare sbx: the verbs to begin with.
func printOverview(f *os.File) {
	s := styleOf(f)
	var b strings.Builder
	b.WriteString("sbx runs a command isolated, step by step, as a normal user.\n\n")
	for _, v := range verbs() {
		if v.first {
			b.WriteString("  " + s.bold(pad("sbx "+v.name, 14)) + v.help + "\n")
		}
	}
	b.WriteString("\n" + s.dim("Try:") + "  sbx run -- sh -c 'id; ls; ps -e'\n")
	b.WriteString("      sbx compare net -- ip -br addr\n\n")
	b.WriteString("sbx --help lists every verb, sbx VERB --help the flags of one.\n")
	f.WriteString(b.String())
}

// printAllVerbs is the answer to sbx --help.
func printAllVerbs(f *os.File) {
	s := styleOf(f)
	var b strings.Builder
	b.WriteString(s.bold("Usage:") + " sbx VERB [flags] [--] [CMD [ARG…]]\n\n")
	b.WriteString("Runs a command isolated, as a normal user, and shows how.\n\n" + s.bold("Verbs:") + "\n")
	for _, v := range verbs() {
		if !v.hidden {
			b.WriteString("  " + s.bold(pad(v.name, 12)) + strings.Join(wrap(v.help, width(f)-14), "\n"+strings.Repeat(" ", 14)) + "\n")
		}
	}
	b.WriteString("\nsbx VERB --help shows the flags that most people need, --help=all every flag.\n")
	b.WriteString("Exit codes: CMD's own; 128+n for signal n; 124 timeout; 125 no sandbox;\n126 CMD cannot be executed; 127 CMD not found.\n")
	f.WriteString(b.String())
}

// printHelp prints the help of a verb from its model: the flags with the tag
// common, or all of them.
func printHelp(f *os.File, v verb, all bool) error {
	model := v.model()
	m, err := parser.Describe(v.name, model)
	if err != nil {
		return err
	}
	s, cols := styleOf(f), width(f)
	var b strings.Builder
	b.WriteString(s.bold("Usage:") + " sbx " + v.name + " " + usageOf(model, m) + "\n\n")
	help := strings.ToUpper(v.help[:1]) + v.help[1:] + "."
	b.WriteString(strings.Join(wrap(help, cols), "\n") + "\n")
	if d := m.Detail; d != "" {
		for paragraph := range strings.SplitSeq(strings.TrimSpace(d), "\n\n") {
			b.WriteString("\n" + strings.Join(wrap(paragraph, cols), "\n") + "\n")
		}
	}
	shown, hidden := flagGroups(m, all)
	left := 0
	for _, g := range shown {
		for _, fl := range g.flags {
			left = max(left, min(columns(flagLabel(fl)), 30))
		}
	}
	for _, g := range shown {
		b.WriteString("\n" + s.bold(g.title+":") + "\n")
		for _, fl := range g.flags {
			writeFlag(&b, s, fl, left, cols)
		}
	}
	if examples, ok := model.(exampleText); ok {
		b.WriteString("\n" + s.bold("Examples:") + "\n")
		for _, e := range examples.examples() {
			b.WriteString("  " + s.dim("# "+e[1]) + "\n  " + e[0] + "\n")
		}
	}
	if hidden > 0 {
		b.WriteString("\n" + plural(hidden, "more flag") + ": sbx " + v.name + " --help=all\n")
	}
	_, err = f.WriteString(b.String())
	return err
}

// usageOf is what stands after the verb on the usage line.
func usageOf(model command, m *usage.Model) string {
	if own, ok := model.(usageText); ok {
		return own.usage()
	}
	text := "[flags]"
	for _, p := range m.Positional {
		text += " " + p.Summary
	}
	return text
}

type flagGroup struct {
	title string
	flags []usage.Flag
}

// flagGroups sorts the flags under their groups, in the order in which those
// come first, and counts the flags left out. Where no flag of a verb is
// common, all are shown.
func flagGroups(m *usage.Model, all bool) (groups []flagGroup, left int) {
	common := 0
	for _, f := range m.Flags {
		if f.Common && f.Name != "help" {
			common++
		}
	}
	for _, f := range m.Flags {
		if f.Hidden {
			continue
		}
		if !all && common > 0 && !f.Common {
			left++
			continue
		}
		title := "Flags"
		if f.Group != "" && (all || common == 0) {
			title = f.Group
		}
		at := -1
		for i := range groups {
			if groups[i].title == title {
				at = i
			}
		}
		if at < 0 {
			groups = append(groups, flagGroup{title: title})
			at = len(groups) - 1
		}
		groups[at].flags = append(groups[at].flags, f)
	}
	return groups, left
}

// flagLabel is a flag as it is written: "-e, --env K[=V]".
func flagLabel(f usage.Flag) string {
	label := "    --" + f.Name
	if f.Short != "" {
		label = "-" + f.Short + ", --" + f.Name
	}
	if f.Name == "help" {
		return label + "[=all]"
	}
	if !f.Bool {
		label += " " + placeholder(f)
	}
	return label
}

func placeholder(f usage.Flag) string {
	if f.Placeholder != "" {
		return f.Placeholder
	}
	return strings.ToUpper(f.Name)
}

func writeFlag(b *strings.Builder, s style, f usage.Flag, left, cols int) {
	label := flagLabel(f)
	indent := strings.Repeat(" ", left+4)
	b.WriteString("  " + s.bold(pad(label, left)))
	if columns(label) > left {
		b.WriteString("\n" + indent)
	} else {
		b.WriteString("  ")
	}
	b.WriteString(strings.Join(wrap(f.Help, max(cols-left-4, 24)), "\n"+indent) + "\n")
}

// lookupFlag says whether a flag is among others.
func lookupFlag(flags []usage.Flag, name string) bool {
	return slices.ContainsFunc(flags, func(f usage.Flag) bool { return f.Name == name })
}

// runHas says whether RunFlags has a flag of this name.
func runHas(name string) bool {
	_, _, ok := quickField(reflect.ValueOf(new(RunFlags)).Elem(), name, true)
	return ok
}
