package main

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"strings"

	"github.com/alecthomas/kong"
	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox/image"
)

// say prints a line for the user on stderr: stdout is for ids, lists and
// archives. What comes from an image or a registry is made printable.
func say(text string) { toUser("1", "sbx:", text) }

// hint prints what to do about the line before; "" prints nothing.
func hint(text string) {
	if text != "" {
		toUser("36", "hint:", text)
	}
}

// toUser writes in one call, so that lines of several processes do not mix.
func toUser(code, who, text string) {
	if colours(os.Stderr) {
		who = "\x1b[" + code + "m" + who + "\x1b[m"
	}
	os.Stderr.WriteString(who + " " + printableLines(text) + "\n")
}

// wrongWords is what kong finds wrong in a command line, with the help that is
// about it: that of sbx for load, save and commit, else that of the verb.
func wrongWords(args []string, err error) error {
	verb := "image"
	if len(args) > 0 && args[0] != "image" {
		verb = args[0]
	}
	tip := "sbx " + verb + " --help"
	word, unexpected := strings.CutPrefix(err.Error(), "unexpected argument ")
	switch {
	case unexpected && (verb == "load" || len(args) > 1 && args[1] == "load"):
		tip = "sbx load -i " + word
	case unexpected && len(args) > 1 && args[1] == "build":
		tip = "sbx build -t NAME ."
	case verb == "image" && len(args) > 1 && !unknownVerb(err) && !strings.HasPrefix(args[1], "-"):
		tip = "sbx image " + args[1] + " --help"
	}
	return &usageError{msg: err.Error(), hint: tip}
}

// unknownVerb says whether kong knows no such verb of sbx image, which then has
// no help.
func unknownVerb(err error) bool {
	var parse *kong.ParseError
	if !errors.As(err, &parse) || parse.Context == nil {
		return true
	}
	selected := parse.Context.Selected()
	return selected == nil || selected.Name == "image"
}

// fail prints an error as sbx does and gives the exit status.
func fail(err error) int {
	if err == nil {
		return 0
	}
	var building *buildError
	if errors.As(err, &building) {
		return failBuild(err)
	}
	for line := range strings.SplitSeq(err.Error(), "\n") { // of several images, each has one
		say("image: " + line)
	}
	var usage *usageError
	if errors.As(err, &usage) {
		hint(usage.hint)
		return 125
	}
	tip := hintOf(err)
	if tip == "" && errors.Is(err, image.ErrNotFound) {
		tip = "sbx image ls lists the images, sbx image pull NAME fetches one"
	}
	hint(tip)
	return 1
}

// hintOf says what to do about an error of the store or of a registry, or "".
func hintOf(err error) string {
	var (
		platform  *image.PlatformError
		damaged   *image.DamagedError
		answer    *image.AnswerError
		elsewhere *image.ElsewhereError
		lookup    *net.DNSError
		dial      *net.OpError
	)
	switch {
	case errors.As(err, &platform):
		return "sbx image pull --platform OS/ARCH fetches an image of another machine, to look at it or to save it"
	case errors.As(err, &damaged):
		return "sbx image rm " + damaged.Name + " removes it; pulled or loaded again it is whole"
	case errors.Is(err, image.ErrNoArchive):
		return "the command that was to write the archive wrote nothing"
	case errors.Is(err, image.ErrBusy):
		return "a pull or a load is under way: try again when it is done"
	case errors.Is(err, unix.ENOSPC), strings.HasSuffix(err.Error(), unix.ENOSPC.Error()): // a worker's error is a text
		return full(err)
	case errors.Is(err, image.ErrPlainHTTP):
		return "--plain-http, of sbx image pull, sbx image push and sbx build, is for registries on this machine"
	case errors.As(err, &elsewhere):
		return "the registry is the first part of a name: sbx image tag NAME localhost:5000/NAME gives it another one"
	case errors.As(err, &answer) && answer.Absent():
		return "the registry has no such image: is the name right, and the tag?"
	case errors.As(err, &answer) && answer.Refused():
		return "there is no such image, or it needs a login: docker login and podman login --authfile ~/.docker/config.json write those that sbx takes"
	case errors.As(err, &lookup), errors.As(err, &dial) && dial.Op == "dial":
		return "sbx image ls lists the images that are here; FROM host and sbx load need no registry"
	}
	return ""
}

// full says which of two places has no room: the store, or what is written
// outside of it.
func full(err error) string {
	var at *fs.PathError
	store, storeErr := image.DefaultStore()
	if errors.As(err, &at) && storeErr == nil && !strings.HasPrefix(at.Path, store.Dir()+"/") {
		return "the disk of " + at.Path + " is full"
	}
	return "the disk is full: sbx image prune --build-cache makes room; XDG_DATA_HOME=DIR takes a store on another disk"
}
