package sandbox_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox"
	"github.com/sbx-dev/sbx/sandbox/internal/testenv"
)

// ownerCalls are what the probe owners tries: the calls by which a program gives
// files and itself to another. Unmapped calls have an id that only root of a
// larger namespace could mean.
var ownerCalls = []struct {
	name     string
	nr       uintptr
	args     [5]uintptr
	unmapped bool
	without  unix.Errno // the kernel's answer
}{
	{"fchown 42:42", unix.SYS_FCHOWN, [5]uintptr{theFile, 42, 42}, true, unix.EINVAL},
	{"fchown 42:-1", unix.SYS_FCHOWN, [5]uintptr{theFile, 42, minusOne}, true, unix.EINVAL},
	{"fchown 0:42", unix.SYS_FCHOWN, [5]uintptr{theFile, 0, 42}, true, unix.EINVAL},
	{"fchown with high bits", unix.SYS_FCHOWN, [5]uintptr{theFile, 1<<32 | 42, 0}, true, unix.EINVAL},
	{"fchown 0:0", unix.SYS_FCHOWN, [5]uintptr{theFile, 0, 0}, false, 0},
	{"fchown 0:0 of no file", unix.SYS_FCHOWN, [5]uintptr{minusOne, 0, 0}, false, unix.EBADF},
	{"fchown -1:-1 of no file", unix.SYS_FCHOWN, [5]uintptr{minusOne, minusOne, minusOne}, false, unix.EBADF},
	{"fchownat 42:42", unix.SYS_FCHOWNAT, [5]uintptr{theFile, theEmpty, 42, 42, unix.AT_EMPTY_PATH}, true, unix.EINVAL},
	{"fchownat 0:0 of no file", unix.SYS_FCHOWNAT, [5]uintptr{minusOne, theEmpty, 0, 0, unix.AT_EMPTY_PATH}, false, unix.EBADF},
	{"setgroups", unix.SYS_SETGROUPS, [5]uintptr{0, 0}, true, unix.EPERM},
	{"setresgid 42", unix.SYS_SETRESGID, [5]uintptr{42, 42, 42}, true, unix.EINVAL},
	{"setresuid 42", unix.SYS_SETRESUID, [5]uintptr{minusOne, 42, minusOne}, true, unix.EINVAL},
	{"setresuid 0", unix.SYS_SETRESUID, [5]uintptr{0, 0, 0}, false, 0},
	{"setregid 42", unix.SYS_SETREGID, [5]uintptr{42, minusOne}, true, unix.EINVAL},
	{"setreuid 42", unix.SYS_SETREUID, [5]uintptr{42, 0}, true, unix.EINVAL},
	{"setgid 42", unix.SYS_SETGID, [5]uintptr{42}, true, unix.EINVAL},
	{"setgid 0", unix.SYS_SETGID, [5]uintptr{0}, false, 0},
	{"setuid 42", unix.SYS_SETUID, [5]uintptr{42}, true, unix.EINVAL},
	{"setuid -1", unix.SYS_SETUID, [5]uintptr{minusOne}, false, unix.EINVAL},
	{"setfsuid 42", unix.SYS_SETFSUID, [5]uintptr{42}, true, 0}, // it never fails (setfsuid(2))
}

// Placeholders in ownerCalls, out of the range of ids and descriptors.
const (
	minusOne = ^uintptr(0)
	theFile  = 1 << 40
	theEmpty = 1<<40 + 1
)

// probeOwners makes the calls, one line each, and then says what became of a
// file of its own and of itself.
func probeOwners([]string) error {
	runtime.LockOSThread() // the calls act on a thread
	f, err := os.CreateTemp("/tmp", "")
	if err != nil {
		return err
	}
	defer f.Close()
	page, err := unix.Mmap(-1, 0, os.Getpagesize(), unix.PROT_READ, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return err
	}
	for _, c := range ownerCalls {
		for i, a := range c.args {
			switch a {
			case theFile:
				c.args[i] = f.Fd()
			case theEmpty:
				c.args[i] = reflect.ValueOf(page).Pointer()
			}
		}
		_, _, errno := unix.RawSyscall6(c.nr, c.args[0], c.args[1], c.args[2], c.args[3], c.args[4], 0)
		fmt.Println(int(errno))
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return err
	}
	ru, eu, su := unix.Getresuid()
	rg, eg, sg := unix.Getresgid()
	fmt.Println("file", st.Uid, st.Gid, "process", ru, eu, su, rg, eg, sg)
	return nil
}

