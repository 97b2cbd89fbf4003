package cli

import (
	"errors"
	"os"

	"github.com/sbx-dev/sbx/sandbox"
)

// runCommand is the model of sbx run.
//
//nolint:lll // a tag cannot be broken
type runCommand struct {
	RunFlags

	Keep   string   `name:"keep" common:"" group:"Written files" placeholder:"NAME" help:"Keep what CMD writes, HOME too, for the next --keep NAME, sbx changes and sbx apply."`
	Out    []string `name:"out" sep:"none" common:"" group:"Written files" placeholder:"PATH[:HOSTPATH]" help:"Copy PATH to the host after CMD has ended."`
	Review bool     `name:"review" group:"Written files" help:"At exit, show what CMD wrote and ask what of it is to be copied to your files."`

	TTY   bool `name:"tty" short:"t" common:"" group:"Terminal" help:"Give CMD a terminal of its own on stdin, stdout and stderr, whatever they are."`
	NoTTY bool `name:"no-tty" short:"T" group:"Terminal" help:"Give CMD your terminal as it is: it can read what you type, and change its settings."`

	Detach  bool   `name:"detach" short:"d" common:"" group:"Life" help:"Start CMD behind, with its output in a log, and print the sandbox's id: sbx ps, logs, exec, stop."`
	Name    string `name:"name" common:"" group:"Life" placeholder:"NAME" help:"Name the sandbox, and keep what is known of it until sbx rm NAME; with --rm until it ends."`
	Monitor string `name:"monitor" hidden:""`

	Trace     bool   `name:"trace" common:"" group:"Looking" help:"Print each call that makes the sandbox, with result and microseconds."`
	TraceFile string `name:"trace-file" group:"Looking" placeholder:"FILE" help:"Write each call to FILE, a line of JSON each."`
	Changes   bool   `name:"changes" common:"" group:"Looking" help:"At exit, list what CMD wrote; nothing of it reached your files."`
	Look      string `name:"look" group:"Looking" placeholder:"FILE" help:"Write what the kernel says of CMD before its first instruction to FILE, as inspect --json does."`
	Report    string `name:"report" group:"Looking" placeholder:"FILE" help:"Write how CMD ended, and why, to FILE as JSON."`
	ResultFD  string `name:"result-fd" group:"Looking" placeholder:"N" help:"Write the same JSON to the open descriptor N."`

	// The course's last lesson runs a box with a step off that is to be found.
	Quiet bool `name:"quiet" hidden:"" help:"Do not say which steps are left out."`

	Words []string `arg:"" optional:"" passthrough:"partial" help:"CMD and its arguments."`
}

func runVerb() command { return &runCommand{} }

func (*runCommand) quick() {}

func (*runCommand) usage() string { return "[flags] [--] CMD [ARG…]" }

// Help implements kong.HelpProvider.
func (*runCommand) Help() string {
	return `CMD sees the programs of the host read-only, the working folder copy on write, an empty home, no network and none of your processes. What it writes is gone at exit, unless a flag says otherwise. Without CMD, on a terminal, it is your shell.`
}

func (*runCommand) examples() [][2]string {
	return [][2]string{
		{"sbx run -- npm test", "the working folder stays as it is, whatever the tests do"},
		{"sbx run --changes -- sh -c 'rm -rf ./*'", "what would it have done?"},
		{"sbx run -v ./out:/out --timeout 10s -- ./solver", "one folder to write to, and a limit"},
		{"sbx run --keep web -- npm install", "keep what it writes, for npm test in the next run"},
		{"sbx run --out dist -- npm run build", "copy ./dist to the host afterwards"},
		{"sbx run -d --name web -- python3 -m http.server", "behind; then sbx logs web, sbx exec -t web sh, sbx stop web"},
		{"sbx run --skip net -- curl example.org", "leave out one step"},
		{"sbx run --image busybox -- ls /", "an image, as docker run busybox ls /"},
	}
}

