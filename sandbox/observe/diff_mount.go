package observe

import (
	"fmt"
	"sort"
	"strings"
)

func (d *differ) mount() {
	d.namespace("mnt", "mount", "what it mounts and unmounts is not seen outside")
	if !d.comparable("mounts", "the mount table") {
		return
	}
	if a, b := len(d.a.Mounts), len(d.b.Mounts); a != b {
		d.add("mount table", count(a, "mount"), count(b, "mount"),
			fmt.Sprintf("the mount table has %s instead of %d", count(b, "entry"), a))
	}
	rootA, rootB := d.a.MountAt("/"), d.b.MountAt("/")
	if rootA == nil || rootB == nil {
		return
	}
	if a, b := rootA.PropagationType(), rootB.PropagationType(); a != b {
		sentence := "the propagation of / is " + b + " instead of " + a
		switch b {
		case "private", "unbindable":
			sentence += ": no mount passes between the host and the process"
		case "slave":
			sentence += ": mounts of the host still arrive, none goes back"
		default:
			sentence += ": mounts pass to and from its peers"
		}
		d.add("propagation of /", a, b, sentence)
	}
}

// bothMounts says whether both views have a mount table, without telling: the
// step mount has told.
func (d *differ) bothMounts() bool {
	return d.a.unread("mounts") == nil && d.b.unread("mounts") == nil
}

func (d *differ) overlay() {
	if !d.bothMounts() {
		return
	}
	targets := func(v *View) []string {
		var t []string
		for _, m := range v.Mounts {
			if m.FSType == "overlay" {
				t = append(t, m.Target)
			}
		}
		sort.Strings(t)
		return t
	}
	a, b := targets(d.a), targets(d.b)
	if added := minus(b, a); len(added) > 0 {
		d.add("overlays added", count(len(a), "overlay"), count(len(b), "overlay"),
			fmt.Sprintf("%s %s an overlay: what is written goes to a layer above, the folder below stays as it is", list(added), isAre(len(added))))
	}
	if gone := minus(a, b); len(gone) > 0 {
		d.add("overlays removed", count(len(a), "overlay"), count(len(b), "overlay"),
			fmt.Sprintf("%s %s no overlay any more", list(gone), isAre(len(gone))))
	}
}

func (d *differ) proc() {
	if d.bothMounts() {
		d.at("/proc")
		a, b := covered(d.a, "/proc"), covered(d.b, "/proc")
		if added := minus(b, a); len(added) > 0 {
			d.add("entries of /proc covered", count(len(a), "mount"), count(len(b), "mount"),
				fmt.Sprintf("%s of /proc %s covered by a mount: %s", count(len(added), "entry"), isAre(len(added)), list(added)))
		}
		if gone := minus(a, b); len(gone) > 0 {
			d.add("entries of /proc uncovered", count(len(a), "mount"), count(len(b), "mount"),
				fmt.Sprintf("%s of /proc %s not covered any more: %s", count(len(gone), "entry"), isAre(len(gone)), list(gone)))
		}
		// Through one and the same proc file system both see one list, which
		// differs only by what began and ended between the looks.
		procA, procB := d.a.MountAt("/proc"), d.b.MountAt("/proc")
		if procA != nil && procB != nil && procA.Device == procB.Device {
			return
		}
	}
	if !d.comparable("processes", "the list of processes") {
		return
	}
	a, b := len(d.a.Processes), len(d.b.Processes)
	if a == b {
		return
	}
	sentence := fmt.Sprintf("the process sees %s instead of %d", count(b, "process"), a)
	if b == 0 {
		sentence = fmt.Sprintf("the process sees no process at all instead of %d: its /proc is empty or missing", a)
	}
	d.add("visible processes", count(a, "process"), count(b, "process"), sentence)
}

// covered returns the mount points below a folder, without the two that a host
// mounts there by itself.
func covered(v *View, folder string) []string {
	var targets []string
	for _, m := range v.Mounts {
		if strings.HasPrefix(m.Target, folder+"/") && m.FSType != "binfmt_misc" && m.FSType != "autofs" {
			targets = append(targets, m.Target)
		}
	}
	sort.Strings(targets)
	return minus(targets, nil)
}

