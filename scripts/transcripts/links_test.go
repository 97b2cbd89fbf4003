package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode"
)

// TestLinks follows each link of each Markdown file that stays in the
// repository: the file must be there, and the heading where it names one.
func TestLinks(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	links := 0
	err = filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if name := d.Name(); d.IsDir() && (name == ".git" || name == "bin" || name == "dist" || name == "testdata") {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(file, ".md") {
			return nil
		}
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		for _, target := range targets(string(text)) {
			links++
			checkLink(t, root, file, target)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if links < 20 {
		t.Errorf("only %d links were found", links)
	}
}

// checkLink follows a link of a file.
func checkLink(t *testing.T, root, file, target string) {
	t.Helper()
	from := strings.TrimPrefix(file, root+"/")
	path, heading, named := strings.Cut(target, "#")
	to := file
	if path != "" {
		to = filepath.Join(filepath.Dir(file), path)
	}
	if !strings.HasPrefix(to, root+"/") {
		t.Errorf("%s: the link %s leads out of the repository", from, target)
		return
	}
	if _, err := os.Stat(to); err != nil {
		t.Errorf("%s: the link %s leads nowhere", from, target)
		return
	}
	if !named {
		return
	}
	text, err := os.ReadFile(to)
	if err != nil {
		t.Errorf("%s: the link %s: %v", from, target, err)
	} else if !anchors(string(text))[heading] {
		t.Errorf("%s: the link %s: there is no such heading", from, target)
	}
}

var (
	inlineLink = regexp.MustCompile(`\]\(([^)\s]+)\)|(?:src|href)="([^"]+)"`)
	codeSpan   = regexp.MustCompile("`[^`]*`")
)

// targets are where a document links to, other hosts aside.
func targets(text string) []string {
	var list []string
	for line := range prose(text) {
		for _, m := range inlineLink.FindAllStringSubmatch(codeSpan.ReplaceAllString(line, ""), -1) {
			if target := m[1] + m[2]; !strings.Contains(target, "://") && !strings.HasPrefix(target, "mailto:") {
				list = append(list, target)
			}
		}
	}
	return list
}

// anchors are the names that GitHub gives to the headings of a document.
func anchors(text string) map[string]bool {
	names := make(map[string]bool)
	for line := range prose(text) {
		heading := strings.TrimLeft(line, "#")
		if heading == line || !strings.HasPrefix(heading, " ") {
			continue
		}
		names[strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
				return unicode.ToLower(r)
			}
			return -1
		}, strings.TrimSpace(strings.ReplaceAll(heading, `\`, "")))] = true
	}
	return names
}

// prose goes through the lines of a document that are in no fenced block.
func prose(text string) func(func(string) bool) {
	return func(yield func(string) bool) {
		fenced := false
		for line := range strings.Lines(text) {
			if strings.HasPrefix(strings.TrimSpace(line), fence) {
				fenced = !fenced
			} else if !fenced && !yield(line) {
				return
			}
		}
	}
}

// TestTargets reads a document with links of each kind, and text that looks so.
func TestTargets(t *testing.T) {
	text := "# A b, c\n[a](x.md) ![b](y.svg) <img src=\"z.svg\"> [c](https://e.org) [d](#a-b-c)\n`[e](no.md)`\n```\n[f](no.md)\n# No\n```\n"
	if got := strings.Join(targets(text), " "); got != "x.md y.svg z.svg #a-b-c" {
		t.Errorf("the links are %s", got)
	}
	if got := anchors(text); len(got) != 1 || !got["a-b-c"] {
		t.Errorf("the headings are %v", got)
	}
}

// TestFlags looks up each flag that a page gives for sbx in the manual: in the
// second column of the tables of docs/coming-from.md, and in the commands of all
// pages.
func TestFlags(t *testing.T) {
	manual, err := os.ReadFile("../../docs/man/sbx.1")
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{"--help": true} // every verb has it
	for _, f := range regexp.MustCompile(`--[a-z][a-z-]*`).FindAllString(strings.ReplaceAll(string(manual), `\`, ""), -1) {
		known[f] = true
	}
	flag := regexp.MustCompile(`(?:^|[ ` + "`" + `=])(--[a-z][a-z-]*)`)
	checked := 0
	look := func(file, code string) {
		code, _, _ = strings.Cut(code, " -- ") // what follows is CMD's
		for _, m := range flag.FindAllStringSubmatch(code, -1) {
			checked++
			if !known[m[1]] {
				t.Errorf("%s: %s: the manual has no %s", file, code, m[1])
			}
		}
	}
	files, err := documents("../..")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Base(file)
		for line := range prose(string(text)) {
			if cells := strings.Split(line, " | "); name == "coming-from.md" && strings.HasPrefix(line, "|") && len(cells) == 2 {
				for _, span := range codeSpan.FindAllString(cells[1], -1) {
					look(name, span)
				}
				continue
			}
			for _, span := range codeSpan.FindAllString(line, -1) {
				if strings.HasPrefix(span, "`sbx ") {
					look(name, span)
				}
			}
		}
	}
	if checked < 100 {
		t.Errorf("only %d flags were found", checked)
	}
}
