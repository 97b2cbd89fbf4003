package cli

import (
	"bytes"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestAlign compares with what must hold of any alignment: every line of both
// stands in it once and in order, and equal lines at both ends are beside each
// other.
func TestAlign(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	text := func() []string {
		lines := make([]string, random.IntN(9))
		for i := range lines {
			lines[i] = string(rune('a' + random.IntN(3)))
		}
		return lines
	}
	for range 2000 {
		a, b := text(), text()
		var left, right []string
		same := 0
		for _, p := range align(a, b) {
			if p.left >= 0 {
				left = append(left, a[p.left])
			}
			if p.right >= 0 {
				right = append(right, b[p.right])
			}
			if p.left >= 0 && p.right >= 0 && a[p.left] == b[p.right] {
				same++
			}
		}
		if !slices.Equal(left, a) || !slices.Equal(right, b) {
			t.Fatalf("%q and %q became %q and %q", a, b, left, right)
		}
		if want := len(common(a, b)); same < want {
			t.Fatalf("%q and %q: %d lines stand beside their like, %d could", a, b, same, want)
		}
	}
}

// TestAlignLarge is what a search for equal lines would take too long for.
func TestAlignLarge(t *testing.T) {
	a, b := make([]string, 20_000), make([]string, 20_000)
	for i := range a {
		a[i], b[i] = "left", "right"
	}
	begin := time.Now()
	if got := len(align(a, b)); got != len(a) {
		t.Errorf("%d rows", got)
	}
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
}

func TestWidths(t *testing.T) {
	for text, want := range map[string]int{"abc": 3, "ü": 1, "日本": 4, "e\u0301": 1, "│": 1, "🙂": 2, "": 0} {
		if got := displayWidth(text); got != want {
			t.Errorf("%q is %d columns wide, want %d", text, got, want)
		}
	}
	for in, want := range map[string]string{
		"a\tb": "a       b", "\x1b[2J": `\x1b[2J`, "\xff": `\xff`, "a\rb": `a\rb`, "\u202e": `\u202e`, "é": "é", "e\u0301": "e\u0301",
	} {
		if got := expandTabs(visible(in)); got != want {
			t.Errorf("%q became %q, want %q", in, got, want)
		}
	}
	for in, want := range map[string]string{
		"aaaa bbbb":  "aaaa bbb|b",
		"aaaaa bb c": "aaaaa bb| c",
		"aaaaaa bbb": "aaaaaa |bbb",
		"日本日本日":      "日本日本|日",
		"":           "",
	} {
		if got := strings.Join(chop(in, 8), "|"); got != want {
			t.Errorf("%q became %q, want %q", in, got, want)
		}
	}
}

// FuzzColumns: no text makes a row wider than the terminal, or lets through
// what a terminal obeys.
func FuzzColumns(f *testing.F) {
	f.Add("a\tb\nc", "a\n\x1b[1m", 80)
	f.Add("日本\n", "\u0301\u0301", 20)
	f.Fuzz(func(t *testing.T, l, r string, cols int) {
		if cols < 20 || cols > 200 || len(l)+len(r) > 4096 {
			return
		}
		side := func(text string) column {
			s := &side{output: []byte(text)}
			return column{title: "side", lines: s.lines(), end: "exit 0"}
		}
		var b strings.Builder
		writeColumns(&b, style{}, cols, side(l), side(r))
		for line := range strings.Lines(b.String()) {
			line = strings.TrimSuffix(line, "\n")
			if displayWidth(line) > cols {
				t.Errorf("%d columns: %q", displayWidth(line), line)
			}
			if strings.ContainsAny(line, "\x1b\r\t\x00\x07") {
				t.Errorf("it holds what a terminal obeys: %q", line)
			}
		}
	})
}

// TestChopLarge: a line of 1 MiB, which a side may write, is no long wait.
func TestChopLarge(t *testing.T) {
	begin := time.Now()
	if got := len(chop(strings.Repeat("x", maxOutput), 32)); got != maxOutput/32 {
		t.Errorf("%d pieces", got)
	}
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
}

func TestTable(t *testing.T) {
	var b strings.Builder
	writeTable(&b, style{}, 30, []string{"A", "B"}, [][]cell{{{"one", ""}, {"some words that do not fit beside it", ""}}, {{"two", ""}, {"short", ""}}})
	const want = "A    B\none  some words that do not\n     fit beside it\ntwo  short\n"
	if b.String() != want {
		t.Errorf("got\n%s", b.String())
	}
}

// TestReplay gives a stream to two readers, of which the first reads a part.
func TestReplay(t *testing.T) {
	text := bytes.Repeat([]byte("0123456789"), 50_000)
	r := newReplay(bytes.NewReader(text))
	first, done, err := r.reader()
	if err != nil {
		t.Fatal(err)
	}
	part := make([]byte, 1000)
	if _, err := io.ReadFull(first, part); err != nil || !bytes.Equal(part, text[:1000]) {
		t.Fatal(err)
	}
	done()
	second, done, err := r.reader()
	if err != nil {
		t.Fatal(err)
	}
	all, err := io.ReadAll(second)
	done()
	if err != nil || !bytes.Equal(all, text) {
		t.Errorf("the second got %d of %d bytes, %v", len(all), len(text), err)
	}
}

// TestReplayThatIsNotRead: a reader that goes away does not wait for a stream
// that has not ended.
func TestReplayThatIsNotRead(t *testing.T) {
	quiet, keep, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer quiet.Close()
	defer keep.Close()
	r := newReplay(quiet)
	for range 2 {
		_, done, err := r.reader()
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan struct{})
		go func() {
			done()
			close(ended)
		}()
		select {
		case <-ended:
		case <-time.After(10 * time.Second):
			t.Fatal("it waits for the stream")
		}
	}
}

func TestAppArmorPath(t *testing.T) {
	for in, want := range map[string]string{
		"/usr/bin/sbx": "/usr/bin/sbx", "/opt/my apps/sbx": `"/opt/my apps/sbx"`, "/a[1]*/sbx": `/a\[1\]\*/sbx`,
	} {
		if got := appArmorPath(in); got != want {
			t.Errorf("%s became %s, want %s", in, got, want)
		}
	}
}
