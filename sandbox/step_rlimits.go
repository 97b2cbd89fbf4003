package sandbox

import (
	"math"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

var sysPrlimit = &sysno{unix.SYS_PRLIMIT64, "prlimit64"}

// DefaultRlimits are set where Spec.Rlimits does not name the same limit, and
// the caller's own is not lower. 4096 processes stop a fork bomb and no build;
// half of the kernel's default of bytes in message queues, and 8192 queued
// signals, timers included, leave the caller some.
var DefaultRlimits = []Rlimit{
	{Name: "core"},
	{Name: "nproc", Soft: 4096, Hard: 4096},
	{Name: "msgqueue", Soft: 400 << 10, Hard: 400 << 10},
	{Name: "sigpending", Soft: 8192, Hard: 8192},
}

// ceilings are the namespace's own limits (namespaces(7), /proc/sys/user) of
// what the kernel counts for a user in all his namespaces: without them one
// sandbox takes all that the caller may have. Editors and builds that watch
// files need one instance, and a watch a folder.
var ceilings = []struct{ name, value string }{
	{"/proc/sys/user/max_inotify_instances", "64"},
	{"/proc/sys/user/max_inotify_watches", "16384"},
}

// oomScore makes the kernel end processes of the sandbox before the caller's
// own when memory runs out: it is added to a process's share of the memory, in
// thousandths (proc_pid_oom_score_adj(5)). CMD may lower it again, to where the
// caller's was.
const oomScore = "500"

// shares sets the ceilings. It belongs to the step rlimits, but comes while the
// host's /proc is there, after the id maps, which give the right to write to it.
func (c *compiler) shares() {
	if !c.on["rlimits"] {
		return
	}
	step := c.step
	c.step = "rlimits"
	for _, l := range ceilings {
		c.writeOptional(l.name, l.value)
	}
	c.step = step
}

// firstVictim comes before a change of ids, after which the file is root's. The
// kernel refuses a lower value than one that root has set, as for a container.
func (c *compiler) firstVictim() {
	if !c.on["rlimits"] {
		return
	}
	step := c.step
	c.step = "rlimits"
	_, write, _ := c.writeFile("/proc/self/oom_score_adj", oomScore)
	write.mayFail(unix.EACCES)
	c.step = step
}

// rlimitNames is indexed by the kernel's number.
var rlimitNames = [...]string{
	"cpu", "fsize", "data", "stack", "core", "rss", "nproc", "nofile", "memlock", "as", "locks", "sigpending", "msgqueue", "nice", "rtprio", "rttime",
}

// rlimits sets limits. RLIMIT_NPROC and the other defaults but that of core files
// count per user namespace since Linux 5.14; without one they would count
// everything that the caller has, so there is no default then.
func (c *compiler) rlimits() error {
	limits := c.spec.Rlimits
	for _, d := range DefaultRlimits {
		if d.Name != "core" && !c.on["user"] {
			continue
		}
		if !slices.ContainsFunc(limits, func(r Rlimit) bool { return r.Name == d.Name }) {
			c.limit(d).mayFail(unix.EPERM) // the caller's hard limit is lower
		}
	}
	for _, r := range limits {
		c.limit(r)
	}
	return nil
}

func (c *compiler) limit(r Rlimit) *Call {
	at := c.reserve(16)
	putUint64(c.data[at:], r.Soft)
	putUint64(c.data[at+8:], r.Hard)
	number := slices.Index(rlimitNames[:], r.Name)
	return c.call(sysPrlimit, integer(0), word(uint64(number), constant("RLIMIT_"+strings.ToUpper(r.Name))), c.mem(at, rlimitText), nothing())
}

// ownOpenFiles gives CMD the caller's limit of open files, unless another was
// asked for. It comes after the last call that opens a file, since the launcher
// may have more files open than that and a new one is refused by its number,
// but before a filter that may refuse it.
func (c *compiler) ownOpenFiles() {
	c.step = "launch"
	given := c.on["rlimits"] && slices.ContainsFunc(c.spec.Rlimits, func(r Rlimit) bool { return r.Name == "nofile" })
	if c.feat.OpenFiles.Name != "" && !given {
		c.limit(c.feat.OpenFiles)
	}
}

func rlimitText(p *Plan, v uint64) string {
	show := func(n uint64) string {
		if n == math.MaxUint64 {
			return "RLIM64_INFINITY"
		}
		return strconv.FormatUint(n, 10)
	}
	return "{rlim_cur=" + show(getUint64(p.data[v:])) + ", rlim_max=" + show(getUint64(p.data[v+8:])) + "}"
}
