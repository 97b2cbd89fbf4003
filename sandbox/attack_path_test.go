package sandbox_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox"
)

// The tests of this file are about names: a secret, a source or a hidden file
// that has another one than the one that was judged, and sockets that have no
// name but a way out.

// withHome runs a Cmd as a caller whose HOME is another.
func withHome(t *testing.T, c *sandbox.Cmd, home string) *sandbox.Cmd {
	t.Helper()
	c = in(t, c, "/")
	c.Features.Env = slices.Clone(c.Features.Env)
	c.Features.Env = append([]string{"HOME=" + home, "PATH=/usr/bin:/bin"}, c.Features.Env...)
	return c
}

// TestHomeInAShownFolder: the home of a service may lie in a folder of programs
// (/opt/jenkins, /usr/local/app). It is empty there too, by its own name and by
// that of a link to it.
func TestHomeInAShownFolder(t *testing.T) {
	needAll(t)
	const home = "/usr/share"
	link := filepath.Join(ownFolder(t), "link")
	if err := os.Symlink(home, link); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{home, link} {
		ok, said := says(t, withHome(t, sandbox.Command("sh", "-c", "ls -A "+home+"; cd && pwd && ls -A && touch file"), name))
		if !ok || strings.TrimSpace(said) != name {
			t.Errorf("with HOME=%s: %s", name, said)
		}
	}
	// One that does not exist needs no cover, and there is no place for it; one
	// that holds programs may not be covered.
	for _, name := range []string{home + "/there-is-none", "/usr/bin", "/bin"} {
		if ok, said := says(t, withHome(t, sandbox.Command("sh", "-c", "cd && touch file"), name)); !ok {
			t.Errorf("with HOME=%s: %s", name, said)
		}
	}
}

// TestHideByAnotherName: what is to be hidden is named through a symbolic link.
// Then what the link leads to is hidden.
func TestHideByAnotherName(t *testing.T) {
	needAll(t)
	dir := ownFolder(t)
	if err := os.Mkdir(filepath.Join(dir, "real"), 0o755); err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(dir, "real/secret"), aSecret)
	link := filepath.Join(ownFolder(t), "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("real", filepath.Join(dir, "within")); err != nil {
		t.Fatal(err)
	}
	for _, hidden := range []string{link + "/real/secret", link + "/within", dir + "/within/secret", dir + "/real"} {
		c := in(t, sandbox.Command("cat", dir+"/real/secret"), dir)
		c.Spec.Mounts = []sandbox.Mount{{Kind: sandbox.Hide, Target: hidden}}
		if _, said := says(t, c); strings.Contains(said, aSecret) {
			t.Errorf("%s is not hidden", hidden)
		}
	}
	if f, err := os.Lstat("/bin"); err == nil && f.Mode()&os.ModeSymlink != 0 {
		c := in(t, sandbox.Command("sh", "-c", "test ! -s /usr/bin/cat"), dir)
		c.Spec.Mounts = []sandbox.Mount{{Kind: sandbox.Hide, Target: "/bin/cat"}}
		if ok, said := says(t, c); !ok {
			t.Errorf("/bin/cat is not hidden: %s", said)
		}
	}
}

// TestHideInARootfs: a link of the root means something else inside than on the
// host, so nothing is hidden through one, and that is an error.
func TestHideInARootfs(t *testing.T) {
	needAll(t)
	rootfs := newRootfs(t)
	if err := os.Symlink("/bin", filepath.Join(rootfs, "link")); err != nil {
		t.Fatal(err)
	}
	c := &sandbox.Cmd{Spec: sandbox.Spec{
		Rootfs: rootfs, Args: []string{"/bin/probe", probeWord, "open", "/link/probe", "0"},
		Mounts: []sandbox.Mount{{Kind: sandbox.Hide, Target: "/link/probe"}},
	}}
	var refused *sandbox.SpecError
	if err := c.Run(); !errors.As(err, &refused) {
		t.Errorf("to hide through a link: %v", err)
	}
}

