package sandbox

import (
	"golang.org/x/sys/unix"
)

var (
	sysSetsid = &sysno{unix.SYS_SETSID, "setsid"}
	sysKeyctl = &sysno{unix.SYS_KEYCTL, "keyctl"}
)

// session leaves the caller's session, and with it the controlling terminal.
func (c *compiler) session() error {
	c.call(sysSetsid)
	if c.spec.Terminal {
		c.call(sysIoctl, integer(c.feat.TerminalFD), word(unix.TIOCSCTTY, constant("TIOCSCTTY")), integer(0))
	}
	if !c.on["seccomp"] {
		// The filter refuses all calls for keys. Without it, an empty session
		// keyring at least is not the caller's.
		join := c.call(sysKeyctl, word(unix.KEYCTL_JOIN_SESSION_KEYRING, constant("KEYCTL_JOIN_SESSION_KEYRING")), nothing())
		if c.feat.KeysRefused != 0 {
			join.mayFail(c.feat.KeysRefused)
			c.note("a filter around sbx refuses all calls for keys, to CMD as well: it may get no session keyring of its own")
		}
	}
	return nil
}
