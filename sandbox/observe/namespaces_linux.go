package observe

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// namespaceKinds are the names in /proc/PID/ns in the order of the isolation
// steps; pid_for_children stands beside the namespace that it will replace.
// time_for_children is left out: like its sibling it differs from time only
// between unshare(2) and the next exec or fork.
var namespaceKinds = [...]string{"user", "mnt", "pid", "pid_for_children", "uts", "ipc", "net", "cgroup", "time"}

// namespaces reads the namespaces and compares each with the observer's.
func (l *look) namespaces() {
	v := l.view
	self, err := openat(unix.AT_FDCWD, "/proc/self/ns", unix.O_PATH|unix.O_DIRECTORY)
	if err == nil {
		defer unix.Close(self)
	}
	v.Namespaces = make([]Namespace, 0, len(namespaceKinds))
	for _, kind := range namespaceKinds {
		inode, err := namespaceInode(l.fd, "ns/"+kind, l.path)
		if err != nil {
			l.miss("namespaces."+kind, err)
			continue
		}
		own := uint64(0)
		if self >= 0 {
			own, _ = namespaceInode(self, kind, "/proc/self/ns")
		}
		n := Namespace{Kind: kind, Inode: inode, Shared: own == inode}
		if kind != "pid_for_children" {
			n.Owner, n.Parents = relatives(l.fd, kind)
		}
		v.Namespaces = append(v.Namespaces, n)
	}
	if uts, ok := v.Namespace("uts"); ok && uts.Shared {
		var name unix.Utsname
		if err := unix.Uname(&name); err != nil {
			l.miss("hostname", &pathReason{path: "uname(2)", reason: err.Error()})
		} else {
			v.Hostname = unix.ByteSliceToString(name.Nodename[:])
		}
	} else {
		l.miss("hostname", &pathReason{
			path:   l.path + "/ns/uts",
			reason: "the name of another UTS namespace can only be asked for inside it",
		})
	}
}

// relatives asks the kernel who owns a namespace and which are around it
// (ioctl_ns(2)). The namespace is held open only while it is asked. What the
// observer may not see is left out, since it is not part of its world.
func relatives(dir int, kind string) (owner uint64, parents []uint64) {
	fd, err := openat(dir, "ns/"+kind, unix.O_RDONLY)
	if err != nil {
		return 0, nil
	}
	owner, above := relative(fd, unix.NS_GET_USERNS)
	if above >= 0 {
		unix.Close(above)
	}
	for kind == "user" || kind == "pid" {
		inode, above := relative(fd, unix.NS_GET_PARENT)
		unix.Close(fd)
		if fd = above; fd < 0 {
			return owner, parents
		}
		parents = append(parents, inode)
	}
	unix.Close(fd)
	return owner, parents
}

// relative returns the inode of a namespace beside the one that is open, and an
// open descriptor of it; 0 and -1 where there is none to be seen (EPERM).
func relative(fd int, request uint) (uint64, int) {
	other, err := unix.IoctlRetInt(fd, request)
	if err != nil {
		return 0, -1
	}
	var st unix.Stat_t
	if err := unix.Fstat(other, &st); err != nil {
		unix.Close(other)
		return 0, -1
	}
	return st.Ino, other
}

// namespaceInode reads a link such as "uts:[4026531838]".
func namespaceInode(dir int, name, path string) (uint64, error) {
	target, err := readlinkat(dir, name, path)
	if err != nil {
		return 0, err
	}
	_, number, ok := strings.Cut(strings.TrimSuffix(target, "]"), ":[")
	inode, err := strconv.ParseUint(number, 10, 64)
	if !ok || err != nil {
		return 0, &pathReason{path: path + "/" + name, reason: fmt.Sprintf("%q is no namespace", target)}
	}
	return inode, nil
}

// maps reads the id maps and from them how the process sees its own ids.
func (l *look) maps() {
	v := l.view
	parse(l, "uid_map", "uid_map", statusSize, &v.UIDMap, ParseIDMap)
	parse(l, "gid_map", "gid_map", statusSize, &v.GIDMap, ParseIDMap)
	if text, err := l.read("setgroups", statusSize); err != nil {
		l.miss("setgroups", err)
	} else {
		v.Setgroups = string(bytes.TrimSpace(text))
	}
	parse(l, "time_offsets", "timens_offsets", statusSize, &v.TimeOffsets, ParseTimeOffsets)

	// In the observer's own user namespace both see the same ids, and the map
	// is relative to the parent instead.
	if user, ok := v.Namespace("user"); ok && !user.Shared {
		v.UID.Inside = insideID(v.UIDMap, v.UID.Effective)
		v.GID.Inside = insideID(v.GIDMap, v.GID.Effective)
	}
}
