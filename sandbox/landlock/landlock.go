// Package landlock knows what each version of the kernel's Landlock can
// handle, and downgrades a wish to it. It makes no system call but the one
// that asks for the version: the calls are the plan's.
//
// A ruleset names the rights that it handles; what is handled and granted by
// no rule is refused. Rules only ever take away, add up when rulesets are
// stacked, and are inherited by children: see landlock(7) and the kernel's
// Documentation/userspace-api/landlock.rst.
package landlock

import (
	"golang.org/x/sys/unix"
)

// Rights on files that no device, socket or folder has: what may be granted
// beneath a file that is no folder. The kernel refuses others with EINVAL.
const FileRights = unix.LANDLOCK_ACCESS_FS_EXECUTE | unix.LANDLOCK_ACCESS_FS_WRITE_FILE |
	unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_TRUNCATE | unix.LANDLOCK_ACCESS_FS_IOCTL_DEV

// ReadRights are the rights of someone who may look and run, and change nothing.
const ReadRights = unix.LANDLOCK_ACCESS_FS_EXECUTE | unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_READ_DIR

// version is what one ABI brought.
type version struct {
	fs, net, scope uint64
	size           int // bytes of struct landlock_ruleset_attr
}

// versions is indexed by ABI - 1. Source: the table "Previous limitations" of
// the kernel's landlock.rst.
var versions = [...]version{
	{fs: 1<<13 - 1, size: 8},                                                                  // 5.13: execute … make_sym
	{fs: unix.LANDLOCK_ACCESS_FS_REFER, size: 8},                                              // 5.19
	{fs: unix.LANDLOCK_ACCESS_FS_TRUNCATE, size: 8},                                           // 6.2
	{net: unix.LANDLOCK_ACCESS_NET_BIND_TCP | unix.LANDLOCK_ACCESS_NET_CONNECT_TCP, size: 16}, // 6.7
	{fs: unix.LANDLOCK_ACCESS_FS_IOCTL_DEV, size: 16},                                         // 6.10
	{scope: unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET | unix.LANDLOCK_SCOPE_SIGNAL, size: 24},  // 6.12
	{size: 24}, // 6.15: audit flags, which a normal user cannot read
}

// Ruleset is what landlock_create_ruleset(2) is asked to handle, with the size
// of the struct that the ABI knows. The zero Ruleset handles nothing.
type Ruleset struct {
	FS, Net, Scope uint64
	Size           int
}

// Downgrade returns what of the wish the ABI can handle, and what it cannot.
// ABI 0 is a kernel without Landlock. An ABI from the future is handled like
// the newest that is known here.
//
// ABI 1 handles no rights on files: without the right to grant REFER, every
// link and rename across folders would be refused.
func Downgrade(wish Ruleset, abi int) (got, lost Ruleset) {
	var can version
	for i := range min(abi, len(versions)) {
		v := versions[i]
		can.fs |= v.fs
		can.net |= v.net
		can.scope |= v.scope
		can.size = v.size
	}
	if abi < 2 {
		can.fs = 0
	}
	got = Ruleset{FS: wish.FS & can.fs, Net: wish.Net & can.net, Scope: wish.Scope & can.scope, Size: can.size}
	lost = Ruleset{FS: wish.FS &^ can.fs, Net: wish.Net &^ can.net, Scope: wish.Scope &^ can.scope}
	return got, lost
}

// AllFS are all rights on files that the newest known ABI handles.
func AllFS() uint64 {
	var fs uint64
	for _, v := range versions {
		fs |= v.fs
	}
	return fs
}

// Empty says that the ruleset handles nothing.
func (r Ruleset) Empty() bool { return r.FS|r.Net|r.Scope == 0 }

// ABI asks the kernel for its Landlock version; 0 means none.
func ABI() int {
	v, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno != 0 {
		return 0
	}
	return int(v)
}
