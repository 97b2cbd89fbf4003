// Sbx-image keeps images: sbx executes it for the verbs image, save, load and
// commit. It
// is a program of its own because what speaks to registries would cost every
// start of sbx.
//
//	sbx-image image ls|pull|push|load|save|import|tag|rm|inspect|history|prune
//	sbx-image load|save|commit
//
// Exit status: 0 done, 1 it could not be done, 125 wrong usage.
package main

import (
	"context"
	"os"
	"os/signal"

	"github.com/alecthomas/kong"
	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox"
	"github.com/sbx-dev/sbx/sandbox/build"
	"github.com/sbx-dev/sbx/sandbox/image"
	"github.com/sbx-dev/sbx/sandbox/image/worker"
)

// commands is kong's model: the verbs of sbx that this program carries out.
type commands struct {
	Image struct {
		LS      listCommand    `cmd:"" name:"ls" aliases:"list" help:"List the images."`
		Pull    pullCommand    `cmd:"" help:"Fetch images from a registry."`
		Push    pushCommand    `cmd:"" help:"Send images to the registry that their names say."`
		Load    loadCommand    `cmd:"" help:"Add the images of an archive (docker save, podman save, OCI)."`
		Save    saveCommand    `cmd:"" help:"Write images as one archive, for docker load, podman load and sbx load."`
		Import  importCommand  `cmd:"" help:"Make an image of a root file system: a folder or a tar archive."`
		Tag     tagCommand     `cmd:"" help:"Give an image one more name."`
		RM      removeCommand  `cmd:"" name:"rm" aliases:"remove" help:"Take a name from an image; with its last name the image goes."`
		Inspect inspectCommand `cmd:"" help:"Show an image's config and layers, or the files of one layer."`
		History historyCommand `cmd:"" help:"Show the steps that made an image."`
		Prune   pruneCommand   `cmd:"" help:"Remove images without a name, and what no image needs."`
	} `cmd:"" help:"The local store of images."`
	Load   loadCommand   `cmd:"" help:"Add the images of an archive."`
	Save   saveCommand   `cmd:"" help:"Write images as one archive."`
	Commit commitCommand `cmd:"" help:"Make an image of what a sandbox or a kept layer holds."`
	// RemoveTree is for sbx itself, where a kept layer holds files of
	// subordinate ids.
	RemoveTree removeTreeCommand `cmd:"" hidden:""`
	Build      buildCommand      `cmd:"" help:"Build an image of a Dockerfile."`
}

// usageError is a command line that the user can mend.
type usageError struct{ msg, hint string }

func (e *usageError) Error() string { return e.msg }

// call is what a verb gets beside its flags.
type call struct {
	ctx   context.Context
	store image.Store
}

// writing gives the store to a verb that adds or removes layers: with real
// owners where the caller has subordinate ids. Who has none loses nothing by it:
// owners are recorded then. A host that refuses ids which are there is told of.
func (c *call) writing() image.Store {
	if sandbox.Subordinate() != nil {
		return c.store
	}
	w, err := worker.New(c.ctx)
	if err != nil {
		say("image: the owners of files are only recorded: " + err.Error())
		return c.store
	}
	c.store.Worker = w
	return c.store
}

func main() {
	if worker.IsWorker(os.Args) {
		os.Exit(worker.Main())
	}
	if build.IsWorker(os.Args) {
		os.Exit(build.WorkerMain())
	}
	os.Exit(run(os.Args[1:]))
}

// run is main without the process: it gives the exit status.
func run(args []string) int {
	var c commands
	parser, err := kong.New(&c, kong.Name("sbx"), kong.Description("Images without a daemon, as a normal user."), kong.ConfigureHelp(kong.HelpOptions{Compact: true}))
	if err != nil {
		return fail(err)
	}
	parser.Model.HelpFlag.Help = "Show this help."
	parsed, err := parser.Parse(args)
	if err != nil {
		return fail(wrongWords(args, err))
	}
	store, err := image.DefaultStore()
	if err != nil {
		return fail(err)
	}
	// The first signal stops what is under way, which then cleans up; the
	// second one ends the program.
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	return fail(parsed.Run(&call{ctx: ctx, store: store}))
}
