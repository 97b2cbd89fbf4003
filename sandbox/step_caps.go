package sandbox

import (
	"math"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox/capability"
)

var sysCapset = &sysno{unix.SYS_CAPSET, "capset"}

// caps empties the five sets, but for those that CapAdd names. The bounding
// set goes first: dropping from it needs CAP_SETPCAP, which goes last.
func (c *compiler) caps() error {
	keep := c.keptCaps()
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
