package main

import (
	"os"

	"github.com/sbx-dev/sbx/sandbox"
)

// runCommand is the model of sbx run.
//
//nolint:lll // a tag cannot be broken
type runCommand struct {
	RunFlags

	TTY   bool `name:"tty" short:"t" common:"" group:"Terminal" help:"Give CMD a terminal of its own, also where stdin or stdout is none."`
	NoTTY bool `name:"no-tty" short:"T" group:"Terminal" help:"Give CMD no terminal of its own."`

	Trace    bool   `name:"trace" common:"" group:"Looking" help:"Print each call that makes the sandbox, with result and microseconds."`
	Changes  bool   `name:"changes" common:"" group:"Looking" help:"At exit, list what CMD wrote. Nothing of it reached your files."`
	Report   string `name:"report" group:"Looking" placeholder:"FILE" help:"Write how CMD ended, and why, to FILE as JSON."`
	ResultFD string `name:"result-fd" group:"Looking" placeholder:"N" help:"Write the same JSON to the open descriptor N."`

	Words []string `arg:"" optional:"" passthrough:"partial" help:"CMD and its arguments."`
}

func runVerb() command { return &runCommand{} }

func (*runCommand) quick() {}

func (*runCommand) usage() string { return "[flags] [--] CMD [ARG…]" }

func (r *runCommand) run(c *call) error {
	spec, notes, err := r.Spec(c.cmd(r.Words))
	if err != nil {
		return err
	}
	for _, n := range notes {
		say(n)
	}
	cmd := &sandbox.Cmd{Spec: spec, Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr}
	return cmd.Run()
}
