package observe

import (
	"fmt"
	"io"
	"strconv"
	"strings"
)

// WriteOptions says how [View.Write] draws. The zero value draws 80 columns
// without colour.
type WriteOptions struct {
	Width int  // columns; 0 means 80, less than 40 counts as 40
	Color bool // use ANSI colours; the caller has looked at NO_COLOR and whether w is a terminal
	// Reference is a view of another process, such as the caller's own. When
	// set, each namespace is marked as the same as there or as another one;
	// else it is marked by whether the observer shared it.
	Reference *View
}

// Write draws the view as an aligned table in sections: process, namespaces,
// id maps, privileges, limits, cgroups, mounts, network, processes, files and
// environment, then what could not be read. No line is wider than asked for,
// as long as each character is one column wide. What is cut has a … in it.
//
// Strings that the process chose are escaped, and of the environment only the
// names are written.
func (v *View) Write(w io.Writer, opt WriteOptions) error {
	p := &page{width: opt.Width, color: opt.Color}
	if p.width == 0 {
		p.width = 80
	}
	p.width = max(p.width, 40)
	v.writeProcess(p)
	v.writeNamespaces(p, opt.Reference)
	v.writeMaps(p)
	v.writePrivileges(p)
	v.writeLimits(p)
	v.writeMounts(p)
	v.writeNetwork(p)
	v.writeProcesses(p)
	v.writeFiles(p)
	v.writeUnreadable(p)
	_, err := io.WriteString(w, p.text.String())
	return err
}

func (v *View) writeProcess(p *page) {
	p.heading("process")
	pid := strconv.Itoa(v.PID)
	if len(v.NStgid) > 1 {
		pid += ", inside " + strconv.Itoa(v.InsidePID())
	}
	p.row("pid", pid)
	p.row("command", commandLine(v))
	p.row("executable", v.Exe)
	p.row("state", stateName(v.State))
	p.row("uid", credentialText(v.UID))
	p.row("gid", credentialText(v.GID))
	if len(v.Groups) > 0 {
		words := make([]string, len(v.Groups))
		for i, g := range v.Groups {
			words[i] = strconv.FormatUint(uint64(g), 10)
		}
		p.row("groups", strings.Join(words, " "))
	}
	p.row("root", v.Root)
	p.row("folder", v.Cwd)
	if v.Hostname != "" {
		p.row("hostname", v.Hostname)
	}
	if v.unread("session") == nil {
		s := v.Session
		text := strconv.Itoa(s.ID)
		if s.ID == 0 {
			text = "began outside"
		}
		if s.Leader {
			text += ", led by it"
		}
		if s.TTY != "" {
			text += ", terminal " + s.TTY
		} else {
			text += ", no terminal"
		}
		p.styled("session", text, mark(!s.Shared))
	}
}

func commandLine(v *View) string {
	if v.unread("command") == nil && len(v.Command) == 0 {
		return "[" + v.Comm + "]" // as ps(1) writes a process without arguments
	}
	words := make([]string, len(v.Command))
	for i, word := range v.Command {
		if word == "" || strings.ContainsAny(word, " \t\n'\"\\$") {
			word = strconv.Quote(word)
		}
		words[i] = word
	}
	return strings.Join(words, " ")
}

func stateName(letter string) string {
	names := [...]struct{ letter, name string }{
		{"R", "running"},
		{"S", "sleeping"},
		{"D", "in uninterruptible sleep"},
		{"T", "stopped"},
		{"t", "stopped by a tracer"},
		{"Z", "zombie: ended, not yet waited for"},
		{"X", "dead"},
		{"I", "idle kernel thread"},
	}
	for _, n := range names {
		if n.letter == letter {
			return letter + " (" + n.name + ")"
		}
	}
	return letter
}

