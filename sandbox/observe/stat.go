package observe

import (
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Stat is the part of /proc/PID/stat that status does not have
// (proc_pid_stat(5)).
type Stat struct {
	PID       int
	Comm      string // not escaped: may hold spaces, parentheses and newlines
	State     string
	PPID      int
	Group     int    // process group
	Session   int    // session id; 0 when it began outside the reader's PID namespace
	TTY       uint32 // device number of the controlling terminal; 0 without one
	StartTime uint64 // clock ticks after boot
}

// maxStat bounds what ParseStat reads, in bytes. A kernel writes 52 numbers
// and a name of at most 63 bytes.
const maxStat = 4096

// ParseStat reads /proc/PID/stat. The name may hold anything, also ") R 1 1",
// so it ends at the last parenthesis of the text: no field after it can hold
// one.
func ParseStat(r io.Reader) (Stat, error) {
	var s Stat
	text, err := io.ReadAll(io.LimitReader(r, maxStat))
	if err != nil {
		return s, fmt.Errorf("stat: %w", err)
	}
	line := string(text)
	begin, end := strings.IndexByte(line, '('), strings.LastIndexByte(line, ')')
	if begin < 0 || end < begin {
		return s, fmt.Errorf("stat: %w: no name in parentheses", errMalformed)
	}
	s.Comm = line[begin+1 : end]
	if s.PID, err = strconv.Atoi(strings.TrimSpace(line[:begin])); err != nil {
		return s, fmt.Errorf("stat: %w: %w", errMalformed, err)
	}
	// Field 3 of the man page is the first one here.
	fields := strings.Fields(line[end+1:])
	if len(fields) < 20 {
		return s, fmt.Errorf("stat: %w: %d fields after the name, not 20", errMalformed, len(fields))
	}
	s.State = fields[0]
	for _, f := range []struct {
		into *int
		text string
	}{{&s.PPID, fields[1]}, {&s.Group, fields[2]}, {&s.Session, fields[3]}} {
		if *f.into, err = strconv.Atoi(f.text); err != nil {
			return s, fmt.Errorf("stat: %w: %w", errMalformed, err)
		}
	}
	tty, err := strconv.ParseInt(fields[4], 10, 32)
	if err != nil {
		return s, fmt.Errorf("stat: %w: %w", errMalformed, err)
	}
	s.TTY = uint32(tty)
	if s.StartTime, err = strconv.ParseUint(fields[19], 10, 64); err != nil {
		return s, fmt.Errorf("stat: %w: %w", errMalformed, err)
	}
	return s, nil
}

// TTYName returns the name below /dev of a terminal's device number as stat
// encodes it, the number as MAJOR:MINOR when it is no terminal known here, and
// nothing for 0. The majors are those of Documentation/admin-guide/devices.txt.
func TTYName(dev uint32) string {
	major, minor := dev>>8&0xfff, dev&0xff|dev>>12&0xfff00
	switch {
	case dev == 0:
		return ""
	case major >= 136 && major <= 143:
		return "pts/" + strconv.Itoa(int((major-136)<<20|minor))
	case major == 4 && minor < 64:
		return "tty" + strconv.Itoa(int(minor))
	case major == 4:
		return "ttyS" + strconv.Itoa(int(minor-64))
	case major == 5 && minor == 1:
		return "console"
	case major == 229:
		return "hvc" + strconv.Itoa(int(minor))
	}
	return strconv.Itoa(int(major)) + ":" + strconv.Itoa(int(minor))
}
