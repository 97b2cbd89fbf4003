package filter_test

import (
	"math"
	"slices"
	"sort"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox/filter"
)

func TestCallTables(t *testing.T) {
	for _, arch := range filter.Arches() {
		names := filter.CallNames(arch)
		if len(names) < 300 {
			t.Fatalf("%s: %d calls", arch, len(names))
		}
		numbers := make([]int, len(names))
		for i, name := range names {
			nr, ok := filter.CallNumber(arch, name)
			if back, _ := filter.CallName(arch, nr); !ok || back != name {
				t.Errorf("%s: %s is %d, which is %s", arch, name, nr, back)
			}
			numbers[i] = int(nr)
		}
		if !sort.IntsAreSorted(numbers) || len(slices.Compact(numbers)) != len(names) {
			t.Errorf("%s: the numbers do not rise", arch)
		}
		for _, nr := range []int32{-1, math.MinInt32, math.MaxInt32, 400} {
			if name, ok := filter.CallName(arch, nr); ok {
				t.Errorf("%s: %d is %s", arch, nr, name)
			}
		}
	}
	// Fixed points, from the kernel's tables.
	for _, tt := range []struct {
		arch, name string
		nr         int32
		ok         bool
	}{
		{"amd64", "read", 0, true},
		{"arm64", "read", 63, true},
		{"amd64", "clone3", 435, true},
		{"arm64", "clone3", 435, true},
		{"amd64", "open", 2, true},
		{"arm64", "open", 0, false},
		{"arm64", "newfstatat", 79, true},
		{"vax", "read", 0, false},
	} {
		if nr, ok := filter.CallNumber(tt.arch, tt.name); nr != tt.nr || ok != tt.ok {
			t.Errorf("%s %s: %d, %v", tt.arch, tt.name, nr, ok)
		}
	}
}

func TestBuiltinPrograms(t *testing.T) {
	for _, arch := range filter.Arches() {
		for _, name := range filter.Names() {
			p, ok := filter.Builtin(name, arch)
			if !ok {
				t.Fatalf("%s for %s is missing", name, arch)
			}
			if err := p.Validate(); err != nil {
				t.Errorf("%s for %s: %v", name, arch, err)
			}
			p[0].Code = 0xffff
			if again, _ := filter.Builtin(name, arch); again[0].Code == 0xffff {
				t.Errorf("%s for %s: a caller changed it", name, arch)
			}
		}
	}
	for _, tt := range [][2]string{{"", "amd64"}, {"default", ""}, {"default", "vax"}, {"Default", "amd64"}} {
		if _, ok := filter.Builtin(tt[0], tt[1]); ok {
			t.Errorf("a program for %q", tt)
		}
	}
}

// expectation is what a profile does with one call.
type expectation struct {
	call string
	args [6]uint64
	want map[string]filter.Action // by profile; log is always one of LOG and ALLOW
}

var (
	eperm   = filter.WithErrno(unix.EPERM)
	enosys  = filter.WithErrno(unix.ENOSYS)
	enotsup = filter.WithErrno(unix.ENOTSUP)
)

// by is the expectation of the profiles that refuse; owners is default but for
// what TestOwnersDecisions is about.
func by(normal, strict, nesting filter.Action) map[string]filter.Action {
	return map[string]filter.Action{"default": normal, "strict": strict, "nesting": nesting, "owners": normal}
}

// Personalities of include/uapi/linux/personality.h.
const (
	addrNoRandomize = 0x0040000
	readImpliesExec = 0x0400000
)

// high is a bit that a filter sees and that the kernel drops from an int.
const high = 1 << 32

