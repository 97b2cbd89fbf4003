package filter

import (
	"encoding/binary"
	"strconv"

	"golang.org/x/sys/unix"
)

// Program is a seccomp filter: classic BPF instructions in the order in which
// the kernel gets them (struct sock_filter, include/uapi/linux/filter.h). The
// zero Program is not valid.
type Program []unix.SockFilter

// MaxInstructions is the most that the kernel takes in one program
// (BPF_MAXINSNS).
const MaxInstructions = 4096

// instructionSize is the size of struct sock_filter in bytes.
const instructionSize = 8

// InvalidError says why the kernel would refuse a program with EINVAL.
type InvalidError struct {
	At     int    // index of the instruction; -1 when the program as a whole is meant
	Reason string // lower case, without a full stop
}

// Error is "filter: instruction 12: …".
func (e *InvalidError) Error() string {
	if e.At < 0 {
		return "filter: " + e.Reason
	}
	return "filter: instruction " + strconv.Itoa(e.At) + ": " + e.Reason
}

// Parse reads a program from the raw instructions that Bytes writes. The length
// has to be a multiple of 8 bytes, and what was read has to be valid.
func Parse(raw []byte) (Program, error) {
	if len(raw)%instructionSize != 0 {
		return nil, &InvalidError{-1, strconv.Itoa(len(raw)) + " bytes are no whole number of instructions"}
	}
	if len(raw) > MaxInstructions*instructionSize {
		return nil, tooLong(len(raw) / instructionSize)
	}
	p := make(Program, len(raw)/instructionSize)
	for i := range p {
		b := raw[i*instructionSize:]
		p[i] = unix.SockFilter{
			Code: binary.NativeEndian.Uint16(b),
			Jt:   b[2],
			Jf:   b[3],
			K:    binary.NativeEndian.Uint32(b[4:]),
		}
	}
	if err := p.Validate(); err != nil {
		return nil, err
	}
	return p, nil
}

// Bytes are the instructions as the kernel's structure lies in memory, in the
// host's byte order: what bwrap --seccomp and Parse read.
func (p Program) Bytes() []byte {
	raw := make([]byte, 0, len(p)*instructionSize)
	for _, in := range p {
		raw = binary.NativeEndian.AppendUint16(raw, in.Code)
		raw = append(raw, in.Jt, in.Jf)
		raw = binary.NativeEndian.AppendUint32(raw, in.K)
	}
	return raw
}

func tooLong(n int) error {
	return &InvalidError{-1, strconv.Itoa(n) + " instructions are more than the kernel's " + strconv.Itoa(MaxInstructions)}
}
