package cli

import (
	"errors"
	"os"
	"path"
	"strconv"
	"strings"

	"github.com/sbx-dev/sbx/sandbox"
	"github.com/sbx-dev/sbx/sandbox/layer"
	"github.com/sbx-dev/sbx/sandbox/state"
)

// applyCommand is the model of sbx apply.
type applyCommand struct {
	Yes     bool `name:"yes" short:"y" help:"Do not ask. What makes the host run code later, and what changed on the host too, is left in the layer."`
	DryRun  bool `name:"dry-run" short:"n" help:"Show what would be copied, and copy nothing."`
	Guarded bool `name:"guarded" help:"Copy what makes the host run code later, such as .git and .envrc, and links that lead out of the folder, without asking for each."`
	Force   bool `name:"force" short:"f" help:"Copy over what changed on the host since, without asking for each."`

	Words []string `arg:"" optional:"" help:"The sandbox or layer, and paths: only what is in them."`
}

func applyVerb() command { return &applyCommand{} }

func (*applyCommand) usage() string { return "[flags] NAME|ID [PATH…]" }

// Help implements kong.HelpProvider.
func (*applyCommand) Help() string {
	return `Copies what CMD wrote in a sandbox that runs, or in a kept layer, to your files: shown first, and asked. Each file is replaced as a whole or not at all; modes (without setuid and setgid), times, links and holes are kept. No symbolic link is followed. What was copied leaves the layer, the rest stays in it; a sandbox that runs keeps all of it, and what is copied is what is there at that moment. What makes the host run code later (.git, .envrc, .vscode, .idea, shell start-up files) and what changed on the host meanwhile is asked for one by one. Exit code 1: something of that was left without asking, or could not be copied.`
}

func (*applyCommand) examples() [][2]string {
	return [][2]string{
		{"sbx apply demo", "show all changes, and ask"},
		{"sbx apply demo package-lock.json src", "only these"},
		{"sbx apply demo --yes", "in a script; guarded names and conflicts stay in the layer"},
	}
}

func (a *applyCommand) run(c *call) error {
	words := c.cmd(a.Words)
	if len(words) == 0 {
		return &usageError{msg: "which sandbox or layer?", hint: "sbx ps lists the sandboxes, sbx changes the layers"}
	}
	tty := asking()
	if !a.Yes && !a.DryRun && tty == nil {
		return &usageError{msg: "asks first, and here is no terminal to ask at", hint: "--yes copies without asking, --dry-run shows"}
	}
	l, err := openHeld(words[0], true)
	if err != nil {
		return err
	}
	defer l.close()
	changes, err := l.Changes()
	if err != nil {
		return err
	}
	var paths []string
	for _, p := range words[1:] {
		at, err := absolute(p)
		if err != nil {
			return err
		}
		paths = append(paths, at)
	}
	ap := applying{layer: l.Layer, what: l.what, changes: changes, paths: paths, guarded: a.Guarded, force: a.Force}
	list := ap.items()
	if len(list) == 0 {
		if len(paths) > 0 && len(changes.Items) > 0 {
			return &usageError{msg: l.what + " holds no change there", hint: "sbx changes " + l.Name + " lists " + plural(len(changes.Items), "change")}
		}
		say(l.what + " holds no change: nothing to copy")
		_, err := l.Apply(changes, func(*layer.Item) bool { return false })
		return err
	}
	if a.DryRun {
		ap.show(os.Stdout, list)
		return nil
	}
	if !a.Yes {
		_, err := ap.interactive(tty)
		return err
	}
	left := 0
	report, err := l.Apply(changes, func(it *layer.Item) bool {
		if !ap.within(it) {
			return false
		}
		if why := ap.reason(it); why != "" {
			left++
			say("left in the " + l.kind + ": " + printable(it.Path) + ": " + why)
			return false
		}
		return true
	})
	if err := ap.conclude(report, err); err != nil {
		return err
	}
	if left > 0 {
		return exitStatus(1)
	}
	return nil
}

// layerError says what can be done about a layer that cannot be opened.
func layerError(store layer.Store, name string, err error) error {
	switch {
	case errors.Is(err, layer.ErrNotExist):
		tip := "sbx ps -a lists the sandboxes, sbx changes the layers that sbx run --keep NAME has kept"
		names, _ := store.Names()
		if boxes, err := state.DefaultStore(); err == nil {
			names = append(names, sandboxNames(boxes)...)
		}
		if near := nearest(name, names); near != "" {
			tip = "did you mean " + near + "?"
		}
		return &usageError{msg: "no sandbox and no kept layer has the name " + quoted(name), hint: tip}
	case errors.Is(err, layer.ErrBusy):
		return &usageError{msg: "the layer " + name + " is in use: a run or another command goes on with it"}
	case err != nil && layer.CheckName(name) != nil:
		return &usageError{msg: err.Error()}
	}
	return err
}

// applying is one apply or review: which changes, and what need not be asked.
type applying struct {
	layer          *layer.Layer
	what           string // the layer or the sandbox, by name
	changes        *layer.Changes
	paths          []string // only what is in them; none means all
	guarded, force bool
	afterRun       bool // CMD had the terminal until now
}

