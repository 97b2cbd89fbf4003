package sandbox_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox"
	"github.com/sbx-dev/sbx/sandbox/internal/testenv"
)

// The tests of this file carry out attacks that several steps prevent together,
// in the default sandbox.

// masksOfProc are the entries of /proc that tell about, or act on, the whole
// machine. Which of them exist depends on the kernel.
var masksOfProc = []string{
	"acpi", "asound", "scsi", "kcore", "keys", "key-users", "kallsyms", "latency_stats", "sched_debug", "sysrq-trigger", "timer_list",
}

// TestMasksOfProc: of each entry that this kernel has there is nothing to see,
// and what is written to it goes nowhere (CVE-2019-16884: a mask that was not
// mounted went unnoticed).
func TestMasksOfProc(t *testing.T) {
	needAll(t)
	script := "for f; do "
	script += `if [ -d /proc/$f ]; then echo "$f: $(ls -A /proc/$f | wc -l)"; else echo "$f: $(head -c 9 /proc/$f | wc -c)"; fi; done`
	var there []string
	for _, name := range masksOfProc {
		if _, err := os.Lstat("/proc/" + name); err == nil {
			there = append(there, name)
		}
	}
	if len(there) == 0 {
		t.Skip("this kernel has none of the entries")
	}
	c := sandbox.Command("sh", append([]string{"-c", script, "sh"}, there...)...)
	_, said := says(t, c)
	for _, name := range there {
		if !slices.Contains(strings.Split(said, "\n"), name+": 0") {
			t.Errorf("/proc/%s shows something:\n%s", name, said)
		}
	}
	for _, name := range []string{"bus", "fs", "irq", "sys"} {
		c := sandbox.Command("sh", "-c", "grep ' /proc/"+name+" ' /proc/self/mountinfo")
		if _, said := says(t, c); !strings.Contains(said, " ro,") {
			t.Errorf("/proc/%s is not read-only: %q", name, said)
		}
	}
}

// TestOldRoot: no way of naming it leads back to the host's root.
func TestOldRoot(t *testing.T) {
	needAll(t)
	secret := homeFile(t)
	ways := []string{
		"", strings.Repeat("/..", 64), "/proc/1/root", "/proc/1/cwd", "/proc/self/root", "/proc/self/cwd", "/proc/thread-self/root",
		"/proc/self/root" + strings.Repeat("/..", 64), "/proc/1/root/..", "/proc/self/task/1/root", "/dev/fd/../../..", "/proc/$$/cwd",
		"/tmp/..", "/run/..", "/oldroot", "/.old", "/tmp/root", "/mnt",
	}
	for i := range 16 {
		ways = append(ways, fmt.Sprintf("/proc/self/fd/%d", i), fmt.Sprintf("/proc/1/fd/%d", i), fmt.Sprintf("/proc/%d/root", i), fmt.Sprintf("/proc/%d/cwd", i))
	}
	var script strings.Builder
	for _, way := range ways {
		fmt.Fprintf(&script, "cat %s%s 2>/dev/null && echo ' by %s'\n", way, secret, way)
	}
	for name, change := range map[string]func(*sandbox.Spec){
		"default":                   func(*sandbox.Spec) {},
		"CMD is PID 1":              func(s *sandbox.Spec) { s.AsPID1 = true },
		"uid 0, every capability":   func(s *sandbox.Spec) { asRoot(s); s.CapAdd = []string{"all"} },
		"no landlock, no filter":    func(s *sandbox.Spec) { s.Skip = []string{"landlock", "seccomp"} },
		"the same, as uid 0":        func(s *sandbox.Spec) { asRoot(s); s.Skip = []string{"landlock", "seccomp", "caps"} },
		"sandboxes may be nested":   func(s *sandbox.Spec) { s.AllowNesting = true },
		"with the host's network":   func(s *sandbox.Spec) { s.Net = "host" },
		"the working folder is off": func(s *sandbox.Spec) { s.HideDir = true },
	} {
		t.Run(name, func(t *testing.T) {
			c := sandbox.Command("sh", "-c", script.String())
			change(&c.Spec)
			if _, said := says(t, c); strings.Contains(said, aSecret) {
				t.Errorf("%s", said)
			}
		})
	}
}

