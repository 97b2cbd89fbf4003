package lessons

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// Given is what a lesson lends to every line of it: what sbx inherits from the
// checker as it would from a shell, and what runs on the host meanwhile. The
// zero value is nothing.
type Given struct {
	Env  []string // K=V, in the environment of sbx
	Open []string // what can be read from descriptor 3, 4 and so on
	// Data is the folder of the student's that is XDG_DATA_HOME for sbx, so that
	// the lesson has a store of images of its own; "" for the student's.
	Data string
	// Beside is a program in Perl that runs on the host, in the student's
	// folder, from before the line begins until after it ended. It prints a line
	// when it is ready and ends when its stdin does.
	Beside string
}

// besideWait is how long a program beside a line may take to begin, and to end.
const besideWait = 10 * time.Second

// Lend gives what is given to a command that was not started yet. TakeBack ends
// what runs beside it, and is called after the command ended, however it did.
func (g Given) Lend(cmd *exec.Cmd) (takeBack func(), err error) {
	var undo []func()
	all := func() {
		for _, u := range undo {
			u()
		}
	}
	defer func() {
		if err != nil {
			all()
		}
	}()
	if len(g.Env) > 0 {
		cmd.Env = append(cmd.Environ(), g.Env...)
	}
	if g.Data != "" {
		cmd.Env = append(cmd.Environ(), "XDG_DATA_HOME="+filepath.Join(cmd.Dir, g.Data))
	}
	for _, text := range g.Open {
		f, err := unnamed(text)
		if err != nil {
			return nil, err
		}
		undo = append(undo, func() { f.Close() })
		cmd.ExtraFiles = append(cmd.ExtraFiles, f)
	}
	if g.Beside != "" {
		end, err := beside(g.Beside, cmd.Dir, cmd.Environ())
		if err != nil {
			return nil, err
		}
		undo = append(undo, end)
	}
	return all, nil
}

// unnamed is a file that can be read and has no name any more: who has no
// descriptor of it has no way to it.
func unnamed(text string) (*os.File, error) {
	w, err := os.CreateTemp("", "sbx-lesson-")
	if err != nil {
		return nil, err
	}
	defer os.Remove(w.Name())
	_, err = w.WriteString(text)
	if err := errors.Join(err, w.Close()); err != nil {
		return nil, err
	}
	return os.Open(w.Name())
}

// beside starts a program of the checker and waits until it is ready. It has the
// environment of the line, since a server keeps its own from the runs.
func beside(program, dir string, env []string) (end func(), err error) {
	cmd := exec.Command("perl", "-e", program)
	cmd.Dir, cmd.Env = dir, env
	var stderr limited
	cmd.Stderr = &stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("the program beside the line: %w", err)
	}
	kill := time.AfterFunc(besideWait, func() { _ = cmd.Process.Kill() })
	_, err = bufio.NewReader(out).ReadString('\n')
	kill.Stop()
	end = func() {
		in.Close()
		kill := time.AfterFunc(besideWait, func() { _ = cmd.Process.Kill() })
		_, _ = io.Copy(io.Discard, out)
		_ = cmd.Wait() // its end says nothing of the student's line
		kill.Stop()
	}
	if err != nil {
		end()
		return nil, fmt.Errorf("the program beside the line is not ready: %s", strings.TrimSpace(stderr.buffer.String()))
	}
	return end, nil
}
