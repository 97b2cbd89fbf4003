package main

import (
	"strings"
	"testing"
	"time"

	"github.com/sbx-dev/sbx/sandbox/build"
)

// TestCleanLine: what a program prints cannot steer the terminal.
func TestCleanLine(t *testing.T) {
	for in, want := range map[string]string{
		"plain ünï":                      "plain ünï",
		"\x1b[31mred\x1b[0m":             "red",
		"\x1b]0;title\atext":             "text",
		"\x1b]8;;http://x\x1b\\link":     "link",
		"a\tb\x00\x07\x9bc":              "a    b�c",
		"\x1b[2J\x1b[Hgone\x1b":          "gone",
		"\x1bcreset\u202egnp.exe\u200b|": "resetgnp.exe|",
		"bad \xff byte":                  "bad � byte",
	} {
		if got := cleanLine(in); got != want {
			t.Errorf("%q becomes %q, want %q", in, got, want)
		}
	}
}

// TestLiveLine: a line of the live view has the width of the screen, whatever
// the instruction is, and colours only where they are wanted.
func TestLiveLine(t *testing.T) {
	p := &liveProgress{}
	for _, kind := range []build.EventKind{build.Planned, build.Started, build.Cached, build.Finished, build.Failed, build.Canceled} {
		s := &liveStep{kind: kind, started: time.Now(), step: build.Step{Stage: "one", Number: 2, Of: 10, Text: "RUN " + strings.Repeat("x", 300)}}
		s.last = build.Event{Kind: kind}
		for _, columns := range []int{40, 80, 200} {
			line := p.line(s, columns)
			if n := len([]rune(line)); n > columns || strings.Contains(line, "\x1b") {
				t.Errorf("%v in %d columns: %d in %q", kind, columns, n, line)
			}
		}
	}
}

func TestSummary(t *testing.T) {
	got := summaryText(&build.Result{Layers: 1, Cached: 2}, []string{"a:1", "b"}, 1500*time.Millisecond)
	if got != "Built a:1 b: 1 layer, 2 steps from the cache, 1.5s" {
		t.Error(got)
	}
}
