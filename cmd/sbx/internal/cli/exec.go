package cli

import (
	"os"

	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox"
)

// execCommand is the model of sbx exec.
//
//nolint:lll // a tag cannot be broken
type execCommand struct {
	TTY     bool     `name:"tty" short:"t" help:"Give CMD a terminal of its own on stdin, stdout and stderr, whatever they are."`
	NoTTY   bool     `name:"no-tty" short:"T" help:"Give CMD your terminal as it is."`
	Env     []string `name:"env" short:"e" sep:"none" placeholder:"K[=V]" help:"Set K to V, or pass your K, beside what the sandbox's own CMD got."`
	Workdir string   `name:"workdir" short:"w" placeholder:"DIR" help:"Start in DIR, as seen inside; where the sandbox's own CMD started by default."`
	Timeout string   `name:"timeout" placeholder:"DURATION" help:"End CMD after this time, with exit code 124."`
	Explain bool     `name:"explain" help:"Print the calls that would be made, and make none."`

	Interactive bool `name:"interactive" short:"i" hidden:""`

	Words []string `arg:"" optional:"" passthrough:"partial" help:"A sandbox's name or id, then CMD and its arguments."`
}

func execVerb() command { return &execCommand{} }

func (*execCommand) usage() string { return "[flags] ID [--] CMD [ARG…]" }

// Help implements kong.HelpProvider.
func (*execCommand) Help() string {
	return `Starts one CMD more in a sandbox that runs. It enters the sandbox's namespaces and root, and takes upon itself the same limits, the same filter, the same Landlock rules and as few capabilities as the sandbox has: it may do nothing that the sandbox's own CMD may not. It ends with the sandbox. The exit code is CMD's own.`
}

func (*execCommand) examples() [][2]string {
	return [][2]string{
		{"sbx exec -t web sh", "a shell in there"},
		{"sbx exec web -- ps -ef", "what runs in there?"},
	}
}

func (e *execCommand) run(c *call) error {
	words := e.Words
	if len(words) == 0 {
		words, c.after, c.dashed = c.after, nil, false
	}
	if len(words) == 0 {
		return &usageError{msg: "which sandbox, and which CMD?", hint: "sbx exec ID CMD; sbx ps lists the sandboxes"}
	}
	name, words := words[0], c.cmd(words[1:])
	if len(words) == 0 {
		return &usageError{msg: "no CMD is given", hint: "sbx exec -t " + name + " sh"}
	}
	if e.TTY && e.NoTTY {
		return &usageError{msg: "-t and -T exclude each other"}
	}
	_, r, p, err := runningSandbox(name, initOf)
	if err != nil {
		return err
	}
	defer p.Close()
	spec := r.Spec
	// What the record holds already, and what is the sandbox's own life.
	spec.Args, spec.Env, spec.Dir, spec.Timeout, spec.Optional = words, nil, "", 0, nil
	spec.Changes, spec.Terminal, spec.TerminalOnDemand = false, false, false
	if term := os.Getenv("TERM"); term != "" && isTerminal(os.Stdout) {
		spec.Env = append(spec.Env, "TERM="+term)
	}
	spec.Env = append(spec.Env, e.Env...)
	if e.Workdir != "" {
		if e.Workdir[0] != '/' {
			return &usageError{msg: "-w " + e.Workdir + ": is not absolute: it is a folder inside"}
		}
		spec.Dir = trimSlash(e.Workdir)
	}
	if e.Timeout != "" {
		if spec.Timeout, err = parseDuration(e.Timeout); err != nil {
			return &usageError{msg: "--timeout: " + err.Error()}
		}
	}
	cmd := &sandbox.Cmd{
		Spec: spec, Joined: p, Join: sandbox.Join{Env: r.Env, Dir: r.Dir, HostDir: r.HostDir},
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
	}
	if e.Explain {
		plan, err := cmd.CompileOnly()
		if err != nil {
			return err
		}
		_, err = os.Stdout.WriteString(plan.String())
		return err
	}
	err = (&runCommand{TTY: e.TTY, NoTTY: e.NoTTY}).execute(cmd, nil)
	if err != nil && cmd.Result == nil && p.Ended() {
		return &usageError{msg: name + " has ended meanwhile"}
	}
	if cmd.Result != nil && cmd.Result.Signal == unix.SIGKILL && p.Ended() {
		say(name + " has ended, and CMD with it")
	}
	return explainEnd(cmd, err)
}
