package lessons

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox"
	"github.com/sbx-dev/sbx/sandbox/observe"
)

// Runner runs lines through the sbx binary.
type Runner struct {
	Sbx string // path of the executable
	Dir string // the student's folder; every line begins there
	// Timeout ends a line that gives none itself; 0 means DefaultTimeout.
	Timeout time.Duration
	// Env is the environment of sbx; nil means this process' own.
	Env []string
	// Before are flags that stand before the student's, which win over them.
	Before []string
	// After are flags that stand behind the student's and win over them: what
	// a server clamps.
	After []string
	// Given is what every line inherits; a check sets it to its lesson's.
	Given Given
}

// DefaultTimeout is how long a line may run.
const DefaultTimeout = 20 * time.Second

// maxOutput is how much of what a line writes is kept, in bytes of each of
// stdout and stderr.
const maxOutput = 256 << 10

// Observation is what is known of one run. It holds facts: what the kernel and
// sbx said. Stdout and Stderr alone are CMD's word.
type Observation struct {
	Line   Line
	Code   int            // sbx's exit code
	Result sandbox.Result // of --report; only Verdict and Code where no CMD ran
	Setup  SetupError     // why no CMD ran; zero where one did
	View   *observe.View  // CMD before its first instruction; nil where it was not seen
	Stdout []byte         // at most 256 KiB
	Stderr []byte         // the same, what sbx itself said included
	Cut    bool           // CMD wrote more than that
	Trace  []TracedCall   // the calls that made the sandbox, in order
	// Survivors are the processes that CMD left behind, by number on the host;
	// they are ended. Nil where that cannot be known.
	Survivors []int

	began  int64 // when sbx was started, by the clock of file times, in nanoseconds
	runner *Runner
	lesson *Lesson
	ctx    context.Context
	bench  *bench // of a lesson whose answer is a file: nil in every other
	answer string // of a lesson with secrets: the word that was given
	secret string // and the right one
}

// TracedCall is a line of sbx run --trace-file.
type TracedCall struct {
	Step         string  `json:"step"`
	Call         string  `json:"call"`
	Result       string  `json:"result"` // a number, or the name of an errno
	Microseconds float64 `json:"microseconds"`
}

// SetupError is a sandbox that was not made.
type SetupError struct {
	Step     string `json:"step"`
	Call     string `json:"call"`
	Errno    string `json:"errno"`
	Evidence string `json:"evidence"`
	Hint     string `json:"hint"`
}

// Prepare writes the lesson's files into the student's folder, and its images
// into a store in it; without Sbx these are archives only. Those that are there
// stay as they are, unless anew asks for the first state: then everything else in
// the folder goes.
func (r *Runner) Prepare(l *Lesson, anew bool) error {
	if anew {
		if err := r.clear(); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(r.Dir, 0o700); err != nil {
		return err
	}
	for name, text := range l.Files {
		at := filepath.Join(r.Dir, filepath.FromSlash(name))
		if _, err := os.Lstat(at); err == nil {
			continue
		}
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			return err
		}
		mode := fs.FileMode(0o644)
		if strings.HasPrefix(text, "#!") {
			mode = 0o755
		}
		if err := os.WriteFile(at, []byte(text), mode); err != nil {
			return err
		}
	}
	return r.prepareImages(l)
}

// removeAll removes a folder, upper layers included: overlay leaves a folder of
// mode 0 in them, which its owner must open before it can be emptied.
func removeAll(dir string) error {
	_ = filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			if info, err := d.Info(); err == nil && info.Mode().Perm()&0o700 != 0o700 {
				_ = os.Chmod(p, 0o700) //nolint:gosec // a folder of the caller's own that is removed next
			}
		}
		return nil
	})
	return os.RemoveAll(dir)
}

