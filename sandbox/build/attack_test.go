package build

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// TestSecrets: a secret is in no file of the store, compressed or not, and in no
// output.
func TestSecrets(t *testing.T) {
	store := newStore(t)
	const secret = "correct-horse-battery-staple"
	dir := files(t, t.TempDir(), "token="+secret+"\n")
	_, w := built(t, store, `FROM busybox
RUN --mount=type=secret,id=token test "$(cat /run/secrets/token)" = correct-horse-battery"-staple" && echo right
RUN --mount=type=secret,id=token cat /run/secrets/token; ls -lR /run
RUN --mount=type=secret,id=token,env=TOKEN --mount=type=secret,id=value,target=/deep/er/v,mode=0444 echo "$TOKEN"; env; cat /deep/er/v
RUN --mount=type=secret,id=token,target=/secrets/passwd cat /etc/passwd /secrets/passwd
RUN test ! -e /deep && test ! -e /run/secrets && ls /etc
`, func(o *Options) {
		o.Secrets = map[string]Secret{"token": {File: filepath.Join(dir, "token")}, "value": {Value: "other-" + secret}}
		o.Explain = true
		o.Names = []string{"secretive"}
	})
	if !strings.Contains(w.text(), "right") || strings.Contains(w.text(), secret) {
		t.Errorf("the output: %s", w.text())
	}
	searched := 0
	err := filepath.WalkDir(store.Dir(), func(name string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		searched++
		if bytes.Contains(data, []byte(secret)) {
			t.Errorf("%s holds the secret", name)
		}
		if z, err := gzip.NewReader(bytes.NewReader(data)); err == nil {
			plain, err := io.ReadAll(z)
			if err != nil {
				return err
			}
			if bytes.Contains(plain, []byte(secret)) {
				t.Errorf("%s holds the secret, compressed", name)
			}
		}
		return nil
	})
	if err != nil || searched < 10 {
		t.Errorf("searched %d files: %v", searched, err)
	}
	left, err := filepath.Glob(filepath.Join(os.Getenv("XDG_RUNTIME_DIR"), "sbx-secret-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %q, %v", left, err)
	}
}

// TestMountsLeadNowhere: links in an image and ids with dots do not lead a mount
// out of the sandbox, the image or the caches (CVE-2024-1753, CVE-2024-9675).
func TestMountsLeadNowhere(t *testing.T) {
	store := newStore(t)
	outside := files(t, t.TempDir(), "secret=OUTSIDE", "dir/secret=OUTSIDE")
	evil := files(t, t.TempDir(), "abs=->"+outside, "up=->../../../../../../../.."+outside, "file=->"+outside+"/secret", "here=here")
	importFolder(t, store, evil, "evil", v1.Config{})
	for _, source := range []string{"/abs", "/up", "/file", "/up/dir", "../../.." + outside, "/abs/secret"} {
		_, w, err := tryBuild(t, store, "FROM busybox\nRUN --mount=type=bind,from=evil,source="+source+",target=/m cat /m /m/secret /m/dir/secret; ls -R /m\n", nil)
		if err == nil || strings.Contains(w.text(), "OUTSIDE") {
			t.Errorf("source %s: %v\n%s", source, err, w.text())
		}
	}
	// The target goes through a link that an earlier RUN has planted.
	_, w := built(t, store, "FROM busybox\nRUN ln -s "+outside+" /out; ln -s /proc/1/root/tmp /esc\n"+
		"RUN --mount=type=cache,target=/out/dir echo x > /out/dir/planted; ls /out\n"+
		"RUN --mount=type=cache,id=../../../../../.."+outside+",target=/c echo x > /c/planted\n"+
		"RUN --mount=type=cache,id=links,target=/c ln -s "+outside+"/secret /c/link\n"+
		"RUN --mount=type=cache,id=links,target=/c cat /c/link || echo nothing there\n", nil)
	if strings.Contains(w.text(), "OUTSIDE") || !strings.Contains(w.text(), "nothing there") {
		t.Error(w.text())
	}
	for _, name := range []string{"planted", "dir/planted"} {
		if _, err := os.Lstat(filepath.Join(outside, name)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s was written outside: %v", name, err)
		}
	}
	folders, err := filepath.Glob(filepath.Join(store.Dir(), "mounts", "*-0"))
	if err != nil || len(folders) != 3 {
		t.Errorf("the caches are %q, %v", folders, err)
	}
}
