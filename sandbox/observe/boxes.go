package observe

import (
	"slices"
	"strconv"
	"strings"
)

// Box is one box of the drawing of how a process is isolated: the host, a
// namespace that it does not share with the reference, or the process with what
// guards it. Boxes lie in one another as namespaces do: what a namespace may do
// is decided by the user namespace that owns it, so the others lie within that
// one (user_namespaces(7), pid_namespaces(7)).
type Box struct {
	Kind   string   `json:"kind"`   // host, a kind of namespace, or process
	Inode  uint64   `json:"inode"`  // of the namespace; 0 for host and process
	Title  string   `json:"title"`  // a few words
	Facts  []string `json:"facts"`  // what is so in it, a short line each
	Guards []Guard  `json:"guards"` // of a process: in the order of the steps
	Inside []Box    `json:"inside"`
}

// Guard is one measure that needs no namespace.
type Guard struct {
	Step string `json:"step"`
	On   bool   `json:"on"`
	Text string `json:"text"`
}

// maxDrawn is how many processes are drawn by name.
const maxDrawn = 6

// boxTitles are the namespaces in the order in which they are drawn within their
// owner, outermost first, and how they are called.
var boxTitles = [...]struct{ kind, title string }{
	{"mnt", "mount namespace"},
	{"pid", "PID namespace"},
	{"uts", "UTS namespace"},
	{"ipc", "IPC namespace"},
	{"net", "network namespace"},
	{"cgroup", "cgroup namespace"},
	{"time", "time namespace"},
}

// Boxes is the drawing of a process against a reference: the observer's own
// view, which stands for the host. Strings that the process chose are escaped.
func (v *View) Boxes(reference *View) Box {
	host := Box{Kind: "host", Title: "host", Facts: []string{}, Guards: []Guard{}, Inside: []Box{}}
	if reference.Hostname != "" {
		host.Title = "host " + printable(reference.Hostname)
	}
	var shared []string
	own := map[string]Namespace{}
	for _, n := range v.Namespaces {
		other, ok := reference.Namespace(n.Kind)
		switch {
		case n.Kind == "pid_for_children":
		case ok && other.Inode == n.Inode:
			shared = append(shared, n.Kind)
		default:
			own[n.Kind] = n
		}
	}
	if len(shared) > 0 {
		host.Facts = append(host.Facts, "shared with the process: "+strings.Join(shared, ", "))
	} else {
		host.Facts = append(host.Facts, "no namespace is shared with the process")
	}
	chain := v.levels(own, reference)
	boxes := []Box{host}
	for i, level := range chain {
		if level != 0 {
			b := namespaceBox("user", "user namespace", level)
			if n := own["user"]; n.Inode == level {
				b.Facts = v.facts("user")
			}
			boxes = append(boxes, b)
		}
		for _, t := range boxTitles {
			n, ok := own[t.kind]
			if t.kind == "pid" && ok {
				boxes = append(boxes, outerPIDs(n, reference, i, len(chain))...)
			}
			if ok && v.levelOf(n, chain) == i {
				b := namespaceBox(t.kind, t.title, n.Inode)
				b.Facts = v.facts(t.kind)
				boxes = append(boxes, b)
			}
		}
	}
	boxes = append(boxes, v.processBox())
	for i := len(boxes) - 1; i > 0; i-- { // each into the one before
		boxes[i-1].Inside = append(boxes[i-1].Inside, boxes[i])
	}
	return boxes[0]
}

func namespaceBox(kind, title string, inode uint64) Box {
	return Box{Kind: kind, Inode: inode, Title: title, Facts: []string{}, Guards: []Guard{}, Inside: []Box{}}
}

// levels are the user namespaces from the reference's, which is 0, down to that
// of the process.
func (v *View) levels(own map[string]Namespace, reference *View) []uint64 {
	n, ok := own["user"]
	if !ok {
		return []uint64{0}
	}
	chain := []uint64{n.Inode}
	host, _ := reference.Namespace("user")
	for _, p := range n.Parents {
		if p == host.Inode || slices.Contains(host.Parents, p) {
			break
		}
		chain = append(chain, p)
	}
	chain = append(chain, 0)
	slices.Reverse(chain)
	return chain
}

// levelOf is the level whose user namespace owns a namespace; where the kernel
// does not tell, the innermost.
func (v *View) levelOf(n Namespace, chain []uint64) int {
	if n.Owner == 0 {
		return len(chain) - 1
	}
	return max(slices.Index(chain, n.Owner), 0)
}

