package sandbox

import (
	"math"
	"strconv"

	"golang.org/x/sys/unix"
)

var (
	sysDup3       = &sysno{unix.SYS_DUP3, "dup3"}
	sysCloseRange = &sysno{unix.SYS_CLOSE_RANGE, "close_range"}
)

// fds marks everything that is open as close-on-exec, and takes the mark from
// what CMD is to have. PID 1 closes the socket's end to CMD itself.
func (c *compiler) fds() error {
	c.call(sysCloseRange, integer(max(3, c.feat.Passed)), word(math.MaxUint32, constant("4294967295")), flags(&closeRangeFlags, unix.CLOSE_RANGE_CLOEXEC))
	return nil
}

// passFiles puts the descriptors that the launcher passes where CMD expects
// them: first all to numbers out of the way, since one's source may be
// another's place, then each to its own.
func (c *compiler) passFiles() {
	if c.feat.Passed == 0 {
		return
	}
	c.slots.files = make([]slot, c.feat.Passed)
	for i := range c.slots.files {
		c.slots.files[i] = c.newSlot("file", strconv.Itoa(i))
	}
	moved := make([]slot, c.feat.Passed)
	for i, s := range c.slots.files {
		moved[i] = c.newSlot("moved", strconv.Itoa(i))
		c.call(sysFcntl, use(s), word(unix.F_DUPFD_CLOEXEC, constant("F_DUPFD_CLOEXEC")), integer(c.feat.Passed)).saves(moved[i])
	}
	for i, s := range moved {
		c.call(sysDup3, use(s), integer(i), integer(0))
	}
}

// keepSocket lets PID 1 inherit its end of the socket.
func (c *compiler) keepSocket() {
	c.call(sysFcntl, use(c.slots.socket), word(unix.F_SETFD, constant("F_SETFD")), integer(0))
}
