package layer_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox/layer"
)

// changed compares the layer with the host and returns items by path.
func (b *box) changed() map[string]layer.Item {
	b.t.Helper()
	l, err := b.store.Open("box")
	b.must(err)
	defer l.Close()
	ch, err := l.Changes()
	b.must(err)
	items := map[string]layer.Item{}
	for _, it := range ch.Items {
		rel, err := filepath.Rel(b.host, it.Host)
		b.must(err)
		items[rel] = it
	}
	return items
}

// TestGitFolderByShape finds what git takes for a repository without a .git:
// made in the layer, made up of names of both sides, or changed where the host
// has one.
func TestGitFolderByShape(t *testing.T) {
	b := newBox(t)
	for _, name := range []string{"made/HEAD", "made/objects/a", "made/refs/heads/x", "made/config", "work/commondir", "work/head"} {
		b.write(b.upper, name, "x")
	}
	b.write(b.host, "both/objects/a", "x")
	b.write(b.host, "both/refs/x", "x")
	b.write(b.upper, "both/HEAD", "x")
	b.write(b.upper, "both/deep/file", "x")
	for _, name := range []string{"there/HEAD", "there/objects/a", "there/refs/x"} {
		b.write(b.host, name, "x")
	}
	b.write(b.upper, "there/hooks/pre-commit", "evil")
	for _, name := range []string{"plain/HEAD", "plain/config", "plain/refs/x"} {
		b.write(b.upper, name, "x")
	}
	items := b.changed()
	for name, want := range map[string]bool{
		"made/HEAD": true, "made/config": true, "made/refs/heads/x": true, "work/head": true,
		"both/HEAD": true, "both/deep/file": true, "there/hooks/pre-commit": true,
		"plain/HEAD": false, "plain/config": false,
	} {
		it, ok := items[name]
		if !ok || (it.Guarded != "") != want {
			t.Errorf("%s: listed %v, guarded %q, want %v", name, ok, it.Guarded, want)
		}
	}
}

// TestLinksTold tells where links lead, and which of them lead out.
func TestLinksTold(t *testing.T) {
	b := newBox(t)
	b.write(b.upper, "d/file", "x")
	for name, c := range map[string]struct {
		target         string
		leads, guarded bool
	}{
		"in":       {"d/file", false, false},
		"d/up":     {"../d/file", false, false},
		"python":   {"/usr/bin/python3", false, false},
		"absolute": {b.host + "/d/file", false, false},
		"out":      {"../elsewhere", true, false},
		"key":      {"/home/somebody/.ssh/id_ed25519", true, false},
		"dots":     {"/usr/../home/x", true, false},
		"through":  {"d/../../x", true, false},
		"hook":     {".git/hooks/pre-commit", false, true},
		"hook2":    {b.host + "/.git/hooks", false, true},
		"d/hook3":  {"../.envrc", false, true},
	} {
		b.must(os.Symlink(c.target, filepath.Join(b.upper, name)))
		it := b.changed()[name]
		if it.Link != c.target || it.LeadsOut != c.leads || (it.Guarded != "") != c.guarded {
			t.Errorf("%s: %q, out %v, guarded %q; want %+v", name, it.Link, it.LeadsOut, it.Guarded, c)
		}
	}
}

// TestCopyOutWays follows no link in a folder that CMD may have filled, by
// whatever way it is reached, and copies no repository that nobody named.
func TestCopyOutWays(t *testing.T) {
	b := newBox(t)
	root := filepath.Join(filepath.Dir(b.host), "root")
	for _, name := range []string{"dist/HEAD", "dist/objects/a", "dist/refs/x", "dist/config", "x", "out/HEAD", "out/config"} {
		b.write(root, name, "evil")
	}
	outside := filepath.Join(filepath.Dir(b.host), "outside")
	b.must(os.Mkdir(outside, 0o755))
	b.must(os.Symlink("../outside", filepath.Join(b.host, "way")))
	b.must(os.Mkdir(filepath.Join(b.host, "sub"), 0o755))
	door := filepath.Join(filepath.Dir(b.host), "door")
	b.must(os.Symlink("host", door))
	fd, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	b.must(err)
	defer unix.Close(fd)
	for _, folders := range [][]string{{b.host}, {filepath.Join(b.host, "sub"), b.host}} {
		for _, to := range []string{b.host + "/way/x", door + "/way/x", door + "/way/new/x"} {
			if _, err := b.store.CopyOut(fd, "/x", to, folders); err == nil || !strings.Contains(err.Error(), "link") {
				t.Errorf("%s: %v", to, err)
			}
		}
	}
	if names, _ := os.ReadDir(outside); len(names) > 0 {
		t.Errorf("outside holds %v", names)
	}
	if _, err := b.store.CopyOut(fd, "/x", door+"/new/x", []string{b.host}); err != nil { // the caller's own link
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(b.host, "new/x")); err != nil {
		t.Error(err)
	}
	out, err := b.store.CopyOut(fd, "/dist", b.host+"/dist", []string{b.host})
	if err != nil || out.Files != 0 || len(out.Skipped) != 1 {
		t.Errorf("a repository is copied: %+v, %v", out, err)
	}
	b.must(os.MkdirAll(b.host+"/out/objects", 0o755))
	b.must(os.MkdirAll(b.host+"/out/refs", 0o755))
	out, err = b.store.CopyOut(fd, "/out", b.host+"/out", []string{b.host})
	if err != nil || out.Files != 0 {
		t.Errorf("one is made up of two: %+v, %v", out, err)
	}
}