// probeInit attacks PID 1 from inside. It prints what worked, and fails when
// nothing did. What is left to CMD, since the kernel asks for the same uid alone,
// hurts its own sandbox only: prlimit(2) and a worse oom_score_adj.
func probeInit([]string) error {
	var worked []string
	try := func(what string, err error) {
		if err == nil {
			worked = append(worked, what)
		}
	}
	for _, name := range []string{"mem", "environ", "exe", "auxv", "maps", "syscall", "stack"} {
		_, err := os.ReadFile("/proc/1/" + name)
		try("read "+name, err)
	}
	for _, dir := range []string{"root", "cwd", "fd", "map_files"} {
		names, err := os.ReadDir("/proc/1/" + dir + "/.")
		if len(names) == 0 && err == nil {
			err = io.EOF
		}
		try("list "+dir, err)
		for _, n := range names {
			_, err := os.Readlink("/proc/1/" + dir + "/" + n.Name())
			try("follow "+dir+"/"+n.Name(), err)
		}
	}
	for _, name := range []string{"mem", "exe", "uid_map", "setgroups"} {
		f, err := os.OpenFile("/proc/1/"+name, os.O_WRONLY, 0)
		if err == nil {
			_, err = f.WriteString("0 0 1")
			f.Close()
		}
		try("write "+name, err)
	}
	for _, request := range []uintptr{unix.PTRACE_ATTACH, unix.PTRACE_SEIZE} {
		if _, _, errno := unix.RawSyscall6(unix.SYS_PTRACE, request, 1, 0, 0, 0, 0); errno == 0 {
			worked = append(worked, fmt.Sprint("ptrace ", request))
		}
	}
	local := []unix.Iovec{{Base: new(byte), Len: 1}}
	_, err := unix.ProcessVMReadv(1, local, []unix.RemoteIovec{{Base: 0x400000, Len: 1}}, 0)
	if !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.ENOSYS) {
		worked = append(worked, fmt.Sprint("process_vm_readv: ", err))
	}
	if pidfd, err := unix.PidfdOpen(1, 0); err == nil {
		for fd := range 1024 {
			_, err := unix.PidfdGetfd(pidfd, fd, 0)
			try(fmt.Sprint("pidfd_getfd ", fd), err)
		}
	}
	for sig := 1; sig < 65; sig++ {
		_ = unix.Kill(1, unix.Signal(sig)) // dropped: PID 1 has no handler
	}
	for _, name := range worked {
		fmt.Println(name)
	}
	if len(worked) == 0 {
		return errors.New("nothing worked")
	}
	return nil
}

// TestInitHolds: PID 1 can be neither read, traced nor killed from inside, since
// it belongs to nobody inside (not dumpable) and the kernel drops signals for it.
func TestInitHolds(t *testing.T) {
	needAll(t)
	for name, change := range map[string]func(*sandbox.Spec){
		"default":                func(*sandbox.Spec) {},
		"no landlock, no filter": func(s *sandbox.Spec) { s.Skip = []string{"landlock", "seccomp"} },
	} {
		t.Run(name, func(t *testing.T) {
			c := &sandbox.Cmd{}
			change(&c.Spec)
			if ok, said := says(t, inside(c, "init")); ok || !strings.Contains(said, "nothing worked") {
				t.Errorf("on PID 1 worked: %s", said)
			}
		})
	}
}

// TestInitFromOutside looks at a running PID 1: it carries what CMD carries
// (CVE-2016-8659: a weaker init was the way in), and holds nothing of the host.
func TestInitFromOutside(t *testing.T) {
	needAll(t)
	t.Setenv("SBX_TEST_TOKEN", aSecret)
	c := sandbox.Command("cat")
	stdin, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	proc := "/proc/" + strconv.Itoa(c.InitPid())
	// PID 1 lets go of everything once CMD has its own copy.
	if err := testenv.Settle(func() error {
		cwd, err := os.Readlink(proc + "/cwd")
		if err == nil && cwd != "/" {
			err = errors.New("the working folder of PID 1 is " + cwd)
		}
		fds, errFDs := os.ReadDir(proc + "/fdinfo")
		if errFDs == nil && len(fds) != 1 {
			errFDs = fmt.Errorf("PID 1 has %d open files, want its socket alone", len(fds))
		}
		return errors.Join(err, errFDs)
	}); err != nil {
		t.Error(err)
	}
	facts := map[string]string{}
	for line := range strings.Lines(readFile(t, proc+"/status")) {
		name, value, _ := strings.Cut(line, ":")
		facts[name] = strings.TrimSpace(value)
	}
	for name, want := range map[string]string{
		"CapInh": "0000000000000000", "CapPrm": "0000000000000000", "CapEff": "0000000000000000", "CapBnd": "0000000000000000",
		"CapAmb": "0000000000000000", "NoNewPrivs": "1", "Seccomp": "2", "Name": "sbx-init",
	} {
		if facts[name] != want {
			t.Errorf("%s of PID 1 is %q, want %q", name, facts[name], want)
		}
	}
	var host, there unix.Stat_t
	if err := errors.Join(unix.Stat("/", &host), unix.Stat(proc+"/root/.", &there)); err == nil && host.Dev == there.Dev && host.Ino == there.Ino {
		t.Error("the root of PID 1 is the host's")
	}
	if exe, err := os.Readlink(proc + "/exe"); err != nil || !strings.Contains(exe, "sbx-init") {
		t.Errorf("PID 1 executes %q (%v): the program of the caller must not be reachable (CVE-2019-5736)", exe, err)
	}
	if text, err := os.ReadFile(proc + "/environ"); err == nil && strings.Contains(string(text), aSecret) {
		t.Error("PID 1 holds the caller's environment")
	}
	stdin.Close()
	if err := c.Wait(); err != nil {
		t.Fatal(err)
	}
}

