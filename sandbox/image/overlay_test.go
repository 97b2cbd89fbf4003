package image

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sbx-dev/sbx/sandbox/internal/testenv"
)

// TestOverlay holds that overlayfs, in a user namespace, reads the folders of
// the layers as the image means them: what an upper layer removes is gone, and
// an opaque folder hides the ones below.
func TestOverlay(t *testing.T) {
	testenv.Need(t, "userns", "overlay", "tool:unshare")
	s := testStore(t)
	low := archive(t, file{name: "gone", body: "x"}, file{name: "dir/below", body: "x"}, file{name: "again/below", body: "x"}, file{name: "both", body: "low"})
	high := archive(t, file{name: ".wh.gone"}, file{name: "dir/.wh..wh..opq"}, file{name: "dir/above", body: "x"}, file{name: ".wh.again"}, file{name: "again/above", body: "x"}, file{name: "both", body: "high"})
	load(t, s, dockerArchive(t, "layers", emptyConfig, low, high))
	image, err := s.Find("layers")
	if err != nil {
		t.Fatal(err)
	}
	layers, err := image.Layers()
	if err != nil {
		t.Fatal(err)
	}
	at := filepath.Join(s.dir, "merged")
	if err := os.Mkdir(at, 0o755); err != nil {
		t.Fatal(err)
	}
	script := `mount -t overlay overlay -o "userxattr,lowerdir=$1:$2" "$3" && cd "$3" && find . -type f | sort && cat both`
	out, err := exec.Command("unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, "sh", layers[1].Folder, layers[0].Folder, at).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if got, want := strings.Fields(string(out)), "./again/above ./both ./dir/above high"; strings.Join(got, " ") != want {
		t.Errorf("merged: %q, wanted %q", got, want)
	}
}
