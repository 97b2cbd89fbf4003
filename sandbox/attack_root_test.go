package sandbox_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox"
)

// rootAttacks are on the files that the root shows.
var rootAttacks = []attack{
	{
		step: "overlay", name: "write to the working folder on the host",
		run: func(t *testing.T, c *sandbox.Cmd) (bool, string) {
			dir := ownFolder(t)
			file := writeFile(t, filepath.Join(dir, "file"), "as it was")
			c.Spec.Args = []string{"sh", "-c", "cd " + dir + "; echo changed >file; rm -f file; mkdir new; ls"}
			_, said := says(t, in(t, c, dir))
			text, err := os.ReadFile(file)
			_, made := os.Lstat(filepath.Join(dir, "new"))
			return err != nil || string(text) != "as it was" || made == nil, said
		},
	},
	{
		step: "proc", name: "see the caller's processes",
		run: func(t *testing.T, c *sandbox.Cmd) (bool, string) {
			v := victim(t)
			return tells("1000.0001", "sh", "-c", fmt.Sprintf("tr '\\0' ' ' </proc/%d/cmdline", v.Process.Pid))(t, c)
		},
	},
	{
		step: "proc", name: "read a masked entry", needs: []string{"kallsyms"},
		run: func(t *testing.T, c *sandbox.Cmd) (bool, string) {
			c.Spec.Args = []string{"head", "-n1", "/proc/kallsyms"}
			ok, said := says(t, c)
			return ok && said != "", said
		},
	},
	{
		step: "dev", name: "read the host's POSIX shared memory", beside: []string{"root"},
		run: func(t *testing.T, c *sandbox.Cmd) (bool, string) {
			f, err := os.CreateTemp("/dev/shm", "sbx-test-")
			if err != nil {
				t.Fatal(err)
			}
			defer os.Remove(f.Name())
			defer f.Close()
			if _, err := f.WriteString(aSecret); err != nil {
				t.Fatal(err)
			}
			return tells(aSecret, "cat", f.Name())(t, c)
		},
	},
	{
		step: "root", name: "read the caller's home",
		run: func(t *testing.T, c *sandbox.Cmd) (bool, string) {
			return tells(aSecret, "cat", homeFile(t))(t, c)
		},
	},
	{
		step: "root", name: "write to the caller's home",
		run: func(t *testing.T, c *sandbox.Cmd) (bool, string) {
			file := homeFile(t)
			c.Spec.Args = []string{"sh", "-c", "echo changed >" + file}
			_, said := says(t, c)
			return readFile(t, file) != aSecret, said
		},
	},
}

// TestChroot shows why root means pivot_root: the classic way out of a chroot
// works with CAP_SYS_CHROOT, and after pivot_root there is nothing outside.
func TestChroot(t *testing.T) {
	needAll(t)
	secret := homeFile(t)
	for with, escapes := range map[string]bool{"chroot": true, "pivot_root": false} {
		spec := only("root", "proc", "dev")
		spec.RootWith = with
		asRoot(&spec)
		c := &sandbox.Cmd{Spec: spec}
		_, said := says(t, inside(c, "chroot", secret))
		if got := strings.Contains(said, aSecret); got != escapes {
			t.Errorf("with %s and every capability: escaped = %v, want %v: %s", with, got, escapes, said)
		}
		// Without the capability the chroot holds.
		spec = only("root", "proc", "dev", "caps")
		spec.RootWith = with
		c = &sandbox.Cmd{Spec: spec}
		if _, said := says(t, inside(c, "chroot", secret)); strings.Contains(said, aSecret) || !strings.Contains(said, "EPERM") {
			t.Errorf("with %s and no capability: %s", with, said)
		}
	}
}

// TestOverlay: with the step CMD writes as if the folder were its own, without
// it the folder is read-only; the host's stays as it was either way.
func TestOverlay(t *testing.T) {
	needAll(t)
	const attack = "echo changed >file && mkdir new && mv file new/ && cat new/file"
	for _, test := range []struct {
		skip []string
		want string
		ok   bool
	}{{nil, "changed", true}, {[]string{"overlay"}, "Read-only file system", false}} {
		dir := ownFolder(t)
		file := writeFile(t, filepath.Join(dir, "file"), "as it was")
		c := in(t, &sandbox.Cmd{Spec: sandbox.Spec{Args: []string{"sh", "-c", attack}, Skip: test.skip}}, dir)
		ok, said := says(t, c)
		if ok != test.ok || !strings.Contains(said, test.want) {
			t.Errorf("skipped %v: %s", test.skip, said)
		}
		names, err := os.ReadDir(dir)
		if err != nil || len(names) != 1 || readFile(t, file) != "as it was" {
			t.Errorf("skipped %v: the host's folder holds %v (%v)", test.skip, names, err)
		}
	}
}

