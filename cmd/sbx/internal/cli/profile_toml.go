package cli

import (
	"errors"
	"os"
	"path"
	"reflect"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"

	"github.com/sbx-dev/sbx/sandbox"
)

// profileText is what one file says, without the profile that it extends.
type profileText struct {
	flags   RunFlags
	summary string // the first comment
	extends string // a name, or an absolute path; "" is none
	where   string // FILE:LINE:COLUMN of extends
}

// profileReader goes through one file.
type profileReader struct {
	file string // as it is called in errors
	dir  string // from where relative paths are meant
	data []byte
	p    unstable.Parser
	text profileText
}

// parseProfile reads a profile: lines of KEY = VALUE in TOML, the keys being the
// long names of run's flags. An error names the line and the column, in bytes,
// as compilers do.
func parseProfile(file, dir string, data []byte) (*profileText, error) {
	r := &profileReader{file: file, dir: dir, data: data}
	// The whole of it first, for what only the library's decoder sees: keys
	// that are given twice, text that is not UTF-8.
	var whole map[string]any
	if err := toml.Unmarshal(data, &whole); err != nil {
		return nil, r.syntax(err)
	}
	r.p.KeepComments = true
	r.p.Reset(data)
	first := true
	for r.p.NextExpression() {
		e := r.p.Expression()
		switch e.Kind {
		case unstable.Comment:
			if first {
				r.text.summary = strings.TrimSpace(strings.TrimLeft(string(e.Data), "#"))
			}
		case unstable.KeyValue:
			if err := r.pair(e); err != nil {
				return nil, err
			}
		default:
			it := e.Key()
			it.Next()
			return nil, r.bad(it.Node(), "a profile has no tables, only lines KEY = VALUE", "")
		}
		first = false
	}
	if err := r.p.Error(); err != nil { // the decoder above has found it already
		return nil, r.syntax(err)
	}
	return &r.text, nil
}

// syntax is an error of the library's.
func (r *profileReader) syntax(err error) error {
	line, column := 1, 1
	var at *toml.DecodeError
	if errors.As(err, &at) {
		line, column = at.Position()
	}
	msg := strings.TrimPrefix(strings.TrimPrefix(err.Error(), "toml: "), "toml: ")
	return &usageError{msg: r.file + ":" + strconv.Itoa(line) + ":" + strconv.Itoa(column) + ": " + msg, hint: "docs/profiles.md says how a profile is written"}
}

// at is the place of a node that has a text of its own.
func (r *profileReader) at(n *unstable.Node) string {
	start := r.p.Shape(n.Raw).Start
	return r.file + ":" + strconv.Itoa(start.Line) + ":" + strconv.Itoa(start.Column)
}

func (r *profileReader) bad(n *unstable.Node, msg, hint string) error {
	return &usageError{msg: r.at(n) + ": " + msg, hint: hint}
}

// pair reads one line KEY = VALUE.
func (r *profileReader) pair(e *unstable.Node) error {
	it := e.Key()
	it.Next()
	node := it.Node()
	key, dotted := string(node.Data), false
	for it.Next() {
		key, dotted = key+"."+string(it.Node().Data), true
	}
	if key == "extends" {
		if e.Value().Kind != unstable.String {
			return r.bad(node, `extends is to be a text, such as "strict"`, "")
		}
		return r.extend(e.Value())
	}
	index, field, ok := profileField(key)
	if !ok || dotted {
		return r.unknown(node, key)
	}
	v := e.Value()
	to := reflect.ValueOf(&r.text.flags).Elem().Field(index)
	switch to.Kind() {
	case reflect.Bool:
		if v.Kind != unstable.Bool {
			return r.bad(node, key+" is to be true or false", "")
		}
		to.SetBool(string(v.Data) == "true")
	case reflect.String:
		text, ok := scalar(v)
		if !ok {
			return r.bad(node, key+" is to be a text or a whole number", example(key, field))
		}
		value, err := r.value(v, index, field, text)
		if err != nil {
			return err
		}
		to.SetString(value)
	default:
		if v.Kind != unstable.Array {
			return r.bad(node, key+" is to be a list", example(key, field))
		}
		list := []string{}
		for children := v.Children(); children.Next(); {
			n := children.Node()
			if n.Kind == unstable.Comment {
				continue
			}
			text, ok := scalar(n)
			if !ok {
				return r.bad(node, key+" is to be a list of texts or whole numbers", example(key, field))
			}
			value, err := r.value(n, index, field, text)
			if err != nil {
				return err
			}
			list = append(list, value)
		}
		to.Set(reflect.ValueOf(list))
	}
	return nil
}

