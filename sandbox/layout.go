package sandbox

import (
	"path"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// entry is one thing that the root shows. Entries are made in the order of
// their rank, then of their targets, so that what lies inside another comes
// after it.
type entry struct {
	kind    string
	source  string // on the host
	link    string // of a symlink, its target; of a file, its content
	target  string
	why     string
	mode    uint32
	size    int64
	rank    int
	file    bool // the source is no folder
	tree    slot // the source, opened
	step    string
	inside  int // index of the entry that this one lies in, or -1 for the root
	noFlags bool
	real    bool     // the source has no symbolic link in it: if one is met, somebody exchanged it
	layers  []string // of an Overlay of several folders, in place of source
	asLink  bool     // the source is a symbolic link itself, and shown as one (with file and real)
	asked   string   // of a Hide of the spec: the path of the host as it was asked for
	ofSpec  bool     // a Hide of the spec
	guarded bool     // read-only in a folder that CMD may write to
	placed  bool
	mask    []string // paths in an overlay's source that are hidden, there or not
}

// The ranks group entries under the step that makes them.
const (
	rankMount = iota
	rankOverlay
	rankProc
	rankDev
	rankLast
)

// shownRoot are the parts of the host's root that are shown by default, where
// they exist: programs and their data, nothing of a user or of a site.
var shownRoot = []string{
	"/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/libo32", "/etc", "/opt", "/nix", "/snap",
	"/var/lib/dpkg", "/var/lib/rpm", "/var/lib/pacman", "/var/lib/alternatives", "/var/cache/fontconfig",
}

// neverShown are folders in which a working folder is not shown: what is in
// them is made anew or hidden.
var neverShown = []string{"/proc", "/sys", "/dev", "/run", "/boot"}

// layout decides what the root shows, and fills entries, base, root, home, dir
// and path.
func (c *compiler) layout() error {
	c.home = c.feat.getenv("HOME")
	if !path.IsAbs(c.home) || path.Clean(c.home) == "/" {
		c.home = "/home/" + c.userName()
	}
	c.home = path.Clean(c.home)
	c.realHome = c.feat.Host.Real(c.home)
	if !c.on["mount"] {
		c.dir = c.spec.Dir
		c.path = c.searchPath(func(string) bool { return true })
		return nil
	}
	c.base = c.pickBase()
	own := c.on["root"]
	if own {
		c.root = c.base + "/root"
		if !c.spec.givenRoot() {
			if err := c.hostRoot(); err != nil {
				return err
			}
		} else {
			c.givenRootFolder()
		}
		c.devices()
	} else if c.on["dev"] {
		c.addEntry(entry{kind: Tmpfs, target: "/dev", rank: rankDev})
		c.deviceEntries()
	}
	if err := c.workingFolder(); err != nil {
		return err
	}
	if own {
		if err := c.tools(); err != nil {
			return err
		}
	}
	for _, m := range c.spec.Mounts {
		e := entry{kind: m.Kind, source: m.Source, target: path.Clean(m.Target), why: "asked for", size: m.Size, mode: 0o755}
		if err := c.madeAnew(&e); err != nil {
			return err
		}
		e.target = c.throughLinks(e.target)
		if m.Kind == Overlay && !c.on["overlay"] {
			e.kind = BindRO
		}
		switch m.Kind {
		case Hide:
			e.ofSpec = true
			if c.namesHost(e.target) {
				e.asked = e.target
				if real := c.feat.Host.Real(e.target); real != "" {
					e.target = real
				}
			}
		case BindRO, BindRW, Overlay:
			if err := c.keepInside(&e); err != nil {
				return err
			}
			f := c.follow(e.source)
			if !f.exists() {
				return &SpecError{Field: "Mounts", Reason: "the source " + m.Source + c.whyAbsent(m.Source)}
			}
			e.file = !f.isDir()
			if f.Mode == unix.S_IFCHR || f.Mode == unix.S_IFBLK {
				return &SpecError{Field: "Mounts", Reason: m.Source + " is a device, and what is bound is nodev: it could not be opened inside, where /dev has the devices that every program may use"}
			}
			if !e.file && within(e.source, "/dev") && e.source != "/dev/shm" && e.source != "/dev/mqueue" {
				c.note("devices in " + m.Source + " cannot be opened inside: what is bound is nodev")
			}
			if e.file && e.kind == Overlay {
				return &SpecError{Field: "Mounts", Reason: m.Source + " is not a folder: only a folder can be copy on write"}
			}
			if e.kind == Overlay && e.source == e.target && c.find(e.target) < 0 && e.target == c.feat.Host.Real(e.target) {
				if err := c.overlayFolder(e.target, e.why); err != nil {
					return err
				}
				continue
			}
			if e.kind == Overlay {
				if err := c.refuseLower(e.source); err != nil {
					return err
				}
			}
		}
		if i := c.find(e.target); i >= 0 && e.file && !c.entries[i].file && c.entries[i].kind != symlink {
			return &SpecError{Field: "Mounts", Reason: "the target " + e.target + " is a folder, but the source " + e.source + " is a file"}
		}
		c.replace(e)
		if m.Kind == BindRW && !e.file && !m.Layer {
			c.entries[c.find(e.target)].why = "asked for; a new .git, .envrc or the like is moved aside"
			if err := c.guard(e); err != nil {
				return err
			}
		}
	}
	if err := c.order(); err != nil {
		return err
	}
	c.path = c.searchPath(c.shows)
	return nil
}

// namesHost says whether a target of the spec names a path of the host, so that
// symbolic links in it mean what they mean there: --hide /bin/su hides
// /usr/bin/su where /bin is a link. Hiding the name alone would hide nothing.
func (c *compiler) namesHost(target string) bool {
	return !(c.on["root"] && c.spec.givenRoot()) && !slices.ContainsFunc(c.spec.Mounts, func(m Mount) bool {
		return m.Source != "" && m.Source != m.Target && within(target, m.Target)
	})
}

// keepInside refuses a source below the working folder that a symbolic link
// leads out of it. Whoever wrote the project has put it there, and the caller
// meant the project: -v ./out:/out must not show ~/.ssh. What leads elsewhere in
// it is named without links, so that it cannot be exchanged later either.
func (c *compiler) keepInside(e *entry) error {
	dir := c.feat.Dir
	if dir == "" || c.private(dir) || !within(e.source, dir) {
		return nil
	}
	if c.on["root"] && !c.spec.givenRoot() && !c.spec.OnlyDir {
		dir = c.gitTop(dir)
	}
	real := c.feat.Host.Real(e.source)
	switch {
	case real == "":
		return nil // which is another error
	case !within(real, dir):
		return &SpecError{Field: "Mounts", Reason: e.source + " leads out of the working folder, to " + real + ": name that where it is meant"}
	}
	e.source, e.real = real, true
	return nil
}

func (c *compiler) addEntry(e entry) {
	c.entries = append(c.entries, e)
}

func (c *compiler) find(target string) int {
	return slices.IndexFunc(c.entries, func(e entry) bool { return e.target == target })
}

// hostRoot shows the default parts of the host, and empty folders beside them.
func (c *compiler) hostRoot() error {
	for _, dir := range shownRoot {
		f := c.feat.Host.Lstat(dir)
		switch {
		case f.isLink():
			c.addEntry(entry{kind: symlink, link: f.Link, target: dir})
		case f.isDir() && dir == "/opt" && c.realHome != dir:
			if err := c.siteFolder(dir); err != nil {
				return err
			}
		case f.isDir() && dir != "/opt":
			c.addEntry(entry{kind: BindRO, source: dir, target: dir, why: "programs"})
		}
	}
	if daemon := "/nix/var/nix/daemon-socket"; c.feat.Host.Lstat(daemon).isDir() {
		// A read-only bind does not stop connect(2), and the daemon builds, with
		// the host's network, what it is asked to.
		c.addEntry(entry{kind: Hide, target: daemon, why: "a socket of the host"})
	}
	for _, d := range []entry{
		{target: "/proc", mode: 0o555},
		{target: "/dev", mode: 0o755},
		{target: "/run", mode: 0o755},
		{target: "/tmp", mode: 0o1777},
		{target: "/var/tmp", mode: 0o1777},
	} {
		d.kind = folder
		c.addEntry(d)
	}
	c.emptyHome()
	c.accountFiles()
	return nil
}

// siteFolder shows /opt: programs too, but of the site's own making, which may
// hold sockets and FIFOs. Through a bind they would reach the host's processes,
// through an overlay they do not.
func (c *compiler) siteFolder(dir string) error {
	names, err := c.feat.Host.ReadDir(dir)
	if err == nil && len(names) == 0 && !c.feat.Host.Writable(dir) || !c.on["overlay"] {
		c.addEntry(entry{kind: BindRO, source: dir, target: dir, why: "programs"})
		return nil
	}
	return c.overlayAround(dir, "programs of this site")
}

// emptyHome adds HOME. One that lies in a folder that is shown (/opt/jenkins,
// /usr/local/app) is covered, and so is one that a symbolic link leads to.
func (c *compiler) emptyHome() {
	shown := func(p string) bool {
		return slices.ContainsFunc(c.entries, func(e entry) bool {
			return e.target != p && within(p, e.target) && (e.kind == BindRO || e.kind == Overlay)
		})
	}
	const why = "HOME, empty"
	at := c.throughLinks(c.home)
	switch {
	case shown(at) && (c.realHome == "" || slices.Contains(c.searchPath(func(string) bool { return true }), c.realHome)):
		// There is nothing to be covered, or programs are what would be: the
		// home of the user daemon is /usr/sbin.
		c.home = "/home/" + c.userName()
	case shown(at) && shown(c.realHome):
		c.home = c.realHome
		if !c.keptHome() {
			c.addEntry(entry{kind: Tmpfs, target: c.home, why: why})
		}
		return
	case shown(at): // a link in a folder of the root, out of it
		c.home = "/home/" + c.userName()
	case c.realHome != "" && shown(c.realHome):
		c.addEntry(entry{kind: Hide, target: c.realHome, why: "HOME leads there"})
	}
	if !c.keptHome() {
		c.addEntry(entry{kind: folder, target: c.home, mode: 0o700, why: why})
	}
}

// keptHome shows the HOME that the spec names, if it names one.
func (c *compiler) keptHome() bool {
	if c.spec.Home == "" || !c.on["overlay"] {
		return false
	}
	c.addEntry(entry{kind: Overlay, source: c.spec.Home, target: c.home, why: "HOME, kept", real: true})
	return true
}

// throughLinks is a path inside after the symbolic links of the new root: /bin
// is usr/bin.
func (c *compiler) throughLinks(at string) string {
	for range 8 {
		i := slices.IndexFunc(c.entries, func(e entry) bool {
			return e.kind == symlink && path.Dir(e.target) == "/" && within(at, e.target)
		})
		if i < 0 {
			break
		}
		link := c.entries[i].link
		if !path.IsAbs(link) {
			link = path.Join(path.Dir(c.entries[i].target), link)
		}
		at = link + strings.TrimPrefix(at, c.entries[i].target)
	}
	return at
}

// madeAnew refuses a target in a folder that a step mounts something on after
// the mounts of the spec, which would be out of sight, and one in place of the
// tmpfs in which the step dev makes its files. That one may have another size.
func (c *compiler) madeAnew(e *entry) error {
	for _, made := range []struct{ step, dir string }{{"proc", "/proc"}, {"dev", "/dev/pts"}} {
		if c.on[made.step] && within(e.target, made.dir) {
			return &SpecError{Field: "Mounts", Reason: "the target " + e.target + " would be covered by the " + made.dir + " that the step " + made.step + " makes anew"}
		}
	}
	if c.on["dev"] && e.target == "/dev" && e.kind != Tmpfs {
		return &SpecError{Field: "Mounts", Reason: "the target /dev is what the step dev makes anew: name a file in it, or skip dev, which shows the host's"}
	}
	return nil
}

// refuseLower says of a folder that is to be copy on write elsewhere than at
// its own place that overlayfs takes none like it: there it would be split.
func (c *compiler) refuseLower(source string) error {
	if within(source, "/proc") {
		return &SpecError{Field: "Mounts", Reason: source + " cannot be copy on write: overlayfs takes no folder of procfs"}
	}
	if c.holdsMounts(source) {
		i := slices.IndexFunc(c.points, func(m string) bool { return m != source && within(m, source) })
		return &SpecError{Field: "Mounts", Reason: source + " holds another mount, " + c.points[i] + ", and such a folder cannot be copy on write as a whole: show its folders one by one, or all of it read-only"}
	}
	return nil
}

// whyAbsent says why a path of the host is not found.
func (c *compiler) whyAbsent(p string) string {
	for at := path.Dir(p); at != "/"; at = path.Dir(at) {
		if f := c.follow(at); f.isDir() {
			if !c.feat.Host.Lstat(at + "/.").exists() { // which takes the right to search
				return " is out of your reach: you may not search " + at + " (EACCES)"
			}
			break
		}
	}
	return " does not exist"
}

// order gives each entry its rank and step, and sorts.
func (c *compiler) order() error {
	for i := range c.entries {
		e := &c.entries[i]
		e.step = "mount"
		switch {
		case e.kind == Overlay:
			e.rank, e.step = max(e.rank, rankOverlay), "overlay"
			if e.target == "/" {
				e.rank = rankMount
			}
		case e.rank == rankDev && c.on["dev"]:
			e.step = "dev"
		}
	}
	slices.SortStableFunc(c.entries, func(a, b entry) int { return strings.Compare(a.target, b.target) })
	if up := c.spec.Upper; up != "" {
		for i := range c.entries {
			if source := c.entries[i].source; source != "" && c.entries[i].kind != symlink && (within(up, source) || within(source, up)) {
				return &SpecError{Field: "Upper", Reason: up + " and " + source + ", which is shown, lie in one another"}
			}
		}
	}
	for i := range c.entries {
		e := &c.entries[i]
		e.inside = -1
		for k := range i { // sorted: what holds it stands before it
			o := &c.entries[k]
			if o.target != e.target && within(e.target, o.target) && o.kind != symlink {
				if o.file || o.kind == content {
					return &SpecError{Field: "Mounts", Reason: e.target + " lies in " + o.target + ", which is a file"}
				}
				e.rank = max(e.rank, o.rank)
			}
		}
	}
	slices.SortStableFunc(c.entries, func(a, b entry) int { return a.rank - b.rank })
	for i := range c.entries {
		e := &c.entries[i]
		for k := range i {
			o := &c.entries[k]
			if within(e.target, o.target) && o.kind != symlink && o.kind != folder &&
				(e.inside < 0 || within(o.target, c.entries[e.inside].target)) {
				e.inside = k
			}
		}
		c.Shown = append(c.Shown, Shown{Kind: e.kind, Source: e.source, Target: e.target, Why: e.why, Guarded: e.guarded})
	}
	return nil
}

// shows says whether a path of the host has the same content inside.
func (c *compiler) shows(p string) bool {
	if !c.on["root"] {
		return true
	}
	if c.spec.givenRoot() {
		return true
	}
	for range 8 { // symbolic links of the root: /bin is usr/bin
		best := -1
		for i := range c.entries {
			if within(p, c.entries[i].target) && (best < 0 || len(c.entries[i].target) > len(c.entries[best].target)) {
				best = i
			}
		}
		if best < 0 {
			return false
		}
		e := &c.entries[best]
		if e.kind != symlink {
			return e.source == e.target
		}
		link := e.link
		if !path.IsAbs(link) {
			link = path.Join(path.Dir(e.target), link)
		}
		p = link + strings.TrimPrefix(p, e.target)
	}
	return false
}

// pickBase is a folder of the host on which the sandbox's tmpfs can be
// mounted, in a mount namespace that nobody else sees. It hides what is below
// it until the root is changed or the tmpfs detached, so it must not hold the
// upper layers, nor, where the root stays, anything that is mounted on.
func (c *compiler) pickBase() string {
	free := func(dir string) bool {
		if c.spec.Upper != "" && within(c.spec.Upper, dir) {
			return false
		}
		return c.on["root"] || !within(c.feat.Dir, dir) && !slices.ContainsFunc(c.spec.Mounts, func(m Mount) bool { return within(m.Target, dir) })
	}
	for _, dir := range []string{"/tmp", "/var", "/opt", "/srv", "/mnt", "/usr", "/etc"} {
		if c.feat.Host.Lstat(dir).isDir() && free(dir) {
			return dir
		}
	}
	return "/tmp"
}

// within says whether p is dir or lies in it. Both are clean.
func within(p, dir string) bool {
	return p == dir || dir == "/" || len(p) > len(dir) && p[len(dir)] == '/' && p[:len(dir)] == dir
}

// follow describes a path after its symbolic links.
func (c *compiler) follow(p string) File {
	for range 40 {
		f := c.feat.Host.Lstat(p)
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

// layerName is the folder of an upper layer below Spec.Upper, named after what
// it covers.
func layerName(target string) string {
	if target == "/" {
		return "@root"
	}
	return strings.ReplaceAll(strings.ReplaceAll(strings.Trim(target, "/"), "%", "%25"), "/", "%2f")
}

// tmpfsSize prints a size as tmpfs(5)'s option.
func (c *compiler) tmpfsSize(size int64) string {
	if size == 0 {
		size = c.spec.LayerSize
	}
	if size == 0 {
		return "size=50%" // of the machine's memory
	}
	return "size=" + strconv.FormatInt(size, 10)
}

const regular = unix.S_IFREG
