package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// want says what a transcript must show on any host.
type want struct {
	Codes []int    // exit codes of the commands, in order
	Whole bool     // compare all of it, numbers and white space aside
	Has   []string // what must stand in it, white space aside
}

// wants has a row for each transcript of README.md.
var wants = map[string]want{
	"compare": {
		Codes: []int{0},
		Has: []string{
			"without pid, net, uts │ with pid, net, uts",
			"≠ sandbox",
			"127.0.0.1/8",
			"│ exit 0",
			"the process is in a PID namespace of its own",
			"the process is in a UTS namespace of its own",
			"the hostname is sandbox instead of",
			"the process is in a network namespace of its own",
		},
	},
	"changes": {Codes: []int{0, 0}, Whole: true},
	"explain": {Codes: []int{0}, Whole: true},
	"hint":    {Codes: []int{125, 0}, Whole: true},
}

// TestReadme runs every command that README.md shows and compares what it
// shows with what it does.
func TestReadme(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(root, "bin/sbx")); err != nil {
		if slices.Contains(strings.Split(os.Getenv("SBX_REQUIRE"), ","), "built") {
			t.Fatal("bin/sbx is missing and SBX_REQUIRE names built: run make build")
		}
		t.Skip("bin/sbx is not built: make build")
	}
	text, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	parts, err := split(string(text))
	if err != nil {
		t.Fatal(err)
	}
	seen := make(map[string]bool)
	for _, p := range parts {
		if p.name == "" {
			continue
		}
		seen[p.name] = true
		t.Run(p.name, func(t *testing.T) {
			w, ok := wants[p.name]
			if !ok {
				t.Fatal("the table wants has no row for it")
			}
			results, err := run(root, commands(p.block))
			if err != nil {
				t.Fatal(err)
			}
			check(t, w, results, outputs(p.block))
		})
	}
	for name := range wants {
		if !seen[name] {
			t.Errorf("README.md has no transcript %s", name)
		}
	}
}

// check compares what ran with what a transcript shows.
func check(t *testing.T, w want, results []result, shown []string) {
	t.Helper()
	if len(results) != len(w.Codes) {
		t.Fatalf("there are %d commands, want %d", len(results), len(w.Codes))
	}
	var ran strings.Builder
	for i, r := range results {
		ran.WriteString(r.output)
		if r.code != w.Codes[i] {
			t.Errorf("%s: exit code %d, want %d; it printed:\n%s", r.command, r.code, w.Codes[i], r.output)
		}
		if w.Whole && mask(r.output) != mask(shown[i]) {
			t.Errorf("%s prints\n%s\nbut README.md shows\n%s\n(go run ./scripts/transcripts rewrites it)", r.command, r.output, shown[i])
		}
	}
	for _, has := range w.Has {
		if !strings.Contains(spaces(ran.String()), has) {
			t.Errorf("the commands do not print %q but\n%s", has, &ran)
		}
		if !strings.Contains(spaces(strings.Join(shown, "")), has) {
			t.Errorf("README.md does not show %q (go run ./scripts/transcripts rewrites it)", has)
		}
	}
}

// TestSplit puts a document together again, and refuses broken marks.
func TestSplit(t *testing.T) {
	const text = "a\n<!-- transcript x -->\n```console\n$ true\nout\n$ false\n```\n<!-- /transcript -->\nb\n"
	parts, err := split(text)
	if err != nil {
		t.Fatal(err)
	}
	var again strings.Builder
	for _, p := range parts {
		again.WriteString(p.before + p.block)
	}
	if again.String() != text {
		t.Errorf("put together again it is %q", again.String())
	}
	if got := commands(parts[0].block); !slices.Equal(got, []string{"true", "false"}) {
		t.Errorf("the commands are %q", got)
	}
	if got := outputs(parts[0].block); !slices.Equal(got, []string{"out\n", ""}) {
		t.Errorf("the outputs are %q", got)
	}
	for _, broken := range []string{
		strings.Replace(text, "<!-- /", "<!-- ", 1),
		strings.Replace(text, "console", "sh", 1),
		strings.Replace(text, " -->", "", 1),
	} {
		if _, err := split(broken); err == nil {
			t.Errorf("no error for %q", broken)
		}
	}
}

var digits = regexp.MustCompile(`[0-9]+`)

// mask hides numbers, and the spaces that a number's width moves.
func mask(s string) string { return spaces(digits.ReplaceAllString(s, "N")) }

// spaces makes one space of all white space in a row.
func spaces(s string) string { return strings.Join(strings.Fields(s), " ") }
