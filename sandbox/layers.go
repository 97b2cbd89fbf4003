package sandbox

import (
	"path"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

var (
	sysFsopen   = &sysno{unix.SYS_FSOPEN, "fsopen"}
	sysFsconfig = &sysno{unix.SYS_FSCONFIG, "fsconfig"}
	sysFsmount  = &sysno{unix.SYS_FSMOUNT, "fsmount"}
)

// The limits of the two ways to name overlayfs its layers.
const (
	mostOptions = 4096 - 1 // bytes of mount(2)'s options: a page with its NUL
	mostString  = 256 - 1  // bytes of a string of fsconfig(2) (fs/fsopen.c)
	mostLayers  = 500 - 1  // OVL_MAX_STACK (fs/overlayfs/params.h), less the upper one
)

// mostFolders is how many folders an image may ask for: each of them costs some
// calls of every start, and a config has room for a million.
const mostFolders = 4096

// validateLayers checks Spec.Layers.
func (s *Spec) validateLayers() error {
	bad := func(reason string) error { return &SpecError{Field: "Layers", Reason: reason} }
	if len(s.Layers) > 0 && s.Rootfs != "" {
		return bad("and Rootfs exclude each other")
	}
	if len(s.Layers) > mostLayers {
		return bad(strconv.Itoa(len(s.Layers)) + " layers are more than the " + strconv.Itoa(mostLayers) + " that overlayfs takes")
	}
	if len(s.Folders) > mostFolders {
		return &SpecError{Field: "Folders", Reason: strconv.Itoa(len(s.Folders)) + " are more than " + strconv.Itoa(mostFolders)}
	}
	for i, dir := range s.Folders {
		if !cleanAbs(dir) || !s.givenRoot() {
			return &SpecError{Field: at("Folders", i), Reason: strconv.Quote(dir) + " is not a clean absolute path, or there is no Rootfs and no image to make it in"}
		}
	}
	for i, l := range s.Layers {
		if !cleanAbs(l) || l == "/" {
			return &SpecError{Field: at("Layers", i), Reason: strconv.Quote(l) + " is not the clean absolute path of a folder"}
		}
		if s.Upper != "" && (within(s.Upper, l) || within(l, s.Upper)) {
			return &SpecError{Field: at("Layers", i), Reason: l + " and the upper layer " + s.Upper + " lie in one another"}
		}
	}
	return nil
}

// givenRootFolder shows a folder or an image as the root, with the files of our
// own that tell CMD its name and the way to the network.
func (c *compiler) givenRootFolder() {
	e := entry{kind: Overlay, source: c.spec.Rootfs, target: "/", why: "--rootfs", rank: rankMount}
	if len(c.spec.Layers) > 0 {
		e.layers, e.why = c.spec.Layers, "the image"
	}
	c.addEntry(e)
	c.addEntry(entry{kind: folder, target: "/proc", mode: 0o555})
	c.addEntry(entry{kind: folder, target: "/tmp", mode: 0o1777})
	if c.on["dev"] {
		c.addEntry(entry{kind: Tmpfs, target: "/dev", rank: rankDev})
	}
	for _, dir := range c.spec.Folders {
		if !c.lookIn(&e, dir).exists() && c.find(dir) < 0 {
			c.addEntry(entry{kind: folder, target: dir, mode: 0o755, why: "the image asks for it"})
		}
	}
	if e.layers == nil || c.lookIn(&e, "/etc").isLink() {
		return
	}
	own := func(file, text, why string) {
		if !c.lookIn(&e, "/etc/"+file).isDir() && c.find("/etc/"+file) < 0 {
			c.addEntry(entry{kind: content, link: text, target: "/etc/" + file, file: true, why: why})
		}
	}
	name := c.hostname()
	if c.on["uts"] {
		own("hostname", name+"\n", "the sandbox's name")
	}
	if c.on["net"] && c.spec.Net != "host" {
		own("hosts", "127.0.0.1 localhost "+name+"\n::1 localhost ip6-localhost "+name+"\n", "the sandbox's name")
		own("resolv.conf", "# the sandbox has no network\n", "no network")
		return
	}
	for _, file := range []string{"hosts", "resolv.conf"} {
		if text, err := c.feat.Host.ReadFile("/etc/" + file); err == nil {
			own(file, string(text), "the host's, whose network it is")
		}
	}
}

// withoutRepeats leaves each layer where it lies highest: overlayfs takes a folder
// once (ELOOP), and all that a layer has and removes hides what the same one does
// further down. Images have the layer of an empty step several times.
func withoutRepeats(layers []string) []string {
	var out []string
	for i, l := range layers {
		if !slices.Contains(layers[i+1:], l) {
			out = append(out, l)
		}
	}
	return out
}

// ofHost says whether an entry shows something of the host, which can be looked
// at when the plan is made.
func (e *entry) ofHost() bool { return e.source != "" || e.layers != nil }

// lookIn describes a path in what an entry shows, as seen on the host.
func (c *compiler) lookIn(e *entry, rel string) File {
	if e.layers != nil {
		return c.feat.Host.LstatIn(e.layers, rel)
	}
	return c.feat.Host.Lstat(path.Join(e.source, rel))
}

// name is what people call a path in what an entry shows.
func (e *entry) name(rel string) string {
	if e.layers != nil {
		return rel + " in the image"
	}
	return path.Join(e.source, rel)
}

// commonFolder is the deepest folder that all layers lie in.
func commonFolder(layers []string) string {
	dir := path.Dir(layers[0])
	for _, l := range layers {
		for !within(l, dir) || l == dir {
			dir = path.Dir(dir)
		}
	}
	return dir
}

// openLayers opens the folder that all layers of an image lie in, before any
// mount of ours can hide it. They are named from there: their names are short,
// and mount(2) takes a page of them.
func (c *compiler) openLayers(e *entry) {
	dir := commonFolder(e.layers)
	e.tree = c.newSlot("layers", dir)
	c.call(sysOpenat, cwd(), c.str(dir), openFlags(unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC)).saves(e.tree)
}

// stackLayers mounts the overlay of an image, with the folder of openLayers as
// the working folder. Where the layers' names are more than mount(2) takes, each
// is given alone, the uppermost first (lowerdir+, Linux 6.7).
func (c *compiler) stackLayers(e *entry, at, upperDir, workDir string) error {
	dir, layers := commonFolder(e.layers), withoutRepeats(e.layers)
	names := make([]string, 0, len(layers))
	for i := len(layers) - 1; i >= 0; i-- {
		names = append(names, strings.TrimPrefix(strings.TrimPrefix(layers[i], dir), "/"))
	}
	escaped := make([]string, len(names))
	for i, name := range names {
		escaped[i] = overlayEscape(name)
	}
	options := "lowerdir=" + strings.Join(escaped, ":") + ",upperdir=" + overlayEscape(upperDir) + ",workdir=" + overlayEscape(workDir) + ",userxattr"
	if len(options) <= mostOptions {
		c.call(sysMount, c.str("overlay"), c.str(at), c.str("overlay"), flags(&mountFlags, unix.MS_NOSUID|unix.MS_NODEV), c.str(options))
		return nil
	}
	for _, name := range append([]string{upperDir, workDir}, names...) {
		if len(name) > mostString || strings.ContainsAny(name, `\,:`) {
			return &SpecError{Field: "Layers", Reason: strconv.Itoa(len(names)) + " layers are named one by one, and " + name + " cannot be: it has more than " + strconv.Itoa(mostString) + ` bytes, or a backslash, comma or colon`}
		}
	}
	fs, tree := c.newSlot("overlay", ""), c.newSlot("mount", at)
	c.call(sysFsopen, c.str("overlay"), flags(&fsopenFlags, unix.FSOPEN_CLOEXEC)).saves(fs)
	set := func(key, value string) {
		c.call(sysFsconfig, use(fs), word(unix.FSCONFIG_SET_STRING, constant("FSCONFIG_SET_STRING")), c.str(key), c.str(value), integer(0))
	}
	for _, name := range names {
		set("lowerdir+", name)
	}
	set("upperdir", upperDir)
	set("workdir", workDir)
	c.call(sysFsconfig, use(fs), word(unix.FSCONFIG_SET_FLAG, constant("FSCONFIG_SET_FLAG")), c.str("userxattr"), nothing(), integer(0))
	c.call(sysFsconfig, use(fs), word(unix.FSCONFIG_CMD_CREATE, constant("FSCONFIG_CMD_CREATE")), nothing(), nothing(), integer(0))
	c.call(sysFsmount, use(fs), flags(&fsmountFlags, unix.FSMOUNT_CLOEXEC), flags(&attrFlags, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV)).saves(tree)
	c.call(sysMoveMount, use(tree), c.str(""), cwd(), c.str(at), flags(&moveFlags, unix.MOVE_MOUNT_F_EMPTY_PATH))
	return nil
}

var (
	fsopenFlags  = argKind{table: []flag{{unix.FSOPEN_CLOEXEC, "FSOPEN_CLOEXEC"}}}
	fsmountFlags = argKind{table: []flag{{unix.FSMOUNT_CLOEXEC, "FSMOUNT_CLOEXEC"}}}
)
