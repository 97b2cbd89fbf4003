package sandbox_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox"
)

// The tests of this file are about what hostile code prepares outside, in an
// image or in a folder that it could write to, for a sandbox that is made later.

// TestHostileRootfs: a root filesystem whose folders are symbolic links. The plan
// makes folders and mounts below it while the host's root is still the root, so
// a link that were followed would make them on the host (CVE-2019-19921,
// CVE-2025-31133, CVE-2025-52565).
func TestHostileRootfs(t *testing.T) {
	needAll(t)
	for _, link := range []string{"proc", "dev", "tmp", "dev/pts", "dev/shm", "dev/null"} {
		for _, way := range []string{"absolute", "relative", "late"} {
			t.Run(link+" "+way, func(t *testing.T) {
				rootfs, host := newRootfs(t), ownFolder(t)
				at := filepath.Join(rootfs, link)
				if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
					t.Fatal(err)
				}
				_ = os.RemoveAll(at)
				to := host
				if way == "relative" {
					to = strings.Repeat("../", 20) + strings.TrimPrefix(host, "/")
				}
				if err := os.Symlink(to, at); err != nil {
					t.Fatal(err)
				}
				c := &sandbox.Cmd{Spec: sandbox.Spec{Rootfs: rootfs, Args: []string{"/bin/probe", probeWord, "open", "/", "0"}}}
				if way == "late" { // it is exchanged once the plan has been made
					c = in(t, c, "/")
					c.Features.Host = before{Host: c.Features.Host, path: at}
				}
				out, err := c.CombinedOutput()
				t.Logf("%s %v", out, err)
				if way == "late" && err == nil && link != "dev/null" && !strings.HasPrefix(link, "dev/") {
					t.Error("the link was not noticed")
				}
				entries, err := os.ReadDir(host)
				if err != nil {
					t.Fatal(err)
				}
				for _, e := range entries {
					t.Errorf("on the host there is now %s", e.Name())
				}
			})
		}
	}
}

// TestUnmapped: with empty id maps CMD is nobody (65534). Nobody owns a file, so
// no new root can be made: with the step mount it is an error, and nothing runs.
func TestUnmapped(t *testing.T) {
	needAll(t)
	c := sandbox.Command("id", "-u")
	c.Spec.User.Unmapped = true
	c.Spec.Skip = sandbox.Closure([]string{"mount"})
	if _, said := says(t, c); said != "65534" {
		t.Errorf("without mount: %s", said)
	}
	c = sandbox.Command("id", "-u")
	c.Spec.User.Unmapped = true
	out, err := c.Output()
	var refused *sandbox.SpecError
	var failed *sandbox.Error
	if len(out) > 0 || !errors.As(err, &refused) && !(errors.As(err, &failed) && failed.Step == "mount" && failed.Errno == unix.EOVERFLOW) {
		t.Errorf("with mount: %q, %v", out, err)
	}
}

