package filter_test

import (
	"fmt"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox/filter"
)

func TestRun(t *testing.T) {
	d := filter.Data{
		Nr: 7, Arch: unix.AUDIT_ARCH_X86_64, IP: 0x1122334455667788,
		Args: [6]uint64{0xa0000000b, 1, 2, 3, 4, 0xffffffff00000005},
	}
	// Each program computes something in A and returns it.
	k := func(code uint16, v uint32) unix.SockFilter { return unix.SockFilter{Code: code, K: v} }
	const ld, ldx, alu = unix.BPF_LD, unix.BPF_LDX, unix.BPF_ALU
	tests := []struct {
		name string
		p    filter.Program
		want filter.Action
	}{
		{"nr", filter.Program{k(loadW, 0)}, 7},
		{"arch", filter.Program{k(loadW, 4)}, unix.AUDIT_ARCH_X86_64},
		{"ip low", filter.Program{k(loadW, 8)}, 0x55667788},
		{"ip high", filter.Program{k(loadW, 12)}, 0x11223344},
		{"argument 0 low", filter.Program{k(loadW, 16)}, 11},
		{"argument 0 high", filter.Program{k(loadW, 20)}, 10},
		{"argument 5 high", filter.Program{k(loadW, 60)}, 0xffffffff},
		{"length", filter.Program{k(ld|unix.BPF_LEN, 0)}, 64},
		{"length in X", filter.Program{k(ldx|unix.BPF_LEN, 0), k(unix.BPF_MISC|unix.BPF_TXA, 0)}, 64},
		{"constant", filter.Program{k(ld, 9)}, 9},
		{"to X and back", filter.Program{k(ld, 9), k(unix.BPF_MISC|unix.BPF_TAX, 0), k(ld, 1), k(unix.BPF_MISC|unix.BPF_TXA, 0)}, 9},
		{"memory", filter.Program{k(ld, 9), k(unix.BPF_ST, 15), k(ld, 1), k(ld|unix.BPF_MEM, 15)}, 9},
		{"memory of X", filter.Program{k(ldx, 9), k(unix.BPF_STX, 0), k(ldx, 1), k(ldx|unix.BPF_MEM, 0), k(unix.BPF_MISC|unix.BPF_TXA, 0)}, 9},
		{"add", filter.Program{k(ld, 0xffffffff), k(alu|unix.BPF_ADD, 3)}, 2},
		{"sub", filter.Program{k(ld, 1), k(alu|unix.BPF_SUB, 2)}, 0xffffffff},
		{"mul by X", filter.Program{k(ld, 6), k(ldx, 7), k(alu|unix.BPF_MUL|unix.BPF_X, 0)}, 42},
		{"div", filter.Program{k(ld, 42), k(alu|unix.BPF_DIV, 5)}, 8},
		{"div by zero ends with 0", filter.Program{k(ld, 42), k(ldx, 0), k(alu|unix.BPF_DIV|unix.BPF_X, 0), k(ld, 5)}, 0},
		{"and", filter.Program{k(ld, 12), k(alu|unix.BPF_AND, 10)}, 8},
		{"or", filter.Program{k(ld, 12), k(alu|unix.BPF_OR, 10)}, 14},
		{"xor", filter.Program{k(ld, 12), k(alu|unix.BPF_XOR, 10)}, 6},
		{"shift left", filter.Program{k(ld, 1), k(alu|unix.BPF_LSH, 31)}, 1 << 31},
		{"shift right by X modulo 32", filter.Program{k(ld, 4), k(ldx, 33), k(alu|unix.BPF_RSH|unix.BPF_X, 0)}, 2},
		{"negate", filter.Program{k(ld, 1), k(alu|unix.BPF_NEG, 0)}, 0xffffffff},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := append(tt.p, unix.SockFilter{Code: unix.BPF_RET | unix.BPF_A})
			if err := p.Validate(); err != nil {
				t.Fatal(err)
			}
			if got, err := p.Run(d); got != tt.want || err != nil {
				t.Errorf("got %#x, %v, want %#x", uint32(got), err, uint32(tt.want))
			}
		})
	}
}

