package sandbox

import (
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox/internal/rawfork"
)

var (
	sysSetresuid = &sysno{unix.SYS_SETRESUID, "setresuid"}
	sysSetgroups = &sysno{unix.SYS_SETGROUPS, "setgroups"}
	sysSetresgid = &sysno{unix.SYS_SETRESGID, "setresgid"}
)

// user makes the user namespace and gives it its id maps. One line that maps
// the caller may be written by the child itself; ranges need the launcher to
// run newuidmap(1) and newgidmap(1) while the plan pauses.
func (c *compiler) user() error {
	c.flag(unix.CLONE_NEWUSER)
	c.firstVictim()
	u := &c.spec.User
	uids, gids := c.idMaps()
	switch {
	case u.Unmapped:
	case u.Auto || len(uids) != 1 || uids[0].Count != 1 || uids[0].Outside != c.feat.UID ||
		len(gids) != 1 || gids[0].Count != 1 || gids[0].Outside != c.feat.GID:
		c.ranges = &ranges{uid: uids, gid: gids, auto: u.Auto}
		c.pauses = append(c.pauses, (*Cmd).writeMaps)
		c.pause()
		c.becomeMapped(uids, gids)
	default:
		// setgroups is denied first: a process that could drop a group
		// would get at files that are closed to that very group
		// (CVE-2014-8989), so the kernel asks for this order.
		c.writeFile("/proc/self/setgroups", "deny")
		c.writeFile("/proc/self/uid_map", mapText(uids))
		c.writeFile("/proc/self/gid_map", mapText(gids))
	}
	if !c.spec.AllowNesting {
		// Where that cannot be written the filter alone refuses them.
		c.writeOptional("/proc/sys/user/max_user_namespaces", "0")
	}
	c.shares()
	return nil
}

// pause stops the child until the launcher lets it go on.
func (c *compiler) pause() {
	c.Calls = append(c.Calls, Call{Step: c.step, first: int32(len(c.args)), n: 1, op: rawfork.OpPause})
	c.args = append(c.args, use(c.slots.socket))
}

// becomeMapped changes to the uid and gid of Spec.User where the maps give it
// another kernel id than the caller's.
func (c *compiler) becomeMapped(uids, gids []IDMap) {
	if !c.OwnMemory || c.spec.User.Switch {
		return
	}
	uid, gid := c.insideIDs()
	c.call(sysSetresgid, integer(gid), integer(gid), integer(gid))
	c.call(sysSetresuid, integer(uid), integer(uid), integer(uid))
	c.dieWithParent()
}

// switchUser makes of uid 0 who CMD is to be, when everything is mounted. It
// comes before the capabilities are dropped, which it needs and which a change
// of the uid would clear (capabilities(7)); securebits keep them meanwhile.
func (c *compiler) switchUser() {
	if !c.spec.User.Switch || !c.on["user"] {
		return
	}
	c.step = "user"
	uid, gid := c.insideIDs()
	groups := nothing()
	if n := len(c.spec.User.Groups); n > 0 {
		at := c.reserve(4 * n)
		for i, g := range c.spec.User.Groups {
			putUint32(c.data[at+4*i:], uint32(g))
		}
		groups = c.mem(at, groupsText(n))
	}
	c.call(sysSetgroups, integer(len(c.spec.User.Groups)), groups)
	if uid == 0 && gid == 0 {
		return
	}
	const noSetuidFixup = 1 << 2 // SECBIT_NO_SETUID_FIXUP (linux/securebits.h)
	secure := word(unix.PR_SET_SECUREBITS, constant("PR_SET_SECUREBITS"))
	c.call(sysPrctl, secure, word(noSetuidFixup, constant("SECBIT_NO_SETUID_FIXUP")))
	c.call(sysSetresgid, integer(gid), integer(gid), integer(gid))
	c.call(sysSetresuid, integer(uid), integer(uid), integer(uid))
	c.call(sysPrctl, secure, integer(0))
	c.dieWithParent()
}

// groupsText prints a list of n groups.
func groupsText(n int) func(*Plan, uint64) string {
	return func(p *Plan, v uint64) string {
		ids := make([]string, n)
		for i := range ids {
			ids[i] = strconv.FormatUint(uint64(getUint32(p.data[int(v)+4*i:])), 10)
		}
		return "[" + strings.Join(ids, ", ") + "]"
	}
}

// insideIDs are the uid and gid that CMD has inside.
func (c *compiler) insideIDs() (uid, gid int) { return c.spec.insideIDs(c.feat) }

func (s *Spec) insideIDs(f *Features) (uid, gid int) {
	uid, gid = f.UID, f.GID
	u := &s.User
	if u.Unmapped {
		return 65534, 65534
	}
	if u.UID != nil {
		uid = *u.UID
		if uid == 0 {
			gid = 0
		}
	}
	if u.GID != nil {
		gid = *u.GID
	}
	return uid, gid
}

// idMaps are the lines of both maps, without the subordinate ranges of Auto,
// which the launcher adds when it has read them.
func (c *compiler) idMaps() (uids, gids []IDMap) {
	uid, gid := c.insideIDs()
	if c.spec.User.Switch {
		uid, gid = 0, 0
	}
	uids, gids = c.spec.User.UIDMap, c.spec.User.GIDMap
	if len(uids) == 0 {
		uids = []IDMap{{uid, c.feat.UID, 1}}
	}
	if len(gids) == 0 {
		gids = []IDMap{{gid, c.feat.GID, 1}}
	}
	return uids, gids
}

// outside translates an id through a map; -1 means that it is not mapped.
func outside(maps []IDMap, id int) int {
	for _, m := range maps {
		if id >= m.Inside && id < m.Inside+m.Count {
			return m.Outside + id - m.Inside
		}
	}
	return -1
}

// mapText prints a map as the kernel reads it.
func mapText(maps []IDMap) string {
	var b strings.Builder
	for _, m := range maps {
		b.WriteString(strconv.Itoa(m.Inside) + " " + strconv.Itoa(m.Outside) + " " + strconv.Itoa(m.Count) + "\n")
	}
	return b.String()
}
