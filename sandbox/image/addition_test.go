package image

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox/internal/testenv"
)

func begin(t testing.TB, s Store) *Addition {
	t.Helper()
	a, err := s.Begin()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close() })
	return a
}

// TestAddArchive holds that an image which is made here is like one that came:
// it is found, saved and loaded again.
func TestAddArchive(t *testing.T) {
	s := testStore(t)
	a := begin(t, s)
	low, high := twoLayers(t)
	var layers []Layer
	for _, data := range [][]byte{low, high} {
		plain, err := decompress(bytes.NewReader(data))
		if err != nil {
			t.Fatal(err)
		}
		l, err := a.AddArchive(plain)
		if err != nil {
			t.Fatal(err)
		}
		layers = append(layers, l)
	}
	again, err := a.AddArchive(bytes.NewReader(low))
	if err != nil || again.Blob.Digest != layers[0].Blob.Digest || again.DiffID != layers[0].DiffID {
		t.Errorf("the same archive: %v, %v and %v", err, again.Blob, layers[0].Blob)
	}
	config := &v1.ConfigFile{Config: v1.Config{Cmd: []string{"true"}}, History: []v1.History{{CreatedBy: "COPY a"}, {CreatedBy: "ENV", EmptyLayer: true}, {CreatedBy: "COPY b"}}}
	id, err := a.Finish(config, layers, []string{"made:1", "made:2"})
	if err != nil {
		t.Fatal(err)
	}
	image, err := s.Find("made:2")
	if err != nil {
		t.Fatal(err)
	}
	if image.ID != id || len(image.Names) != 2 || image.Config.Architecture != Platform().Architecture {
		t.Errorf("%+v, wanted %s with two names", image, id)
	}
	got, err := image.Layers()
	if err != nil || len(got) != 2 || got[1].CreatedBy != "COPY b" {
		t.Errorf("%+v %v", got, err)
	}
	var out bytes.Buffer
	if err := s.Save(&out, []string{"made:1"}); err != nil {
		t.Fatal(err)
	}
	other := testStore(t)
	load(t, other, out.Bytes())
	if there, err := other.Find("made:1"); err != nil || there.Digest != image.Digest {
		t.Error("loaded elsewhere:", err)
	}

	config.History = config.History[:1]
	if _, err := a.Finish(config, layers, nil); err == nil || !strings.Contains(err.Error(), "the history tells of 1 layers") {
		t.Error("a history of fewer layers:", err)
	}
	if _, err := a.Finish(&v1.ConfigFile{}, []Layer{{Blob: image.Manifest.Config, DiffID: id}}, nil); err == nil {
		t.Error("an image of a layer that is not there")
	}
	if _, err := a.Finish(&v1.ConfigFile{}, nil, []string{"a@sha256:" + id.Hex}); err == nil {
		t.Error("an image with a digest for a name")
	}
	if _, err := a.AddArchive(strings.NewReader("this is no archive, and it is longer than a block of one: " + strings.Repeat("x", 512))); err == nil {
		t.Error("a layer of no archive")
	}
	if _, err := a.AddArchive(bytes.NewReader(archive(t, file{name: "../x", body: "x"}))); err == nil {
		t.Error("a layer that leads outside")
	}
}

