// Package cli is the command sbx: one file a verb, flags to Spec, and nothing
// else. It does not know the library that parses command lines (package model),
// which is initialised after it and costs a start more than a mount namespace:
// a plain `sbx run` is done before that begins.
package cli

import (
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sbx-dev/sbx/cmd/sbx/internal/usage"
)

// verb is one word that may stand after sbx. The table is plain data: only the
// model of the verb that was asked for is built, since kong takes longer for
// all of them than the kernel takes for a network namespace.
type verb struct {
	name   string
	help   string // one line, lower case, no full stop
	first  bool   // among those that a bare sbx shows
	hidden bool   // in no list
	// sibling is the program that carries the verb out, since it links what
	// would cost every start of sbx; the model then describes it only.
	sibling string
	model   func() command // a new, empty model
}

// command is the model of a verb: a pointer to a struct with kong's tags, and
// what to do once kong has filled it in.
type command interface {
	run(*call) error
}

// call is what a command gets beside its flags.
type call struct {
	verb   string
	dashed bool     // argv held a --
	after  []string // the words after it
}

// cmd is CMD with its arguments: the positional words that kong found, and
// those after the --. Where both are there, as in `run git checkout -- FILE`,
// the -- is CMD's own.
func (c *call) cmd(words []string) []string {
	switch {
	case len(words) == 0:
		return c.after
	case !c.dashed:
		return words
	}
	return append(append(slices.Clip(words), "--"), c.after...)
}

// verbs holds all verbs in the order of the help. It is filled in by init-free
// functions, so that it costs nothing before main.
func verbs() []verb {
	return []verb{
		{name: "run", help: "run a command isolated", first: true, model: runVerb},
		{name: "explain", help: "print what run would do, call by call; or a page on a step", first: true, model: explainVerb},
		{name: "compare", help: "run a command without a step and with it, and show the difference", first: true, model: compareVerb},
		{name: "doctor", help: "try each step on this machine, and say what mends it", first: true, model: doctorVerb},
		{name: "lesson", help: "the course: learn what each step does, in the terminal", first: true, sibling: "sbx-learn", model: lessonVerb},
		{name: "classroom", help: "the course and a switchboard in the browser", sibling: "sbx-learn", model: classroomVerb},
		{name: "inspect", help: "show how a sandbox or a process is isolated, or an image's layers", model: inspectVerb},
		{name: "ps", help: "list the sandboxes that were started with -d or --name", model: psVerb},
		{name: "exec", help: "run a command in a sandbox that runs", model: execVerb},
		{name: "logs", help: "print what a sandbox has printed", model: logsVerb},
		{name: "cp", help: "copy files out of a sandbox that runs, or into it", model: cpVerb},
		{name: "stop", help: "ask sandboxes to end, and kill those that do not", model: stopVerb},
		{name: "kill", help: "kill sandboxes, or send them a signal", model: killVerb},
		{name: "wait", help: "wait for sandboxes to end, and print their exit codes", model: waitVerb},
		{name: "profile", help: "list the sets of flags for --profile, and show one", model: profileVerb},
		{name: "changes", help: "list the kept layers, or what one of them holds", model: changesVerb},
		{name: "apply", help: "copy what a kept layer holds to your files", model: applyVerb},
		{name: "rm", help: "remove sandboxes that have ended, and kept layers", model: rmVerb},
		{name: "prune", help: "remove all kept layers that are not in use", model: pruneVerb},
		{name: "build", help: "make an image of a Dockerfile, each instruction a cached layer", model: buildVerb},
		{name: "image", help: "the local store of images: pull, load, list, look into", sibling: "sbx-image", model: imageVerb},
		{name: "load", help: "add the images of an archive to the store", sibling: "sbx-image", model: loadVerb},
		{name: "save", help: "write images of the store as an archive", sibling: "sbx-image", model: saveVerb},
		{name: "commit", help: "make an image of what a sandbox or a kept layer holds", sibling: "sbx-image", model: commitVerb},
		{name: "completion", help: "print a completion script for bash, zsh or fish", model: completionVerb},
		{name: "version", help: "print the version", model: versionVerb},
		{name: "man", help: "print the manual page", hidden: true, model: manVerb},
	}
}

func lookupVerb(name string) (verb, bool) {
	for _, v := range verbs() {
		if v.name == name {
			return v, true
		}
	}
	return verb{}, false
}

// init does a `sbx run` whose flags quickParse can read. It stands in init, and
// not in Main, because Go initialises a package as soon as all that it imports
// is, in the order of import paths, and all packages before main begins: what
// only other verbs need (kong, regexp, net/netip) comes after this.
func init() {
	if len(os.Args) < 3 || os.Args[1] != "run" || filepath.Base(os.Args[0]) != "sbx" {
		return
	}
	model := &runCommand{}
	c, args := cut("run", os.Args[2:])
	if quickParse(model, args) {
		os.Exit(conclude("run", model.run(c)))
	}
}

// parser reads the command lines that quickParse leaves.
var parser usage.Parser

// Main is the whole command, and does not return.
func Main(p usage.Parser) {
	parser = p
	os.Exit(dispatch(os.Args[1:]))
}

// dispatch does what argv says and returns the exit code.
func dispatch(args []string) int {
	if len(args) == 0 {
		printOverview(os.Stdout)
		return 0
	}
	name := args[0]
	switch name {
	case "--help", "-h", "help":
		if len(args) > 1 {
			if v, ok := lookupVerb(args[1]); ok {
				return conclude(v.name, printHelp(os.Stdout, v, len(args) > 2 && args[2] == "all"))
			}
		}
		printAllVerbs(os.Stdout)
		return 0
	case "--help=all":
		printAllVerbs(os.Stdout)
		return 0
	case "--version", "-V":
		name = "version"
	case "-v": // as docker has it, and not the flag of run that its user forgot the verb of
		if len(args) == 1 {
			name = "version"
		}
	}
	v, ok := lookupVerb(name)
	if !ok {
		return conclude("", unknownVerb(name, args[1:]))
	}
	if v.sibling != "" && !asksHelp(args[1:]) {
		return conclude(v.name, execSibling(v, args[1:]))
	}
	model := v.model()
	c, done, err := parse(v, model, args[1:])
	if done || err != nil {
		return conclude(v.name, err)
	}
	return conclude(v.name, model.run(c))
}

// unknownVerb says what could have been meant.
func unknownVerb(name string, rest []string) error {
	if strings.HasPrefix(name, "-") {
		return &usageError{msg: "flags come after the verb", hint: "sbx run " + name + " …"}
	}
	if hint, ok := dockerHabit(name, rest); ok {
		return &usageError{msg: "no verb is called " + quoted(name), hint: hint}
	}
	var names []string
	for _, v := range verbs() {
		if !v.hidden {
			names = append(names, v.name)
		}
	}
	if near := nearest(name, names); near != "" {
		return &usageError{msg: "no verb is called " + quoted(name), hint: "did you mean sbx " + near + "?"}
	}
	return &usageError{
		msg:  "no verb is called " + quoted(name),
		hint: "to run a command: sbx run " + strings.Join(append([]string{name}, rest...), " "),
	}
}
