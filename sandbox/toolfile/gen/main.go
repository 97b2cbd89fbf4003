// Gen writes a table of tools as Go source, so that sbx parses no TOML to start:
// gen tools.toml zz_tools.go.
package main

import (
	"bytes"
	"fmt"
	"go/format"
	"os"
	"path/filepath"
	"strconv"

	"github.com/sbx-dev/sbx/sandbox"
	"github.com/sbx-dev/sbx/sandbox/toolfile"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("usage: gen TABLE.toml FILE.go")
	}
	out, err := generate(args[0])
	if err != nil {
		return err
	}
	return os.WriteFile(args[1], out, 0o644)
}

// generate is the Go source of a table: composite literals of constants, which
// the linker lays out, so that they cost nothing before main.
func generate(name string) ([]byte, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	table, err := toolfile.Parse(filepath.Base(name), data)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "// Code generated from %s by toolfile/gen; DO NOT EDIT.\n\npackage sandbox\n\n", filepath.Base(name))
	b.WriteString("// neverPlaces are the places with credentials and private things.\nvar neverPlaces = [...]Place{\n")
	for _, p := range table.Never {
		fmt.Fprintf(&b, "%q,\n", string(p))
	}
	b.WriteString("}\n\n// builtinTools is the built-in table, in the order of the names.\nvar builtinTools = [...]Tool{\n")
	for i := range table.Tools {
		t := &table.Tools[i]
		fmt.Fprintf(&b, "{\nName: %q,\nAbout: %q,\n", string(t.Name), t.About)
		b.WriteString("Folders: []ToolFolder{\n")
		for _, f := range t.Folders {
			b.WriteString("{" + list("At", "Place", f.At) + list("Has", "Pattern", f.Has) + list("Hide", "Pattern", f.Hide))
			if f.Cache {
				b.WriteString("Cache: true")
			}
			b.WriteString("},\n")
		}
		b.WriteString("},\n")
		for _, field := range []string{
			list("Links", "Place", t.Links), list("Files", "Place", t.Files), list("Commands", "Name", t.Commands), list("Variables", "Name", t.Variables),
		} {
			if field != "" {
				b.WriteString(field + "\n")
			}
		}
		b.WriteString("},\n")
	}
	b.WriteString("}\n")
	return format.Source(b.Bytes())
}

// list is a field of strings, or nothing where there are none.
func list[T sandbox.Place | sandbox.Pattern | sandbox.Name](field, kind string, values []T) string {
	if len(values) == 0 {
		return ""
	}
	out := field + ": []" + kind + "{"
	for i, v := range values {
		if i > 0 {
			out += ", "
		}
		out += strconv.Quote(string(v))
	}
	return out + "}, "
}
