package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

const (
	together       = 10      // sandboxes that run at once
	initTarget     = 50      // KB, PSS of PID 1
	launcherTarget = 1 << 10 // KB, PSS of each sbx with ten running
)

// A waiting is an sbx whose CMD runs, and the pid of the sandbox's PID 1.
type waiting struct {
	*child
	pid1 int
}

// memory reports the proportional set size (proc_pid_smaps_rollup(5)) of sbx and
// of PID 1 while CMD waits. PSS divides a page among those who map it, so it says
// what one more sandbox costs; pages of the same executable are shared by ten.
func (b *bench) memory() error {
	one, err := b.proportional(1)
	if err != nil {
		return err
	}
	ten, err := b.proportional(together)
	if err != nil {
		return err
	}
	fmt.Printf("memory: PSS while CMD waits; the largest of those that run at once\n")
	fmt.Printf("  %-28s %9s %9s\n", "", "alone", fmt.Sprintf("of %d", together))
	fmt.Printf("  %-28s %6d KB %6d KB   ≤ %d KB %s\n", "PID 1 of a sandbox", one.init, ten.init, initTarget,
		b.judge("PSS of PID 1 in KB", float64(max(one.init, ten.init)), initTarget, false))
	fmt.Printf("  %-28s %6d KB %6d KB   ≤ %d KB of %d %s\n", "sbx in the foreground", one.launcher, ten.launcher, launcherTarget, together,
		b.judge("PSS of sbx in KB, ten running", float64(ten.launcher), launcherTarget, false))
	return nil
}

// A footprint is the PSS of the two processes that sbx adds, in KB.
type footprint struct {
	launcher, init int
}

// proportional starts n sandboxes, waits until all of their CMDs run, and returns
// the largest PSS of each kind of process.
func (b *bench) proportional(n int) (largest footprint, err error) {
	var all []*waiting
	defer func() {
		for _, w := range all {
			err = errors.Join(err, w.stop())
		}
	}()
	for range n {
		w, err := b.wait()
		if err != nil {
			return footprint{}, err
		}
		all = append(all, w)
	}
	// What the start leaves behind (a garbage collection, threads that park)
	// has settled after a moment.
	time.Sleep(300 * time.Millisecond)
	for _, w := range all {
		launcher, err := pss(w.cmd.Process.Pid)
		if err != nil {
			return footprint{}, err
		}
		init, err := pss(w.pid1)
		if err != nil {
			return footprint{}, err
		}
		largest.launcher, largest.init = max(largest.launcher, launcher), max(largest.init, init)
	}
	return largest, nil
}

// wait starts a sandbox whose CMD says that it runs and then waits for the end of
// its standard input.
func (b *bench) wait() (*waiting, error) {
	cmd := exec.Command(b.sbx, "run", "--", "sh", "-c", "echo ready; read -r line")
	cmd.Dir = b.folder
	c, err := startChild(cmd)
	if err != nil {
		return nil, err
	}
	w := &waiting{child: c}
	if line, err := w.out.ReadString('\n'); err != nil || line != "ready\n" {
		return nil, errors.Join(fmt.Errorf("a sandbox said %q instead of ready: %w", line, err), w.stop())
	}
	if w.pid1, err = childOf(cmd.Process.Pid); err != nil {
		return nil, errors.Join(err, w.stop())
	}
	return w, nil
}

// stop ends CMD, whose read fails at the end of its input.
func (w *waiting) stop() error {
	err := w.child.stop()
	var status *exec.ExitError
	if errors.As(err, &status) && status.ExitCode() == 1 {
		return nil
	}
	return err
}

// childOf returns the one child of a process.
func childOf(parent int) (int, error) {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return 0, err
	}
	var children []int
	for _, name := range stats {
		data, err := os.ReadFile(name)
		if err != nil {
			continue // a process that has ended since
		}
		// The name in parentheses may hold anything, a ")" too; after the last
		// one come the state and the parent (proc_pid_stat(5)).
		fields := strings.Fields(string(data[strings.LastIndexByte(string(data), ')')+1:]))
		if len(fields) < 2 || fields[1] != strconv.Itoa(parent) {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(name)))
		if err != nil {
			return 0, err
		}
		children = append(children, pid)
	}
	if len(children) != 1 {
		return 0, fmt.Errorf("process %d has the children %v: one was expected", parent, children)
	}
	return children[0], nil
}

// pss returns the proportional set size of a process in KB.
func pss(pid int) (int, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(data)) {
		if value, ok := strings.CutPrefix(line, "Pss:"); ok {
			return strconv.Atoi(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(value), "kB")))
		}
	}
	return 0, fmt.Errorf("/proc/%d/smaps_rollup has no Pss", pid)
}
