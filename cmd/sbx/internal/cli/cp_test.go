package cli

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestCopyFromHostile copies out of a sandbox and into it while its CMD exchanges
// a folder and a file for links to where the caller has a secret, as fast as it
// can. The folder is one that the sandbox sees as well, for writing, so that a way
// through it would lead to the same name on the host.
func TestCopyFromHostile(t *testing.T) {
	b := newBoxes(t)
	need(t, "tool:python3")
	// The caller's folder is shown inside, so the secret lies elsewhere.
	secret, err := os.MkdirTemp("/var/tmp", "sbx-secret-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(secret)
	out := filepath.Join(b.dir, "out")
	for _, dir := range []string{out, b.dir + "/src", b.dir + "/got"} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range map[string]string{secret + "/f": "the secret", b.dir + "/src/f": "from the host"} {
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	program := `import os, ctypes
libc = ctypes.CDLL(None)
os.chdir("` + out + `")
os.mkdir("d"); os.mkdir("x"); open("d/f", "w").write("harmless"); open("g", "w").write("harmless")
os.symlink("` + secret + `", "l"); os.symlink("` + secret + `/f", "m")
open("ready", "w")
while True:
    libc.renameat2(-100, b"d", -100, b"l", 2)
    libc.renameat2(-100, b"g", -100, b"m", 2)
`
	if _, errs, code := b.sbx("run", "-d", "--name", "web", "--rw", out, "--", "python3", "-c", program); code != 0 {
		t.Fatal(errs)
	}
	defer b.sbx("rm", "-f", "web")
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if _, err := os.Stat(out + "/ready"); err == nil {
			break
		}
	}
	met := 0
	for end := time.Now().Add(3 * time.Second); time.Now().Before(end); {
		for _, args := range [][]string{
			{"cp", "web:" + out, "got"},
			{"cp", "-L", "web:" + out + "/d/f", "got/one"},
			{"cp", "src/f", "web:" + out + "/d/f"},
			{"cp", "src/.", "web:" + out + "/d"},
			{"cp", "web:" + out + "/g", "out/d/h"}, // the way on the host is CMD's
			{"cp", "out/d/f", "web:/tmp"},
			{"cp", "web:/proc/1/root" + secret, "got"},
		} {
			if _, _, code := b.sbx(args...); code != 0 {
				met++
			}
		}
		if found, _ := exec.Command("grep", "-r", "the secret", b.dir+"/got").Output(); len(found) > 0 {
			t.Fatalf("it was copied out: %s", found)
		}
		if text, _, _ := b.sbx("exec", "web", "cat", "/tmp/f"); strings.Contains(text, "the secret") {
			t.Fatal("it was copied in")
		}
	}
	if met < 3 {
		t.Error("no copy met an exchanged name: the test tests nothing")
	}
	entries, err := os.ReadDir(secret)
	text, err2 := os.ReadFile(secret + "/f")
	if err != nil || err2 != nil || len(entries) != 1 || string(text) != "the secret" {
		t.Errorf("what is outside was written to: %v, %q, %v, %v", entries, text, err, err2)
	}
}
