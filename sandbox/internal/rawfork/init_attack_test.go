package rawfork

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox/internal/testenv"
)

// probeMain is a CMD that tries to look into PID 1.
func probeMain() {
	status, _ := os.ReadFile("/proc/self/status")
	fmt.Printf("capabilities %v\n", !bytes.Contains(status, []byte("\nCapEff:\t0000000000000000\n")))
	for _, name := range []string{"mem", "environ", "exe"} {
		f, err := os.Open("/proc/1/" + name)
		if err == nil && name == "environ" {
			_, err = io.ReadAll(f)
		}
		fmt.Println(name, err == nil)
	}
	_, err := os.Readlink("/proc/1/fd/" + strconv.Itoa(stageSocket))
	fmt.Println("fd", err == nil)
	_, err = os.ReadDir("/proc/1/map_files")
	fmt.Println("map_files", err == nil)
	pidfd, err := unix.PidfdOpen(1, 0)
	if err != nil {
		fmt.Println("pidfd_open", err)
	}
	_, err = unix.PidfdGetfd(pidfd, stageSocket, 0)
	fmt.Println("pidfd_getfd", err == nil)
	local := make([]byte, 1)
	remote := []unix.RemoteIovec{{Base: 0x1000, Len: 1}}
	_, err = unix.ProcessVMReadv(1, []unix.Iovec{{Base: &local[0], Len: 1}}, remote, 0)
	fmt.Println("process_vm_readv", !errors.Is(err, unix.EPERM)) // EFAULT: allowed, but no such address
	fmt.Println("ptrace", unix.PtraceSeize(1) == nil)            // unlike an attach, does not stop it
	var st unix.Stat_t
	fmt.Println("socket", unix.Fstat(stageSocket, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFSOCK)
}

// TestInitIsNotDumpable attacks PID 1 from inside, with each of its two
// protections alone, and with none, where the attack must succeed or it shows
// nothing.
func TestInitIsNotDumpable(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	plain := InitELF()
	unprotected := withoutPrctl(t, plain)
	memfd := func(t *testing.T, image []byte, mode uint32) int {
		t.Helper()
		fd, err := unix.MemfdCreate("sbx-init", unix.MFD_CLOEXEC|unix.MFD_EXEC)
		if err == unix.EINVAL {
			fd, err = unix.MemfdCreate("sbx-init", unix.MFD_CLOEXEC)
		}
		if err != nil {
			testenv.Lacks(t, "memfd-exec", err)
		}
		t.Cleanup(func() { unix.Close(fd) })
		if err := initWrite(fd, image); err != nil {
			t.Fatal(err)
		}
		if err := unix.Fchmod(fd, mode); err != nil {
			t.Fatal(err)
		}
		return fd
	}
	for _, c := range []struct {
		name  string
		image []byte
		mode  uint32
		caps  bool // when init is executed
		safe  bool
	}{
		{"as it is", plain, initMode, false, true},
		{"only the mode", unprotected, initMode, false, true},
		{"only prctl", plain, 0o755, false, true},
		{"unprotected", unprotected, 0o755, false, false},
		// Whoever may read everything may read the file, so its mode is worth
		// nothing.
		{"as it is, executed with capabilities", plain, initMode, true, true},
		{"only the mode, executed with capabilities", unprotected, initMode, true, false},
	} {
		for _, root := range []bool{false, true} {
			if c.caps && (root || os.Getuid() == 0) {
				continue // root keeps them, and CMD with CAP_SYS_PTRACE sees all
			}
			t.Run(fmt.Sprintf("%s, root %v", c.name, root), func(t *testing.T) {
				r := &trial{candidates: []string{self}, argv: []string{"probe"}, mapRoot: root}
				r.stage = stage{MountProc: true, DropCaps: !c.caps, LoseCaps: c.caps, Env: []string{roleVariable + "=probe"}}
				r.image = memfd(t, c.image, c.mode)
				out := r.output(t)
				if !strings.Contains(out, "capabilities false\n") || !strings.Contains(out, "socket false\n") {
					t.Errorf("CMD has capabilities or the launcher's socket:\n%s", out)
				}
				if c.safe {
					if strings.Contains(out, " true") {
						t.Errorf("CMD could look into PID 1:\n%s", out)
					}
					return
				}
				// The others may be refused for other reasons: Yama, or the
				// mode of the file, which holds for exe too.
				for _, name := range []string{"environ", "fd", "map_files"} {
					if !strings.Contains(out, name+" true\n") {
						t.Errorf("the attack on %s fails without protection too, so it tests nothing:\n%s", name, out)
					}
				}
			})
		}
	}
}

// withoutPrctl returns image with its first system call, the prctl that makes
// it non-dumpable, turned into getpid(2).
func withoutPrctl(t *testing.T, image []byte) []byte {
	t.Helper()
	var from, to []byte
	switch runtime.GOARCH {
	case "amd64": // MOVL $157, AX; $39
		from, to = []byte{0xb8, 157, 0, 0, 0}, []byte{0xb8, 39, 0, 0, 0}
	case "arm64": // MOVZ X8, #167; #172
		from = binary.LittleEndian.AppendUint32(nil, 0xd2800008|167<<5)
		to = binary.LittleEndian.AppendUint32(nil, 0xd2800008|172<<5)
	}
	if bytes.Count(image, from) != 2 {
		t.Fatalf("%d system calls prctl in the init program, want 2", bytes.Count(image, from))
	}
	return bytes.Replace(image, from, to, 1)
}
