package observe

import (
	"fmt"
	"sort"
	"strconv"
)

func (d *differ) environment() {
	if !d.comparable("environment", "the environment") {
		return
	}
	inA, inB := environmentMap(d.a), environmentMap(d.b)
	var gone, added, changed []string
	for name, value := range inA {
		if other, ok := inB[name]; !ok {
			gone = append(gone, name)
		} else if other != value {
			changed = append(changed, name)
		}
	}
	for name := range inB {
		if _, ok := inA[name]; !ok {
			added = append(added, name)
		}
	}
	sort.Strings(gone)
	sort.Strings(added)
	sort.Strings(changed)
	a, b := count(len(inA), "variable"), count(len(inB), "variable")
	if len(gone) > 0 {
		d.add("variables removed", a, b, fmt.Sprintf("%d of %s of the environment %s gone: %s",
			len(gone), count(len(inA), "variable"), isAre(len(gone)), list(gone)))
	}
	if len(added) > 0 {
		d.add("variables added", a, b, fmt.Sprintf("%s of the environment %s new: %s",
			count(len(added), "variable"), isAre(len(added)), list(added)))
	}
	if len(changed) > 0 {
		verb := "has another value"
		if len(changed) > 1 {
			verb = "have other values"
		}
		d.add("variables changed", "values not shown", "values not shown", fmt.Sprintf("%s of the environment %s: %s",
			count(len(changed), "variable"), verb, list(changed)))
	}
}

// environmentMap keeps the first of two variables with one name, as getenv(3)
// does.
func environmentMap(v *View) map[string]string {
	m := make(map[string]string, len(v.Environment))
	for _, e := range v.Environment {
		if _, ok := m[e.Name]; !ok {
			m[e.Name] = e.Value
		}
	}
	return m
}

func (d *differ) descriptors() {
	if !d.comparable("fds", "the list of open files") {
		return
	}
	var closed, opened []string
	var differ []int
	targetsA, targetsB := fdMap(d.a), fdMap(d.b)
	for _, f := range d.a.FDs {
		if other, ok := targetsB[f.FD]; !ok {
			closed = append(closed, strconv.Itoa(f.FD))
		} else if targetKind(other) != targetKind(f.Target) {
			differ = append(differ, f.FD)
		}
	}
	for _, f := range d.b.FDs {
		if _, ok := targetsA[f.FD]; !ok {
			opened = append(opened, fmt.Sprintf("%d (%s)", f.FD, targetKind(f.Target)))
		}
	}
	a, b := count(len(d.a.FDs), "open file"), count(len(d.b.FDs), "open file")
	if len(closed) > 0 {
		d.add("files closed", a, b, fmt.Sprintf("%s %s closed: %s",
			count(len(closed), "inherited descriptor"), isAre(len(closed)), list(closed)))
	}
	if len(opened) > 0 {
		d.add("files opened", a, b, fmt.Sprintf("%s %s open in addition: %s",
			count(len(opened), "descriptor"), isAre(len(opened)), list(opened)))
	}
	if len(differ) > listed {
		names := make([]string, len(differ))
		for i, fd := range differ {
			names[i] = strconv.Itoa(fd)
		}
		d.add("descriptors", a, b, count(len(differ), "descriptor")+" lead elsewhere: "+list(names))
		return
	}
	for _, fd := range differ {
		from, to := targetKind(targetsA[fd]), targetKind(targetsB[fd])
		d.add("descriptor "+strconv.Itoa(fd), from, to,
			fmt.Sprintf("%s is %s instead of %s", fdName(fd), to, from))
	}
}

func fdMap(v *View) map[int]string {
	m := make(map[int]string, len(v.FDs))
	for _, f := range v.FDs {
		m[f.FD] = f.Target
	}
	return m
}

func fdName(fd int) string {
	switch fd {
	case 0:
		return "stdin"
	case 1:
		return "stdout"
	case 2:
		return "stderr"
	}
	return "descriptor " + strconv.Itoa(fd)
}