// at compares what is mounted at one place: its type, and whether it can be
// written.
func (d *differ) at(target string) {
	mountA, mountB := d.a.MountAt(target), d.b.MountAt(target)
	a, b := describeMount(mountA), describeMount(mountB)
	if a == b {
		return
	}
	switch {
	case mountB == nil:
		d.add(target, a, b, "nothing is mounted at "+target+" instead of "+a)
	case mountA == nil:
		d.add(target, a, b, target+" is "+b+" where nothing was mounted")
	default:
		d.add(target, a, b, target+" is "+b+" instead of "+a)
	}
}

// describeMount returns the type of a mount in words: "a read-only tmpfs".
func describeMount(m *Mount) string {
	if m == nil {
		return "no mount"
	}
	name := m.FSType
	if m.Root != "/" {
		name = "bind of a folder of " + name
	}
	if m.ReadOnly {
		return "a read-only " + name
	}
	if strings.ContainsRune("aeiou", rune((name + " ")[0])) {
		return "an " + name
	}
	return "a " + name
}

func (d *differ) dev() {
	if !d.bothMounts() {
		return
	}
	d.at("/dev")
	a, b := covered(d.a, "/dev"), covered(d.b, "/dev")
	if added := minus(b, a); len(added) > 0 {
		d.add("mounts in /dev added", count(len(a), "mount"), count(len(b), "mount"),
			fmt.Sprintf("in /dev %s %s mounted for the process: %s", count(len(added), "entry"), isAre(len(added)), list(added)))
	}
	if gone := minus(a, b); len(gone) > 0 {
		d.add("mounts in /dev removed", count(len(a), "mount"), count(len(b), "mount"),
			fmt.Sprintf("in /dev %s %s missing: %s", count(len(gone), "mount"), isAre(len(gone)), list(gone)))
	}
}

func (d *differ) root() {
	if d.comparable("root", "the root folder") && d.a.Root != d.b.Root {
		d.add("root folder", d.a.Root, d.b.Root,
			fmt.Sprintf("the root folder is %s instead of %s, seen from outside", d.b.Root, d.a.Root))
	}
	if d.comparable("cwd", "the working folder") && d.a.Cwd != d.b.Cwd {
		d.add("working folder", d.a.Cwd, d.b.Cwd, fmt.Sprintf("the working folder is %s instead of %s", d.b.Cwd, d.a.Cwd))
	}
	if !d.bothMounts() {
		return
	}
	d.at("/")
	a, b := ordinary(d.a), ordinary(d.b)
	if gone := minus(a, b); len(gone) > 0 {
		d.add("mounts removed", count(len(a), "mount"), count(len(b), "mount"),
			fmt.Sprintf("%s of the first view %s gone: %s", count(len(gone), "mount"), isAre(len(gone)), list(gone)))
	}
	if added := minus(b, a); len(added) > 0 {
		d.add("mounts added", count(len(a), "mount"), count(len(b), "mount"),
			fmt.Sprintf("%s %s new: %s", count(len(added), "mount"), isAre(len(added)), list(added)))
	}
	writableA, writableB := writable(d.a), writable(d.b)
	if writableA != writableB {
		d.add("writable mounts", fmt.Sprintf("%d of %d", writableA, len(d.a.Mounts)), fmt.Sprintf("%d of %d", writableB, len(d.b.Mounts)),
			fmt.Sprintf("%d of %s can be written instead of %d of %d", writableB, count(len(d.b.Mounts), "mount"), writableA, len(d.a.Mounts)))
	}
}

// ordinary returns the mount points that no step but root answers for.
func ordinary(v *View) []string {
	var targets []string
	for _, m := range v.Mounts {
		switch {
		case m.Target == "/", m.FSType == "overlay":
		case m.Target == "/proc", strings.HasPrefix(m.Target, "/proc/"):
		case m.Target == "/dev", strings.HasPrefix(m.Target, "/dev/"):
		default:
			targets = append(targets, m.Target)
		}
	}
	sort.Strings(targets)
	return minus(targets, nil)
}

func writable(v *View) int {
	n := 0
	for i := range v.Mounts {
		if !v.Mounts[i].ReadOnly {
			n++
		}
	}
	return n
}