// example is a line as it should be.
func example(key string, field reflect.StructField) string {
	value, _, _ := strings.Cut(field.Tag.Get("placeholder"), ",") // of STEP,… the first
	value = quoted(value)
	if field.Type.Kind() == reflect.Slice {
		value = "[" + value + "]"
	}
	return key + " = " + value
}

// profileField finds the field of a key.
func profileField(key string) (index int, field reflect.StructField, ok bool) {
	flagFields(func(i int, f reflect.StructField) {
		if f.Tag.Get("name") == key {
			index, field, ok = i, f, true
		}
	})
	return index, field, ok
}

// unknown says which key may have been meant.
func (r *profileReader) unknown(n *unstable.Node, key string) error {
	if _, _, ok := quickField(reflect.ValueOf(new(runCommand)).Elem(), key, true); ok {
		return r.bad(n, key+" is a flag of one run, and not for a profile", "sbx run --"+key+" beside --profile")
	}
	names := []string{"extends"}
	flagFields(func(_ int, f reflect.StructField) { names = append(names, f.Tag.Get("name")) })
	hint := "keys are the long names of run's flags: sbx run --help=all lists them"
	if near := nearest(key, names); near != "" {
		hint = "did you mean " + near + "?"
	}
	return r.bad(n, "no key is called "+quoted(key), hint)
}

// scalar is the text of a value that can stand for a flag's.
func scalar(n *unstable.Node) (string, bool) {
	switch n.Kind {
	case unstable.String:
		return string(n.Data), true
	case unstable.Integer:
		// TOML knows 0x10 and 1_000, the flags do not.
		i, err := strconv.ParseInt(strings.ReplaceAll(string(n.Data), "_", ""), 0, 64)
		return strconv.FormatInt(i, 10), err == nil
	}
	return "", false
}

// value checks one value of a flag by doing with it what the flag does, and
// makes its path absolute.
func (r *profileReader) value(n *unstable.Node, index int, field reflect.StructField, text string) (string, error) {
	key := field.Tag.Get("name")
	if text == "" {
		return "", r.bad(n, key+" is empty", "")
	}
	if strings.ContainsRune(text, 0) {
		return "", r.bad(n, key+" holds a zero byte", "")
	}
	text, err := r.paths(key, field.Tag.Get("placeholder"), text)
	if err != nil {
		return "", r.bad(n, key+": "+err.Error(), "")
	}
	var alone RunFlags
	if to := reflect.ValueOf(&alone).Elem().Field(index); to.Kind() == reflect.String {
		to.SetString(text)
	} else {
		to.Set(reflect.ValueOf([]string{text}))
	}
	spec, _, err := alone.Spec([]string{"true"})
	if err == nil {
		err = spec.Validate()
	}
	var (
		usage  *usageError
		reason *sandbox.SpecError
	)
	switch {
	case err == nil:
	case errors.As(err, &usage):
		msg := usage.msg
		for _, flag := range []string{"--" + key, "-" + field.Tag.Get("short")} {
			if rest, ok := strings.CutPrefix(msg, flag); ok && flag != "-" {
				msg = key + rest
				break
			}
		}
		return "", r.bad(n, msg, usage.hint)
	case errors.As(err, &reason):
		if strings.HasPrefix(reason.Field, "User") {
			break // it depends on what else is said
		}
		return "", r.bad(n, key+": "+reason.Reason, "")
	default:
		return "", r.bad(n, key+": "+err.Error(), "")
	}
	return text, nil
}

