// Package worker carries out what sandbox/image does with files of the caller's
// subordinate ids: in a sandbox of its own, in which those ids are mapped and
// nothing but the folders of the task is there.
//
// The program starts itself for it: whoever calls New lets Main have the process
// where IsWorker says so, before anything else.
package worker

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/sbx-dev/sbx/sandbox"
	"github.com/sbx-dev/sbx/sandbox/image"
)

// verb is the first argument of a worker, and taskFD where it reads its task:
// that may be longer than an argument can be.
const (
	verb   = "-sbx-image-worker"
	taskFD = 3
)

// worker starts a process for each task.
type worker struct {
	ctx context.Context
	exe string
}

// New gives a Worker, or the reason why the caller can have none: no
// subordinate ids, no newuidmap(1), a host that refuses the map or a step. The end
// of ctx ends what is under way.
func New(ctx context.Context) (image.Worker, error) {
	if err := sandbox.Subordinate(); err != nil {
		return nil, err
	}
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	w := &worker{ctx, exe}
	return w, w.Work(image.Task{Verb: image.TaskNothing}, nil, nil) // only making one shows what the host allows
}

// ids are what a worker is: root is the caller, and the subordinate ids are all
// the others.
func ids() sandbox.User {
	root := 0
	return sandbox.User{UID: &root, GID: &root, Auto: true}
}

// Work carries a task out in a sandbox.
func (w *worker) Work(t image.Task, in io.Reader, out io.Writer) error {
	c, mapped := w.spec(t)
	return c.Run(w.ctx, mapped, in, out)
}

// spec is the sandbox of a task, and the task as it is told in there.
func (w *worker) spec(t image.Task) (*Confined, image.Task) {
	c := confine(w.exe, verb)
	c.Spec.CapAdd = []string{"CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID"}
	if t.Dir != "" {
		t.Dir = c.Show(sandbox.BindRW, t.Dir)
	}
	uppers, below := t.Uppers, t.Below
	t.Uppers, t.Below = nil, nil
	for _, u := range uppers {
		u.Dir = c.Show(sandbox.BindRO, u.Dir)
		t.Uppers = append(t.Uppers, u)
	}
	for _, l := range below {
		l.Folder = c.Show(sandbox.BindRO, l.Folder)
		t.Below = append(t.Below, l)
	}
	return c, t
}

// IsWorker says whether this process was started as a worker.
func IsWorker(args []string) bool { return len(args) == 2 && args[1] == verb }

// Main is a worker's process; it gives the exit status.
func Main() int {
	return Serve(func(task io.Reader) error {
		var t image.Task
		if err := json.NewDecoder(task).Decode(&t); err != nil {
			return fmt.Errorf("task: %w", err)
		}
		return t.Do(os.Stdin, os.Stdout)
	})
}