func TestRunBranches(t *testing.T) {
	for _, tt := range []struct {
		op   uint16
		a, b uint32
		want bool
	}{
		{unix.BPF_JEQ, 5, 5, true},
		{unix.BPF_JEQ, 5, 6, false},
		{unix.BPF_JGT, 6, 5, true},
		{unix.BPF_JGT, 5, 5, false},
		{unix.BPF_JGT, 0xffffffff, 5, true}, // unsigned
		{unix.BPF_JGE, 5, 5, true},
		{unix.BPF_JGE, 4, 5, false},
		{unix.BPF_JSET, 6, 3, true},
		{unix.BPF_JSET, 4, 3, false},
	} {
		for _, source := range []uint16{unix.BPF_K, unix.BPF_X} {
			p := filter.Program{
				{Code: unix.BPF_LDX, K: tt.b},
				{Code: unix.BPF_LD, K: tt.a},
				{Code: unix.BPF_JMP | tt.op | source, K: tt.b, Jt: 1},
				{Code: retK, K: 0},
				{Code: retK, K: 1},
			}
			got, err := p.Run(filter.Data{})
			if err != nil || (got == 1) != tt.want {
				t.Errorf("op %#x source %#x: %d, %d: got %d, %v", tt.op, source, tt.a, tt.b, got, err)
			}
		}
	}
}

func TestRunInvalid(t *testing.T) {
	for _, p := range []filter.Program{nil, {{Code: 0xffff}}, {{Code: loadW}}, {{Code: ja, K: 9}, {Code: retK}}} {
		if a, err := p.Run(filter.Data{}); err == nil || a != filter.KillProcess {
			t.Errorf("%v: got %v, %v", p, a, err)
		}
	}
}

func TestActionString(t *testing.T) {
	for a, want := range map[filter.Action]string{
		filter.Allow:                      "ALLOW",
		filter.Log:                        "LOG",
		filter.KillProcess:                "KILL_PROCESS",
		filter.KillThread:                 "KILL_THREAD",
		filter.UserNotif:                  "USER_NOTIF",
		filter.Trap:                       "TRAP",
		filter.Trace | 7:                  "TRACE(7)",
		filter.WithErrno(unix.EPERM):      "ERRNO(EPERM)",
		filter.WithErrno(0):               "ERRNO(0)",
		filter.WithErrno(unix.Errno(999)): "ERRNO(999)",
		0x12340000:                        "KILL_PROCESS (unknown action 0x12340000)",
	} {
		if got := a.String(); got != want {
			t.Errorf("%#x: got %s, want %s", uint32(a), got, want)
		}
	}
}

func ExampleProgram_Run() {
	p, _ := filter.Builtin("default", "amd64")
	arch, _ := filter.Arch("amd64")
	for _, call := range []string{"read", "mount", "clone3"} {
		nr, _ := filter.CallNumber("amd64", call)
		action, err := p.Run(filter.Data{Nr: nr, Arch: arch})
		fmt.Println(call, action, err)
	}
	// Output:
	// read ALLOW <nil>
	// mount ERRNO(EPERM) <nil>
	// clone3 ERRNO(ENOSYS) <nil>
}

func ExampleProgram_String() {
	p := filter.Program{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 4},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.AUDIT_ARCH_X86_64, Jf: 5},
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: 16, Jf: 4},
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 24},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: 0x5412, Jf: 2},
		{Code: unix.BPF_RET | unix.BPF_K, K: uint32(filter.WithErrno(unix.EPERM))},
		{Code: unix.BPF_RET | unix.BPF_K, K: uint32(filter.KillProcess)},
		{Code: unix.BPF_RET | unix.BPF_K, K: uint32(filter.Allow)},
	}
	fmt.Print(p)
	// Output:
	//    0  load arch
	//    1  unless arch == amd64 goto 7
	//    2  load nr
	//    3  unless nr == ioctl(16) goto 8
	//    4  load args[1].low
	//    5  unless args[1].low == 0x5412 goto 8
	//    6  return ERRNO(EPERM)
	//    7  return KILL_PROCESS
	//    8  return ALLOW
}
