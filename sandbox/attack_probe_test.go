package sandbox_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"reflect"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox"
	"github.com/sbx-dev/sbx/sandbox/internal/testenv"
)

// probeWord is the first argument of this test binary when it runs as a probe:
// the hostile program inside a sandbox, or the caller of one.
const probeWord = "probe"

// probes are what it can do. What a probe prints is what it found; an error is
// an attack that was refused, and its exit code is 1.
var probes = map[string]func(args []string) error{
	"call":      probeCall,
	"chroot":    probeChroot,
	"clock":     probeClock,
	"dial":      probeDial,
	"exhaust":   probeExhaust,
	"forks":     probeForks,
	"freeze":    probeFreeze,
	"hostname":  probeHostname,
	"init":      probeInit,
	"join":      probeJoin,
	"kill":      probeKill,
	"launch":    probeLaunch,
	"open":      probeOpen,
	"overwrite": probeOverwrite,
	"owners":    probeOwners,
	"plan":      probePlan,
	"posture":   probePosture,
	"readfd":    probeReadFD,
	"rlimit":    probeRlimit,
	"setgroups": probeSetgroups,
	"shm":       probeShm,
	"terminal":  probeTerminal,
}

// TestMain makes the test binary a probe when its first argument says so.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == probeWord {
		probe := probes[os.Args[2]]
		if probe == nil {
			fmt.Println("no probe is called", os.Args[2])
			os.Exit(2)
		}
		if err := probe(os.Args[3:]); err != nil {
			fmt.Println(describe(err))
			os.Exit(1)
		}
		unix.Exit(0) // at once: os.Exit waits a second for the race detector
	}
	code := m.Run()
	if n := testenv.Skips(); n > 0 {
		fmt.Printf("skipped %d tests for lack of a condition (go test -v says which)\n", n)
	}
	os.Exit(code)
}

// describe names the errno, which is what the tests look for.
func describe(err error) string {
	var errno unix.Errno
	if errors.As(err, &errno) {
		return unix.ErrnoName(errno) + ": " + err.Error()
	}
	return err.Error()
}

