package cli

import (
	"reflect"
	"slices"
	"strings"
	"testing"
)

// parsed is what parse makes of the words after `sbx run`.
func parsed(t *testing.T, args ...string) (*runCommand, []string, error) {
	t.Helper()
	v, _ := lookupVerb("run")
	model := &runCommand{}
	c, done, err := parse(v, model, args)
	if done {
		t.Fatalf("%q: help was printed", args)
	}
	if err != nil {
		return nil, nil, err
	}
	return model, c.cmd(model.Words), nil
}

// TestArgv holds the traps of a command line that carries another one.
func TestArgv(t *testing.T) {
	for _, c := range []struct {
		args string
		cmd  string
	}{
		{"ls -l", "ls -l"},
		{"-- ls -l", "ls -l"},
		{"-- sh -c x -- y", "sh -c x -- y"},
		{"git checkout -- file", "git checkout -- file"},
		{"--skip net -- ls --skip", "ls --skip"},
		{"--skip net ls --skip", "ls --skip"},
		{"-it -e A=1 sh", "sh"},
		{"--rm --init -i true", "true"},
		{"-eA=1 true", "true"},
		{"--env=A=1 true", "true"},
		{"-- --help", "--help"},
		{"ls --help", "ls --help"},
		{"- x", "- x"},
	} {
		_, cmd, err := parsed(t, strings.Fields(c.args)...)
		if err != nil || strings.Join(cmd, " ") != c.cmd {
			t.Errorf("run %s: CMD is %q, %v, want %q", c.args, cmd, err, c.cmd)
		}
	}
	if _, _, err := parsed(t, "--imgae", "x"); err == nil || !strings.Contains(err.Error(), "unknown flag --imgae") {
		t.Errorf("run --imgae x: %v, want an unknown flag", err)
	}
	if _, _, err := parsed(t, "-e"); err == nil {
		t.Error("run -e: no error for the missing value")
	}
}

// TestArgvLists: only lists of steps are split at commas.
func TestArgvLists(t *testing.T) {
	for _, args := range [][]string{
		{"-e", "A=1,2", "--skip", "net,uts", "--skip", "ipc", "true"},
		{"--tty=false", "-e", "A=1,2", "--skip", "net,uts", "--skip", "ipc", "true"}, // by kong
	} {
		m, _, err := parsed(t, args...)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(m.Env, []string{"A=1,2"}) || !slices.Equal(m.Skip, []string{"net", "uts", "ipc"}) {
			t.Errorf("%q: env %q, skip %q", args, m.Env, m.Skip)
		}
	}
}

// TestArgvBytes: a name that is not UTF-8 arrives as it was, on both ways.
func TestArgvBytes(t *testing.T) {
	for _, first := range []string{"--tty", "--tty=true"} {
		m, cmd, err := parsed(t, first, "--ro", "/\xff", "-w", "/\xfe", "cat", "\xfd")
		if err != nil {
			t.Fatal(err)
		}
		if m.RO[0] != "/\xff" || m.Workdir != "/\xfe" || cmd[1] != "\xfd" {
			t.Errorf("%s: %q %q %q", first, m.RO, m.Workdir, cmd)
		}
	}
}

// TestQuickModel holds what quickParse takes for granted of its models: no
// kind of field and no tag that kong would treat in a way of its own.
func TestQuickModel(t *testing.T) {
	allowed := []string{"name", "short", "sep", "common", "group", "placeholder", "help", "hidden", "arg", "optional", "passthrough"}
	for _, v := range verbs() {
		model, ok := v.model().(quickModel)
		if !ok {
			continue
		}
		walkFields(reflect.TypeOf(model).Elem(), func(f reflect.StructField) {
			switch f.Type.String() {
			case "bool", "string", "[]string":
			default:
				t.Errorf("%s: %s is a %s", v.name, f.Name, f.Type)
			}
			if f.Type.Kind() == reflect.Slice && f.Tag.Get("sep") == "" && f.Tag.Get("passthrough") == "" {
				t.Errorf("%s: the list %s has no sep: kong would split it", v.name, f.Name)
			}
			if _, arg := f.Tag.Lookup("arg"); !arg && f.Tag.Get("name") == "" {
				t.Errorf("%s: %s has no name", v.name, f.Name)
			}
			for pair := range strings.SplitSeq(string(f.Tag), `" `) {
				if key, _, _ := strings.Cut(pair, ":"); !slices.Contains(allowed, key) {
					t.Errorf("%s: %s has the tag %s", v.name, f.Name, key)
				}
			}
		})
	}
}

func walkFields(t reflect.Type, visit func(reflect.StructField)) {
	for i := range t.NumField() {
		if f := t.Field(i); f.Anonymous {
			walkFields(f.Type, visit)
		} else {
			visit(f)
		}
	}
}

// FuzzQuickParse: where quickParse takes a command line, kong reads the same.
func FuzzQuickParse(f *testing.F) {
	for _, line := range []string{
		"ls\n-l", "-it\nsh", "--skip\nnet,uts\ntrue", "--skip=net\n--only\npid\ntrue", "-e\nA=1,2\n-eB=2\nx\n-e",
		"--tty=false\nx", "-w\n/x\n-w\n/y\nz", "--env\n\nx", "-tT\n-\nx", "--volume\n-x", "--\nx", "-", "", "--env=\nx",
		"-e=A\nx", "--=x", "-itx\ny", "--skip\na,,b\nx", "--skip\na\\,b\nx", "--help\nx", "-h", "-tw/x\ny", "--tt\nx", "--report=\xff\nx",
	} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		args := strings.Split(line, "\n")
		if slices.Contains(args, "--") {
			return // cut before
		}
		quick := &runCommand{}
		if !quickParse(quick, args) {
			return
		}
		slow := &runCommand{}
		if help, err := parser.Parse("run", slow, slices.Clone(args)); err != nil || help.Asked {
			t.Fatalf("%q: kong says %v, help %v; quickParse took %+v", args, err, help.Asked, quick)
		}
		if !reflect.DeepEqual(emptyAsNil(*quick), emptyAsNil(*slow)) {
			t.Fatalf("%q:\nquick %+v\nkong  %+v", args, quick, slow)
		}
	})
}

// emptyAsNil makes lists without elements alike.
func emptyAsNil(r runCommand) runCommand {
	v := reflect.ValueOf(&r).Elem()
	var walk func(reflect.Value)
	walk = func(v reflect.Value) {
		for i := range v.NumField() {
			switch f := v.Field(i); f.Kind() {
			case reflect.Struct:
				walk(f)
			case reflect.Slice:
				if f.Len() == 0 {
					f.SetZero()
				}
			}
		}
	}
	walk(v)
	return r
}

// BenchmarkParse compares the two ways to read the flags of a plain call.
func BenchmarkParse(b *testing.B) {
	args := []string{"--skip", "overlay", "-e", "A=1", "true"}
	b.Run("quick", func(b *testing.B) {
		for b.Loop() {
			if !quickParse(&runCommand{}, args) {
				b.Fatal("left to kong")
			}
		}
	})
	b.Run("kong", func(b *testing.B) {
		for b.Loop() {
			if _, err := parser.Parse("run", &runCommand{}, args); err != nil {
				b.Fatal(err)
			}
		}
	})
}
