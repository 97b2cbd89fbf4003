package sandbox

import (
	"path"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox/landlock"
)

var (
	sysRuleset  = &sysno{unix.SYS_LANDLOCK_CREATE_RULESET, "landlock_create_ruleset"}
	sysAddRule  = &sysno{unix.SYS_LANDLOCK_ADD_RULE, "landlock_add_rule"}
	sysRestrict = &sysno{unix.SYS_LANDLOCK_RESTRICT_SELF, "landlock_restrict_self"}
)

// landlock makes the rules that hold although the root were left: the new root
// and the open files are all that CMD has. Where the root is the host's own it
// allows looking at what would have been shown, and writing nowhere but in the
// folders that are shown for writing.
func (c *compiler) landlock() error {
	wish := landlock.Ruleset{FS: landlock.AllFS()}
	if !c.on["pid"] {
		wish.Scope |= unix.LANDLOCK_SCOPE_SIGNAL
	}
	if !c.on["net"] || c.spec.Net == "host" {
		wish.Scope |= unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET
	}
	if c.spec.TCPConnect != nil {
		wish.Net |= unix.LANDLOCK_ACCESS_NET_CONNECT_TCP
	}
	if c.spec.TCPBind != nil {
		wish.Net |= unix.LANDLOCK_ACCESS_NET_BIND_TCP
	}
	if c.spec.AllowNesting {
		wish.FS = 0 // a domain with any right on files refuses every mount
	}
	rules, lost := landlock.Downgrade(wish, c.feat.LandlockABI)
	if rules.FS == 0 {
		c.readableFiles()
	}
	if err := c.landlockLost(lost); err != nil || rules.Empty() {
		return err
	}
	attr := c.reserve(24)
	putUint64(c.data[attr:], rules.FS)
	putUint64(c.data[attr+8:], rules.Net)
	putUint64(c.data[attr+16:], rules.Scope)
	fd := c.newSlot("ruleset", "")
	c.call(sysRuleset, c.mem(attr, rulesetText), integer(rules.Size), integer(0)).saves(fd)
	if rules.FS != 0 {
		c.fileRules(fd, rules.FS)
	}
	for _, port := range c.spec.TCPConnect {
		c.portRule(fd, unix.LANDLOCK_ACCESS_NET_CONNECT_TCP&rules.Net, port)
	}
	for _, port := range c.spec.TCPBind {
		c.portRule(fd, unix.LANDLOCK_ACCESS_NET_BIND_TCP&rules.Net, port)
	}
	c.call(sysRestrict, use(fd), integer(0))
	return nil
}

// readableFiles says which of the descriptors 0 to 2 can be written although
// they were opened for reading: a file is opened again through /proc/self/fd,
// with the caller's rights on it, and only Landlock has a rule for that.
func (c *compiler) readableFiles() {
	for fd, f := range c.feat.Stdio {
		if f.Mode == regular && f.Read && !f.Write {
			c.note("descriptor " + strconv.Itoa(fd) + " is a file, and without Landlock's rules for files CMD can open it again to write to it, if you may: pass it through a pipe (cat FILE | sbx run …)")
		}
	}
}

// landlockLost says what the kernel's version cannot do.
func (c *compiler) landlockLost(lost landlock.Ruleset) error {
	if lost.Empty() {
		return nil
	}
	if slices.Contains(c.spec.Require, "landlock") || lost.Net != 0 {
		return &StepError{
			Step: "landlock", Reason: "the kernel's version is " + strconv.Itoa(c.feat.LandlockABI) + ", which cannot do all that is asked",
			Hint: "Linux 6.12 or later can; lsm=landlock,… on the kernel's command line where it is off",
		}
	}
	if c.feat.LandlockABI == 0 {
		c.note("no Landlock in this kernel: a way out of the root is not stopped a second time")
	} else if lost.Scope != 0 || c.feat.LandlockABI < 2 {
		c.note("Landlock " + strconv.Itoa(c.feat.LandlockABI) + " of this kernel does less than is asked")
	}
	return nil
}

