package sandbox_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox"
)

// clockOffset is by how many seconds the step time shifts the clocks here.
const clockOffset = 1_000_000

// namespaceAttacks are on what a namespace holds.
var namespaceAttacks = []attack{
	{
		// passwd -S is setuid root and reads /etc/shadow. In a user namespace
		// that maps one id, root of the host does not exist: its setuid bit is
		// ignored.
		step: "user", name: "a setuid program of the host", needs: []string{"setuid"},
		run: shadowEntry,
	},
	{
		// In a user namespace of its own code would have every capability
		// again, and with them the parts of the kernel that most exploits of
		// the last years began in (CVE-2022-0185, CVE-2024-1086).
		step: "user", name: "a further user namespace",
		run: func(t *testing.T, c *sandbox.Cmd) (bool, string) {
			return says(t, inside(c, "call", strconv.Itoa(unix.SYS_CLONE), "0x10000011"))
		},
	},
	{
		// With a user namespace alone the kernel refuses: the mount namespace
		// is the host's. So the first run is without both.
		step: "mount", name: "mount on the host", needs: []string{"userns"}, bare: true,
		run: func(t *testing.T, c *sandbox.Cmd) (bool, string) {
			dir := ownFolder(t)
			c.Spec.Args = []string{"sh", "-c", "mount -t tmpfs tmpfs " + dir + " && touch " + dir + "/mark"}
			said := asCaller(t, c, rootOfItsOwn(), "-shared", "-after", dir+"/mark")
			return strings.Contains(said, "there = true"), said
		},
	},
	{
		// Propagation: were it not cut, what the host mounts later would appear
		// inside (and with a shared tree the other way round).
		step: "mount", name: "see what the host mounts later", needs: []string{"userns"},
		run: func(t *testing.T, c *sandbox.Cmd) (bool, string) {
			dir := ownFolder(t)
			c.Spec.Args = []string{"sh", "-c", "i=0; while [ $i -lt 40 ]; do [ -e " + dir + "/passwd ] && echo appeared && exit; sleep 0.01; i=$((i+1)); done"}
			said := asCaller(t, c, rootOfItsOwn(), "-shared", "-mount", dir)
			return strings.Contains(said, "appeared"), said
		},
	},
	{
		step: "pid", name: "kill a process of the caller",
		run: func(t *testing.T, c *sandbox.Cmd) (bool, string) {
			v := victim(t)
			_, said := says(t, inside(c, "kill", strconv.Itoa(v.Process.Pid), "9"))
			deadline := time.Now().Add(200 * time.Millisecond)
			for alive(v.Process.Pid) && time.Now().Before(deadline) {
				time.Sleep(5 * time.Millisecond)
			}
			return !alive(v.Process.Pid), said
		},
	},
	{
		step: "uts", name: "learn the host's name",
		run: func(t *testing.T, c *sandbox.Cmd) (bool, string) {
			name, err := os.Hostname()
			if err != nil {
				t.Fatal(err)
			}
			if name == "sandbox" {
				t.Skip("the host is called sandbox")
			}
			return tells(name, "uname", "-n")(t, c)
		},
	},
	{
		step: "uts", name: "change the host's name", needs: []string{"userns"}, bare: true,
		run: func(t *testing.T, c *sandbox.Cmd) (bool, string) {
			said := asCaller(t, inside(c, "hostname"), rootOfItsOwn(), "-hostname")
			return strings.Contains(said, "hostname = conquered"), said
		},
	},
	{
		step: "ipc", name: "read shared memory", needs: []string{"sysvipc"},
		run: func(t *testing.T, c *sandbox.Cmd) (bool, string) {
			key := sharedMemory(t)
			_, said := says(t, inside(c, "shm", strconv.Itoa(key)))
			return strings.Contains(said, aSecret), said
		},
	},
	{
		step: "net", name: "connect to 127.0.0.1",
		run: func(t *testing.T, c *sandbox.Cmd) (bool, string) {
			_, said := says(t, inside(c, "dial", listener(t, "")))
			return strings.Contains(said, aSecret), said
		},
	},
	{
		// CVE-2020-15257: containerd's socket had no path.
		step: "net", name: "connect to an abstract socket",
		run: func(t *testing.T, c *sandbox.Cmd) (bool, string) {
			_, said := says(t, inside(c, "dial", listener(t, abstractName())))
			return strings.Contains(said, aSecret), said
		},
	},
	{
		step: "cgroup", name: "be in the host's cgroup namespace", needs: []string{"cgroupns"},
		run: func(t *testing.T, c *sandbox.Cmd) (bool, string) {
			host, err := os.Readlink("/proc/self/ns/cgroup")
			if err != nil {
				t.Fatal(err)
			}
			return tells(host, "readlink", "/proc/self/ns/cgroup")(t, c)
		},
	},
	{
		// On a host where this process is in the root of every hierarchy there
		// is nothing to learn.
		step: "cgroup", name: "learn the caller's cgroup", needs: []string{"cgroupns"},
		run: func(t *testing.T, c *sandbox.Cmd) (bool, string) {
			longest := ""
			for line := range strings.Lines(readFile(t, "/proc/self/cgroup")) {
				if parts := strings.SplitN(strings.TrimSpace(line), ":", 3); len(parts[2]) > len(longest) {
					longest = parts[2]
				}
			}
			if longest == "/" {
				t.Skip("the caller is in the root of every cgroup hierarchy")
			}
			return tells(longest, "cat", "/proc/self/cgroup")(t, c)
		},
	},
	{
		step: "time", name: "learn how long the host has been up", needs: []string{"timens"},
		beside: []string{"user"},
		run: func(t *testing.T, c *sandbox.Cmd) (bool, string) {
			var now unix.Timespec
			if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
				t.Fatal(err)
			}
			_, said := says(t, inside(c, "clock"))
			seen, err := strconv.ParseInt(said, 10, 64)
			if err != nil {
				t.Fatal(said)
			}
			if off := seen - now.Sec - clockOffset; off < 0 || off > 60 {
				return true, fmt.Sprintf("the host says %d, the sandbox %d", now.Sec, seen)
			}
			return false, said
		},
	},
}

