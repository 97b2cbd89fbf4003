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
	"github.com/sbx-dev/sbx/sandbox/internal/testenv"
	"github.com/sbx-dev/sbx/sandbox/stack"
)

// programsLayer is the lowest layer of an image that has the host's programs, by
// links into a /usr that the spec shows.
func programsLayer(t *testing.T) (string, []sandbox.Mount) {
	t.Helper()
	dir := filepath.Join(ownFolder(t), "base")
	for _, d := range []string{"", "usr", "etc"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, link := range []string{"bin", "sbin", "lib", "lib64"} {
		if target, err := os.Readlink("/" + link); err == nil {
			if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
				t.Fatal(err)
			}
		}
	}
	return dir, []sandbox.Mount{{Kind: sandbox.BindRO, Source: "/usr", Target: "/usr"}}
}

// imageOf is a Cmd whose root are layers above the host's programs. Each layer is
// made by a function.
func imageOf(t *testing.T, script string, layers ...func(dir string) error) *sandbox.Cmd {
	t.Helper()
	base, mounts := programsLayer(t)
	c := sandbox.Command("/bin/sh", "-c", script)
	c.Spec.Layers, c.Spec.Mounts = []string{base}, mounts
	for i, fill := range layers {
		dir := filepath.Join(filepath.Dir(base), fmt.Sprintf("layer%d", i))
		if err := errors.Join(os.Mkdir(dir, 0o755), fill(dir)); err != nil {
			t.Fatal(err)
		}
		c.Spec.Layers = append(c.Spec.Layers, dir)
	}
	return c
}

func write(dir, name, text string) error {
	at := filepath.Join(dir, name)
	return errors.Join(os.MkdirAll(filepath.Dir(at), 0o755), os.WriteFile(at, []byte(text), 0o644))
}

// TestLayers: the kernel shows of several layers what package stack says, and
// what CMD writes reaches none of them.
func TestLayers(t *testing.T) {
	needAll(t)
	c := imageOf(t, `cd /data && find . -type f | sort | xargs grep -H . ; echo new > a; rm b; ls /`,
		func(d string) error {
			return errors.Join(write(d, "data/a", "0"), write(d, "data/b", "0"), write(d, "data/gone", "0"), write(d, "data/opaque/x", "0"), write(d, "data/dir/f", "0"))
		},
		func(d string) error {
			return errors.Join(write(d, "data/a", "1"), write(d, "data/opaque/y", "1"), write(d, "data/dir", "1"),
				unix.Mknod(d+"/data/gone", unix.S_IFCHR, 0), unix.Setxattr(d+"/data/opaque", "user.overlay.opaque", []byte("y"), 0))
		})
	c.Spec.Folders = []string{"/made/here"}
	c.Spec.Changes = true
	out, err := c.CombinedOutput()
	want := "./a:1\n./b:0\n./dir:1\n./opaque/y:1\nbin\ndata\ndev\netc\nlib\nlib64\nmade\nproc\nsbin\ntmp\nusr\n"
	if err != nil || string(out) != want {
		t.Errorf("%v, inside is\n%swant\n%s", err, out, want)
	}
	s := stack.New(c.Spec.Layers)
	for p, text := range map[string]string{"/data/a": "1", "/data/b": "0", "/data/opaque/y": "1", "/data/dir": "1"} {
		if have, err := s.ReadFile(p, 10); err != nil || string(have) != text {
			t.Errorf("the stack has %q at %s, %v", have, p, err)
		}
	}
	for _, p := range []string{"/data/gone", "/data/opaque/x", "/data/dir/f"} {
		if _, err := s.Lstat(p); err == nil {
			t.Errorf("the stack shows %s", p)
		}
	}
	var changes []string
	for _, ch := range c.Result.Changes {
		changes = append(changes, ch.Kind+" "+ch.Path)
	}
	if have := strings.Join(changes, ", "); have != "modified /data/a, deleted /data/b" {
		t.Errorf("changes are %s", have)
	}
}

