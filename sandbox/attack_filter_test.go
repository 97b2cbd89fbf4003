package sandbox_test

import (
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox"
	"github.com/sbx-dev/sbx/sandbox/internal/testenv"
)

// filterAttacks make one call of each family that the filter refuses. Without
// the filter the kernel itself answers, with success or with an errno that
// shows that it looked at the arguments: its code was reached.
var filterAttacks = []attack{
	forbidden("unshare", nil, unix.SYS_UNSHARE, "0x10000000"),
	forbidden("unshare of a mount namespace", inNamespaces, unix.SYS_UNSHARE, "0x20000"),
	forbidden("clone into a user namespace", nil, unix.SYS_CLONE, "0x10000011"),
	forbidden("clone with high bits", nil, unix.SYS_CLONE, "0x7fffffff10000011"),
	forbidden("clone3", nil, unix.SYS_CLONE3, "0", "0"),
	forbidden("setns", nil, unix.SYS_SETNS, "-1", "0"),
	forbidden("mount", inNamespaces, unix.SYS_MOUNT, "page:tmpfs", "page:/mnt", "page:tmpfs", "0", "0"),
	forbidden("umount", inNamespaces, unix.SYS_UMOUNT2, "page:/nowhere", "0"),
	forbidden("pivot_root", inNamespaces, unix.SYS_PIVOT_ROOT, "page:/nowhere", "page:/nowhere"),
	forbidden("chroot", inNamespaces, unix.SYS_CHROOT, "page:/"),
	forbidden("open_tree", inNamespaces, unix.SYS_OPEN_TREE, "-100", "page:/usr", "1"),
	forbidden("move_mount", inNamespaces, unix.SYS_MOVE_MOUNT, "-1", "page", "-1", "page", "4"),
	forbidden("fsopen", inNamespaces, unix.SYS_FSOPEN, "page:tmpfs", "0"),
	forbidden("fsmount", inNamespaces, unix.SYS_FSMOUNT, "-1", "0", "0"),
	forbidden("mount_setattr", inNamespaces, unix.SYS_MOUNT_SETATTR, "-1", "page", "0x1000", "page", "32"),
	forbidden("bpf", nil, unix.SYS_BPF, "9999", "0", "0"),
	forbidden("perf_event_open", nil, unix.SYS_PERF_EVENT_OPEN, "0", "0", "-1", "-1", "0"),
	forbidden("io_uring_setup", nil, unix.SYS_IO_URING_SETUP, "1", "page"),
	forbidden("userfaultfd", nil, unix.SYS_USERFAULTFD, "1"), // UFFD_USER_MODE_ONLY
	forbidden("keyctl", nil, unix.SYS_KEYCTL, "0", "-3", "0"),
	forbidden("add_key", nil, unix.SYS_ADD_KEY, "page:user", "page:sbx-test", "page:x", "1", "-1"),
	forbidden("request_key", nil, unix.SYS_REQUEST_KEY, "page:user", "page:sbx-test", "0", "-1"),
	forbidden("AF_ALG", nil, unix.SYS_SOCKET, strconv.Itoa(unix.AF_ALG), strconv.Itoa(unix.SOCK_SEQPACKET), "0"),
	forbidden("AF_VSOCK", nil, unix.SYS_SOCKET, strconv.Itoa(unix.AF_VSOCK), strconv.Itoa(unix.SOCK_STREAM), "0"),
	forbidden("a raw packet socket", inNamespaces, unix.SYS_SOCKET, strconv.Itoa(unix.AF_PACKET), strconv.Itoa(unix.SOCK_RAW), "0"),
	forbidden("TIOCSTI", nil, unix.SYS_IOCTL, "0", strconv.Itoa(unix.TIOCSTI), "page:x"),
	forbidden("TIOCSTI with high bits", nil, unix.SYS_IOCTL, "0", "0x100005412", "page:x"),
	forbidden("TIOCLINUX with high bits", nil, unix.SYS_IOCTL, "0", "0x70000541c", "page:x"),
	forbidden("TIOCSETD", nil, unix.SYS_IOCTL, "0", strconv.Itoa(unix.TIOCSETD), "page:x"),
	forbidden("TIOCEXCL with high bits", nil, unix.SYS_IOCTL, "0", "0x10000540c", "0"),
	forbidden("open_by_handle_at", nil, unix.SYS_OPEN_BY_HANDLE_AT, "-1", "page", "0"),
}

// inNamespaces are the steps beside which a call is tried that asks for
// capabilities of the sandbox's own namespaces.
var inNamespaces = []string{"user", "mount", "pid", "uts", "ipc", "net"}

// forbidden is an attack by one system call.
func forbidden(name string, beside []string, nr int, args ...string) attack {
	return attack{
		step: "seccomp", name: name, beside: beside,
		spec: func(s *sandbox.Spec) {
			if beside != nil {
				s.User.UID = new(int) // uid 0 keeps its capabilities at execve
			}
		},
		run: func(t *testing.T, c *sandbox.Cmd) (bool, string) {
			ok, said := says(t, inside(c, "call", append([]string{strconv.Itoa(nr)}, args...)...))
			refused := strings.HasPrefix(said, "EPERM") || strings.HasPrefix(said, "ENOSYS") || strings.Contains(said, "SIGSYS")
			return ok || !refused, said
		},
	}
}

// TestClone3FallsBack: ENOSYS, and no other errno, makes a C library use clone,
// whose flags the filter can see.
func TestClone3FallsBack(t *testing.T) {
	needAll(t)
	c := sandbox.Command("true")
	if _, said := says(t, inside(c, "call", strconv.Itoa(unix.SYS_CLONE3), "0", "0")); !strings.HasPrefix(said, "ENOSYS") {
		t.Errorf("clone3: %s", said)
	}
}

// TestOtherSystemCallTables: calls by the tables of i386 and x32 have other
// numbers, which a filter for amd64 would take for something else
// (CVE-2019-7303 is of the same kind).
func TestOtherSystemCallTables(t *testing.T) {
	needAll(t)
	testenv.Need(t, "i386") // only amd64 has two more tables
	const x32 = 0x40000000
	for _, nr := range []int{unix.SYS_MOUNT, unix.SYS_UNSHARE, unix.SYS_PTRACE, unix.SYS_GETPID} {
		c := sandbox.Command("true")
		ok, said := says(t, inside(c, "call", strconv.Itoa(x32+nr), "0x10000000"))
		if ok {
			t.Errorf("the x32 call %d: %s", nr, said)
		}
	}
}
