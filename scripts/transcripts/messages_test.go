package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestTroubleshooting holds docs/troubleshooting.md against the sources: each
// hint, and each other message of three words or more, must stand there. What a
// message holds of names and numbers is the page's own example, so the pieces
// between them are looked for.
func TestTroubleshooting(t *testing.T) {
	page, err := os.ReadFile("../../docs/troubleshooting.md")
	if err != nil {
		t.Fatal(err)
	}
	text := spaces(strings.ReplaceAll(string(page), `\|`, "|"))
	total := 0
	for _, folder := range []string{"../../sandbox", "../../cmd/sbx/internal/cli"} {
		files, err := filepath.Glob(folder + "/*.go")
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			for _, m := range messages(t, file) {
				total++
				if !strings.Contains(text, spaces(m)) {
					t.Errorf("%s prints %q, which docs/troubleshooting.md does not explain: add the message, its cause and what to type", strings.TrimPrefix(file, "../../"), m)
				}
			}
		}
	}
	if total < 100 {
		t.Errorf("only %d messages were found in the sources", total)
	}
}

// messages are the pieces of the messages in a Go file: string literals in the
// functions, fields and calls that make one.
func messages(t *testing.T, file string) []string {
	t.Helper()
	tree, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	take := func(n ast.Node) {
		ast.Inspect(n, func(n ast.Node) bool {
			if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
				if s, err := strconv.Unquote(lit.Value); err == nil && len(strings.Fields(s)) >= 3 && !slices.Contains(list, s) {
					list = append(list, s)
				}
			}
			return true
		})
	}
	// These write nothing but messages.
	if name := filepath.Base(file); strings.HasPrefix(name, "hint") || name == "error.go" {
		for _, d := range tree.Decls {
			if d, ok := d.(*ast.FuncDecl); ok {
				take(d)
			}
		}
		return list
	}
	for _, d := range tree.Decls {
		if d, ok := d.(*ast.FuncDecl); ok && slices.Contains([]string{"notShown", "hiddenProcesses"}, d.Name.Name) {
			take(d)
		}
	}
	ast.Inspect(tree, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.KeyValueExpr:
			if key, ok := n.Key.(*ast.Ident); ok && slices.Contains([]string{"Hint", "hint"}, key.Name) {
				take(n.Value)
			}
		case *ast.ValueSpec:
			if strings.HasSuffix(n.Names[0].Name, "Hint") {
				take(n)
			}
		case *ast.AssignStmt:
			switch left := n.Lhs[len(n.Lhs)-1].(type) {
			case *ast.SelectorExpr:
				if left.Sel.Name == "Hint" {
					take(n)
				}
			case *ast.Ident:
				if left.Name == "tip" || left.Name == "hint" {
					take(n)
				}
			}
		case *ast.CallExpr:
			switch called := n.Fun.(type) {
			case *ast.Ident:
				if called.Name == "hint" || called.Name == "say" {
					take(n)
				}
			case *ast.SelectorExpr:
				if called.Sel.Name == "note" {
					take(n)
				}
			}
		}
		return true
	})
	return list
}