// outerPIDs are PID namespaces between that of the process and the reference's:
// a sandbox in a sandbox. One is drawn on each level, but not on the innermost.
func outerPIDs(n Namespace, reference *View, level, levels int) []Box {
	host, _ := reference.Namespace("pid")
	var between []uint64
	for _, p := range n.Parents {
		if p == host.Inode || slices.Contains(host.Parents, p) {
			break
		}
		between = append([]uint64{p}, between...)
	}
	if level == 0 || level == levels-1 || level > len(between) {
		return nil
	}
	return []Box{namespaceBox("pid", "PID namespace", between[level-1])}
}

// facts is what is worth knowing of one of the process' own namespaces.
func (v *View) facts(kind string) []string {
	switch kind {
	case "user":
		if len(v.UIDMap) == 0 {
			return []string{"no id is mapped: uid " + strconv.Itoa(int(v.UID.Inside)) + " inside"}
		}
		m := v.UIDMap[0]
		text := "uid " + strconv.Itoa(int(m.Inside)) + " inside is " + strconv.Itoa(int(m.Outside)) + " outside"
		if len(v.UIDMap) > 1 || m.Count > 1 {
			text += ", and more"
		}
		return []string{text}
	case "mnt":
		overlays := 0
		for _, m := range v.Mounts {
			if m.FSType == "overlay" {
				overlays++
			}
		}
		text := count(len(v.Mounts), "mount")
		if overlays > 0 {
			text += ", " + count(overlays, "overlay") + ": copy on write"
		}
		return []string{text}
	case "pid":
		return []string{"CMD is process " + strconv.Itoa(v.InsidePID()) + " inside, " + strconv.Itoa(v.PID) + " outside"}
	case "uts":
		if v.Hostname == "" {
			return []string{"a name of its own"}
		}
		return []string{"its name is " + printable(v.Hostname)}
	case "ipc":
		return []string{"queues and shared memory of its own"}
	case "net":
		names := make([]string, 0, len(v.Interfaces))
		for _, i := range v.Interfaces {
			names = append(names, printable(i.Name))
		}
		if len(names) == 0 {
			return []string{"no interface"}
		}
		return []string{"interfaces: " + strings.Join(names, ", ")}
	case "cgroup":
		return []string{"its cgroup looks like the root"}
	case "time":
		for _, o := range v.TimeOffsets {
			if o.Clock == "boottime" {
				return []string{"the boot clock is " + strconv.FormatInt(o.Seconds, 10) + " s ahead"}
			}
		}
	}
	return []string{}
}

// processBox is the innermost box: what the process sees of others, and what
// guards it.
func (v *View) processBox() Box {
	b := Box{Kind: "process", Title: printable(cutText(commandLine(v), 48)), Facts: []string{}, Guards: v.guards(), Inside: []Box{}}
	n, known := v.Namespace("pid")
	switch {
	case len(v.Processes) == 0:
		b.Facts = append(b.Facts, "it has no /proc, and sees no process")
	case known && n.Shared || len(v.Processes) > maxDrawn:
		b.Facts = append(b.Facts, "it sees "+count(len(v.Processes), "process"))
	default:
		names := make([]string, 0, len(v.Processes))
		for _, p := range v.Processes {
			names = append(names, strconv.Itoa(p.PID)+" "+printable(p.Comm))
		}
		b.Facts = append(b.Facts, "it sees: "+strings.Join(names, ", "))
	}
	return b
}

func (v *View) guards() []Guard {
	caps := Guard{Step: "caps", On: len(v.Capabilities.Effective) == 0, Text: "no capabilities"}
	if n := len(v.Capabilities.Effective); n > 0 {
		caps.Text = count(n, "capability")
	}
	nnp := Guard{Step: "nnp", On: v.NoNewPrivileges, Text: "no_new_privs"}
	if !nnp.On {
		nnp.Text = "may gain privileges"
	}
	guards := []Guard{caps, nnp}
	switch v.Landlock.State { // what is not visible is not drawn
	case "enforced":
		guards = append(guards, Guard{Step: "landlock", On: true, Text: "Landlock"})
	case "none":
		guards = append(guards, Guard{Step: "landlock", Text: "no Landlock"})
	}
	filter := Guard{Step: "seccomp", On: v.Seccomp.Mode == "filter", Text: "seccomp filter"}
	if !filter.On {
		filter.Text = "no seccomp filter"
	}
	return append(guards, filter)
}

// cutText is text of at most n characters.
func cutText(text string, n int) string {
	if runes := []rune(text); len(runes) > n {
		return string(runes[:n-1]) + "…"
	}
	return text
}
