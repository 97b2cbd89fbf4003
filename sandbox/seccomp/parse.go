package seccomp

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/sbx-dev/sbx/sandbox/filter"
)

// Parse reads a profile strictly: fields that nobody knows, keys that are given
// twice or in another case, and anything after the profile are errors, because
// a filter that is not what its author reads is worse than none. Errors in the
// JSON say line and column, errors in the meaning name the field.
func Parse(raw []byte) (*Profile, error) {
	if len(raw) > filter.MaxProfile {
		return nil, fmt.Errorf("seccomp: the profile is larger than %d bytes", filter.MaxProfile)
	}
	// The whole text first: only this gives the exact place of a syntax error.
	var whole json.RawMessage
	if err := json.Unmarshal(raw, &whole); err != nil {
		return nil, fmt.Errorf("seccomp: %w", locate(raw, int64(len(raw)), err))
	}
	if err := checkKeys(raw); err != nil {
		return nil, fmt.Errorf("seccomp: %w", err)
	}
	var p Profile
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&p); err != nil {
		return nil, fmt.Errorf("seccomp: %w", locate(raw, dec.InputOffset(), err))
	}
	if err := p.check(); err != nil {
		return nil, fmt.Errorf("seccomp: %w", err)
	}
	return &p, nil
}

// fields are the keys of all objects of a profile. encoding/json knows them
// too, but takes them in any case and says no line.
var fields = []string{
	"action", "archMap", "arches", "architecture", "architectures", "args", "caps", "comment",
	"defaultAction", "defaultErrno", "defaultErrnoRet", "errno", "errnoRet", "excludes", "flags",
	"includes", "index", "listenerMetadata", "listenerPath", "minKernel", "name", "names", "op",
	"subArchitectures", "syscalls", "value", "valueTwo",
}

// checkKeys goes through valid JSON once for what encoding/json lets pass: a key
// given twice, of which it takes the last, and a key in another case than the
// field's.
func checkKeys(raw []byte) error {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	type level struct {
		object bool
		isKey  bool // the next string is a key
		keys   map[string]bool
	}
	var stack []level
	for {
		token, err := dec.Token()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return locate(raw, dec.InputOffset(), err)
		}
		top := len(stack) - 1
		switch t := token.(type) {
		case json.Delim:
			switch t {
			case '{':
				stack = append(stack, level{object: true, isKey: true, keys: map[string]bool{}})
				continue
			case '[':
				stack = append(stack, level{})
				continue
			}
			stack = stack[:top]
		case string:
			if top >= 0 && stack[top].object && stack[top].isKey {
				if stack[top].keys[t] {
					return locate(raw, dec.InputOffset(), fmt.Errorf("key %q is given twice", t))
				}
				if !slices.Contains(fields, t) {
					return locate(raw, dec.InputOffset(), fmt.Errorf("unknown field %q", t))
				}
				stack[top].keys[t] = true
				stack[top].isKey = false
				continue
			}
		}
		if len(stack) > 0 {
			stack[len(stack)-1].isKey = true
		}
	}
}

// locate puts line and column before an error: those of the error itself where
// encoding/json gives them, else those of the offset where reading stopped.
func locate(raw []byte, offset int64, err error) error {
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	text := strings.TrimPrefix(err.Error(), "json: ")
	switch {
	case errors.As(err, &syntax):
		offset = syntax.Offset
	case errors.As(err, &kind):
		offset = kind.Offset
		text = fmt.Sprintf("%s: a JSON %s instead of %s", kind.Field, kind.Value, kind.Type)
	}
	read := raw[:min(max(offset, 0), int64(len(raw)))]
	line := bytes.Count(read, []byte{'\n'}) + 1
	column := len(read) - bytes.LastIndexByte(read, '\n') - 1
	return fmt.Errorf("line %d, column %d: %s", line, max(column, 1), text)
}
