package cli

import (
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/sbx-dev/sbx/sandbox"
)

// namedAppeared is how many paths a line names: --report has all.
const namedAppeared = 5

// sayAppeared tells what CMD made that makes the host run code, in a line for
// each thing that can be the case: it was moved aside, it is still there, nobody
// knows.
func sayAppeared(list []sandbox.Appeared) {
	var moved, stay, unknown, git []string
	for _, a := range list {
		name := printable(a.Path)
		switch {
		case a.Moved != "":
			moved = append(moved, name+" is now "+printable(path.Base(a.Moved)))
		case a.Error != "" && strings.HasPrefix(a.Error, "it "):
			unknown = append(unknown, name+": "+a.Error)
		case a.Error != "":
			stay = append(stay, name+": "+a.Error)
		default:
			git = append(git, name)
		}
	}
	for _, line := range []struct {
		say   string
		names []string
	}{
		{"CMD made what makes the host run code, so it was moved aside: ", moved},
		{"CMD made what makes the host run code, and it could not be moved aside: ", stay},
		{"CMD made git folders, and git runs what their config says: look at them before you go there: ", git},
		{"what CMD may have made that makes the host run code is not known: ", unknown},
	} {
		if n := len(line.names); n > namedAppeared {
			line.names = append(line.names[:namedAppeared], "and "+strconv.Itoa(n-namedAppeared)+" more (--report FILE has all)")
		}
		if len(line.names) > 0 {
			say(line.say + strings.Join(line.names, ", "))
		}
	}
}

// writesGit are the verbs of git that write to .git.
var writesGit = []string{
	"add", "am", "branch", "cherry-pick", "checkout", "clean", "commit", "config", "fetch", "gc", "init", "merge", "mv", "notes", "pull",
	"rebase", "remote", "reset", "restore", "revert", "rm", "stash", "submodule", "switch", "tag", "update-ref", "worktree",
}

// sayGuarded gives the hint for a git that ended as it does where it cannot
// write (128), under --rw of a work tree.
func sayGuarded(cmd *sandbox.Cmd) {
	args := cmd.Spec.Args
	if path.Base(args[0]) != "git" || cmd.Result.Code != 128 || !slices.ContainsFunc(args[1:], func(a string) bool { return slices.Contains(writesGit, a) }) {
		return
	}
	for _, e := range cmd.Plan().Shown {
		if e.Kind == sandbox.BindRO && path.Base(e.Target) == ".git" && e.Guarded {
			hint(e.Target + " is read-only under --rw, since git runs what its config says: --rw " + e.Source + " lets CMD write there")
			return
		}
	}
}