// Run runs a line and gathers what can be known of it. An error means that sbx
// itself could not be run; a line that fails is an Observation.
func (r *Runner) Run(ctx context.Context, line Line) (*Observation, error) {
	if len(line.Other) > 0 {
		return r.other(ctx, line)
	}
	tmp, err := os.MkdirTemp("", "sbx-lesson-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(tmp)
	report, look, trace := filepath.Join(tmp, "report"), filepath.Join(tmp, "look"), filepath.Join(tmp, "trace")
	timeout := r.Timeout
	if timeout == 0 {
		timeout = DefaultTimeout
	}
	args := []string{"run", "--report", report, "--look", look, "--trace-file", trace, "--changes", "--timeout", timeout.String()}
	args = slices.Concat(args, r.Before, line.Flags, r.After, []string{"--"}, line.CMD)
	// A line's own --timeout may be longer than what it is waited for.
	within, cancel := context.WithTimeout(ctx, 2*timeout)
	defer cancel()
	cmd := exec.CommandContext(within, r.Sbx, args...)
	cmd.Dir, cmd.Env = r.Dir, r.Env
	cmd.Cancel = func() error { return cmd.Process.Signal(unix.SIGKILL) } // the sandbox goes with sbx
	cmd.WaitDelay = time.Second
	// The time of a file comes from the coarse clock, which lies behind the fine
	// one by up to a tick.
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_REALTIME_COARSE, &now); err != nil {
		return nil, err
	}
	o := &Observation{Line: line, began: now.Nano(), runner: r, ctx: ctx}
	// CMD's stdout is closed when it has written far too much, which ends what
	// does not look. Stderr stays open, because sbx itself writes there.
	stdout, stderr := limited{most: stopOutput}, limited{}
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := r.wait(ctx, cmd); err != nil {
		return nil, err
	}
	o.Stdout, o.Stderr, o.Code = stdout.buffer.Bytes(), stderr.buffer.Bytes(), cmd.ProcessState.ExitCode()
	o.Cut = stdout.cut || stderr.cut
	o.Trace = readTrace(trace)
	if within.Err() != nil {
		o.Result.Verdict, o.Result.Code, o.Result.Evidence = sandbox.VerdictTimeout, 124, "it had twice the time that a line may have"
		o.Code = 124
		return o, nil
	}
	if err := readJSON(report, &o.Result); err != nil {
		if o.Code == 125 { // wrong usage: there is no report
			o.Result.Verdict, o.Result.Code = sandbox.VerdictSetup, o.Code
			o.Setup.Evidence = strings.TrimSpace(string(o.Stderr))
			return o, nil
		}
		return nil, fmt.Errorf("sbx left no report: %w: %s", err, o.Stderr)
	}
	if o.Result.Verdict == sandbox.VerdictSetup {
		return o, readJSON(report, &o.Setup)
	}
	var view observe.View
	switch err := readJSON(look, &view); {
	case err == nil:
		o.View = &view
		o.Survivors = survivors(o.View)
	case !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	return o, nil
}

// wait runs a command with what the lesson gives. How it ended is for the caller
// to see; the error is that of a command that could not be run, or of ctx.
func (r *Runner) wait(ctx context.Context, cmd *exec.Cmd) error {
	takeBack, err := r.Given.Lend(cmd)
	if err != nil {
		return err
	}
	defer takeBack()
	err = cmd.Run()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var exit *exec.ExitError
	// A process that survives CMD holds the pipes: then they are closed for it.
	if errors.As(err, &exit) || errors.Is(err, errOutput) || errors.Is(err, exec.ErrWaitDelay) {
		return nil
	}
	return err
}

// other runs a line whose verb is not run: there is no CMD, and its output and its
// exit code are all that there is to see.
func (r *Runner) other(ctx context.Context, line Line) (*Observation, error) {
	timeout := r.Timeout
	if timeout == 0 {
		timeout = DefaultTimeout
	}
	within, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	cmd := exec.CommandContext(within, r.Sbx, line.Other...)
	cmd.Dir, cmd.Env, cmd.WaitDelay = r.Dir, r.Env, time.Second
	var stdout, stderr limited
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := r.wait(ctx, cmd); err != nil {
		return nil, err
	}
	o := &Observation{Line: line, Stdout: stdout.buffer.Bytes(), Stderr: stderr.buffer.Bytes(), Cut: stdout.cut || stderr.cut, runner: r, ctx: ctx}
	o.Code = cmd.ProcessState.ExitCode()
	o.Result.Verdict, o.Result.Code = sandbox.VerdictExited, o.Code
	if within.Err() != nil {
		o.Result.Verdict, o.Result.Code, o.Code = sandbox.VerdictTimeout, 124, 124
	}
	return o, nil
}

// with runs a program of the checker with the flags of the line.
func (o *Observation) with(cmd []string) (*Observation, error) {
	return o.runner.Run(o.ctx, Line{Flags: o.Line.Flags, CMD: cmd})
}

// readTrace reads what is there: a sandbox that was not made has a part of it.
func readTrace(name string) []TracedCall {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil
	}
	var out []TracedCall
	for line := range bytes.Lines(text) {
		var c TracedCall
		if json.Unmarshal(line, &c) == nil {
			out = append(out, c)
		}
	}
	return out
}

