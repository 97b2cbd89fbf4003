package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"time"
)

const (
	smallHeap  = 1 << 20 // bytes
	largeHeap  = 1 << 30 // bytes
	heapTarget = 1.2
	// heapWorker as the first argument makes the program a worker of the part
	// heap; the second is the size of its heap in bytes.
	heapWorker = "heap-worker"
)

// A worker is another process of this program, with a live heap of a given size,
// that runs one sandbox for each line it is sent and answers with the nanoseconds.
type worker struct {
	*child
	times []time.Duration
}

// heap compares a library call in a process with a large live heap with the same
// in one with a small heap, by turns. A launcher that copies page tables pays for
// every page of its process.
func (b *bench) heap() (err error) {
	var workers []*worker
	defer func() {
		for _, w := range workers {
			err = errors.Join(err, w.stop())
		}
	}()
	for _, size := range []int{smallHeap, largeHeap} {
		w, err := startWorker(size)
		if err != nil {
			return err
		}
		workers = append(workers, w)
	}
	small, large := workers[0], workers[1]
	for round := range b.warmUp + b.rounds {
		for i := range workers {
			w := workers[(round+i)%len(workers)]
			took, err := w.call()
			if err != nil {
				return err
			}
			if round >= b.warmUp {
				w.times = append(w.times, took)
			}
		}
	}
	ratio := float64(median(large.times)) / float64(median(small.times))
	fmt.Printf("heap: one library call in a process with a live heap, median of %d by turns\n", b.rounds)
	fmt.Printf("  %-28s %9s\n", "1 MiB of heap", milliseconds(median(small.times)))
	fmt.Printf("  %-28s %9s\n", "1 GiB of heap", milliseconds(median(large.times)))
	fmt.Printf("  %-28s %9.2f    (paired %.2f)   ≤ %.2f %s\n", "ratio", ratio, pairedRatio(large.times, small.times), heapTarget,
		b.judge("library call, 1 GiB of heap / 1 MiB", ratio, heapTarget, false))
	return nil
}

// startWorker starts a worker and waits until its heap is there.
func startWorker(size int) (*worker, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	c, err := startChild(exec.Command(self, heapWorker, strconv.Itoa(size)))
	if err != nil {
		return nil, err
	}
	w := &worker{child: c}
	if _, err := w.answer(); err != nil {
		return nil, errors.Join(err, w.stop())
	}
	return w, nil
}

// call has the worker run one sandbox and returns how long that took.
func (w *worker) call() (time.Duration, error) {
	if _, err := io.WriteString(w.in, "run\n"); err != nil {
		return 0, err
	}
	return w.answer()
}

func (w *worker) answer() (time.Duration, error) {
	line, err := w.out.ReadString('\n')
	if err != nil {
		return 0, fmt.Errorf("a heap worker gave no answer: %w", err)
	}
	nanoseconds, err := strconv.ParseInt(strings.TrimSpace(line), 10, 64)
	return time.Duration(nanoseconds), err
}

// serveHeap is the whole of a worker: it fills a heap of size bytes, says 0, and
// then runs a sandbox for each line on standard input until that ends.
func serveHeap(size int) error {
	const block = 1 << 20
	live := make([][]byte, size/block)
	for i := range live {
		live[i] = make([]byte, block)
		for at := 0; at < block; at += os.Getpagesize() {
			live[i][at] = 1 // the kernel gives a page at the first write
		}
	}
	runtime.GC()
	fmt.Println(0)
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		begin := time.Now()
		if err := runSandbox(); err != nil {
			return err
		}
		fmt.Println(time.Since(begin).Nanoseconds())
	}
	runtime.KeepAlive(live)
	return lines.Err()
}
