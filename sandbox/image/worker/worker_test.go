package worker

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox"
	"github.com/sbx-dev/sbx/sandbox/image"
	"github.com/sbx-dev/sbx/sandbox/image/local"
	"github.com/sbx-dev/sbx/sandbox/internal/testenv"
)

// TestMain lets the test's program be the worker, and the one that is killed
// while it adds an image.
func TestMain(m *testing.M) {
	if IsWorker(os.Args) {
		os.Exit(Main())
	}
	if dir := os.Getenv("SBX_TEST_ADD"); dir != "" {
		os.Exit(addUntilKilled(dir))
	}
	os.Exit(m.Run())
}

// member is one entry of an archive.
type member struct {
	name     string
	kind     byte // 0 is a regular file
	body     string
	link     string
	mode     int64
	uid, gid int
	xattr    map[string]string
}

func archive(t testing.TB, members ...member) *bytes.Buffer {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, m := range members {
		h := &tar.Header{Name: m.name, Typeflag: m.kind, Linkname: m.link, Mode: m.mode, Uid: m.uid, Gid: m.gid, Size: int64(len(m.body)), ModTime: time.Unix(1e9, 0), Format: tar.FormatGNU}
		if m.kind == 0 {
			h.Typeflag = tar.TypeReg
		}
		if m.mode == 0 {
			h.Mode = 0o755
		}
		for name, value := range m.xattr {
			h.Format, h.PAXRecords = tar.FormatPAX, map[string]string{"SCHILY.xattr." + name: value}
		}
		if _, err := io.WriteString(headed(t, w, h), m.body); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return &out
}

func headed(t testing.TB, w *tar.Writer, h *tar.Header) io.Writer {
	t.Helper()
	if err := w.WriteHeader(h); err != nil {
		t.Fatal(err)
	}
	return w
}

// realStore is a store with real owners, in a folder that is removed without
// the store's own help.
func realStore(t testing.TB) image.Store {
	t.Helper()
	testenv.Need(t, "userns", "subuid", "overlay", "tool:unshare")
	top := t.TempDir()
	t.Cleanup(func() {
		if out, err := exec.Command("unshare", "--user", "--map-auto", "--map-root-user", "rm", "-rf", filepath.Join(top, "store")).CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
	})
	s := image.NewStore(filepath.Join(top, "store"))
	w, err := New(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s.Worker = w
	return s
}

func begin(t testing.TB, s image.Store) *image.Addition {
	t.Helper()
	a, err := s.Begin()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close() })
	return a
}

