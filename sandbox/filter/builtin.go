package filter

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// Names are the built-in profiles:
//
//   - default: never breaks a build, refuses what reaches for the host's kernel.
//   - strict: for programs that are judged, without network and debugging.
//   - log: lets everything pass and logs what default refuses, to see what a
//     program needs.
//   - nesting: default, opened for namespaces and mounts, so that sandboxes can
//     be made inside.
//   - owners: default, and success is the answer to chown and set*id of ids that
//     are not mapped, for a root of one id.
//
// The profiles themselves, with the reason for each rule, are the JSON files of
// sandbox/seccomp/profiles.
func Names() []string { return []string{"default", "strict", "log", "nesting", "owners"} }

// Builtin is the program of a built-in profile for an architecture (amd64 or
// arm64); false when there is no such profile or architecture. Every call
// gives a copy that the caller may change.
func Builtin(name, arch string) (Program, bool) {
	raw := ""
	switch arch {
	case amd64:
		raw = amd64Program(name)
	case arm64:
		raw = arm64Program(name)
	}
	if raw == "" {
		return nil, false
	}
	p := make(Program, len(raw)/instructionSize)
	for i := range p {
		b := []byte(raw[i*instructionSize : (i+1)*instructionSize])
		p[i] = unix.SockFilter{
			Code: binary.LittleEndian.Uint16(b),
			Jt:   b[2],
			Jf:   b[3],
			K:    binary.LittleEndian.Uint32(b[4:]),
		}
	}
	return p, true
}
