package sandbox

import (
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox/internal/rawfork"
)

var (
	sysSetresuid = &sysno{unix.SYS_SETRESUID, "setresuid"}
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
	if !c.OwnMemory {
		return
	}
	uid, gid := c.insideIDs()
	c.call(sysSetresgid, integer(gid), integer(gid), integer(gid))
	c.call(sysSetresuid, integer(uid), integer(uid), integer(uid))
	c.dieWithParent()
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
