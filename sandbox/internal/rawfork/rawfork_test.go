package rawfork

import (
	"errors"
	"os"
	"os/signal"
	"runtime"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// program collects calls and data the way package sandbox's builder does.
type program struct{ Program }

func (p *program) bytes(s string) uint64 {
	for len(p.Data)%8 != 0 {
		p.Data = append(p.Data, 0)
	}
	at := len(p.Data)
	p.Data = append(append(p.Data, s...), 0)
	return uint64(at)
}

func (p *program) vector(words ...string) uint64 {
	var at []uint64
	for _, w := range words {
		at = append(at, p.bytes(w))
	}
	v := p.bytes(string(make([]byte, 8*(len(words)+1))))
	for i, a := range at {
		p.Relocs = append(p.Relocs, Reloc{At: uint32(v) + uint32(8*i), Target: uint32(a)})
	}
	return v
}

func (p *program) exec(words ...string) {
	p.Calls = append(p.Calls, Call{
		Nr: unix.SYS_EXECVE, Args: [6]uint64{p.bytes(words[0]), p.vector(words...), p.vector()},
		Mem: 7, Op: OpExec, Save: NoSave,
	})
}

func wait(t testing.TB, c Child) unix.WaitStatus {
	t.Helper()
	var ws unix.WaitStatus
	if _, err := unix.Wait4(c.Pid, &ws, 0, nil); err != nil {
		t.Fatalf("wait4(%d): %v", c.Pid, err)
	}
	unix.Close(c.Pidfd)
	return ws
}

func TestExec(t *testing.T) {
	for i := range 4 {
		p := &program{}
		p.OwnMemory, p.PlainClone = i&1 != 0, i&2 != 0
		p.exec("/bin/sh", "-c", "exit 7")
		c, err := p.Launch()
		if err != nil || c.Failure != nil {
			t.Fatalf("own memory %v, plain %v: %v %v", p.OwnMemory, p.PlainClone, err, c.Failure)
		}
		if ws := wait(t, c); ws.ExitStatus() != 7 {
			t.Errorf("own memory %v, plain %v: status %v, want exit 7", p.OwnMemory, p.PlainClone, ws)
		}
	}
}

// TestPlainCloneClearsHandlers: a child of clone(2) that unblocks its signals
// and gets one does not run the launcher's handler, and dies of it; what the
// launcher ignores stays ignored, and its own handler stays in place.
func TestPlainCloneClearsHandlers(t *testing.T) {
	caught := make(chan os.Signal, 8)
	signal.Notify(caught, unix.SIGUSR1)
	signal.Ignore(unix.SIGUSR2)
	defer signal.Reset(unix.SIGUSR1, unix.SIGUSR2)
	for _, own := range []bool{false, true} {
		for _, plain := range []bool{false, true} {
			for _, sig := range []unix.Signal{unix.SIGUSR1, unix.SIGUSR2} {
				// The number of a process is known to itself alone: getpid's result
				// is kill's argument.
				p := &program{}
				p.OwnMemory, p.PlainClone = own, plain
				slot := p.bytes("\x00\x00\x00\x00")
				none := p.bytes("\x00\x00\x00\x00\x00\x00\x00\x00")
				p.Calls = append(
					p.Calls, Call{Nr: unix.SYS_GETPID, Save: int32(slot)},
					Call{Nr: unix.SYS_RT_SIGPROCMASK, Args: [6]uint64{unix.SIG_SETMASK, none, 0, 8}, Mem: 2, Save: NoSave},
					Call{Nr: unix.SYS_KILL, Args: [6]uint64{slot, uint64(sig)}, Slot: 1, Save: NoSave},
				)
				p.exec("/bin/sh", "-c", "exit 7")
				c, err := p.Launch()
				if err != nil {
					t.Fatal(err)
				}
				ws := wait(t, c)
				if died := ws.Signaled() && ws.Signal() == sig; died != (sig == unix.SIGUSR1) || !died && ws.ExitStatus() != 7 {
					t.Errorf("own memory %v, plain %v, %v: status %#x", own, plain, sig, ws)
				}
			}
		}
	}
	select {
	case sig := <-caught:
		t.Errorf("the launcher's handler ran for %v of a child", sig)
	default:
	}
	if err := unix.Kill(os.Getpid(), unix.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	<-caught
}

// TestPlainCloneFlags: what clone(2) cannot say is refused, not left out.
func TestPlainCloneFlags(t *testing.T) {
	for _, flags := range []uint64{unix.CLONE_NEWTIME, unix.CLONE_INTO_CGROUP} {
		p := &program{}
		p.Flags, p.PlainClone = flags, true
		p.exec("/bin/true")
		if _, err := p.Launch(); !errors.Is(err, unix.EINVAL) {
			t.Errorf("flags %#x: %v, want EINVAL", flags, err)
		}
	}
}

func TestFailureNamesTheCall(t *testing.T) {
	for _, own := range []bool{false, true} {
		p := &program{}
		p.OwnMemory, p.Trace = own, true
		slot := p.bytes("\x00\x00\x00\x00")
		p.Calls = append(p.Calls,
			Call{Nr: unix.SYS_OPENAT, Args: [6]uint64{^uint64(99), p.bytes("/"), unix.O_PATH | unix.O_CLOEXEC}, Mem: 2, Save: int32(slot)},
			Call{Nr: unix.SYS_CLOSE, Args: [6]uint64{^uint64(0)}, Save: NoSave, Ignore: unix.EBADF},
			Call{Nr: unix.SYS_FCHDIR, Args: [6]uint64{slot}, Slot: 1, Save: NoSave},
			Call{Nr: unix.SYS_CHDIR, Args: [6]uint64{p.bytes("/does/not/exist")}, Mem: 1, Save: NoSave},
		)
		p.exec("/bin/true")
		c, err := p.Launch()
		if err != nil {
			t.Fatal(err)
		}
		if ws := wait(t, c); ws.ExitStatus() != 125 {
			t.Errorf("status %v, want exit 125", ws)
		}
		if c.Failure == nil || *c.Failure != (Failure{Index: 3, Errno: unix.ENOENT}) {
			t.Errorf("own memory %v: failure %v, want call 3, ENOENT", own, c.Failure)
		}
		ts := p.Timings()
		if ts[0].Result < 3 || ts[1].Result != -int64(unix.EBADF) || ts[2].Result != 0 || !ts[3].Returned() || ts[4].Returned() {
			t.Errorf("own memory %v: timings %+v", own, ts)
		}
	}
}

func TestExecSearch(t *testing.T) {
	for _, test := range []struct {
		paths []string
		errno unix.Errno
		index int
	}{
		{[]string{"/none/true", "/etc/passwd", "/bin/true"}, 0, 0},
		{[]string{"/none/true", "/none/b"}, unix.ENOENT, 1},
		{[]string{"/etc/passwd", "/none/b"}, unix.EACCES, 1},
		{[]string{"/etc/passwd/x"}, unix.ENOTDIR, 0},
	} {
		p := &program{}
		for _, path := range test.paths {
			p.exec(path)
		}
		c, err := p.Launch()
		if err != nil {
			t.Fatal(err)
		}
		wait(t, c)
		switch {
		case test.errno == 0 && c.Failure != nil:
			t.Errorf("%v: failed: %v", test.paths, *c.Failure)
		case test.errno != 0 && (c.Failure == nil || *c.Failure != (Failure{Index: test.index, Errno: test.errno})):
			t.Errorf("%v: %v, want %v at %d", test.paths, c.Failure, test.errno, test.index)
		}
	}
}

func TestPause(t *testing.T) {
	t.Run("clone3", func(t *testing.T) { testPause(t, false) })
	t.Run("clone", func(t *testing.T) { testPause(t, true) })
}

func testPause(t *testing.T, plain bool) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fds[0])
	defer unix.Close(fds[1])
	for _, answer := range []bool{true, false} {
		p := &program{}
		slot := p.bytes("\x00\x00\x00\x00")
		p.Data[slot], p.Data[slot+1] = byte(fds[1]), byte(fds[1]>>8)
		p.Calls = append(p.Calls, Call{Op: OpPause, Args: [6]uint64{slot}, Slot: 1, Save: NoSave})
		p.exec("/bin/true")
		seen := 0
		p.PlainClone = plain
		p.Started = func(pid int, _ <-chan struct{}) {
			var b [8]byte
			if n, err := unix.Read(fds[0], b[:]); n != 1 || err != nil {
				t.Errorf("read: %d %v", n, err)
			}
			runtime.GC() // must not wait for the thread that sleeps in clone3
			seen = pid
			if answer {
				_, _ = unix.Write(fds[0], b[:1])
			} else {
				_ = unix.Shutdown(fds[0], unix.SHUT_WR)
			}
		}
		c, err := p.Launch()
		if err != nil {
			t.Fatal(err)
		}
		wait(t, c)
		if seen != c.Pid {
			t.Errorf("pid %d while paused, %d afterwards", seen, c.Pid)
		}
		if answer != (c.Failure == nil) {
			t.Errorf("answered %v, failure %v", answer, c.Failure)
		}
	}
}

