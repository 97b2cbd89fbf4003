package filter_test

import (
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox/filter"
)

const (
	retK  = unix.BPF_RET | unix.BPF_K
	loadW = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
	jeqK  = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
	ja    = unix.BPF_JMP | unix.BPF_JA
)

func TestValidate(t *testing.T) {
	allow := unix.SockFilter{Code: retK, K: uint32(filter.Allow)}
	tests := []struct {
		name string
		p    filter.Program
		at   int
		want string // "" means valid
	}{
		{"one return", filter.Program{allow}, 0, ""},
		{"return of A", filter.Program{{Code: unix.BPF_RET | unix.BPF_A}}, 0, ""},
		{"empty", nil, -1, "no instructions"},
		{"too long", make(filter.Program, filter.MaxInstructions+1), -1, "more than the kernel's 4096"},
		{"no return", filter.Program{{Code: loadW}}, 0, "without a return"},
		{"unaligned load", filter.Program{{Code: loadW, K: 2}, allow}, 0, "no multiple of 4"},
		{"last word", filter.Program{{Code: loadW, K: 60}, allow}, 0, ""},
		{"load behind the end", filter.Program{{Code: loadW, K: 64}, allow}, 0, "of the 64"},
		{"byte load", filter.Program{{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS}, allow}, 0, "not allowed"},
		{"packet load", filter.Program{{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_IND}, allow}, 0, "not allowed"},
		{"remainder", filter.Program{{Code: unix.BPF_ALU | unix.BPF_MOD | unix.BPF_K, K: 3}, allow}, 0, "not allowed"},
		{"unknown code", filter.Program{{Code: 0xffff}, allow}, 0, "not allowed"},
		{"jump to the last", filter.Program{{Code: ja, K: 0}, allow}, 0, ""},
		{"jump behind the end", filter.Program{{Code: ja, K: 1}, allow}, 0, "jump beyond"},
		{"jump around the number range", filter.Program{{Code: ja, K: 0xffffffff}, allow}, 0, "jump beyond"},
		{"branch behind the end, yes", filter.Program{{Code: jeqK, Jt: 1}, allow}, 0, "branch beyond"},
		{"branch behind the end, no", filter.Program{{Code: jeqK, Jf: 1}, allow}, 0, "branch beyond"},
		{"division by zero", filter.Program{{Code: unix.BPF_ALU | unix.BPF_DIV | unix.BPF_K}, allow}, 0, "division by zero"},
		{"division by X", filter.Program{{Code: unix.BPF_ALU | unix.BPF_DIV | unix.BPF_X}, allow}, 0, ""},
		{"shift by 32", filter.Program{{Code: unix.BPF_ALU | unix.BPF_LSH | unix.BPF_K, K: 32}, allow}, 0, "shift by 32"},
		{"scratch word 16", filter.Program{{Code: unix.BPF_ST, K: 16}, allow}, 0, "of 16"},
		{"scratch read first", filter.Program{{Code: unix.BPF_LD | unix.BPF_MEM, K: 3}, allow}, 0, "before it is written"},
		{"scratch written on one path", filter.Program{
			{Code: jeqK, Jt: 1},
			{Code: unix.BPF_ST, K: 3},
			{Code: unix.BPF_LD | unix.BPF_MEM, K: 3},
			allow,
		}, 2, "before it is written"},
		{"scratch written on both paths", filter.Program{
			{Code: jeqK, Jt: 2},
			{Code: unix.BPF_ST, K: 3},
			{Code: ja, K: 1},
			{Code: unix.BPF_STX, K: 3},
			{Code: unix.BPF_LD | unix.BPF_MEM, K: 3},
			allow,
		}, 0, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.p.Validate()
			if tt.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			var invalid *filter.InvalidError
			if !errors.As(err, &invalid) || invalid.At != tt.at || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want instruction %d: …%s…", err, tt.at, tt.want)
			}
		})
	}
}

// TestValidateAgreesWithKernel gives thousands of programs to the running
// kernel's checker and to Validate: pieces of valid code with random faults.
func TestValidateAgreesWithKernel(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var programs []filter.Program
	for code := range uint16(0x100) {
		// Every opcode, with constants on both sides of what is allowed.
		for _, k := range []uint32{0, 1, 3, 4, 15, 16, 31, 32, 60, 64, 0xffffffff} {
			programs = append(programs, filter.Program{{Code: code, K: k}, {Code: retK}})
		}
	}
	codes := []uint16{
		loadW, 0x80, 0x00, 0x60, 0x81, 0x01, 0x61, unix.BPF_ST, unix.BPF_STX, 0x07, 0x87, 0x84, ja, jeqK, jeqK, jeqK,
		0x1d, 0x25, 0x2d, 0x35, 0x45, 0x04, 0x0c, 0x34, 0x3c, 0x54, 0x64, 0x6c, 0x74, 0xa4, retK, 0x16,
	}
	for range 6000 {
		n := 1 + r.IntN(12)
		p := make(filter.Program, n, n+1)
		for i := range p {
			left := n - i
			p[i] = unix.SockFilter{
				Code: codes[r.IntN(len(codes))],
				Jt:   uint8(r.IntN(left + 1)),
				Jf:   uint8(r.IntN(left + 1)),
				K:    uint32(r.IntN(4) * 4),
			}
			if p[i].Code == ja {
				p[i].K = uint32(r.IntN(left + 1))
			}
			if r.IntN(40) == 0 {
				p[i].K = r.Uint32N(70)
			}
			if r.IntN(60) == 0 {
				p[i].Code = uint16(r.IntN(0x200))
			}
		}
		if r.IntN(8) != 0 {
			p = append(p, unix.SockFilter{Code: retK, K: r.Uint32()})
		}
		programs = append(programs, p)
	}
	count := 0
	for i, kernel := range askKernel(t, programs) {
		err := programs[i].Validate()
		if (err == nil) != kernel {
			t.Errorf("the kernel says valid: %v, Validate says %v:\n%v", kernel, err, programs[i])
		}
		if kernel {
			count++
		}
	}
	if count < 1000 || count > len(programs)-1000 {
		t.Errorf("%d of %d programs are valid: too one-sided to prove anything", count, len(programs))
	}
}
