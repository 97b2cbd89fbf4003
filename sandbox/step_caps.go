package sandbox

import (
	"math"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox/capability"
	"github.com/sbx-dev/sbx/sandbox/filter"
	"github.com/sbx-dev/sbx/sandbox/landlock"
)

var sysCapset = &sysno{unix.SYS_CAPSET, "capset"}

// caps empties the five sets, but for those that CapAdd names. The bounding
// set goes first: dropping from it needs CAP_SETPCAP, which goes last.
func (c *compiler) caps() error {
	keep := c.keptCaps()
	if keep&(1<<unix.CAP_SYS_ADMIN) != 0 {
		if err := c.undoable(); err != nil {
			return err
		}
	}
	if c.on["user"] { // else the caller has no CAP_SETPCAP
		drop := word(unix.PR_CAPBSET_DROP, constant("PR_CAPBSET_DROP"))
		for i := range c.feat.LastCap + 1 {
			if keep&(1<<i) == 0 {
				c.call(sysPrctl, drop, arg{uint64(i), &kindCap})
			}
		}
	}
	c.call(sysPrctl, word(unix.PR_CAP_AMBIENT, constant("PR_CAP_AMBIENT")),
		word(unix.PR_CAP_AMBIENT_CLEAR_ALL, constant("PR_CAP_AMBIENT_CLEAR_ALL")), integer(0), integer(0), integer(0))
	header, data := c.reserve(8), c.reserve(24)
	putUint32(c.data[header:], unix.LINUX_CAPABILITY_VERSION_3)
	for word := range 2 {
		bits := uint32(keep >> (32 * word))
		for set := range 3 { // effective, permitted, inheritable
			putUint32(c.data[data+12*word+4*set:], bits)
		}
	}
	c.call(sysCapset, c.mem(header, constant("{version=_LINUX_CAPABILITY_VERSION_3, pid=0}")), c.mem(data, capsText))
	for i := range c.feat.LastCap + 1 { // so that they survive the execve of a uid other than 0
		if keep&(1<<i) != 0 {
			c.call(sysPrctl, word(unix.PR_CAP_AMBIENT, constant("PR_CAP_AMBIENT")),
				word(unix.PR_CAP_AMBIENT_RAISE, constant("PR_CAP_AMBIENT_RAISE")), arg{uint64(i), &kindCap}, integer(0), integer(0))
		}
	}
	return nil
}

// undoable says what a CMD that keeps CAP_SYS_ADMIN can take back of what was
// asked for: the mounts belong to its own namespaces, so it may remount what is
// read-only and unmount what hides. A filter that refuses the calls stops it,
// and so does a Landlock domain with any right on files, below which nothing is
// mounted.
func (c *compiler) undoable() error {
	if !c.on["user"] || !c.on["mount"] {
		return nil
	}
	if c.on["landlock"] && !c.spec.AllowNesting {
		if rules, _ := landlock.Downgrade(landlock.Ruleset{FS: landlock.AllFS()}, c.feat.LandlockABI); rules.FS != 0 {
			return nil
		}
	}
	if c.on["seccomp"] {
		program, err := c.filter()
		if err != nil {
			return err
		}
		token, _ := filter.Arch(c.feat.Arch)
		nr, _ := filter.CallNumber(c.feat.Arch, "mount")
		remount := filter.Data{Nr: nr, Arch: token, Args: [6]uint64{3: unix.MS_REMOUNT | unix.MS_BIND}}
		if a, err := program.Run(remount); err != nil || !a.Passes() {
			return err
		}
	}
	var can []string
	for _, kind := range [...][2]string{{BindRO, "write to what is shown read-only"}, {Hide, "unmount what hides"}} {
		if slices.ContainsFunc(c.spec.Mounts, func(m Mount) bool { return m.Kind == kind[0] }) {
			can = append(can, kind[1])
		}
	}
	if len(can) > 0 {
		c.note("CMD keeps CAP_SYS_ADMIN and may mount, so it can " + strings.Join(can, " and ") + " after a call of its own (--cap-drop SYS_ADMIN)")
	}
	return nil
}

// keptCaps are the capabilities of CapAdd without those of CapDrop, as bits.
func (c *compiler) keptCaps() uint64 {
	all := uint64(1)<<(c.feat.LastCap+1) - 1
	return capBits(c.spec.CapAdd, all) &^ capBits(c.spec.CapDrop, all)
}

func capBits(names []string, all uint64) uint64 {
	var bits uint64
	for _, n := range names {
		if strings.EqualFold(n, "all") {
			bits |= all
		} else if i := capability.Number(n); i >= 0 {
			bits |= 1 << i & all
		}
	}
	return bits
}

var kindCap = argKind{text: capText}

func capText(_ *Plan, v uint64) string {
	return "CAP_" + strings.ToUpper(capability.Name(int(v)))
}

func capsText(p *Plan, v uint64) string {
	set := func(at uint64) string {
		bits := uint64(getUint64(p.data[v+at:])&math.MaxUint32) | getUint64(p.data[v+at+8:])>>32<<32
		var names []string
		for i := range 64 {
			if bits&(1<<i) != 0 {
				names = append(names, "1<<CAP_"+strings.ToUpper(capability.Name(i)))
			}
		}
		if names == nil {
			return "0"
		}
		return strings.Join(names, "|")
	}
	return "{effective=" + set(0) + ", permitted=" + set(4) + ", inheritable=" + set(8) + "}"
}

// nnp is needed by the two that follow, and makes setuid files harmless.
func (c *compiler) nnp() error {
	c.call(sysPrctl, word(unix.PR_SET_NO_NEW_PRIVS, constant("PR_SET_NO_NEW_PRIVS")), integer(1), integer(0), integer(0), integer(0))
	return nil
}
