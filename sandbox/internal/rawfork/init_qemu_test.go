package rawfork

import (
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox/internal/testenv"
)

// TestInitUnderQEMU runs the arm64 program on another host with QEMU's user
// mode, which translates the code and passes the system calls on. The image
// comes out of an arm64 build of these tests, which also checks the code.
func TestInitUnderQEMU(t *testing.T) {
	if image := os.Getenv("SBX_RAWFORK_INIT_IMAGE"); image != "" {
		if err := os.WriteFile(image, InitELF(), 0o700); err != nil {
			t.Fatal(err)
		}
		return
	}
	if runtime.GOARCH == "arm64" {
		return // the other tests run the arm64 program itself here
	}
	testenv.Want(t, "tool:qemu-aarch64")
	qemu, err := exec.LookPath("qemu-aarch64")
	if err != nil {
		t.Fatal(err)
	}
	tests := filepath.Join(t.TempDir(), "arm64.test")
	if ready := os.Getenv("SBX_RAWFORK_ARM64_TEST"); ready != "" {
		tests = ready
	} else {
		testenv.Want(t, "tool:go")
		build := exec.Command("go", "test", "-c", "-o", tests, ".")
		build.Env = append(os.Environ(), "GOOS=linux", "GOARCH=arm64", "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			// A user without module cache and network cannot build. That the
			// code builds at all is what vet for arm64 in scripts/lint is for.
			testenv.Lacks(t, "build-arm64", fmt.Sprintf("SBX_RAWFORK_ARM64_TEST can name a built test binary: %v\n%s", err, out))
		}
	}
	image := filepath.Join(t.TempDir(), "init")
	arm := exec.Command(qemu, tests, "-test.v", "-test.run", "^(TestInitUnderQEMU|TestInitELF|TestInitCodeArm64|TestInitArgs)$")
	arm.Env = append(os.Environ(), "SBX_RAWFORK_INIT_IMAGE="+image)
	out, err := arm.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: TestInitCodeArm64") {
		t.Fatalf("the arm64 tests: %v\n%s", err, out)
	}

	denied := file(t, "denied", "#!/bin/sh\n", 0o600)
	orphan := file(t, "orphan", "#!/nonexistent/interpreter\n", 0o700)
	sh := "/bin/sh" // of the host: QEMU passes execve on
	notRun := InitMessage{InitWaitStatus, 127 << 8}
	for _, c := range []struct {
		name       string
		opts       InitOptions
		candidates []string
		script     string
		want       []InitMessage
		exit       int
		output     string
	}{
		{
			"exit",
			InitOptions{NewProcessGroup: true},
			[]string{"/nonexistent", "/bin/sh/x", denied, sh},
			`(sleep 0.1 & ) ; echo "$0 $1 $V"; exit 7`,
			[]InitMessage{{InitStarted, 0}, {InitWaitStatus, 7 << 8}},
			7, "zero one set\n",
		},
		{
			"signal after the ack",
			InitOptions{WaitForAck: true},
			[]string{sh},
			"kill -TERM $$",
			[]InitMessage{{InitStarted, 0}, {InitWaitStatus, 15}},
			143, "",
		},
		{
			"not found",
			InitOptions{},
			[]string{"/nonexistent", "/bin/sh/x"},
			"",
			[]InitMessage{{InitStarted, 0}, {InitExecFailed, uint32(unix.ENOENT)}, notRun},
			127, "",
		},
		{
			"denied",
			InitOptions{KeepSignalMask: true},
			[]string{denied, "/nonexistent"},
			"",
			[]InitMessage{{InitStarted, 0}, {InitExecFailed, uint32(unix.EACCES)}, notRun},
			127, "",
		},
		{
			"interpreter missing",
			InitOptions{},
			[]string{orphan, sh},
			"",
			[]InitMessage{{InitStarted, 0}, {InitInterpreterMissing, uint32(unix.ENOENT)}, notRun},
			127, "",
		},
		{
			"no terminal",
			InitOptions{Foreground: true},
			[]string{sh},
			"",
			[]InitMessage{{InitExecFailed, uint32(unix.ENOTTY)}, notRun},
			127, "",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer unix.Close(pair[0])
			socket := os.NewFile(uintptr(pair[1]), "socket")
			defer socket.Close()
			if err := unix.SetsockoptTimeval(pair[0], unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 30}); err != nil {
				t.Fatal(err)
			}
			c.opts.Socket = 3
			args := InitArgs(c.opts, c.candidates, []string{"sh", "-c", c.script, "zero", "one"})
			cmd := exec.Command(qemu, append([]string{"-0", args[0], image}, args[1:]...)...)
			cmd.Env = []string{"PATH=/usr/bin:/bin", "V=set"}
			cmd.ExtraFiles = []*os.File{socket}
			var stdout, stderr strings.Builder
			cmd.Stdout, cmd.Stderr = &stdout, &stderr
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			socket.Close()
			if c.opts.WaitForAck {
				if _, err := unix.Write(pair[0], []byte{0}); err != nil {
					t.Fatal(err)
				}
			}
			var got []InitMessage
			for {
				var b [2 * InitMessageSize]byte
				n, err := unix.Read(pair[0], b[:])
				if err == unix.EINTR {
					continue
				}
				if err != nil {
					t.Fatal(err)
				}
				if n == 0 {
					break
				}
				m, err := ParseInitMessage(b[:n])
				if err != nil {
					t.Fatalf("%v: %x", err, binary.LittleEndian.Uint64(b[:]))
				}
				got = append(got, m)
			}
			cmd.Wait()
			if !slices.Equal(got, c.want) {
				t.Errorf("messages %v, want %v; stderr: %s", got, c.want, &stderr)
			}
			if code := cmd.ProcessState.ExitCode(); code != c.exit || stdout.String() != c.output {
				t.Errorf("exit %d and output %q, want %d and %q", code, stdout.String(), c.exit, c.output)
			}
		})
	}
}
