package main

import (
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sbx-dev/sbx/sandbox/image"
)

// inspectCommand is sbx image inspect.
type inspectCommand struct {
	Image string `arg:"" help:"A name, a digest, or the beginning of an id."`
	Layer int    `placeholder:"N" help:"List the files of layer N, 1 being the lowest."`
	JSON  bool   `name:"json" help:"Print JSON."`
}

// inspectedLayer is a layer in JSON.
type inspectedLayer struct {
	Digest    string         `json:"digest"`
	DiffID    string         `json:"diff_id"`
	MediaType string         `json:"media_type"`
	Size      int64          `json:"size"` // bytes as it came
	CreatedBy string         `json:"created_by,omitempty"`
	Folder    string         `json:"folder"`
	Contents  image.Contents `json:"contents"`
}

// Run shows the image.
func (c *inspectCommand) Run(with *call) error {
	i, err := with.store.Find(c.Image)
	if err != nil {
		return err
	}
	layers, err := i.Layers()
	if err != nil {
		return err
	}
	if c.Layer != 0 {
		if c.Layer < 1 || c.Layer > len(layers) {
			return &usageError{msg: fmt.Sprintf("--layer %d: the image has the layers 1 to %d", c.Layer, len(layers))}
		}
		return c.files(i)
	}
	if c.JSON {
		out := []inspectedLayer{}
		for _, l := range layers {
			out = append(out, inspectedLayer{l.Blob.Digest.String(), l.DiffID.String(), string(l.Blob.MediaType), l.Blob.Size, l.CreatedBy, l.Folder, l.Contents})
		}
		return writeJSON(os.Stdout, struct {
			Version int `json:"version"`
			listedImage
			Config v1.Config        `json:"config"` // in OCI's own names
			Layers []inspectedLayer `json:"layers"`
		}{1, listed(i), i.Config.Config, out})
	}
	return c.text(i, layers)
}

func (c *inspectCommand) text(i *image.Image, layers []image.Layer) error {
	var b strings.Builder
	field := func(label string, values ...string) {
		for _, v := range values {
			if v != "" {
				fmt.Fprintf(&b, "%-12s %s\n", label, printable(v))
				label = ""
			}
		}
	}
	config := i.Config.Config
	var names []string
	for _, full := range i.Names {
		names = append(names, image.Familiar(full))
	}
	field("names", names...)
	field("id", i.ID.String())
	field("digest", i.Digest.String())
	if i.Pulled.Hex != "" && i.Pulled != i.Digest {
		field("pulled as", i.Pulled.String())
	}
	if i.Created.Year() > 1 {
		field("created", i.Created.Format(time.RFC3339))
	}
	field("platform", i.Config.OS+"/"+i.Config.Architecture)
	field("size", sizeText(i.Size)+" unpacked")
	field("owners", owners(layers))
	field("entrypoint", words(config.Entrypoint))
	field("cmd", words(config.Cmd))
	field("user", config.User)
	field("workdir", config.WorkingDir)
	field("env", config.Env...)
	field("ports", slices.Sorted(maps.Keys(config.ExposedPorts))...)
	field("volumes", slices.Sorted(maps.Keys(config.Volumes))...)
	field("stop signal", config.StopSignal)
	for _, k := range slices.Sorted(maps.Keys(config.Labels)) {
		field("label", k+"="+config.Labels[k])
	}
	b.WriteString("\n")
	if _, err := io.WriteString(os.Stdout, b.String()); err != nil {
		return err
	}
	rows := [][]string{{"LAYER", "DIFF ID", "SENT", "UNPACKED", "FILES", "FOLDERS", "REMOVES", "MADE BY"}}
	columns, onTerminal := terminal(os.Stdout)
	for n, l := range layers {
		made := printable(stepText(l.CreatedBy))
		if onTerminal {
			made = cutTo(made, max(columns-76, 12))
		}
		rows = append(rows, []string{
			strconv.Itoa(n + 1), image.Short(l.DiffID), sizeText(l.Blob.Size), sizeText(l.Contents.Bytes),
			strconv.Itoa(l.Contents.Files + l.Contents.Links), strconv.Itoa(l.Contents.Folders), strconv.Itoa(l.Contents.Whiteouts), made,
		})
	}
	return table(os.Stdout, rows)
}

