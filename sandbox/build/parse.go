package build

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

// largestFile is how large a Dockerfile may be, in bytes.
const largestFile = 1 << 20

// file is a Dockerfile, parsed.
type file struct {
	name   string
	lines  []string
	escape rune
	global []instructions.ArgCommand // the ARGs before the first FROM
	stages []instructions.Stage
	// warnings are lines that mean something else than they look like.
	warnings []string
}

// parse reads a Dockerfile. Its name is for messages alone.
func parse(name string, data []byte) (*file, error) {
	f := &file{name: name, lines: strings.Split(strings.TrimSuffix(string(data), "\n"), "\n")}
	if len(data) > largestFile {
		return nil, f.at(nil, "", fmt.Errorf("it is larger than %d bytes", largestFile))
	}
	ast, err := parser.Parse(bytes.NewReader(data))
	if err != nil {
		return nil, f.parseError(err)
	}
	f.escape = ast.EscapeToken
	// The linter's warnings are not shown, but without a linter a comment
	// "check=…" would be read into nil.
	f.stages, f.global, err = instructions.Parse(ast.AST, linter.New(&linter.Config{SkipAll: true}))
	if err != nil {
		return nil, f.parseError(err)
	}
	if len(f.stages) == 0 {
		return nil, f.at(nil, "", &MistakeError{Hint: beginning, err: errors.New("it has no FROM")})
	}
	for _, stage := range f.stages {
		for _, c := range stage.Commands {
			if err := check(c); err != nil {
				return nil, f.at(c.Location(), source(c), err)
			}
			if text := unlisted(c); text != "" && len(c.Location()) > 0 {
				f.warnings = append(f.warnings, fmt.Sprintf("%s:%d: %s", name, c.Location()[0].Start.Line, text))
			}
		}
	}
	return f, nil
}

// parseError gives an error of the parser its place in the file.
func (f *file) parseError(err error) error {
	var located *parser.LocationError
	if !errors.As(err, &located) || len(located.Locations) == 0 {
		return f.at(nil, "", misread(err))
	}
	ranges := located.Locations[0]
	instruction := ""
	if len(ranges) > 0 {
		if n := ranges[0].Start.Line; n >= 1 && n <= len(f.lines) {
			instruction = strings.TrimSuffix(f.lines[n-1], "\\")
		}
	}
	reason := err
	for {
		next := errors.Unwrap(reason)
		if next == nil {
			break
		}
		reason = next
	}
	if strings.TrimSpace(instruction) == "" {
		ranges = nil // no line is to blame
	}
	return f.at(ranges, instruction, misread(reason))
}

// source is an instruction as it was written.
func source(c instructions.Command) string {
	if s, ok := c.(fmt.Stringer); ok {
		return s.String()
	}
	return strings.ToUpper(c.Name())
}

// check refuses what this builder does not do, before anything is built. What
// depends on variables is refused when they are known.
func check(c instructions.Command) error {
	switch c := c.(type) {
	case *instructions.RunCommand:
		if len(instructions.GetDevices(c)) > 0 {
			return unsupported("RUN --device", "a sandbox has no devices of the host")
		}
		if s := instructions.GetSecurity(c); s != instructions.SecuritySandbox {
			return unsupported("RUN --security="+s, "sbx build --skip STEP leaves steps out for every RUN")
		}
		// The parser reads the mounts anew when variables are expanded.
		if err := c.Expand(func(word string) (string, error) { return word, nil }); err != nil {
			if strings.Contains(c.String(), "$") {
				return nil
			}
			return err
		}
		for _, m := range instructions.GetMounts(c) {
			if m.Type == instructions.MountTypeSSH {
				return unsupported("RUN --mount=type=ssh", "no agent is passed to a sandbox; --mount=type=secret passes a key")
			}
		}
	case *instructions.AddCommand:
		if c.KeepGitDir != nil {
			return unsupported("ADD --keep-git-dir", "repositories are not fetched")
		}
		if c.Checksum != "" {
			return unsupported("ADD --checksum", "it is for addresses, and those are not fetched")
		}
	case *instructions.OnbuildCommand:
		_, err := parseTrigger(c.Expression)
		return err
	}
	return nil
}

// parseTrigger reads the instruction that an ONBUILD keeps.
func parseTrigger(expression string) (instructions.Command, error) {
	ast, err := parser.Parse(strings.NewReader(expression))
	if err != nil {
		return nil, err
	}
	if len(ast.AST.Children) != 1 {
		return nil, fmt.Errorf("ONBUILD %q is not one instruction", expression)
	}
	read, err := instructions.ParseInstructionWithLinter(ast.AST.Children[0], linter.New(&linter.Config{SkipAll: true}))
	if err != nil {
		return nil, err
	}
	c, ok := read.(instructions.Command)
	if !ok {
		return nil, fmt.Errorf("ONBUILD %s: FROM cannot wait for another build", expression)
	}
	return c, check(c)
}
