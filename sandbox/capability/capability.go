// Package capability knows the kernel's capabilities by name and number.
//
// It exists beside github.com/syndtr/gocapability, with which a test compares
// it, because that package reads a file and parses it before main begins, which
// costs a start of sbx up to a tenth of a millisecond (docs/adr/0003).
package capability

import (
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// names is indexed by the kernel's number (include/uapi/linux/capability.h).
var names = [...]string{
	"chown", "dac_override", "dac_read_search", "fowner", "fsetid", "kill", "setgid", "setuid", "setpcap", "linux_immutable",
	"net_bind_service", "net_broadcast", "net_admin", "net_raw", "ipc_lock", "ipc_owner", "sys_module", "sys_rawio", "sys_chroot", "sys_ptrace",
	"sys_pacct", "sys_admin", "sys_boot", "sys_nice", "sys_resource", "sys_time", "sys_tty_config", "mknod", "lease", "audit_write",
	"audit_control", "setfcap", "mac_override", "mac_admin", "syslog", "wake_alarm", "block_suspend", "audit_read", "perfmon", "bpf",
	"checkpoint_restore",
}

// Name is the name in lower case and without "cap_"; a number that is not
// known here, because the kernel is newer, is its own name.
func Name(n int) string {
	if n >= 0 && n < len(names) {
		return names[n]
	}
	return strconv.Itoa(n)
}

// Number finds a capability by its name, in any case and with or without
// "CAP_". It returns -1 when there is none.
func Number(name string) int {
	return slices.Index(names[:], strings.TrimPrefix(strings.ToLower(name), "cap_"))
}

// Last is the highest capability that the running kernel knows
// (prctl(2), PR_CAPBSET_READ says EINVAL above it).
func Last() int {
	known := func(n int) bool {
		_, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, uintptr(n), 0, 0, 0)
		return err == nil
	}
	last := len(names) - 1 // the kernel is seldom older or newer than the table
	for last > 0 && !known(last) {
		last--
	}
	for last < 63 && known(last+1) {
		last++
	}
	return last
}
