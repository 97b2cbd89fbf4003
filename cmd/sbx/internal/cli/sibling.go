package cli

import (
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// siblingCommand is the model of a verb that a sibling program carries out: its
// words are the sibling's, and what is here is for help, completion and the
// manual page.
type siblingCommand struct {
	Words []string `arg:"" optional:"" passthrough:"" help:"What the verb is to do."`

	synopsis string
	text     string
	shown    [][2]string
}

func (s *siblingCommand) usage() string         { return s.synopsis }
func (s *siblingCommand) Help() string          { return s.text }
func (s *siblingCommand) examples() [][2]string { return s.shown }
func (s *siblingCommand) run(*call) error       { return nil }

func lessonVerb() command {
	return &siblingCommand{
		synopsis: "[ls|start|run|check|hint|reset|watch] [LESSON]",
		text: "A lesson is an experiment, a question and an exercise of 5 to 15 minutes. It needs no network and no privilege.\n\n" +
			"ls lists the lessons and how far you are; start LESSON explains one and makes its folder; run LESSON shows its experiment; " +
			"check looks at your answer, at what the kernel says and not at what is printed; hint says what was seen and what it means; " +
			"reset LESSON begins anew; watch does all of that with single keys. A LESSON is a number or a name; without one it is the one that you are at. " +
			"check --all checks every lesson, --json prints JSON.",
		shown: [][2]string{
			{"sbx lesson watch", "go through the course"},
			{"sbx lesson start 1", "one lesson"},
			{"sbx lesson check", "is the answer right?"},
		},
	}
}

func classroomVerb() command {
	return &siblingCommand{
		synopsis: "[--listen ADDRESS:PORT] [--token TOKEN] [--no-open]",
		text: "Serves the lessons and the switchboard on 127.0.0.1 and prints the address, which holds a random token. " +
			"Every command that a browser sends runs in a sandbox with limits. For a class, --listen takes another address, and --token is then needed too.",
		shown: [][2]string{
			{"sbx classroom", "on this machine"},
			{"sbx classroom --listen 0.0.0.0:8080 --token \"$(head -c12 /dev/urandom | base64)\"", "for a class"},
		},
	}
}

// asksHelp says whether the first word asks for help: sbx itself gives it.
func asksHelp(args []string) bool {
	return len(args) > 0 && (args[0] == "--help" || args[0] == "-h" || args[0] == "--help=all")
}

// execSibling becomes the sibling program. It is looked for beside sbx, then in
// libexec/sbx of the same prefix, and never along PATH. SBX tells it which sbx
// is to run the sandboxes.
func execSibling(v verb, args []string) error {
	at, err := findSibling(v.sibling)
	if err != nil {
		return err
	}
	self, err := ownPath()
	if err != nil {
		return err
	}
	if err := os.Setenv("SBX", self); err != nil {
		return err
	}
	argv := append([]string{v.sibling, v.name}, args...)
	return &fs.PathError{Op: "execve", Path: at, Err: unix.Exec(at, argv, os.Environ())}
}

// findSibling is the path of a program that belongs to sbx.
func findSibling(name string) (string, error) {
	self, err := ownPath()
	if err != nil {
		return "", err
	}
	dir := filepath.Dir(self)
	for _, at := range []string{filepath.Join(dir, name), filepath.Join(filepath.Dir(dir), "libexec", "sbx", name)} {
		if unix.Access(at, unix.F_OK) == nil {
			return at, nil
		}
	}
	return "", &usageError{
		msg:  name + " is neither beside " + self + " nor in libexec/sbx",
		hint: "build it: go build -o " + dir + "/ github.com/sbx-dev/sbx/cmd/" + name,
	}
}

// ownPath is the path of this program, without symbolic links.
func ownPath() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	if real, err := filepath.EvalSymlinks(self); err == nil {
		self = real
	}
	return self, nil
}
