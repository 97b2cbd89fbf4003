package filter

import (
	"sort"
	"strconv"

	"golang.org/x/sys/unix"
)

// call is one row of an architecture's table of system calls.
type call struct {
	nr   int32
	name string
}

// The words for an architecture are Go's: amd64 is the kernel's x86_64, arm64
// its aarch64.
const (
	amd64 = "amd64"
	arm64 = "arm64"
)

// Arches are the CPU architectures that this package has tables and programs
// for, in Go's words.
func Arches() []string { return []string{amd64, arm64} }

// Arch is the AUDIT_ARCH_… number by which the kernel tells a filter the
// calling convention; false for an architecture without a table here.
func Arch(arch string) (uint32, bool) {
	switch arch {
	case amd64:
		return unix.AUDIT_ARCH_X86_64, true
	case arm64:
		return unix.AUDIT_ARCH_AARCH64, true
	}
	return 0, false
}

// archName is the name of an AUDIT_ARCH_… number: Go's word where there is
// one, else the kernel's, else the number.
func archName(token uint32) string {
	switch token {
	case unix.AUDIT_ARCH_X86_64:
		return amd64
	case unix.AUDIT_ARCH_AARCH64:
		return arm64
	case unix.AUDIT_ARCH_I386:
		return "i386"
	case unix.AUDIT_ARCH_ARM:
		return "arm"
	}
	return hex(token)
}

// calls is the table of an architecture, by rising number, nil for an unknown
// one.
func calls(arch string) []call {
	switch arch {
	case amd64:
		return amd64Calls[:]
	case arm64:
		return arm64Calls[:]
	}
	return nil
}

// CallName is the name of a system call by its number; false when the table of
// the architecture has none.
func CallName(arch string, nr int32) (string, bool) {
	t := calls(arch)
	i := sort.Search(len(t), func(i int) bool { return t[i].nr >= nr })
	if i == len(t) || t[i].nr != nr {
		return "", false
	}
	return t[i].name, true
}

// CallNumber is the number of a system call by its name; false when the
// architecture has no such call. It looks through the whole table, which is in
// the order of numbers.
func CallNumber(arch, name string) (int32, bool) {
	for _, c := range calls(arch) {
		if c.name == name {
			return c.nr, true
		}
	}
	return 0, false
}

// CallNames are the names of all system calls of an architecture, by rising
// number; nil for an unknown architecture.
func CallNames(arch string) []string {
	t := calls(arch)
	if t == nil {
		return nil
	}
	names := make([]string, len(t))
	for i, c := range t {
		names[i] = c.name
	}
	return names
}

// callLabel is how a listing writes a number of a call: mount(165).
func callLabel(arch string, nr uint32) string {
	if name, ok := CallName(arch, int32(nr)); ok {
		return name + "(" + strconv.FormatUint(uint64(nr), 10) + ")"
	}
	if nr >= x32Bit {
		return hex(nr)
	}
	return strconv.FormatUint(uint64(nr), 10)
}

// x32Bit marks the numbers of the x32 convention, which the kernel reports as
// amd64 (__X32_SYSCALL_BIT).
const x32Bit = 0x40000000
