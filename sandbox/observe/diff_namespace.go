package observe

import (
	"fmt"
	"sort"
	"strconv"
	"strings"
)

func (d *differ) uts() {
	d.namespace("uts", "UTS", "it can be given a hostname that the host does not take over")
	// Another namespace's name is never readable from outside, which the
	// sentence above has as good as said.
	if d.a.Hostname != "" && d.b.Hostname != "" && d.a.Hostname != d.b.Hostname {
		d.add("hostname", d.a.Hostname, d.b.Hostname, "the hostname is "+d.b.Hostname+" instead of "+d.a.Hostname)
	}
	d.files()
}

func (d *differ) ipc() {
	d.namespace("ipc", "IPC", "System V queues, semaphores and shared memory of the host are out of reach")
}

func (d *differ) net() {
	d.namespace("net", "network", "it has interfaces, ports and abstract sockets of its own")
	if d.comparable("interfaces", "the list of network interfaces") {
		a, b := interfaceNames(d.a), interfaceNames(d.b)
		if len(minus(a, b))+len(minus(b, a)) > 0 {
			d.add("interfaces", list(a), list(b), fmt.Sprintf("the process has %s (%s) instead of %d (%s)",
				count(len(b), "network interface"), list(b), len(a), list(a)))
		}
	}
	if d.comparable("addresses", "the list of addresses") {
		a, b := allAddresses(d.a), allAddresses(d.b)
		if len(minus(a, b))+len(minus(b, a)) > 0 {
			sentence := fmt.Sprintf("the network addresses are %s instead of %s", list(b), list(a))
			if len(b) == 0 {
				sentence = fmt.Sprintf("the process has no network address, not even 127.0.0.1, instead of %s", list(a))
			}
			d.add("addresses", list(a), list(b), sentence)
		}
	}
	d.files()
}

func interfaceNames(v *View) []string {
	names := make([]string, 0, len(v.Interfaces))
	for _, i := range v.Interfaces {
		names = append(names, i.Name)
	}
	sort.Strings(names)
	return names
}

func allAddresses(v *View) []string {
	var addresses []string
	for _, i := range v.Interfaces {
		addresses = append(addresses, i.Addresses...)
	}
	addresses = append(addresses, v.Addresses...)
	sort.Strings(addresses)
	return addresses
}

func (d *differ) cgroup() {
	d.namespace("cgroup", "cgroup", "its own cgroup looks like the root of the tree")
	if !d.comparable("cgroups", "the cgroup paths") {
		return
	}
	inA := make(map[string]string, len(d.a.Cgroups))
	for i := range d.a.Cgroups {
		inA[d.a.Cgroups[i].name()] = d.a.Cgroups[i].Path
	}
	var differ []string
	for i := range d.b.Cgroups {
		name, path := d.b.Cgroups[i].name(), d.b.Cgroups[i].Path
		if before, ok := inA[name]; ok && before != path {
			differ = append(differ, fmt.Sprintf("%s is %s instead of %s", name, path, before))
		}
	}
	if len(differ) == 0 {
		return
	}
	sort.Strings(differ)
	sentence := "the process is in another cgroup: " + differ[0]
	if len(differ) > 1 {
		sentence += " (and " + strconv.Itoa(len(differ)-1) + " more)"
	}
	d.add("cgroup", cgroupPaths(d.a), cgroupPaths(d.b), sentence)
}

func cgroupPaths(v *View) string {
	var paths []string
	for _, c := range v.Cgroups {
		paths = append(paths, c.Path)
	}
	sort.Strings(paths)
	return list(minus(paths, nil))
}

func (d *differ) time() {
	d.namespace("time", "time", "its boot time and monotonic clocks can be set apart from the host's")
	// A kernel without time namespaces has no such file, and its processes all
	// have the host's clocks.
	if d.a.unread("time_offsets") != nil || d.b.unread("time_offsets") != nil {
		return
	}
	if a, b := describeOffsets(d.a.TimeOffsets), describeOffsets(d.b.TimeOffsets); a != b {
		d.add("clocks", a, b, "the clocks of the process: "+b+"; instead of: "+a)
	}
}

func describeOffsets(offsets []TimeOffset) string {
	var parts []string
	for _, o := range offsets {
		if o.Seconds == 0 && o.Nanoseconds == 0 {
			continue
		}
		// A negative offset is stored as seconds rounded down and a positive
		// rest (time_namespaces(7)).
		way, seconds, nanoseconds := "ahead of", o.Seconds, o.Nanoseconds
		if seconds < 0 {
			way, seconds, nanoseconds = "behind", -seconds, -nanoseconds
			if nanoseconds < 0 {
				seconds, nanoseconds = seconds-1, nanoseconds+1e9
			}
		}
		text := strconv.FormatInt(seconds, 10)
		if nanoseconds != 0 {
			text += strings.TrimRight(fmt.Sprintf(".%09d", nanoseconds), "0")
		}
		parts = append(parts, fmt.Sprintf("%s %s s %s the host's", o.Clock, text, way))
	}
	if len(parts) == 0 {
		return "the host's"
	}
	return strings.Join(parts, ", ")
}