// TestFakeOwners: with it, what has an id that is not mapped succeeds and
// changes nothing; what the kernel can do, it does as without.
func TestFakeOwners(t *testing.T) {
	needAll(t)
	for _, fake := range []bool{false, true} {
		c := inside(sandbox.Command("true"), "owners")
		asRoot(&c.Spec)
		c.Spec.FakeOwners = fake
		ok, said := says(t, c)
		lines := strings.Split(said, "\n")
		if !ok || len(lines) != len(ownerCalls)+1 {
			t.Fatalf("fake %v: %s", fake, said)
		}
		for i, call := range ownerCalls {
			want := call.without
			if fake && call.unmapped {
				want = 0
			}
			if lines[i] != strconv.Itoa(int(want)) {
				t.Errorf("fake %v: %s: errno %s, want %d", fake, call.name, lines[i], want)
			}
		}
		if got := lines[len(ownerCalls)]; got != "file 0 0 process 0 0 0 0 0 0" {
			t.Errorf("fake %v: afterwards: %s", fake, got)
		}
		told := slices.ContainsFunc(c.Plan().Notes, func(n string) bool { return strings.Contains(n, "owners are pretended") })
		if told != fake {
			t.Errorf("fake %v: the notes are %q", fake, c.Plan().Notes)
		}
	}
}

// TestFakeOwnersInstalls: dpkg installs a package with files of another owner
// and a script that makes more, where only uid 0 is mapped.
func TestFakeOwnersInstalls(t *testing.T) {
	needAll(t)
	testenv.Need(t, "tool:dpkg")
	deb := filepath.Join(t.TempDir(), "daemon.deb")
	if err := os.WriteFile(deb, debOfOthers(t), 0o644); err != nil {
		t.Fatal(err)
	}
	const script = `PATH=$PATH:/usr/sbin:/sbin; mkdir -p /tmp/db/info /tmp/db/updates /tmp/db/triggers /tmp/root && touch /tmp/db/status /tmp/db/available &&
dpkg --admindir=/tmp/db --instdir=/tmp/root --force-script-chrootless -i /daemon.deb &&
dpkg-query --admindir=/tmp/db -W -f '${Status} ' daemon && stat -c %u:%g /tmp/root/srv/daemon /tmp/root/srv/daemon/made`
	for _, fake := range []bool{false, true} {
		c := sandbox.Command("sh", "-c", script)
		asRoot(&c.Spec)
		c.Spec.Mounts = []sandbox.Mount{{Kind: sandbox.BindRO, Source: deb, Target: "/daemon.deb"}}
		c.Spec.FakeOwners = fake
		ok, said := says(t, c)
		if ok != fake || fake && !strings.HasSuffix(said, "install ok installed 0:0\n0:0") || !fake && !strings.Contains(said, "error setting ownership") {
			t.Errorf("fake %v: %v: %s", fake, ok, said)
		}
	}
}

