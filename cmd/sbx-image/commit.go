package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sbx-dev/sbx/sandbox/image"
	"github.com/sbx-dev/sbx/sandbox/layer"
)

// commitCommand is sbx commit.
type commitCommand struct {
	Name    string   `arg:"" help:"A layer that sbx run --keep NAME has kept."`
	Image   string   `arg:"" help:"NAME[:TAG] of the new image."`
	Change  []string `short:"c" sep:"none" placeholder:"INSTRUCTION" help:"A Dockerfile instruction for the config: CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, STOPSIGNAL, USER, VOLUME or WORKDIR."`
	Message string   `short:"m" placeholder:"TEXT" help:"What the step of the history says."`
	On      string   `placeholder:"IMAGE" help:"Lay it on the layers of this image, whose config it takes over."`
}

// Run makes an image of what CMD wrote. The layer stays as it is.
func (k *commitCommand) Run(c *call) error {
	kept, err := k.open()
	if err != nil {
		return err
	}
	defer kept.Close()
	config, below, err := k.base(c.store, kept)
	if err != nil {
		return err
	}
	for _, text := range k.Change {
		if err := change(&config.Config, text); err != nil {
			return err
		}
	}
	a, err := c.writing().Begin()
	if err != nil {
		return err
	}
	id, err := k.add(a, kept, config, below)
	if err := errors.Join(err, a.Close()); err != nil {
		return err
	}
	fmt.Fprintln(os.Stdout, id)
	if k.On == "" && len(below) == 0 {
		fmt.Fprintln(os.Stderr, "sbx: commit: the image holds what CMD wrote and nothing else: --on IMAGE lays that on an image")
	}
	return nil
}

// open takes the layer, which no run may change meanwhile.
func (k *commitCommand) open() (*layer.Layer, error) {
	store, err := layer.DefaultStore()
	if err != nil {
		return nil, err
	}
	kept, err := store.Open(k.Name)
	if errors.Is(err, layer.ErrNotExist) {
		return nil, &usageError{msg: k.Name + ": " + err.Error(), hint: "sbx changes lists the layers that are kept, sbx run --keep " + k.Name + " keeps one"}
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", k.Name, err)
	}
	return kept, nil
}

// base is the config that the new image begins with, and the layers below. An
// image of the host's files alone runs what the layer's last run ran, where that
// ran; one on an image is run as that image is.
func (k *commitCommand) base(store image.Store, kept *layer.Layer) (*v1.ConfigFile, []image.Layer, error) {
	if k.On == "" {
		r := kept.Record
		return &v1.ConfigFile{Config: v1.Config{Cmd: r.Args, WorkingDir: r.Dir}}, nil, nil
	}
	on, err := store.Find(k.On)
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

func (k *commitCommand) add(a *image.Addition, kept *layer.Layer, config *v1.ConfigFile, below []image.Layer) (v1.Hash, error) {
	var uppers []image.Upper
	var targets []string
	for _, u := range kept.Record.Uppers {
		targets = append(targets, u.Target)
	}
	for _, u := range kept.Record.Uppers {
		// One that was planned and never written to need not be there.
		if _, err := os.Lstat(u.Dir); errors.Is(err, os.ErrNotExist) {
			continue
		}
		uppers = append(uppers, image.Upper{Dir: u.Dir, At: u.Target, LeaveOut: slices.Concat(madeBySandbox, targets)})
	}
	step := v1.History{Created: v1.Time{Time: image.Now()}, CreatedBy: strings.Join(append([]string{"sbx run --keep", k.Name, "--"}, kept.Record.Args...), " "), Comment: k.Message}
	l, empty, err := a.AddUpper(below, uppers...)
	if err != nil {
		return v1.Hash{}, fmt.Errorf("%s: %w", k.Name, err)
	}
	if step.EmptyLayer = empty; !empty {
		below = append(slices.Clone(below), l)
	}
	config.History = append(config.History, step)
	return a.Finish(config, below, []string{k.Image})
}

// madeBySandbox are the paths that a sandbox mounts something on: they are in an
// upper folder because of that alone.
var madeBySandbox = []string{"/proc", "/sys", "/dev", "/tmp", "/run", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf"}
