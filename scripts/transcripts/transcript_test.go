package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/sbx-dev/sbx/internal/built"
)

// want says what a transcript must show on any host.
type want struct {
	Codes []int    // exit codes of the commands, in order; nil means that each is 0, but in lessons any
	Has   []string // what must stand in it, white space aside; nil means all of it, numbers aside
}

// wants has a row for each transcript that is no plain one: a plain one is the
// same on any host but for its numbers, and its commands exit with 0.
var wants = map[string]want{
	"hint": {Codes: []int{125, 0}},

	"untrusted-guards": {
		Has: []string{
			"cannot create .git/hooks/pre-commit: Read-only file system",
			"CMD made what makes the host run code, so it was moved aside",
			"out.txt",
		},
	},
	"untrusted-hidden": {Codes: []int{0, 0, 127, 0}},
	"untrusted-net":    {Codes: []int{1}},

	"compare": {
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
	"teaching-compare": {
		Has: []string{"without uts │ with uts", "≠ sandbox", "the hostname is sandbox instead of"},
	},
	"teaching-layers": {
		Codes: []int{1, 0},
		Has: []string{
			"exit 1 │ exit 1",
			"both sides agree because caps and seccomp refuse it too",
			"exit 1 ≠ exit 0",
		},
	},

	// The id of an image that shows the host's programs is this host's.
	"build-first": {Has: []string{"[1/5] FROM host", "[2/5] WORKDIR /app", "[5/5] CMD cat words config", "Built essay: 4 layers, none of the steps from the cache"}},

	// Ids of sandboxes and digests are others each time.
	"images-build": {Has: []string{"I count 6 words", "[4/7] RUN sort requirements.txt > installed.txt CACHED [5/7] COPY . .", "Built words:2: 5 layers, 3 steps from the cache"}},
	"images-look": {Has: []string{
		"REPOSITORY TAG DIGEST IMAGE ID CREATED SIZE pair 1 sha256:", "localhost:5000/pair latest sha256:", "names pair:1 localhost:5000/pair:latest id sha256:",
		`cmd ["cat" "/app/two"] workdir /app env PATH=`, "2B 1 1 1 RUN /bin/sh -c rm one; echo 2 > two", "0:0 0B app/.wh.one", "2B RUN /bin/sh -c echo 1 > one",
	}},
	"readme-image": {Has: []string{"[4/5] RUN wc -w < thesis.txt > words CACHED", "1 1 0 RUN /bin/sh -c wc", "LAYER DIFF ID SENT UNPACKED"}},
	"images-run":   {Has: []string{"clock up 1 second", "bin dev etc home", "tick"}},

	"ci-report": {Codes: []int{124, 0}},

	// Diff ids are others each time: there is a new secret in each image.
	"layers-listed": {Has: []string{
		"LAYER DIFF ID SENT UNPACKED FILES FOLDERS REMOVES MADE BY", "COPY prices token /srv/", "1 1 RUN rm /srv/token", "2.20 2.80 4.50",
	}},
	// So are the ids of what is built, and of what is installed in it.
	"cache-first": {Has: []string{
		"RUN sh install CACHED", "3 steps from the cache", "Good morning! There is: coffee, fetched as",
	}},
	"cache-edit": {Has: []string{
		"WORKDIR /app CACHED", "| fetching coffee", "1 step from the cache",
	}},

	"profiles-key": {Codes: []int{0, 125}},
	"tools-file":   {Codes: []int{0, 125}},
}

// TestTranscripts runs every command that README.md and the pages in docs show,
// and compares what they show with what it does.
func TestTranscripts(t *testing.T) {
	root := built.Root(t)
	files, err := documents(root)
	if err != nil {
		t.Fatal(err)
	}
	seen := make(map[string]string)
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		parts, err := split(string(text))
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		for _, p := range parts {
			if p.name == "" {
				continue
			}
			if other := seen[p.name]; other != "" {
				t.Errorf("%s and %s both have a transcript %s", other, file, p.name)
			}
			seen[p.name] = file
			t.Run(p.name, func(t *testing.T) {
				results, err := run(root, file, commands(p.block))
				if err != nil {
					t.Fatal(err)
				}
				check(t, file, wants[p.name], results, outputs(p.block))
			})
		}
	}
	for name := range wants {
		if seen[name] == "" {
			t.Errorf("no document has a transcript %s", name)
		}
	}
}

// check compares what ran with what a transcript of a file shows.
func check(t *testing.T, file string, w want, results []result, shown []string) {
	t.Helper()
	if w.Codes != nil && len(results) != len(w.Codes) {
		t.Fatalf("there are %d commands, want %d", len(results), len(w.Codes))
	}
	var ran strings.Builder
	for i, r := range results {
		ran.WriteString(r.output)
		code := 0
		switch {
		case w.Codes != nil:
			code = w.Codes[i]
		case filepath.Base(filepath.Dir(filepath.Dir(file))) == "lessons":
			code = r.code // a lesson shows what fails, and says so in words
		}
		if r.code != code {
			t.Errorf("%s: exit code %d, want %d; it printed:\n%s", r.command, r.code, code, r.output)
		}
		if w.Has == nil && mask(r.output) != mask(shown[i]) {
			t.Errorf("%s prints\n%s\nbut %s shows\n%s\n(go run ./scripts/transcripts rewrites it)", r.command, r.output, file, shown[i])
		}
	}
	for _, has := range w.Has {
		if !strings.Contains(spaces(ran.String()), has) {
			t.Errorf("the commands do not print %q but\n%s", has, &ran)
		}
		if !strings.Contains(spaces(strings.Join(shown, "")), has) {
			t.Errorf("%s does not show %q (go run ./scripts/transcripts rewrites it)", file, has)
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
