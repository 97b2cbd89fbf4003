// Package toolfile reads tables of tools (docs/tools.md). It is apart from
// package sandbox so that a program which has no such file needs no TOML.
package toolfile

import (
	"bytes"
	"encoding"
	"errors"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox"
)

// MaxSize is how many bytes a file may have.
const MaxSize = 1 << 20

// Error is something wrong in a file. Line and Column count from 1, Column in
// bytes; they are 0 where the whole file is meant.
type Error struct {
	File         string
	Line, Column int
	Reason       string
}

func (e *Error) Error() string {
	at := e.File
	if e.Line > 0 {
		at += ":" + strconv.Itoa(e.Line) + ":" + strconv.Itoa(e.Column)
	}
	return at + ": " + e.Reason
}

// table is what a file holds.
type table struct {
	Never []place        `toml:"never"`
	Tool  map[string]row `toml:"tool"`
}

// row is a tool without its name, which is its key.
type row struct {
	About     string   `toml:"about"`
	Folders   []folder `toml:"folders"`
	Links     []place  `toml:"links"`
	Files     []place  `toml:"files"`
	Commands  []name   `toml:"commands"`
	Variables []name   `toml:"variables"`
}

type folder struct {
	At    []place   `toml:"at"`
	Has   []pattern `toml:"has"`
	Hide  []pattern `toml:"hide"`
	Cache bool      `toml:"cache"`
}

type (
	place   = checked[sandbox.Place, *sandbox.Place]
	pattern = checked[sandbox.Pattern, *sandbox.Pattern]
	name    = checked[sandbox.Name, *sandbox.Name]
)

// checked is a string that is checked where it is read, so that the error has
// its position. It is a struct because the parser sets strings by itself.
type checked[T ~string, P interface {
	*T
	encoding.TextUnmarshaler
}] struct{ value T }

// UnmarshalText implements encoding.TextUnmarshaler.
func (c *checked[T, P]) UnmarshalText(text []byte) error { return P(&c.value).UnmarshalText(text) }

// values are the strings themselves.
func values[T ~string, P interface {
	*T
	encoding.TextUnmarshaler
}](list []checked[T, P],
) []T {
	var out []T
	for _, c := range list {
		out = append(out, c.value)
	}
	return out
}

// Load reads the file of that name. A file that is not there is an empty table.
// An error about what it holds is an *Error.
func Load(file string) (sandbox.ToolTable, error) {
	// Not blocking: somebody may have put a FIFO there.
	fd, err := unix.Open(file, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	switch {
	case err == unix.ENOENT, err == unix.ENOTDIR:
		return sandbox.ToolTable{}, nil
	case err != nil:
		return sandbox.ToolTable{}, &os.PathError{Op: "open", Path: file, Err: err}
	}
	f := os.NewFile(uintptr(fd), file)
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return sandbox.ToolTable{}, &Error{File: file, Reason: "is no regular file"}
	}
	data, err := io.ReadAll(io.LimitReader(f, MaxSize+1))
	if err != nil {
		return sandbox.ToolTable{}, err
	}
	return Parse(file, data)
}

// Parse reads a table. The name of the file is for errors alone, each of which
// is an *Error. The tools come in the order of their names.
func Parse(file string, data []byte) (sandbox.ToolTable, error) {
	var out sandbox.ToolTable
	if len(data) > MaxSize {
		return out, &Error{File: file, Reason: "has more than " + strconv.Itoa(MaxSize) + " bytes"}
	}
	var t table
	d := toml.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&t); err != nil {
		return out, positioned(file, err)
	}
	out.Never = values(t.Never)
	for key, r := range t.Tool {
		tool := sandbox.Tool{
			Name: sandbox.Name(key), About: r.About, Links: values(r.Links), Files: values(r.Files),
			Commands: values(r.Commands), Variables: values(r.Variables),
		}
		for _, f := range r.Folders {
			tool.Folders = append(tool.Folders, sandbox.ToolFolder{At: values(f.At), Has: values(f.Has), Hide: values(f.Hide), Cache: f.Cache})
		}
		out.Tools = append(out.Tools, tool)
	}
	slices.SortFunc(out.Tools, func(a, b sandbox.Tool) int { return strings.Compare(string(a.Name), string(b.Name)) })
	for i := range out.Tools {
		if err := out.Tools[i].Check(); err != nil {
			line, column := header(data, string(out.Tools[i].Name))
			return sandbox.ToolTable{}, &Error{File: file, Line: line, Column: column, Reason: err.Error()}
		}
	}
	return out, nil
}

// positioned turns the parser's error into ours.
func positioned(file string, err error) error {
	var strict *toml.StrictMissingError
	if errors.As(err, &strict) && len(strict.Errors) > 0 {
		e := &strict.Errors[0]
		line, column := e.Position()
		return &Error{File: file, Line: line, Column: column, Reason: "no key is called " + strconv.Quote(strings.Join(e.Key(), "."))}
	}
	var at *toml.DecodeError
	if errors.As(err, &at) {
		line, column := at.Position()
		return &Error{File: file, Line: line, Column: column, Reason: strings.TrimPrefix(at.Error(), "toml: ")}
	}
	return &Error{File: file, Reason: strings.TrimPrefix(err.Error(), "toml: ")}
}

// header finds the line of a tool's table, 0 where there is none of its own.
func header(data []byte, tool string) (line, column int) {
	for i, text := range strings.Split(string(data), "\n") {
		head, ok := strings.CutPrefix(strings.TrimSpace(text), "[")
		if !ok {
			continue
		}
		key, _, ok := strings.Cut(strings.TrimPrefix(head, "["), "]")
		key = strings.NewReplacer(" ", "", "\t", "", `"`, "", "'", "").Replace(key)
		if ok && (key == "tool."+tool || strings.HasPrefix(key, "tool."+tool+".")) {
			return i + 1, strings.Index(text, "[") + 1
		}
	}
	return 0, 0
}
