package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/sbx-dev/sbx/sandbox/image"
	"github.com/sbx-dev/sbx/sandbox/image/worker"
)

// tagCommand is sbx image tag.
type tagCommand struct {
	Image string `arg:"" help:"A name, a digest, or the beginning of an id."`
	Name  string `arg:"" help:"The new name: NAME[:TAG], latest without one."`
}

// Run gives the name.
func (t *tagCommand) Run(c *call) error { return c.store.Tag(t.Image, t.Name) }

// removeCommand is sbx image rm.
type removeCommand struct {
	Images []string `arg:"" name:"image" help:"Names, or beginnings of ids."`
	Force  bool     `short:"f" help:"Remove an image by its id although it has several names."`
}

// Run removes names and images, and the files that no image needs any more.
func (r *removeCommand) Run(c *call) error {
	var errs []error
	for _, word := range r.Images {
		done, err := c.store.Remove(word, r.Force)
		errs = append(errs, err)
		for _, name := range done.Untagged {
			fmt.Fprintln(os.Stdout, "Untagged:", name)
		}
		if done.Deleted.Hex != "" {
			fmt.Fprintln(os.Stdout, "Deleted:", done.Deleted)
		}
	}
	if _, err := c.writing().Prune(image.Pruning{}); errors.Is(err, image.ErrBusy) {
		say("image: another process adds an image: sbx image prune removes the files later")
	} else {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// pruneCommand is sbx image prune.
type pruneCommand struct {
	All        bool `short:"a" help:"Remove every image, also those with a name, and the build cache."`
	BuildCache bool `name:"build-cache" help:"Remove the layers of the build cache that no image holds."`
	Force      bool `short:"f" help:"Do not ask."`
}

// Run removes what it says.
func (p *pruneCommand) Run(c *call) error {
	if p.All && !p.Force {
		if _, ok := terminal(os.Stdin); !ok {
			return &usageError{msg: "prune --all asks first, and stdin is no terminal", hint: "sbx image prune --all --force"}
		}
		fmt.Fprint(os.Stderr, "Remove all images? [y/N] ")
		var answer string
		if _, err := fmt.Fscanln(os.Stdin, &answer); err != nil || answer != "y" && answer != "Y" {
			return errors.New("nothing was removed")
		}
	}
	done, err := c.writing().Prune(image.Pruning{Unnamed: true, All: p.All, BuildCache: p.BuildCache})
	for _, id := range done.Images {
		fmt.Fprintln(os.Stdout, "Deleted:", id)
	}
	if err == nil {
		fmt.Fprintf(os.Stdout, "Total reclaimed space: %s\n", sizeText(done.Bytes))
	}
	return err
}

// removeTreeCommand is sbx-image remove-tree: what a kept layer is, to those who
// may not remove all that is in it.
type removeTreeCommand struct {
	Dir  string `arg:""`
	Name string `arg:"" help:"One component of a path below DIR."`
}

// Run removes a folder as root of the caller's subordinate ids.
func (r *removeTreeCommand) Run(c *call) error {
	w, err := worker.New(c.ctx)
	if err != nil {
		return err
	}
	return w.Work(image.Task{Verb: image.TaskRemove, Dir: r.Dir, Name: r.Name}, nil, nil)
}
