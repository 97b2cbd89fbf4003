package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/cmd/internal/buildflags"
	"github.com/sbx-dev/sbx/sandbox/build"
	"github.com/sbx-dev/sbx/sandbox/image"
)

// buildCommand is sbx build.
type buildCommand struct {
	buildflags.Flags

	// Spec is the sandbox of each RUN, in JSON: sbx makes it of the flags that
	// run and build have in common.
	Spec    string `hidden:""`
	Context string `arg:"" optional:"" help:"The folder that COPY and ADD read, or - for a Dockerfile on stdin without one."`
}

// Run builds the image.
func (b *buildCommand) Run(c *call) error {
	if err := b.run(c); err != nil {
		return &buildError{err}
	}
	return nil
}

func (b *buildCommand) run(c *call) error {
	began := time.Now()
	o, err := b.options()
	if err != nil {
		return err
	}
	show, err := newBuildProgress(b.Progress, b.Quiet)
	if err != nil {
		return err
	}
	o.Progress = show.event
	store := c.writing()
	if store.Worker != nil {
		o.Worker = build.Work
	}
	result, err := build.Build(c.ctx, store, *o)
	show.end(err)
	if err != nil {
		return err
	}
	for _, name := range result.Unused {
		say("build: no ARG asked for --build-arg " + name)
	}
	for _, text := range result.Warnings {
		say("build: " + text)
	}
	if b.IIDFile != "" {
		if err := os.WriteFile(b.IIDFile, []byte(result.ID.String()), 0o644); err != nil {
			return err
		}
	}
	show.summary(result, o.Names, time.Since(began))
	_, err = fmt.Fprintln(os.Stdout, result.ID)
	return err
}

// options reads the flags and the files that they name.
func (b *buildCommand) options() (*build.Options, error) {
	o := &build.Options{
		Target: b.Target, NoCache: b.NoCache, Pull: b.Pull, Explain: b.Explain,
		Registry: image.Registry{PlainHTTP: b.PlainHTTP}, Names: b.Tag,
		Args: map[string]string{}, Labels: map[string]string{}, Secrets: map[string]build.Secret{},
	}
	for _, name := range b.Tag {
		if _, err := image.Canonical(name); err != nil {
			return nil, &usageError{msg: "-t " + name + ": " + err.Error()}
		}
	}
	for _, arg := range b.BuildArg {
		k, v, ok := strings.Cut(arg, "=")
		if k == "" {
			return nil, &usageError{msg: "--build-arg " + arg + ": it names no ARG", hint: "--build-arg VERSION=1"}
		}
		if !ok {
			if v, ok = os.LookupEnv(k); !ok {
				continue
			}
		}
		o.Args[k] = v
	}
	for _, label := range b.Label {
		k, v, _ := strings.Cut(label, "=")
		if k == "" {
			return nil, &usageError{msg: "--label " + label + ": it has no name", hint: "--label K=V"}
		}
		o.Labels[k] = v
	}
	for _, text := range b.Secret {
		id, s, err := parseSecret(text)
		if err != nil {
			return nil, err
		}
		o.Secrets[id] = s
	}
	if b.Spec != "" {
		if err := json.Unmarshal([]byte(b.Spec), &o.Spec); err != nil {
			return nil, &usageError{msg: "--spec: " + err.Error()}
		}
	}
	return o, b.dockerfile(o)
}

// parseSecret reads docker's id=ID,src=FILE and id=ID,env=NAME. An id alone is
// the name of a variable.
func parseSecret(text string) (id string, s build.Secret, err error) {
	bad := func(why string) (string, build.Secret, error) {
		return "", s, &usageError{msg: "--secret " + text + ": " + why, hint: "--secret id=token,src=FILE or --secret id=token,env=NAME"}
	}
	variable := ""
	for field := range strings.SplitSeq(text, ",") {
		k, v, ok := strings.Cut(field, "=")
		if !ok || v == "" {
			return bad("a field is K=V")
		}
		switch k {
		case "id":
			id = v
		case "src", "source":
			s.File = v
		case "env":
			variable = v
		case "type":
			if v != "file" && v != "env" {
				return bad("the type is file or env")
			}
		default:
			return bad(k + " is not known")
		}
	}
	if id == "" {
		return bad("it has no id")
	}
	if s.File != "" && variable != "" {
		return bad("it is a file or a variable")
	}
	if s.File != "" {
		if s.File, err = filepath.Abs(s.File); err != nil {
			return "", s, err
		}
		if st, err := os.Stat(s.File); err != nil || !st.Mode().IsRegular() {
			return bad(s.File + " is no file that can be read")
		}
		return id, s, nil
	}
	if variable == "" {
		variable = id
	}
	value, ok := os.LookupEnv(variable)
	if !ok {
		return bad("the variable " + variable + " is not set")
	}
	s.Value = value
	return id, s, nil
}

