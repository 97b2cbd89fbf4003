package main

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sbx-dev/sbx/sandbox/container"
	"github.com/sbx-dev/sbx/sandbox/image"
)

// registryFlags are those of the verbs that speak to a registry.
type registryFlags struct {
	PlainHTTP bool `name:"plain-http" help:"Speak HTTP without TLS, to a registry on this machine only."`
	Quiet     bool `short:"q" help:"Show no progress."`
}

// tellOfHost says of an image that came in what it shows of the host.
func tellOfHost(i *image.Image, name string, quiet bool) {
	if !quiet && i.Config.Config.Labels[container.BaseLabel] == container.BaseHost {
		fmt.Fprintln(os.Stderr, container.HostNote(name))
	}
}

// pullCommand is sbx image pull.
type pullCommand struct {
	Names    []string `arg:"" name:"name" help:"NAME[:TAG] or NAME@DIGEST; docker.io and latest where nothing else is said."`
	Platform string   `placeholder:"OS/ARCH" help:"Fetch the image of another machine, such as linux/arm64."`
	registryFlags
}

// Run fetches the images.
func (p *pullCommand) Run(c *call) error {
	registry := image.Registry{PlainHTTP: p.PlainHTTP}
	if p.Platform != "" {
		platform, err := v1.ParsePlatform(p.Platform)
		if err != nil || platform.OS == "" || platform.Architecture == "" {
			return &usageError{msg: "--platform " + p.Platform + " is not OS/ARCH", hint: "--platform linux/arm64"}
		}
		registry.Platform = *platform
	}
	store := c.writing()
	for _, name := range p.Names {
		bars := newBars(p.Quiet)
		got, err := store.Pull(c.ctx, name, registry, bars.layer)
		bars.end()
		if err != nil {
			return err
		}
		full, err := image.Canonical(name)
		if err != nil {
			return err
		}
		fmt.Fprintln(os.Stdout, full)
		fmt.Fprintln(os.Stdout, "Digest:", got.Pulled)
		tellOfHost(got, image.Familiar(full), p.Quiet)
	}
	return nil
}

// pushCommand is sbx image push.
type pushCommand struct {
	Names []string `arg:"" name:"name" help:"REGISTRY/NAME[:TAG]; sbx image tag gives an image such a name."`
	registryFlags
}

// Run sends the images.
func (p *pushCommand) Run(c *call) error {
	for _, name := range p.Names {
		bars := newBars(p.Quiet)
		digest, err := c.store.Push(c.ctx, name, image.Registry{PlainHTTP: p.PlainHTTP}, bars.whole)
		bars.end()
		if err != nil {
			return err
		}
		fmt.Fprintln(os.Stdout, "Digest:", digest)
	}
	return nil
}

// loadCommand is sbx image load and sbx load.
type loadCommand struct {
	Input string `short:"i" placeholder:"FILE" help:"The archive, plain or compressed; stdin without it."`
	Quiet bool   `short:"q" help:"Show no progress."`
}

// Run adds the images of the archive.
func (l *loadCommand) Run(c *call) error {
	in, err := input(l.Input, "load")
	if err != nil {
		return err
	}
	defer in.Close()
	bars := newBars(l.Quiet)
	loaded, err := c.writing().Load(in, bars.layer)
	bars.end()
	if err != nil {
		return err
	}
	for _, one := range loaded {
		if one.Name != "" {
			fmt.Fprintln(os.Stdout, "Loaded image:", image.Familiar(one.Name))
		} else {
			fmt.Fprintln(os.Stdout, "Loaded image ID:", one.ID)
		}
		if i, err := c.store.Find(one.ID.String()); err == nil { // else it is gone again
			tellOfHost(i, cmp.Or(image.Familiar(one.Name), one.ID.String()), l.Quiet)
		}
	}
	return nil
}

// input opens a file, or takes stdin where none is named and it is no terminal.
func input(name, verb string) (io.ReadCloser, error) {
	if name != "" && name != "-" {
		return os.Open(name)
	}
	if _, ok := terminal(os.Stdin); ok {
		return nil, &usageError{msg: verb + " reads an archive, and stdin is a terminal", hint: map[string]string{"load": "sbx load -i FILE", "import": "sbx image import FILE NAME"}[verb]}
	}
	return io.NopCloser(os.Stdin), nil
}

// saveCommand is sbx image save and sbx save.
type saveCommand struct {
	Images []string `arg:"" name:"image" help:"Names, digests, or beginnings of ids."`
	Output string   `short:"o" placeholder:"FILE" help:"Write to FILE; stdout without it."`
}

// Run writes the archive. A file gets its name when it is whole.
func (s *saveCommand) Run(c *call) error {
	if s.Output == "" || s.Output == "-" {
		if _, ok := terminal(os.Stdout); ok {
			return &usageError{msg: "save writes an archive, and stdout is a terminal", hint: "sbx save -o FILE " + strings.Join(s.Images, " ")}
		}
		out := bufio.NewWriterSize(os.Stdout, 1<<20)
		if err := c.store.Save(out, s.Images); err != nil {
			return err
		}
		return out.Flush()
	}
	if st, err := os.Stat(s.Output); err == nil && !st.Mode().IsRegular() {
		return &usageError{msg: s.Output + " is there and is no file"}
	}
	file, err := os.CreateTemp(filepath.Dir(s.Output), ".sbx-save-")
	if err != nil {
		return err
	}
	defer os.Remove(file.Name()) // no error counts: it has its name by then, or is of no use
	out := bufio.NewWriterSize(file, 1<<20)
	err = c.store.Save(out, s.Images)
	if err == nil {
		err = out.Flush() // whose error is that of Save again, where that has one
	}
	if err := errors.Join(err, file.Chmod(0o644), file.Close()); err != nil {
		return err
	}
	return os.Rename(file.Name(), s.Output)
}

// importCommand is sbx image import.
type importCommand struct {
	Source string   `arg:"" help:"A folder, a tar archive (plain, gzip or zstd), or - for stdin."`
	Name   string   `arg:"" optional:"" help:"NAME[:TAG] of the new image."`
	Change []string `short:"c" sep:"none" placeholder:"INSTRUCTION" help:"A Dockerfile instruction for the config: CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, STOPSIGNAL, USER, VOLUME or WORKDIR."`
	Quiet  bool     `short:"q" help:"Show no progress."`
}

// Run makes the image.
func (i *importCommand) Run(c *call) error {
	var config v1.Config
	for _, text := range i.Change {
		if err := change(&config, text); err != nil {
			return err
		}
	}
	in, err := i.open()
	if err != nil {
		return err
	}
	defer in.Close()
	bars := newBars(i.Quiet)
	id, err := c.writing().Import(in, i.Name, config, filepath.Base(i.Source), bars.layer)
	bars.end()
	if err == nil {
		fmt.Fprintln(os.Stdout, id)
	}
	return err
}

func (i *importCommand) open() (io.ReadCloser, error) {
	if st, err := os.Stat(i.Source); i.Source == "-" || err != nil || !st.IsDir() {
		return input(i.Source, "import")
	}
	reader, writer := io.Pipe()
	go func() { writer.CloseWithError(image.ArchiveFolder(writer, i.Source)) }()
	return reader, nil
}
