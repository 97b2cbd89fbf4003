package build

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/sbx-dev/sbx/sandbox"
)

// A copying among files that have their owners on the disk is done by this same
// program in a user namespace in which the caller's subordinate ids are mapped:
// there they are who they are in the image, and root may read them all. It has
// no step of isolation but user, since it does what the caller asked for with
// the caller's rights, and what it reads it only copies.

// workerVerb is the first argument of a worker, and workerFD where it reads what
// it is to do.
const (
	workerVerb = "-sbx-build-worker"
	workerFD   = 3
)

// IsWorker says whether this process was started to be a worker. The program
// then lets WorkerMain have it, before anything else.
func IsWorker(args []string) bool { return len(args) == 2 && args[1] == workerVerb }

// WorkerMain is the worker's process; it gives the exit status.
func WorkerMain() int {
	file := os.NewFile(workerFD, "copying")
	var c Copying
	err := json.NewDecoder(file).Decode(&c)
	if err = errors.Join(err, file.Close()); err == nil {
		err = c.Do(context.Background(), os.Stdout)
	}
	if err == nil {
		return 0
	}
	fmt.Fprintln(os.Stderr, err)
	return 1
}

// Work is an Options.Worker for a program whose main asks IsWorker.
func Work(ctx context.Context, c *Copying, out io.Writer) error {
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	root := 0
	skip, _ := sandbox.Only([]string{"user"})
	r, told, err := os.Pipe()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	said := &firstBytes{left: 64 << 10}
	cmd := sandbox.CommandContext(ctx, exe)
	cmd.Spec = sandbox.Spec{Args: []string{exe, workerVerb}, User: sandbox.User{UID: &root, GID: &root, Auto: true}, Skip: skip}
	cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = &giveUp{out, cancel}, said, []*os.File{r}
	err = cmd.Start()
	r.Close()
	if err != nil {
		told.Close()
		return fmt.Errorf("the worker for owners: %w", err)
	}
	go func() {
		defer told.Close()
		_ = json.NewEncoder(told).Encode(c) // a worker that is gone has said why
	}()
	err = cmd.Wait()
	if text := strings.TrimSpace(said.String()); err != nil && text != "" {
		return errors.New(text)
	}
	return err
}

// giveUp ends the worker when nobody takes what it writes: it would wait.
type giveUp struct {
	io.Writer
	stop func()
}

func (g *giveUp) Write(p []byte) (int, error) {
	n, err := g.Writer.Write(p)
	if err != nil {
		g.stop()
	}
	return n, err
}

// firstBytes keeps the beginning of what is written to it.
type firstBytes struct {
	bytes.Buffer
	left int
}

func (f *firstBytes) Write(p []byte) (int, error) {
	n := min(len(p), f.left)
	f.left -= n
	f.Buffer.Write(p[:n])
	return len(p), nil
}
