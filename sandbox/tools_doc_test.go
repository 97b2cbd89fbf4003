package sandbox_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/sbx-dev/sbx/sandbox"
)

// TestToolsDoc holds the table of docs/tools.md against the built-in one.
func TestToolsDoc(t *testing.T) {
	const (
		file  = "../docs/tools.md"
		begin = "<!-- tools: written by UPDATE=1 go test -run TestToolsDoc ./sandbox -->\n"
		end   = "<!-- /tools -->\n"
	)
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, found := strings.Cut(string(text), begin)
	got, after, closed := strings.Cut(rest, end)
	if !found || !closed {
		t.Fatalf("%s has no lines %q and %q", file, begin, end)
	}
	want := toolTable()
	if got == want {
		return
	}
	if os.Getenv("UPDATE") == "" {
		t.Fatalf("the table in %s is out of date (UPDATE=1 rewrites it); want:\n%s", file, want)
	}
	if err := os.WriteFile(file, []byte(before+begin+want+end+after), 0o644); err != nil {
		t.Fatal(err)
	}
}

// toolTable is the built-in table as Markdown.
func toolTable() string {
	var b strings.Builder
	code := func(list []string) string {
		seen := map[string]bool{}
		list = slices.DeleteFunc(list, func(s string) bool {
			again := seen[s] || strings.HasPrefix(s, "$")
			seen[s] = true
			return again
		})
		if len(list) == 0 {
			return ""
		}
		return "`" + strings.Join(list, "` `") + "`"
	}
	b.WriteString("| tool | what | shown | hidden in it | also for CMD |\n|---|---|---|---|---|\n")
	table := sandbox.BuiltinTools()
	for i := range table.Tools {
		tool := &table.Tools[i]
		var shown, hidden, commands []string
		for _, f := range tool.Folders {
			// The last place is where it is without a variable.
			at := f.At[len(f.At)-1]
			for _, p := range f.At {
				if strings.HasPrefix(string(p), "~") {
					at = p
					break
				}
			}
			shown = append(shown, string(at))
			for _, h := range f.Hide {
				hidden = append(hidden, string(h))
			}
		}
		for _, p := range tool.Files {
			if strings.HasPrefix(string(p), "~") {
				shown = append(shown, string(p))
			}
		}
		for _, c := range tool.Commands {
			commands = append(commands, string(c))
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", tool.Name, tool.About, code(shown), code(hidden), code(commands))
	}
	b.WriteString("\nA variable that moves a folder (`CARGO_HOME`, `XDG_CACHE_HOME` …) is honoured; `sandbox/tools.toml` has every place.\n\nThe private places: ")
	var never []string
	for _, p := range table.Never {
		never = append(never, string(p))
	}
	b.WriteString(code(never) + ".\n")
	return b.String()
}
