package observe

// Change is one difference between two views, told for a student.
type Change struct {
	Step     string `json:"step"`     // the isolation step that it belongs to, such as uts
	Subject  string `json:"subject"`  // what differs, such as hostname
	A        string `json:"a"`        // the first view's value, in a few words
	B        string `json:"b"`        // the second view's value
	Sentence string `json:"sentence"` // the difference as a sentence without a full stop
}

// Diff returns what differs from a to b, in the order of the isolation steps
// and within a step in a fixed order. Two looks at one process that did
// nothing in between give no change.
//
// Numbers that are new in every process are no change: PIDs, start times,
// session ids, inodes of pipes, sockets and peer groups. Namespaces are
// compared by whether each process shared the observer's: two processes in two
// namespaces of their own are equally isolated. The command, its folder of
// /proc and the counters of the network are not compared.
//
// A part that only one of the two views has is a change whose sentence says
// that it cannot be compared. Strings that a process chose are escaped, and
// values of environment variables are never told.
func Diff(a, b *View) []Change {
	d := &differ{a: a, b: b, changes: []Change{}}
	for _, s := range diffSteps {
		d.step = s.name
		s.compare(d)
	}
	return d.changes
}

// diffSteps has the isolation steps in the order of a plan.
var diffSteps = [...]struct {
	name    string
	compare func(*differ)
}{
	{"env", (*differ).environment},
	{"fds", (*differ).descriptors},
	{"user", (*differ).user},
	{"mount", (*differ).mount},
	{"pid", (*differ).pid},
	{"uts", (*differ).uts},
	{"ipc", (*differ).ipc},
	{"net", (*differ).net},
	{"cgroup", (*differ).cgroup},
	{"time", (*differ).time},
	{"overlay", (*differ).overlay},
	{"proc", (*differ).proc},
	{"dev", (*differ).dev},
	{"root", (*differ).root},
	{"session", (*differ).session},
	{"rlimits", (*differ).rlimits},
	{"caps", (*differ).caps},
	{"nnp", (*differ).noNewPrivileges},
	{"landlock", (*differ).landlock},
	{"seccomp", (*differ).seccomp},
}

// A differ collects the changes of one Diff.
type differ struct {
	a, b    *View
	step    string
	changes []Change
}

func (d *differ) add(subject, a, b, sentence string) {
	d.changes = append(d.changes, Change{
		Step: d.step, Subject: subject,
		A: printable(a), B: printable(b), Sentence: printable(sentence),
	})
}

// comparable says whether both views have a part. When only one has, that is
// told; what names the part in the sentence.
func (d *differ) comparable(part, what string) bool {
	inA, inB := d.a.unread(part), d.b.unread(part)
	switch {
	case inA == nil && inB == nil:
		return true
	case inA != nil && inB == nil:
		d.add(part, "not readable", "readable", what+" cannot be compared: the first look could not read it ("+inA.Reason+")")
	case inA == nil && inB != nil:
		d.add(part, "readable", "not readable", what+" cannot be compared: the second look could not read it ("+inB.Reason+")")
	}
	return false
}

// namespace compares one namespace by whether it is the observer's. The
// sentence for an own one ends in what that means.
func (d *differ) namespace(kind, name, means string) {
	if !d.comparable("namespaces."+kind, "the "+name+" namespace") {
		return
	}
	inA, okA := d.a.Namespace(kind)
	inB, okB := d.b.Namespace(kind)
	if !okA || !okB || inA.Shared == inB.Shared {
		return
	}
	const shared, own = "the caller's", "its own"
	article := "a "
	if name == "IPC" {
		article = "an "
	}
	if inB.Shared {
		d.add(name+" namespace", own, shared, "the process is in the caller's "+name+" namespace, not in one of its own")
		return
	}
	d.add(name+" namespace", shared, own, "the process is in "+article+name+" namespace of its own: "+means)
}