// expectations are the rows of the design's threat table that the filter
// answers for, and the tricks that have gone around other filters.
func expectations() []expectation {
	allow := filter.Allow
	a := func(args ...uint64) (out [6]uint64) {
		copy(out[:], args)
		return out
	}
	var out []expectation
	every := func(want map[string]filter.Action, calls ...string) {
		for _, c := range calls {
			out = append(out, expectation{c, a(), want})
		}
	}
	// What PID 1 needs after the filter is installed.
	every(
		by(allow, allow, allow),
		"wait4", "write", "read", "fcntl", "close_range", "execve", "execveat", "setpgid", "rt_sigprocmask", "faccessat",
		"exit_group", "getppid", "futex", "mmap", "fork", "vfork", "statx", "pidfd_open", "getrandom", "rseq",
	)
	every(by(eperm, eperm, allow), "unshare", "setns", "mount", "umount2", "pivot_root", "chroot", "open_tree",
		"open_tree_attr", "move_mount", "fsopen", "fsconfig", "fsmount", "fspick", "mount_setattr", "sethostname")
	every(by(eperm, eperm, eperm), "bpf", "perf_event_open", "userfaultfd", "keyctl", "add_key", "request_key",
		"kexec_load", "kexec_file_load", "init_module", "finit_module", "delete_module", "swapon", "swapoff", "reboot",
		"settimeofday", "clock_settime", "adjtimex", "clock_adjtime", "acct", "quotactl", "quotactl_fd", "syslog",
		"iopl", "ioperm", "open_by_handle_at", "fanotify_init", "kcmp", "move_pages", "migrate_pages", "modify_ldt")
	every(by(enosys, enosys, enosys), "io_uring_setup", "io_uring_enter", "io_uring_register", "memfd_secret",
		"lookup_dcookie", "nfsservctl", "listns")
	every(by(enosys, enosys, allow), "clone3")
	every(by(eperm, eperm, allow), "pidfd_getfd")
	every(by(allow, eperm, allow), "ptrace", "process_vm_readv", "process_vm_writev", "seccomp", "shmget", "msgget",
		"chown", "setuid", "memfd_create", "name_to_handle_at", "landlock_restrict_self")
	every(by(allow, enosys, allow), "splice", "openat2", "fchmodat2", "mbind")
	every(by(allow, enotsup, allow), "setxattr", "setxattrat")

	row := func(call string, args [6]uint64, want map[string]filter.Action) {
		out = append(out, expectation{call, args, want})
	}
	// clone: the init's own flags, a thread's, and every namespace.
	row("clone", a(unix.CLONE_VM|unix.CLONE_VFORK|uint64(unix.SIGCHLD)), by(allow, allow, allow))
	row("clone", a(0x3d0f00), by(allow, allow, allow))
	row("clone", a(high|uint64(unix.SIGCHLD)), by(allow, allow, allow))
	for _, flag := range []uint64{
		unix.CLONE_NEWNS, unix.CLONE_NEWCGROUP, unix.CLONE_NEWUTS, unix.CLONE_NEWIPC,
		unix.CLONE_NEWUSER, unix.CLONE_NEWPID, unix.CLONE_NEWNET,
	} {
		row("clone", a(flag|uint64(unix.SIGCHLD)), by(eperm, eperm, allow))
		row("clone", a(high|flag), by(eperm, eperm, allow))
	}
	// ioctl: the kernel drops the upper half of the request.
	for _, request := range []uint64{unix.TIOCSTI, unix.TIOCLINUX, unix.TIOCSETD, unix.TIOCEXCL} {
		for _, h := range []uint64{0, high, 0xffffffff << 32} {
			row("ioctl", a(0, h|request), by(eperm, eperm, eperm))
		}
	}
	row("ioctl", a(0, unix.TCGETS), by(allow, allow, allow))
	row("ioctl", a(0, unix.TIOCGWINSZ), by(allow, allow, allow))
	row("ioctl", a(0, 0xffffffff80086601), by(allow, allow, allow))
	row("ioctl", a(unix.TIOCSTI, unix.TCGETS), by(allow, allow, allow))
	// socket.
	const stream, dgram = unix.SOCK_STREAM, unix.SOCK_DGRAM
	row("socket", a(unix.AF_UNIX, stream), by(allow, allow, allow))
	row("socket", a(unix.AF_UNIX, dgram|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK), by(allow, allow, allow))
	row("socket", a(high|unix.AF_UNIX, high|stream), by(allow, allow, allow))
	for _, family := range []uint64{unix.AF_INET, unix.AF_INET6} {
		icmp := map[uint64]uint64{unix.AF_INET: unix.IPPROTO_ICMP, unix.AF_INET6: unix.IPPROTO_ICMPV6}[family]
		row("socket", a(family, stream), by(allow, eperm, allow))
		row("socket", a(family, stream|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.IPPROTO_TCP), by(allow, eperm, allow))
		row("socket", a(family, dgram, unix.IPPROTO_UDP), by(allow, eperm, allow))
		row("socket", a(family, dgram, icmp), by(allow, eperm, allow))
		row("socket", a(high|family, high|dgram, high|unix.IPPROTO_UDP), by(allow, eperm, allow))
		for _, kind := range []uint64{unix.SOCK_RAW, unix.SOCK_PACKET, unix.SOCK_RDM, unix.SOCK_DCCP, unix.SOCK_SEQPACKET} {
			row("socket", a(family, kind), by(eperm, eperm, eperm))
			row("socket", a(family, high|kind|unix.SOCK_CLOEXEC), by(eperm, eperm, eperm))
		}
		for _, protocol := range []uint64{unix.IPPROTO_SCTP, unix.IPPROTO_MPTCP, unix.IPPROTO_L2TP, unix.IPPROTO_RAW} {
			row("socket", a(family, stream, protocol), by(eperm, eperm, eperm))
			row("socket", a(family, dgram, high|protocol), by(eperm, eperm, eperm))
		}
	}
	row("socket", a(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_ROUTE), by(allow, eperm, allow))
	row("socket", a(unix.AF_NETLINK, dgram|unix.SOCK_CLOEXEC, high), by(allow, eperm, allow))
	absent := filter.WithErrno(unix.EPROTONOSUPPORT)
	row("socket", a(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_AUDIT), by(absent, eperm, absent))
	row("socket", a(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, high|unix.NETLINK_AUDIT), by(absent, eperm, absent))
	for protocol := uint64(1); protocol < 32; protocol++ {
		if protocol == unix.NETLINK_AUDIT {
			continue
		}
		row("socket", a(unix.AF_NETLINK, unix.SOCK_RAW, protocol), by(eperm, eperm, eperm))
		row("socket", a(unix.AF_NETLINK, unix.SOCK_RAW, high|protocol), by(eperm, eperm, eperm))
	}
	for family := range uint64(64) {
		switch family {
		case unix.AF_UNIX, unix.AF_INET, unix.AF_INET6, unix.AF_NETLINK:
			continue
		}
		row("socket", a(family, stream), by(eperm, eperm, eperm))
		row("socket", a(high|family, dgram), by(eperm, eperm, eperm))
	}
	row("socketpair", a(unix.AF_UNIX, stream), by(allow, allow, allow))
	row("socketpair", a(unix.AF_TIPC, stream), by(eperm, eperm, eperm))
	row("socketpair", a(high|unix.AF_TIPC, stream), by(eperm, eperm, eperm))
	// personality.
	row("personality", a(0xffffffff), by(allow, allow, allow))
	row("personality", a(0xffffffffffffffff), by(allow, allow, allow))
	row("personality", a(addrNoRandomize), by(allow, eperm, allow))
	row("personality", a(readImpliesExec), by(eperm, eperm, eperm))
	row("personality", a(high|readImpliesExec), by(eperm, eperm, eperm))
	// mknod: no devices.
	row("mknodat", a(0, 0, unix.S_IFIFO|0o644), by(allow, eperm, allow))
	row("mknodat", a(0, 0, unix.S_IFBLK|0o644), by(eperm, eperm, allow))
	row("mknodat", a(0, 0, high|unix.S_IFCHR|0o644), by(eperm, eperm, allow))
	row("mknod", a(0, 0o644), by(allow, eperm, allow))
	row("mknod", a(0, unix.S_IFCHR), by(eperm, eperm, allow))
	// Set-user-ID bits: strict alone looks.
	for _, bits := range []uint64{0o4755, 0o2755, high | 0o4755} {
		row("fchmodat", a(0, 0, bits), by(allow, eperm, allow))
		row("fchmod", a(0, bits), by(allow, eperm, allow))
		row("chmod", a(0, bits), by(allow, eperm, allow))
		row("creat", a(0, bits), by(allow, eperm, allow))
		row("openat", a(0, 0, unix.O_CREAT, bits), by(allow, eperm, allow))
		row("openat", a(0, 0, high|unix.O_TMPFILE, bits), by(allow, eperm, allow))
		row("openat", a(0, 0, unix.O_RDWR|unix.O_CLOEXEC, bits), by(allow, allow, allow))
		row("open", a(0, unix.O_CREAT, bits), by(allow, eperm, allow))
	}
	row("fchmodat", a(0, 0, 0o1777), by(allow, allow, allow))
	row("openat", a(0, 0, unix.O_CREAT, 0o644), by(allow, allow, allow))
	// prctl: strict has a list.
	row("prctl", a(unix.PR_SET_NAME), by(allow, allow, allow))
	row("prctl", a(high|unix.PR_SET_NO_NEW_PRIVS), by(allow, allow, allow))
	row("prctl", a(unix.PR_SET_SECCOMP), by(allow, eperm, allow))
	row("prctl", a(unix.PR_SET_SYSCALL_USER_DISPATCH), by(allow, eperm, allow))
	return out
}