// inside runs a script as root of a namespace with the caller's subordinate ids.
func inside(t testing.TB, script string, args ...string) string {
	t.Helper()
	out, err := exec.Command("unshare", append([]string{"--user", "--map-auto", "--map-root-user", "--mount", "sh", "-ec", script, "sh"}, args...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return string(out)
}

// TestOwners holds that the files of a layer belong to whom the archive says,
// and that only what no user may have is recorded.
func TestOwners(t *testing.T) {
	s := realStore(t)
	a := begin(t, s)
	l, err := a.AddArchive(archive(t,
		member{name: "./", kind: tar.TypeDir, uid: 7, gid: 8},
		member{name: "home/u/f", body: "1", mode: 0o600, uid: 1000, gid: 100},
		member{name: "home/u", kind: tar.TypeDir, mode: 0o700, uid: 1000, gid: 100},
		member{name: "link", kind: tar.TypeSymlink, link: "/etc", uid: 33, gid: 33},
		member{name: "su", body: "2", mode: 0o4755},
		member{name: "hard", kind: tar.TypeLink, link: "su"},
		member{name: "far", body: "3", uid: 1 << 30},
		member{name: "wrapped", body: "3", uid: 1 << 32},
		member{name: "closed", kind: tar.TypeDir, mode: 0o001, uid: 5},
		member{name: "closed/in", body: "4", uid: 6},
		member{name: ".wh.gone"},
		member{name: "closed/.wh.gone"},
		member{name: "old/.wh..wh..opq"},
		member{name: "caps", body: "5", xattr: map[string]string{"security.capability": "x"}},
		// Names that nobody may make in a folder of the host that is shown.
		member{name: ".git/hooks/post-checkout", body: "#!/bin/sh"},
		member{name: "root/.bashrc", body: "x"},
		member{name: ".bashrc", body: "x"},
	))
	if err != nil {
		t.Fatal(err)
	}
	got := inside(t, `cd "$1" && find . -printf '%p %y %m %U:%G\n' | sort`, l.Folder)
	want := `. d 755 7:8
./.bashrc f 755 0:0
./.git d 755 0:0
./.git/hooks d 755 0:0
./.git/hooks/post-checkout f 755 0:0
./caps f 755 0:0
./closed d 1 5:0
./closed/gone c 0 0:0
./closed/in f 755 6:0
./far f 755 0:0
./gone c 0 0:0
./hard f 755 0:0
./home d 755 0:0
./home/u d 700 1000:100
./home/u/f f 600 1000:100
./link l 777 33:33
./old d 755 0:0
./root d 755 0:0
./root/.bashrc f 755 0:0
./su f 755 0:0
./wrapped f 755 0:0
`
	if got != want {
		t.Errorf("the layer has\n%swanted\n%s", got, want)
	}
	if fmt.Sprint(l.Contents.Recorded) != "[{su [] 0 0 2541  []} {far [] 1073741824 0 493  []} {wrapped [] 4294967296 0 493  []} {caps [] 0 0 493  [security.capability]}]" {
		t.Error("recorded:", l.Contents.Recorded)
	}
	if l.Contents.Owners != image.OwnersReal || l.Contents.Whiteouts != 3 {
		t.Errorf("%+v", l.Contents)
	}
}

// TestUpperOwners holds that a layer which a sandbox wrote has the owners that
// it had in there, and that what is removed below stays removed.
func TestUpperOwners(t *testing.T) {
	s := realStore(t)
	a := begin(t, s)
	low, err := a.AddArchive(archive(t,
		member{name: "var/www", kind: tar.TypeDir, uid: 33, gid: 33},
		member{name: "var/www/index", body: "1", uid: 33, gid: 33},
		member{name: "var/gone", body: "1"},
		member{name: "etc/shadow", body: "1", mode: 0o640, gid: 42},
	))
	if err != nil {
		t.Fatal(err)
	}
	dir, err := a.Dir()
	if err != nil {
		t.Fatal(err)
	}
	inside(t, `cd "$2" && mkdir upper work merged && mount -t overlay overlay -o "userxattr,lowerdir=$1,upperdir=upper,workdir=work" merged && cd merged
		echo more >>var/www/index; chown 5:6 etc/shadow; rm var/gone; mkdir -m 700 secret; echo x >secret/f; chown -R 1000:1000 secret; mkdir proc`, low.Folder, dir)
	l, empty, err := a.AddUpper([]image.Layer{low}, image.Upper{Dir: filepath.Join(dir, "upper"), LeaveOut: []string{"/proc"}})
	if err != nil || empty {
		t.Fatal(empty, err)
	}
	got := inside(t, `cd "$1" && find . -mindepth 1 -printf '%p %y %m %U:%G\n' | sort`, l.Folder)
	want := `./etc d 755 0:0
./etc/shadow f 640 5:6
./secret d 700 1000:1000
./secret/f f 644 1000:1000
./var d 755 0:0
./var/gone c 0 0:0
./var/www d 755 33:33
./var/www/index f 755 33:33
`
	if got != want {
		t.Errorf("the layer has\n%swanted\n%s", got, want)
	}
	if _, empty, err := a.AddUpper([]image.Layer{low}, image.Upper{Dir: t.TempDir()}); !empty || err != nil {
		t.Error("an empty upper:", empty, err)
	}
}

// TestHostile holds that what is refused without a worker is refused by one,
// with the same error.
func TestHostile(t *testing.T) {
	s := realStore(t)
	a := begin(t, s)
	outside := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(outside, []byte("secret"), 0o666); err != nil {
		t.Fatal(err)
	}
	tests := map[string][]member{
		"dotdot":                {{name: "../x", body: "x"}},
		"hard link outside":     {{name: "a", kind: tar.TypeLink, link: "../../root"}},
		"absolute hard link":    {{name: "a", kind: tar.TypeLink, link: outside}},
		"dangling symlink":      {{name: "a", kind: tar.TypeSymlink, link: filepath.Dir(outside)}, {name: "a/secret", body: "x"}},
		"hard link by symlink":  {{name: "l", kind: tar.TypeSymlink, link: filepath.Dir(outside)}, {name: "a", kind: tar.TypeLink, link: "l/secret"}},
		"whiteout of nothing":   {{name: "d/.wh."}},
		"whiteout of parent":    {{name: ".wh..."}},
		"below a whiteout":      {{name: ".wh.d", kind: tar.TypeDir}, {name: ".wh.d/x", body: "x"}},
		"link to a whiteout":    {{name: ".wh.a"}, {name: "b", kind: tar.TypeLink, link: "a"}},
		"link to the model":     {{name: "b", kind: tar.TypeLink, link: ".wh..wh.sbx"}},
		"the top as a file":     {{name: ".", body: "x"}},
		"through a file":        {{name: "a", body: "x"}, {name: "a/b", body: "x"}},
		"below the model":       {{name: ".wh..wh.sbx/b", body: "x"}},
		"too long for a name":   {{name: strings.Repeat("a", 300), body: "x"}},
		"symlink over the top":  {{name: "./", kind: tar.TypeSymlink, link: "/"}},
		"whiteout by a symlink": {{name: "l", kind: tar.TypeSymlink, link: filepath.Dir(outside)}, {name: "l/.wh.secret"}},
	}
	for name, members := range tests {
		t.Run(name, func(t *testing.T) {
			if l, err := a.AddArchive(archive(t, members...)); err == nil {
				t.Errorf("it was let in: %+v\n%s", l, inside(t, `find "$1" -ls`, l.Folder))
			}
		})
	}
	var refusal *image.RefusedError
	if _, err := a.AddArchive(archive(t, tests["dotdot"]...)); !errors.As(err, &refusal) || refusal.Name != "../x" {
		t.Errorf("%v is no refusal", err)
	}
	// An entry can neither remove nor replace the model of whiteouts.
	l, err := a.AddArchive(archive(t, member{name: ".wh..wh..wh..wh.sbx"}, member{name: ".wh..wh.sbx", body: "x"}, member{name: ".wh.b"}))
	if err != nil {
		t.Fatal(err)
	}
	if got := inside(t, `cd "$1" && find . -printf '%p %y\n' | sort`, l.Folder); got != ". d\n./b c\n" {
		t.Errorf("the layer has %q", got)
	}
	s.Limits.Bytes = 1 << 20
	small := begin(t, s)
	if _, err := small.AddArchive(archive(t, member{name: "zeros", body: strings.Repeat("\x00", 2<<20)})); err == nil || !strings.Contains(err.Error(), "larger than") {
		t.Error("2 MiB where 1 MiB is allowed:", err)
	}
	if data, err := os.ReadFile(outside); string(data) != "secret" || err != nil {
		t.Error("outside:", string(data), err)
	}
}

// TestConfined holds that a worker which an archive has taken over reaches
// nothing but the layer, and that the same in a namespace alone does.
func TestConfined(t *testing.T) {
	testenv.Need(t, "userns", "subuid", "landlock", "seccomp")
	dir, home := t.TempDir(), t.TempDir()
	secret := filepath.Join(home, "secret")
	if err := os.WriteFile(secret, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	w := &worker{t.Context(), os.Args[0]}
	confined, _ := w.spec(image.Task{Verb: image.TaskUnpack, Dir: dir})
	s := confined.Spec
	const script = `cat "$1" 2>&1; echo x >"$2/written" && ls /sys/class/net | tr '\n' ' '; mknod "$2/dev" c 1 3 2>&1; mount -t tmpfs t /tmp 2>&1; echo x >/usr/x`
	run := func(s sandbox.Spec, dir string) string {
		c := &sandbox.Cmd{Spec: s}
		c.Spec.Args = []string{"/bin/sh", "-c", script, "sh", secret, dir}
		out, _ := c.CombinedOutput() // the last command fails
		return string(out)
	}
	got := run(s, "/sbx/1")
	for _, allowed := range []string{"secret\n", "eth"} {
		if strings.Contains(got, allowed) {
			t.Errorf("the worker's sandbox shows %q: %s", allowed, got)
		}
	}
	for _, refused := range []string{"No such file", "mknod: ", "mount: "} {
		if !strings.Contains(got, refused) {
			t.Errorf("the worker's sandbox lacks %q: %s", refused, got)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "written")); err != nil {
		t.Error("the layer could not be written:", err, got)
	}
	skip, _ := sandbox.Only([]string{"user"})
	if got := run(sandbox.Spec{User: ids(), Skip: skip}, dir); !strings.HasPrefix(got, "secret") {
		t.Error("without the other steps:", got)
	}
}

// TestSwitch holds that an image whose owners are recorded gets real ones, also
// while somebody uses its layers, and that a store without a worker says what it
// cannot remove.
func TestSwitch(t *testing.T) {
	s := realStore(t)
	one := s
	one.Worker = nil
	if _, err := one.Import(archive(t, member{name: "f", body: "x", uid: 1000}), "demo:1", v1.Config{}, "test", nil); err != nil {
		t.Fatal(err)
	}
	owner := func() (string, uint32) {
		t.Helper()
		i, err := s.Find("demo:1")
		if err != nil {
			t.Fatal(err)
		}
		layers, err := i.Layers()
		if err != nil {
			t.Fatal(err)
		}
		var st unix.Stat_t
		if err := unix.Stat(filepath.Join(layers[0].Folder, "f"), &st); err != nil {
			t.Fatal(err)
		}
		return layers[0].Contents.Owners, st.Uid
	}
	if how, uid := owner(); how != image.OwnersRecorded || int(uid) != os.Getuid() {
		t.Error("without a worker:", how, uid)
	}
	i, err := s.Find("demo:1")
	if err != nil {
		t.Fatal(err)
	}
	inUse, err := local.Find(s.Dir(), "demo:1")
	if err != nil {
		t.Fatal(err)
	}
	for _, now := range []image.Store{s, one, s} {
		a := begin(t, now)
		if err := errors.Join(a.Unpack(i), a.Close()); err != nil {
			t.Fatal(err)
		}
		how, uid := owner()
		if real := now.Worker != nil; real != (how == image.OwnersReal) || real == (int(uid) == os.Getuid()) {
			t.Error(how, uid)
		}
		if there, err := local.Find(s.Dir(), "demo:1"); err != nil || there.Owners != (how == image.OwnersReal) {
			t.Error("for sbx run --image:", there, err)
		} else {
			there.Close()
		}
	}
	for _, want := range []int{3, 0} {
		if _, err := s.Prune(image.Pruning{Unnamed: true}); err != nil {
			t.Fatal(err)
		}
		if left, err := os.ReadDir(filepath.Join(s.Dir(), "tmp")); len(left) != want || err != nil {
			t.Errorf("after a prune tmp has %v, wanted %d layers that a sandbox may run from: %v", left, want, err)
		}
		inUse.Close()
	}
	if _, err := s.Remove("demo:1", false); err != nil {
		t.Fatal(err)
	}
	inside(t, `mkdir "$1/tmp/strange" && : >"$1/tmp/strange/f" && chown -R 5 "$1/tmp/strange"`, s.Dir())
	if _, err := one.Prune(image.Pruning{}); err == nil || !strings.Contains(err.Error(), "subordinate ids") {
		t.Error("a prune without a worker:", err)
	}
	pruned(t, s)
}

// pruned prunes a store and holds that nothing is left of layers.
func pruned(t *testing.T, s image.Store) {
	t.Helper()
	if _, err := s.Prune(image.Pruning{All: true}); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"layers", "tmp", "oci/blobs/sha256"} {
		if left, err := os.ReadDir(filepath.Join(s.Dir(), dir)); len(left) > 0 || err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s has %v %v", dir, left, err)
		}
	}
}

// addUntilKilled adds images with owners to a store.
func addUntilKilled(dir string) int {
	s := image.NewStore(dir)
	var err error
	if s.Worker, err = New(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	for n := 0; ; n++ {
		var members []member
		for i := range 50 {
			members = append(members, member{name: fmt.Sprintf("d%d/f%d", n, i), body: "x", uid: i, gid: i}, member{name: fmt.Sprintf("d%d", i), kind: tar.TypeDir, mode: 0o700, uid: i})
		}
		if _, err := s.Import(archive(&testing.B{}, members...), fmt.Sprintf("demo:%d", n), v1.Config{}, "test", nil); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
}

// TestKilled holds that a store with real owners works after a SIGKILL at any
// moment, and that prune leaves nothing of it.
func TestKilled(t *testing.T) {
	s := realStore(t)
	for n := range 8 {
		c := exec.Command(os.Args[0])
		var said bytes.Buffer
		c.Env, c.Stderr = append(os.Environ(), "SBX_TEST_ADD="+s.Dir()), &said
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		if err := testenv.Settle(func() error { // it begins to write
			entries, err := os.ReadDir(filepath.Join(s.Dir(), "tmp"))
			if err == nil && len(entries) == 0 {
				err = errors.New("nothing is being added")
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(n*17) * time.Millisecond)
		if err := c.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := c.Wait(); err == nil || said.Len() > 0 {
			t.Fatalf("%v: %s", err, said.String())
		}
		images, err := s.List()
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range images {
			if _, err := i.Layers(); err != nil {
				t.Error(err)
			}
		}
		// The worker may live a moment longer than who started it.
		for try := 0; ; try++ {
			_, err := s.Prune(image.Pruning{Unnamed: true})
			if err == nil {
				break
			}
			if try == 100 {
				t.Fatal(err)
			}
			time.Sleep(10 * time.Millisecond)
		}
		if left, err := os.ReadDir(filepath.Join(s.Dir(), "tmp")); len(left) > 0 || err != nil {
			t.Error("after a prune:", left, err)
		}
	}
	pruned(t, s)
}
