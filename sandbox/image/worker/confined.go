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

// Confined is this program once more, as root of a user namespace in which the
// caller's subordinate ids are mapped. What it reads is hostile, and what parses
// it may be wrong: so it sees nothing of the host but its programs and what Show
// names, has no network, and of root's rights only those that Spec.CapAdd gives.
type Confined struct {
	Spec sandbox.Spec
	errs []error
}

// Confine prepares a worker. Verb is its one argument: main hands the process
// over when it sees it.
func Confine(verb string) (*Confined, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return confine(exe, verb), nil
}

func confine(exe, verb string) *Confined {
	c := &Confined{Spec: sandbox.Spec{
		Env: []string{"SOURCE_DATE_EPOCH"}, Dir: "/", HideDir: true, Tools: []string{"none"}, User: ids(),
	}}
	c.Spec.Args = []string{c.Show(sandbox.BindRO, exe), verb}
	return c
}

// Show shows a file or folder of the host in there, of the kind that a
// sandbox.Mount has, and gives its name there. Errors are Run's.
func (c *Confined) Show(kind, source string) string {
	real, err := filepath.EvalSymlinks(source)
	if err == nil {
		real, err = filepath.Abs(real)
	}
	c.errs = append(c.errs, err)
	target := "/sbx/" + strconv.Itoa(len(c.Spec.Mounts))
	c.Spec.Mounts = append(c.Spec.Mounts, sandbox.Mount{Kind: kind, Source: real, Target: target, Layer: kind == sandbox.BindRW})
	return target
}

// Run starts the worker, tells it its task, and waits for its end. In and out
// are its standard input and output; nil is none. The error is the worker's own.
func (c *Confined) Run(ctx context.Context, task any, in io.Reader, out io.Writer) error {
	if err := errors.Join(c.errs...); err != nil {
		return err
	}
	return start(ctx, c.Spec, task, in, out)
}

func start(ctx context.Context, s sandbox.Spec, what any, in io.Reader, out io.Writer) error {
	task, err := json.Marshal(what)
	if err != nil {
		return err
	}
	r, told, err := os.Pipe()
	if err != nil {
		return err
	}
	inner, cancel := context.WithCancel(ctx)
	defer cancel()
	said := &bounded{left: mostSaid}
	c := sandbox.CommandContext(inner, s.Args[0])
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
	if ended := ctx.Err(); ended != nil {
		return ended
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

// Serve is a worker's process: it hands the task over as it was told, and gives
// the exit status.
func Serve(do func(task io.Reader) error) int {
	file := os.NewFile(taskFD, "task")
	err := do(file)
	if err = errors.Join(err, file.Close()); err == nil {
		return 0
	}
	f := failure{Error: err.Error()}
	errors.As(err, &f.Refused)
	_ = json.NewEncoder(os.Stderr).Encode(f) // the status says that it failed
	return 1
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