// debOfOthers is a package (deb(5)) with a folder of uid 42, and a script that
// gives a file to uid 43 and becomes it.
func debOfOthers(t *testing.T) []byte {
	t.Helper()
	archive := func(entries ...tar.Header) []byte {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		for _, h := range entries {
			text := h.PAXRecords["text"]
			h.PAXRecords, h.Format, h.Size = nil, tar.FormatGNU, int64(len(text))
			if err := w.WriteHeader(&h); err != nil {
				t.Fatal(err)
			}
			if _, err := w.Write([]byte(text)); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	text := func(s string) map[string]string { return map[string]string{"text": s} }
	control := archive(
		tar.Header{Name: "./control", Mode: 0o644, PAXRecords: text("Package: daemon\nVersion: 1\nArchitecture: all\nMaintainer: A <a@example.org>\nDescription: test\n")},
		tar.Header{Name: "./postinst", Mode: 0o755, PAXRecords: text("#!/bin/sh\nset -e\ntouch /tmp/root/srv/daemon/made\nchown 43:43 /tmp/root/srv/daemon/made\nsetpriv --reuid 43 --regid 43 --clear-groups true\n")},
	)
	data := archive(
		tar.Header{Name: "./", Typeflag: tar.TypeDir, Mode: 0o755},
		tar.Header{Name: "./srv/", Typeflag: tar.TypeDir, Mode: 0o755},
		tar.Header{Name: "./srv/daemon/", Typeflag: tar.TypeDir, Mode: 0o750, Uid: 42, Gid: 42},
	)
	b := bytes.NewBufferString("!<arch>\n")
	for _, m := range []struct {
		name    string
		content []byte
	}{{"debian-binary", []byte("2.0\n")}, {"control.tar", control}, {"data.tar", data}} {
		fmt.Fprintf(b, "%-16s%-12d%-6d%-6d%-8o%-10d`\n", m.name, 0, 0, 0, 0o100644, len(m.content))
		b.Write(m.content) // tar's blocks and "2.0\n" are of even length, as ar(5) wants
	}
	return b.Bytes()
}

// TestFakeOwnersOfApt: apt reads that it is to stay root; the user's own setting
// wins, and where nobody pretends there is none.
func TestFakeOwnersOfApt(t *testing.T) {
	needAll(t)
	for name, test := range map[string]struct {
		change func(*sandbox.Spec)
		want   string
	}{
		"default":      {func(s *sandbox.Spec) { s.FakeOwners = false }, "none"},
		"pretended":    {func(*sandbox.Spec) {}, `APT::Sandbox::User "root";`},
		"the user's":   {func(s *sandbox.Spec) { s.Env = []string{"APT_CONFIG=/dev/null"} }, "/dev/null"},
		"the host's /": {func(s *sandbox.Spec) { s.Skip = []string{"root"} }, "none"},
	} {
		c := sandbox.Command("sh", "-c", `test "$APT_CONFIG" = /dev/null && echo /dev/null || cat "${APT_CONFIG-/none}" 2>/dev/null || echo none`)
		asRoot(&c.Spec)
		c.Spec.FakeOwners = true
		test.change(&c.Spec)
		if _, said := says(t, c); said != test.want {
			t.Errorf("%s: %s, want %s", name, said, test.want)
		}
	}
}

// TestFakeOwnersRefused: the filter knows the id 0 alone, so where another is
// mapped, or no filter is there, it would not do what it says.
func TestFakeOwnersRefused(t *testing.T) {
	zero, one := 0, 1
	for name, change := range map[string]func(*sandbox.Spec){
		"the caller's own uid": func(s *sandbox.Spec) { s.User.UID = nil },
		"another uid":          func(s *sandbox.Spec) { s.User.UID = &one },
		"another gid":          func(s *sandbox.Spec) { s.User.GID = &one },
		"ranges":               func(s *sandbox.Spec) { s.User.Auto = true },
		"two uids":             func(s *sandbox.Spec) { s.User.UIDMap = []sandbox.IDMap{{Outside: 1000, Count: 2}} },
		"two lines of gids": func(s *sandbox.Spec) {
			s.User.GIDMap = []sandbox.IDMap{{Outside: 1000, Count: 1}, {Inside: 1, Outside: 1001, Count: 1}}
		},
		"no id": func(s *sandbox.Spec) {
			s.User, s.Skip = sandbox.User{Unmapped: true}, sandbox.Closure([]string{"mount"})
		},
		"seccomp is skipped":    func(s *sandbox.Spec) { s.Skip = []string{"seccomp"} },
		"user is skipped":       func(s *sandbox.Spec) { s.Skip = sandbox.Closure([]string{"user"}) },
		"nesting":               func(s *sandbox.Spec) { s.AllowNesting = true },
		"another filter":        func(s *sandbox.Spec) { s.Seccomp = "strict" },
		"a filter of your own ": func(s *sandbox.Spec) { s.Seccomp = "/my.json" },
	} {
		s := sandbox.Spec{User: sandbox.User{UID: &zero}, FakeOwners: true}
		if err := s.Validate(); err != nil {
			t.Fatal(err)
		}
		change(&s)
		var bad *sandbox.SpecError
		if err := s.Validate(); !errors.As(err, &bad) || bad.Field != "FakeOwners" {
			t.Errorf("%s: %v", name, err)
		}
	}
	s := sandbox.Spec{FakeOwners: true, User: sandbox.User{
		UID: &zero, GID: &zero, UIDMap: []sandbox.IDMap{{Outside: 1000, Count: 1}}, GIDMap: []sandbox.IDMap{{Outside: 1000, Count: 1}},
	}}
	if err := s.Validate(); err != nil {
		t.Errorf("the one line written out: %v", err)
	}
}
