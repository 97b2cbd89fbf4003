package cli

import (
	"os"
	"strings"

	"github.com/sbx-dev/sbx/sandbox/image/local"
	"github.com/sbx-dev/sbx/sandbox/layer"
	"github.com/sbx-dev/sbx/sandbox/state"
)

// wordsAfter are the words that may stand first after a verb, and the kind of
// those that come then, or of all.
func wordsAfter(verb string) (first []string, kind string) {
	switch verb {
	case "image":
		return []string{"ls", "pull", "push", "load", "save", "import", "tag", "rm", "inspect", "history", "prune"}, "images"
	case "lesson":
		return []string{"ls", "start", "run", "check", "hint", "reset", "watch"}, ""
	case "exec", "logs", "stop", "kill", "wait":
		return nil, "sandboxes"
	case "inspect":
		return nil, "looked"
	case "save":
		return nil, "images"
	case "rm", "changes", "apply", "commit":
		return nil, "held"
	case "cp":
		return nil, "places"
	}
	return nil, ""
}

// askNames is how a shell's script asks for names when they are wanted.
func askNames(kind string) string { return "$(" + fishNames(kind) + ")" }

func fishNames(kind string) string { return "sbx completion words " + kind + " 2>/dev/null" }

// printNames prints names, a line each: of sandboxes, with "held" of kept layers
// as well, with "looked" of images as well; or of images alone. Where there is no
// store there are none.
func printNames(kind string) error {
	var names []string
	if boxes, err := state.DefaultStore(); err == nil && kind != "images" {
		list, _ := boxes.List()
		for _, r := range list {
			if r.Name != "" {
				names = append(names, r.Name)
			} else {
				names = append(names, r.ID)
			}
		}
	}
	if layers, err := layer.DefaultStore(); err == nil && kind == "held" {
		kept, _ := layers.Names()
		names = append(names, kept...)
	}
	if dir, err := local.DefaultDir(); err == nil && (kind == "images" || kind == "looked") {
		images, _ := local.Names(dir)
		names = append(names, images...)
	}
	if len(names) == 0 {
		return nil
	}
	_, err := os.Stdout.WriteString(strings.Join(names, "\n") + "\n")
	return err
}
