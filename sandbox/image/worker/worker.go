// Package worker carries out what sandbox/image does with files of the caller's
// subordinate ids: in a sandbox of its own, in which those ids are mapped and
// nothing but the folders of the task is there.
//
// The program starts itself for it: whoever calls New lets Main have the process
// where IsWorker says so, before anything else.
package worker

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

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
	spec, mapped, err := w.spec(t)
	if err != nil {
		return err
	}
	return w.start(spec, mapped, in, out)
}

// spec is the sandbox of a task, and the task as it is told in there. An archive
// is hostile, and what parses it may be wrong: so it sees nothing of the host
// but its programs and the folders of the task, has no network, and of root's
// rights only those over files.
func (w *worker) spec(t image.Task) (sandbox.Spec, image.Task, error) {
	s := sandbox.Spec{
		Args: []string{"/sbx/worker", verb}, Env: []string{"SOURCE_DATE_EPOCH"}, Dir: "/", HideDir: true, Tools: []string{"none"},
		User: ids(), CapAdd: []string{"CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID"},
	}
	var errs []error
	show := func(kind, source string) string {
		real, err := filepath.EvalSymlinks(source)
		if err == nil {
			real, err = filepath.Abs(real)
		}
		errs = append(errs, err)
		target := "/sbx/" + strconv.Itoa(len(s.Mounts))
		s.Mounts = append(s.Mounts, sandbox.Mount{Kind: kind, Source: real, Target: target, Layer: kind == sandbox.BindRW})
		return target
	}
	show(sandbox.BindRO, w.exe)
	s.Args[0] = s.Mounts[0].Target
	if t.Dir != "" {
		t.Dir = show(sandbox.BindRW, t.Dir)
	}
	uppers, below := t.Uppers, t.Below
	t.Uppers, t.Below = nil, nil
	for _, u := range uppers {
		u.Dir = show(sandbox.BindRO, u.Dir)
		t.Uppers = append(t.Uppers, u)
	}
	for _, l := range below {
		l.Folder = show(sandbox.BindRO, l.Folder)
		t.Below = append(t.Below, l)
	}
	return s, t, errors.Join(errs...)
}

func (w *worker) start(s sandbox.Spec, t image.Task, in io.Reader, out io.Writer) error {
	task, err := json.Marshal(t)
	if err != nil {
		return err
	}
	r, told, err := os.Pipe()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(w.ctx)
	defer cancel()
	said := &bounded{left: mostSaid}
	c := sandbox.CommandContext(ctx, s.Args[0])
	c.Spec, c.Stdin, c.Stderr, c.ExtraFiles = s, in, said, []*os.File{r}
	if out != nil {
		c.Stdout = &stopping{out, cancel}
	}
	err = c.Start()
	r.Close()
	if err != nil {
		told.Close()
		return fmt.Errorf("the worker for owners: %w", err)
	}
	go func() {
		defer told.Close()
		_, _ = told.Write(task) // a worker that is gone says why
	}()
	if err = c.Wait(); err == nil {
		return nil
	}
	if ctx := w.ctx.Err(); ctx != nil {
		return ctx
	}
	var f failure
	if json.Unmarshal(said.Bytes(), &f) == nil && f.Error != "" {
		return f.err()
	}
	if text, _, _ := strings.Cut(strings.TrimSpace(said.String()), "\n"); text != "" {
		return fmt.Errorf("the worker for owners: %w: %s", err, text)
	}
	return fmt.Errorf("the worker for owners: %w", err)
}

// mostSaid is how much of a worker's words is kept, in bytes.
const mostSaid = 64 << 10

// failure is what a worker writes to its standard error.
type failure struct {
	Error   string              `json:"error"`
	Refused *image.RefusedError `json:"refused,omitempty"`
}

func (f *failure) err() error {
	if f.Refused != nil {
		return f.Refused
	}
	return errors.New(f.Error)
}

// IsWorker says whether this process was started as a worker.
func IsWorker(args []string) bool { return len(args) == 2 && args[1] == verb }

// Main is a worker's process; it gives the exit status.
func Main() int {
	err := do()
	if err == nil {
		return 0
	}
	f := failure{Error: err.Error()}
	errors.As(err, &f.Refused)
	_ = json.NewEncoder(os.Stderr).Encode(f) // the status says that it failed
	return 1
}

func do() error {
	file := os.NewFile(taskFD, "task")
	var t image.Task
	err := json.NewDecoder(file).Decode(&t)
	if err = errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("task: %w", err)
	}
	return t.Do(os.Stdin, os.Stdout)
}

// stopping ends the worker when nobody takes what it writes: it would wait.
type stopping struct {
	io.Writer
	stop func()
}

func (s *stopping) Write(p []byte) (int, error) {
	n, err := s.Writer.Write(p)
	if err != nil {
		s.stop()
	}
	return n, err
}

// bounded keeps the beginning of what is written to it.
type bounded struct {
	bytes.Buffer
	left int
}

func (b *bounded) Write(p []byte) (int, error) {
	n := min(len(p), b.left)
	b.left -= n
	b.Buffer.Write(p[:n])
	return len(p), nil
}