// TestPlantedLinks: hostile code leaves symbolic links where a later sandbox
// will mount something. A target is never resolved through one (CVE-2021-30465):
// it is refused, and what the link leads to stays.
func TestPlantedLinks(t *testing.T) {
	needAll(t)
	secret := homeFile(t)
	for name, plant := range map[string]func(dir string) (target string, err error){
		"the target is a link": func(dir string) (string, error) {
			return dir + "/data", os.Symlink(filepath.Dir(secret), dir+"/data")
		},
		"a folder above it is a link": func(dir string) (string, error) {
			return dir + "/a/b", os.Symlink("/etc", dir+"/a")
		},
		"a link out with dots": func(dir string) (string, error) {
			return dir + "/a/b", os.Symlink("../../../../etc", dir+"/a")
		},
		"a link to /proc/self/root": func(dir string) (string, error) {
			return dir + "/a/etc", os.Symlink("/proc/self/root", dir+"/a")
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir, source := ownFolder(t), ownFolder(t)
			target, err := plant(dir)
			if err != nil {
				t.Fatal(err)
			}
			for _, kind := range []string{sandbox.BindRO, sandbox.BindRW, sandbox.Overlay} {
				c := in(t, &sandbox.Cmd{Spec: sandbox.Spec{Args: []string{"true"}, Mounts: []sandbox.Mount{{Kind: kind, Source: source, Target: target}}}}, dir)
				var refused *sandbox.SpecError
				if err := c.Run(); !errors.As(err, &refused) || !strings.Contains(refused.Reason, "symbolic link") {
					t.Errorf("%s: %v", kind, err)
				}
			}
		})
	}
}

// TestLinkRace: the link appears between the look at the folder and the mount.
// Compile sees a folder, the child meets a link, and openat2 refuses it.
func TestLinkRace(t *testing.T) {
	needAll(t)
	dir, source := ownFolder(t), ownFolder(t)
	if err := os.Symlink("/etc", filepath.Join(dir, "data")); err != nil {
		t.Fatal(err)
	}
	c := in(t, &sandbox.Cmd{Spec: sandbox.Spec{
		Args:   []string{"true"},
		Mounts: []sandbox.Mount{{Kind: sandbox.BindRW, Source: source, Target: dir + "/data"}},
	}}, dir)
	c.Features.Host = before{Host: c.Features.Host, path: dir + "/data"}
	var failed *sandbox.Error
	if err := c.Run(); !errors.As(err, &failed) || failed.Errno != unix.ELOOP || !strings.HasPrefix(failed.Call, "openat2(") {
		t.Errorf("the mount through a link that came late: %v", err)
	}
}

// before is a host on which a path was still a folder.
type before struct {
	sandbox.Host
	path string
}

func (b before) Lstat(path string) sandbox.File {
	if path == b.path {
		return sandbox.File{Mode: unix.S_IFDIR}
	}
	return b.Host.Lstat(path)
}

// TestBindsStay: CMD can undo no mount and open none for writing. What holds
// them is that it has no capability and cannot get one in a namespace of its
// own: the second run, with all of them and no filter, shows which mounts are
// held by that alone. The kernel locks mounts only for a further, less privileged
// namespace (mount_namespaces(7)).
func TestBindsStay(t *testing.T) {
	needAll(t)
	dir := ownFolder(t)
	file := writeFile(t, filepath.Join(dir, "file"), "as it was")
	secret := writeFile(t, filepath.Join(ownFolder(t), "secret"), aSecret)
	mounts := []sandbox.Mount{
		{Kind: sandbox.BindRO, Source: dir, Target: "/mnt/ro"},
		{Kind: sandbox.BindRW, Source: filepath.Dir(secret), Target: "/mnt/hidden"},
		{Kind: sandbox.Hide, Target: "/mnt/hidden/secret"},
	}
	for _, test := range []struct {
		name, try string
		withCaps  bool // succeeds with every capability
	}{
		{"write below a read-only bind", "echo changed >/mnt/ro/file", false},
		{"write below /usr", "echo changed >/usr/sbx-test", false},
		{"open a read-only bind", "mount -o remount,rw,bind /mnt/ro && echo changed >/mnt/ro/file", true},
		{"open a superblock", "mount -o remount,rw / && echo changed >/mnt/ro/file", false},
		{"uncover a hidden file", "umount /mnt/hidden/secret && grep -q secret /mnt/hidden/secret", true},
		{"uncover it lazily", "umount -l /mnt/hidden/secret && grep -q secret /mnt/hidden/secret", true},
		{"bind around a cover", "mkdir -p /tmp/x && mount --bind /mnt/hidden /tmp/x && grep -q secret /tmp/x/secret", true},
		// The files' owner is uid 0 of the host, which is not mapped: with the
		// cover gone there is still no right to write.
		{"open /proc/sys", "mount -o remount,rw,bind /proc/sys && echo 1 >/proc/sys/kernel/panic", false},
		{"mount anything", "mount -t tmpfs tmpfs /mnt", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := &sandbox.Cmd{Spec: sandbox.Spec{Args: []string{"sh", "-c", test.try}, Mounts: mounts}}
			if ok, said := says(t, c); ok {
				t.Errorf("in the default sandbox: %s", said)
			}
			if text := readFile(t, file); text != "as it was" {
				t.Errorf("the file on the host holds %q", text)
			}
			c = &sandbox.Cmd{Spec: sandbox.Spec{
				Args: []string{"sh", "-c", test.try}, Mounts: mounts, CapAdd: []string{"all"}, Skip: []string{"landlock", "seccomp"},
				User: sandbox.User{UID: new(int)},
			}}
			if ok, said := says(t, c); ok != test.withCaps {
				t.Errorf("as uid 0 with every capability: %v, want %v: %s", ok, test.withCaps, said)
			}
			writeFile(t, file, "as it was")
		})
	}
}
