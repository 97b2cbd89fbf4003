package sandbox

import (
	"math"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

var sysPrlimit = &sysno{unix.SYS_PRLIMIT64, "prlimit64"}

// DefaultRlimits are set where Spec.Rlimits does not name the same limit.
// 4096 processes stop a fork bomb and no build.
var DefaultRlimits = []Rlimit{{Name: "core"}, {Name: "nproc", Soft: 4096, Hard: 4096}}

// rlimitNames is indexed by the kernel's number.
var rlimitNames = [...]string{
	"cpu", "fsize", "data", "stack", "core", "rss", "nproc", "nofile", "memlock", "as", "locks", "sigpending", "msgqueue", "nice", "rtprio", "rttime",
}

// rlimits sets limits. RLIMIT_NPROC counts per user namespace since Linux
// 5.14; without one it would count everything that the caller runs, so there
// is no default then.
func (c *compiler) rlimits() error {
	limits := slices.Clone(c.spec.Rlimits)
	for _, d := range DefaultRlimits {
		if d.Name == "nproc" && !c.on["user"] {
			continue
		}
		if !slices.ContainsFunc(limits, func(r Rlimit) bool { return r.Name == d.Name }) {
			limits = append(limits, d)
		}
	}
	for _, r := range limits {
		c.limit(r)
	}
	return nil
}

func (c *compiler) limit(r Rlimit) {
	at := c.reserve(16)
	putUint64(c.data[at:], r.Soft)
	putUint64(c.data[at+8:], r.Hard)
	number := slices.Index(rlimitNames[:], r.Name)
	c.call(sysPrlimit, integer(0), word(uint64(number), constant("RLIMIT_"+strings.ToUpper(r.Name))), c.mem(at, rlimitText), nothing())
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
