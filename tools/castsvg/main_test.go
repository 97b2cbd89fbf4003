package main

import (
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestPictures draws each cast of docs/casts again: the picture beside it must
// be that, small, and need nothing but itself.
func TestPictures(t *testing.T) {
	casts, err := filepath.Glob("../../docs/casts/*.cast")
	if err != nil || len(casts) == 0 {
		t.Fatalf("there are no casts: %v", err)
	}
	for _, cast := range casts {
		f, err := os.Open(cast)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		var drawn strings.Builder
		if err := convert(f, &drawn); err != nil {
			t.Fatalf("%s: %v", cast, err)
		}
		picture := strings.TrimSuffix(cast, "cast") + "svg"
		stored, err := os.ReadFile(picture)
		if err != nil {
			t.Fatal(err)
		}
		if drawn.String() != string(stored) {
			t.Errorf("%s is not what %s shows: run scripts/casts", picture, cast)
		}
		if len(stored) > 100_000 {
			t.Errorf("%s has %d bytes, more than 100,000", picture, len(stored))
		}
		for _, foreign := range []string{"<script", "<style", "<image", "href", "url(", "@import"} {
			if strings.Contains(string(stored), foreign) {
				t.Errorf("%s holds %s", picture, foreign)
			}
		}
	}
}

// TestDraw plays a small cast: colours, a table's lines, a cursor that goes back
// and characters that XML has a meaning for.
func TestDraw(t *testing.T) {
	cast := `{"version": 2, "width": 20, "height": 4, "title": "a < b"}
[0.1, "o", "wrong\rright\r\n"]
[0.2, "i", "typed"]
[0.3, "o", "\u001b[1;31mred\u001b[m  <&>\r\n"]
[0.4, "o", "a │ b"]
`
	var out strings.Builder
	if err := convert(strings.NewReader(cast), &out); err != nil {
		t.Fatal(err)
	}
	got := out.String()
	for _, want := range []string{
		"<title>a &lt; b</title>",
		`>right</text>`,
		`fill="#ff7b72" font-weight="bold">red</text>`,
		`<text x="58" y="49" textLength="25.2" lengthAdjust="spacingAndGlyphs">&lt;&amp;&gt;</text>`,
		`<path d="M37,54V73" stroke="#e6edf3" fill="none"/>`,
		`viewBox="0 0 200 89"`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("it has no %s", want)
		}
	}
	for _, not := range []string{"wrong", "typed"} {
		if strings.Contains(got, not) {
			t.Errorf("it shows %q", not)
		}
	}
	for d := xml.NewDecoder(strings.NewReader(got)); ; {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("it is not XML: %v", err)
		}
	}
	if t.Failed() {
		t.Log(got)
	}
}

// TestRefused gives what is no cast.
func TestRefused(t *testing.T) {
	for _, cast := range []string{
		"",
		"text\n",
		`{"version": 1, "width": 80, "height": 24}`,
		`{"version": 2, "width": 0, "height": 24}`,
		`{"version": 2, "width": 80, "height": 1000000}`,
		"{\"version\": 2, \"width\": 80, \"height\": 24}\n{}\n",
		"{\"version\": 2, \"width\": 80, \"height\": 24}\n[0, \"o\", 1]\n",
	} {
		if err := convert(strings.NewReader(cast), io.Discard); err == nil {
			t.Errorf("no error for %q", cast)
		}
	}
}
