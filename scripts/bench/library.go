package main

import (
	"fmt"
	"os/exec"
	"sync"
	"time"

	"github.com/sbx-dev/sbx/sandbox"
)

const (
	throughputBatch  = 48  // sandboxes in one measurement: a multiple of each number of goroutines
	throughputRounds = 15  // measurements of each contender
	throughputTarget = 2.3 // times bubblewrap's rate
)

// A launcher is one way for a Go program to run true in a sandbox.
type launcher struct {
	name   string
	target float64 // the least that its rate may be as a multiple of bubblewrap's; 0 means none
	run    func() error
	rates  []float64 // sandboxes per second, one for each round
}

// runSandbox runs true in a sandbox made by this process, without steps.
func runSandbox(skip ...string) error {
	cmd := sandbox.Command("/bin/true")
	cmd.Spec.Skip = skip
	return cmd.Run()
}

// library compares the sandboxes per second that one process starts with the
// library and with bubblewrap through os/exec, from 1, 2 and 8 goroutines.
func (b *bench) library() error {
	bwrap, err := b.bwrap("--dev", "/dev")
	if err != nil {
		return fmt.Errorf("no bubblewrap to compare with: %w", err)
	}
	fmt.Printf("library: sandboxes per second from one process, median of %d batches of %d by turns\n", throughputRounds, throughputBatch)
	fmt.Printf("  %-28s %9s %9s %8s %8s\n", "", "goroutine", "rate/s", "/bwrap", "target")
	for _, workers := range []int{1, 2, 8} {
		launchers := []*launcher{
			{name: bubblewrap + ", os/exec", run: func() error { return exec.Command(bwrap[0], bwrap[1:]...).Run() }},
			{name: "library, without overlay", target: throughputTarget, run: func() error { return runSandbox("overlay") }},
			{name: "library", target: throughputTarget, run: func() error { return runSandbox() }},
		}
		for round := range throughputRounds + 1 {
			for i := range launchers {
				l := launchers[(round+i)%len(launchers)]
				rate, err := throughput(l.run, workers)
				if err != nil {
					return fmt.Errorf("%s: %w", l.name, err)
				}
				if round > 0 {
					l.rates = append(l.rates, rate)
				}
			}
		}
		reference := median(launchers[0].rates)
		for _, l := range launchers {
			rate := median(l.rates)
			fmt.Printf("  %-28s %9d %9.0f %8.2f", l.name, workers, rate, rate/reference)
			if l.target == 0 {
				fmt.Printf(" %8s\n", "-")
				continue
			}
			what := fmt.Sprintf("sandboxes/s of the %s / bwrap, %d goroutines", l.name, workers)
			fmt.Printf("   ≥ %.2f %s\n", l.target, b.judge(what, rate/reference, l.target, true))
		}
	}
	return nil
}

// throughput runs a batch from a number of goroutines and returns runs per second.
func throughput(run func() error, workers int) (float64, error) {
	var group sync.WaitGroup
	failures := make(chan error, workers)
	begin := time.Now()
	for range workers {
		group.Go(func() {
			for range throughputBatch / workers {
				if err := run(); err != nil {
					failures <- err
					return
				}
			}
		})
	}
	group.Wait()
	took := time.Since(begin)
	close(failures)
	return throughputBatch / took.Seconds(), <-failures
}
