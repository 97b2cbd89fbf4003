package build

import (
	"context"
	"encoding/json"
	"io"
	"os"

	"github.com/sbx-dev/sbx/sandbox"
	"github.com/sbx-dev/sbx/sandbox/image"
	"github.com/sbx-dev/sbx/sandbox/image/worker"
)

// A copying among files that have their owners on the disk is done by this same
// program in a user namespace in which the caller's subordinate ids are mapped:
// there they are who they are in the image, and root may read them all. It sees
// what it copies from and to, and the host's programs, and nothing else: the
// files of an image are a stranger's.

// workerVerb is the argument of such a process.
const workerVerb = "-sbx-build-worker"

// IsWorker says whether this process was started to be a worker. The program
// then lets WorkerMain have it, before anything else.
func IsWorker(args []string) bool { return len(args) == 2 && args[1] == workerVerb }

// WorkerMain is the worker's process; it gives the exit status.
func WorkerMain() int {
	return worker.Serve(func(task io.Reader) error {
		var c Copying
		if err := json.NewDecoder(task).Decode(&c); err != nil {
			return err
		}
		return c.Do(context.Background(), os.Stdout)
	})
}

// Work is an Options.Worker for a program whose main asks IsWorker.
func Work(ctx context.Context, c *Copying, out io.Writer) error {
	w, err := worker.Confine(workerVerb)
	if err != nil {
		return err
	}
	w.Spec.CapAdd = []string{"DAC_OVERRIDE"}
	told := *c
	told.Stage, told.From = c.Stage.shownIn(w), c.From.shownIn(w)
	if c.Verb == CopyOut {
		w.Spec.CapAdd = append(w.Spec.CapAdd, "CHOWN", "FOWNER", "FSETID")
		told.Dest = w.Show(sandbox.BindRW, c.Dest)
	}
	return w.Run(ctx, &told, nil, out)
}

// shownIn is a place as the worker finds it.
func (p Place) shownIn(w *worker.Confined) Place {
	if p.Context != "" {
		p.Context = w.Show(sandbox.BindRO, p.Context)
	}
	layers := make([]image.Layer, len(p.Layers))
	for i, l := range p.Layers {
		l.Folder = w.Show(sandbox.BindRO, l.Folder)
		layers[i] = l
	}
	p.Layers = layers
	return p
}