func (r *runCommand) run(c *call) error {
	words := c.cmd(r.Words)
	if len(words) == 0 && r.Image == "" {
		if r.Detach {
			return &usageError{msg: "-d needs a CMD: nobody sits at it", hint: "sbx run -d --name NAME -- CMD, and sbx exec -t NAME sh for a shell beside it"}
		}
		shell, err := shellOf()
		if err != nil {
			return err
		}
		words = []string{shell}
	}
	if r.TTY && r.NoTTY {
		return &usageError{msg: "-t and -T exclude each other"}
	}
	spec, notes, err := r.Spec(words)
	if err != nil {
		return err
	}
	spec.Changes = r.Changes
	if r.Detach || r.Name != "" {
		if err := r.checkLife(); err != nil {
			return err
		}
		if r.Detach && r.Monitor == "" {
			return r.detach()
		}
	}
	var life *life
	defer func() { life.close() }() // after all else: who waits for the sandbox may go on then
	var w *written
	ran := false
	if r.asksWritten() {
		if w, err = r.openWritten(&spec); err != nil {
			return err
		}
		defer func() { w.close(ran) }()
	}
	out, err := openReports(r.Report, r.ResultFD)
	if err != nil {
		return err
	}
	if !r.Quiet {
		for _, n := range notes {
			say(n)
		}
	}
	cmd := &sandbox.Cmd{Spec: spec, Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr}
	if r.Detach || r.Name != "" {
		if life, err = r.beginLife(cmd); err != nil {
			return err
		}
	}
	if r.Trace {
		cmd.Trace = newTracer(os.Stderr).event
	}
	if w != nil {
		if err := w.begin(cmd); err != nil {
			return err
		}
	}
	trace, err := openTraceFile(r.TraceFile, cmd)
	if err != nil {
		return err
	}
	look, err := openLook(r.Look, cmd)
	if err != nil {
		return err
	}
	err = r.execute(cmd, life)
	ran = cmd.Result != nil
	var forged *forgedError
	for _, write := range []func() error{
		look.write, trace.write,
		func() error { return out.write(cmd, err) },
	} {
		if werr := write(); werr != nil {
			say(werr.Error())
			errors.As(werr, &forged)
			err = errors.Join(err, werr)
		}
	}
	if cmd.Result != nil {
		sayAppeared(cmd.Result.Appeared)
	}
	if r.Changes && cmd.Result != nil {
		kept := ""
		if w != nil && w.kept != "" {
			kept = "as " + w.kept
		} else if spec.Upper != "" && w == nil {
			kept = "in " + spec.Upper
		} else if life != nil && life.layer != nil && !life.remove {
			kept = "until sbx rm " + life.box.Record.ID
		}
		printChanges(os.Stderr, cmd.Result.Changes, kept)
	}
	err = explainEnd(cmd, err)
	if w != nil {
		if werr := w.end(ran); werr != nil {
			say(errorText(werr))
			if err == nil {
				return exitStatus(exitFailed)
			}
		}
	}
	if forged != nil {
		return exitStatus(exitFailed)
	}
	return err
}

// shellOf is the CMD of a `sbx run` without one: the caller's shell, where
// there is a terminal to type at.
func shellOf() (string, error) {
	if !isTerminal(os.Stdin) || !isTerminal(os.Stdout) {
		return "", &usageError{msg: "no CMD is given", hint: "sbx run [flags] [--] CMD [ARG…]"}
	}
	if shell := os.Getenv("SHELL"); shell != "" {
		return shell, nil
	}
	return "/bin/sh", nil
}

// execute starts the sandbox and waits for its end, with a terminal of its own
// where CMD gets one. Life is nil for a sandbox that nothing is kept of.
func (r *runCommand) execute(cmd *sandbox.Cmd, life *life) error {
	term, err := r.terminalFor(cmd)
	if err != nil {
		return err
	}
	if term != nil {
		defer term.close()
		term.lend(cmd)
	}
	s := newSession(cmd, term)
	if err := cmd.Start(); err != nil {
		return err
	}
	for _, n := range cmd.Plan().Notes {
		say(n)
	}
	life.started(cmd)
	if term != nil {
		s.begin() // before the terminal is raw: a signal that ends sbx would leave it so
		term.begin(s.hangup)
	} else {
		// Until then a signal ends sbx, and with it a CMD that has hardly begun.
		cmd.Lasting = func() {
			s.begin()
			life.announce(cmd)
		}
	}
	err = cmd.Wait()
	life.ended(cmd, err)
	s.end()
	term.drain(cmd)
	var exit *sandbox.ExitError
	failed := errors.As(err, &exit) && exit.Verdict == sandbox.VerdictExited
	if !s.seen.conclude(failed) && failed {
		sayGuarded(cmd)
	}
	return err
}

// explainEnd says in a line why the sandbox ended CMD, where its exit code alone
// does not.
func explainEnd(cmd *sandbox.Cmd, err error) error {
	var exit *sandbox.ExitError
	if !errors.As(err, &exit) {
		return err
	}
	switch exit.Verdict {
	case sandbox.VerdictSignaled:
		if exit.Evidence != "" {
			say(exit.Evidence)
		}
		if cmd.OwnSandboxRefused() {
			say("CMD crashed as browsers do that get no sandbox of their own, which takes user namespaces")
			hint("pass --no-sandbox to it: sbx isolates it already; --allow-nesting lets it make its own")
		}
	case sandbox.VerdictTimeout:
		say("timeout: CMD was ended after " + cmd.Spec.Timeout.String())
	case sandbox.VerdictSeccomp:
		say("seccomp: CMD was ended by " + exit.Evidence)
		hint("--seccomp log lets every call through and has the kernel log those that the default filter would refuse (sudo dmesg | grep type=1326)")
	case sandbox.VerdictCPU:
		say("cpu-time: CMD was ended by SIGXCPU: its limit of CPU time is used up")
	case sandbox.VerdictOutput:
		say("fsize: CMD was ended by SIGXFSZ: it wrote a file larger than its limit")
	}
	return err
}
