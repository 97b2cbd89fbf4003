package sandbox

import (
	"path"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox/stack"
)

// Hints about folders and files that a plan could not use.

// overlayRefused: the kernel answers EINVAL for each thing that it will not
// stack, and says which in its log only (fs/overlayfs/super.c).
func (k *clues) overlayRefused() string {
	if k.call != "mount" || k.path(0) != "overlay" {
		return ""
	}
	if k.is(unix.ENODEV) && !strings.Contains(k.sysctl("/proc/filesystems"), "\toverlay") {
		return "this kernel has no overlay filesystem: sudo modprobe overlay, or run with --skip overlay (then nothing can be written)"
	}
	u, ok := k.failedUpper()
	if !ok {
		return ""
	}
	if !k.is(unix.EINVAL) {
		return ""
	}
	for _, m := range k.mounts() {
		if m.point != u.Lower && within(m.point, u.Lower) {
			return u.Lower + " holds another mount, " + m.point + ", and such a folder cannot be copy on write as a whole: show its folders one by one with --cow, or all of it with --ro " + u.Lower
		}
	}
	if k.cmd.Spec.Upper != "" && onOverlay(k.cmd.Spec.Upper) {
		return "the upper layer " + k.cmd.Spec.Upper + " lies on an overlay itself, which the kernel refuses: choose a folder of a disk or of a tmpfs"
	}
	if onOverlay(u.Lower) {
		return u.Lower + " lies on an overlay already, and the kernel stacks no more than two: run with --skip overlay (then nothing can be written), or copy the files to a folder of a tmpfs or a disk"
	}
	return ""
}

// rootFolder: the folder that --rootfs names cannot be opened.
func (k *clues) rootFolder() string {
	dir := k.cmd.Spec.Rootfs
	if dir == "" || k.path(0) != dir || k.call != "openat" && k.call != "openat2" {
		return ""
	}
	switch f := k.follow(dir); {
	case k.is(unix.ENOENT) && !f.exists():
		return dir + " does not exist; the root is a folder that holds bin, etc, usr and so on, such as an unpacked image"
	case k.is(unix.ENOTDIR) && f.exists() && !f.isDir():
		return dir + " is not a folder; an archive has to be unpacked first"
	}
	return ""
}

// failedUpper is the layer whose overlay was being mounted: it is known by the
// upper layer's folder among the options.
func (k *clues) failedUpper() (upper, bool) {
	if k.cmd.plan == nil {
		return upper{}, false
	}
	options := k.err.Call
	for _, u := range k.cmd.plan.uppers {
		name := u.Name
		if !path.IsAbs(name) {
			name = "/" + name
		}
		if strings.Contains(options, strings.Trim(strconv.Quote(overlayEscape(name)), `"`)+",workdir=") {
			return u, true
		}
	}
	return upper{}, false
}

// onOverlay says whether a path lies on overlayfs.
func onOverlay(p string) bool {
	var fs unix.Statfs_t
	return unix.Statfs(p, &fs) == nil && int64(fs.Type) == unix.OVERLAYFS_SUPER_MAGIC
}

// noSpace: what fills up while a root is built.
func (k *clues) noSpace() string {
	if !k.is(unix.ENOSPC) {
		return ""
	}
	switch k.call {
	case "mount", "move_mount", "open_tree":
		limit, err := strconv.Atoi(k.sysctl("/proc/sys/fs/mount-max"))
		if n := len(k.mounts()); err == nil && n+100 >= limit {
			return "this mount namespace has " + strconv.Itoa(n) + " mounts, and fs.mount-max is " + strconv.Itoa(limit)
		}
	case "mkdirat", "mknodat", "symlinkat", "write", "openat":
		if k.cmd.Spec.LayerSize > 0 && k.cmd.Spec.LayerSize < 1<<20 {
			return "the memory for what is written is limited to " + strconv.FormatInt(k.cmd.Spec.LayerSize, 10) + " bytes, too little for the sandbox's own folders: give it 1 MiB at least"
		}
	}
	return ""
}

// workingFolder: CMD's folder is not there inside.
func (k *clues) workingFolder() string {
	if k.err.Step != "exec" || k.call != "chdir" || k.cmd.plan == nil {
		return ""
	}
	dir := k.cmd.plan.Dir()
	on, shown := k.cmd.onHost(dir)
	f := k.follow(on)
	switch {
	case k.is(unix.ENOTDIR), k.is(unix.EACCES) && f.exists() && !f.isDir():
		return dir + " is not a folder"
	case k.is(unix.EACCES):
		if closed := k.firstClosed(on); closed != "" {
			return "you may not enter " + closed
		}
	case k.is(unix.ENOENT) && k.cmd.Spec.givenRoot():
		return dir + " does not exist inside: " + k.cmd.Spec.rootName() + " has no such folder"
	case k.is(unix.ENOENT) && !shown && k.follow(dir).isDir():
		return dir + " does not exist inside: it is a folder of the host that is hidden; show it with --ro " + shellWord(dir) + ", or with --cow " + shellWord(dir) + " to write on a copy"
	case k.is(unix.ENOENT) && !k.follow(dir).exists():
		return dir + " does not exist inside, nor on the host: -w only says where CMD starts; --tmpfs " + shellWord(dir) + " makes an empty folder"
	}
	return ""
}

