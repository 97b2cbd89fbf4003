package sandbox_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox"
)

// TestPosture compares what a program finds itself to be in the default sandbox
// with testdata/posture.golden, line by line: whatever opens shows up as a
// difference. After a change that is meant, the golden file is written anew by
//
//	UPDATE=1 go test -run TestPosture ./sandbox
//
// What differs between machines is masked or left out: ids, paths of the
// caller's, filesystems of the host, and folders that not every host has.
func TestPosture(t *testing.T) {
	needAll(t)
	dir := ownFolder(t)
	c := in(t, &sandbox.Cmd{}, dir)
	c.Features.Env = []string{"HOME=/home/caller", "PATH=/usr/bin:/bin", "USER=caller", "SBX_TEST_TOKEN=" + aSecret}
	ok, said := says(t, inside(c, "posture"))
	if !ok {
		t.Fatal(said)
	}
	got := maskPosture(t, said, dir)
	const golden = "testdata/posture.golden"
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatalf("%v\n%s", err, got)
		}
	}
	if want := readFile(t, golden); got != want {
		t.Errorf("the posture is another than in %s (- wanted, + found):\n%s", golden, lineDifference(want, got))
	}
}

// probePosture prints one fact a line: a word for its kind, then the fact.
func probePosture([]string) error {
	// The descriptors first: looking at anything else opens some.
	for fd := range 1024 {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil {
			var st unix.Stat_t
			_ = unix.Fstat(fd, &st)
			fmt.Printf("fd %d %s\n", fd, map[uint32]string{
				unix.S_IFIFO: "pipe", unix.S_IFCHR: "character device", unix.S_IFREG: "file", unix.S_IFDIR: "folder", unix.S_IFSOCK: "socket",
			}[st.Mode&unix.S_IFMT])
		}
	}
	groups, _ := os.Getgroups()
	fmt.Println("ids", os.Getuid(), os.Geteuid(), os.Getgid(), os.Getegid(), groups)
	for _, process := range []string{"self", "1"} {
		status, err := os.ReadFile("/proc/" + process + "/status")
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(status)) {
			name, value, _ := strings.Cut(line, ":")
			if strings.HasPrefix(name, "Cap") || name == "NoNewPrivs" || name == "Seccomp" {
				fmt.Println("status", process, name, strings.TrimSpace(value))
			}
		}
	}
	for _, secret := range []string{"environ", "mem", "exe", "cwd/.", "root/.", "fd", "maps", "auxv", "ns/net"} {
		f, err := os.Open("/proc/1/" + secret)
		if err == nil {
			f.Close()
			fmt.Println("init", secret, "opens")
			continue
		}
		fmt.Println("init", secret, unix.ErrnoName(errnoOf(err)))
	}
	for _, ns := range []string{"user", "mnt", "pid", "uts", "ipc", "net", "cgroup", "time"} {
		link, err := os.Readlink("/proc/self/ns/" + ns)
		if err != nil {
			link = "none"
		}
		fmt.Println("namespace", ns, link)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(mounts)) {
		// id parent device root target options [optional…] - type source options
		left, right, _ := strings.Cut(line, " - ")
		f := strings.Fields(left)
		fmt.Println("mount", f[4], strings.Fields(right)[0], f[5], strings.Join(f[6:], ","))
	}
	for _, kv := range os.Environ() {
		name, _, _ := strings.Cut(kv, "=")
		fmt.Println("environment", name)
	}
	processes, _ := filepath.Glob("/proc/[0-9]*")
	for _, p := range processes {
		comm, _ := os.ReadFile(p + "/comm")
		fmt.Println("process", filepath.Base(p), strings.TrimSpace(string(comm)))
	}
	for _, dir := range []string{"/", "/dev", "/proc/fs", "/run", "/tmp", "/var", "/home"} {
		entries, _ := os.ReadDir(dir)
		for _, e := range entries {
			fmt.Println("file", filepath.Join(dir, e.Name()), e.Type().String()[:1])
		}
	}
	for _, l := range []struct {
		name  string
		which int
	}{{"core", unix.RLIMIT_CORE}, {"nproc", unix.RLIMIT_NPROC}} {
		var limit unix.Rlimit
		_ = unix.Getrlimit(l.which, &limit)
		fmt.Println("limit", l.name, limit.Cur, limit.Max)
	}
	var names []string
	devices, err := os.ReadFile("/proc/net/dev")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(devices)) {
		if name, _, ok := strings.Cut(line, ":"); ok {
			names = append(names, strings.TrimSpace(name))
		}
	}
	if names, err = interfacesUp(names); err != nil {
		return err
	}
	for _, name := range names {
		fmt.Println("interface", name)
	}
	name, _ := os.Hostname()
	dir, _ := os.Getwd()
	stat, _ := os.ReadFile("/proc/self/stat")
	_, rest, _ := strings.Cut(string(stat), ") ")
	f := strings.Fields(rest) // state ppid pgrp session tty_nr
	fmt.Println("session", f[3], "group", f[2], "terminal", f[4], "parent", f[1])
	fmt.Println("hostname", name)
	fmt.Println("folder", dir)
	fmt.Printf("umask %#o\n", unix.Umask(0))
	sysctl, _ := os.ReadFile("/proc/sys/user/max_user_namespaces")
	fmt.Println("max_user_namespaces", strings.TrimSpace(string(sysctl)))
	return nil
}