// TestProgramsNotWritable: a program that runs inside, and that of the caller,
// cannot be overwritten through /proc.
func TestProgramsNotWritable(t *testing.T) {
	needAll(t)
	for _, file := range []string{"/proc/self/exe", "/proc/1/exe", "/probe"} {
		c := sandbox.Command("true")
		_, said := says(t, inside(c, "open", file, strconv.Itoa(unix.O_WRONLY)))
		if !strings.HasPrefix(said, "EROFS") && !strings.HasPrefix(said, "EACCES") && !strings.HasPrefix(said, "ETXTBSY") {
			t.Errorf("%s for writing: %s", file, said)
		}
	}
}

// probeOpen opens the file args[0] with the flags args[1].
func probeOpen(args []string) error {
	flags, _ := strconv.Atoi(args[1])
	fd, err := unix.Open(args[0], flags, 0)
	if err != nil {
		return err
	}
	return unix.Close(fd)
}

// TestDeviceNodes: none can be made, with any capability, and one that a shown
// folder holds is dead (nodev).
func TestDeviceNodes(t *testing.T) {
	needAll(t)
	for name, change := range map[string]func(*sandbox.Spec){
		"default": func(*sandbox.Spec) {},
		"uid 0, every capability, no filter": func(s *sandbox.Spec) {
			asRoot(s)
			s.CapAdd, s.Skip = []string{"all"}, []string{"landlock", "seccomp"}
		},
	} {
		for _, kind := range []int{unix.S_IFCHR, unix.S_IFBLK} {
			c := &sandbox.Cmd{}
			change(&c.Spec)
			// mknodat(AT_FDCWD, "/tmp/node", kind|0666, 1:1 /dev/mem)
			said := ""
			if _, said = says(t, inside(c, "call", strconv.Itoa(unix.SYS_MKNODAT), "-100", "page:/tmp/node", strconv.Itoa(kind|0o666), "0x101")); !strings.HasPrefix(said, "EPERM") {
				t.Errorf("%s: a device node of type %#o: %s", name, kind, said)
			}
		}
	}
	c := sandbox.Command("sh", "-c", "grep -v ' /dev/\\| /proc' /proc/self/mountinfo")
	_, said := says(t, c)
	for line := range strings.Lines(said) {
		if f := strings.Fields(line); !slices.Contains(strings.Split(f[5], ","), "nodev") {
			t.Errorf("devices work below %s", f[4])
		}
	}
}

// TestNestedNamespacesRefusedTwice: by the filter, and where that is off by the
// limit, which the sandbox cannot raise again.
func TestNestedNamespacesRefusedTwice(t *testing.T) {
	needAll(t)
	const newUser = "0x10000011" // CLONE_NEWUSER|SIGCHLD
	for _, test := range []struct {
		name, want string
		change     func(*sandbox.Spec)
	}{
		{"default", "EPERM", func(*sandbox.Spec) {}},
		{"no filter", "ENOSPC", func(s *sandbox.Spec) { s.Skip = []string{"seccomp"} }},
		{"uid 0, no filter", "ENOSPC", func(s *sandbox.Spec) { asRoot(s); s.Skip = []string{"seccomp"} }},
		{"allowed", "returned", func(s *sandbox.Spec) { s.AllowNesting = true }},
	} {
		c := &sandbox.Cmd{}
		test.change(&c.Spec)
		if _, said := says(t, inside(c, "call", strconv.Itoa(unix.SYS_CLONE), newUser)); !strings.HasPrefix(said, test.want) {
			t.Errorf("%s: %s, want %s", test.name, said, test.want)
		}
		c = sandbox.Command("sh", "-c", "echo 100 >/proc/sys/user/max_user_namespaces")
		test.change(&c.Spec)
		if test.name != "allowed" {
			if ok, said := says(t, c); ok {
				t.Errorf("%s: the limit was raised: %s", test.name, said)
			}
		}
	}
}
