package sandbox

import (
	"golang.org/x/sys/unix"
)

// seize attaches to CMD while it waits, lets it execute its program, and stops
// it there: its memory, environment and limits are its own then, and it has
// not run an instruction. The owner of a user namespace may do so although the
// target is non-dumpable. It must run on one thread throughout.
//
// Where the host forbids ptrace (yama's ptrace_scope 2 and 3), CMD is looked
// at while it waits, one execve earlier.
func (c *Cmd) seize(pid int) error {
	c.reportCalls()
	c.tracing.Lock()
	defer c.tracing.Unlock()
	if _, _, e := unix.RawSyscall6(unix.SYS_PTRACE, unix.PTRACE_SEIZE, uintptr(pid), 0, unix.PTRACE_O_TRACEEXEC, 0, 0); e != 0 {
		c.Trace(Event{Kind: EventExec, Step: "exec", Pid: pid, Result: -int64(e)})
		return c.letGo()
	}
	if err := c.letGo(); err != nil {
		return err
	}
	for {
		var ws unix.WaitStatus
		_, err := unix.Wait4(pid, &ws, unix.WALL, nil)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil || !ws.Stopped():
			return nil // it ended without a program: its parent tells why
		case ws.TrapCause() == unix.PTRACE_EVENT_EXEC:
			c.Trace(Event{Kind: EventExec, Step: "exec", Pid: pid})
			_ = unix.PtraceDetach(pid)
			return nil
		}
		sig := ws.StopSignal()
		if err := unix.PtraceCont(pid, int(sig)); err != nil {
			return nil
		}
	}
}
