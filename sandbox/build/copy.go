package build

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strconv"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"

	"github.com/sbx-dev/sbx/sandbox/container"
	"github.com/sbx-dev/sbx/sandbox/image"
	"github.com/sbx-dev/sbx/sandbox/stack"
)

// copyFiles does a COPY.
func (r *run) copyFiles(ctx context.Context, step Step, c *instructions.CopyCommand) (outcome, error) {
	from, err := r.place(ctx, c.From)
	if err != nil {
		return outcome{}, err
	}
	flags := ""
	if c.From != "" {
		flags = " --from=" + c.From
	}
	return r.copying(ctx, step, "COPY"+flags, c.SourcesAndDest, Copying{
		From: from, Chown: c.Chown, Chmod: c.Chmod, Exclude: c.ExcludePatterns, Parents: c.Parents,
	})
}

// addFiles does an ADD, of files and archives of the context.
func (r *run) addFiles(ctx context.Context, step Step, c *instructions.AddCommand) (outcome, error) {
	for _, source := range c.SourcePaths {
		if isAddress(source) {
			return outcome{}, unsupported("ADD of an address ("+source+")", "fetch it beforehand, or in a RUN with sbx build --net host")
		}
	}
	from, err := r.place(ctx, "")
	if err != nil && len(c.SourcePaths) > 0 {
		return outcome{}, err
	}
	return r.copying(ctx, step, "ADD", c.SourcesAndDest, Copying{
		From: from, Chown: c.Chown, Chmod: c.Chmod, Exclude: c.ExcludePatterns, Unpack: c.Unpack == nil || *c.Unpack,
	})
}

// isAddress says whether ADD would fetch a source: a URL or a git repository.
func isAddress(source string) bool {
	for _, prefix := range []string{"http://", "https://", "git://", "ssh://", "git@", "ftp://"} {
		if strings.HasPrefix(source, prefix) {
			return true
		}
	}
	return false
}

// copying completes a Copying and makes its layer, or finds it in the cache.
func (r *run) copying(ctx context.Context, step Step, name string, what instructions.SourcesAndDest, c Copying) (outcome, error) {
	config := &r.st.config.Config
	text := name
	for _, s := range what.SourcePaths {
		text += " " + s
	}
	for _, inline := range what.SourceContents {
		text += " <<" + inline.Path
		c.Contents = append(c.Contents, Inline{Name: inline.Path, Data: inline.Data})
	}
	text += " " + what.DestPath
	c.Stage, c.Sources = r.st.place(), what.SourcePaths
	c.Dest = destination(config.WorkingDir, what.DestPath, len(what.SourcePaths)+len(c.Contents))
	c.Now, c.Latest = r.now, r.epoch

	var digest bytes.Buffer
	c.Verb = CopyDigest
	if err := r.work(ctx, &c, &digest); err != nil {
		return outcome{}, r.missing(&c, err)
	}
	d := newDigester("copy")
	r.st.parent(d)
	d.words(name, c.Dest, c.Chmod, strconv.FormatBool(c.Unpack), strconv.FormatBool(c.Parents), digest.String())
	did, err := r.layer(ctx, step, d.sum(), func(ctx context.Context) (*image.Layer, error) { return r.archive(ctx, &c) })
	did.text = text
	return did, err
}

// makeFolder does a WORKDIR: the folder is made where it does not exist, and is
// the user's whom USER names.
func (r *run) makeFolder(ctx context.Context, step Step, c *instructions.WorkdirCommand) (outcome, error) {
	config := &r.st.config.Config
	if c.Path == "" {
		return outcome{}, errors.New("it names no folder")
	}
	dir := workdir(config, c.Path)
	config.WorkingDir = dir
	did := outcome{text: "WORKDIR " + dir}
	place := r.st.place()
	at, err := r.resolve(ctx, dir)
	if err != nil {
		return did, err
	}
	if at.Exists {
		if !at.Folder {
			return did, fmt.Errorf("%s is there, and is no folder", dir)
		}
		return did, nil
	}
	copying := Copying{Stage: place, Dest: dir, Folder: true, Now: r.now, Latest: r.epoch}
	if config.User != "" {
		who, err := container.Lookup(stack.New(folders(r.st.layers)), config.User)
		if err != nil {
			return did, err
		}
		copying.Chown = strconv.Itoa(who.UID) + ":" + strconv.Itoa(who.GID)
	}
	d := newDigester("workdir")
	r.st.parent(d)
	d.words(dir, copying.Chown)
	made, err := r.layer(ctx, step, d.sum(), func(ctx context.Context) (*image.Layer, error) { return r.archive(ctx, &copying) })
	made.text = did.text
	return made, err
}

func folders(layers []image.Layer) []string {
	var out []string
	for _, l := range layers {
		out = append(out, l.Folder)
	}
	return out
}

// work carries a Copying out: here, or where the caller's subordinate ids are
// mapped, if files have their owners.
func (r *run) work(ctx context.Context, c *Copying, out io.Writer) error {
	if r.o.Worker != nil && (len(c.From.Layers) > 0 || c.Verb != CopyDigest && len(c.Stage.Layers) > 0) {
		return r.o.Worker(ctx, c, out)
	}
	return c.Do(ctx, out)
}

// archive makes the layer of a Copying.
func (r *run) archive(ctx context.Context, c *Copying) (*image.Layer, error) {
	c.Verb = CopyArchive
	in, out := io.Pipe()
	written := make(chan error, 1)
	go func() {
		err := r.work(ctx, c, out)
		written <- err // before the archive ends: who sees the end finds it
		out.CloseWithError(err)
	}()
	l, err := r.addition.AddArchive(in)
	select {
	case failed := <-written:
		if failed != nil && err != nil {
			err = failed // of which AddArchive has seen the end only
		}
	default: // it gave up before the archive had ended
		in.CloseWithError(errors.New("the layer was not added"))
		<-written
	}
	if err != nil {
		return nil, err
	}
	return &l, nil
}

// mountTarget is where a RUN --mount shows something: absolute.
func mountTarget(workdir, target string) (string, error) {
	if target == "" {
		return "", errors.New("it names no target")
	}
	if !path.IsAbs(target) {
		target = path.Join("/", workdir, target)
	}
	if target = path.Clean(target); target == "/" {
		return "", errors.New("its target is the root itself")
	}
	return target, nil
}
