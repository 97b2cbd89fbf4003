package cli

import (
	"errors"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/sbx-dev/sbx/sandbox"
	"github.com/sbx-dev/sbx/sandbox/layer"
)

// changesCommand is the model of sbx changes.
type changesCommand struct {
	JSON bool `name:"json" help:"Print JSON."`

	Words []string `arg:"" optional:"" help:"A sandbox, or a layer that --keep made; without one all layers are listed."`
}

func changesVerb() command { return &changesCommand{} }

func (*changesCommand) usage() string { return "[--json] [NAME|ID]" }

// Help implements kong.HelpProvider.
func (*changesCommand) Help() string {
	return `Lists what a sandbox that runs, or a kept layer, holds against your files: added (A), modified (M), deleted (D), with sizes. What makes the host run code later, what changed on the host meanwhile and what cannot be copied is marked. Without a name it lists the layers.`
}

func (*changesCommand) examples() [][2]string {
	return [][2]string{
		{"sbx changes", "which layers are there?"},
		{"sbx changes demo", "what would sbx apply demo copy?"},
		{"sbx changes web", "what has the sandbox web written so far?"},
	}
}

func (ch *changesCommand) run(c *call) error {
	words := c.cmd(ch.Words)
	store, err := layer.DefaultStore()
	if err != nil {
		return err
	}
	switch len(words) {
	case 0:
		return ch.list(store)
	case 1:
	default:
		return &usageError{msg: "one layer at a time", hint: "sbx changes " + words[0]}
	}
	l, err := openHeld(words[0], false)
	if err != nil {
		return err
	}
	defer l.close()
	changes, err := l.Changes()
	if err != nil {
		return err
	}
	if ch.JSON {
		if changes.Items == nil {
			changes.Items = []layer.Item{}
		}
		return writeJSON(os.Stdout, struct {
			layer.Record
			*layer.Changes
		}{l.Layer.Record, changes})
	}
	s := styleOf(os.Stdout)
	var b strings.Builder
	for i := range changes.Items {
		b.WriteString(itemLine(s, &changes.Items[i]) + "\n")
	}
	if len(changes.Items) == 0 {
		b.WriteString("no changes\n")
	}
	if changes.OwnFiles > 0 {
		b.WriteString(s.dim("and "+plural(changes.OwnFiles, "file")+" in HOME and tools, which belong to the layer: "+sizeText(changes.OwnSize)) + "\n")
	}
	_, err = os.Stdout.WriteString(b.String())
	return err
}

// keptLayer is one line of the list of layers.
type keptLayer struct {
	Name     string    `json:"name"`
	Project  string    `json:"project"` // the folder that it belongs to
	Created  time.Time `json:"created"`
	LastUsed time.Time `json:"last_used"`
	InUse    bool      `json:"in_use"`
	Size     int64     `json:"size"`    // bytes on the disk
	Changes  int       `json:"changes"` // -1 where they cannot be compared
	Args     []string  `json:"args,omitempty"`
}

// keptLayers looks at all layers, by name.
func keptLayers(store layer.Store) ([]keptLayer, error) {
	names, err := store.Names()
	list := []keptLayer{}
	for _, name := range names {
		busy := false
		l, err := store.Open(name)
		if errors.Is(err, layer.ErrBusy) {
			busy = true
			l, err = store.Look(name)
		}
		if err != nil {
			if !errors.Is(err, layer.ErrNotExist) {
				say(err.Error())
			}
			continue
		}
		k := keptLayer{
			Name: name, Project: l.Record.Project, Created: l.Record.Created, LastUsed: l.Record.LastUsed,
			InUse: busy, Size: l.Size(), Changes: -1, Args: l.Record.Args,
		}
		if changes, err := l.Changes(); err == nil {
			k.Changes = len(changes.Items)
		}
		l.Close()
		list = append(list, k)
	}
	return list, err
}

func (ch *changesCommand) list(store layer.Store) error {
	list, err := keptLayers(store)
	if err != nil {
		return err
	}
	if ch.JSON {
		return writeJSON(os.Stdout, struct {
			Version int         `json:"version"`
			Layers  []keptLayer `json:"layers"`
		}{1, list})
	}
	if len(list) == 0 {
		say("no layer is kept: sbx run --keep NAME makes one")
		return nil
	}
	showLayers(os.Stdout, list)
	return nil
}

