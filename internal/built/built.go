// Package built finds bin/sbx for the tests that run the command as a user does.
// It stands outside of sandbox, whose own testenv is internal to it.
package built

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Sbx returns the path of bin/sbx of this clone. As root it fails: what isolates
// is tested as a normal user. Where sbx is not built the test is skipped, or
// fails where SBX_REQUIRE names the condition built.
func Sbx(t testing.TB) string {
	t.Helper()
	if os.Getuid() == 0 {
		t.Fatal("this is tested as a normal user: run make test, or go test -exec scripts/as-user")
	}
	return filepath.Join(Root(t), "bin", "sbx")
}

// Root returns the top of the clone, for a test that calls scripts/as-user
// itself. It skips and fails as Sbx does, but not as root.
func Root(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			break
		}
		if dir == filepath.Dir(dir) {
			t.Fatal("there is no go.mod around the test's folder")
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "bin", "sbx")); err != nil {
		Lacks(t, "built", "bin/sbx is not built: make build")
	}
	return dir
}

// Lacks skips a test for a condition that does not hold, with the reason; where
// SBX_REQUIRE names the condition it fails instead.
func Lacks(t testing.TB, condition, why string) {
	t.Helper()
	if slices.Contains(strings.Split(os.Getenv("SBX_REQUIRE"), ","), condition) {
		t.Fatalf("SBX_REQUIRE names %s, which is missing: %s", condition, why)
	}
	t.Skipf("%s: %s", condition, why)
}
