package observe

import (
	"fmt"
	"strconv"
)

func (d *differ) rlimits() {
	if d.comparable("rlimits", "the list of limits") {
		inA := make(map[string]Rlimit, len(d.a.Rlimits))
		for _, l := range d.a.Rlimits {
			inA[l.Name] = l
		}
		for _, b := range d.b.Rlimits {
			a, ok := inA[b.Name]
			if !ok || a == b {
				continue
			}
			from, to := describeRlimit(a), describeRlimit(b)
			d.add(b.Name, from, to, limitSubject(b.Name)+" may be "+to+" instead of "+from)
		}
	}
	if d.comparable("oom_score_adj", "oom_score_adj") && d.a.OOMScoreAdj != d.b.OOMScoreAdj {
		when := "earlier"
		if d.b.OOMScoreAdj < d.a.OOMScoreAdj {
			when = "later"
		}
		d.add("oom_score_adj", strconv.Itoa(d.a.OOMScoreAdj), strconv.Itoa(d.b.OOMScoreAdj),
			fmt.Sprintf("when memory runs out the process is killed %s: oom_score_adj is %d instead of %d", when, d.b.OOMScoreAdj, d.a.OOMScoreAdj))
	}
}

// limitSubject says what a limit counts, RLIMIT_X itself for a rare one.
func limitSubject(name string) string {
	switch name {
	case "RLIMIT_CPU":
		return "the processor time"
	case "RLIMIT_FSIZE":
		return "a written file"
	case "RLIMIT_STACK":
		return "the stack"
	case "RLIMIT_CORE":
		return "a core dump"
	case "RLIMIT_NPROC":
		return "the number of processes"
	case "RLIMIT_NOFILE":
		return "the number of open files"
	case "RLIMIT_MEMLOCK":
		return "locked memory"
	case "RLIMIT_AS":
		return "the address space"
	case "RLIMIT_DATA":
		return "the data segment"
	}
	return name
}

// describeRlimit names the soft limit, and the hard one where it differs.
func describeRlimit(l Rlimit) string {
	value := func(n Limit) string {
		switch {
		case n == Unlimited:
			return "unlimited"
		case l.Unit == "bytes":
			return size(uint64(n))
		case l.Unit == "seconds" || l.Unit == "us":
			return n.String() + " " + l.Unit
		}
		return n.String()
	}
	if l.Soft == l.Hard {
		return value(l.Soft)
	}
	return value(l.Soft) + " (at most " + value(l.Hard) + ")"
}

func (d *differ) caps() {
	known := max(d.a.Capabilities.Known, d.b.Capabilities.Known)
	for _, set := range []struct {
		name string
		a, b []string
	}{
		{"permitted", d.a.Capabilities.Permitted, d.b.Capabilities.Permitted},
		{"effective", d.a.Capabilities.Effective, d.b.Capabilities.Effective},
		{"inheritable", d.a.Capabilities.Inheritable, d.b.Capabilities.Inheritable},
		{"ambient", d.a.Capabilities.Ambient, d.b.Capabilities.Ambient},
		{"bounding", d.a.Capabilities.Bounding, d.b.Capabilities.Bounding},
	} {
		gone, added := minus(set.a, set.b), minus(set.b, set.a)
		if len(gone) == 0 && len(added) == 0 {
			continue
		}
		a, b := describeCapabilities(set.a, known), describeCapabilities(set.b, known)
		var sentence string
		switch {
		case len(set.b) == 0:
			sentence = fmt.Sprintf("no %s capability is left of %d", set.name, len(set.a))
		case len(added) == 0:
			sentence = fmt.Sprintf("%d of %d %s capabilities %s left: %s", len(set.b), len(set.a), set.name, isAre(len(set.b)), list(set.b))
			if len(set.b) > len(gone) {
				sentence = fmt.Sprintf("%d of %d %s capabilities %s gone: %s", len(gone), len(set.a), set.name, isAre(len(gone)), list(gone))
			}
		case len(set.b) == known && len(set.a) == 0:
			sentence = fmt.Sprintf("all %d %s capabilities are there instead of none", known, set.name)
		case len(gone) == 0:
			sentence = fmt.Sprintf("%d %s capabilities are new: %s", len(added), set.name, list(added))
			if len(added) == 1 {
				sentence = "1 " + set.name + " capability is new: " + list(added)
			}
		default:
			sentence = fmt.Sprintf("of the %s capabilities %s %s gone and %s %s new", set.name, list(gone), isAre(len(gone)), list(added), isAre(len(added)))
		}
		d.add(set.name+" capabilities", a, b, sentence)
	}
}

func describeCapabilities(names []string, known int) string {
	switch {
	case len(names) == 0:
		return "none"
	case known > 0 && len(names) == known:
		return fmt.Sprintf("all %d", known)
	}
	return fmt.Sprintf("%d of %d", len(names), known)
}

func (d *differ) noNewPrivileges() {
	a, b := d.a.NoNewPrivileges, d.b.NoNewPrivileges
	if a == b {
		return
	}
	sentence := "no_new_privs is not set: a setuid program can raise the process's privileges"
	if b {
		sentence = "no_new_privs is set: no setuid program and no file capability can raise the process's privileges"
	}
	d.add("no_new_privs", yesNo(a), yesNo(b), sentence)
}

func (d *differ) landlock() {
	a, b := d.a.Landlock, d.b.Landlock
	if a.State == NotVisible || b.State == NotVisible {
		return // the kernel shows nothing of it, and nobody has said more
	}
	if a.State != b.State {
		sentence := "Landlock is " + b.State + " instead of " + a.State
		if len(b.Rules) > 0 {
			sentence += ", with " + count(len(b.Rules), "rule")
		}
		d.add("Landlock", a.State, b.State, sentence)
		return
	}
	if gone, added := minus(a.Rules, b.Rules), minus(b.Rules, a.Rules); len(gone)+len(added) > 0 {
		d.add("Landlock rules", count(len(a.Rules), "rule"), count(len(b.Rules), "rule"),
			"of the Landlock rules these are gone: "+list(gone)+"; these are new: "+list(added))
	}
}

func (d *differ) seccomp() {
	a, b := d.a.Seccomp, d.b.Seccomp
	if a == b {
		return
	}
	describe := func(s Seccomp) string {
		if s.Mode == "filter" && s.Filters >= 0 {
			return count(s.Filters, "filter")
		}
		return s.Mode
	}
	var sentence string
	switch {
	case b.Mode == "filter" && a.Mode == "disabled":
		sentence = "a seccomp filter judges every system call"
		if b.Filters > 1 {
			sentence = strconv.Itoa(b.Filters) + " seccomp filters judge every system call"
		}
	case b.Mode == "disabled":
		sentence = "no seccomp filter judges the system calls: every one is allowed"
	default:
		sentence = "seccomp: " + describe(b) + " instead of " + describe(a)
	}
	d.add("seccomp", describe(a), describe(b), sentence)
}