// overlaid mounts the layers of an image with an upper folder of its own, runs
// a script in it and gives the upper folder.
func overlaid(t *testing.T, layers []Layer, script string) string {
	t.Helper()
	testenv.Need(t, "userns", "overlay", "tool:unshare")
	top := t.TempDir()
	t.Cleanup(func() { removeTree(filepath.Join(top, "upper")); removeTree(filepath.Join(top, "work")) })
	for _, dir := range []string{"upper", "work", "merged"} {
		if err := os.Mkdir(filepath.Join(top, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	var lower []string
	for i := len(layers) - 1; i >= 0; i-- {
		lower = append(lower, layers[i].Folder)
	}
	mount := fmt.Sprintf(`mount -t overlay overlay -o "userxattr,lowerdir=%s,upperdir=upper,workdir=work" merged && cd merged && `, strings.Join(lower, ":"))
	c := exec.Command("unshare", "--user", "--map-root-user", "--mount", "sh", "-ec", mount+script)
	c.Dir = top
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return filepath.Join(top, "upper")
}

// listed lists an archive: one entry a line, with what matters of it.
func listed(t *testing.T, s Store, l Layer) string {
	t.Helper()
	file, err := os.Open(s.blobPath(l.Blob.Digest))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	plain, err := decompress(file)
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	for r := tar.NewReader(plain); ; {
		h, err := r.Next()
		if err == io.EOF {
			return out.String()
		}
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&out, "%c %q %o %d:%d", h.Typeflag, h.Name, h.Mode, h.Uid, h.Gid)
		if h.Linkname != "" {
			fmt.Fprintf(&out, " -> %q", h.Linkname)
		}
		if len(body) > 0 {
			fmt.Fprintf(&out, " %q", body)
		}
		for name, value := range xattrs(h) {
			fmt.Fprintf(&out, " %s=%q", name, value)
		}
		out.WriteByte('\n')
	}
}

// TestAddUpper holds what of an upper folder becomes a layer: what was made,
// changed and removed, and nothing of overlayfs' own.
func TestAddUpper(t *testing.T) {
	s := testStore(t)
	a := begin(t, s)
	low, err := a.AddArchive(bytes.NewReader(archive(t,
		file{name: "etc", kind: tar.TypeDir, mode: 0o755},
		file{name: "etc/passwd", body: "root", mode: 0o644},
		file{name: "etc/shadow", body: "root", mode: 0o640, uid: 42},
		file{name: "gone", body: "x"},
		file{name: "again/below", body: "x"},
		file{name: "var/mail", body: "old", mode: 0o4755, uid: 8},
		file{name: "var/spool", kind: tar.TypeDir, mode: 0o755, uid: 9},
	)))
	if err != nil {
		t.Fatal(err)
	}
	upper := overlaid(t, []Layer{low}, `
		rm gone; rm -r again; mkdir again; echo new >again/here
		echo more >>etc/shadow; echo more >>var/mail; touch var/spool/job
		umask 022; mkdir proc dev; : >etc/hosts; : >empty
		echo linked >b; ln b a; ln -s /etc/passwd link; mkfifo fifo
		mkdir closed; echo x >closed/in; chmod 000 closed/in; chmod 000 closed
		chmod 4755 a; : >"$(printf 'caf\351')"`)
	if err := unix.Setxattr(filepath.Join(upper, "b"), "user.note", []byte("kept"), 0); err != nil {
		t.Fatal(err)
	}
	socket, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(socket)
	t.Chdir(upper)
	if err := unix.Bind(socket, &unix.SockaddrUnix{Name: "socket"}); err != nil {
		t.Fatal(err)
	}
	leaveOut := []string{"/proc", "/dev", "/etc/hosts", "/etc/resolv.conf", "/sys"}
	l, empty, err := a.AddUpper([]Layer{low}, Upper{Dir: upper, LeaveOut: leaveOut})
	if err != nil || empty {
		t.Fatal(empty, err)
	}
	want := `0 "a" 4755 0:0 "linked\n" user.note="kept"
5 "again/" 755 0:0
0 "again/.wh..wh..opq" 0 0:0
0 "again/here" 644 0:0 "new\n"
1 "b" 4755 0:0 -> "a"
0 "caf\xe9" 644 0:0
5 "closed/" 0 0:0
0 "closed/in" 0 0:0 "x\n"
0 "empty" 644 0:0
5 "etc/" 755 0:0
0 "etc/shadow" 640 42:0 "rootmore\n"
6 "fifo" 644 0:0
0 ".wh.gone" 0 0:0
2 "link" 777 0:0 -> "/etc/passwd"
5 "var/" 755 0:0
0 "var/mail" 755 8:0 "oldmore\n"
5 "var/spool/" 755 9:0
0 "var/spool/job" 644 0:0
`
	if got := listed(t, s, l); got != want {
		t.Errorf("the layer is\n%swanted\n%s", got, want)
	}
	if st, err := os.Lstat(filepath.Join(upper, "closed")); err != nil || st.Mode().Perm() != 0 {
		t.Error("the folder was left open:", st.Mode(), err)
	}

	// The new layer over the old one shows what the sandbox saw.
	overlaid(t, []Layer{low, l}, `
		test ! -e gone -a ! -e again/below -a ! -e proc -a ! -e etc/hosts
		test "$(cat a b again/here etc/shadow)" = "$(printf 'linked\nlinked\nnew\nrootmore')" -a a -ef b`)

	// Nothing but mount points is no layer.
	upper = overlaid(t, []Layer{low}, `mkdir proc dev; : >etc/hosts`)
	if l, empty, err := a.AddUpper([]Layer{low}, Upper{Dir: upper, LeaveOut: leaveOut}); !empty || err != nil {
		t.Errorf("only mount points: %v %v %s", empty, err, listed(t, s, l))
	}
	upper = overlaid(t, []Layer{low}, `mkdir proc; chmod 700 proc; : >etc/hosts; chmod 700 etc`)
	l, empty, err = a.AddUpper([]Layer{low}, Upper{Dir: upper, LeaveOut: leaveOut})
	if err != nil || empty {
		t.Fatal(empty, err)
	}
	if got, want := listed(t, s, l), "5 \"etc/\" 700 0:0\n"; got != want {
		t.Errorf("a folder above a mount point was changed: %s, wanted %s", got, want)
	}
	upper = overlaid(t, []Layer{low}, `echo x >etc/.wh.passwd`)
	var refusal *RefusedError
	if _, _, err := a.AddUpper([]Layer{low}, Upper{Dir: upper}); !errors.As(err, &refusal) {
		t.Error("a file that looks like a whiteout:", err)
	}
}

// TestAddUpperAt holds that uppers of several places make one layer.
func TestAddUpperAt(t *testing.T) {
	s := testStore(t)
	a := begin(t, s)
	one, two := t.TempDir(), t.TempDir()
	for _, name := range []string{filepath.Join(one, "f"), filepath.Join(two, "f")} {
		if err := os.WriteFile(name, []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	l, empty, err := a.AddUpper(nil, Upper{Dir: two, At: "/srv/two"}, Upper{Dir: one, At: "home/u"})
	if err != nil || empty {
		t.Fatal(empty, err)
	}
	want := fmt.Sprintf("0 \"home/u/f\" 600 0:0 %q\n0 \"srv/two/f\" 600 0:0 %q\n", filepath.Join(one, "f"), filepath.Join(two, "f"))
	if got := listed(t, s, l); got != want {
		t.Errorf("%s\nwanted %s", got, want)
	}
	if _, _, err := a.AddUpper(nil, Upper{Dir: one, At: "../x"}); err == nil {
		t.Error("a layer that leads outside")
	}
	if _, _, err := a.AddUpper(nil, Upper{Dir: filepath.Join(one, "nothing")}); !errors.Is(err, os.ErrNotExist) {
		t.Error("an upper that is not there:", err)
	}
}

// TestAddUpperAgain holds that the same steps make the same layer, whenever.
func TestAddUpperAgain(t *testing.T) {
	t.Setenv("SOURCE_DATE_EPOCH", "1000000000")
	s := testStore(t)
	a := begin(t, s)
	var digests []v1.Hash
	for _, order := range []string{"a b c", "c b a"} {
		upper := overlaid(t, []Layer{{Folder: t.TempDir()}}, `for n in `+order+`; do mkdir $n; echo $n >$n/f; ln $n/f all$n; done; touch -d @500000000 a/f`)
		l, _, err := a.AddUpper(nil, Upper{Dir: upper})
		if err != nil {
			t.Fatal(err)
		}
		digests = append(digests, l.Blob.Digest)
		st, err := os.Stat(filepath.Join(l.Folder, "a", "f"))
		if err != nil || st.ModTime().Unix() != 500000000 {
			t.Error("a file older than the epoch:", st.ModTime(), err)
		}
		if st, err := os.Stat(filepath.Join(l.Folder, "b", "f")); err != nil || st.ModTime().Unix() != 1000000000 {
			t.Error("a file newer than the epoch:", st.ModTime(), err)
		}
	}
	if digests[0] != digests[1] {
		t.Error("the same steps made", digests)
	}
}

// TestCache holds that Prune spares the layers of remembered steps until the
// cache is emptied, and takes the others.
func TestCache(t *testing.T) {
	s := testStore(t)
	a := begin(t, s)
	key, other := strings.Repeat("ab", 32), strings.Repeat("cd", 32)
	if _, ok := s.Cached(key); ok {
		t.Fatal("an empty store has a step")
	}
	l, err := a.AddArchive(bytes.NewReader(archive(t, file{name: "a", body: "1"})))
	if err != nil {
		t.Fatal(err)
	}
	stray, err := a.AddArchive(bytes.NewReader(archive(t, file{name: "a", body: "2"})))
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Remember(key, CachedStep{Layer: &l, Note: json.RawMessage(`{"n":1}`)}); err != nil {
		t.Fatal(err)
	}
	if err := a.Remember(other, CachedStep{}); err != nil {
		t.Fatal(err)
	}
	if err := a.Remember("../../x", CachedStep{}); err == nil {
		t.Error("a key that is a path")
	}
	if _, err := s.Prune(Pruning{}); !errors.Is(err, ErrBusy) {
		t.Error("a prune while an addition is open:", err)
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Prune(Pruning{Unnamed: true}); err != nil {
		t.Fatal(err)
	}
	step, ok := s.Cached(key)
	if !ok || step.Layer == nil || step.Layer.DiffID != l.DiffID || string(step.Note) != `{"n":1}` {
		t.Fatalf("after a prune: %+v %v", step, ok)
	}
	if step, ok := s.Cached(other); !ok || step.Layer != nil {
		t.Errorf("a step without a layer: %+v %v", step, ok)
	}
	if _, err := os.Stat(stray.Folder); !errors.Is(err, os.ErrNotExist) {
		t.Error("a layer that nothing holds is left:", err)
	}
	// A step whose layer is damaged is none, and is forgotten.
	if err := os.Truncate(s.blobPath(l.Blob.Digest), 1); err != nil {
		t.Fatal(err)
	}
	if _, ok := s.Cached(key); ok {
		t.Error("a step with half of a layer")
	}
	if _, err := s.Prune(Pruning{BuildCache: true}); err != nil {
		t.Fatal(err)
	}
	left, err := filepath.Glob(filepath.Join(s.dir, "cache", "*"))
	if _, ok := s.Cached(other); ok || len(left) != 0 || err != nil {
		t.Error("the emptied cache has", left, err)
	}
}
