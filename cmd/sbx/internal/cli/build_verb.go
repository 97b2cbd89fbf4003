package cli

import (
	"encoding/json"

	"github.com/sbx-dev/sbx/cmd/internal/buildflags"
)

// buildCommand is the model of sbx build. sbx itself reads the flags that say
// what the sandbox of a RUN is, as it does for run; sbx-image does the rest.
//
//nolint:lll // a tag cannot be broken
type buildCommand struct {
	buildflags.Flags

	Net        string   `name:"net" common:"" group:"The sandbox of RUN" placeholder:"none|host" help:"Only a loopback interface (the default), or the host's network."`
	TCPConnect []string `name:"tcp-connect" sep:"none" group:"The sandbox of RUN" placeholder:"PORT" help:"Allow TCP connections to PORT and to no port that is not named."`
	TCPBind    []string `name:"tcp-bind" sep:"none" group:"The sandbox of RUN" placeholder:"PORT" help:"Allow listening on TCP PORT and on no port that is not named."`
	Hostname   string   `name:"hostname" group:"The sandbox of RUN" placeholder:"NAME" help:"The host's name inside; sandbox by default."`
	CapAdd     []string `name:"cap-add" sep:"none" group:"The sandbox of RUN" placeholder:"CAP" help:"Keep a capability inside; ALL keeps every one."`
	CapDrop    []string `name:"cap-drop" sep:"none" group:"The sandbox of RUN" placeholder:"CAP" help:"Drop a capability that --cap-add ALL keeps."`
	Timeout    string   `name:"timeout" group:"The sandbox of RUN" placeholder:"DURATION" help:"End a RUN, and with it the build, after this time."`
	CPUTime    string   `name:"cpu-time" group:"The sandbox of RUN" placeholder:"DURATION" help:"CPU time of each process, in whole seconds."`
	PidsLimit  string   `name:"pids-limit" group:"The sandbox of RUN" placeholder:"N" help:"How many processes and threads there may be; 4096 by default."`
	Ulimit     []string `name:"ulimit" sep:"none" group:"The sandbox of RUN" placeholder:"K=SOFT[:HARD]" help:"A resource limit, such as nofile=256 or fsize=1m."`
	Skip       []string `name:"skip" sep:"," group:"The sandbox of RUN" placeholder:"STEP,…" help:"Leave out steps; mount, root and overlay are needed."`
	Only       []string `name:"only" sep:"," group:"The sandbox of RUN" placeholder:"STEP,…" help:"Take only these steps and those that they need."`
	With       []string `name:"with" sep:"," group:"The sandbox of RUN" placeholder:"STEP,…" help:"Take steps that are off by default (time)."`
	Optional   []string `name:"optional" sep:"," group:"The sandbox of RUN" placeholder:"STEP,…" help:"Go on without these steps where the host refuses them."`
	Require    []string `name:"require" sep:"," group:"The sandbox of RUN" placeholder:"STEP,…" help:"Refuse to go on where one of these would be weaker (landlock)."`
	Seccomp    string   `name:"seccomp" group:"The sandbox of RUN" placeholder:"PROFILE" help:"The filter: default, strict, log, or a FILE in the OCI format."`
	Nesting    bool     `name:"allow-nesting" group:"The sandbox of RUN" help:"Let sandboxes be made inside the sandbox."`

	Context string `arg:"" name:"dir" optional:"" help:"The folder that COPY and ADD read; - for a Dockerfile on stdin without one."`
}

func buildVerb() command { return &buildCommand{} }

func (*buildCommand) usage() string { return "[flags] DIR" }

// Help implements kong.HelpProvider.
func (*buildCommand) Help() string {
	return `Builds an image of a Dockerfile, as one user and without a daemon. Each instruction that writes files makes a layer; a step whose input has not changed is CACHED. Stages that do not need each other are built at the same time, stages that nothing needs are not built.

Each RUN is a sandbox, with the same steps as that of sbx run, whose root is the image so far. It has no network unless --net host gives it one. FROM host begins with the host's own programs, shown read-only: no registry is needed.`
}

func (*buildCommand) examples() [][2]string {
	return [][2]string{
		{"sbx build -t app .", "the Dockerfile of this folder"},
		{"sbx build -t app --net host .", "RUN may fetch packages"},
		{"sbx build --target test --progress plain .", "one stage, as lines"},
		{"sbx build --secret id=token,src=token.txt .", "for RUN --mount=type=secret,id=token"},
	}
}

func (b *buildCommand) run(c *call) error {
	words := c.after
	if b.Context != "" {
		words = append([]string{b.Context}, words...)
	}
	if len(words) != 1 {
		return &usageError{msg: "build takes one folder", hint: "sbx build -t NAME ."}
	}
	flags := RunFlags{
		Net: b.Net, TCPConnect: b.TCPConnect, TCPBind: b.TCPBind, Hostname: b.Hostname, CapAdd: b.CapAdd, CapDrop: b.CapDrop,
		Timeout: b.Timeout, CPUTime: b.CPUTime, PidsLimit: b.PidsLimit, Ulimit: b.Ulimit, Skip: b.Skip, Only: b.Only,
		With: b.With, Optional: b.Optional, Require: b.Require, Seccomp: b.Seccomp, Nesting: b.Nesting,
	}
	spec, notes, err := flags.Spec(nil)
	if err != nil {
		return err
	}
	for _, n := range notes {
		say(n)
	}
	text, err := json.Marshal(spec)
	if err != nil {
		return err
	}
	args := append(b.Args(), "--spec="+string(text), "--", words[0])
	return execSibling(verb{name: "build", sibling: "sbx-image"}, args)
}