func credentialText(c Credential) string {
	text := strconv.FormatUint(uint64(c.Effective), 10)
	if c.Real != c.Effective || c.Saved != c.Effective {
		text += fmt.Sprintf(" (real %d, saved %d)", c.Real, c.Saved)
	}
	if c.Inside != c.Effective {
		text += ", inside " + strconv.FormatUint(uint64(c.Inside), 10)
	}
	return text
}

func (v *View) writeNamespaces(p *page, reference *View) {
	p.heading("namespaces")
	for _, n := range v.Namespaces {
		own, text := !n.Shared, "the observer's"
		if own {
			text = "its own"
		}
		if reference != nil {
			other, ok := reference.Namespace(n.Kind)
			if own = !ok || other.Inode != n.Inode; own {
				text = "* differs"
			} else {
				text = "same"
			}
		}
		p.styled(n.Kind, fmt.Sprintf("%-12d%s", n.Inode, text), mark(own))
	}
	if v.unread("time_offsets") == nil {
		if text := describeOffsets(v.TimeOffsets); text != "the host's" {
			p.row("clocks", text)
		}
	}
}

func (v *View) writeMaps(p *page) {
	p.heading("id maps")
	p.row("uid", describeMap(v.UIDMap))
	p.row("gid", describeMap(v.GIDMap))
	p.row("setgroups", v.Setgroups)
}

func (v *View) writePrivileges(p *page) {
	p.heading("privileges")
	c := &v.Capabilities
	for _, set := range []struct {
		name  string
		names []string
	}{
		{"effective", c.Effective},
		{"permitted", c.Permitted},
		{"inheritable", c.Inheritable},
		{"bounding", c.Bounding},
		{"ambient", c.Ambient},
	} {
		p.styled(set.name, capabilityText(set.names, c.Known), mark(len(set.names) == 0))
	}
	p.styled("no_new_privs", yesNo(v.NoNewPrivileges), mark(v.NoNewPrivileges))
	text := v.Seccomp.Mode
	if v.Seccomp.Mode == "filter" && v.Seccomp.Filters >= 0 {
		text = count(v.Seccomp.Filters, "filter")
	}
	p.styled("seccomp", text, mark(v.Seccomp.Mode == "filter" || v.Seccomp.Mode == "strict"))
	text = v.Landlock.State
	if v.Landlock.ABI > 0 {
		text += ", ABI " + strconv.Itoa(v.Landlock.ABI)
	}
	p.row("landlock", text)
	for _, rule := range v.Landlock.Rules {
		p.row("", rule)
	}
}

// capabilityText spells out the shorter half of a set.
func capabilityText(names []string, known int) string {
	text := describeCapabilities(names, known)
	if len(names) == 0 || len(names) == known {
		return text
	}
	if len(names)*2 > known {
		all := CapabilityNames(1<<known - 1)
		return text + ", without " + shortNames(minus(all, names))
	}
	return text + ": " + shortNames(names)
}

// shortNames drops the CAP_ that --cap-add does not ask for either.
func shortNames(names []string) string {
	short := make([]string, len(names))
	for i, name := range names {
		short[i] = strings.TrimPrefix(name, "CAP_")
	}
	return strings.Join(short, " ")
}

func (v *View) writeLimits(p *page) {
	p.heading("limits")
	rows := make([][]string, 0, len(v.Rlimits))
	for _, l := range v.Rlimits {
		name := strings.ToLower(strings.TrimPrefix(l.Name, "RLIMIT_"))
		rows = append(rows, []string{name, l.Soft.String(), l.Hard.String(), l.Unit})
	}
	p.table([]string{"NAME", "SOFT", "HARD", "UNIT"}, rows)
	p.heading("memory and cgroups")
	p.row("oom_score_adj", strconv.Itoa(v.OOMScoreAdj))
	// Hierarchies with one path share a row: v1 has a dozen, mostly at one.
	var paths []string
	at := map[string][]string{}
	for i := range v.Cgroups {
		c := &v.Cgroups[i]
		if at[c.Path] == nil {
			paths = append(paths, c.Path)
		}
		at[c.Path] = append(at[c.Path], c.name())
	}
	for i, path := range paths {
		label := ""
		if i == 0 {
			label = "cgroup"
		}
		p.row(label, path+" ("+strings.Join(at[path], " ")+")")
	}
}

