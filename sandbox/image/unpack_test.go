package image

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// unpackInto unpacks files into a folder that has a neighbour, and fails when
// anything but the folder has changed.
func unpackInto(t *testing.T, data []byte) (root string, c Contents, err error) {
	t.Helper()
	top := t.TempDir()
	t.Cleanup(func() { removeTree(filepath.Join(top, "layer")) })
	root = filepath.Join(top, "layer", "root")
	for _, dir := range []string{root, filepath.Join(top, "outside")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	secret := filepath.Join(top, "outside", "secret")
	if err := os.WriteFile(secret, []byte("secret"), 0o644); err != nil {
		t.Fatal(err)
	}
	before := tree(t, top, root)
	c, err = unpack(root, bytes.NewReader(data), Limits{Bytes: Limits{}.withDefaults().ofLayer(int64(len(data)))}.withDefaults(), OwnersRecorded)
	if after := tree(t, top, root); !slices.Equal(before, after) {
		t.Errorf("outside of the layer:\nbefore %q\nafter  %q", before, after)
	}
	return root, c, err
}

// tree lists what lies below top and not below except, with mode, size and link
// count.
func tree(t *testing.T, top, except string) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(top, func(name string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if name == except {
			return fs.SkipDir
		}
		var st unix.Stat_t
		if err := unix.Lstat(name, &st); err != nil {
			return err
		}
		out = append(out, fmt.Sprintf("%s %o %d %d %d", name, st.Mode, st.Size, st.Nlink, st.Mtim.Nano()))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestHostileNames holds that an archive writes below its folder only. What is
// refused says so; what is contained is where a sandbox with that root would
// see it.
func TestHostileNames(t *testing.T) {
	const (
		dir, sym, hard = tar.TypeDir, tar.TypeSymlink, tar.TypeLink
	)
	tests := []struct {
		name    string
		files   []file
		refused bool
		inside  string // a file that is there afterwards
	}{
		{"dotdot", []file{{name: "../outside/secret", body: "x"}}, true, ""},
		{"dotdot inside", []file{{name: "a/../../outside/secret", body: "x"}}, true, ""},
		{"dotdot folder", []file{{name: "..", kind: dir, mode: 0o777}}, true, ""},
		{"absolute", []file{{name: "/etc/passwd", body: "x"}}, false, "etc/passwd"},
		{"double slash", []file{{name: "//etc//passwd", body: "x"}}, false, "etc/passwd"},
		{"symlink then write", []file{{name: "outside", kind: dir}, {name: "a", kind: sym, link: "../../outside"}, {name: "a/secret", body: "x"}}, false, "outside/secret"},
		{"absolute symlink then write", []file{{name: "etc", kind: dir}, {name: "a", kind: sym, link: "/etc"}, {name: "a/x", body: "x"}}, false, "etc/x"},
		{"chain of symlinks", []file{{name: "b", kind: sym, link: ".."}, {name: "a", kind: sym, link: "b/b/b/.."}, {name: "a/x", body: "x"}}, false, "x"},
		{"dangling symlink then write", []file{{name: "a", kind: sym, link: "../../outside"}, {name: "a/secret", body: "x"}}, true, ""},
		{"loop of symlinks", []file{{name: "a", kind: sym, link: "b"}, {name: "b", kind: sym, link: "a"}, {name: "a/x", body: "x"}}, true, ""},
		{"write onto a symlink", []file{{name: "a", kind: sym, link: "../../outside/secret"}, {name: "a", body: "x"}}, false, "a"},
		{"folder onto a symlink", []file{{name: "a", kind: sym, link: "../../outside"}, {name: "a", kind: dir, mode: 0o777}, {name: "a/secret", body: "x"}}, false, "a/secret"},
		{"hard link outside", []file{{name: "a", kind: hard, link: "../../outside/secret"}, {name: "a", body: "x"}}, true, ""},
		{"absolute hard link", []file{{name: "a", kind: hard, link: "/etc/passwd"}}, true, ""},
		{"hard link through a symlink", []file{{name: "l", kind: sym, link: "../../outside"}, {name: "a", kind: hard, link: "l/secret"}}, true, ""},
		{"hard link to a symlink, then write", []file{{name: "l", kind: sym, link: "../../outside/secret"}, {name: "a", kind: hard, link: "l"}, {name: "a", body: "x"}}, false, "a"},
		{"whiteout of nothing", []file{{name: "d/.wh.", body: ""}}, true, ""},
		{"whiteout of the folder", []file{{name: "d/x", body: "x"}, {name: "d/.wh..", body: ""}}, true, ""},
		{"whiteout of the parent", []file{{name: ".wh...", body: ""}}, true, ""},
		{"below a whiteout", []file{{name: ".wh.d", kind: dir}, {name: ".wh.d/x", body: "x"}}, true, ""},
		{"hard link to a whiteout", []file{{name: ".wh.a", body: ""}, {name: "b", kind: hard, link: "a"}}, true, ""},
		{"whiteout through a symlink", []file{{name: "outside", kind: dir}, {name: "a", kind: sym, link: "../../outside"}, {name: "a/.wh.secret", body: ""}}, false, "outside/secret"},
		{"opaque through a symlink", []file{{name: "outside", kind: dir}, {name: "a", kind: sym, link: "../../outside"}, {name: "a/.wh..wh..opq", body: ""}}, false, "outside"},
		{"through a file", []file{{name: "a", body: "x"}, {name: "a/b", body: "x"}}, true, ""},
		{"the top as a file", []file{{name: ".", body: "x"}}, true, ""},
		{"the top as a symlink", []file{{name: ".", kind: sym, link: "/"}}, true, ""},
		{"not UTF-8", []file{{name: "caf\xe9/\xff\xfe", body: "x"}}, false, "caf\xe9/\xff\xfe"},
		{"line feed and escape", []file{{name: "a\n\x1b[31m", body: "x"}}, false, "a\n\x1b[31m"},
		{"too long", []file{{name: strings.Repeat("a/", 3000) + "x", body: "x"}}, true, ""},
		{"long component", []file{{name: strings.Repeat("a", 300), body: "x"}}, true, ""},
		{"deep", []file{{name: strings.Repeat("a/", 2000) + "x", body: "x"}}, false, strings.Repeat("a/", 2000) + "x"},
		{"duplicates", []file{{name: "a", body: "1"}, {name: "a", kind: dir}, {name: "a/b", body: "2"}, {name: "a", body: "3"}, {name: "a", kind: sym, link: "/"}, {name: "a", body: "x"}}, false, "a"},
		{"closed folder", []file{{name: "d", kind: dir, mode: 0o500}, {name: "d/x", body: "x"}}, false, "d/x"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			root, _, err := unpackInto(t, rawArchive(t, test.files))
			if test.refused != (err != nil) {
				t.Fatalf("refused %v, wanted %v: %v", err != nil, test.refused, err)
			}
			if test.inside != "" {
				if _, err := os.Lstat(filepath.Join(root, test.inside)); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// rawArchive is archive for names that PAX would not take: GNU's long names
// hold any byte.
func rawArchive(t *testing.T, files []file) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, f := range files {
		kind := f.kind
		if kind == 0 {
			kind = tar.TypeReg
		}
		mode := f.mode
		if mode == 0 {
			mode = 0o755
		}
		h := &tar.Header{Name: f.name, Typeflag: kind, Linkname: f.link, Mode: mode, Size: int64(len(f.body)), Format: tar.FormatGNU}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(f.body)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// TestUnpack holds what one user can make of a layer, and that the rest is
// recorded.
func TestUnpack(t *testing.T) {
	root, c, err := unpackInto(t, archive(t,
		file{name: "./", kind: tar.TypeDir, mode: 0o755},
		file{name: "bin/su", body: "su", mode: 0o4755},
		file{name: "bin/hard", kind: tar.TypeLink, link: "bin/su"},
		file{name: "home/u/f", body: "1234", mode: 0o640, uid: 1000, pax: map[string]string{"SCHILY.xattr.user.note": "kept", "SCHILY.xattr.user.overlay.redirect": "/etc", "SCHILY.xattr.security.capability": "x"}},
		file{name: "dev/null", kind: tar.TypeChar, mode: 0o666},
		file{name: "fifo", kind: tar.TypeFifo, mode: 0o644},
		file{name: "secret", kind: tar.TypeDir, mode: 0o001},
		file{name: "secret/in", body: "x"},
		file{name: "sticky", kind: tar.TypeDir, mode: 0o1777},
		file{name: "old/.wh..wh..opq"},
		file{name: ".wh.gone"},
		file{name: "again/.wh..wh.plnk", kind: tar.TypeDir},
		file{name: ".wh.new"},
		file{name: "new", kind: tar.TypeDir},
		file{name: "new2/x", body: "x"},
		file{name: ".wh.new2"},
	))
	if err != nil {
		t.Fatal(err)
	}
	stat := func(name string) (st unix.Stat_t) {
		t.Helper()
		if err := unix.Lstat(filepath.Join(root, name), &st); err != nil {
			t.Fatal(name, err)
		}
		return st
	}
	for name, mode := range map[string]uint32{"bin/su": unix.S_IFREG | 0o755, "secret": unix.S_IFDIR | 0o001, "sticky": unix.S_IFDIR | 0o1777, "bin": unix.S_IFDIR | 0o755, "fifo": unix.S_IFIFO | 0o600, ".": unix.S_IFDIR | 0o755} {
		if got := stat(name).Mode; got != mode {
			t.Errorf("%s: mode %o, wanted %o", name, got, mode)
		}
	}
	if stat("bin/su").Ino != stat("bin/hard").Ino || stat("bin/su").Mtim.Sec != 1e9 {
		t.Error("bin/su: not linked, or not of its time")
	}
	if st := stat("gone"); st.Mode&unix.S_IFMT != unix.S_IFCHR || st.Rdev != 0 {
		t.Errorf("gone is no whiteout: %o %d", st.Mode, st.Rdev)
	}
	xattr := func(name, attr string) string {
		var b [64]byte
		n, err := unix.Lgetxattr(filepath.Join(root, name), attr, b[:])
		if err != nil {
			return err.Error()
		}
		return string(b[:n])
	}
	for _, name := range []string{"old", "new", "new2"} {
		if got := xattr(name, "user.overlay.opaque"); got != "y" {
			t.Errorf("%s is not opaque: %s", name, got)
		}
	}
	if got := xattr("home/u/f", "user.note"); got != "kept" {
		t.Error("user.note:", got)
	}
	if got := xattr("home/u/f", "user.overlay.redirect"); got != unix.ENODATA.Error() {
		t.Error("an archive set user.overlay.redirect:", got)
	}
	want := []Recorded{
		{Path: "bin/su", Mode: 0o4755},
		{Path: "home/u/f", UID: 1000, Mode: 0o640, Xattrs: []string{"security.capability", "user.overlay.redirect"}},
		{Path: "dev/null", Mode: 0o666, Device: "char 1:3"},
	}
	if fmt.Sprint(c.Recorded) != fmt.Sprint(want) {
		t.Errorf("recorded %v\nwanted   %v", c.Recorded, want)
	}
	if _, err := os.Lstat(filepath.Join(root, "dev/null")); !errors.Is(err, fs.ErrNotExist) {
		t.Error("a device was made:", err)
	}
	if c.Bytes != 2+4+1+1 || c.Whiteouts != 4 {
		t.Errorf("%+v", c)
	}
}

// zeros is as many zero bytes as are asked for.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// TestBombs holds that what is small on the way is not huge on the disk.
func TestBombs(t *testing.T) {
	t.Run("sparse", func(t *testing.T) {
		// GNU's sparse format 1.0: a map of no data, and a real size of 10 GiB.
		body := []byte("0\n")
		body = append(body, make([]byte, 512-len(body))...)
		pax := ""
		for _, kv := range []string{"GNU.sparse.major=1", "GNU.sparse.minor=0", "GNU.sparse.name=zeros", "GNU.sparse.realsize=10737418240"} {
			n := len(kv) + 2
			for len(fmt.Sprint(n))+len(kv)+2 != n {
				n = len(fmt.Sprint(n)) + len(kv) + 2
			}
			pax += fmt.Sprintf("%d %s\n", n, kv)
		}
		raw := rawHeader("PaxHeader", 'x', len(pax))
		raw = append(raw, pax...)
		raw = append(raw, make([]byte, -len(raw)&511)...)
		raw = append(raw, rawHeader("zeros", '0', len(body))...)
		raw = append(raw, body...)
		raw = append(raw, make([]byte, 1024)...)
		_, c, err := unpackInto(t, raw)
		if err == nil {
			t.Fatalf("10 GiB of a sparse file were unpacked from %d bytes: %+v", len(raw), c)
		}
	})
	t.Run("ratio", func(t *testing.T) {
		limits := Limits{Ratio: 10, Bytes: 4 << 30}.withDefaults()
		if got := limits.ofLayer(1 << 20); got != ratioFrom {
			t.Errorf("a layer of 1 MiB may have %d bytes", got)
		}
		if got := limits.ofLayer(200 << 20); got != 2000<<20 {
			t.Errorf("a layer of 200 MiB may have %d bytes", got)
		}
		if got := limits.ofLayer(1 << 40); got != 4<<30 {
			t.Errorf("a layer of 1 TiB may have %d bytes", got)
		}
		n, err := io.Copy(io.Discard, limit(io.LimitReader(zeros{}, 1<<20), 1<<20, "x"))
		if n != 1<<20 || err != nil {
			t.Error("as many bytes as are allowed:", n, err)
		}
		if _, err := io.Copy(io.Discard, limit(io.LimitReader(zeros{}, 1<<20+1), 1<<20, "x")); err == nil {
			t.Error("a byte too many is no error")
		}
	})
	t.Run("store", func(t *testing.T) {
		s := testStore(t)
		s.Limits.Bytes = 1 << 20
		big := gzipped(t, archive(t, file{name: "zeros", body: strings.Repeat("\x00", 2<<20)}))
		if _, err := s.Load(bytes.NewReader(dockerArchive(t, "bomb", emptyConfig, big)), nil); err == nil {
			t.Fatal("2 MiB entered where 1 MiB is allowed")
		}
		left, err := filepath.Glob(filepath.Join(s.dir, "layers", "*"))
		if len(left) != 0 || err != nil {
			t.Error("layers:", left, err)
		}
	})
	t.Run("stream", func(t *testing.T) {
		in, out := &counted{n: 1 << 20}, int64(0)
		copied := func(size int64) error {
			_, err := io.Copy(io.Discard, &proportionate{r: io.LimitReader(zeros{}, size), in: in, out: &out, ratio: 2000})
			return err
		}
		if err := copied(ratioFrom + 1<<20); err != nil {
			t.Error("less than the ratio:", err)
		}
		if err := copied(1 << 30); err == nil {
			t.Error("2 GiB came of 1 MiB, where 2000 times are allowed")
		}
	})
	t.Run("entries", func(t *testing.T) {
		files := make([]file, 101)
		for i := range files {
			files[i] = file{name: fmt.Sprint(i)}
		}
		data := archive(t, files...)
		if _, err := unpack(t.TempDir(), bytes.NewReader(data), Limits{Entries: 100}.withDefaults(), OwnersRecorded); err == nil {
			t.Error("101 entries where 100 are allowed")
		}
		if _, err := unpack(t.TempDir(), bytes.NewReader(data), Limits{Entries: 101}.withDefaults(), OwnersRecorded); err != nil {
			t.Error(err)
		}
	})
	// One entry may ask for 2000 folders: a million of them for all inodes of a disk.
	t.Run("folders without an entry", func(t *testing.T) {
		data := archive(t, file{name: "a" + strings.Repeat("/a", 100)})
		if _, err := unpack(t.TempDir(), bytes.NewReader(data), Limits{Entries: 100}.withDefaults(), OwnersRecorded); err == nil {
			t.Error("a file in 100 folders, where 100 entries are allowed")
		}
		if _, err := unpack(t.TempDir(), bytes.NewReader(data), Limits{Entries: 101}.withDefaults(), OwnersRecorded); err != nil {
			t.Error(err)
		}
	})
	t.Run("a name in a message", func(t *testing.T) {
		data := archive(t, file{name: strings.Repeat("long/", 800) + "..", kind: tar.TypeDir})
		if _, err := unpack(t.TempDir(), bytes.NewReader(data), Limits{}.withDefaults(), OwnersRecorded); err == nil || len(err.Error()) > 300 {
			t.Errorf("the message is %v", err)
		}
	})
	t.Run("names", func(t *testing.T) {
		long := strings.Repeat("n", 201)
		for what, data := range map[string][]byte{
			"a name":      archive(t, file{name: long}),
			"a target":    archive(t, file{name: "l", kind: tar.TypeSymlink, link: long}),
			"attributes":  archive(t, file{name: "f", pax: map[string]string{xattrRecord + "trusted." + long: ""}}),
			"their paths": archive(t, file{name: strings.Repeat("a/", 20) + "f"}),
		} {
			if _, err := unpack(t.TempDir(), bytes.NewReader(data), Limits{Names: 200}.withDefaults(), OwnersRecorded); err == nil || !strings.Contains(err.Error(), "names") {
				t.Errorf("%s of more than 200 bytes: %v", what, err)
			}
			if c, err := unpack(t.TempDir(), bytes.NewReader(data), Limits{Names: 1000}.withDefaults(), OwnersRecorded); err != nil {
				t.Errorf("%s: %+v, %v", what, c, err)
			}
		}
	})
}

// rawHeader is a ustar header, for what archive/tar does not write.
func rawHeader(name string, kind byte, size int) []byte {
	b := make([]byte, 512)
	copy(b, name)
	copy(b[100:], "0000644\x000000000\x000000000\x00")
	copy(b[124:], fmt.Sprintf("%011o\x0000000000000\x00", size))
	copy(b[148:], "        ")
	b[156] = kind
	copy(b[257:], "ustar\x0000")
	total := 0
	for _, c := range b {
		total += int(c)
	}
	copy(b[148:], fmt.Sprintf("%06o\x00 ", total))
	return b
}

// FuzzUnpack holds that no archive writes outside of its folder.
func FuzzUnpack(f *testing.F) {
	f.Add(archive(f, file{name: "a", kind: tar.TypeSymlink, link: "../../outside"}, file{name: "a/secret", body: "x"}))
	f.Add(archive(f, file{name: ".wh.a"}, file{name: "d/.wh..wh..opq"}, file{name: "d", kind: tar.TypeDir, mode: 0}))
	f.Fuzz(func(t *testing.T, data []byte) {
		top := t.TempDir()
		root := filepath.Join(top, "layer")
		if err := os.Mkdir(root, 0o755); err != nil {
			t.Fatal(err)
		}
		_, _ = unpack(root, limit(bytes.NewReader(data), 1<<20, "input"), Limits{Entries: 100}.withDefaults(), OwnersRecorded)
		if err := removeTree(root); err != nil {
			t.Error(err)
		}
		if left, err := os.ReadDir(top); len(left) != 0 || err != nil {
			t.Error(left, err)
		}
	})
}
