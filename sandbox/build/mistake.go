package build

import (
	"errors"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/command"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/util/suggest"
)

// MistakeError is an error whose cause is known, and with it what to do.
type MistakeError struct {
	Hint string
	err  error
}

func (e *MistakeError) Error() string { return e.err.Error() }

// Unwrap gives the error itself.
func (e *MistakeError) Unwrap() error { return e.err }

// errNoFrom is a Dockerfile that does not begin with FROM.
var errNoFrom = errors.New("no FROM comes before it")

// beginning is what a Dockerfile is to begin with.
const beginning = "a Dockerfile begins with FROM and an image, or FROM host for the programs of this machine"

// misread puts a hint to what the parser says of a Dockerfile, and says in other
// words what needs to know how BuildKit works.
func misread(err error) error {
	var unknown *instructions.UnknownInstructionError
	switch {
	case errors.As(err, &unknown):
		var names []string
		for name := range command.Commands {
			names = append(names, strings.ToUpper(name))
		}
		if near, ok := suggest.Search(strings.ToUpper(unknown.Instruction), names, true); ok {
			return &MistakeError{Hint: "did you mean " + near + "?", err: err}
		}
	case err.Error() == "no build stage in current context":
		return &MistakeError{Hint: beginning, err: errNoFrom}
	case err.Error() == "file with no instructions":
		return &MistakeError{Hint: beginning, err: errors.New("it has no instructions")}
	}
	return err
}

// unlisted says of a CMD or ENTRYPOINT that begins like a list and is none that
// it is a line for a shell, which will look for a program called "[". "" says
// that there is nothing to say.
func unlisted(c instructions.Command) string {
	var shell bool
	switch c := c.(type) {
	case *instructions.CmdCommand:
		shell = c.PrependShell
	case *instructions.EntrypointCommand:
		shell = c.PrependShell
	default:
		return ""
	}
	text := oneLine(source(c))
	if _, list, _ := strings.Cut(text, " "); !shell || !strings.HasPrefix(list, "[") || !strings.HasSuffix(list, "]") {
		return ""
	}
	return cut(text, 72) + ": no list in JSON (each word in double quotes, commas between them), so a shell gets it as a line"
}

// missing puts a hint to a COPY whose source is not in the context.
func (r *run) missing(c *Copying, err error) error {
	if !errors.Is(err, errNoSource) || c.From.Context == "" {
		return err
	}
	hint := "COPY and ADD read the folder that is built, " + c.From.Context
	for _, source := range c.Sources {
		if !strings.HasPrefix(err.Error(), source+": "+errNoSource.Error()) {
			continue // this one is there
		}
		clean := path.Clean("/" + source)
		switch _, there := os.Lstat(filepath.Join(c.From.Context, clean)); {
		case strings.HasPrefix(path.Clean(source), "../"):
			hint += ", and nothing outside of it: sbx build -f Dockerfile .. builds the one above"
		case there == nil && len(c.From.Ignore) > 0:
			hint = ".dockerignore leaves " + strings.TrimPrefix(clean, "/") + " out"
		}
		break
	}
	return &MistakeError{Hint: hint, err: err}
}

// installers are commands that install what is for all of the machine.
var installers = [...]string{"apt-get", "apt", "dnf", "yum", "apk", "pacman", "zypper", "pip", "pip3"}

// unwritable puts a hint to a RUN that failed and began with an installer, on the
// host's own programs: it cannot install anything there.
func (r *run) unwritable(executed []string, err error) error {
	var failed *CommandError
	if !r.st.onHost || !errors.As(err, &failed) || failed.Offline {
		return err
	}
	line := strings.Join(executed, " ")
	if len(executed) == 3 && executed[1] == "-c" { // of a shell
		line = executed[2]
	}
	words := strings.Fields(line)
	if len(words) < 2 || !slices.Contains(installers[:], path.Base(words[0])) {
		return err
	}
	hint := "FROM host shows the programs of this machine, and nothing can be installed there: FROM an image of a registry, or install it on the machine"
	if strings.HasPrefix(path.Base(words[0]), "pip") {
		if strings.Contains(line, "--target") {
			return err
		}
		hint = "FROM host shows the programs of this machine, and nothing can be installed there: pip install --target /opt/site, with ENV PYTHONPATH=/opt/site"
	}
	return &MistakeError{Hint: hint, err: err}
}