// showLayers prints layers as a table.
func showLayers(f *os.File, list []keptLayer) {
	rows := make([][]cell, 0, len(list))
	for _, k := range list {
		used, code := k.LastUsed.Format("2006-01-02 15:04"), ""
		if k.InUse {
			used, code = "in use", "33"
		}
		changes := "?"
		if k.Changes >= 0 {
			changes = strconv.Itoa(k.Changes)
		}
		rows = append(rows, []cell{
			{k.Name, "1"},
			{used, code},
			{sizeText(k.Size), ""},
			{changes, ""},
			{printable(k.Project), ""},
		})
	}
	var b strings.Builder
	writeTable(&b, styleOf(f), width(f), []string{"NAME", "LAST USED", "SIZE", "CHANGES", "FOLDER"}, rows)
	f.WriteString(b.String())
}

// shownChanges is how many lines the list of changes has at most: who wants
// more reads --report.
const shownChanges = 200

// printChanges lists what CMD wrote: first what lies over folders of the host,
// a line each, then in one line what lies in memory only, such as /tmp.
// Kept says where the layers are kept; "" is nowhere.
func printChanges(f *os.File, changes []sandbox.Change, kept string) {
	s := styleOf(f)
	var b strings.Builder
	var list []sandbox.Change
	memory, memorySize := 0, int64(0)
	for _, c := range changes {
		if c.Memory {
			if !c.Dir {
				memory++
				memorySize += c.Size
			}
			continue
		}
		list = append(list, c)
	}
	if len(list) == 0 {
		b.WriteString(s.bold("sbx:") + " CMD changed none of the folders that it was shown\n")
	} else {
		where := "gone now"
		if kept != "" {
			where = "kept " + kept
		}
		b.WriteString(s.bold("sbx:") + " " + plural(len(list), "change") + " by CMD, seen only inside and " + where + ":\n")
	}
	for i, c := range list {
		if i == shownChanges {
			b.WriteString("  … and " + strconv.Itoa(len(list)-i) + " more (--report FILE has all)\n")
			break
		}
		b.WriteString("  " + changeLine(s, c.Kind, c.Path, c.Size, c.Dir) + "\n")
	}
	if memory > 0 {
		b.WriteString("  " + s.dim("and "+plural(memory, "file")+" in folders of its own, such as HOME and /tmp: "+sizeText(memorySize)) + "\n")
	}
	f.WriteString(b.String())
}

// changeLine is one change: a letter, the size, the path.
func changeLine(s style, kind, name string, n int64, dir bool) string {
	size := ""
	switch {
	case kind == sandbox.Deleted:
	case dir:
		size = "dir"
	default:
		size = sizeText(n)
	}
	size = padLeft(size, 8)
	name = printable(name)
	if dir {
		name += "/"
	}
	switch kind {
	case sandbox.Added:
		return s.green("A "+size+"  ") + name
	case sandbox.Deleted:
		return s.red("D "+size+"  ") + name
	}
	return s.yellow("M "+size+"  ") + name
}

// printable is a path as it may be shown: CMD chose the name, and a terminal
// would obey the control characters in it, or show it in another order.
func printable(name string) string {
	for _, r := range name {
		if r == utf8.RuneError || !strconv.IsPrint(r) {
			return strconv.Quote(name)
		}
	}
	return name
}

// sizeText is a number of bytes in at most six characters.
func sizeText(n int64) string {
	if n < 1024 {
		return strconv.FormatInt(n, 10) + " B"
	}
	v := float64(n)
	for _, unit := range []string{" KiB", " MiB", " GiB"} {
		if v /= 1024; v < 1000 {
			digits := 1
			if v >= 100 {
				digits = 0
			}
			return strconv.FormatFloat(v, 'f', digits, 64) + unit
		}
	}
	return strconv.FormatFloat(v/1024, 'f', 1, 64) + " TiB"
}
