// Sbom writes the bill of materials of commands, in CycloneDX 1.5's JSON
// (https://cyclonedx.org/docs/1.5/json/), to stdout:
//
//	go run ./scripts/sbom -version 1.2.3 -time 2006-01-02T15:04:05Z [-c NAME=VERSION]... FILE...
//
// What it says comes from the files themselves: the modules that Go's linker
// noted in them (debug/buildinfo) and their checksums. The same files give the
// same bytes. A file that needs a dynamic linker is refused, since what is
// published must run on every Linux.
package main

import (
	"crypto/sha256"
	"debug/buildinfo"
	"debug/elf"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
)

// bill is the document. Fields that it leaves out (the serial number) would
// differ from one run to the next.
type bill struct {
	Format       string       `json:"bomFormat"`
	SpecVersion  string       `json:"specVersion"`
	Version      int          `json:"version"` // of the document, from 1
	Metadata     metadata     `json:"metadata"`
	Components   []component  `json:"components"`
	Dependencies []dependency `json:"dependencies"`
}

type metadata struct {
	Timestamp string    `json:"timestamp"` // RFC 3339
	Component component `json:"component"`
}

type component struct {
	Type       string     `json:"type"` // application, file or library
	Ref        string     `json:"bom-ref"`
	Name       string     `json:"name"`
	Version    string     `json:"version,omitempty"`
	PURL       string     `json:"purl,omitempty"`
	Licenses   []license  `json:"licenses,omitempty"`
	Hashes     []hash     `json:"hashes,omitempty"`
	Properties []property `json:"properties,omitempty"`
}

type license struct {
	License struct {
		ID string `json:"id"` // SPDX's
	} `json:"license"`
}

type hash struct {
	Alg     string `json:"alg"`
	Content string `json:"content"` // hexadecimal
}

type property struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

type dependency struct {
	Ref       string   `json:"ref"`
	DependsOn []string `json:"dependsOn"`
}

func main() {
	version := flag.String("version", "", "the version of all")
	time := flag.String("time", "", "when it was made, RFC 3339")
	var linked []component
	flag.Func("c", "a C library in the files that use cgo, `NAME=VERSION`", func(text string) error {
		name, number, ok := strings.Cut(text, "=")
		if !ok || number == "" {
			return fmt.Errorf("%q is not NAME=VERSION", text)
		}
		purl := "pkg:generic/" + name + "@" + number
		linked = append(linked, component{Type: "library", Ref: purl, Name: name, Version: number, PURL: purl})
		return nil
	})
	flag.Parse()
	b, err := billOf(*version, *time, linked, flag.Args())
	if err == nil {
		out := json.NewEncoder(os.Stdout)
		out.SetIndent("", "  ")
		err = out.Encode(b)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "sbom:", err)
		os.Exit(1)
	}
}

// billOf reads the files in their order; libraries follow, sorted by reference.
func billOf(version, time string, linked []component, files []string) (*bill, error) {
	whole := component{Type: "application", Ref: "sbx", Name: "sbx", Version: version}
	whole.Licenses = make([]license, 1)
	whole.Licenses[0].License.ID = "Apache-2.0"
	b := &bill{Format: "CycloneDX", SpecVersion: "1.5", Version: 1, Metadata: metadata{time, whole}}
	all := dependency{Ref: whole.Ref, DependsOn: []string{}}
	libraries := map[string]component{}
	for _, path := range files {
		file, uses, err := read(path, linked)
		if err != nil {
			return nil, err
		}
		file.Version = version
		b.Components = append(b.Components, file)
		all.DependsOn = append(all.DependsOn, file.Ref)
		d := dependency{Ref: file.Ref}
		for _, u := range uses {
			libraries[u.Ref] = u
			d.DependsOn = append(d.DependsOn, u.Ref)
		}
		slices.Sort(d.DependsOn)
		b.Dependencies = append(b.Dependencies, d)
	}
	b.Dependencies = append(b.Dependencies, all)
	for _, ref := range slices.Sorted(maps.Keys(libraries)) {
		b.Components = append(b.Components, libraries[ref])
	}
	return b, nil
}

// read is the component that a file is, and the libraries in it.
func read(path string, linked []component) (component, []component, error) {
	none := component{}
	content, err := os.ReadFile(path)
	if err != nil {
		return none, nil, err
	}
	if err := isStatic(path); err != nil {
		return none, nil, err
	}
	info, err := buildinfo.ReadFile(path)
	if err != nil {
		return none, nil, fmt.Errorf("%s: %w", path, err)
	}
	sum := sha256.Sum256(content)
	name := filepath.Base(path)
	file := component{
		Type: "file", Ref: "file:" + name, Name: name,
		Hashes: []hash{{"SHA-256", hex.EncodeToString(sum[:])}},
	}
	number := strings.TrimPrefix(info.GoVersion, "go")
	uses := []component{{
		Type: "library", Ref: "pkg:golang/std@" + number, Name: "std", Version: number, PURL: "pkg:golang/std@" + number,
	}}
	for _, m := range info.Deps {
		uses = append(uses, libraryOf(m))
	}
	for _, s := range info.Settings {
		if s.Key == "CGO_ENABLED" && s.Value == "1" {
			uses = append(uses, linked...)
		}
	}
	return file, uses, nil
}

// libraryOf is the module that was linked, which is not the one that was asked
// for where go.mod replaces it. The sum is that of go.sum: it is over the names
// and sums of the files, so CycloneDX has no name for it.
func libraryOf(m *debug.Module) component {
	if m.Replace != nil {
		m = m.Replace
	}
	purl := "pkg:golang/" + m.Path + "@" + m.Version
	c := component{Type: "library", Ref: purl, Name: m.Path, Version: m.Version, PURL: purl}
	if m.Sum != "" {
		c.Properties = []property{{"go:sum", m.Sum}}
	}
	return c
}

// isStatic refuses a file that names a dynamic linker (elf(5), PT_INTERP).
func isStatic(path string) error {
	f, err := elf.Open(path)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return fmt.Errorf("%s is linked dynamically: install the static archives of the C library and of libseccomp", path)
		}
	}
	return nil
}
