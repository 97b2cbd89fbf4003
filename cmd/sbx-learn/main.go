// Sbx-learn is the course: sbx executes it for the verbs lesson and classroom.
// It is a program of its own because what draws on a terminal and what serves a
// browser would cost every start of sbx.
//
// It runs no sandbox itself: every line goes through the sbx binary that the
// environment variable SBX names, or the one beside it.
package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/alecthomas/kong"
)

// commands is kong's model: the verbs of sbx that this program carries out.
//
//nolint:lll // a tag cannot be broken
type commands struct {
	Lesson struct {
		LS    listCommand  `cmd:"" name:"ls" help:"List the lessons and how far you are."`
		Start startCommand `cmd:"" help:"Explain a lesson and make its folder."`
		Run   runCommand   `cmd:"" help:"Run the experiment of a lesson: without the step, then with it."`
		Check checkCommand `cmd:"" help:"Check your answer."`
		Hint  hintCommand  `cmd:"" help:"Say what was seen, and what it means."`
		Reset resetCommand `cmd:"" help:"Begin a lesson anew."`
		Watch watchCommand `cmd:"" help:"Go through the course with single keys."`
	} `cmd:"" help:"The course in the terminal."`
	Classroom classroomCommand `cmd:"" help:"The course and the switchboard in the browser."`
}

// exitCode is an error that is told already.
type exitCode int

func (e exitCode) Error() string { return fmt.Sprintf("exit %d", int(e)) }

// usageError is a command line or a state that the user can mend.
type usageError struct{ msg, hint string }

func (e *usageError) Error() string { return e.msg }

func main() {
	var c commands
	parser, err := kong.New(&c, kong.Name("sbx"), kong.Description("Learn what each isolation step does."), kong.UsageOnError())
	if err != nil {
		fail(err)
	}
	ctx, err := parser.Parse(os.Args[1:])
	if err != nil {
		fail(&usageError{msg: err.Error(), hint: "sbx lesson --help"})
	}
	if err := ctx.Run(); err != nil {
		fail(err)
	}
}

// fail ends the program as sbx ends: 125 for what is no answer to a check.
func fail(err error) {
	var code exitCode
	if errors.As(err, &code) {
		os.Exit(int(code))
	}
	fmt.Fprintln(os.Stderr, "sbx:", err)
	var usage *usageError
	if errors.As(err, &usage) && usage.hint != "" {
		fmt.Fprintln(os.Stderr, "hint:", usage.hint)
	}
	os.Exit(125)
}
