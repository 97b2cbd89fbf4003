package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"time"
)

// A contender is one way to do what is compared.
type contender struct {
	name string
	argv []string // argv[0] is a path
	env  []string // nil means that of the benchmark
	// target is the most that its time may be as a multiple of the reference's;
	// 0 means that it has none.
	target float64
	// before, where not nil, prepares for a run, at a time that does not count. It
	// may change argv and env.
	before func(*contender) error
	times  []time.Duration // one for each measured round
}

// A left is a contender that cannot run here, and why.
type left struct {
	name, reason string
}

// once runs the contender and returns the wall time from before its fork to its
// end. It uses the fork of package syscall, which shares memory until exec and so
// costs the same for each contender.
func (c *contender) once(null uintptr, dir string) (time.Duration, error) {
	env := c.env
	if env == nil {
		env = os.Environ()
	}
	attributes := &syscall.ProcAttr{Dir: dir, Env: env, Files: []uintptr{null, null, null}}
	begin := time.Now()
	pid, err := syscall.ForkExec(c.argv[0], c.argv, attributes)
	if err != nil {
		return 0, err
	}
	var status syscall.WaitStatus
	for {
		_, err = syscall.Wait4(pid, &status, 0, nil)
		if err != syscall.EINTR {
			break
		}
	}
	took := time.Since(begin)
	if err != nil {
		return 0, err
	}
	if !status.Exited() || status.ExitStatus() != 0 {
		return 0, fmt.Errorf("%s ended with wait status %#x", strings.Join(c.argv, " "), int(status))
	}
	return took, nil
}

// try runs the contender once and returns nil, or an error with what it said.
func (c *contender) try(dir string) error {
	if c.before != nil {
		if err := c.before(c); err != nil {
			return err
		}
	}
	return said(c.env, dir, c.argv...)
}

// said runs a command. The error of one that fails is its own last line but for
// hints: many a program warns before it gives up.
func said(env []string, dir string, argv ...string) error {
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir, cmd.Env = dir, env
	out, err := cmd.CombinedOutput()
	if err == nil {
		return nil
	}
	for _, line := range slices.Backward(strings.Split(string(out), "\n")) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "hint:") {
			return errors.New(line)
		}
	}
	return err
}

// interleave measures the contenders round by round; round i begins with
// contender i modulo their number, so that none always follows the same one.
func (b *bench) interleave(contenders []*contender) error {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	// The runner's own garbage collection would fall on whoever runs then.
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	for round := range b.warmUp + b.rounds {
		for i := range contenders {
			c := contenders[(round+i)%len(contenders)]
			if c.before != nil {
				if err := c.before(c); err != nil {
					return err
				}
			}
			took, err := c.once(null.Fd(), b.folder)
			if err != nil {
				return err
			}
			if round >= b.warmUp {
				c.times = append(c.times, took)
			}
		}
	}
	return nil
}

// start compares the wall time of starting true and waiting for its end.
func (b *bench) start() error {
	contenders, lefts, err := b.contenders()
	if err != nil {
		return err
	}
	if err := b.interleave(contenders); err != nil {
		return err
	}
	fmt.Printf("start: one start of true, %d rounds after %d of warm-up; paired: median of the rounds' ratios\n", b.rounds, b.warmUp)
	b.table("start of", contenders, lefts, bubblewrap, "/bwrap")
	for _, l := range lefts {
		if l.name == bubblewrap {
			b.missed = append(b.missed, "start: no bubblewrap to compare with")
		}
	}
	return nil
}

// table prints what interleave has measured, each contender as a multiple of the
// one that is called reference, and whom it has left out.
func (b *bench) table(what string, contenders []*contender, lefts []left, reference, column string) {
	var other *contender
	for _, c := range contenders {
		if c.name == reference {
			other = c
		}
	}
	fmt.Printf("  %-28s %9s %9s %9s %8s %8s %8s\n", "", "median", "p10", "p90", column, "paired", "target")
	for _, c := range contenders {
		fmt.Printf("  %-28s %9s %9s %9s", c.name,
			milliseconds(median(c.times)), milliseconds(percentile(c.times, 10)), milliseconds(percentile(c.times, 90)))
		if other == nil {
			fmt.Println("        -        -        -")
			continue
		}
		ratio := float64(median(c.times)) / float64(median(other.times))
		fmt.Printf(" %8.2f %8.2f", ratio, pairedRatio(c.times, other.times))
		if c.target == 0 {
			fmt.Printf(" %8s\n", "-")
			continue
		}
		fmt.Printf("   ≤ %.2f %s\n", c.target, b.judge(what+" "+c.name+" / "+reference, ratio, c.target, false))
	}
	for _, l := range lefts {
		fmt.Printf("  %-28s left out: %s\n", l.name, l.reason)
	}
}