// Explain is what sbx explain prints for a line, with further flags.
func (r *Runner) Explain(ctx context.Context, line Line, flags ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, DefaultTimeout)
	defer cancel()
	args := slices.Concat([]string{"explain"}, flags, line.Flags, []string{"--"}, line.CMD)
	cmd := exec.CommandContext(ctx, r.Sbx, args...)
	cmd.Dir, cmd.Env = r.Dir, r.Env
	var stdout, stderr limited
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("%w: %s", err, bytes.TrimSpace(stderr.buffer.Bytes()))
	}
	return stdout.buffer.Bytes(), nil
}

// Remove removes the folder and everything in it.
func (r *Runner) Remove() error { return r.clear() }

// clear removes the folder. A store of images in it may hold files of the
// student's subordinate ids, which only sbx can remove.
func (r *Runner) clear() error {
	err := removeAll(r.Dir)
	if err == nil || r.Sbx == "" {
		return err
	}
	var stores []string
	for _, pattern := range []string{dataFolder, "*/" + dataFolder, "*/*/" + dataFolder} {
		found, _ := filepath.Glob(filepath.Join(r.Dir, pattern, "sbx")) // the pattern is right
		stores = append(stores, found...)
	}
	for _, store := range stores {
		ctx, cancel := context.WithTimeout(context.Background(), DefaultTimeout)
		cmd := exec.CommandContext(ctx, r.Sbx, "image", "prune", "--all", "--force")
		cmd.Env = append(cmd.Environ(), "XDG_DATA_HOME="+filepath.Dir(store))
		_ = cmd.Run() // whether the folder goes now is what counts
		cancel()
	}
	return removeAll(r.Dir)
}

func readJSON(name string, to any) error {
	data, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	return json.Unmarshal(data, to)
}

// stopOutput is how much CMD may write to stdout before it is closed, in bytes.
const stopOutput = 16 << 20

var errOutput = errors.New("more output than a line may write")

// limited keeps the first bytes of what is written and drops the rest; with most
// it is an error to write more than that.
// The buffer is no embedded field: its ReadFrom would let io.Copy pass Write by.
type limited struct {
	buffer     bytes.Buffer
	cut        bool
	seen, most int // bytes; most 0 means no end
}

func (l *limited) Write(b []byte) (int, error) {
	room := maxOutput - l.buffer.Len()
	l.cut = l.cut || len(b) > room
	l.buffer.Write(b[:min(len(b), room)])
	if l.seen += len(b); l.most > 0 && l.seen > l.most {
		return 0, errOutput
	}
	return len(b), nil
}