// TestSourceLeadsOut: a project holds a link to the caller's secrets under the
// name of a folder that is often shown, or exchanges that folder for one later.
func TestSourceLeadsOut(t *testing.T) {
	needAll(t)
	dir := ownFolder(t)
	secret := homeFile(t)
	for name, to := range map[string]string{"out": filepath.Dir(secret), "file": secret, "fine": "sub"} {
		if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(dir, "sub/secret"), "nothing")
	for _, kind := range []string{sandbox.BindRO, sandbox.BindRW, sandbox.Overlay} {
		for _, name := range []string{"out", "file", "fine"} {
			if name == "file" && kind == sandbox.Overlay {
				continue
			}
			for _, late := range []bool{false, true} {
				c := in(t, sandbox.Command("sh", "-c", "cat /shown /shown/secret 2>&1"), dir)
				c.Spec.Mounts = []sandbox.Mount{{Kind: kind, Source: filepath.Join(dir, name), Target: "/shown"}}
				if late {
					c.Features.Host = honest{c.Features.Host, filepath.Join(dir, name), name == "file"}
				}
				out, err := c.CombinedOutput()
				if strings.Contains(string(out), aSecret) {
					t.Errorf("%s %s, late %v: a link in the project shows %s", kind, name, late, secret)
				}
				var refused *sandbox.SpecError
				if name != "fine" && !late && !errors.As(err, &refused) {
					t.Errorf("%s %s: %v", kind, name, err)
				}
				if name == "fine" && !late && !strings.Contains(string(out), "nothing") {
					t.Errorf("%s of a link that stays in the project: %s (%v)", kind, out, err)
				}
			}
		}
	}
}

// honest is a host on which a path was no link when it was looked at.
type honest struct {
	sandbox.Host
	path string
	file bool
}

func (h honest) Real(p string) string {
	if p == h.path {
		return p
	}
	return h.Host.Real(p)
}

func (h honest) Lstat(p string) sandbox.File {
	f := h.Host.Lstat(p)
	if p == h.path {
		f.Mode, f.Link = unix.S_IFDIR, ""
		if h.file {
			f.Mode = unix.S_IFREG
		}
	}
	return f
}