// within says whether an item lies in one of the paths, as CMD sees it or on
// the host.
func (a *applying) within(it *layer.Item) bool {
	if len(a.paths) == 0 {
		return true
	}
	for _, p := range a.paths {
		for _, at := range []string{it.Path, it.Host} {
			if at == p || strings.HasPrefix(at, strings.TrimSuffix(p, "/")+"/") {
				return true
			}
		}
	}
	return false
}

func (a *applying) items() []*layer.Item {
	var list []*layer.Item
	for i := range a.changes.Items {
		if it := &a.changes.Items[i]; a.within(it) {
			list = append(list, it)
		}
	}
	return list
}

// reason is why an item is not copied without a question, or "".
func (a *applying) reason(it *layer.Item) string {
	switch {
	case it.Skip != "":
		return it.Skip
	case it.Guarded != "" && !a.guarded:
		return "it makes the host run code later"
	case it.LeadsOut && !a.guarded:
		return "a link that leads out of the folder, to " + it.Link
	case it.Conflict != "" && !a.force:
		return it.Conflict
	}
	return ""
}

// show lists items, each with what stands against it.
func (a *applying) show(f *os.File, list []*layer.Item) {
	s := styleOf(f)
	var b strings.Builder
	b.WriteString(s.bold("sbx:") + " " + plural(len(list), "change") + " in " + a.what + ":\n")
	for _, it := range list {
		b.WriteString("  " + itemLine(s, it) + "\n")
	}
	f.WriteString(b.String())
}

// itemLine is a change with what stands against copying it.
func itemLine(s style, it *layer.Item) string {
	line := changeLine(s, it.Kind, it.Path, it.Size, it.Type == "folder")
	if it.Link != "" {
		line += s.dim(" -> ") + printable(it.Link)
	}
	switch {
	case it.Skip != "":
		line += s.dim("  (not copied: " + visible(it.Skip) + ")")
	case it.Conflict != "":
		line += s.red("  (" + visible(it.Conflict) + ")")
	}
	if it.Guarded != "" {
		line += s.yellow("  (guarded: makes the host run code later)")
	} else if it.LeadsOut {
		line += s.yellow("  (leads out of the folder)")
	}
	return line
}

// interactive shows the changes on a terminal and asks which are to be copied.
func (a *applying) interactive(tty *os.File) (*layer.Report, error) {
	list := a.items()
	a.show(tty, list)
	if a.afterRun {
		forgetTyped()
	}
	one, copied := false, 0
	plain := 0
	for _, it := range list {
		if a.reason(it) == "" {
			plain++
		}
	}
	if plain > 0 {
		switch ask(tty, "Copy "+plural(plain, "change")+" to your files? [y]es, [s]ome of them, [N]o", "ysn") {
		case 'y':
		case 's':
			one = true
		default:
			say("nothing is copied")
			return &layer.Report{}, nil
		}
	}
	all, declined := false, []string{}
	chosen := make(map[*layer.Item]bool, len(list))
	for _, it := range list {
		why := a.reason(it)
		if it.Skip != "" || inFolder(it.Path, declined) {
			continue
		}
		yes := why == "" && !one || all
		if !yes {
			question := "Copy " + kindWord(it) + printable(it.Path)
			if why != "" {
				question += " (" + visible(why) + ")"
			}
			switch ask(tty, question+"? [y]es [N]o [a]ll [q]uit", "ynaq") {
			case 'y':
				yes = true
			case 'a':
				// All of what is harmless: the rest is asked for one by one.
				yes, one = true, false
				all = why != ""
			case 'q':
				declined = append(declined, "/")
			}
		}
		if yes {
			chosen[it] = true
			copied++
		} else if it.Type == "folder" && it.Kind == sandbox.Added {
			declined = append(declined, it.Path)
		}
	}
	if copied == 0 {
		say("nothing is copied")
		return &layer.Report{}, nil
	}
	report, err := a.layer.Apply(a.changes, func(it *layer.Item) bool { return chosen[it] })
	return report, a.conclude(report, err)
}

func kindWord(it *layer.Item) string {
	switch it.Kind {
	case sandbox.Added:
		return "the new "
	case sandbox.Deleted:
		return "the deletion of "
	}
	return "the changed "
}

func inFolder(p string, folders []string) bool {
	for _, f := range folders {
		if f == "/" || strings.HasPrefix(p, f+"/") {
			return true
		}
	}
	return false
}

// conclude says what was copied, and what was not.
func (a *applying) conclude(report *layer.Report, err error) error {
	msg := plural(len(report.Applied), "change") + " copied"
	if report.Left > 0 && !a.afterRun {
		msg += ", " + strconv.Itoa(report.Left) + " left in " + a.what
	}
	say(msg)
	for i, f := range report.Failed {
		if i == shownOut {
			say("not copied: … and " + strconv.Itoa(len(report.Failed)-i) + " more")
			break
		}
		say("not copied: " + printable(path.Join(f.Item.Host)) + ": " + f.Err.Error())
	}
	if err != nil {
		return err
	}
	if len(report.Failed) > 0 {
		return exitStatus(1)
	}
	return nil
}