// TestRootfs is the ground of TestHostileRootfs: without a link the sandbox is
// made, also where the image brings the folders that are mounted on.
func TestRootfs(t *testing.T) {
	needAll(t)
	for _, folders := range [][]string{nil, {"proc", "dev", "tmp"}, {"proc", "dev/pts", "dev/shm", "tmp", "etc"}} {
		rootfs := newRootfs(t)
		for _, f := range folders {
			if err := os.MkdirAll(filepath.Join(rootfs, f), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		c := &sandbox.Cmd{Spec: sandbox.Spec{Rootfs: rootfs, Args: []string{"/bin/probe", probeWord, "open", "/proc/self/status", "0"}}}
		if ok, said := says(t, c); !ok {
			t.Errorf("a root with the folders %v: %s", folders, said)
		}
	}
}

// newRootfs is a root filesystem with this test binary as /bin/probe.
func newRootfs(t *testing.T) string {
	t.Helper()
	rootfs := ownFolder(t)
	if err := os.Chmod(rootfs, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(rootfs, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	program := testBinary()
	data, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(rootfs, "bin/probe"), data, 0o755); err != nil {
		t.Fatal(err)
	}
	// The libraries of a binary that is linked dynamically, as under -race.
	out, _ := exec.Command("ldd", program).Output()
	for _, word := range strings.Fields(string(out)) {
		if !strings.HasPrefix(word, "/") {
			continue
		}
		data, err := os.ReadFile(word)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Join(rootfs, filepath.Dir(word)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(rootfs, word), data, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return rootfs
}

// TestHomeBehindALink: where HOME is, or lies behind, a symbolic link, the
// working folder has another name than HOME, and is the home all the same. It
// may not be shown.
func TestHomeBehindALink(t *testing.T) {
	needAll(t)
	base := ownFolder(t)
	home := filepath.Join(base, "real")
	if err := os.Mkdir(home, 0o700); err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(home, "secret"), aSecret)
	link := filepath.Join(base, "link")
	if err := os.Symlink("real", link); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{home, base} {
		c := in(t, sandbox.Command("cat", home+"/secret"), dir)
		c.Features.Env = append(slices.Clone(c.Features.Env), "PATH=/usr/bin:/bin")
		for i, kv := range c.Features.Env {
			if strings.HasPrefix(kv, "HOME=") {
				c.Features.Env[i] = "HOME=" + link
			}
		}
		if _, said := says(t, c); strings.Contains(said, aSecret) {
			t.Errorf("with HOME=%s and the working folder %s the home is shown", link, dir)
		}
	}
}

// TestWorkingFolderRace: getcwd(2) names the working folder without a link. When
// a part of the name is one a moment later, somebody has exchanged it, and what
// is there now was never judged.
func TestWorkingFolderRace(t *testing.T) {
	needAll(t)
	base := ownFolder(t)
	secret := homeFile(t)
	if err := os.Symlink(filepath.Dir(secret), filepath.Join(base, "work")); err != nil {
		t.Fatal(err)
	}
	for _, skip := range [][]string{nil, {"overlay"}} {
		c := in(t, &sandbox.Cmd{Spec: sandbox.Spec{Args: []string{"cat", "secret"}, Skip: skip}}, base+"/work")
		c.Features.Host = before{Host: c.Features.Host, path: base + "/work"}
		out, err := c.CombinedOutput()
		if strings.Contains(string(out), aSecret) {
			t.Errorf("skipped %v: the home is shown as the working folder (%v)", skip, err)
		}
	}
}

// TestUpperIsNotShown: layers inside the working folder would be their own lower
// layer.
func TestUpperIsNotShown(t *testing.T) {
	needAll(t)
	dir := ownFolder(t)
	upper := filepath.Join(dir, "layers")
	if err := os.Mkdir(upper, 0o700); err != nil {
		t.Fatal(err)
	}
	c := in(t, &sandbox.Cmd{Spec: sandbox.Spec{Args: []string{"touch", "file"}, Upper: upper}}, dir)
	var refused *sandbox.SpecError
	if err := c.Run(); !errors.As(err, &refused) {
		t.Errorf("an upper layer inside of what it covers: %v", err)
	}
}

// TestHostileLayer: CMD leaves a layer behind that is hard to read: folders so
// deep that a walk runs out of descriptors, modes that forbid looking, names
// with line ends, FIFOs, links to secrets. Listing the changes must neither hang
// nor fail nor follow.
func TestHostileLayer(t *testing.T) {
	needAll(t)
	dir := ownFolder(t)
	secret := homeFile(t)
	script := `i=0; while [ $i -lt 700 ]; do mkdir d && cd d || break; i=$((i+1)); done
		cd "$1"; mkfifo fifo; ln -s "$2" link; mkdir closed; touch closed/file; chmod 0 closed; touch "$(printf 'a\nb')"; exit 3`
	c := in(t, &sandbox.Cmd{Spec: sandbox.Spec{Args: []string{"sh", "-c", script, "sh", dir, filepath.Dir(secret)}, Changes: true}}, dir)
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	small := limit
	small.Cur = 512
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &small); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
			t.Error(err)
		}
	}()
	err := c.Run()
	var exit *sandbox.ExitError
	if !errors.As(err, &exit) || exit.Code != 3 {
		t.Errorf("CMD exited with 3, and Wait says: %.200v", err)
	}
	found := map[string]bool{}
	for _, change := range c.Result.Changes {
		found[change.Path] = true
		if strings.HasPrefix(change.Path, dir+"/link/") {
			t.Errorf("a link was followed: %s", change.Path)
		}
	}
	for _, name := range []string{"/d", "/d/d/d", "/fifo", "/link", "/closed", "/a\nb"} {
		if !found[dir+name] {
			t.Errorf("%q is not among the %d changes", name, len(found))
		}
	}
}
