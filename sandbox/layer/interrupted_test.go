package layer_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox/internal/testenv"
	"github.com/sbx-dev/sbx/sandbox/layer"
)

// TestCopyOutKilled kills --out at any moment, 60 times: each file of the host is
// the old one or the new one, and the next one removes what was temporary.
func TestCopyOutKilled(t *testing.T) {
	b := newBox(t)
	dir := filepath.Dir(b.host)
	const files = 8
	oldText, newText := strings.Repeat("o", 40<<10), strings.Repeat("n", 60<<10)
	for i := range files {
		b.write(dir, fmt.Sprintf("root/dist/d%d/f%d", i%3, i), newText)
	}
	interrupted, took := 0, 40*time.Millisecond
	for round := range 60 {
		for i := range files {
			b.write(b.host, fmt.Sprintf("dist/d%d/f%d", i%3, i), oldText)
		}
		cmd := start(t, "out", b.store)
		began := time.Now()
		if round > 0 {
			time.AfterFunc(rand.N(took), func() { _ = cmd.Process.Kill() })
		}
		err := cmd.Wait()
		if err == nil {
			took = min(took, time.Since(began)+time.Millisecond)
		} else if !cmd.ProcessState.Exited() {
			interrupted++
		}
		for i := range files {
			data, err := os.ReadFile(filepath.Join(b.host, fmt.Sprintf("dist/d%d/f%d", i%3, i)))
			b.must(err)
			if string(data) != oldText && string(data) != newText {
				t.Fatalf("round %d: f%d is neither the old nor the new one: %d bytes", round, i, len(data))
			}
		}
		b.must(start(t, "out", b.store).Wait())
		for _, line := range tree(t, b.host) {
			if strings.Contains(line, ".sbx-") || strings.Contains(line, "ooo") {
				t.Fatalf("round %d: left over: %.80s", round, line)
			}
		}
	}
	if interrupted < 12 {
		t.Errorf("only %d of 60 were interrupted: the test tests little", interrupted)
	}
}

// TestFullDisk applies a layer to a disk that has no room for it.
func TestFullDisk(t *testing.T) {
	testenv.Need(t, "userns", "tool:unshare")
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("unshare", "-Urm", "sh", "-ec", `mkdir "$1"; mount -t tmpfs -o size=1m,mode=755 full "$1"; shift; exec "$@"`,
		"sh", filepath.Join(dir, "host"), os.Args[0], "-test.run=^TestFullDiskInside$")
	cmd.Env = append(os.Environ(), "SBX_LAYER_FULL="+dir)
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "PASS") {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestFullDiskInside is what TestFullDisk runs where it has mounted a host of
// 1 MiB.
func TestFullDiskInside(t *testing.T) {
	dir := os.Getenv("SBX_LAYER_FULL")
	if dir == "" {
		return
	}
	b := &box{t: t, host: filepath.Join(dir, "host"), store: layer.NewStore(filepath.Join(dir, "layers"))}
	for _, name := range []string{"edit", "gone/x", "whole/old", "dist"} {
		b.write(b.host, name, "old")
	}
	b.fresh()
	big := strings.Repeat("n", 2<<20)
	for _, name := range []string{"edit", "made", "whole/big", "root/dist"} {
		at := b.upper
		if name == "root/dist" {
			at = dir
		}
		b.write(at, name, big)
	}
	b.opaque("whole")
	b.write(b.upper, "small", "s")
	b.whiteout("gone")

	l := b.open()
	changes, err := l.Changes()
	b.must(err)
	report, err := l.Apply(changes, func(*layer.Item) bool { return true })
	b.must(err)
	l.Close()
	var failed []string
	for _, f := range report.Failed {
		if !errors.Is(f.Err, unix.ENOSPC) {
			t.Errorf("%s: %v, want ENOSPC", f.Item.Host, f.Err)
		}
		failed = append(failed, filepath.Base(f.Item.Host))
	}
	slices.Sort(failed)
	b.want(failed, "big", "edit", "made")
	b.want(tree(t, b.host), `"." drwxr-xr-x`, `"dist" -rw-r--r-- "old"`, `"edit" -rw-r--r-- "old"`, `"small" -rw-r--r-- "s"`, `"whole" drwxr-xr-x`)
	b.want(b.changes(), "modified file edit", "added file made", "added file whole/big")

	root, err := unix.Open(filepath.Join(dir, "root"), unix.O_PATH|unix.O_DIRECTORY, 0)
	b.must(err)
	out, err := b.store.CopyOut(root, "/dist", filepath.Join(b.host, "dist"), []string{b.host})
	b.must(err)
	if len(out.Failed) != 1 || out.Files != 0 {
		t.Errorf("out: %+v, want one failure", out)
	}
	b.want(tree(t, b.host), `"." drwxr-xr-x`, `"dist" -rw-r--r-- "old"`, `"edit" -rw-r--r-- "old"`, `"small" -rw-r--r-- "s"`, `"whole" drwxr-xr-x`)

	// With room all of it comes.
	b.must(unix.Mount("", b.host, "", unix.MS_REMOUNT, "size=64m"))
	b.apply()
	for _, name := range []string{"edit", "made", "whole/big"} {
		if data, err := os.ReadFile(filepath.Join(b.host, name)); err != nil || string(data) != big {
			t.Errorf("%s: %d bytes, %v", name, len(data), err)
		}
	}
	b.want(b.changes())
}
