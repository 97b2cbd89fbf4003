package sandbox

import (
	"strconv"

	"golang.org/x/sys/unix"
)

// The steps that are a flag of clone3, and what each then sets up.

var (
	sysSethostname = &sysno{unix.SYS_SETHOSTNAME, "sethostname"}
	sysSocket      = &sysno{unix.SYS_SOCKET, "socket"}
	sysIoctl       = &sysno{unix.SYS_IOCTL, "ioctl"}
	sysUnshare     = &sysno{unix.SYS_UNSHARE, "unshare"}
)

func (c *compiler) pid() error {
	c.flag(unix.CLONE_NEWPID)
	return nil
}

func (c *compiler) ipc() error {
	c.flag(unix.CLONE_NEWIPC)
	return nil
}

func (c *compiler) cgroup() error {
	c.flag(unix.CLONE_NEWCGROUP)
	return nil
}

func (c *compiler) uts() error {
	c.flag(unix.CLONE_NEWUTS)
	name := c.hostname()
	c.call(sysSethostname, c.str(name), integer(len(name)))
	return nil
}

// hostname is the name inside, whether or not the step uts gives it.
func (c *compiler) hostname() string {
	if c.spec.Hostname != "" {
		return c.spec.Hostname
	}
	return "sandbox"
}

// net makes the namespace. With Net "host" there is nothing to do.
func (c *compiler) net() error {
	if c.spec.Net != "host" {
		c.flag(unix.CLONE_NEWNET)
	}
	return nil
}

// loopback brings lo up, without which not even 127.0.0.1 answers. It comes
// after everything else that needs a capability: it waits for a lock (rtnl)
// that the kernel holds for a while after each network namespace that ended,
// and the longer the plan does other things first, the shorter the wait.
func (c *compiler) loopback() {
	if !c.on["net"] || c.spec.Net == "host" {
		return
	}
	c.step = "net"
	fd := c.newSlot("inet", "")
	c.call(sysSocket, word(unix.AF_INET, constant("AF_INET")),
		word(unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, constant("SOCK_DGRAM|SOCK_CLOEXEC")),
		word(0, constant("IPPROTO_IP"))).saves(fd)
	ifreq := c.reserve(40) // struct ifreq: name[16], flags
	copy(c.data[ifreq:], "lo")
	putUint16(c.data[ifreq+16:], unix.IFF_UP|unix.IFF_RUNNING)
	c.call(sysIoctl, use(fd), word(unix.SIOCSIFFLAGS, constant("SIOCSIFFLAGS")),
		c.mem(ifreq, constant(`{ifr_name="lo", ifr_flags=IFF_UP|IFF_RUNNING}`)))
}

// time unshares in the child: a time namespace made by clone3 would be entered
// at once, and its offsets could no longer be written. A process enters an
// unshared one at its next execve.
func (c *compiler) time() error {
	c.call(sysUnshare, flags(&cloneFlags, unix.CLONE_NEWTIME))
	offsets := "monotonic " + strconv.FormatInt(c.spec.MonotonicOffset, 10) + " 0\nboottime " + strconv.FormatInt(c.spec.BootOffset, 10) + " 0\n"
	c.writeFile("/proc/self/timens_offsets", offsets)
	return nil
}

// writeOptional writes a file below /proc/sys, which is read-only in a container.
func (c *compiler) writeOptional(name, text string) {
	open, write, closed := c.writeFile(name, text)
	open.mayFail(unix.EROFS)
	write.mayFail(unix.EBADF)
	closed.mayFail(unix.EBADF)
}

// writeFile opens, writes and closes one of the kernel's files.
func (c *compiler) writeFile(name, text string) (open, write, closed *Call) {
	fd := c.newSlot("file", name)
	c.call(sysOpenat, cwd(), c.str(name), openFlags(unix.O_WRONLY|unix.O_CLOEXEC)).saves(fd)
	c.call(sysWrite, use(fd), c.str(text), integer(len(text)))
	c.call(sysClose, use(fd))
	n := len(c.Calls)
	return &c.Calls[n-3], &c.Calls[n-2], &c.Calls[n-1]
}
