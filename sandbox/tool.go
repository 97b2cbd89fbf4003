package sandbox

import (
	"errors"
	"path"
	"slices"
	"strconv"
	"strings"
)

//go:generate go run ./toolfile/gen tools.toml zz_tools.go

// Tool is a program that people keep in their home with what it installs: a
// version manager, a compiler with its caches. The home is hidden, so a tool's
// folders are shown by themselves, copy on write, without its credentials.
// docs/tools.md tells the whole format; tools.toml is the built-in table.
type Tool struct {
	Name  Name   `json:"name"`
	About string `json:"about,omitempty"` // what it is, in a few words
	// Folders are what is shown, each where it is there. The tool is recognised
	// when PATH or CMD leads into one that is no cache.
	Folders []ToolFolder `json:"folders,omitempty"`
	// Links are places of a folder on PATH that is not shown as such: the
	// symbolic links in it that lead into the tool's folders are made anew. The
	// first place that is there counts.
	Links []Place `json:"links,omitempty"`
	// Files are single files that are shown read-only.
	Files []Place `json:"files,omitempty"`
	// Commands are names of CMD for which the tool is shown, too.
	Commands []Name `json:"commands,omitempty"`
	// Variables of the caller are passed to CMD, beside those that its places
	// were found by.
	Variables []Name `json:"variables,omitempty"`
}

// ToolFolder is one folder of a tool.
type ToolFolder struct {
	// At are the places where the folder may be. The first that is there counts.
	At []Place `json:"at"`
	// Has are names of which the folder must have one to be taken for the
	// tool's; none means that any folder is.
	Has []Pattern `json:"has,omitempty"`
	// Hide are files and folders in it that are never shown, whether they are
	// there or not.
	Hide []Pattern `json:"hide,omitempty"`
	// Cache marks a folder by which the tool is not recognised.
	Cache bool `json:"cache,omitempty"`
}

// ToolTable adds to the built-in table. The zero ToolTable adds nothing.
type ToolTable struct {
	// Tools are more tools, or others in place of built-in ones of their name.
	Tools []Tool `json:"tools,omitempty"`
	// Never are places with credentials. A tool's folder that is one of them,
	// lies in one or holds one is not shown.
	Never []Place `json:"never,omitempty"`
}

// Place is a path of the host: "~/x" in the caller's home, "$VAR" or "$VAR/x"
// where a variable of the caller says, or absolute. A variable may hold several
// paths with colons between.
type Place string

// Pattern is a path below a folder, in which * stands for any part of one name.
type Pattern string

// Name is a name of a tool, a command or a variable.
type Name string

// UnmarshalText implements encoding.TextUnmarshaler: a place that cannot be is
// an error where it is read, with its line.
func (p *Place) UnmarshalText(text []byte) error {
	*p = Place(text)
	return p.check()
}

func (p Place) check() error {
	s := string(p)
	head, rest, nested := strings.Cut(s, "/")
	switch {
	case strings.ContainsAny(s, "\x00\n:"):
		return errors.New(strconv.Quote(s) + " holds a zero byte, a line's end or a colon")
	case path.IsAbs(s):
		if s == "/" || path.Clean(s) != s {
			return errors.New(strconv.Quote(s) + " is no clean path of a folder: no .., no double slash, not / itself")
		}
		return nil
	case head == "~" && nested, strings.HasPrefix(head, "$") && variableName(head[1:]):
		if nested && !cleanBelow(rest) {
			return errors.New(strconv.Quote(s) + " is no clean path below " + head + ": no .., no double slash, not " + head + " itself")
		}
		return nil
	}
	return errors.New(strconv.Quote(s) + " begins with none of ~/, $VARIABLE and /")
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (p *Pattern) UnmarshalText(text []byte) error {
	*p = Pattern(text)
	return p.check()
}

func (p Pattern) check() error {
	if s := string(p); !cleanBelow(s) || strings.ContainsAny(s, "\x00\n?[]\\") {
		return errors.New(strconv.Quote(s) + " is no clean path below the folder, in which only * stands for other characters")
	}
	return nil
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (n *Name) UnmarshalText(text []byte) error {
	*n = Name(text)
	return n.check()
}

func (n Name) check() error {
	s := string(n)
	if s == "" || len(s) > 64 || strings.ContainsFunc(s, func(r rune) bool { return !wordRune(r) && !strings.ContainsRune("-.+", r) }) {
		return errors.New(strconv.Quote(s) + " is no name: letters, digits, _, -, . and +, 64 at most")
	}
	return nil
}

// cleanBelow says whether a relative path stays below where it begins.
func cleanBelow(s string) bool {
	return s != "" && s != "." && !path.IsAbs(s) && path.Clean(s) == s && s != ".." && !strings.HasPrefix(s, "../")
}

func variableName(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return !wordRune(r) })
}