// dockerfile reads the Dockerfile, and finds the context.
func (b *buildCommand) dockerfile(o *build.Options) error {
	switch b.Context {
	case "":
		return &usageError{msg: "build needs a folder to build from", hint: "sbx build -t NAME ."}
	case "-":
		if b.File != "" {
			return &usageError{msg: "a Dockerfile on stdin and --file " + b.File + " exclude each other"}
		}
		b.File = "-"
	default:
		if strings.Contains(b.Context, "://") {
			return &usageError{msg: b.Context + " is an address, and contexts are not fetched", hint: "get it first, with git clone or curl"}
		}
		dir, err := filepath.Abs(b.Context)
		if err != nil {
			return err
		}
		if st, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
			return &usageError{msg: "there is no folder " + b.Context, hint: "sbx build -t NAME . builds from this one"}
		} else if err != nil {
			return err
		} else if !st.IsDir() {
			return &usageError{msg: b.Context + " is no folder", hint: "the Dockerfile goes with --file: sbx build -f " + b.Context + " ."}
		}
		o.Context = dir
	}
	if b.File == "-" {
		if _, ok := terminal(os.Stdin); ok {
			return &usageError{msg: "the Dockerfile is to come from stdin, which is a terminal", hint: "sbx build -f - . < FILE"}
		}
		o.Name = "Dockerfile"
		var err error
		o.Dockerfile, err = io.ReadAll(io.LimitReader(os.Stdin, mostDockerfile))
		return err
	}
	if b.File != "" {
		return readDockerfile(o, b.File, os.OpenFile)
	}
	// Who made the context made this file: a link in it could lead to a file of
	// the caller's, of which an error shows lines. One that the caller names is
	// read wherever it lies.
	root, err := os.OpenRoot(o.Context)
	if err != nil {
		return err
	}
	defer root.Close()
	for _, name := range []string{"Dockerfile", "Containerfile"} {
		if _, err := root.Lstat(name); errors.Is(err, os.ErrNotExist) {
			continue
		}
		return readDockerfile(o, filepath.Join(o.Context, name), func(_ string, flag int, mode os.FileMode) (*os.File, error) {
			return root.OpenFile(name, flag, mode)
		})
	}
	return &usageError{msg: "there is no Dockerfile in " + b.Context, hint: "-f FILE names another"}
}

// mostDockerfile is more than a Dockerfile may have, in bytes: package build says
// how much that is.
const mostDockerfile = 2 << 20

// readDockerfile reads a regular file: a FIFO would be waited for.
func readDockerfile(o *build.Options, name string, open func(string, int, os.FileMode) (*os.File, error)) error {
	file, err := open(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if errors.Is(err, os.ErrNotExist) {
		return &usageError{msg: "there is no file " + name, hint: "-f names a Dockerfile as seen from here, not from the folder that is built"}
	}
	if err != nil {
		return err
	}
	defer file.Close()
	if st, err := file.Stat(); err != nil || !st.Mode().IsRegular() {
		return errors.Join(err, &usageError{msg: name + " is no regular file"})
	}
	if o.Dockerfile, err = io.ReadAll(io.LimitReader(file, mostDockerfile)); err != nil {
		return err
	}
	o.Name = name
	if abs, err := filepath.Abs(name); err == nil {
		if rel, err := filepath.Rel(o.Context, abs); err == nil && filepath.IsLocal(rel) && o.Context != "" {
			o.Name, o.IgnoreName = rel, filepath.ToSlash(rel)
		}
	}
	return nil
}

// buildError is an error of sbx build.
type buildError struct{ error }

func (e *buildError) Unwrap() error { return e.error }

// failBuild prints what went wrong, at an instruction with the lines around it,
// and gives the exit status.
func failBuild(err error) int {
	if errors.Is(err, context.Canceled) {
		say("build: interrupted; the steps that were done are in the cache")
		return 130
	}
	say("build: " + err.Error())
	var at *build.Error
	if errors.As(err, &at) {
		for line := range strings.Lines(at.Excerpt) {
			fmt.Fprintln(os.Stderr, strings.TrimRight(cleanLine(strings.TrimSuffix(line, "\n")), " "))
		}
	}
	var usage *usageError
	var command *build.CommandError
	var mistake *build.MistakeError
	switch {
	case errors.As(err, &usage):
		hint(usage.hint)
		return 125
	case errors.As(err, &mistake):
		hint(mistake.Hint)
	case errors.As(err, &command) && command.Offline:
		hint("RUN tried the network, which it does not have: sbx build --net host gives it the host's")
	default:
		tip := hintOf(err)
		if tip == "" && errors.Is(err, image.ErrNotFound) {
			tip = "sbx image ls lists the images of the store"
		}
		hint(tip)
	}
	return 1
}