func errnoOf(err error) unix.Errno {
	var errno unix.Errno
	if errors.As(err, &errno) {
		return errno
	}
	return 0
}

// optionalFiles are names that not every host has.
var optionalFiles = []string{
	"/lib32", "/lib64", "/libx32", "/libo32", "/opt", "/nix", "/snap",
	"/var/lib", "/var/cache", "/etc/resolv.conf", "/etc/hosts", "/etc/hostname",
}

// maskPosture makes the facts comparable between machines.
func maskPosture(t *testing.T, said, dir string) string {
	t.Helper()
	var out []string
	for line := range strings.Lines(said + "\n") {
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		switch f[0] {
		case "ids":
			for i, id := range f[1:] {
				if id == strconv.Itoa(os.Getuid()) || id == strconv.Itoa(os.Getgid()) {
					f[i+1] = "caller"
				}
			}
			f = f[:5] // groups beyond the own one are the overflow gid, as many as the caller has
		case "namespace":
			if host, err := os.Readlink("/proc/self/ns/" + f[1]); err == nil && host == f[2] {
				f[2] = "the host's"
			} else {
				f[2] = "its own"
			}
		case "mount":
			if f = maskMount(f, dir); f == nil {
				continue
			}
		case "environment":
			if slices.Contains([]string{"TERM", "COLORTERM", "NO_COLOR", "CI"}, f[1]) {
				continue
			}
		case "file":
			if slices.Contains(optionalFiles, f[1]) || strings.HasPrefix(f[1], "/proc/fs/") {
				continue
			}
			if f[1] == "/bin" || f[1] == "/sbin" || f[1] == "/lib" {
				f[2] = "" // links where /usr is merged, else folders
			}
		case "process":
			if f[1] != "1" {
				f[1] = "N"
			}
		case "umask":
			f[1] = fmt.Sprintf("the caller's = %v", f[1] == fmt.Sprintf("%#o", currentUmask()))
		}
		fact := strings.TrimSpace(strings.ReplaceAll(strings.Join(f, " "), dir, "WORK"))
		out = append(out, strings.ReplaceAll(fact, filepath.Base(dir), "WORK"))
	}
	slices.Sort(out)
	return strings.Join(out, "\n") + "\n"
}

// maskMount leaves out what depends on the host, nil for the whole mount.
func maskMount(f []string, dir string) []string {
	target, kind, options := f[1], f[2], strings.Split(f[3], ",")
	for _, o := range optionalFiles {
		if target == o || strings.HasPrefix(target, o+"/") {
			return nil
		}
	}
	hosts := target == "/usr" || target == "/etc" || target == "/probe" || target == "/bin" || target == "/sbin" || target == "/lib"
	device := strings.HasPrefix(target, "/dev/") && target != "/dev/pts" || kind == "devtmpfs"
	switch {
	case isMaskOfProc(target):
		return nil // TestMasksOfProc looks at all that this kernel has
	case target == "/bin" || target == "/sbin" || target == "/lib":
		return nil // folders of their own where /usr is not merged
	case strings.HasPrefix(target, "/usr/") || strings.HasPrefix(target, "/etc/"):
		return nil // mounts of the host's
	case hosts:
		kind = "HOST"
	case device:
		kind = "DEVICE"
	}
	options = slices.DeleteFunc(options, func(o string) bool {
		return strings.HasSuffix(o, "atime") || o == "inode64" || device && (o == "nosuid" || o == "noexec") || hosts && o == "noexec"
	})
	return []string{"mount", target, kind, strings.Join(options, ","), strings.Join(f[4:], ",")}
}

func isMaskOfProc(target string) bool {
	return slices.ContainsFunc(masksOfProc, func(name string) bool { return target == "/proc/"+name })
}

func currentUmask() int {
	mask := unix.Umask(0o77)
	unix.Umask(mask)
	return mask
}

// lineDifference lists the lines of one text that the other lacks.
func lineDifference(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	var b strings.Builder
	for _, line := range w {
		if !slices.Contains(g, line) {
			b.WriteString("- " + line + "\n")
		}
	}
	for _, line := range g {
		if !slices.Contains(w, line) {
			b.WriteString("+ " + line + "\n")
		}
	}
	return b.String()
}
