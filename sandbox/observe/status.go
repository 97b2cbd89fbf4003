package observe

import (
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Status is what /proc/PID/status says about identity and privilege
// (proc_pid_status(5)). A line that the kernel does not write leaves its field
// at zero, but for the two of Seccomp.
type Status struct {
	Name   string // comm, with the kernel's escapes undone
	State  string // the letter alone
	TGID   int
	PID    int
	PPID   int
	UID    [4]uint32 // real, effective, saved, filesystem
	GID    [4]uint32
	Groups []uint32

	NStgid []int // one for each PID namespace, that of the reader's /proc first
	NSpgid []int
	NSsid  []int

	CapInh, CapPrm, CapEff, CapBnd, CapAmb uint64 // bit N is capability N

	NoNewPrivs     bool
	Seccomp        int // 0 disabled, 1 strict, 2 filter; -1 when there is no such line
	SeccompFilters int // -1 when there is no such line (before Linux 5.9)
}

// ParseStatus reads /proc/PID/status. Lines that it does not know are skipped,
// since each kernel adds some.
func ParseStatus(r io.Reader) (Status, error) {
	s := Status{Seccomp: -1, SeccompFilters: -1}
	err := eachLine("status", r, func(line string) error {
		key, value, ok := strings.Cut(line, ":")
		if !ok {
			return fmt.Errorf("%w: no colon", errMalformed)
		}
		if err := s.set(key, strings.TrimSpace(value)); err != nil {
			return fmt.Errorf("%w: %s: %w", errMalformed, key, err)
		}
		return nil
	})
	return s, err
}

func (s *Status) set(key, value string) (err error) {
	switch key {
	case "Name":
		s.Name = unescapeComm(value)
	case "State":
		s.State, _, _ = strings.Cut(value, " ")
	case "Tgid":
		s.TGID, err = strconv.Atoi(value)
	case "Pid":
		s.PID, err = strconv.Atoi(value)
	case "PPid":
		s.PPID, err = strconv.Atoi(value)
	case "Uid":
		err = parseFour(value, &s.UID)
	case "Gid":
		err = parseFour(value, &s.GID)
	case "Groups":
		s.Groups, err = parseIDs(value)
	case "NStgid":
		s.NStgid, err = parseInts(value)
	case "NSpgid":
		s.NSpgid, err = parseInts(value)
	case "NSsid":
		s.NSsid, err = parseInts(value)
	case "CapInh":
		s.CapInh, err = strconv.ParseUint(value, 16, 64)
	case "CapPrm":
		s.CapPrm, err = strconv.ParseUint(value, 16, 64)
	case "CapEff":
		s.CapEff, err = strconv.ParseUint(value, 16, 64)
	case "CapBnd":
		s.CapBnd, err = strconv.ParseUint(value, 16, 64)
	case "CapAmb":
		s.CapAmb, err = strconv.ParseUint(value, 16, 64)
	case "NoNewPrivs":
		s.NoNewPrivs = value == "1"
	case "Seccomp":
		s.Seccomp, err = strconv.Atoi(value)
	case "Seccomp_filters":
		s.SeccompFilters, err = strconv.Atoi(value)
	}
	return err
}

func parseFour(value string, into *[4]uint32) error {
	ids, err := parseIDs(value)
	if err != nil {
		return err
	}
	if len(ids) != 4 {
		return fmt.Errorf("%d ids instead of 4", len(ids))
	}
	copy(into[:], ids)
	return nil
}

func parseIDs(value string) ([]uint32, error) {
	words := strings.Fields(value)
	ids := make([]uint32, 0, len(words))
	for _, w := range words {
		id, err := strconv.ParseUint(w, 10, 32)
		if err != nil {
			return nil, err
		}
		ids = append(ids, uint32(id))
	}
	return ids, nil
}

func parseInts(value string) ([]int, error) {
	words := strings.Fields(value)
	numbers := make([]int, 0, len(words))
	for _, w := range words {
		n, err := strconv.Atoi(w)
		if err != nil {
			return nil, err
		}
		numbers = append(numbers, n)
	}
	return numbers, nil
}

// unescapeComm undoes the two escapes that fs/proc/array.c applies to a name
// in status, so that a name cannot forge a line.
func unescapeComm(name string) string {
	if !strings.Contains(name, `\`) {
		return name
	}
	var b strings.Builder
	for i := 0; i < len(name); i++ {
		if name[i] == '\\' && i+1 < len(name) {
			switch name[i+1] {
			case 'n':
				b.WriteByte('\n')
				i++
				continue
			case '\\':
				b.WriteByte('\\')
				i++
				continue
			}
		}
		b.WriteByte(name[i])
	}
	return b.String()
}