func (v *View) writeMounts(p *page) {
	p.heading("mounts")
	rows := make([][]string, 0, len(v.Mounts))
	for i := range v.Mounts {
		m := &v.Mounts[i]
		rows = append(rows, []string{m.Target, m.FSType, mountFlags(m), mountSource(m)})
	}
	p.table([]string{"TARGET", "TYPE", "FLAGS", "SOURCE"}, rows)
}

// mountFlags names what restricts a mount, which atime options do not, and a
// propagation that is not private.
func mountFlags(m *Mount) string {
	flags := []string{"rw"}
	if m.ReadOnly {
		flags[0] = "ro"
	}
	for _, flag := range []string{"nosuid", "nodev", "noexec"} {
		if contains(m.Options, flag) {
			flags = append(flags, flag)
		}
	}
	if p := m.PropagationType(); p != "private" {
		flags = append(flags, p)
	}
	return strings.Join(flags, ",")
}

func mountSource(m *Mount) string {
	if o := m.Overlay; o != nil {
		text := strings.Join(o.Lower, " ")
		if o.Upper != "" {
			text += " + " + o.Upper
		}
		return text
	}
	if m.Root != "/" {
		return m.Source + "[" + m.Root + "]" // as findmnt(8) writes a bind of a part
	}
	return m.Source
}

func (v *View) writeNetwork(p *page) {
	p.heading("network")
	for _, i := range v.Interfaces {
		text := "no address"
		if len(i.Addresses) > 0 {
			text = strings.Join(i.Addresses, " ")
		}
		p.row(i.Name, text+fmt.Sprintf(" (received %d, sent %d bytes)", i.RxBytes, i.TxBytes))
	}
	if v.Interfaces != nil && len(v.Interfaces) == 0 {
		p.row("interfaces", "none")
	}
	if len(v.Addresses) > 0 {
		p.row("other", strings.Join(v.Addresses, " "))
	}
}

// shownProcesses is how many processes a table spells out.
const shownProcesses = 16

func (v *View) writeProcesses(p *page) {
	p.heading("visible processes")
	var words []string
	for i, process := range v.Processes {
		if i == shownProcesses {
			words = append(words, "and "+strconv.Itoa(len(v.Processes)-i)+" more")
			break
		}
		words = append(words, strings.TrimSpace(strconv.Itoa(process.PID)+" "+process.Comm))
	}
	if v.Processes != nil {
		p.row(strconv.Itoa(len(v.Processes)), strings.Join(words, ", "))
	}
}

func (v *View) writeFiles(p *page) {
	p.heading("open files")
	rows := make([][]string, 0, len(v.FDs))
	for _, f := range v.FDs {
		flags := make([]string, len(f.Flags))
		for i, flag := range f.Flags {
			flags[i] = strings.ToLower(strings.TrimPrefix(flag, "O_"))
		}
		rows = append(rows, []string{strconv.Itoa(f.FD), f.Access, f.Target, strings.Join(flags, ",")})
	}
	p.table([]string{"FD", "ACCESS", "TARGET", "FLAGS"}, rows)
	p.heading("environment")
	names := make([]string, len(v.Environment))
	for i, e := range v.Environment {
		names[i] = e.Name
	}
	if v.Environment != nil {
		p.row(strconv.Itoa(len(names)), strings.Join(names, " "))
	}
}

func (v *View) writeUnreadable(p *page) {
	if len(v.Unreadable) == 0 {
		return
	}
	p.heading("not readable")
	for _, u := range v.Unreadable {
		p.styled(strings.TrimPrefix(u.Part, "namespaces."), u.Reason+" ("+u.Path+")", styleMissing)
	}
}