// abstractName is a Unix socket's name that nobody else uses.
func abstractName() string { return fmt.Sprint("@sbx-test-", os.Getpid(), time.Now().UnixNano()) }

// keys counts the keys that sharedMemory has used.
var keys int

// sharedMemory makes a segment with the secret and returns its key.
func sharedMemory(t *testing.T) int {
	t.Helper()
	keys++
	key := os.Getpid()<<8 + keys
	id, err := unix.SysvShmGet(key, 4096, unix.IPC_CREAT|unix.IPC_EXCL|0o600)
	if err != nil {
		t.Fatal(err)
	}
	data, err := unix.SysvShmAttach(id, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	copy(data, aSecret)
	t.Cleanup(func() {
		_ = unix.SysvShmDetach(data)
		_, _ = unix.SysvShmCtl(id, unix.IPC_RMID, nil)
	})
	return key
}

// TestSetgroupsDenied: even with every capability of its namespace CMD cannot
// drop a group that is refused something (CVE-2014-8989, CVE-2018-7169).
func TestSetgroupsDenied(t *testing.T) {
	needConditions(t, []string{"user"})
	c := &sandbox.Cmd{Spec: only("user")}
	if ok, said := says(t, inside(c, "setgroups")); ok || !strings.HasPrefix(said, "EPERM") {
		t.Errorf("setgroups: %s", said)
	}
	c = &sandbox.Cmd{Spec: only("user", "proc")}
	c.Spec.Args = []string{"cat", "/proc/self/setgroups"}
	if _, said := says(t, c); said != "deny" {
		t.Errorf("/proc/self/setgroups is %q", said)
	}
}

// TestPathSocketsAndFIFOs: the network namespace does not stop a Unix socket
// with a path, nor does a read-only mount: connect(2) writes nothing. What
// hides them is that an overlay has inodes of its own.
func TestPathSocketsAndFIFOs(t *testing.T) {
	needAll(t)
	dir := ownFolder(t)
	socket := filepath.Join(dir, "socket")
	listener(t, socket)
	for kind, reached := range map[string]bool{sandbox.BindRO: true, sandbox.Overlay: false} {
		c := &sandbox.Cmd{Spec: sandbox.Spec{HideDir: true, Mounts: []sandbox.Mount{{Kind: kind, Source: dir, Target: "/mnt/shown"}}}}
		_, said := says(t, inside(c, "dial", "/mnt/shown/socket"))
		if got := strings.Contains(said, aSecret); got != reached {
			t.Errorf("the caller's socket below a mount of kind %s: reached = %v, want %v: %s", kind, got, reached, said)
		}
	}
	// The working folder is the place where such files would be.
	c := in(t, sandbox.Command("true"), dir)
	if _, said := says(t, inside(c, "dial", socket)); strings.Contains(said, aSecret) {
		t.Errorf("the socket in the working folder was reached: %s", said)
	}
	fifo := filepath.Join(dir, "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	reader, err := os.OpenFile(fifo, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	// O_RDWR opens a FIFO without waiting for anybody (fifo(7)).
	c = in(t, sandbox.Command("sh", "-c", "exec 3<>fifo; echo command >&3"), dir)
	if _, said := says(t, c); strings.Contains(said, "denied") {
		t.Errorf("CMD cannot use its own FIFO: %s", said)
	}
	buf := make([]byte, 16)
	if n, _ := unix.Read(int(reader.Fd()), buf); n > 0 {
		t.Errorf("%q came through the FIFO in the working folder", buf[:n])
	}
}
