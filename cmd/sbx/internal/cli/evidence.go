package cli

import (
	"os"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox"
	"github.com/sbx-dev/sbx/sandbox/observe"
)

// evidence holds on to what is gone when CMD ends, and then tells whether the
// sandbox was why it failed: the counters of its network namespace, and the
// memory that it writes to. It is gathered once CMD has lasted a few
// milliseconds, so that a short one does not pay for it.
type evidence struct {
	cmd   *sandbox.Cmd
	snmp  *os.File // nil where CMD has the host's network
	snmp6 *os.File
	root  int // an O_PATH descriptor of what CMD writes to, or -1
	late  *time.Timer

	mu   sync.Mutex
	told bool // the hint has been given
	over bool
}

// offlineAfter is how long CMD may run before it is told that it has no
// network: it may be waiting for one for much longer.
const offlineAfter = 2 * time.Second

// gather must be called before CMD's end is waited for.
func gather(cmd *sandbox.Cmd) *evidence {
	e := &evidence{cmd: cmd, root: -1}
	proc := "/proc/" + strconv.Itoa(cmd.InitPid())
	if !cmd.Spec.Skips("net") && cmd.Spec.Net != "host" {
		e.snmp, _ = os.Open(proc + "/net/snmp")
		e.snmp6, _ = os.Open(proc + "/net/snmp6")
		if isTerminal(os.Stderr) { // else nobody waits for it, and a timer takes memory
			e.late = time.AfterFunc(offlineAfter, e.early)
		}
	}
	if !cmd.Spec.Skips("root") && !cmd.Spec.Skips("overlay") {
		at := proc + "/root"
		if cmd.Spec.Upper != "" {
			at = cmd.Spec.Upper
		}
		if fd, err := unix.Open(at, unix.O_PATH|unix.O_CLOEXEC, 0); err == nil {
			e.root = fd
		}
	}
	return e
}

// early gives the hint while CMD runs.
func (e *evidence) early() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.over && e.offline() {
		e.sayOffline()
	}
	release()
}

// conclude gives the hint, one at most, for a CMD that failed, and says whether
// there was one.
func (e *evidence) conclude(failed bool) (told bool) {
	if e == nil {
		return false
	}
	if e.late != nil {
		e.late.Stop()
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.over = true
	switch {
	case !failed || e.told:
	case e.full():
		e.told = true
		if up := e.cmd.Spec.Upper; up != "" {
			say("the disk is full on which " + up + " lies, so CMD can write nothing more")
			hint("sbx prune removes kept layers; XDG_STATE_HOME=DIR, or --upper DIR, puts them on another disk")
			break
		}
		say("CMD has filled up the memory that it can write to")
		hint("--keep NAME puts it on the disk, --layer-size SIZE gives it more memory")
	case e.offline():
		e.sayOffline()
	}
	e.snmp.Close()
	e.snmp6.Close()
	if e.root >= 0 {
		unix.Close(e.root)
	}
	return e.told
}

func (e *evidence) sayOffline() {
	e.told = true
	say("CMD tried the network, which it does not have")
	hint("--net host gives it the host's")
}

// offline says whether the kernel knew no way for something that was sent, or
// a name was asked for: where resolv.conf names no server, resolver(3) asks the
// host itself, whose port 53 nobody has opened. One way leaves no trace: glibc
// sends nothing when a single address family is asked for together with
// AI_ADDRCONFIG (getaddrinfo(3)), which no interface but lo has an address of.
// It learns that from netlink, which counts nothing, and reads not even
// resolv.conf. Nor is there one of a CMD that ends before it is looked at.
func (e *evidence) offline() bool {
	for _, c := range [...][2]string{{"Ip", "OutNoRoutes"}, {"Udp", "NoPorts"}} {
		if _, err := e.snmp.Seek(0, 0); err != nil {
			break
		}
		if n, err := observe.ParseSNMP(e.snmp, c[0], c[1]); err == nil && n > 0 {
			return true
		}
	}
	if _, err := e.snmp6.Seek(0, 0); err != nil {
		return false
	}
	n, err := observe.ParseSNMP6(e.snmp6, "Ip6OutNoRoutes")
	return err == nil && n > 0
}

// full says whether nothing more can be written.
func (e *evidence) full() bool {
	var fs unix.Statfs_t
	return e.root >= 0 && unix.Fstatfs(e.root, &fs) == nil && fs.Blocks > 0 && (fs.Bavail == 0 || fs.Files > 0 && fs.Ffree == 0)
}