// paths makes the path in a value absolute: ~ is the caller's home, and what is
// relative is meant from the folder that the profile is in, wherever sbx is
// called.
func (r *profileReader) paths(key, placeholder, text string) (string, error) {
	switch {
	case key == "volume":
		src, rest, ok := strings.Cut(text, ":")
		if !ok || !strings.Contains(src, "/") && !strings.HasPrefix(src, "~") && src != "." && src != ".." {
			return text, nil // not a volume: the flag says so
		}
		dst, mode, _ := strings.Cut(rest, ":")
		dst, err := tilde(dst)
		if err != nil {
			return "", err
		}
		if mode != "" {
			dst += ":" + mode
		}
		src, err = r.absolute(src)
		return src + ":" + dst, err
	case key == "tmpfs":
		return tilde(text)
	case key == "seccomp":
		if !strings.ContainsAny(text, "/.") {
			return text, nil
		}
		return r.absolute(text)
	case placeholder == "PATH", placeholder == "DIR", placeholder == "FILE":
		return r.absolute(text)
	}
	return text, nil
}

func (r *profileReader) absolute(p string) (string, error) {
	p, err := tilde(p)
	if err != nil || path.IsAbs(p) {
		return path.Clean(p), err
	}
	return path.Join(r.dir, p), nil
}

// tilde puts the caller's home in place of a ~ at the beginning.
func tilde(p string) (string, error) {
	rest, ok := strings.CutPrefix(p, "~")
	if !ok || rest != "" && rest[0] != '/' && rest[0] != ':' {
		return p, nil
	}
	home := os.Getenv("HOME")
	if !path.IsAbs(home) {
		return "", errors.New("~ is no folder: HOME is not set to an absolute path")
	}
	return path.Clean(home) + rest, nil
}

// extend takes note of the profile that this one stands on.
func (r *profileReader) extend(n *unstable.Node) error {
	name := string(n.Data)
	if strings.ContainsRune(name, 0) || name == "" {
		return r.bad(n, "extends: "+quoted(name)+" is no name of a profile", "")
	}
	if isProfilePath(name) {
		at, err := r.absolute(name)
		if err != nil {
			return r.bad(n, "extends: "+err.Error(), "")
		}
		name = at
	}
	r.text.extends, r.text.where = name, r.at(n)
	return nil
}

// writeProfile is the flags as a profile that can be saved and reads back as
// the same.
func writeProfile(b *strings.Builder, flags *RunFlags) error {
	var failed error
	v := reflect.ValueOf(flags).Elem()
	text := func(s string) string {
		if !utf8.ValidString(s) {
			failed = errors.New(quoted(s) + " is not UTF-8, which TOML cannot say")
		}
		return tomlString(s)
	}
	flagFields(func(i int, f reflect.StructField) {
		if v.Field(i).IsZero() || v.Field(i).Kind() == reflect.Slice && v.Field(i).Len() == 0 {
			return
		}
		b.WriteString(f.Tag.Get("name") + " = ")
		switch value := v.Field(i).Interface().(type) {
		case bool:
			b.WriteString(strconv.FormatBool(value))
		case string:
			b.WriteString(text(value))
		case []string:
			words := make([]string, len(value))
			width := len(f.Tag.Get("name")) + 4
			for k, w := range value {
				words[k] = text(w)
				width += len(words[k]) + 2
			}
			if width > 80 {
				b.WriteString("[\n  " + strings.Join(words, ",\n  ") + ",\n]")
				break
			}
			b.WriteString("[" + strings.Join(words, ", ") + "]")
		}
		b.WriteByte('\n')
	})
	return failed
}

// tomlString is a basic string of TOML 1.0: quoted, with escapes for what
// cannot stand in it and for what a terminal would obey.
func tomlString(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteString(`\` + string(r))
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case !strconv.IsPrint(r):
			hex := strconv.FormatInt(int64(r), 16)
			if r > 0xffff {
				b.WriteString(`\U` + strings.Repeat("0", 8-len(hex)) + hex)
			} else {
				b.WriteString(`\u` + strings.Repeat("0", 4-len(hex)) + hex)
			}
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}
