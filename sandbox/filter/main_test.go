package filter_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox/filter"
	"github.com/sbx-dev/sbx/sandbox/internal/testenv"
)

// childVariable makes the test binary the child that asks the kernel's checker.
const childVariable = "SBX_FILTER_TEST_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childVariable) == "check" {
		if err := answerChecks(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// install calls seccomp(2) with a program. reflect gives the address: this
// module keeps package unsafe to one place.
func install(flags uintptr, p filter.Program) (uintptr, unix.Errno) {
	prog := &unix.SockFprog{Len: uint16(len(p)), Filter: &p[0]}
	var pin runtime.Pinner
	defer pin.Unpin()
	pin.Pin(prog)
	pin.Pin(&p[0])
	r, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags, reflect.ValueOf(prog).Pointer())
	return r, errno
}

// answerChecks reads programs in hexadecimal, one a line, and writes what the
// kernel says of each. No program is ever installed: one thread gets a filter
// of its own first, so that TSYNC of any other filter is refused, with that
// thread's id, but only after the kernel's checker has accepted the program.
func answerChecks() error {
	// no_new_privs belongs to a thread, so each thread sets its own.
	runtime.LockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	ready, done := make(chan unix.Errno), make(chan struct{})
	go func() {
		runtime.LockOSThread()
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			ready <- err.(unix.Errno)
			return
		}
		_, errno := install(0, filter.Program{{Code: unix.BPF_RET | unix.BPF_K, K: uint32(filter.Allow)}})
		ready <- errno
		<-done
	}()
	if errno := <-ready; errno != 0 {
		return errno
	}
	defer close(done)
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var raw []byte
		if _, err := fmt.Sscanf(lines.Text(), "%x", &raw); err != nil {
			return err
		}
		tid, errno := install(unix.SECCOMP_FILTER_FLAG_TSYNC, decode(raw))
		switch {
		case errno != 0:
			fmt.Println(unix.ErrnoName(errno))
		case tid > 0:
			fmt.Println("valid")
		default:
			return fmt.Errorf("the kernel installed the filter")
		}
	}
	return lines.Err()
}

// decode makes instructions of any bytes, valid or not.
func decode(raw []byte) filter.Program {
	var p filter.Program
	for ; len(raw) >= 8; raw = raw[8:] {
		p = append(p, unix.SockFilter{
			Code: uint16(raw[0]) | uint16(raw[1])<<8,
			Jt:   raw[2],
			Jf:   raw[3],
			K:    uint32(raw[4]) | uint32(raw[5])<<8 | uint32(raw[6])<<16 | uint32(raw[7])<<24,
		})
	}
	return p
}

// askKernel says for each program whether the kernel's checker accepts it.
func askKernel(t *testing.T, programs []filter.Program) []bool {
	t.Helper()
	var in strings.Builder
	for _, p := range programs {
		fmt.Fprintf(&in, "%x\n", p.Bytes())
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), childVariable+"=check")
	cmd.Stdin = strings.NewReader(in.String())
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		testenv.Lacks(t, "seccomp", err)
	}
	answers := strings.Fields(string(out))
	if len(answers) != len(programs) {
		t.Fatalf("%d answers for %d programs", len(answers), len(programs))
	}
	valid := make([]bool, len(answers))
	for i, a := range answers {
		switch a {
		case "valid":
			valid[i] = true
		case "EINVAL":
		default:
			t.Fatalf("program %d: the kernel says %s", i, a)
		}
	}
	return valid
}

// TestNoInitialisation holds the promise that linking this package does not
// slow the start of a program: the runtime lists every package whose variables
// need code to be run.
func TestNoInitialisation(t *testing.T) {
	cmd := exec.Command("/proc/self/exe", "-test.run=^$")
	cmd.Env = append(os.Environ(), "GODEBUG=inittrace=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(out), "init os @") {
		t.Fatalf("no trace of initialisation in %q", out)
	}
	if strings.Contains(string(out), "sbx/sandbox/filter @") {
		t.Errorf("package filter is initialised at start:\n%s", out)
	}
}
