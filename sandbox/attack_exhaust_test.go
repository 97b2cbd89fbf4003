package sandbox_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox"
	"github.com/sbx-dev/sbx/sandbox/internal/testenv"
)

// exhaustAttacks use up what the kernel counts for a user in all his processes,
// sandboxes or not, so that his other programs are refused it. Each takes more
// than one sandbox should and less than the kernel gives a user by default.
var exhaustAttacks = []attack{
	{step: "rlimits", name: "inotify instances", beside: []string{"user"}, run: exhausts("inotify", 70)},
	{step: "rlimits", name: "inotify watches", beside: []string{"user"}, run: exhausts("watches", 16400)},
	{step: "rlimits", name: "message queues", beside: []string{"user", "ipc"}, run: exhausts("queues", 7)},
	{step: "rlimits", name: "queued signals", beside: []string{"user"}, run: exhausts("timers", 9000)},
	{step: "dev", name: "pseudo-terminals", run: exhausts("terminals", 300)},
}

// exhausts is an attack that succeeds when n of a kind can be had.
func exhausts(kind string, n int) func(*testing.T, *sandbox.Cmd) (bool, string) {
	return func(t *testing.T, c *sandbox.Cmd) (bool, string) {
		return says(t, inside(c, "exhaust", kind, strconv.Itoa(n)))
	}
}

// probeExhaust takes args[1] pieces of the kind args[0] and keeps them.
func probeExhaust(args []string) error {
	n, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	var take func(i int) error
	switch args[0] {
	case "inotify":
		take = func(int) error { _, err := unix.InotifyInit1(unix.IN_CLOEXEC); return err }
	case "watches":
		fd, err := unix.InotifyInit1(unix.IN_CLOEXEC)
		if err != nil {
			return err
		}
		dir, err := os.MkdirTemp("", "watches")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		take = func(i int) error { // a watch a file
			name := filepath.Join(dir, strconv.Itoa(i))
			if err := unix.Mknod(name, unix.S_IFREG|0o600, 0); err != nil {
				return err
			}
			_, err := unix.InotifyAddWatch(fd, name, unix.IN_OPEN)
			return err
		}
	case "queues":
		// struct mq_attr of mq_open(3): flags, messages, their size, and more.
		attr := [8]int64{1: 10, 2: 8192}
		take = func(i int) error {
			name, err := unix.BytePtrFromString(fmt.Sprintf("sbx-%d-%d", os.Getpid(), i))
			if err != nil {
				return err
			}
			_, _, errno := unix.Syscall6(unix.SYS_MQ_OPEN, uintptr(unsafe.Pointer(name)), unix.O_CREAT|unix.O_EXCL|unix.O_RDWR, 0o600, uintptr(unsafe.Pointer(&attr)), 0, 0)
			if errno != 0 {
				return errno
			}
			_, _, _ = unix.Syscall(unix.SYS_MQ_UNLINK, uintptr(unsafe.Pointer(name)), 0, 0) // it lives while it is open
			return nil
		}
	case "timers": // timer_create(2) takes a queued signal in advance
		take = func(int) error {
			var id int32
			_, _, errno := unix.Syscall(unix.SYS_TIMER_CREATE, unix.CLOCK_MONOTONIC, 0, uintptr(unsafe.Pointer(&id)))
			if errno != 0 {
				return errno
			}
			return nil
		}
	case "terminals":
		take = func(int) error {
			_, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
			return err
		}
	default:
		return unix.EINVAL
	}
	for i := range n {
		if err := take(i); err != nil {
			return fmt.Errorf("after %d: %w", i, err)
		}
	}
	return nil
}

// TestOOMScore: when memory runs out, the sandbox goes first, unless the caller
// had himself go earlier.
func TestOOMScore(t *testing.T) {
	testenv.Need(t, "userns")
	own, err := os.ReadFile("/proc/self/oom_score_adj")
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		skip []string
		want string
	}{{nil, "500"}, {[]string{"rlimits"}, strings.TrimSpace(string(own))}} {
		c := sandbox.Command("cat", "/proc/self/oom_score_adj")
		c.Spec.Skip = test.skip
		if _, said := says(t, c); strings.TrimSpace(said) != test.want {
			t.Errorf("without %v: %s, want %s", test.skip, said, test.want)
		}
	}
}
