package sandbox

import (
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox/internal/rawfork"
)

// onLastingThread calls launch on a thread that does not end before the
// process, since the sandbox dies with the thread that cloned it. The first
// thread of a Go program never ends. Any other does when a goroutine ends that
// is locked to it (runtime.LockOSThread), and which those will be nobody knows;
// so it is one of those on which a goroutine of this package is locked for good.
func onLastingThread(launch func() (rawfork.Child, error)) (child rawfork.Child, err error) {
	if unix.Gettid() == unix.Getpid() {
		return launch()
	}
	done := make(chan struct{})
	job := func() {
		child, err = launch()
		close(done)
	}
	select {
	case jobs <- job:
	default: // every one of them is busy, or there is none yet
		go func() {
			runtime.LockOSThread()
			for ; ; job = <-jobs {
				job()
			}
		}()
	}
	<-done
	return child, err
}

// jobs are taken by the goroutines of onLastingThread.
var jobs = make(chan func())
