package filter_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox/filter"
)

// putEntry writes a file where the profile's entry is looked for, in a cache of
// the test's own, and gives its path.
func putEntry(t *testing.T, profile, entry []byte, mode fs.FileMode) string {
	t.Helper()
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	path, err := filter.CachePath(profile, "amd64")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, entry, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestCached(t *testing.T) {
	profile := []byte("{}")
	p := filter.Program{{Code: retK, K: uint32(filter.Allow)}}
	good := filter.EncodeEntry(profile, p)
	for _, tt := range []struct {
		name  string
		entry []byte
		mode  fs.FileMode
		want  string // part of the error
		is    error
	}{
		{"good", good, 0o600, "", nil},
		{"readable by all", good, 0o644, "", nil},
		{"writable by the group", good, 0o620, "others may write it", fs.ErrPermission},
		{"writable by all", good, 0o602, "others may write it", fs.ErrPermission},
		{"of a colliding profile", filter.EncodeEntry([]byte("[]"), p), 0o600, "", fs.ErrNotExist},
		{"of another version", []byte("sbxbpf0\n"), 0o600, "of this version", nil},
		{"cut", good[:15], 0o600, "shorter", nil},
		{"not a program", filter.EncodeEntry(profile, filter.Program{{Code: loadW}}), 0o600, "without a return", nil},
		{"too large", make([]byte, 2<<20), 0o600, "too many", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			putEntry(t, profile, tt.entry, tt.mode)
			got, err := filter.Cached(profile, "amd64")
			if tt.want == "" && tt.is == nil {
				if err != nil || len(got) != 1 || got[0] != p[0] {
					t.Fatalf("got %v, %v", got, err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) || (tt.is != nil && !errors.Is(err, tt.is)) {
				t.Errorf("got %v, want %q, %v", err, tt.want, tt.is)
			}
		})
	}
}

func TestCachedOfOthers(t *testing.T) {
	profile := []byte("{}")
	entry := filter.EncodeEntry(profile, filter.Program{{Code: retK}})

	path := putEntry(t, profile, entry, 0o600)
	if err := os.Rename(path, path+".real"); err != nil {
		t.Fatal(err)
	}
	if _, err := filter.Cached(profile, "amd64"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without an entry: %v", err)
	}
	if err := os.Symlink(path+".real", path); err != nil {
		t.Fatal(err)
	}
	if _, err := filter.Cached(profile, "amd64"); !errors.Is(err, unix.ELOOP) {
		t.Errorf("a symbolic link: %v", err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := filter.Cached(profile, "amd64"); err == nil || !strings.Contains(err.Error(), "no regular file") {
		t.Errorf("a FIFO: %v", err)
	}
	if os.Geteuid() == 0 {
		path := putEntry(t, profile, entry, 0o600)
		if err := os.Chown(path, 65534, -1); err != nil {
			t.Fatal(err)
		}
		if _, err := filter.Cached(profile, "amd64"); !errors.Is(err, fs.ErrPermission) {
			t.Errorf("somebody else's file: %v", err)
		}
	}
	if _, err := filter.Cached(profile, "vax"); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an unknown architecture: %v", err)
	}
}

func TestKernel(t *testing.T) {
	release, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		t.Fatal(err)
	}
	major, minor, err := filter.Kernel()
	if err != nil || major < 3 || minor < 0 {
		t.Errorf("%d.%d, %v of %s", major, minor, err, release)
	}
}
