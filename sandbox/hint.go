package sandbox

import (
	"path"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// explain gives an error its hint. It runs after a failure only: nothing here
// is asked of the host while a sandbox is made. A hint is given where a look
// at the host confirmed the cause; an error whose cause stays unknown has
// none.
func (c *Cmd) explain(e *Error) error {
	if e.Step == "exec" && e.Errno == unix.E2BIG {
		// PID 1 is given CMD's words, so it is its execveat that finds them
		// too many.
		return c.execError(e.Errno, false)
	}
	k := &clues{cmd: c, host: c.host(), err: e}
	k.call, _, _ = strings.Cut(e.Call, "(")
	for _, cause := range causes {
		if hint := cause(k); hint != "" {
			e.Hint = hint
			break
		}
	}
	return e
}

// host is where files are looked at: this machine, or a test's.
func (c *Cmd) host() Host {
	if c.Features != nil && c.Features.Host != nil {
		return c.Features.Host
	}
	return osHost{}
}

// clues are a failed call and the host that it failed on.
type clues struct {
	cmd  *Cmd
	host Host
	err  *Error
	call string // the name of the system call
}

// causes are asked in this order, the surest and most particular first. Each
// answers with a hint, or with "" when it was not the cause.
var causes = [...]func(*clues) string{
	(*clues).noUserNamespaces,
	(*clues).namespaceLimit,
	(*clues).usernsClone,
	(*clues).filtered,
	(*clues).oldKernel,
	(*clues).appArmor,
	(*clues).unmapped,
	(*clues).outsideMap,
	(*clues).noProc,
	(*clues).chrooted,
	(*clues).processLimit,
	(*clues).noFullProc,
	(*clues).overlayRefused,
	(*clues).initramfs,
	(*clues).keyQuota,
	(*clues).noSpace,
	(*clues).workingFolder,
	(*clues).rootFolder,
	(*clues).closedFolder,
}

// is says whether the call failed with one of the errnos.
func (k *clues) is(errnos ...unix.Errno) bool {
	for _, e := range errnos {
		if k.err.Errno == e {
			return true
		}
	}
	return false
}

// refused is the kernel's "no", in either spelling.
func (k *clues) refused() bool { return k.is(unix.EPERM, unix.EACCES) }

// makesNamespaces says whether the call was to make namespaces.
func (k *clues) makesNamespaces() bool {
	return k.call == "clone3" || k.call == "clone" || k.call == "unshare"
}

// sysctl reads one of the kernel's files of one word, "" when it is not there.
func (k *clues) sysctl(file string) string {
	text, err := k.host.ReadFile(file)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}

// path is the n-th quoted string of the call, counted from 0.
func (k *clues) path(n int) string { return quotedIn(k.err.Call, n) }

// quotedIn is the n-th quoted string of a call's text, counted from 0, or "".
func quotedIn(call string, n int) string {
	for {
		i := strings.IndexByte(call, '"')
		if i < 0 {
			return ""
		}
		quoted, err := strconv.QuotedPrefix(call[i:])
		if err != nil {
			return ""
		}
		if n == 0 {
			text, _ := strconv.Unquote(quoted)
			return text
		}
		n, call = n-1, call[i+len(quoted):]
	}
}

// noUserNamespaces: a kernel without CONFIG_USER_NS knows no such flag.
func (k *clues) noUserNamespaces() string {
	if !k.makesNamespaces() || !k.is(unix.EINVAL) || k.host.Lstat("/proc/self/ns/user").exists() || !k.host.Lstat("/proc/self/ns").exists() {
		return ""
	}
	return "this kernel was built without user namespaces (CONFIG_USER_NS): another kernel is needed; --profile nested is what works without"
}

// namespaceLimit: user_namespaces(7) and namespaces(7), "/proc/sys/user". A
// limit of 0 forbids one kind altogether.
func (k *clues) namespaceLimit() string {
	if !k.makesNamespaces() || !k.is(unix.ENOSPC) {
		return ""
	}
	for _, kind := range [...]string{"user", "mnt", "pid", "uts", "ipc", "net", "cgroup", "time"} {
		name := "max_" + kind + "_namespaces"
		if k.sysctl("/proc/sys/user/"+name) != "0" {
			continue
		}
		if k.sysctl("/proc/self/uid_map") != wholeMap {
			return "user." + name + " is 0 in this user namespace: an outer sandbox or container forbids further ones; start an outer sbx with --allow-nesting"
		}
		return "user." + name + " is 0 on this host: sudo sysctl user." + name + "=15000"
	}
	return ""
}

// wholeMap is the first user namespace's own map, as the kernel prints it and
// sysctl trims it.
const wholeMap = "0          0 4294967295"

// usernsClone: Debian's switch, off by default until Debian 11.
func (k *clues) usernsClone() string {
	if !k.makesNamespaces() || !k.is(unix.EPERM) || k.sysctl("/proc/sys/kernel/unprivileged_userns_clone") != "0" {
		return ""
	}
	return "kernel.unprivileged_userns_clone is 0, so only root may make user namespaces: sudo sysctl kernel.unprivileged_userns_clone=1"
}

// filtered: a seccomp filter around this process, as container engines install
// one, answers in the kernel's place. The call is repeated in a form for which
// the kernel itself has another answer, before it looks at any right.
func (k *clues) filtered() string {
	if !k.is(unix.EPERM, unix.ENOSYS) || !k.hasFilter() {
		return ""
	}
	number, args, own := harmless(k.call)
	if own == 0 {
		return ""
	}
	if _, _, got := unix.RawSyscall6(number, args[0], args[1], args[2], args[3], args[4], args[5]); got == own {
		return ""
	}
	return "a seccomp filter around this process refuses " + k.call + "; in a container: start it with --security-opt seccomp=unconfined (sbx doctor --fix=docker prints the whole line); in an outer sbx: --allow-nesting"
}

// hasFilter says whether a seccomp filter binds this process.
func (k *clues) hasFilter() bool { return k.status("Seccomp") == "2" }

// status is a field of /proc/self/status.
func (k *clues) status(field string) string {
	for line := range strings.Lines(k.sysctl("/proc/self/status")) {
		if value, ok := strings.CutPrefix(line, field+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// harmless is a form of a system call that changes nothing, and the errno with
// which the kernel answers it before it looks at any capability (kernel/fork.c,
// fs/namespace.c, security/keys/keyctl.c). An errno of 0 means that there is
// no such form.
func harmless(call string) (number uintptr, args [6]uintptr, own unix.Errno) {
	const none = ^uintptr(0)
	switch call {
	case "clone3": // a struct of no bytes
		return unix.SYS_CLONE3, args, unix.EINVAL
	case "clone": // flags that exclude each other
		return unix.SYS_CLONE, [6]uintptr{unix.CLONE_NEWUSER | unix.CLONE_FS}, unix.EINVAL
	case "unshare": // a flag that is none: CSIGNAL's bits
		return unix.SYS_UNSHARE, [6]uintptr{1}, unix.EINVAL
	case "mount": // no path
		return unix.SYS_MOUNT, args, unix.EFAULT
	case "umount2":
		return unix.SYS_UMOUNT2, [6]uintptr{0, 1 << 30}, unix.EINVAL
	case "open_tree":
		return unix.SYS_OPEN_TREE, [6]uintptr{none, 0, 1 << 30}, unix.EINVAL
	case "mount_setattr":
		return unix.SYS_MOUNT_SETATTR, [6]uintptr{none, 0, 1 << 30, 0, 32}, unix.EINVAL
	case "keyctl":
		return unix.SYS_KEYCTL, [6]uintptr{1 << 30}, unix.EOPNOTSUPP
	}
	return 0, args, 0
}

// oldKernel: a call that is not there. Its step says since when it is.
func (k *clues) oldKernel() string {
	if !k.is(unix.ENOSYS) || k.hasFilter() {
		return ""
	}
	least := "5.14"
	if s := LookupStep(k.err.Step); s != nil && s.Kernel != "any" {
		least = s.Kernel
	}
	release := k.sysctl("/proc/sys/kernel/osrelease")
	if release == "" {
		return ""
	}
	return "this kernel, " + release + ", has no " + k.call + "; the step " + k.err.Step + " needs Linux " + least + " or later"
}

// appArmor: Ubuntu 24.04 lets a program without a profile make user namespaces
// and takes the capabilities in them away, so that the first call that needs
// one fails; a container's own profile refuses mounts.
func (k *clues) appArmor() string {
	if !k.refused() {
		return ""
	}
	profile := k.sysctl("/proc/self/attr/apparmor/current")
	if profile == "" {
		profile = k.sysctl("/proc/self/attr/current")
	}
	name, _, _ := strings.Cut(profile, " ")
	if k.sysctl("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == "1" && (profile == "unconfined" || name == "unprivileged_userns") {
		return "AppArmor takes the capabilities of user namespaces away from programs without a profile " +
			"(kernel.apparmor_restrict_unprivileged_userns=1): sbx doctor --fix=apparmor prints the profile to install"
	}
	if profile != "" && profile != "unconfined" && strings.HasSuffix(profile, "(enforce)") && (k.call == "mount" || k.call == "umount2" || k.call == "pivot_root" || k.call == "move_mount") {
		return "the AppArmor profile " + name + " confines this process and refuses " + k.call + "; in a container: start it with --security-opt apparmor=unconfined"
	}
	return ""
}

// unmapped: the maker of a user namespace must have ids in the outer one.
func (k *clues) unmapped() string {
	if !k.makesNamespaces() || !k.is(unix.EPERM) {
		return ""
	}
	for _, id := range [...]struct {
		what, file string
		id         int
	}{{"uid", "/proc/self/uid_map", unix.Geteuid()}, {"gid", "/proc/self/gid_map", unix.Getegid()}} {
		text, err := k.host.ReadFile(id.file)
		if err == nil && !inMap(string(text), id.id) {
			return "the " + id.what + " of this process is not mapped in the user namespace that it is in, so it may make no further one: give the outer sandbox a map (unshare --map-current-user)"
		}
	}
	return ""
}

// outsideMap: setresuid(2) and setresgid(2) answer EINVAL for an id that the
// map has no line for. It is the plan that asks for the id, so nothing has to
// be looked at.
func (k *clues) outsideMap() string {
	if !k.is(unix.EINVAL) {
		return ""
	}
	what, flag, file := "", "", ""
	switch k.call {
	case "setresuid":
		what, flag, file = "uid", "-u UID", "--uid-map"
	case "setresgid", "setgroups":
		what, flag, file = "gid", "-u UID:GID", "--gid-map"
	default:
		return ""
	}
	return "the " + what + " that CMD is to have is not inside the map of " + file + ": choose one that is (" + flag + "), or add a line for it"
}

// noProc: the launcher's own /proc is where a child writes its id maps.
func (k *clues) noProc() string {
	if k.call != "openat" || !k.is(unix.ENOENT) || !strings.HasPrefix(k.path(0), "/proc/self/") || k.host.Lstat("/proc/self").exists() {
		return ""
	}
	return "/proc is not mounted here, and a user namespace is set up through it: mount it, or in an outer sandbox do not hide it"
}

// inMap says whether an id is inside one of the lines of uid_map or gid_map.
func inMap(text string, id int) bool {
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) != 3 {
			continue
		}
		first, err1 := strconv.Atoi(f[0])
		count, err2 := strconv.Atoi(f[2])
		if err1 == nil && err2 == nil && id >= first && id < first+count {
			return true
		}
	}
	return false
}

// chrooted: the kernel makes no user namespace for a process whose root is not
// its mount namespace's (EPERM in user_namespaces(7)). Such a process has no
// mount at "/", unless its new root is a mount itself.
func (k *clues) chrooted() string {
	if !k.makesNamespaces() || !k.is(unix.EPERM) {
		return ""
	}
	mounts := k.mounts()
	if len(mounts) == 0 {
		return ""
	}
	for _, m := range mounts {
		if m.point == "/" {
			return ""
		}
	}
	return "this process is in a chroot, and the kernel makes no user namespace there: enter that root with pivot_root (bwrap, systemd-nspawn, a container), or start sbx outside of it"
}

// processLimit: fork's EAGAIN, from the rlimit or from the cgroup.
func (k *clues) processLimit() string {
	if k.call != "clone3" && k.call != "clone" && !strings.HasPrefix(k.call, "init") || !k.is(unix.EAGAIN) {
		return ""
	}
	for line := range strings.Lines(k.sysctl("/proc/self/cgroup")) {
		_, dir, _ := strings.Cut(strings.TrimSpace(line), "::")
		for ; dir != "" && dir != "/" && dir != "."; dir = path.Dir(dir) {
			now, limit := k.sysctl("/sys/fs/cgroup"+dir+"/pids.current"), k.sysctl("/sys/fs/cgroup"+dir+"/pids.max")
			if n, err := strconv.Atoi(now); err == nil && limit != "" && limit != "max" && atLeast(n, limit) {
				return "the cgroup " + dir + " holds " + now + " processes, as many as its pids.max allows"
			}
		}
	}
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NPROC, &limit) == nil && limit.Cur != unix.RLIM_INFINITY {
		if n := k.ownThreads(); uint64(n)+1 >= limit.Cur {
			return "you run " + strconv.Itoa(n) + " processes and threads, and the limit is " + strconv.FormatUint(limit.Cur, 10) + " (ulimit -u)"
		}
	}
	return ""
}

func atLeast(n int, limit string) bool {
	v, err := strconv.Atoi(limit)
	return err == nil && n >= v
}

// ownThreads counts what RLIMIT_NPROC counts: all threads of this real uid.
func (k *clues) ownThreads() int {
	names, err := k.host.ReadDir("/proc")
	if err != nil {
		return 0
	}
	total, uid := 0, unix.Getuid()
	for _, name := range names {
		if name[0] < '0' || name[0] > '9' || k.host.Lstat("/proc/"+name).UID != uid {
			continue
		}
		threads, err := k.host.ReadDir("/proc/" + name + "/task")
		if err == nil {
			total += len(threads)
		}
	}
	return total
}

// noFullProc: a new /proc is for those who can see a whole one already
// (mount_too_revealing in fs/namespace.c). Mounts on folders that are always
// empty, such as binfmt_misc's, do not count.
func (k *clues) noFullProc() string {
	if k.call != "mount" || k.path(0) != "proc" || !k.is(unix.EPERM) {
		return ""
	}
	var seen bool
	var masks []string
	for _, m := range k.mounts() {
		switch {
		case m.fstype == "proc" && m.point == "/proc" && m.root == "/":
			seen = true
		case m.point != "/proc" && within(m.point, "/proc") && m.point != "/proc/sys/fs/binfmt_misc" && m.point != "/proc/fs/nfsd":
			masks = append(masks, m.point)
		}
	}
	const fix = "; run with --skip proc, or start the outer container with --security-opt systempaths=unconfined (an outer sbx with --allow-nesting)"
	switch {
	case len(masks) > 0:
		return "an outer container masks /proc (" + masks[0] + "), so the kernel refuses a new one" + fix
	case !seen:
		return "no whole /proc is mounted here, so the kernel refuses a new one" + fix
	}
	return ""
}

// mountEntry is what hints need of a line of mountinfo.
type mountEntry struct{ root, point, options, fstype string }

// mounts reads proc_pid_mountinfo(5), in its own order.
func (k *clues) mounts() []mountEntry {
	text, err := k.host.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil
	}
	var out []mountEntry
	for line := range strings.Lines(string(text)) {
		left, right, ok := strings.Cut(line, " - ")
		f, g := strings.Fields(left), strings.Fields(right)
		if ok && len(f) >= 6 && len(g) >= 1 {
			out = append(out, mountEntry{root: f[3], point: unescape(f[4]), options: f[5], fstype: g[0]})
		}
	}
	return out
}