func TestCloneRefused(t *testing.T) {
	p := &program{}
	p.Flags = 1 << 40 // no such flag
	p.Started = func(int, <-chan struct{}) { t.Error("Started without a child") }
	p.exec("/bin/true")
	if _, err := p.Launch(); !errors.Is(err, unix.EINVAL) {
		t.Errorf("%v, want EINVAL", err)
	}
}

// TestUnderCollection launches from many goroutines while the collector runs
// without a pause: the child's loop shares the memory that it works on.
func TestUnderCollection(t *testing.T) {
	n := 50
	if testing.Short() {
		n = 10
	}
	done := make(chan struct{})
	var gc, work sync.WaitGroup
	gc.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
				runtime.GC()
			}
		}
	})
	for range 8 {
		work.Go(func() {
			for i := range n {
				p := &program{}
				p.OwnMemory, p.PlainClone = i%8 == 0, i%2 == 0
				p.exec("/none/sh")
				p.exec("/bin/sh", "-c", "exit 3")
				c, err := p.Launch()
				if err != nil || c.Failure != nil {
					t.Errorf("%v %v", err, c.Failure)
					return
				}
				if ws := wait(t, c); ws.ExitStatus() != 3 {
					t.Errorf("status %v", ws)
				}
			}
		})
	}
	work.Wait()
	close(done)
	gc.Wait()
}
