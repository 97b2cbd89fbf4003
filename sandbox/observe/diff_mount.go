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
	// Of two mount namespaces of their own, as of one and the same, the steps
	// below tell which mounts differ: their number says nothing more.
	inA, _ := d.a.Namespace("mnt")
	inB, _ := d.b.Namespace("mnt")
	if a, b := len(d.a.Mounts), len(d.b.Mounts); a != b && inA.Shared != inB.Shared {
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
	a, b := overlays(d.a), overlays(d.b)
	if added := minus(b, a); len(added) > 0 {
		d.add("overlays added", count(len(a), "overlay"), count(len(b), "overlay"),
			fmt.Sprintf("%s %s an overlay: what is written goes to a layer above, the folder below stays as it is", list(added), isAre(len(added))))
	}
	if gone := minus(a, b); len(gone) > 0 {
		d.add("overlays removed", count(len(a), "overlay"), count(len(b), "overlay"),
			fmt.Sprintf("%s %s no overlay any more", list(gone), isAre(len(gone))))
	}
}

// overlays returns the mount points of overlays.
func overlays(v *View) []string {
	var targets []string
	for _, m := range v.Mounts {
		if m.FSType == "overlay" {
			targets = append(targets, m.Target)
		}
	}
	sort.Strings(targets)
	return targets
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
		d.add(target, a, b, target+" is a folder of "+holder(d.b, target)+" instead of "+a)
	case mountA == nil:
		d.add(target, a, b, target+" is "+b+" where nothing was mounted")
	default:
		d.add(target, a, b, target+" is "+b+" instead of "+a)
	}
}

// holder returns in words the mount that a place without one of its own lies
// in: "the tmpfs at /".
func holder(v *View, target string) string {
	for target != "/" {
		target = target[:max(strings.LastIndexByte(target, '/'), 0)]
		if target == "" {
			target = "/"
		}
		if m := v.MountAt(target); m != nil {
			return "the " + m.FSType + " at " + target
		}
	}
	return "what lies at /"
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
	// A bind in one view where the other has an overlay is the step overlay's.
	told := append(overlays(d.a), overlays(d.b)...)
	ofA, ofB := ordinary(d.a, told), ordinary(d.b, told)
	a, b := targets(ofA), targets(ofB)
	if gone := minus(a, b); len(gone) > 0 {
		d.add("mounts removed", count(len(a), "mount"), count(len(b), "mount"),
			fmt.Sprintf("%s of the first view %s gone: %s", count(len(gone), "mount"), isAre(len(gone)), list(gone)))
	}
	if added := minus(b, a); len(added) > 0 {
		d.add("mounts added", count(len(a), "mount"), count(len(b), "mount"),
			fmt.Sprintf("%s %s new: %s", count(len(added), "mount"), isAre(len(added)), list(added)))
	}
	writableA, writableB := writable(ofA), writable(ofB)
	if writableA != writableB {
		d.add("writable mounts", fmt.Sprintf("%d of %d", writableA, len(ofA)), fmt.Sprintf("%d of %d", writableB, len(ofB)),
			fmt.Sprintf("beside those of /proc, /dev and overlays, %d of %s can be written instead of %d of %d",
				writableB, count(len(ofB), "mount"), writableA, len(ofA)))
	}
}

// ownFile returns the step because of which a process has a file of /etc of its
// own: its host's name, or what the network says of names. It is "" for other
// places.
func ownFile(target string) string {
	switch target {
	case "/etc/hostname":
		return "uts"
	case "/etc/hosts", "/etc/resolv.conf":
		return "net"
	}
	return ""
}

// files tells which files of /etc are the process's own as the step has it.
func (d *differ) files() {
	if !d.bothMounts() {
		return
	}
	own := func(v *View) []string {
		var names []string
		for i := range v.Mounts {
			if t := v.Mounts[i].Target; ownFile(t) == d.step {
				names = append(names, t)
			}
		}
		sort.Strings(names)
		return minus(names, nil)
	}
	a, b := own(d.a), own(d.b)
	if added := minus(b, a); len(added) > 0 {
		d.add("files of its own", list(a), list(b), fmt.Sprintf("%s %s mounted over the host's", list(added), isAre(len(added))))
	}
	if gone := minus(a, b); len(gone) > 0 {
		d.add("files of the host", list(a), list(b), fmt.Sprintf("nothing is mounted over %s any more", list(gone)))
	}
}

// ordinary returns the mounts that no step but root answers for, the topmost
// at each place: not those of /proc, /dev and overlays, nor the files of other
// steps, nor what lies at one of the places that are told already.
func ordinary(v *View, told []string) []*Mount {
	var mounts []*Mount
	for i := range v.Mounts {
		m := &v.Mounts[i]
		switch {
		case m.Target == "/", contains(told, m.Target), ownFile(m.Target) != "":
		case m.Target == "/proc", strings.HasPrefix(m.Target, "/proc/"):
		case m.Target == "/dev", strings.HasPrefix(m.Target, "/dev/"):
		case v.MountAt(m.Target) == m:
			mounts = append(mounts, m)
		}
	}
	return mounts
}

// targets returns the mount points in the order of their names.
func targets(mounts []*Mount) []string {
	names := make([]string, 0, len(mounts))
	for _, m := range mounts {
		names = append(names, m.Target)
	}
	sort.Strings(names)
	return names
}

func writable(mounts []*Mount) int {
	n := 0
	for _, m := range mounts {
		if !m.ReadOnly {
			n++
		}
	}
	return n
}
