package cli

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox/image/local"
	"github.com/sbx-dev/sbx/sandbox/observe"
	"github.com/sbx-dev/sbx/sandbox/state"
)

// inspectCommand is the model of sbx inspect.
type inspectCommand struct {
	JSON bool   `name:"json" help:"Print JSON. It holds the values of the environment, secrets included."`
	Tree bool   `name:"tree" help:"Draw the isolation boxes around the process as a tree."`
	SVG  string `name:"svg" placeholder:"FILE" help:"Draw the boxes to FILE, for a page or a projector; - is standard output."`

	Words []string `arg:"" optional:"" help:"A process id, the name or id of a sandbox, or an image; none means sbx itself, and so the place that it is called in."`
}

func inspectVerb() command { return &inspectCommand{} }

func (*inspectCommand) usage() string { return "[--tree] [--svg FILE] [--json] [PID|ID|IMAGE]" }

// Help implements kong.HelpProvider.
func (*inspectCommand) Help() string {
	return `Reads from /proc which namespaces a process is in, how its ids are mapped, what it has mounted, which capabilities, filters and limits it has, and what it sees of other processes and of the network; and says in what it differs from the place that sbx is called in. Nothing runs inside the process. Of an image it shows config and layers, as sbx image inspect does; a sandbox of the name comes first.`
}

func (*inspectCommand) examples() [][2]string {
	return [][2]string{
		{"sbx inspect", "the place that you are in"},
		{"sbx inspect $(pidof -s firefox)", "how is this browser isolated?"},
		{"sbx inspect --tree $(pgrep -n sleep)", "the boxes around a process in a sandbox"},
	}
}

func (i *inspectCommand) run(c *call) error {
	words := c.cmd(i.Words)
	if len(words) > 1 {
		return &usageError{msg: "one process at a time", hint: "sbx inspect " + words[0]}
	}
	if len(words) == 1 && i.isImage(words[0]) {
		args := []string{"inspect"}
		if i.JSON {
			args = append(args, "--json")
		}
		return execSibling(verb{name: "image", sibling: "sbx-image"}, append(args, "--", words[0]))
	}
	self, err := observe.Self()
	if err != nil {
		return err
	}
	view := self
	if len(words) == 1 {
		if view, err = snapshotOf(words[0]); err != nil {
			return err
		}
	}
	if i.JSON {
		return writeJSON(os.Stdout, view)
	}
	boxes := view.Boxes(self)
	if i.SVG != "" {
		if err := writeDrawing(i.SVG, &boxes); err != nil || !i.Tree {
			return err
		}
	}
	s, cols := styleOf(os.Stdout), width(os.Stdout)
	if i.Tree {
		return boxes.WriteTree(os.Stdout, observe.WriteOptions{Width: cols, Color: s.on})
	}
	var b strings.Builder
	if err := view.Write(&b, observe.WriteOptions{Width: cols, Color: s.on, Reference: self}); err != nil {
		return err
	}
	if view != self {
		b.WriteByte('\n')
		var steps []string
		for _, ch := range observe.Diff(self, view) {
			// Variables and open files are each process' own anyway, and the Go
			// runtime has raised sbx's limit of open files.
			if ch.Step == "env" || ch.Step == "fds" || strings.Contains(ch.Subject, "NOFILE") {
				continue
			}
			if !slices.Contains(steps, ch.Step) {
				steps = append(steps, ch.Step)
			}
		}
		text := "Against sbx itself it differs in what these steps isolate: " + strings.Join(steps, ", ") + "."
		if len(steps) == 0 {
			text = "It does not differ from sbx itself in anything that a step isolates."
		}
		b.WriteString(strings.Join(fold(text, cols), "\n") + "\n")
	}
	_, err = os.Stdout.WriteString(b.String())
	return err
}

// isImage says whether a word names no process and no sandbox, but an image of the
// store.
func (i *inspectCommand) isImage(word string) bool {
	if _, err := strconv.Atoi(word); err == nil || i.Tree || i.SVG != "" {
		return false
	}
	if boxes, err := state.DefaultStore(); err == nil {
		if _, err := boxes.Find(word); !errors.Is(err, state.ErrNotExist) {
			return false
		}
	}
	dir, err := local.DefaultDir()
	if err != nil {
		return false
	}
	image, err := local.Find(dir, word)
	if err != nil {
		return false
	}
	image.Close()
	return true
}

// writeDrawing writes the boxes as SVG, beside the file first and then in its
// place, so that a page which shows it never shows half of it.
func writeDrawing(name string, boxes *observe.Box) error {
	if name == "-" {
		return boxes.WriteSVG(os.Stdout, false)
	}
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".*")
	if err != nil {
		return &usageError{msg: "--svg: " + err.Error()}
	}
	err = errors.Join(boxes.WriteSVG(f, false), f.Chmod(0o644), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}

// snapshotOf looks at the process of a word.
func snapshotOf(word string) (*observe.View, error) {
	pid, err := strconv.Atoi(word)
	if err != nil {
		store, r, p, err := runningSandbox(word, cmdOf)
		if _, unknown := store.Find(word); errors.Is(unknown, state.ErrNotExist) {
			tip := "sbx ps -a lists the sandboxes, sbx image ls the images"
			if near := nearest(word, sandboxNames(store)); near != "" {
				tip = "did you mean " + near + "?"
			}
			return nil, &usageError{msg: "no sandbox and no image has the name or id " + quoted(word), hint: tip}
		}
		if err != nil {
			return nil, err
		}
		defer p.Close()
		pid, word = r.CMD.Pid, strconv.Itoa(r.CMD.Pid)
	} else if pid <= 0 {
		return nil, &usageError{msg: quoted(word) + " is no process id", hint: "sbx inspect PID, the name of a sandbox, or an image"}
	}
	view, err := observe.Snapshot(pid)
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ESRCH):
		return nil, &usageError{msg: "no process has the id " + word, hint: hiddenProcesses()}
	case err != nil:
		return nil, err
	}
	if len(view.Namespaces) == 0 && os.Getuid() != 0 && view.State != "Z" {
		owner := "uid " + strconv.Itoa(int(view.UID.Real))
		if view.UID.Real == 0 {
			owner = "root"
		}
		if int(view.UID.Real) == os.Getuid() {
			return nil, &usageError{msg: "process " + word + " (" + visible(view.Comm) + ") has more rights than you: the kernel does not show how it is isolated"}
		}
		return nil, &usageError{msg: "process " + word + " (" + visible(view.Comm) + ") belongs to " + owner + ": the kernel shows how it is isolated to nobody else"}
	}
	return view, nil
}

// hiddenProcesses says that /proc shows less than all, where it does.
func hiddenProcesses() string {
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err == nil && strings.Contains(string(text), "hidepid=") {
		return "/proc is mounted with hidepid: it shows your own processes only"
	}
	return ""
}
