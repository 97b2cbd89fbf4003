package image

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sbx-dev/sbx/sandbox/internal/testenv"
)

// peer is a rootless podman with stores of its own, which nothing of the user's
// podman shares.
type peer struct {
	t   *testing.T
	dir string
}

// newPeer makes one, and takes it away when the test ends.
func newPeer(t *testing.T) *peer {
	t.Helper()
	testenv.Need(t, "subuid", "tool:podman", "tool:runc")
	p := &peer{t, t.TempDir()}
	for _, name := range []string{"home", "run"} {
		if err := os.Mkdir(filepath.Join(p.dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := p.command("info").CombinedOutput(); err != nil {
		testenv.Lacks(t, "tool:podman", string(out))
	}
	t.Cleanup(func() {
		// Podman leaves a process that holds its namespaces, a mount in them, and
		// files of subordinate ids.
		store := filepath.Join(p.dir, "store")
		p.run("unshare", "sh", "-c", "umount "+store+"/overlay; rm -rf "+store)
		p.run("system", "migrate")
	})
	return p
}

// command is podman with its words.
func (p *peer) command(words ...string) *exec.Cmd {
	c := exec.Command("podman", append([]string{
		"--root", filepath.Join(p.dir, "store"), "--runroot", filepath.Join(p.dir, "runroot"),
		"--runtime", "runc", "--cgroup-manager", "cgroupfs", "--events-backend", "none",
	}, words...)...)
	c.Env = []string{
		"PATH=" + os.Getenv("PATH"), "STORAGE_DRIVER=overlay",
		"HOME=" + filepath.Join(p.dir, "home"), "XDG_RUNTIME_DIR=" + filepath.Join(p.dir, "run"),
	}
	c.Dir = p.dir
	return c
}

// run gives what podman prints, without what it says beside.
func (p *peer) run(words ...string) string {
	p.t.Helper()
	c := p.command(words...)
	var said bytes.Buffer
	c.Stderr = &said
	out, err := c.Output()
	if err != nil {
		p.t.Fatalf("podman %s: %v\n%s", strings.Join(words, " "), err, said.Bytes())
	}
	return strings.TrimSpace(string(out))
}

// says is what a container prints. Podman attaches to it after it has started,
// and may miss all that a short program says : so it is made again.
func (p *peer) says(name string, words ...string) string {
	p.t.Helper()
	for try := 0; ; try++ {
		out := p.run(append([]string{"run", "--name", name, "--network", "none"}, words...)...)
		if out != "" || try == 4 {
			return out
		}
		p.t.Logf("podman printed nothing of %s, and is asked again", name)
		p.run("rm", "-f", name)
	}
}

// file is the path of one in the peer's folder.
func (p *peer) file(name string) string { return filepath.Join(p.dir, name) }

// digests are the image id and the manifest's digest that podman has.
func (p *peer) digests(name string) (id, digest string) {
	p.t.Helper()
	id, digest, _ = strings.Cut(p.run("image", "inspect", "--format", "{{.Id}} {{.Digest}}", name), " ")
	return "sha256:" + id, digest
}

// saved writes an image of the store into a file.
func saved(t *testing.T, s Store, word, path string) string {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := s.Save(f, []string{word}); err != nil {
		t.Fatal(err)
	}
	return path
}

// loaded adds the image of a file to a fresh store.
func loaded(t *testing.T, path, word string) (Store, *Image) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	s := testStore(t)
	load(t, s, data)
	image, err := s.Find(word)
	if err != nil {
		t.Fatal(err)
	}
	return s, image
}

// TestPodman: an image of ours runs in podman, one that podman made is ours, and
// neither way changes the image id or the manifest's digest.
func TestPodman(t *testing.T) {
	p := newPeer(t)
	program := staticProgram(t)
	s := testStore(t)
	load(t, s, dockerArchive(
		t, "ours:1", v1.Config{Cmd: []string{"/hello"}, Env: []string{"A=1"}},
		gzipped(t, archive(t, file{name: "old", body: "x"}, file{name: "d/", kind: '5'}, file{name: "d/f"})),
		gzipped(t, archive(t, file{name: "hello", body: program}, file{name: ".wh.old"}, file{name: "d/.wh..wh..opq"}, file{name: "d/new", body: "y"})),
	))
	ours, err := s.Find("ours:1")
	if err != nil {
		t.Fatal(err)
	}

	p.run("load", "-i", saved(t, s, "ours:1", p.file("ours.tar")))
	if id, digest := p.digests("ours:1"); id != ours.ID.String() || digest != ours.Digest.String() {
		t.Errorf("ours in podman: id %s, digest %s; want %s, %s", id, digest, ours.ID, ours.Digest)
	}
	if got := p.says("made", "ours:1", "/hello", "written"); got != "hello from /: d hello; d: new" {
		t.Errorf("ours runs in podman and says %q", got)
	}

	p.run("commit", "made", "theirs:1")
	theirs, _ := p.digests("theirs:1")
	for format, keeps := range map[string]bool{"oci-archive": true, "docker-archive": false} {
		path := p.file(format + ".tar")
		p.run("save", "--format", format, "-o", path, "theirs:1")
		back, image := loaded(t, path, "localhost/theirs:1")
		if image.ID.String() != theirs {
			t.Errorf("%s of podman: id %s, want %s", format, image.ID, theirs)
		}
		if n := len(image.Manifest.Layers); n != 3 {
			t.Errorf("%s of podman: %d layers, want 3", format, n)
		}
		// What podman keeps is not compressed, so podman's own digest of what it
		// made is another than that of what it writes. From the archive on it stays.
		if written := digestInArchive(t, path); keeps && image.Digest.String() != written {
			t.Errorf("%s of podman: digest %s, want %s", format, image.Digest, written)
		}
		p.run("rmi", "-f", "theirs:1")
		p.run("load", "-i", saved(t, back, "localhost/theirs:1", p.file("back.tar")))
		if id, digest := p.digests("theirs:1"); id != theirs || digest != image.Digest.String() {
			t.Errorf("%s of podman, back there: id %s, digest %s; want %s, %s", format, id, digest, theirs, image.Digest)
		}
		if got := p.says("back-"+format, "theirs:1", "/hello"); got != "hello from /: d hello written; d: new" {
			t.Errorf("%s of podman, back there: says %q", format, got)
		}
	}
}

// digestInArchive is the manifest's digest that an OCI archive names, or "".
func digestInArchive(t *testing.T, path string) string {
	t.Helper()
	out, err := exec.Command("tar", "-xOf", path, "index.json").Output()
	if err != nil {
		return ""
	}
	index, err := v1.ParseIndexManifest(bytes.NewReader(out))
	if err != nil || len(index.Manifests) != 1 {
		t.Fatalf("%s: %v in %s", path, err, out)
	}
	return index.Manifests[0].Digest.String()
}

// staticProgram lists / and /d, but for what podman mounts there, and writes the
// file that its argument names.
func staticProgram(t *testing.T) string {
	t.Helper()
	testenv.Want(t, "tool:gcc")
	const source = `#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
static int cmp(const struct dirent **a, const struct dirent **b) { return strcmp((*a)->d_name, (*b)->d_name); }
static int own(const struct dirent *e) { return e->d_name[0] != '.' && (strlen(e->d_name) < 3 || !strstr(" dev etc proc sys run ", e->d_name)); }
static void list(const char *dir) {
	struct dirent **names;
	int n = scandir(dir, &names, own, cmp);
	for (int i = 0; i < n; i++) printf(" %s", names[i]->d_name);
}
int main(int argc, char **argv) {
	printf("hello from /:"); list("/"); printf("; d:"); list("/d"); puts("");
	return argc > 1 && open(argv[1], O_CREAT | O_WRONLY, 0644) < 0;
}
`
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "hello.c"), []byte(source), 0o644); err != nil {
		t.Fatal(err)
	}
	c := exec.Command("gcc", "-static", "-Os", "-s", "-o", "hello", "hello.c")
	c.Dir = dir
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("gcc: %v\n%s", err, out)
	}
	program, err := os.ReadFile(filepath.Join(dir, "hello"))
	if err != nil {
		t.Fatal(err)
	}
	return string(program)
}