// owners says whose the files of the unpacked layers are.
func owners(layers []image.Layer) string {
	real, recorded := 0, 0
	for _, l := range layers {
		if l.Contents.Owners == image.OwnersReal {
			real++
			continue
		}
		for _, r := range l.Contents.Recorded {
			if r.UID != 0 || r.GID != 0 {
				recorded++
			}
		}
	}
	switch {
	case real > 0 && real == len(layers):
		return "real, through your subordinate ids"
	case recorded > 0:
		return fmt.Sprintf("all yours on the disk; of %d files the image says others", recorded)
	}
	return ""
}

// words is a command as docker writes it.
func words(list []string) string {
	if len(list) == 0 {
		return ""
	}
	var quoted []string
	for _, w := range list {
		quoted = append(quoted, strconv.Quote(w))
	}
	return "[" + strings.Join(quoted, " ") + "]"
}

// stepText is the instruction that a history names, without what docker's old
// builder put around it.
func stepText(createdBy string) string {
	step := strings.TrimSuffix(createdBy, "# buildkit")
	if nop, ok := strings.CutPrefix(step, "/bin/sh -c #(nop) "); ok {
		step = nop
	} else if run, ok := strings.CutPrefix(step, "/bin/sh -c "); ok {
		step = "RUN " + run
	}
	return strings.Join(strings.Fields(step), " ")
}

// historyCommand is sbx image history.
type historyCommand struct {
	Image   string `arg:"" help:"A name, a digest, or the beginning of an id."`
	NoTrunc bool   `name:"no-trunc" help:"Print the steps whole."`
	JSON    bool   `name:"json" help:"Print JSON."`
}

// historyStep is a step in JSON.
type historyStep struct {
	Created   time.Time `json:"created"`
	CreatedBy string    `json:"created_by"`
	Comment   string    `json:"comment,omitempty"`
	Layer     int       `json:"layer,omitempty"` // 1 is the lowest; absent where the step made none
	Size      int64     `json:"size"`            // bytes of the files that it added
}

// Run shows the steps, the last first, as docker does.
func (c *historyCommand) Run(with *call) error {
	i, err := with.store.Find(c.Image)
	if err != nil {
		return err
	}
	layers, err := i.Layers()
	if err != nil {
		return err
	}
	steps := []historyStep{}
	layer := 0
	for _, h := range i.Config.History {
		step := historyStep{Created: h.Created.Time, CreatedBy: h.CreatedBy, Comment: h.Comment}
		if !h.EmptyLayer && layer < len(layers) {
			step.Size = layers[layer].Contents.Bytes
			layer++
			step.Layer = layer
		}
		steps = append(steps, step)
	}
	for ; layer < len(layers); layer++ { // the history says less than there is
		steps = append(steps, historyStep{Layer: layer + 1, Size: layers[layer].Contents.Bytes})
	}
	slices.Reverse(steps)
	if c.JSON {
		return writeJSON(os.Stdout, struct {
			Version int           `json:"version"`
			Steps   []historyStep `json:"steps"`
		}{1, steps})
	}
	rows := [][]string{{"LAYER", "CREATED", "SIZE", "CREATED BY"}}
	now := time.Now()
	for _, s := range steps {
		n := "-"
		if s.Layer > 0 {
			n = strconv.Itoa(s.Layer)
		}
		by := printable(stepText(s.CreatedBy))
		if !c.NoTrunc {
			by = cutTo(by, 60)
		}
		rows = append(rows, []string{n, agoText(s.Created, now), sizeText(s.Size), by})
	}
	return table(os.Stdout, rows)
}
