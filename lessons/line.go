package lessons

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

// Line is a command line of sbx, taken apart: sbx run FLAGS -- CMD.
type Line struct {
	Flags []string // between the verb and the --
	CMD   []string // after the --
	// Other are the words after sbx where the verb is not run; Flags and CMD are
	// then empty. Only the experiment of a lesson has such a line.
	Other []string
}

// IsZero says whether there is no line.
func (l Line) IsZero() bool { return len(l.CMD)+len(l.Other) == 0 }

// Args are the words after sbx.
func (l Line) Args() []string {
	if len(l.Other) > 0 {
		return l.Other
	}
	return slices.Concat([]string{"run"}, l.Flags, []string{"--"}, l.CMD)
}

// String is the line as it can be typed into a shell.
func (l Line) String() string {
	words := append([]string{"sbx"}, l.Args()...)
	for i, w := range words {
		if q, err := syntax.Quote(w, syntax.LangPOSIX); err == nil {
			words[i] = q
		}
	}
	return strings.Join(words, " ")
}

// Parse takes a line of a student apart as a shell would: quotes and backslashes
// work, and lines that begin with # are left out. Everything else that a shell
// does (pipes, variables, redirections, several commands) is refused, because it
// would happen outside of the sandbox.
func Parse(text string) (Line, error) {
	words, err := split(text)
	if err != nil {
		return Line{}, err
	}
	if len(words) < 2 || words[0] != "sbx" || words[1] != "run" {
		return Line{}, errors.New("the answer begins with: sbx run")
	}
	words = words[2:]
	i := slices.Index(words, "--")
	if i < 0 {
		return Line{}, errors.New("the answer has a -- between the flags and CMD")
	}
	l := Line{Flags: words[:i:i], CMD: words[i+1:]}
	if len(l.CMD) == 0 {
		return Line{}, errors.New("after the -- stands no CMD")
	}
	return l, nil
}

// parseAny takes a line of a lesson apart, whose verb may be another than run.
func parseAny(text string) (Line, error) {
	words, err := split(text)
	if err != nil || len(words) < 2 || words[0] != "sbx" || words[1] == "run" {
		return Parse(text)
	}
	return Line{Other: words[1:]}, nil
}

// split makes words of a line.
func split(text string) ([]string, error) {
	file, err := syntax.NewParser(syntax.Variant(syntax.LangPOSIX)).Parse(strings.NewReader(text), "")
	if err != nil {
		var at syntax.ParseError
		if errors.As(err, &at) {
			return nil, fmt.Errorf("line %d, column %d: %s", at.Pos.Line(), at.Pos.Col(), at.Text)
		}
		return nil, err
	}
	const inside = "; what CMD is to do stands in its own quotes: sbx run -- sh -c '…'"
	switch {
	case len(file.Stmts) == 0:
		return nil, errors.New("the answer is empty: it is one line, sbx run FLAGS -- CMD")
	case len(file.Stmts) > 1:
		return nil, errors.New("the answer is one command, and this is more" + inside)
	}
	stmt := file.Stmts[0]
	call, ok := stmt.Cmd.(*syntax.CallExpr)
	if !ok || stmt.Background || stmt.Negated || len(stmt.Redirs) > 0 || len(call.Assigns) > 0 {
		return nil, errors.New("the answer is one plain command without pipes, redirections or variables" + inside)
	}
	var words []string
	for _, arg := range call.Args {
		w, err := literal(arg)
		if err != nil {
			return nil, fmt.Errorf("%w%s", err, inside)
		}
		words = append(words, w)
	}
	return words, nil
}

// literal is a word without anything that a shell would expand.
func literal(word *syntax.Word) (string, error) {
	var b strings.Builder
	for _, part := range word.Parts {
		switch p := part.(type) {
		case *syntax.Lit:
			b.WriteString(unescape(p.Value, ""))
		case *syntax.SglQuoted:
			b.WriteString(p.Value)
		case *syntax.DblQuoted:
			for _, inner := range p.Parts {
				lit, ok := inner.(*syntax.Lit)
				if !ok {
					return "", errors.New("a variable or a command in double quotes is not expanded here")
				}
				b.WriteString(unescape(lit.Value, "$`\"\\\n"))
			}
		default:
			return "", errors.New("variables and commands are not expanded here")
		}
	}
	return b.String(), nil
}

// unescape takes backslashes away: each one, or those before one of only. A
// backslash at the end of a line takes the line's end with it (sh(1)).
func unescape(s, only string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) && (only == "" || strings.IndexByte(only, s[i+1]) >= 0) {
			i++
			if s[i] == '\n' {
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
