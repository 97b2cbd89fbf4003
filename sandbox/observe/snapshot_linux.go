package observe

import (
	"bytes"
	"errors"
	"io"
	"strconv"

	"github.com/sbx-dev/sbx/sandbox/capability"
	"golang.org/x/sys/unix"
)

// Snapshot looks at a process through /proc. A pid of 0 means the caller.
//
// It returns an error only when there is no such process (the errno is ENOENT
// or ESRCH, also when the process ends and is reaped during the look) or when
// /proc is not usable at all. Any other part that cannot be read is listed in
// [View.Unreadable]. A zombie gives a view with little in it.
//
// The process is held by one descriptor of its /proc folder, so the parts are
// never of two processes that had the same PID. They are not of one moment
// either: to see a still picture, stop the process first. A multi-threaded
// process is seen as its main thread.
//
// A look takes about a millisecond. Two of its reads, the command line and the
// environment, fetch the memory of the process itself: one that serves its own
// pages through FUSE or userfaultfd(2) can delay them without end. The default
// filter of a sandbox refuses both; an observer of a process without a filter
// that must never hang calls Snapshot in a goroutine of its own.
func Snapshot(pid int) (*View, error) {
	d, err := openProcess(pid)
	if err != nil {
		return nil, err
	}
	defer d.close()

	l := &look{procDir: d, view: &View{Version: Version, Unreadable: []Unread{}}}
	if err := l.identity(); err != nil {
		return nil, err
	}
	l.names()
	l.namespaces()
	l.maps()
	l.mounts()
	l.limits()
	l.network()
	l.processes()
	l.descriptors()
	if l.vanished {
		if _, err := d.read("stat", statusSize); err != nil {
			return nil, err
		}
	}
	return l.view, nil
}

// Self looks at the calling process. Its main thread is what is seen: what a
// goroutine has unshared for its own thread is not. A Go program has raised its
// own soft RLIMIT_NOFILE by the time it can call this; its children get the
// original one back.
func Self() (*View, error) { return Snapshot(0) }

// OutNoRoutes returns how many packets the network namespace of a process
// could not send because no route led to their address, IPv4 and IPv6
// together, since the namespace was made. In a namespace without a network it
// rises with each attempt to use one. A pid of 0 means the caller.
func OutNoRoutes(pid int) (int64, error) {
	d, err := openProcess(pid)
	if err != nil {
		return 0, err
	}
	defer d.close()
	text, err := d.read("net/snmp", networkSize)
	if err != nil {
		return 0, err
	}
	count, err := ParseSNMP(bytes.NewReader(text), "Ip", "OutNoRoutes")
	if err != nil {
		return 0, err
	}
	text, err = d.read("net/snmp6", networkSize)
	if errors.Is(err, unix.ENOENT) {
		return count, nil // a kernel without IPv6
	}
	if err != nil {
		return 0, err
	}
	count6, err := ParseSNMP6(bytes.NewReader(text), "Ip6OutNoRoutes")
	return count + count6, err
}

// The most that is read of each kind of file, in bytes. What is longer is cut
// and listed as unreadable, so that no process can make its observer grow.
const (
	statusSize      = 64 << 10
	commandSize     = 256 << 10
	environmentSize = 4 << 20
	mountinfoSize   = 32 << 20 // 100,000 mounts, the default fs.mount-max
	networkSize     = 1 << 20
)

// A look is the work of one Snapshot.
type look struct {
	*procDir
	view     *View
	status   Status
	vanished bool // some read said that there is no such file or process
}

// miss records that a part could not be read.
func (l *look) miss(part string, err error) {
	if errors.Is(err, unix.ESRCH) || errors.Is(err, unix.ENOENT) {
		l.vanished = true
	}
	path, reason := reasonOf(err)
	l.view.Unreadable = append(l.view.Unreadable, Unread{Part: part, Path: path, Reason: reason})
}

// parse reads a file and gives it to a parser of this package. What was parsed
// before an error is kept, beside the note in Unreadable.
func parse[T any](l *look, part, file string, size int, into *T, parser func(io.Reader) (T, error)) {
	text, err := l.read(file, size)
	if err != nil && text == nil {
		l.miss(part, err)
		return
	}
	value, parseErr := parser(bytes.NewReader(text))
	*into = value
	if err == nil && parseErr != nil {
		err = &pathReason{path: l.path + "/" + file, reason: parseErr.Error()}
	}
	if err != nil {
		l.miss(part, err)
	}
}