// TestManyLayers: 128 layers with names as long as the image store's, which
// mount(2)'s options cannot hold, and the same with an upper layer on disk.
func TestManyLayers(t *testing.T) {
	needAll(t)
	c := imageOf(t, "cat /top /0 /63 /126; echo kept > /kept")
	top := filepath.Join(filepath.Dir(c.Spec.Layers[0]), "layers")
	for i := range 127 {
		dir := filepath.Join(top, fmt.Sprintf("%064x", i), "root")
		if err := errors.Join(write(dir, fmt.Sprint(i), fmt.Sprintln("of", i)), write(dir, "top", fmt.Sprintln("top", i))); err != nil {
			t.Fatal(err)
		}
		c.Spec.Layers = append(c.Spec.Layers, dir)
	}
	c.Spec.Upper = filepath.Join(ownFolder(t), "upper")
	out, err := c.CombinedOutput()
	if want := "top 126\nof 0\nof 63\nof 126\n"; err != nil || string(out) != want {
		t.Fatalf("%v: %s, want %s", err, out, want)
	}
	if text, err := os.ReadFile(filepath.Join(c.Spec.Upper, "@root/upper/kept")); err != nil || string(text) != "kept\n" {
		t.Errorf("the upper layer has %q, %v", text, err)
	}
}

// TestHostileLayers: an image whose /proc, /dev, /tmp, /etc or mount points are
// links, or files, gets nothing of the host and no other way round the mounts.
func TestHostileLayers(t *testing.T) {
	needAll(t)
	for name, c := range map[string]struct {
		fill func(string) error
		want string // of the error; empty where the sandbox is to be made
	}{
		"proc is a link": {func(d string) error { return os.Symlink("/etc", d+"/proc") }, "/proc goes through a symbolic link"},
		"dev is a link":  {func(d string) error { return os.Symlink("../../../dev", d+"/dev") }, "/dev goes through a symbolic link"},
		"tmp is a link":  {func(d string) error { return os.Symlink("/usr", d+"/tmp") }, "/tmp goes through a symbolic link"},
		"proc is a file": {func(d string) error { return write(d, "proc", "") }, "needs a folder"},
		"hosts is a link out": {func(d string) error {
			return errors.Join(os.Mkdir(d+"/etc", 0o755), os.Symlink("../../../../../etc/passwd", d+"/etc/hosts"))
		}, ""},
		"resolv.conf is a link": {func(d string) error {
			return errors.Join(os.Mkdir(d+"/etc", 0o755), os.Symlink("../../../../../etc/shadow", d+"/etc/resolv.conf"))
		}, ""},
		"resolv.conf is a folder": {func(d string) error { return os.MkdirAll(d+"/etc/resolv.conf", 0o755) }, ""},
		"resolv.conf is a fifo": {func(d string) error {
			return errors.Join(os.Mkdir(d+"/etc", 0o755), unix.Mkfifo(d+"/etc/resolv.conf", 0o644))
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			x := imageOf(t, "test ! -e /home && test ! -e /root/.ssh && grep -q sandbox /etc/hosts && echo held", c.fill)
			out, err := x.CombinedOutput()
			switch {
			case c.want == "" && (err != nil || !strings.HasSuffix(string(out), "held\n")):
				t.Errorf("%v: %s", err, out)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("the error is %v, want %s", err, c.want)
			}
		})
	}
}

// TestRepeatedLayer: an image may hold a layer several times, which overlayfs
// takes once: it counts where it lies highest.
func TestRepeatedLayer(t *testing.T) {
	needAll(t)
	c := imageOf(t, "cat /a /b /gone; ls /d",
		func(d string) error { return errors.Join(write(d, "gone", "gone"), write(d, "d/old", "")) },
		func(d string) error {
			return errors.Join(write(d, "a", "twice "), write(d, "b", "twice "), write(d, "d/new", ""),
				unix.Mknod(d+"/gone", unix.S_IFCHR, 0), unix.Setxattr(d+"/d", "user.overlay.opaque", []byte("y"), 0))
		},
		func(d string) error {
			return errors.Join(write(d, "a", "between "), write(d, "gone", "back "), unix.Mknod(d+"/b", unix.S_IFCHR, 0))
		})
	twice := c.Spec.Layers[2]
	c.Spec.Layers = append(c.Spec.Layers, twice)
	out, err := c.CombinedOutput()
	if want := "twice twice cat: /gone: No such file or directory\nnew\n"; err != nil || string(out) != want {
		t.Errorf("%v: %q, want %q", err, out, want)
	}
}

// TestFolderForFile: where the image asks for a folder in the place of a file of
// our own, it gets that, and no mount fails.
func TestFolderForFile(t *testing.T) {
	needAll(t)
	c := imageOf(t, "pwd; grep -c . /etc/resolv.conf", func(string) error { return nil })
	c.Spec.Folders, c.Spec.Dir = []string{"/etc/hosts"}, "/etc/hosts"
	if out, err := c.CombinedOutput(); err != nil || string(out) != "/etc/hosts\n1\n" {
		t.Errorf("%v: %q", err, out)
	}
}