func TestBuiltinDecisions(t *testing.T) {
	count := 0
	for _, arch := range filter.Arches() {
		token, _ := filter.Arch(arch)
		for name, p := range programs(arch) {
			for _, e := range expectations() {
				nr, ok := filter.CallNumber(arch, e.call)
				if !ok {
					continue // arm64 has no open, fork, …
				}
				count++
				got, err := p.Run(filter.Data{Nr: nr, Arch: token, Args: e.args})
				if err != nil {
					t.Fatal(err)
				}
				want := e.want[name]
				if name == "log" {
					want = filter.Log
					if e.want["default"] == filter.Allow {
						want = filter.Allow
					}
				}
				if got != want {
					t.Errorf("%s %s: %s%#x: %v, want %v", arch, name, e.call, e.args, got, want)
				}
			}
		}
	}
	if count < 1000 {
		t.Errorf("only %d decisions", count)
	}
}

// programs are the built-in programs of an architecture by name.
func programs(arch string) map[string]filter.Program {
	out := map[string]filter.Program{}
	for _, name := range filter.Names() {
		out[name], _ = filter.Builtin(name, arch)
	}
	return out
}

// TestForeignConventions tries the ways to call the kernel that the numbers of
// a profile do not mean.
func TestForeignConventions(t *testing.T) {
	for _, arch := range filter.Arches() {
		own, _ := filter.Arch(arch)
		for name, p := range programs(arch) {
			kill, absent := filter.KillProcess, enosys
			if name == "log" {
				kill, absent = filter.Log, filter.Log
			}
			check := func(what string, d filter.Data, want filter.Action) {
				t.Helper()
				if got, err := p.Run(d); got != want || err != nil {
					t.Errorf("%s %s: %s: %v, %v, want %v", arch, name, what, got, err, want)
				}
			}
			for _, token := range []uint32{
				unix.AUDIT_ARCH_I386, unix.AUDIT_ARCH_ARM, unix.AUDIT_ARCH_X86_64, unix.AUDIT_ARCH_AARCH64,
				unix.AUDIT_ARCH_RISCV64, 0, math.MaxUint32, own ^ 0x80000000, own ^ 0x40000000,
			} {
				if token == own {
					continue
				}
				for nr := range int32(500) {
					check("architecture "+strconv.FormatUint(uint64(token), 16), filter.Data{Nr: nr, Arch: token}, kill)
				}
			}
			for nr := range int32(600) { // x32 shares the token of amd64
				check("x32", filter.Data{Nr: nr | 0x40000000, Arch: own}, absent)
			}
			last, _ := filter.CallNumber(arch, "rseq_slice_yield")
			for _, nr := range []int32{last + 1, last + 2, 1000, math.MaxInt32, math.MinInt32} {
				check("newer than the profile", filter.Data{Nr: nr, Arch: own}, absent)
			}
			check("-1", filter.Data{Nr: -1, Arch: own}, absent)
		}
	}
}
