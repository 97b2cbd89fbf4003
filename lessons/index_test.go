package lessons

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// README.md lists every lesson, as the lessons call themselves. UPDATE=1 writes
// the table anew.
func TestIndex(t *testing.T) {
	var table strings.Builder
	table.WriteString("| # | lesson | steps | minutes |\n|---|---|---|---|\n")
	for _, l := range All() {
		fmt.Fprintf(&table, "| %d | [%s](%s/README.md) | %s | %d |\n", l.Number, l.Title, l.ID(), strings.Join(l.Steps, ", "), l.Minutes)
	}
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	begin := strings.Index(string(text), "| # |")
	end := strings.Index(string(text), "\n\n## A lesson")
	if begin < 0 || end < begin {
		t.Fatal("README.md has no table before “A lesson”")
	}
	if string(text[begin:end+1]) == table.String() {
		return
	}
	if os.Getenv("UPDATE") == "" {
		t.Fatalf("the table in README.md is not\n%s(UPDATE=1 go test ./lessons -run Index)", &table)
	}
	if err := os.WriteFile("README.md", []byte(string(text[:begin])+table.String()+string(text[end+1:])), 0o644); err != nil {
		t.Fatal(err)
	}
}
