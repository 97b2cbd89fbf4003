package rawfork

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// The tests of this file need no namespace: the file image, the protocol's
// encoding, and the descriptor. Those that run the program begin
// at init_stage_test.go, for the other architecture at init_qemu_test.go.

func TestInitELF(t *testing.T) {
	image := InitELF()
	t.Logf("%d bytes", len(image))
	if len(image) > 1200 {
		t.Errorf("the init program has %d bytes; is all of that needed?", len(image))
	}
	f, err := elf.NewFile(bytes.NewReader(image))
	if err != nil {
		t.Fatal(err)
	}
	machine := map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}[runtime.GOARCH]
	if f.Type != elf.ET_DYN || f.Machine != machine || f.Class != elf.ELFCLASS64 || f.Entry != elfEntry {
		t.Errorf("header %+v", f.FileHeader)
	}
	if len(f.Progs) != 2 {
		t.Fatalf("%d segments, want 2", len(f.Progs))
	}
	load, stack := f.Progs[0].ProgHeader, f.Progs[1].ProgHeader
	size := uint64(len(image))
	if want := (elf.ProgHeader{Type: elf.PT_LOAD, Flags: elf.PF_R | elf.PF_X, Filesz: size, Memsz: size, Align: elfAlign}); load != want {
		t.Errorf("segment %+v, want %+v", load, want)
	}
	if stack.Type != elf.PT_GNU_STACK || stack.Flags != elf.PF_R|elf.PF_W {
		t.Errorf("segment %+v: want a stack that cannot be executed", stack)
	}
	if bytes.Contains(image, []byte(initSentinel)) {
		t.Error("the sentinel was copied too")
	}
	if again := InitELF(); !bytes.Equal(image, again) || &image[0] == &again[0] {
		t.Error("InitELF does not return a new, equal slice")
	}
}

// TestInitCodeArm64 looks for the instructions that take a constant or an
// address from a place relative to the program counter, for the assembler
// would have put that place behind the sentinel, and for jumps that leave the
// code. On amd64 no constant comes from memory, and TestInitAddress shows that
// the program runs anywhere.
func TestInitCodeArm64(t *testing.T) {
	if runtime.GOARCH != "arm64" {
		t.Skip("looks at arm64 code; TestInitUnderQEMU runs it on amd64")
	}
	code := InitELF()[elfEntry:]
	if len(code)%4 != 0 {
		t.Fatalf("%d bytes of code", len(code))
	}
	signed := func(v uint32, bits int) int { return int(int32(v<<(32-bits)) >> (32 - bits)) }
	jumps := 0
	for at := 0; at < len(code); at += 4 {
		w := binary.LittleEndian.Uint32(code[at:])
		target := at
		switch {
		case w&0x3b000000 == 0x18000000:
			t.Errorf("%#x: %08x loads a literal", at, w)
		case w&0x1f000000 == 0x10000000:
			t.Errorf("%#x: %08x is ADR or ADRP", at, w)
		case w&0x7c000000 == 0x14000000: // B, BL
			target += 4 * signed(w, 26)
			jumps++
		case w&0xff000010 == 0x54000000, w&0x7e000000 == 0x34000000: // B.cond, CBZ
			target += 4 * signed(w>>5, 19)
			jumps++
		case w&0x7e000000 == 0x36000000: // TBZ
			target += 4 * signed(w>>5, 14)
			jumps++
		}
		if target < 0 || target >= len(code) {
			t.Errorf("%#x: %08x jumps to %#x, out of the code", at, w, target)
		}
	}
	if jumps < 30 {
		t.Errorf("only %d jumps found: this test no longer understands the code", jumps)
	}
}

func TestInitArgs(t *testing.T) {
	cmd := []string{"cmd", ""}
	for _, c := range []struct {
		opts       InitOptions
		candidates []string
		want       []string
	}{
		{InitOptions{Socket: 3}, []string{"/a", "/b"}, []string{"sbx-init", "da@0", "/a", "/b", "", "cmd", ""}},
		{InitOptions{Socket: 16}, []string{"", "/b"}, []string{"sbx-init", "ab@0", "/b", "", "cmd", ""}},
		{InitOptions{Socket: 255, WaitForAck: true, Terminal: 2, Foreground: true}, nil, []string{"sbx-init", "ppE2", "", "cmd", ""}},
		{InitOptions{Socket: InitMaxSocket, NewProcessGroup: true, KeepSignalMask: true}, nil, []string{"sbx-init", "p\xffJ0", "", "cmd", ""}},
		{InitOptions{Socket: 3, Terminal: 1, OnDemand: true}, nil, []string{"sbx-init", "daP1", "", "cmd", ""}},
	} {
		if got := InitArgs(c.opts, c.candidates, cmd); !reflect.DeepEqual(got, c.want) {
			t.Errorf("InitArgs(%+v, %q) = %q, want %q", c.opts, c.candidates, got, c.want)
		}
	}
	for _, fd := range []int{-1, 0, InitMaxSocket + 1} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("a socket with the number %d is accepted", fd)
				}
			}()
			InitArgs(InitOptions{Socket: fd}, nil, cmd)
		}()
	}
	defer func() {
		if recover() == nil {
			t.Error("a socket with the number 2 is accepted beside a terminal to be kept")
		}
	}()
	InitArgs(InitOptions{Socket: 2, OnDemand: true}, nil, cmd)
}

