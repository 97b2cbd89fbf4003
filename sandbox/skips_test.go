package sandbox_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// skipsAllowed are the skips that do not go through testenv, and why. No CI can
// ask for these, or they are how its conditions are asked for elsewhere.
var skipsAllowed = map[string][]string{
	// The package cannot import testenv, which is internal to sandbox: its need
	// and the script's conditions obey SBX_REQUIRE themselves.
	"cmd/sbx/internal/cli/main_test.go": {`t.Skipf("%s: %v", name, holds())`},
	// What the machine is, not what it can do.
	"sandbox/attack_inside_test.go":         {`t.Skip("this kernel has none of the entries")`},
	"sandbox/attack_launch_test.go":         {`t.Skip("this user may open no block device")`},
	"sandbox/attack_namespace_test.go":      {`t.Skip("the host is called sandbox")`, `t.Skip("the caller is in the root of every cgroup hierarchy")`},
	"sandbox/internal/rawfork/init_test.go": {`t.Skip("looks at arm64 code; TestInitUnderQEMU runs it on amd64")`},
	// The test binary itself: with the race detector it has threads of C.
	"sandbox/hint_test.go": {`t.Skipf("this test binary itself does not run behind the filter: %v: %.200s", err, out)`},
	// Asked for, by -short.
	"sandbox/seccomp/live_test.go": {`t.Skip("compilers take seconds")`},
}

// TestSkips: a skip beside testenv would hide from SBX_REQUIRE, so that CI passes
// although it has tested nothing.
func TestSkips(t *testing.T) {
	skip := regexp.MustCompile(`\b(?:t|b|f|tb)\.(?:Skip|Skipf|SkipNow)\(`)
	seen := 0
	err := filepath.WalkDir("..", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel := filepath.ToSlash(strings.TrimPrefix(name, ".."+string(filepath.Separator)))
		if entry.IsDir() && (strings.HasPrefix(entry.Name(), ".") && name != ".." || rel == "sandbox/internal/testenv") {
			return fs.SkipDir
		}
		switch {
		case strings.HasSuffix(name, "_test.go") && rel != "sandbox/skips_test.go":
			allowed := skipsAllowed[rel]
			for i, line := range strings.Split(readFile(t, name), "\n") {
				if !skip.MatchString(line) {
					continue
				}
				if len(allowed) == 0 || strings.TrimSpace(line) != allowed[0] {
					t.Errorf("%s:%d: %s: use testenv.Need, Want or Lacks, or built.Lacks", rel, i+1, strings.TrimSpace(line))
					continue
				}
				allowed = allowed[1:]
				seen++
			}
			for _, line := range allowed {
				t.Errorf("%s is allowed to say %s, and does not any more", rel, line)
			}
		case strings.HasSuffix(name, ".txtar"):
			for i, line := range strings.Split(readFile(t, name), "\n") {
				if strings.HasPrefix(line, "[exec:") || strings.HasPrefix(line, "[!exec:") {
					t.Errorf("%s:%d: %s: SBX_REQUIRE knows [tool:NAME] only", rel, i+1, line)
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for name := range skipsAllowed {
		if _, err := os.Stat(filepath.Join("..", name)); err != nil {
			t.Error(err)
		}
	}
	if seen < 5 {
		t.Errorf("only %d skips were found: the test looks in the wrong folder", seen)
	}
}
