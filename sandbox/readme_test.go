package sandbox_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/sbx-dev/sbx/sandbox"
	"github.com/sbx-dev/sbx/sandbox/internal/testenv"
)

// stepsBegin and stepsEnd enclose the table of steps in README.md.
const (
	stepsBegin = "<!-- steps: written by UPDATE=1 go test -run TestReadmeSteps ./sandbox -->\n"
	stepsEnd   = "<!-- /steps -->\n"
)

// TestReadmeSteps holds README.md's table of steps against Steps, so that no
// step is added or reworded without it.
func TestReadmeSteps(t *testing.T) {
	const file = "../README.md"
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, found := strings.Cut(string(text), stepsBegin)
	got, after, closed := strings.Cut(rest, stepsEnd)
	if !found || !closed {
		t.Fatalf("%s has no lines %q and %q", file, stepsBegin, stepsEnd)
	}
	want := stepTable()
	if got == want {
		return
	}
	if os.Getenv("UPDATE") == "" {
		t.Fatalf("the table of steps in %s is out of date (UPDATE=1 rewrites it); want:\n%s", file, want)
	}
	if err := os.WriteFile(file, []byte(before+stepsBegin+want+stepsEnd+after), 0o644); err != nil {
		t.Fatal(err)
	}
}

// stepTable is Steps as Markdown.
func stepTable() string {
	var b strings.Builder
	b.WriteString("| step | with it | without it | needs | Linux |\n|---|---|---|---|---|\n")
	// A bar would end the cell; a star or an underscore would set in italics.
	cell := strings.NewReplacer("|", `\|`, "*", `\*`, "_", `\_`)
	for _, s := range sandbox.Steps {
		name := "`" + s.Name + "`"
		if s.OnRequest {
			name += " (on request)"
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n",
			name, cell.Replace(s.Summary), cell.Replace(s.Without), strings.Join(s.Needs, ", "), s.Kernel)
	}
	return b.String()
}

// TestQuickstartGo runs the test that docs/quickstart-ci.md shows, and holds
// the page against it.
func TestQuickstartGo(t *testing.T) {
	code, err := os.ReadFile("grade_test.go")
	if err != nil {
		t.Fatal(err)
	}
	const file = "../docs/quickstart-ci.md"
	page, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	// As a user writes it: in a package of their own, and for go test to find.
	want := strings.NewReplacer("package sandbox_test", "package grade", "testSubmissions", "TestSubmissions").Replace(string(code))
	if !strings.Contains(string(page), "```go\n"+want+"```\n") {
		t.Errorf("%s does not show grade_test.go as it is; it is:\n%s", file, want)
	}
	testenv.Need(t, "userns", "overlay", "seccomp")
	testSubmissions(t)
}