// identity reads who the process is, and is the only part that fails as a
// whole: a process without a readable status is no process.
func (l *look) identity() error {
	v := l.view
	text, err := l.read("status", statusSize)
	if err != nil {
		return err
	}
	s, err := ParseStatus(bytes.NewReader(text))
	if err != nil {
		return err
	}
	l.status = s
	v.PID, v.NStgid, v.State, v.Comm = s.TGID, s.NStgid, s.State, s.Name
	v.UID, v.GID, v.Groups = credential(s.UID), credential(s.GID), s.Groups
	v.Capabilities = Capabilities{
		Inheritable: CapabilityNames(s.CapInh), Permitted: CapabilityNames(s.CapPrm),
		Effective: CapabilityNames(s.CapEff), Bounding: CapabilityNames(s.CapBnd),
		Ambient: CapabilityNames(s.CapAmb),
		Known:   capability.Last() + 1,
	}
	v.NoNewPrivileges = s.NoNewPrivs
	v.Seccomp = Seccomp{Mode: seccompMode(s.Seccomp), Filters: s.SeccompFilters}
	v.Landlock = Landlock{State: NotVisible, Rules: []string{}}

	var stat Stat
	parse(l, "session", "stat", maxStat, &stat, ParseStat)
	v.StartTime = stat.StartTime
	v.Session = Session{
		ID: stat.Session, Group: stat.Group, TTY: TTYName(stat.TTY),
		Leader: lastIs(s.NSsid, v.InsidePID()) || stat.Session == v.PID,
	}
	// Both read 0 for a session that began outside the observer's PID namespace,
	// as in a container. Two such sessions cannot be told apart: they count as one,
	// since a process that is called apart must be known to be.
	if own, err := unix.Getsid(0); err == nil {
		v.Session.Shared = own == stat.Session
	}
	return nil
}

// lastIs says whether the last number of a list is n, and not 0.
func lastIs(list []int, n int) bool {
	return n != 0 && len(list) > 0 && list[len(list)-1] == n
}

func credential(ids [4]uint32) Credential {
	return Credential{Real: ids[0], Effective: ids[1], Saved: ids[2], Filesystem: ids[3], Inside: ids[1]}
}

func seccompMode(n int) string {
	switch n {
	case 0:
		return "disabled"
	case 1:
		return "strict"
	case 2:
		return "filter"
	case -1:
		return "unknown"
	}
	return strconv.Itoa(n)
}

// names reads what is a word, a list of words or a link.
func (l *look) names() {
	v := l.view
	if text, err := l.read("cmdline", commandSize); err != nil {
		l.miss("command", err)
	} else {
		v.Command = splitZero(text)
	}
	for _, link := range []struct {
		name string
		into *string
	}{{"exe", &v.Exe}, {"root", &v.Root}, {"cwd", &v.Cwd}} {
		var err error
		if *link.into, err = l.readlink(link.name); err != nil {
			l.miss(link.name, err)
		}
	}
	if text, err := l.read("environ", environmentSize); err != nil {
		l.miss("environment", err)
	} else {
		words := splitZero(text)
		v.Environment = make([]Variable, 0, len(words))
		for _, word := range words {
			v.Environment = append(v.Environment, splitVariable(word))
		}
	}
	if text, err := l.read("oom_score_adj", statusSize); err != nil {
		l.miss("oom_score_adj", err)
	} else if v.OOMScoreAdj, err = strconv.Atoi(string(bytes.TrimSpace(text))); err != nil {
		l.miss("oom_score_adj", &pathReason{path: l.path + "/oom_score_adj", reason: err.Error()})
	}
}

// splitZero splits what ends in, or is separated by, zero bytes. A process may
// overwrite its arguments, so the last one need not end in one.
func splitZero(text []byte) []string {
	words := []string{}
	text = bytes.TrimSuffix(text, []byte{0})
	if len(text) == 0 {
		return words
	}
	for word := range bytes.SplitSeq(text, []byte{0}) {
		words = append(words, string(word))
	}
	return words
}

func splitVariable(word string) Variable {
	for i := 0; i < len(word); i++ {
		if word[i] == '=' {
			return Variable{Name: word[:i], Value: word[i+1:]}
		}
	}
	return Variable{Name: word}
}

// limits reads the rlimits and the cgroup paths.
func (l *look) limits() {
	parse(l, "rlimits", "limits", statusSize, &l.view.Rlimits, ParseLimits)
	parse(l, "cgroups", "cgroup", networkSize, &l.view.Cgroups, ParseCgroup)
}

// mounts reads the mount table.
func (l *look) mounts() {
	parse(l, "mounts", "mountinfo", mountinfoSize, &l.view.Mounts, ParseMountinfo)
}

// network reads interfaces and addresses from the namespace's own folder.
func (l *look) network() {
	v := l.view
	parse(l, "interfaces", "net/dev", networkSize, &v.Interfaces, ParseNetDev)
	var inet6 []InterfaceAddress
	parse(l, "addresses", "net/if_inet6", networkSize, &inet6, ParseIfInet6)
	for _, a := range inet6 {
		for i := range v.Interfaces {
			if v.Interfaces[i].Name == a.Interface {
				v.Interfaces[i].Addresses = append(v.Interfaces[i].Addresses, a.Address)
			}
		}
	}
	var inet4 []string
	parse(l, "addresses", "net/fib_trie", networkSize, &inet4, ParseFibTrie)
	if len(inet4) == 0 {
		if inet4 != nil {
			v.Addresses = inet4
		}
		return
	}
	var routes []Route
	parse(l, "addresses", "net/route", networkSize, &routes, ParseRoute)
	v.Addresses = placeIPv4(v.Interfaces, inet4, routes)
}
