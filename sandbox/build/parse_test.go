package build

import (
	"errors"
	"strings"
	"testing"
)

// stagesOf parses a Dockerfile and gives the stages that a target needs.
func stagesOf(t *testing.T, text, target string, args map[string]string) ([]string, error) {
	t.Helper()
	f, err := parse("Dockerfile", []byte(text))
	if err != nil {
		return nil, err
	}
	global, err := f.newScope(&given{values: args, used: map[string]bool{}})
	if err != nil {
		return nil, err
	}
	nodes, err := f.graph(global)
	if err != nil {
		return nil, err
	}
	wanted, err := needed(nodes, target)
	var names []string
	for _, n := range wanted {
		names = append(names, n.name+"<"+n.base)
	}
	return names, err
}

func TestStages(t *testing.T) {
	const file = `ARG BASE=alpine
FROM ${BASE}:${TAG:-3} AS one
FROM one AS two
RUN true
FROM scratch AS unused
FROM busybox
COPY --from=two /a /a
RUN --mount=type=bind,from=0,target=/x true
`
	for _, c := range []struct {
		target string
		args   map[string]string
		want   string
	}{
		{"", nil, "one<alpine:3 two<one stage-3<busybox"},
		{"TWO", nil, "one<alpine:3 two<one"},
		{"one", map[string]string{"BASE": "debian"}, "one<debian:3"},
		{"2", nil, "unused<scratch"},
	} {
		got, err := stagesOf(t, file, c.target, c.args)
		if err != nil || strings.Join(got, " ") != c.want {
			t.Errorf("target %q: %v, %v; want %s", c.target, got, err, c.want)
		}
	}
	if _, err := stagesOf(t, file, "three", nil); !errors.Is(err, errNoStage) {
		t.Errorf("a target that does not exist: %v", err)
	}
}

// TestRefused: what is not done is an error that names it, with the line.
func TestRefused(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"", "Dockerfile: it has no instructions"},
		{"ARG a", "Dockerfile: it has no FROM"},
		{"RUN true", "Dockerfile:1: RUN true: no FROM comes before it"},
		{"FROM a\nRUNN true", "Dockerfile:2: RUNN true: unknown instruction: RUNN"},
		{"FROM a\nCOPY --magic a b", "Dockerfile:2: COPY --magic a b: unknown flag: --magic"},
		{"FROM a\nRUN \\\n  --mount=type=ssh \\\n  true", "Dockerfile:2: RUN --mount=type=ssh true: RUN --mount=type=ssh is not done here: no agent is passed to a sandbox; --mount=type=secret passes a key"},
		{"FROM a\nRUN --security=insecure true", "RUN --security=insecure is not done here"},
		{"FROM a\nRUN --device=nvidia.com/gpu true", "RUN --device is not done here"},
		{"FROM a\nADD --checksum=sha256:00 http://x/ /", "ADD --checksum is not done here"},
		{"FROM a\nADD --keep-git-dir=true http://x/ /", "ADD --keep-git-dir is not done here"},
		{"FROM --platform=linux/m68k a", "Dockerfile:1: FROM --platform=linux/m68k a: FROM --platform=linux/m68k is not done here"},
		{"FROM a\nCOPY --from=later /a /a\nFROM b AS later", "stage later comes later: a stage uses only those before it"},
		{"FROM a AS me\nCOPY --from=me /a /a", "stage me comes later"},
		{"FROM $NONE", "Dockerfile:1: FROM $NONE: $NONE is empty: a build argument is missing"},
		{"FROM a\nONBUILD RUN --mount=type=ssh true", "RUN --mount=type=ssh is not done here"},
		{"FROM a\nONBUILD FROM b", "FROM isn't allowed as an ONBUILD trigger"},
		{"FROM a\nENV", "ENV"},
		{"FROM a\n# check=skip=all\nFROM", "FROM requires either one or three arguments"},
	} {
		_, err := stagesOf(t, c.text, "", nil)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v\nwant %s", c.text, err, c.want)
		}
	}
}

// TestMistakes: what is easily mistyped has a hint, and no other error has one.
func TestMistakes(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"FORM a", "did you mean FROM?"},
		{"FROM a\nRUM true", "did you mean RUN?"},
		{"FROM a\nnonsense", ""},
		{"RUN true", beginning},
		{"ARG a", beginning},
		{"# nothing", beginning},
		{"FROM a\nENV", ""},
	} {
		_, err := parse("Dockerfile", []byte(c.text))
		var mistake *MistakeError
		hint := ""
		if errors.As(err, &mistake) {
			hint = mistake.Hint
		}
		if err == nil || hint != c.want {
			t.Errorf("%q: %v, hint %q\nwant %q", c.text, err, hint, c.want)
		}
	}
}

// TestUnlisted: a CMD that looks like a list and is a line of the shell is told
// of, and none that is what it looks like.
func TestUnlisted(t *testing.T) {
	for text, want := range map[string]int{
		`CMD ['a', 'b']`:            1,
		`CMD ["a", b]`:              1,
		`ENTRYPOINT [a]`:            1,
		`CMD ["a", "b"]`:            0,
		`CMD []`:                    0,
		`CMD [ -e /x ] && echo yes`: 0,
		`CMD a b`:                   0,
		`RUN [ -e / ]`:              0,
	} {
		f, err := parse("Dockerfile", []byte("FROM a\n"+text))
		if err != nil || len(f.warnings) != want {
			t.Errorf("%s: %v, %q", text, err, f.warnings)
		}
	}
}

func TestExcerpt(t *testing.T) {
	_, err := parse("x/Dockerfile", []byte("FROM a\nRUN one \\\n two\nFOO\nRUN three\n"))
	var at *Error
	if !errors.As(err, &at) || at.Line != 4 || at.File != "x/Dockerfile" {
		t.Fatalf("%#v", err)
	}
	if want := "   3 |      two\n   4 | >>> FOO\n   5 |     RUN three\n"; at.Excerpt != want {
		t.Errorf("%q\n%q", at.Excerpt, want)
	}
}

// FuzzParse: no Dockerfile brings the parser down, and what is wrong is an
// *Error.
func FuzzParse(f *testing.F) {
	f.Add("FROM a\nRUN <<E\nx\nE\nCOPY <<F /f\n$x\nF\n")
	f.Add("# escape=`\nARG a=${b:-c}\nFROM $a AS b\nONBUILD RUN --mount=type=cache,target=/x y\n")
	f.Add("FROM a\nHEALTHCHECK --interval=1s CMD x\nSHELL [\"a\"]\nEXPOSE 1-2/udp\n# check=skip=all\nLABEL a=b\n")
	f.Fuzz(func(t *testing.T, text string) {
		file, err := parse("Dockerfile", []byte(text))
		var at *Error
		if err != nil {
			if !errors.As(err, &at) {
				t.Fatalf("%T: %v", err, err)
			}
			return
		}
		global, err := file.newScope(&given{values: map[string]string{"x": "y"}, used: map[string]bool{}})
		if err != nil {
			return
		}
		nodes, err := file.graph(global)
		if err != nil {
			return
		}
		for _, n := range nodes {
			s := global.stage(nil)
			config := new(v1Config)
			for _, c := range n.stage.Commands {
				if expand(s, c) == nil {
					_, _, _ = configure(config, s, c) // whatever it says, it does not panic
				}
			}
		}
	})
}