// TestSocketsThatLeadOut: a socket stays in the network namespace in which it was
// made. Where CMD's is another one, only what keeps its peer may be passed.
func TestSocketsThatLeadOut(t *testing.T) {
	needAll(t)
	made := func(domain, kind int) *os.File {
		fd, err := unix.Socket(domain, kind|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		f := os.NewFile(uintptr(fd), "socket")
		t.Cleanup(func() { f.Close() })
		return f
	}
	pair := func(kind int) *os.File {
		fds, err := unix.Socketpair(unix.AF_UNIX, kind|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		one, other := os.NewFile(uintptr(fds[0]), "one"), os.NewFile(uintptr(fds[1]), "other")
		t.Cleanup(func() { one.Close(); other.Close() })
		return one
	}
	for _, test := range []struct {
		name string
		file *os.File
		fine bool
	}{
		{"TCP", made(unix.AF_INET, unix.SOCK_STREAM), false},
		{"UDP", made(unix.AF_INET6, unix.SOCK_DGRAM), false},
		{"netlink", made(unix.AF_NETLINK, unix.SOCK_RAW), false},
		{"Unix datagrams", pair(unix.SOCK_DGRAM), false},
		{"an unconnected Unix stream", made(unix.AF_UNIX, unix.SOCK_STREAM), false},
		{"a pair of Unix streams", pair(unix.SOCK_STREAM), true},
		{"a pair of Unix packets", pair(unix.SOCK_SEQPACKET), true},
	} {
		for _, network := range []string{"none", "host"} {
			c := sandbox.Command("true")
			c.Stdin = test.file
			c.Spec.Net = network
			err := c.Run()
			var refused *sandbox.FileError
			if fine := test.fine || network == "host"; fine && err != nil || !fine && !errors.As(err, &refused) {
				t.Errorf("%s, network %s: %v", test.name, network, err)
			}
		}
	}
}

func exists(p string) bool {
	_, err := os.Lstat(p)
	return err == nil
}

// TestChangesOfReplacedFolders: CMD deletes a folder and makes it anew, so that
// overlayfs hides all that was below. What is missing now is told, however deep,
// and a folder in place of a link is not looked for where the link led.
func TestChangesOfReplacedFolders(t *testing.T) {
	needAll(t)
	dir := ownFolder(t)
	secret := homeFile(t)
	if err := os.MkdirAll(filepath.Join(dir, "d/sub/deeper"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"d/sub/kept", "d/sub/gone", "d/sub/deeper/gone", "d/top"} {
		writeFile(t, filepath.Join(dir, name), "as it was")
	}
	if err := os.Symlink(filepath.Dir(secret), filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	script := "rm -r d link; mkdir -p d/sub/deeper link; echo x >d/sub/kept; echo x >d/sub/new; echo x >link/new"
	c := in(t, sandbox.Command("sh", "-c", script), dir)
	c.Spec.Changes = true
	if err := c.Run(); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, ch := range c.Result.Changes {
		got = append(got, ch.Kind+" "+strings.TrimPrefix(ch.Path, dir+"/"))
	}
	want := []string{
		"deleted d/sub/deeper/gone", "deleted d/sub/gone", "modified d/sub/kept", "added d/sub/new", "deleted d/top",
		"modified link", "added link/new",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// exchanging is a host on which another process gives a folder's name to another
// folder while sbx looks at it for the nth time, and back when it looks for the
// mth. Blind, it does not tell which file has the name and when it changed.
type exchanging struct {
	sandbox.Host
	t         *testing.T
	dir       string
	n, m      int
	blind     bool
	looked    *int
	exchanged *int
}

func (h exchanging) look() {
	*h.looked++
	if *h.looked == h.n || *h.looked == h.m {
		*h.exchanged++
		err := unix.Renameat2(unix.AT_FDCWD, filepath.Join(h.dir, "secret"), unix.AT_FDCWD, filepath.Join(h.dir, "other"), unix.RENAME_EXCHANGE)
		if err != nil {
			h.t.Error(err)
		}
	}
}

func (h exchanging) Lstat(p string) sandbox.File {
	f := h.Host.Lstat(p)
	if h.blind {
		f.Dev, f.Ino, f.Changed = 0, 0, 0
	}
	if p == filepath.Join(h.dir, "secret") {
		h.look()
	}
	return f
}

func (h exchanging) Real(p string) string {
	real := h.Host.Real(p)
	if p == filepath.Join(h.dir, "secret") {
		h.look()
		if h.blind {
			return p
		}
	}
	return real
}

// TestHiddenStaysHidden: a process that may write to a folder exchanges what is
// to be hidden while the sandbox is made, and puts it back when something else
// has been hidden.
func TestHiddenStaysHidden(t *testing.T) {
	needAll(t)
	leaked := 0
	for _, kind := range []string{sandbox.BindRO, sandbox.Overlay} {
		for _, blind := range []bool{true, false} {
			for n := 1; n <= 6; n++ {
				for m := n + 1; m <= 8; m++ {
					dir := ownFolder(t)
					for _, name := range []string{"secret", "other"} {
						if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
							t.Fatal(err)
						}
					}
					writeFile(t, filepath.Join(dir, "secret/file"), aSecret)
					c := in(t, sandbox.Command("cat", dir+"/secret/file"), "/")
					c.Spec.Mounts = []sandbox.Mount{{Kind: kind, Source: dir, Target: dir}, {Kind: sandbox.Hide, Target: dir + "/secret"}}
					looked, exchanged := 0, 0
					c.Features.Host = exchanging{c.Features.Host, t, dir, n, m, blind, &looked, &exchanged}
					out, _ := c.CombinedOutput()
					if exchanged == 1 {
						continue // it was not put back: the secret has another name
					}
					switch {
					case !strings.Contains(string(out), aSecret):
					case blind:
						leaked++
					default:
						t.Errorf("%s: exchanged at %d and %d, what is hidden is seen", kind, n, m)
					}
				}
			}
		}
	}
	if leaked == 0 {
		t.Error("where nothing is compared, nothing is seen either: this tests nothing")
	}
	t.Log(leaked, "leaks where nothing is compared")
}