// fileRules adds a rule for each folder that may be used, and for each of the
// descriptors 0 to 2 that can be opened again through /proc/self/fd.
func (c *compiler) fileRules(ruleset slot, handled uint64) {
	if c.on["root"] {
		c.pathRule(ruleset, "/", handled&^(unix.LANDLOCK_ACCESS_FS_MAKE_CHAR|unix.LANDLOCK_ACCESS_FS_MAKE_BLOCK))
		for _, m := range c.spec.Mounts {
			if m.Layer { // mknod is refused by the filter, and in a user namespace for all but 0:0
				c.pathRule(ruleset, path.Clean(m.Target), handled&^unix.LANDLOCK_ACCESS_FS_MAKE_BLOCK)
			}
		}
	} else {
		read := uint64(landlock.ReadRights) & handled
		for _, dir := range shownRoot {
			if c.feat.Host.Lstat(dir).isDir() {
				c.pathRule(ruleset, dir, read)
			}
		}
		c.pathRule(ruleset, "/proc", handled&(read|unix.LANDLOCK_ACCESS_FS_WRITE_FILE))
		for _, name := range append([]string{"pts", "shm"}, deviceNodes...) {
			f := c.feat.Host.Lstat("/dev/" + name)
			if f.exists() {
				rights := handled
				if !f.isDir() {
					rights &= landlock.FileRights
				}
				c.pathRule(ruleset, "/dev/"+name, rights)
			}
		}
		if c.feat.Dir != "" && !c.private(c.feat.Dir) {
			rights := read
			if c.on["overlay"] {
				rights = handled
			}
			c.pathRule(ruleset, c.feat.Dir, rights)
		}
		for _, m := range c.spec.Mounts {
			rights := read
			if m.Kind != BindRO && m.Kind != Hide {
				rights = handled
			}
			if !c.follow(m.Target).isDir() {
				rights &= landlock.FileRights
			}
			c.pathRule(ruleset, m.Target, rights)
		}
	}
	for fd, f := range c.feat.Stdio {
		if rights := f.rights() & handled; rights != 0 {
			at := c.reserve(16)
			putUint64(c.data[at:], rights)
			putUint32(c.data[at+8:], uint32(fd))
			c.addPathRule(ruleset, at, strconv.Itoa(fd))
		}
	}
}

func (c *compiler) pathRule(ruleset slot, p string, rights uint64) {
	at := c.reserve(16) // struct landlock_path_beneath_attr, packed: allowed_access, parent_fd
	putUint64(c.data[at:], rights)
	c.call(sysOpenat, cwd(), c.str(p), openFlags(unix.O_PATH|unix.O_CLOEXEC)).saves(c.fieldSlot(at+8, "beneath", p))
	c.addPathRule(ruleset, at, "beneath:"+p)
}

func (c *compiler) addPathRule(ruleset slot, at int, name string) {
	text := func(p *Plan, v uint64) string {
		return "{allowed_access=" + flagText(&landlockFlags, getUint64(p.data[v:])) + ", parent_fd=" + name + "}"
	}
	c.call(sysAddRule, use(ruleset), word(unix.LANDLOCK_RULE_PATH_BENEATH, constant("LANDLOCK_RULE_PATH_BENEATH")), c.mem(at, text), integer(0))
}

func (c *compiler) portRule(ruleset slot, right uint64, port uint16) {
	at := c.reserve(16) // struct landlock_net_port_attr: allowed_access, port
	putUint64(c.data[at:], right)
	putUint64(c.data[at+8:], uint64(port))
	c.call(sysAddRule, use(ruleset), word(ruleNetPort, constant("LANDLOCK_RULE_NET_PORT")), c.mem(at, portText), integer(0))
}

// ruleNetPort is enum landlock_rule_type's LANDLOCK_RULE_NET_PORT.
const ruleNetPort = 2

func portText(p *Plan, v uint64) string {
	return "{allowed_access=" + flagText(&landlockNetFlags, getUint64(p.data[v:])) + ", port=" + decimal(p, getUint64(p.data[v+8:])) + "}"
}

func rulesetText(p *Plan, v uint64) string {
	return "{handled_access_fs=" + flagText(&landlockFlags, getUint64(p.data[v:])) +
		", handled_access_net=" + flagText(&landlockNetFlags, getUint64(p.data[v+8:])) +
		", scoped=" + flagText(&landlockScopeFlags, getUint64(p.data[v+16:])) + "}"
}