func TestParseInitMessage(t *testing.T) {
	m, err := ParseInitMessage([]byte{2, 0, 0, 0, 13, 0, 0, 0})
	if err != nil || m.Kind != InitExecFailed || m.Errno() != unix.EACCES {
		t.Errorf("%+v, %v", m, err)
	}
	m, err = ParseInitMessage([]byte{3, 0, 0, 0, 0x7f, 19, 0, 0})
	if err != nil || m.Kind != InitWaitStatus || m.WaitStatus().StopSignal() != unix.SIGSTOP {
		t.Errorf("%+v, %v", m, err)
	}
	for _, b := range []string{"", "\x01\x00\x00\x00\x00\x00\x00", "\x01\x00\x00\x00\x00\x00\x00\x00\x00", "\x00\x00\x00\x00\x00\x00\x00\x00", "\x05\x00\x00\x00\x00\x00\x00\x00"} {
		if m, err := ParseInitMessage([]byte(b)); err == nil {
			t.Errorf("%q is read as %+v", b, m)
		}
	}
	if s := InitInterpreterMissing.String() + ", " + InitMessageKind(9).String(); s != "interpreter missing, init message 9" {
		t.Error(s)
	}
}

// TestInitFD wants a memfd unless this host says that it has none to give.
func TestInitFD(t *testing.T) {
	fd, err := InitFD()
	if err != nil {
		t.Fatal(err)
	}
	if again, err := InitFD(); again != fd || err != nil {
		t.Errorf("a second call gives %d, %v instead of %d", again, err, fd)
	}
	checkInitFile(t, fd)

	noexec, err := os.ReadFile("/proc/sys/vm/memfd_noexec")
	if err != nil {
		t.Logf("this kernel has no vm.memfd_noexec: %v", err)
	}
	if strings.TrimSpace(string(noexec)) == "2" {
		t.Log("vm.memfd_noexec=2: looking at the file that replaces the memfd")
		return
	}
	seals, err := unix.FcntlInt(uintptr(fd), unix.F_GET_SEALS, 0)
	if err != nil {
		t.Fatal(err)
	}
	want := unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE
	if noexec != nil { // came with the seal that freezes the x bits
		want |= unix.F_SEAL_FUTURE_WRITE | unix.F_SEAL_EXEC
		if err := unix.Fchmod(fd, 0o600); err != unix.EPERM {
			t.Errorf("fchmod(0600): %v, want EPERM", err)
		}
	}
	if seals != want {
		t.Errorf("seals %#x, want %#x", seals, want)
	}
	if err := unix.Ftruncate(fd, 0); err != unix.EPERM {
		t.Errorf("ftruncate: %v, want EPERM", err)
	}
}

// checkInitFile looks at what a memfd and its replacement have in common.
func checkInitFile(t *testing.T, fd int) {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		t.Fatal(err)
	}
	if st.Mode&0o7777 != initMode || st.Size != int64(len(InitELF())) {
		t.Errorf("mode %#o and %d bytes", st.Mode&0o7777, st.Size)
	}
	if _, err := unix.Pwrite(fd, []byte("x"), 0); err != unix.EPERM && err != unix.EBADF {
		t.Errorf("write: %v, want EPERM (sealed) or EBADF (O_PATH)", err)
	}
	if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); flags != unix.FD_CLOEXEC {
		t.Errorf("F_GETFD: %#x, %v, want close-on-exec", flags, err)
	}
}

func TestInitTempfile(t *testing.T) {
	image := InitELF()
	fd, err := initTempfile(image, "", filepath.Join(t.TempDir(), "missing"), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	checkInitFile(t, fd)

	if _, err := initTempfile(image, "/nonexistent/a", "/proc"); err == nil || !strings.Contains(err.Error(), "/nonexistent/a") || !strings.Contains(err.Error(), "/proc") {
		t.Errorf("the error names not every place that was tried: %v", err)
	}
}