// probeCall makes one system call: its number, then its arguments. The word
// page stands for the address of a page of zeroes, and "page:TEXT" for one that
// begins with TEXT.
func probeCall(args []string) error {
	runtime.LockOSThread()
	var raw [7]uintptr
	for i, a := range args {
		text, isPage := strings.CutPrefix(a, "page")
		if isPage {
			page, err := unix.Mmap(-1, 0, os.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
			if err != nil {
				return err
			}
			copy(page, strings.TrimPrefix(text, ":"))
			raw[i] = reflect.ValueOf(page).Pointer()
			continue
		}
		n, err := strconv.ParseInt(a, 0, 64)
		if err != nil {
			u, err := strconv.ParseUint(a, 0, 64)
			if err != nil {
				return err
			}
			n = int64(u)
		}
		raw[i] = uintptr(n)
	}
	pid := os.Getpid()
	r, _, errno := unix.RawSyscall6(raw[0], raw[1], raw[2], raw[3], raw[4], raw[5], raw[6])
	if os.Getpid() != pid {
		unix.RawSyscall(unix.SYS_EXIT_GROUP, 0, 0, 0) // the call was a fork, and this is the child
	}
	if errno != 0 {
		return errno
	}
	fmt.Println("returned", r)
	return nil
}

// probeKill sends the signal args[1] to the process args[0].
func probeKill(args []string) error {
	pid, _ := strconv.Atoi(args[0])
	sig, _ := strconv.Atoi(args[1])
	return unix.Kill(pid, unix.Signal(sig))
}

func probeHostname([]string) error { return unix.Sethostname([]byte("conquered")) }

// probeSetgroups drops all groups, and with them what they are refused.
func probeSetgroups([]string) error {
	_, _, errno := unix.RawSyscall(unix.SYS_SETGROUPS, 0, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// probeShm reads the System V shared memory with the key args[0].
func probeShm(args []string) error {
	key, _ := strconv.Atoi(args[0])
	id, err := unix.SysvShmGet(key, 0, 0)
	if err != nil {
		return err
	}
	data, err := unix.SysvShmAttach(id, 0, unix.SHM_RDONLY)
	if err != nil {
		return err
	}
	fmt.Println(strings.TrimRight(string(data), "\x00"))
	return nil
}

// probeClock prints the boot-time clock in seconds.
func probeClock([]string) error {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return err
	}
	fmt.Println(ts.Sec)
	return nil
}

// probeReadFD reads from the descriptor args[0], or from the file args[1] below
// it.
func probeReadFD(args []string) error {
	fd, _ := strconv.Atoi(args[0])
	if len(args) > 1 {
		var err error
		if fd, err = unix.Openat(fd, args[1], unix.O_RDONLY, 0); err != nil {
			return err
		}
	}
	var buf [256]byte
	n, err := unix.Pread(fd, buf[:], 0)
	if err != nil {
		return err
	}
	os.Stdout.Write(buf[:n])
	return nil
}

// probeOverwrite opens its standard input, which was passed for reading, again
// for writing.
func probeOverwrite([]string) error {
	f, err := os.OpenFile("/proc/self/fd/0", os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString("overwritten")
	return err
}

// probeRlimit raises the limit args[0] to its hard limit and beyond.
func probeRlimit(args []string) error {
	which, _ := strconv.Atoi(args[0])
	var have unix.Rlimit
	if err := unix.Getrlimit(which, &have); err != nil {
		return err
	}
	fmt.Printf("soft=%d hard=%d\n", have.Cur, have.Max)
	have.Cur = have.Max
	if have.Max == 0 {
		return unix.EPERM
	}
	return unix.Setrlimit(which, &have)
}

// probeForks makes args[0] processes that stay, and ends with them.
func probeForks(args []string) error {
	n, _ := strconv.Atoi(args[0])
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	var made []*os.Process
	defer func() {
		w.Close()
		for _, p := range made {
			_, _ = p.Wait()
		}
	}()
	for range n {
		p, err := os.StartProcess("/bin/cat", []string{"cat"}, &os.ProcAttr{Files: []*os.File{r, nil, nil}})
		if err != nil {
			return fmt.Errorf("after %d processes: %w", len(made), err)
		}
		made = append(made, p)
	}
	fmt.Println("made", len(made))
	return nil
}

// probeChroot leaves a chroot as everybody does who has CAP_SYS_CHROOT (the
// note in chroot(2)): below a second one, a descriptor of the outside is a
// folder whose parents nothing stops at. Then it prints the file args[0].
func probeChroot(args []string) error {
	if err := os.MkdirAll("/tmp/hole", 0o700); err != nil {
		return err
	}
	outside, err := unix.Open("/", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	if err := unix.Chroot("/tmp/hole"); err != nil {
		return err
	}
	if err := unix.Fchdir(outside); err != nil {
		return err
	}
	for range 64 {
		if err := unix.Chdir(".."); err != nil {
			return err
		}
	}
	if err := unix.Chroot("."); err != nil {
		return err
	}
	text, err := os.ReadFile(args[0])
	fmt.Println(string(text))
	return err
}

// probeTerminal attacks the caller's terminal in the way args[0].
func probeTerminal(args []string) error {
	switch args[0] {
	case "open":
		f, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
		if err != nil {
			return err
		}
		fmt.Fprintln(f, "the terminal is mine")
		return nil
	case "type":
		for _, c := range args[1] + "\n" {
			if err := unix.IoctlSetPointerInt(0, unix.TIOCSTI, int(c)); err != nil {
				return err
			}
		}
		return nil
	}
	return unix.EINVAL
}

// probeLaunch is not the hostile program but a caller of sandboxes: it runs the
// spec in args[0], which is JSON, and ends as the sandbox did. With "-after
// FILE" it then says whether the file exists, which shows what the sandbox left
// in this process's mount namespace.
func probeLaunch(args []string) error {
	c := &sandbox.Cmd{Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stdout}
	if err := json.Unmarshal([]byte(args[0]), &c.Spec); err != nil {
		return err
	}
	options := args[1:]
	if slices.Contains(options, "-ignore") {
		signal.Ignore(unix.SIGINT)
	}
	if slices.Contains(options, "-shared") {
		if err := unix.Mount("", "/", "", unix.MS_SHARED|unix.MS_REC, ""); err != nil {
			return err
		}
	}
	if i := slices.Index(options, "-mount"); i >= 0 { // a while after the start
		if err := c.Start(); err != nil {
			return err
		}
		time.Sleep(100 * time.Millisecond)
		if err := unix.Mount("/etc", options[i+1], "", unix.MS_BIND, ""); err != nil {
			return err
		}
		return c.Wait()
	}
	err := c.Run()
	if i := slices.Index(options, "-after"); i >= 0 {
		_, missing := os.Lstat(options[i+1])
		fmt.Println("outside: there =", missing == nil)
	}
	if slices.Contains(options, "-hostname") {
		name, _ := os.Hostname()
		fmt.Println("outside: hostname =", name)
	}
	fmt.Println("the caller lives")
	return err
}

// lockThreadForGood makes the calling goroutine's thread end with it.
func lockThreadForGood() { runtime.LockOSThread() }

// asCaller runs this test binary as a caller of sandboxes that is its own
// session, or root of its own namespaces, and returns what was said.
func asCaller(t *testing.T, c *sandbox.Cmd, attr *syscall.SysProcAttr, options ...string) string {
	t.Helper()
	out, err := callerCommand(t, c, attr, options...).CombinedOutput()
	if err != nil {
		return strings.TrimSpace(string(out)) + " (" + err.Error() + ")"
	}
	return strings.TrimSpace(string(out))
}

// callerCommand is the command of asCaller.
func callerCommand(t *testing.T, c *sandbox.Cmd, attr *syscall.SysProcAttr, options ...string) *exec.Cmd {
	t.Helper()
	spec, err := json.Marshal(c.Spec)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(testBinary(), slices.Concat([]string{probeWord, "launch", string(spec)}, options)...)
	cmd.SysProcAttr = attr
	return cmd
}

// rootOfItsOwn makes a process root of new user, mount and UTS namespaces, in
// which it may mount: the host that a normal user cannot be.
func rootOfItsOwn() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWUTS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
}
