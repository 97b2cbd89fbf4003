package cli

import (
	"errors"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox"
	"github.com/sbx-dev/sbx/sandbox/layer"
)

// cpCommand is the model of sbx cp.
//
//nolint:lll // a tag cannot be broken
type cpCommand struct {
	Follow  bool `name:"follow-link" short:"L" help:"Where SRC names a symbolic link, copy what it leads to."`
	Guarded bool `name:"guarded" help:"Copy to the host too what makes it run code later, such as .git and .envrc, and links that lead out of what is copied."`
	Quiet   bool `name:"quiet" short:"q" help:"Do not say how much was copied."`
	Archive bool `name:"archive" short:"a" hidden:""`

	Words []string `arg:"" optional:"" help:"From where to where: ID:PATH in a sandbox, a path of the host, or - for a tar stream."`
}

func cpVerb() command { return &cpCommand{} }

func (*cpCommand) usage() string { return "[flags] ID:PATH HOSTPATH|-, or HOSTPATH|- ID:PATH" }

// Help implements kong.HelpProvider.
func (*cpCommand) Help() string {
	return `Copies files, folders and symbolic links out of a sandbox that runs or into it, with the names that docker cp gives: into a folder that is there, a folder's content alone where SRC ends in "/.", else under the new name. Modes (without setuid and setgid) and times are kept, owners are not: what is copied is yours. PATH is resolved as CMD would, from its root, and no link inside leads out of it; below SRC links are copied as links and never followed. FIFOs, sockets and devices are left out; to the host, so is what makes it run code later, and links that lead out of what is copied. Exit code 1: something was left out, or could not be copied.`
}

func (*cpCommand) examples() [][2]string {
	return [][2]string{
		{"sbx cp web:/srv/report.html .", "a file out of the sandbox web"},
		{"sbx cp ./site/. web:/srv/www", "what is in ./site into a folder of it"},
		{"sbx cp web:/etc - | tar tv", "as a tar stream"},
	}
}

func (cp *cpCommand) run(c *call) error {
	words := c.cmd(cp.Words)
	if len(words) != 2 {
		return &usageError{msg: "needs two words: from where, and to where", hint: "sbx cp ID:PATH HOSTPATH, or the other way round"}
	}
	fromID, from := cutID(words[0])
	toID, to := cutID(words[1])
	switch {
	case fromID != "" && toID != "":
		return &usageError{msg: "one of the two is a sandbox, not both", hint: "sbx cp " + words[0] + " - | sbx cp - " + words[1] + " goes through a tar stream"}
	case fromID == "" && toID == "":
		return &usageError{msg: "one of the two must be ID:PATH, a path in a sandbox", hint: "sbx ps lists the sandboxes"}
	case from == "" || to == "":
		return &usageError{msg: "a path is missing after the colon", hint: "the root is " + fromID + toID + ":/"}
	}
	_, r, p, err := runningSandbox(fromID+toID, initOf)
	if err != nil {
		return err
	}
	defer p.Close()
	root, err := p.Root()
	if errors.Is(err, sandbox.ErrSharedRoot) {
		return &usageError{msg: fromID + toID + " has no files of its own: the step mount is off", hint: "cp copies: its files are the host's"}
	}
	if err != nil {
		return err
	}
	defer root.Close()
	how := layer.Copying{Follow: cp.Follow, All: cp.Guarded, Folders: r.Folders}
	var out *layer.Out
	if fromID != "" {
		out, err = cp.out(p, root, from, to, how)
	} else {
		out, err = cp.in(root, from, to, how)
	}
	return cp.conclude(out, err, words)
}

// cutID takes ID:PATH apart; id is "" of a path of the host, which holds a slash
// before its first colon, or begins with a dot.
func cutID(word string) (id, p string) {
	id, p, ok := strings.Cut(word, ":")
	if !ok || id == "" || id[0] == '.' || strings.Contains(id, "/") {
		return "", word
	}
	return id, p
}

func (cp *cpCommand) out(p *sandbox.Process, root *os.File, from, to string, how layer.Copying) (*layer.Out, error) {
	if to == "-" {
		if isTerminal(os.Stdout) {
			return nil, &usageError{msg: "a tar stream is not for a terminal", hint: "sbx cp … - | tar x, or >FILE"}
		}
		return layer.WriteTar(os.Stdout, int(root.Fd()), from, how, p.IDs)
	}
	store, err := layer.DefaultStore()
	if err != nil {
		return nil, err
	}
	if to, err = onHost(to); err != nil {
		return nil, err
	}
	return store.CopyFrom(int(root.Fd()), from, to, how)
}

func (cp *cpCommand) in(root *os.File, from, to string, how layer.Copying) (*layer.Out, error) {
	if from == "-" {
		if isTerminal(os.Stdin) {
			return nil, &usageError{msg: "- reads a tar stream from stdin, and that is the terminal", hint: "tar c FILE… | sbx cp - ID:PATH"}
		}
		return layer.ReadTar(os.Stdin, int(root.Fd()), to)
	}
	from, err := onHost(from)
	if err != nil {
		return nil, err
	}
	return layer.CopyInto(int(root.Fd()), from, to, how)
}

// onHost makes a path of the host absolute. How it ends says what is meant.
func onHost(p string) (string, error) {
	if path.IsAbs(p) {
		return p, nil
	}
	dir, err := absolute(".")
	return strings.TrimSuffix(dir, "/") + "/" + p, err
}

// conclude says what was copied, and what was not.
func (cp *cpCommand) conclude(out *layer.Out, err error, words []string) error {
	var usage *usageError
	switch {
	case errors.Is(err, layer.ErrAbsent):
		return &usageError{msg: words[0] + " is not there"}
	case errors.As(err, &usage):
		return err
	case errors.Is(err, unix.EPIPE):
		return exitStatus(1) // who read the stream has gone
	}
	if out == nil {
		return err
	}
	if nothing := out.Files == 0 && len(out.Skipped)+len(out.Failed) > 0; !cp.Quiet && err == nil && !nothing {
		to := words[1]
		if to == "-" {
			to = "the stream"
		}
		say(plural(out.Files, "file") + " (" + sizeText(out.Size) + ") copied to " + to)
	}
	listOut("left out", out.Skipped)
	listOut("not copied", out.Failed)
	links := 0
	for _, o := range out.Skipped {
		if strings.HasPrefix(o.Why, "a link that leads out") {
			links++
		}
	}
	if links > 0 {
		if out.Files == 0 && !cp.Follow && len(out.Skipped) == 1 {
			hint("-L copies what the link leads to, --guarded the link")
		} else {
			hint("--guarded copies links that lead out as well")
		}
	}
	if err != nil {
		return err
	}
	if len(out.Skipped) > 0 || len(out.Failed) > 0 {
		return exitStatus(1)
	}
	return nil
}
