package cli

import (
	"os"
	"reflect"
	"slices"
	"strings"
	"unicode/utf8"
)

// cut takes what stands after the first -- out of argv, before anybody parses
// it: kong would leave the -- in the list of words.
func cut(verb string, args []string) (*call, []string) {
	c := &call{verb: verb}
	if i := slices.Index(args, "--"); i >= 0 {
		c.dashed, c.after, args = true, args[i+1:], args[:i]
	}
	return c, args
}

// parse fills in the model of a verb. Done says that there is nothing left to
// do, because help was asked for and printed.
//
// What stands before the -- is parsed up to the first word that is no flag
// (passthrough:"partial"); with kong's plain passthrough a mistyped flag would
// silently become CMD.
func parse(v verb, model command, args []string) (c *call, done bool, err error) {
	c, args = cut(v.name, args)
	if q, ok := model.(quickModel); ok && quickParse(q, args) {
		return c, false, nil
	}
	reset(model)
	help, err := parser.Parse(v.name, model, args)
	if help.Asked {
		return nil, true, printHelp(os.Stdout, v, help.Value == "all")
	}
	if err != nil {
		return nil, false, parseError(v.name, err, args)
	}
	return c, false, nil
}

// reset empties a model that quickParse gave up.
func reset(model command) {
	m := reflect.ValueOf(model).Elem()
	m.SetZero()
}

// parseError says what kong found wrong in the words of sbx.
func parseError(verb string, err error, args []string) error {
	msg, tip := err.Error(), ""
	for _, cut := range []string{", did you mean ", "; perhaps try "} {
		if before, after, ok := strings.Cut(msg, cut); ok {
			msg = before
			tip = strings.Trim(strings.TrimSpace(cut), ",; ") + " " + after
		}
	}
	// kong's way to say that the line ended, or that a flag stands where a value
	// should: "--timeout: expected string value but got …".
	if flag, _, ok := strings.Cut(msg, ": expected "); ok && strings.HasPrefix(flag, "-") {
		return &usageError{msg: flag + " needs a value after it"}
	}
	name, unknown := strings.CutPrefix(msg, "unknown flag ")
	if strings.HasPrefix(msg, "unexpected argument ") && verb == "build" {
		return &usageError{msg: msg, hint: "one folder is built: sbx build -t NAME ."}
	}
	if !unknown {
		return &usageError{msg: msg, hint: tip}
	}
	if why, ok := runsFlag(verb, name); ok {
		return &usageError{msg: why, hint: "sbx run takes " + name}
	}
	if later, ok := laterFlag(name); ok {
		return &usageError{msg: name + " is not in this version", hint: later}
	}
	if hint := dockerFlag(name); hint != "" {
		return &usageError{msg: msg, hint: hint}
	}
	if name == "--" || name == "-" {
		return &usageError{msg: msg}
	}
	if tip == "" && len(args) > 0 && !strings.HasPrefix(args[len(args)-1], "-") {
		switch verb {
		case "run", "explain", "compare", "exec":
			tip = "flags of sbx come before CMD: --help=all lists them"
		default:
			tip = "sbx " + verb + " --help=all lists the flags"
		}
	}
	return &usageError{msg: msg, hint: tip}
}

// quickModel is a model that consists of bools, strings and lists of strings
// without any of kong's checks and defaults, so that quickParse can fill it in.
type quickModel interface {
	command
	quick()
}

// quickParse fills in a model as kong would, for the command lines that people
// write most: flags by name, then CMD. It exists because kong needs longer to
// build the model of run than the kernel for a whole mount namespace. It makes
// no message and knows no exception: whatever is not plain it leaves to kong,
// by returning false, and FuzzQuickParse holds that both agree on the rest.
func quickParse(model quickModel, args []string) bool {
	v := reflect.ValueOf(model).Elem()
	for i := 0; i < len(args); i++ {
		word := args[i]
		if !strings.HasPrefix(word, "-") {
			return quickWords(v, args[i:])
		}
		name, value, assigned := strings.Cut(word, "=")
		long := strings.HasPrefix(name, "--")
		if !long && len(word) != 2 {
			if !quickCluster(v, word[1:]) {
				return false
			}
			continue
		}
		field, sep, ok := quickField(v, strings.TrimPrefix(name[1:], "-"), long)
		if !ok {
			return false
		}
		if field.Kind() == reflect.Bool {
			if assigned {
				return false
			}
			field.SetBool(true)
			continue
		}
		if !assigned {
			if i++; i == len(args) || strings.HasPrefix(args[i], "-") {
				return false
			}
			value = args[i]
		}
		if !quickSet(field, sep, value) {
			return false
		}
	}
	return true
}

// quickCluster sets flags of one letter that stand in one word: -it, -eK=V.
func quickCluster(v reflect.Value, cluster string) bool {
	for i, letter := range cluster {
		field, sep, ok := quickField(v, string(letter), false)
		if !ok {
			return false
		}
		if field.Kind() != reflect.Bool {
			value := cluster[i+1:]
			return value != "" && quickSet(field, sep, value)
		}
		field.SetBool(true)
	}
	return cluster != ""
}

// quickField finds the field of a flag, and the tag sep.
func quickField(v reflect.Value, name string, long bool) (reflect.Value, string, bool) {
	key := "short"
	if long {
		key = "name"
	}
	t := v.Type()
	for i := range t.NumField() {
		f := t.Field(i)
		if f.Anonymous {
			if field, sep, ok := quickField(v.Field(i), name, long); ok {
				return field, sep, true
			}
			continue
		}
		if name != "" && f.Tag.Get(key) == name {
			return v.Field(i), f.Tag.Get("sep"), true
		}
	}
	return reflect.Value{}, "", false
}

func quickSet(field reflect.Value, sep, value string) bool {
	switch list := field.Addr().Interface().(type) {
	case *string:
		*list = value
	case *[]string:
		if sep == "none" {
			*list = append(*list, value)
			return true
		}
		for word := range strings.SplitSeq(value, sep) {
			if word == "" || word[0] == '-' || strings.Contains(word, `\`) || !utf8.ValidString(word) {
				return false // kong has rules for these
			}
			*list = append(*list, word)
		}
	default:
		return false
	}
	return true
}

// quickWords puts CMD into the field that takes it.
func quickWords(v reflect.Value, words []string) bool {
	t := v.Type()
	for i := range t.NumField() {
		if _, ok := t.Field(i).Tag.Lookup("arg"); ok {
			list, ok := v.Field(i).Addr().Interface().(*[]string)
			if ok {
				*list = words
			}
			return ok
		}
	}
	return false
}