// TestHintOfLayers: a hint about a program that the image does not have looks at
// nothing of the host, whichever link of the image the program's name goes through.
func TestHintOfLayers(t *testing.T) {
	needAll(t)
	script := filepath.Join(ownFolder(t), "script")
	if err := os.WriteFile(script, []byte("#!/the/caller's/own\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	c := imageOf(t, "", func(d string) error { return os.Symlink(filepath.Dir(script), d+"/link") })
	c.Spec.Args = []string{"/link/script"}
	folder := sandbox.Cmd{Spec: c.Spec}
	folder.Spec.Rootfs, folder.Spec.Layers = c.Spec.Layers[1], nil
	for _, c := range []*sandbox.Cmd{c, &folder} {
		err := c.Run()
		var failed *sandbox.ExecError
		if !errors.As(err, &failed) {
			t.Fatalf("the error is %v", err)
		}
		if hint := sandbox.HintOf(err); strings.Contains(hint, "caller's") || strings.Contains(hint, script) {
			t.Errorf("the hint is about a file of the host: %s", hint)
		}
	}
}

// TestLayersSpec: what cannot be is refused before anything is made.
func TestLayersSpec(t *testing.T) {
	one := 1
	for want, s := range map[string]sandbox.Spec{
		"exclude each other":   {Layers: []string{"/a"}, Rootfs: "/b"},
		"clean absolute":       {Layers: []string{"a"}},
		"more than":            {Layers: make([]string, 500)},
		"lie in one another":   {Layers: []string{"/a/b"}, Upper: "/a"},
		"which is skipped":     {Layers: []string{"/a"}, Skip: []string{"overlay"}},
		"no image to make it":  {Folders: []string{"/x"}},
		"are more than 4096":   {Layers: []string{"/a"}, Folders: make([]string, 4097)},
		"needs auto":           {User: sandbox.User{UID: &one, Switch: true}},
		"setgroups(2) is deni": {User: sandbox.User{Groups: []int{1}}},
	} {
		if err := s.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %s", s.Layers, err, want)
		}
	}
}

// TestSwitch: with Switch the sandbox is root's, and CMD somebody else: whoever
// that is cannot write what is root's, has no capability, dies with the sandbox,
// and so is what joins.
func TestSwitch(t *testing.T) {
	testenv.Need(t, "userns", "overlay", "seccomp", "landlock", "subuid")
	app := 1000
	const script = `id -u; id -g; id -G; grep -E '^(Cap(Eff|Prm|Amb|Bnd)|NoNewPrivs|Seccomp):' /proc/self/status | tr -d '\t'
		(echo x > /owned) 2>/dev/null || echo not mine; echo x > /tmp/mine && stat -c %u:%g /tmp/mine /owned`
	c := imageOf(t, script, func(d string) error { return write(d, "owned", "root's") })
	c.Spec.User = sandbox.User{UID: &app, GID: &app, Auto: true, Switch: true, Groups: []int{27}}
	out, err := c.CombinedOutput()
	want := `1000
1000
1000 27
CapPrm:0000000000000000
CapEff:0000000000000000
CapBnd:0000000000000000
CapAmb:0000000000000000
NoNewPrivs:1
Seccomp:2
not mine
1000:1000
0:0
`
	if err != nil || string(out) != want {
		t.Errorf("%v:\n%swant\n%s", err, out, want)
	}
	c = imageOf(t, `grep CapEff /proc/self/status`)
	c.Spec.User = sandbox.User{UID: &app, GID: &app, Auto: true, Switch: true}
	c.Spec.CapAdd = []string{"net_bind_service"}
	if out, err := c.CombinedOutput(); err != nil || string(out) != "CapEff:\t0000000000000400\n" {
		t.Errorf("with a capability: %v: %s", err, out)
	}

	c = imageOf(t, "sleep 1000.0003")
	c.Spec.User = sandbox.User{UID: &app, GID: &app, Auto: true, Switch: true, Groups: []int{27}}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- c.Wait() }()
	j := joining(t, c, "/bin/sh", "-c", "id -u; id -G; grep CapEff /proc/self/status; kill -0 2 && echo same user")
	if out, err := j.CombinedOutput(); err != nil || string(out) != "1000\n1000 27\nCapEff:\t0000000000000000\nsame user\n" {
		t.Errorf("joined: %v: %s", err, out)
	}
	if err := c.Signal(unix.SIGTERM); err != nil {
		t.Error(err)
	}
	var exit *sandbox.ExitError
	if err := <-ended; !errors.As(err, &exit) || exit.Signal != unix.SIGTERM {
		t.Errorf("after SIGTERM: %v", err)
	}
}