func (d *differ) user() {
	d.namespace("user", "user", "its ids and capabilities count for nothing outside of it")
	d.id("uid", d.a.UID, d.b.UID)
	d.id("gid", d.a.GID, d.b.GID)
	for _, m := range []struct {
		part string
		a, b []IDRange
	}{{"uid_map", d.a.UIDMap, d.b.UIDMap}, {"gid_map", d.a.GIDMap, d.b.GIDMap}} {
		if !d.comparable(m.part, "the "+m.part) {
			continue
		}
		if a, b := describeMap(m.a), describeMap(m.b); a != b {
			d.add(m.part, a, b, "the "+m.part+" says: "+b+"; instead of: "+a)
		}
	}
	if d.comparable("setgroups", "the use of setgroups") && d.a.Setgroups != d.b.Setgroups {
		sentence := "setgroups may be called again"
		if d.b.Setgroups == "deny" {
			sentence = "setgroups is denied, so the process cannot leave a group that a file's permissions shut out"
		}
		d.add("setgroups", d.a.Setgroups, d.b.Setgroups, sentence)
	}
}

// id compares a user or group id from both sides: what the process sees and
// what the kernel checks against files outside.
func (d *differ) id(what string, a, b Credential) {
	if a == b {
		return
	}
	describe := func(c Credential) string {
		text := fmt.Sprintf("%d inside, %d outside", c.Inside, c.Effective)
		if c.Inside == c.Effective {
			text = strconv.FormatUint(uint64(c.Inside), 10)
		}
		if c.Real != c.Effective || c.Saved != c.Effective {
			text += fmt.Sprintf(" (real %d, saved %d)", c.Real, c.Saved)
		}
		return text
	}
	switch {
	case a.Inside != b.Inside && a.Effective == b.Effective:
		sentence := fmt.Sprintf("the process sees itself as %s %d instead of %d; outside it is %d as before", what, b.Inside, a.Inside, b.Effective)
		if b.Inside == overflowID {
			sentence += " (no entry of its map names it)"
		}
		d.add(what, describe(a), describe(b), sentence)
	default:
		d.add(what, describe(a), describe(b), fmt.Sprintf("the %s is %s instead of %s", what, describe(b), describe(a)))
	}
}

func (d *differ) pid() {
	inside := d.b.InsidePID()
	means := fmt.Sprintf("there it is PID %d", inside)
	if inside == 1 {
		means += ", and when it ends the kernel kills every other process in it"
	} else {
		means += ", and it cannot signal processes outside"
	}
	before := len(d.changes)
	d.namespace("pid", "PID", means)
	// A PID is new in every process; being the first of a namespace is not.
	if before == len(d.changes) && (d.a.InsidePID() == 1) != (d.b.InsidePID() == 1) {
		d.add("PID", strconv.Itoa(d.a.InsidePID()), strconv.Itoa(d.b.InsidePID()),
			fmt.Sprintf("the process is PID %d of its PID namespace instead of PID %d", inside, d.a.InsidePID()))
	}
	d.pidForChildren()
}

// pidForChildren tells of unshare(CLONE_NEWPID), which moves only the children.
func (d *differ) pidForChildren() {
	waiting := func(v *View) bool {
		pid, ok1 := v.Namespace("pid")
		children, ok2 := v.Namespace("pid_for_children")
		return ok1 && ok2 && pid.Inode != children.Inode
	}
	const same, other = "its own namespace", "another namespace"
	switch a, b := waiting(d.a), waiting(d.b); {
	case !a && b:
		d.add("PID namespace for children", same, other, "the children of the process will be in another PID namespace than itself")
	case a && !b:
		d.add("PID namespace for children", other, same, "the children of the process will be in its own PID namespace")
	}
}

func (d *differ) session() {
	if !d.comparable("session", "the session") {
		return
	}
	a, b := d.a.Session, d.b.Session
	if a.Shared != b.Shared {
		if b.Shared {
			d.add("session", "another", "the caller's", "the process is in the caller's session and can reach its terminal")
		} else {
			d.add("session", "the caller's", "another", "the process is in a session of its own, out of reach of the caller's terminal and its signals")
		}
	}
	if a.Leader != b.Leader {
		sentence := "the process does not lead its session"
		if b.Leader {
			sentence = "the process leads its session"
		}
		d.add("session leader", yesNo(a.Leader), yesNo(b.Leader), sentence)
	}
	if a.TTY != b.TTY {
		switch {
		case b.TTY == "":
			d.add("terminal", a.TTY, "none", "the process has no controlling terminal instead of "+a.TTY)
		case a.TTY == "":
			d.add("terminal", "none", b.TTY, "the controlling terminal is "+b.TTY+" instead of none")
		default:
			d.add("terminal", a.TTY, b.TTY, "the controlling terminal is "+b.TTY+" instead of "+a.TTY)
		}
	}
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