// closedFolder: a path that the caller may not walk, since a folder in it
// belongs to somebody else. In the sandbox CMD has the caller's own uid, and
// capabilities of a user namespace do not count for ids that it has not mapped.
func (k *clues) closedFolder() string {
	if !k.is(unix.EACCES, unix.EOVERFLOW) {
		return ""
	}
	p := k.path(0)
	switch k.call {
	case "open_tree", "openat":
	case "mkdirat", "mknodat":
		return k.foreignFolder(p)
	default:
		return ""
	}
	if !path.IsAbs(p) {
		return ""
	}
	closed := k.firstClosed(p)
	if closed == "" {
		return ""
	}
	return "you may not enter " + closed + ", which belongs to " + k.owner(closed) + ": a sandbox opens nothing that its caller cannot open"
}

// foreignFolder: a place to mount on had to be made in a folder of the host
// that is copy on write, and the kernel copies up only what belongs to an id of
// the map.
func (k *clues) foreignFolder(name string) string {
	if path.IsAbs(name) || k.cmd.plan == nil {
		return ""
	}
	for _, s := range k.cmd.plan.Shown {
		dir := path.Dir(s.Target)
		if path.Base(s.Target) != name {
			continue
		}
		on, _ := k.cmd.onHost(dir)
		if f := k.follow(on); f.isDir() && f.UID != unix.Getuid() {
			return s.Target + " would have to be made in " + dir + ", which belongs to " + k.owner(on) +
				": the kernel copies up no file of an id that is not mapped; name a target in a folder of your own"
		}
	}
	return ""
}

// firstClosed is the first folder on the way to p that the caller may not
// enter, or "".
func (k *clues) firstClosed(p string) string {
	if !path.IsAbs(p) {
		return ""
	}
	for i := 1; i <= len(p); i++ {
		if i < len(p) && p[i] != '/' {
			continue
		}
		if f := k.follow(p[:i]); f.isDir() && unix.Access(p[:i], unix.X_OK) == unix.EACCES {
			return p[:i]
		}
	}
	return ""
}

func (k *clues) owner(p string) string {
	uid := k.follow(p).UID
	if uid == 0 {
		return "root"
	}
	return "uid " + strconv.Itoa(uid)
}

// follow describes a path of the host after its symbolic links.
func (k *clues) follow(p string) File {
	for range 40 {
		f := k.host.Lstat(p)
		if !f.isLink() {
			return f
		}
		if path.IsAbs(f.Link) {
			p = f.Link
		} else {
			p = path.Join(path.Dir(p), f.Link)
		}
	}
	return File{}
}

// onHost is where a path of the sandbox lies on the host, and whether it is
// shown at all: where not, the path itself is returned.
func (c *Cmd) onHost(p string) (string, bool) {
	if c.Spec.givenRoot() {
		all := c.Spec.Layers
		if c.Spec.Rootfs != "" {
			all = []string{c.Spec.Rootfs}
		}
		layers := stack.New(all)
		real, err := layers.Resolve(p)
		if err != nil {
			return p, false
		}
		if info, err := layers.Lstat(real); err == nil {
			return layers.Path(info, real), true
		}
		// Nothing is there. Not p: a link of the root would lead out on the host.
		return path.Join(all[len(all)-1], real), true
	}
	if c.Spec.Skips("root") || c.plan == nil {
		return p, true
	}
	host := c.host()
	for range 8 { // symbolic links of the root: /bin is usr/bin
		best := -1
		for i, s := range c.plan.Shown {
			if within(p, s.Target) && (best < 0 || len(s.Target) > len(c.plan.Shown[best].Target)) {
				best = i
			}
		}
		if best < 0 {
			return p, false
		}
		s := c.plan.Shown[best]
		if s.Kind == symlink {
			link := host.Lstat(s.Target).Link
			if link == "" {
				return p, false
			}
			if !path.IsAbs(link) {
				link = path.Join(path.Dir(s.Target), link)
			}
			p = link + strings.TrimPrefix(p, s.Target)
			continue
		}
		if s.Source == "" {
			return p, false
		}
		return path.Join(s.Source, strings.TrimPrefix(p, s.Target)), true
	}
	return p, false
}

// shellWord is a path as one word of a shell.
func shellWord(p string) string {
	if p != "" && p[0] != '~' && !strings.ContainsFunc(p, func(r rune) bool {
		return r <= ' ' || r > '~' || strings.ContainsRune("'\"\\$`!*?[]{}()<>|&;#", r)
	}) {
		return p
	}
	return "'" + strings.ReplaceAll(p, "'", `'\''`) + "'"
}
