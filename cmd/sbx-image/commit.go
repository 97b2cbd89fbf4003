package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sbx-dev/sbx/sandbox"
	"github.com/sbx-dev/sbx/sandbox/image"
)

// commitCommand is sbx commit.
type commitCommand struct {
	Name    string   `arg:"" name:"name|id" help:"A sandbox, or a layer that sbx run --keep NAME has kept."`
	Image   string   `arg:"" help:"NAME[:TAG] of the new image."`
	Change  []string `short:"c" sep:"none" placeholder:"INSTRUCTION" help:"A Dockerfile instruction for the config: CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, STOPSIGNAL, USER, VOLUME or WORKDIR."`
	Message string   `short:"m" placeholder:"TEXT" help:"What the step of the history says."`
	On      string   `placeholder:"IMAGE" help:"Lay it on the layers of this image, whose config it takes over."`
}

// Run makes an image of what CMD wrote, which stays as it is.
func (k *commitCommand) Run(c *call) error {
	kept, err := findWritten(k.Name)
	if err != nil {
		return err
	}
	defer kept.close()
	a, err := c.writing().Begin() // what the image needs cannot go from now on
	if err != nil {
		return err
	}
	id, alone, err := k.commit(c.store, a, kept)
	if err := errors.Join(err, a.Close()); err != nil {
		return err
	}
	fmt.Fprintln(os.Stdout, id)
	if alone {
		say("commit: the image holds what CMD wrote and nothing else: --on IMAGE lays that on an image")
	}
	return nil
}

func (k *commitCommand) commit(store image.Store, a *image.Addition, kept *written) (id v1.Hash, alone bool, err error) {
	config, below, err := k.base(store, kept)
	if err != nil {
		return id, false, err
	}
	for _, text := range k.Change {
		if err := change(&config.Config, text); err != nil {
			return id, false, err
		}
	}
	id, err = k.add(a, kept, config, below)
	return id, len(below) == 0, err
}

// base is the config that the new image begins with, and the layers below. What
// was written over an image is laid on that; an image of what was written over
// the host's files runs what the last run ran, where that ran.
func (k *commitCommand) base(store image.Store, kept *written) (*v1.ConfigFile, []image.Layer, error) {
	var on *image.Image
	var err error
	if at := slices.IndexFunc(kept.uppers, func(u sandbox.Upper) bool { return len(u.Lowers) > 0 }); k.On != "" {
		if on, err = store.Find(k.On); k.On == "host" && errors.Is(err, image.ErrNotFound) {
			return nil, nil, &usageError{msg: "--on host: host is no image, but a base for sbx build", hint: "echo FROM host | sbx build -t base -, then --on base"}
		}
	} else if at >= 0 {
		on, err = k.under(store, kept.uppers[at].Lowers)
	} else {
		return &v1.ConfigFile{Config: v1.Config{Cmd: kept.args, WorkingDir: kept.dir}}, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	below, err := on.Layers()
	if err != nil {
		return nil, nil, err
	}
	config := on.Config.DeepCopy()
	config.Created = v1.Time{} // the time of the new one
	if len(config.History) == 0 {
		for range below { // the history is to tell of each layer, or of none
			config.History = append(config.History, v1.History{})
		}
	}
	return config, below, nil
}

// under finds the image that a kept layer was written over, by its layers'
// folders. Several images may have just those, with another config each.
func (k *commitCommand) under(store image.Store, folders []string) (*image.Image, error) {
	images, damaged := store.List()
	var found []*image.Image
	var names []string
	for _, i := range images {
		layers, err := i.Layers()
		if err != nil {
			return nil, err
		}
		if slices.EqualFunc(layers, folders, func(l image.Layer, folder string) bool { return l.Folder == folder }) {
			found = append(found, i)
			for _, full := range i.Names {
				names = append(names, image.Familiar(full))
			}
		}
	}
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1:
		return nil, &usageError{msg: k.Name + " was written over layers that " + strconv.Itoa(len(found)) + " images have: " + strings.Join(names, ", "), hint: "--on IMAGE says which one's config the new image is to have"}
	case damaged != nil:
		return nil, damaged
	}
	return nil, &usageError{msg: k.Name + " was written over an image that is in the store no more", hint: "--on IMAGE lays it on another one"}
}

func (k *commitCommand) add(a *image.Addition, kept *written, config *v1.ConfigFile, below []image.Layer) (v1.Hash, error) {
	step := v1.History{Created: v1.Time{Time: image.Now()}, CreatedBy: strings.Join(append([]string{"sbx run --"}, kept.args...), " "), Comment: k.Message}
	l, empty, err := a.AddUpper(below, kept.layers()...)
	if err != nil {
		return v1.Hash{}, fmt.Errorf("%s: %w", k.Name, err)
	}
	if step.EmptyLayer = empty; !empty {
		below = append(slices.Clone(below), l)
	}
	config.History = append(config.History, step)
	return a.Finish(config, below, []string{k.Image})
}
