// Package rawfork launches a list of prepared system calls in a child process
// that never enters the Go runtime again.
//
// It is the only package of this module that uses unsafe, and the only one in
// which an ordinary Go habit (an allocation, a map, a defer) would be a bug.
// A [Program] is like a small object file: calls, one block of data that their
// arguments point into, and relocations for pointers inside the data. The
// launcher fixes the addresses, clones, and the child walks the list.
//
// The child shares the launcher's memory (CLONE_VM) and the launching thread
// sleeps until the child has executed a program or exited (CLONE_VFORK), so a
// launch costs the same whatever the size of the launcher's heap. What that
// demands of the child is written above the function run in loop.go.
package rawfork

import (
	"bytes"
	"os"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Op says what the child does with a Call.
type Op uint8

const (
	// OpCall makes the system call and goes on when it succeeded.
	OpCall Op = iota
	// OpPause writes one byte to the descriptor in argument 0 and then reads
	// one byte from it: the launcher acts or looks in between. End of file
	// means that the launcher is gone, and the child exits.
	OpPause
	// OpExec makes an execve or execveat, which does not return. When it
	// fails because the file is not there, may not be executed or is reached
	// through something that is no folder, a directly following OpExec is
	// tried: this is how a search along PATH is written.
	OpExec
)

// NoSave is the Save of a call whose result nobody needs.
const NoSave = -1

// Call is one system call of a Program.
type Call struct {
	Nr   uintptr
	Args [6]uint64
	// Mem has bit i set when argument i is an offset into Data and the kernel
	// gets the address of that place.
	Mem uint8
	// Slot has bit i set when argument i is an offset into Data of an int32
	// that holds the argument at the time of the call: the saved result of an
	// earlier call, or what the launcher wrote there.
	Slot uint8
	Op   Op
	// Save is the offset into Data at which the result is stored as an int32:
	// a slot, or a field inside a struct that a later call reads. NoSave
	// stores nothing.
	Save int32
	// Ignore is the one errno with which the call may fail; 0 means none.
	Ignore unix.Errno
}

// Reloc asks for the address of Data[Target] to be written, as a pointer, at
// Data[At]; execve's argument vectors need it.
type Reloc struct{ At, Target uint32 }

// Timing is what one call did, recorded when Program.Trace is set.
type Timing struct {
	Start, End unix.Timespec
	Result     int64 // the call's result, or minus its errno
	done       uint32
}

// Returned says whether the call has returned; the other fields hold then.
func (t *Timing) Returned() bool { return atomic.LoadUint32(&t.done) != 0 }

// Program is one launch: its slots are written by it, so it runs once.
type Program struct {
	// Flags are clone3's flags, the CLONE_NEW* set. CLONE_PIDFD,
	// CLONE_PARENT_SETTID, CLONE_VFORK and CLONE_CLEAR_SIGHAND are added, and
	// CLONE_VM unless OwnMemory is set.
	Flags uint64
	// OwnMemory gives the child a copy of the memory in place of the
	// launcher's own. A program that changes the kernel's idea of the uid or
	// gid needs it: done in shared memory, that makes the launcher
	// non-dumpable and takes from it the right to write the next uid_map.
	OwnMemory bool
	// PlainClone makes the child with clone(2), where clone3(2) is refused with
	// ENOSYS: filters do that because they cannot see what clone3 is asked for.
	// CLONE_CLEAR_SIGHAND and CLONE_PARENT_SETTID are then not among the flags:
	// the child clears the handlers itself, before the first call.
	PlainClone bool
	Calls      []Call
	Data       []byte
	Relocs     []Reloc
	// Trace asks for one Timing a call.
	Trace bool
	// Started, when not nil, is called on another goroutine as soon as the
	// child exists, while the launching thread sleeps; done is closed when that
	// thread goes on. Launch returns only after Started has.
	Started func(pid int, done <-chan struct{})

	timings []Timing
}

// Failure is what the child left when a call failed: which one, and why.
type Failure struct {
	Index int
	Errno unix.Errno
	// Interpreter says that an execve found its file, but not what the file
	// names to run it: a script's interpreter or an ELF file's loader.
	Interpreter bool
}

// Child is a launched process. Its Pid must be reaped by the caller.
type Child struct {
	Pid   int
	Pidfd int // close-on-exec; owned by the caller
	// Failure is set when a call of the program failed. The child has exited
	// then and is a zombie.
	Failure *Failure
}

// report is the memory that the child leaves its failure in. It is shared with
// the child also where the rest of the memory is not.
type report struct {
	failed int32 // 1 + index of the failed call; 0 means none
	errno  int32
	exists int32 // 1 when the file of a failed execve is there
	pid    int32 // written by the kernel, CLONE_PARENT_SETTID
	pidfd  int32 // written by the kernel, CLONE_PIDFD
}

// raw is a Call with its addresses fixed: what the child's loop reads.
type raw struct {
	nr     uintptr
	args   [6]uintptr
	save   int32 // offset into data, or NoSave
	slot   uint8 // arguments that are offsets into data of an int32
	op     Op
	last   bool // no OpExec follows
	ignore uintptr
}

// job is everything that the child's loop may touch.
type job struct {
	clone   cloneArgs
	calls   unsafe.Pointer // the first of n raw
	n       uintptr
	data    unsafe.Pointer
	report  *report
	timings unsafe.Pointer // the first of n Timing; nil when not traced
	plain   bool           // clone in place of clone3
	block   uint64         // signal mask: all
	restore uint64         // signal mask of the launching thread
	// had is what rt_sigaction tells the child, standard what it sets: SIG_DFL.
	had, standard sigaction
}

// sigaction is the kernel's struct sigaction, on amd64 and arm64 alike.
type sigaction struct{ handler, flags, restorer, mask uint64 }

const (
	signals = 64 // _NSIG
	sigIgn  = 1  // SIG_IGN; SIG_DFL is 0
)

// cloneArgs is struct clone_args of clone3(2), first version and set_tid's.
type cloneArgs struct {
	flags, pidfd, childTID, parentTID, exitSignal, stack, stackSize, tls uint64
}

// Timings returns what each call did, in the order of Calls. It may be read
// while the child runs and after it; a call that was not reached has not Returned.
func (p *Program) Timings() []Timing { return p.timings }

// Launch clones the child and returns when it has executed a program or has
// exited. An error means that clone3 itself failed, and is its errno.
//
// The child's parent, for PR_SET_PDEATHSIG, is the thread on which Launch
// runs: call it on a goroutine that is not locked to its thread, because a
// thread ends when a goroutine ends that is still locked to it.
func (p *Program) Launch() (Child, error) {
	var pins runtime.Pinner
	defer pins.Unpin()

	rep, free, err := p.newReport(&pins)
	if err != nil {
		return Child{}, err
	}
	defer free()

	calls := p.fix(&pins)
	j := &job{
		clone: cloneArgs{
			flags:      p.Flags | unix.CLONE_VFORK | unix.CLONE_PIDFD | unix.CLONE_PARENT_SETTID | unix.CLONE_CLEAR_SIGHAND,
			pidfd:      uint64(uintptr(unsafe.Pointer(&rep.pidfd))),
			parentTID:  uint64(uintptr(unsafe.Pointer(&rep.pid))),
			exitSignal: uint64(unix.SIGCHLD),
		},
		calls:  unsafe.Pointer(unsafe.SliceData(calls)),
		n:      uintptr(len(calls)),
		data:   unsafe.Pointer(unsafe.SliceData(p.Data)),
		report: rep,
	}
	if !p.OwnMemory {
		j.clone.flags |= unix.CLONE_VM
	}
	if p.PlainClone {
		if p.Flags&unix.CSIGNAL != 0 || p.Flags>>32 != 0 {
			return Child{}, unix.EINVAL // flags that only clone3 has
		}
		j.plain, rep.pidfd = true, -1
		j.clone.flags &^= unix.CLONE_PARENT_SETTID | unix.CLONE_CLEAR_SIGHAND
	}
	if p.timings != nil {
		j.timings = unsafe.Pointer(unsafe.SliceData(p.timings))
	}
	pins.Pin(j)

	var watch sync.WaitGroup
	done := make(chan struct{})
	if p.Started != nil {
		watch.Go(func() {
			if pid := waitPid(rep, p.PlainClone); pid > 0 {
				p.Started(pid, done)
			}
		})
	}
	pid, errno := launch(j)
	close(done)
	if errno != 0 {
		atomic.StoreInt32(&rep.pid, -1)
		watch.Wait()
		return Child{}, errno
	}
	watch.Wait()
	c := Child{Pid: int(pid), Pidfd: int(rep.pidfd)}
	if rep.failed != 0 {
		c.Failure = &Failure{Index: int(rep.failed) - 1, Errno: unix.Errno(rep.errno), Interpreter: rep.exists != 0}
	}
	return c, nil
}

// newReport returns the memory of the report and of the timings: on the heap
// where the child shares the launcher's memory, in a shared mapping elsewhere.
func (p *Program) newReport(pins *runtime.Pinner) (*report, func(), error) {
	n := 0
	if p.Trace {
		n = len(p.Calls)
	}
	if !p.OwnMemory {
		rep := new(report)
		pins.Pin(rep)
		if n > 0 {
			p.timings = make([]Timing, n)
			pins.Pin(unsafe.SliceData(p.timings))
		}
		return rep, func() {}, nil
	}
	head := int(unsafe.Sizeof(Timing{}))
	mem, err := unix.Mmap(-1, 0, head+n*head, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_ANONYMOUS)
	if err != nil {
		return nil, nil, err
	}
	if n > 0 {
		p.timings = unsafe.Slice((*Timing)(unsafe.Pointer(&mem[head])), n)
	}
	free := func() {
		if p.timings != nil { // they outlive the mapping
			p.timings = append([]Timing(nil), p.timings...)
		}
		_ = unix.Munmap(mem)
	}
	return (*report)(unsafe.Pointer(&mem[0])), free, nil
}

// fix turns offsets into addresses.
func (p *Program) fix(pins *runtime.Pinner) []raw {
	if len(p.Data) == 0 {
		p.Data = make([]byte, 8)
	}
	base := uintptr(unsafe.Pointer(unsafe.SliceData(p.Data)))
	pins.Pin(unsafe.SliceData(p.Data))
	for _, r := range p.Relocs {
		*(*uintptr)(unsafe.Pointer(&p.Data[r.At])) = base + uintptr(r.Target)
	}
	out := make([]raw, len(p.Calls))
	for i := range p.Calls {
		c, o := &p.Calls[i], &out[i]
		o.nr, o.slot, o.save, o.op, o.ignore = c.Nr, c.Slot, c.Save, c.Op, uintptr(c.Ignore)
		o.last = i+1 == len(p.Calls) || p.Calls[i+1].Op != OpExec
		for k, v := range c.Args {
			o.args[k] = uintptr(v)
			if c.Mem&(1<<k) != 0 {
				o.args[k] += base
			}
		}
	}
	if len(out) > 0 {
		pins.Pin(unsafe.SliceData(out))
	}
	return out
}

// waitPid returns once the kernel or Launch has written the pid. The kernel
// writes it before the child runs, so the wait is a few microseconds.
//
// The plain clone writes a pidfd alone, and returns the pid only once the child
// has executed a program; but the pidfd knows it.
func waitPid(rep *report, plain bool) int {
	for {
		if pid := atomic.LoadInt32(&rep.pid); pid != 0 {
			return int(pid)
		}
		if fd := atomic.LoadInt32(&rep.pidfd); plain && fd >= 0 {
			if pid := pidOf(int(fd)); pid > 0 {
				return pid
			}
		}
		time.Sleep(10 * time.Microsecond)
	}
}

// pidOf reads the process id behind a pidfd from its fdinfo (pidfd_open(2)). It
// is not positive when the process is gone, or /proc is not there.
func pidOf(fd int) int {
	text, err := os.ReadFile("/proc/self/fdinfo/" + strconv.Itoa(fd))
	if err != nil {
		return 0
	}
	for line := range bytes.Lines(text) {
		if value, ok := bytes.CutPrefix(line, []byte("Pid:")); ok {
			pid, _ := strconv.Atoi(string(bytes.TrimSpace(value)))
			return pid
		}
	}
	return 0
}