// mountOf is the mount that a path lies in: the last of the deepest.
func (k *clues) mountOf(p string) (best mountEntry) {
	for _, m := range k.mounts() {
		if within(p, m.point) && len(m.point) >= len(best.point) {
			best = m
		}
	}
	return best
}

// initramfs: the first root filesystem cannot be moved away (pivot_root(2)).
func (k *clues) initramfs() string {
	if k.call != "pivot_root" || !k.is(unix.EINVAL) || k.mountOf("/").fstype != "rootfs" {
		return ""
	}
	return "the host's root is an initramfs, which pivot_root cannot replace: let the initramfs switch_root to a tmpfs first, or use --root-with chroot, which CMD can leave if it has CAP_SYS_CHROOT"
}

// keyQuota: keyrings are counted for each user and freed late (keyrings(7)).
func (k *clues) keyQuota() string {
	if k.call != "keyctl" || !k.is(unix.EDQUOT) {
		return ""
	}
	uid := strconv.Itoa(unix.Getuid()) + ":"
	for line := range strings.Lines(k.sysctl("/proc/key-users")) {
		f := strings.Fields(line)
		if len(f) >= 4 && f[0] == uid {
			return "your keys are used up (" + f[3] + ", /proc/key-users); the kernel frees them late: wait, or leave the step seccomp on, whose filter refuses key calls so that no keyring is needed"
		}
	}
	return ""
}
