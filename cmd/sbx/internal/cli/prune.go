package cli

import (
	"errors"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/sbx-dev/sbx/sandbox/layer"
)

// pruneCommand is the model of sbx prune.
type pruneCommand struct {
	Force     bool   `name:"force" short:"f" help:"Do not ask."`
	OlderThan string `name:"older-than" placeholder:"AGE" help:"Only layers that were last used before: 30d, 2w, 12h."`
	DryRun    bool   `name:"dry-run" short:"n" help:"Show what would be removed, and remove nothing."`
}

func pruneVerb() command { return &pruneCommand{} }

func (*pruneCommand) usage() string { return "[flags]" }

// Help implements kong.HelpProvider.
func (*pruneCommand) Help() string {
	return `Removes all kept layers that no run is using, the layers of sandboxes that nothing is known of any more, and what an interrupted rm, apply, --review or --out has left. It shows them first, and asks.`
}

func (*pruneCommand) examples() [][2]string {
	return [][2]string{
		{"sbx prune --older-than 30d", "what was not used for a month"},
		{"sbx prune -f", "without asking, as in a cron job"},
	}
}

func (p *pruneCommand) run(*call) error {
	before := time.Now()
	if p.OlderThan != "" {
		age, err := parseAge(p.OlderThan)
		if err != nil {
			return err
		}
		before = before.Add(-age)
	}
	store, err := layerStore()
	if err != nil {
		return err
	}
	list, err := keptLayers(store)
	if err != nil {
		return err
	}
	var old []keptLayer
	size := int64(0)
	for _, k := range list {
		if !k.InUse && k.LastUsed.Before(before) {
			old = append(old, k)
			size += k.Size
		}
	}
	forgotten := store.Forgotten()
	defer func() {
		for _, l := range forgotten {
			l.Close()
		}
	}()
	for _, l := range forgotten {
		size += l.Size()
	}
	interrupted := store.Interrupted()
	if len(old) > 0 {
		showLayers(os.Stdout, old)
	}
	switch {
	case len(old) == 0 && interrupted == 0 && len(forgotten) == 0:
		if !p.DryRun { // temporary files in folders of the host are not counted
			if _, err := store.Sweep(); err != nil {
				return err
			}
		}
		say("nothing to remove")
		return nil
	case interrupted > 0:
		say(plural(interrupted, "removal or review") + " that was interrupted is removed too")
	}
	if len(forgotten) > 0 {
		say(plural(len(forgotten), "layer") + " of sandboxes that nothing is known of any more")
	}
	n := len(old) + len(forgotten)
	if p.DryRun {
		say(plural(n, "layer") + " would be removed: " + sizeText(size))
		return nil
	}
	if !p.Force {
		tty := asking()
		if tty == nil {
			return &usageError{msg: "asks first, and here is no terminal to ask at", hint: "-f removes without asking, --dry-run shows"}
		}
		if ask(tty, "Remove "+plural(n, "layer")+", "+sizeText(size)+"? [y]es, [N]o", "yn") != 'y' {
			say("nothing is removed")
			return nil
		}
	}
	_, err = store.Sweep()
	errs := []error{err}
	removed := 0
	for _, l := range forgotten {
		err := l.Remove()
		if err == nil {
			removed++
		}
		errs = append(errs, err)
	}
	for _, k := range old {
		l, err := store.Open(k.Name)
		switch {
		case errors.Is(err, layer.ErrNotExist):
			continue
		case errors.Is(err, layer.ErrBusy):
			say("the layer " + k.Name + " is in use by now: it stays")
			continue
		case err == nil:
			err = l.Remove()
		}
		if err == nil {
			removed++
		}
		errs = append(errs, err)
	}
	say(plural(removed, "layer") + " removed: " + sizeText(size))
	return errors.Join(errs...)
}

// parseAge reads a number of days, weeks, or what time.ParseDuration knows.
func parseAge(text string) (time.Duration, error) {
	for unit, hours := range map[string]int{"d": 24, "w": 7 * 24} {
		number, ok := strings.CutSuffix(text, unit)
		if n, err := strconv.Atoi(number); ok && err == nil && n >= 0 && n < 40000 {
			return time.Duration(n) * time.Duration(hours) * time.Hour, nil
		}
	}
	if d, err := time.ParseDuration(text); err == nil && d >= 0 {
		return d, nil
	}
	return 0, &usageError{msg: "--older-than " + text + ": is no age", hint: "30d, 2w or 12h"}
}