func wordRune(r rune) bool {
	return r == '_' || r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z'
}

// Check says what about a tool can never be.
func (t *Tool) Check() error {
	bad := func(err error) error {
		return errors.New("the tool " + strconv.Quote(string(t.Name)) + ": " + err.Error())
	}
	if err := t.Name.check(); err != nil {
		return err
	}
	if t.Name == toolsAuto || t.Name == toolsNone {
		return bad(errors.New("auto and none are words of --tools"))
	}
	if len(t.Folders) == 0 && len(t.Files) == 0 {
		return bad(errors.New("has neither folders nor files"))
	}
	for _, list := range [][]Place{t.Links, t.Files} {
		for _, p := range list {
			if err := p.check(); err != nil {
				return bad(err)
			}
		}
	}
	for _, list := range [][]Name{t.Commands, t.Variables} {
		for _, n := range list {
			if err := n.check(); err != nil {
				return bad(err)
			}
		}
	}
	for _, v := range t.Variables {
		if !variableName(string(v)) {
			return bad(errors.New(strconv.Quote(string(v)) + " is no variable"))
		}
	}
	for _, f := range t.Folders {
		if len(f.At) == 0 {
			return bad(errors.New("has a folder without a place (at)"))
		}
		for _, p := range f.At {
			if err := p.check(); err != nil {
				return bad(err)
			}
		}
		for _, p := range append(slices.Clone(f.Has), f.Hide...) {
			if err := p.check(); err != nil {
				return bad(err)
			}
		}
	}
	return nil
}

// The words of Spec.Tools that are no tools.
const (
	toolsAuto = "auto"
	toolsNone = "none"
)

// ToolNames lists the tools that the spec may name: the built-in ones and its
// own, in the order of the alphabet.
func (s *Spec) ToolNames() []string {
	var out []string
	for i := range builtinTools {
		out = append(out, string(builtinTools[i].Name))
	}
	for i := range s.ToolTable.Tools {
		out = append(out, string(s.ToolTable.Tools[i].Name))
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// BuiltinTools is the built-in table, and the places of it that are never shown.
func BuiltinTools() ToolTable {
	return ToolTable{Tools: slices.Clone(builtinTools[:]), Never: slices.Clone(neverPlaces[:])}
}

// validateTools says what about Tools and ToolTable can never be.
func (s *Spec) validateTools() error {
	for i := range s.ToolTable.Tools {
		t := &s.ToolTable.Tools[i]
		if err := t.Check(); err != nil {
			return &SpecError{Field: at("ToolTable.Tools", i), Reason: err.Error()}
		}
		if slices.ContainsFunc(s.ToolTable.Tools[:i], func(o Tool) bool { return o.Name == t.Name }) {
			return &SpecError{Field: at("ToolTable.Tools", i), Reason: "there are two tools " + strconv.Quote(string(t.Name))}
		}
	}
	for i, p := range s.ToolTable.Never {
		if err := p.check(); err != nil {
			return &SpecError{Field: at("ToolTable.Never", i), Reason: err.Error()}
		}
	}
	for i, name := range s.Tools {
		switch {
		case name == toolsNone && len(s.Tools) > 1:
			return &SpecError{Field: at("Tools", i), Reason: "none stands beside other names"}
		case name == toolsNone || name == toolsAuto:
		case !slices.Contains(s.ToolNames(), name):
			return &SpecError{Field: at("Tools", i), Reason: "no tool is called " + strconv.Quote(name) + "; there are " + strings.Join(s.ToolNames(), " ")}
		case s.givenRoot():
			return &SpecError{Field: at("Tools", i), Reason: "tools are the host's, and Rootfs shows none of its folders"}
		}
	}
	return nil
}
