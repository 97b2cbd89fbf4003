package sandbox

import (
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// attend does what the launcher has to do while the child works: answer its
// pauses, and report its calls as they happen.
func (c *Cmd) attend(pid int, done <-chan struct{}) {
	c.child = pid
	// The child has its own copy now; while ours is open, a child that fails
	// would leave no end of file.
	unix.Close(c.ends[1])
	c.ends[1] = -1
	finished := make(chan struct{})
	if c.Trace != nil {
		runtime.LockOSThread() // ptrace knows threads
		defer runtime.UnlockOSThread()
		go func() {
			defer close(finished)
			tick := time.NewTicker(2 * time.Millisecond)
			defer tick.Stop()
			for {
				c.reportCalls()
				select {
				case <-done:
					return
				case <-tick.C:
				}
			}
		}()
	} else {
		close(finished)
	}
	c.pauseErr = c.answerPauses(pid)
	<-finished
}

// reportCalls sends the events of the calls that have returned since the last
// time.
func (c *Cmd) reportCalls() {
	c.tracing.Lock()
	defer c.tracing.Unlock()
	timings := c.program.Timings()
	if c.reported == 0 && len(timings) > 0 && timings[0].Returned() {
		// clone3's time ends for the child where its first call begins.
		c.Trace(Event{
			Kind: EventCall, Step: "launch", Call: c.plan.Clone(), Result: int64(c.child),
			Took: time.Duration(timings[0].Start.Nano()) - c.cloning,
		})
	}
	for ; c.reported < len(timings) && timings[c.reported].Returned(); c.reported++ {
		t, n := &timings[c.reported], c.reported
		start := time.Duration(t.Start.Nano())
		c.Trace(Event{
			Kind: EventCall, Step: c.plan.Calls[n].Step, Call: c.plan.Text(n), Result: t.Result,
			Start: start - c.cloning, Took: time.Duration(t.End.Nano()) - start,
		})
	}
}

// answerPauses waits for each pause of the plan and does what it is for.
func (c *Cmd) answerPauses(pid int) error {
	for _, act := range c.plan.pauses {
		for {
			m, err := receive(c.ends[0])
			if err != nil || m.size == 0 {
				return nil // the child has failed, which Launch reports
			}
			if m.size == 1 && m.data[0] == 0 {
				if m.pidfd >= 0 {
					unix.Close(m.pidfd) // the kernel adds one to each message
				}
				break
			}
			c.early = append(c.early, m)
		}
		if err := act(c, pid); err != nil {
			_ = unix.Shutdown(c.ends[0], unix.SHUT_RDWR)
			return err
		}
	}
	return nil
}

// letGo ends a pause.
func (c *Cmd) letGo() error {
	if _, err := unix.Write(c.ends[0], []byte{1}); err != nil {
		return &Error{Step: "launch", Call: "write(launcher)", Errno: errno(err)}
	}
	return nil
}
