package toolfile

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox"
)

// TestParse reads a table as docs/tools.md describes it.
func TestParse(t *testing.T) {
	got, err := Parse("tools.toml", []byte(`
never = ["~/.config/mytool/token"]

[tool.mytool]
about = "mine"
commands = ["mytool"]
variables = ["MYTOOL_HOME"]
links = ["~/.local/bin"]
files = ["~/.mytoolrc"]
folders = [
  { at = ["$MYTOOL_HOME", "~/.mytool"], has = ["bin"], hide = ["token", "envs/*/token"] },
  { at = ["/srv/mytool"], cache = true },
]
[tool.another]
files = ["~/bin/another"]
`))
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Never) != 1 || len(got.Tools) != 2 || got.Tools[0].Name != "another" {
		t.Fatalf("%+v", got)
	}
	m := got.Tools[1]
	if m.About != "mine" || !slices.Equal(m.Folders[0].At, []sandbox.Place{"$MYTOOL_HOME", "~/.mytool"}) || !m.Folders[1].Cache ||
		m.Folders[0].Hide[1] != "envs/*/token" || m.Links[0] != "~/.local/bin" || m.Commands[0] != "mytool" || m.Variables[0] != "MYTOOL_HOME" {
		t.Errorf("%+v", m)
	}
}

// TestErrors: what cannot be is said with line and column, before anything runs.
func TestErrors(t *testing.T) {
	for _, test := range []struct{ text, want string }{
		{"[tool.x]\nfolders = [ { at = [\"~/.x\"] }\n", "t.toml:"},
		{"[tool.x]\nfolder = []\n", `t.toml:2:1: no key is called "tool.x.folder"`},
		{"nevr = []\n", `t.toml:1:1: no key is called "nevr"`},
		{"[tool.x]\nfolders = [{ at = [\"/\"] }]\n", "t.toml:2:"},
		{"[tool.x]\nfolders = [{ at = [\"~/.x\", \"~\"] }]\n", `t.toml:2:`},
		{"[tool.x]\nfolders = [{ at = [\"~/../other\"] }]\n", `no clean path below ~`},
		{"[tool.x]\nfolders = [{ at = [\"$X/../..\"] }]\n", `no clean path below $X`},
		{"[tool.x]\nfolders = [{ at = [\".x\"] }]\n", `begins with none of ~/, $VARIABLE and /`},
		{"[tool.x]\nfolders = [{ at = [\"$X Y/z\"] }]\n", `begins with none of`},
		{"[tool.x]\nfolders = [{ at = [\"~/a\\u0000b\"] }]\n", `zero byte`},
		{"[tool.x]\nfolders = [{ at = [\"/a:/b\"] }]\n", `a colon`},
		{"[tool.x]\nfolders = [{ at = [\"~/.x\"], hide = [\"../.ssh\"] }]\n", `t.toml:2:`},
		{"[tool.x]\nfolders = [{ at = [\"~/.x\"], hide = [\"[\"] }]\n", `only * stands`},
		{"[tool.x]\nfolders = [{ at = [\"~/.x\"], has = [\"/etc/passwd\"] }]\n", `no clean path below the folder`},
		{"[tool.x]\nvariables = [\"A B\"]\n", `t.toml:2:`},
		{"[tool.x]\nfiles = [\"~/x\"]\nvariables = [\"A-B\"]\n", `t.toml:1:1: the tool "x": "A-B" is no variable`},
		{"\n[tool.x]\nabout = \"nothing\"\n", `t.toml:2:1: the tool "x": has neither folders nor files`},
		{"[tool.x]\nfolders = [{ has = [\"y\"] }]\n", `t.toml:1:1: the tool "x": has a folder without a place`},
		{"[tool.none]\nfiles = [\"~/x\"]\n", `auto and none are words of --tools`},
		{"[tool.\"a/b\"]\nfiles = [\"~/x\"]\n", `t.toml:1:1: "a/b" is no name`},
		{"[tool.x]\nfiles = [\"~/x\"]\n[tool.x]\nfiles = []\n", "t.toml:3:"},
		{"[tool.x]\nfiles = 3\n", "t.toml:2:"},
		{"tool = 3\n", "t.toml:1:"},
		{"\xff\n", "t.toml:1:"},
		{strings.Repeat("#", MaxSize+1), "t.toml: has more than 1048576 bytes"},
	} {
		_, err := Parse("t.toml", []byte(test.text))
		var bad *Error
		if !errors.As(err, &bad) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%.60q: %v, want %q in it", test.text, err, test.want)
		}
		if err != nil && strings.Contains(err.Error(), "\n") {
			t.Errorf("%.60q: the error has several lines: %q", test.text, err)
		}
	}
}

// TestLoad: no file is an empty table; what is no file is not waited for.
func TestLoad(t *testing.T) {
	dir := t.TempDir()
	if got, err := Load(filepath.Join(dir, "none")); err != nil || len(got.Tools) != 0 {
		t.Errorf("%v, %v", got, err)
	}
	pipe := filepath.Join(dir, "pipe")
	if err := unix.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{pipe, dir, "/dev/zero"} {
		var bad *Error
		if _, err := Load(name); !errors.As(err, &bad) || !strings.Contains(err.Error(), "no regular file") {
			t.Errorf("%s: %v", name, err)
		}
	}
	file := filepath.Join(dir, "tools.toml")
	if err := os.WriteFile(file, []byte("[tool.x]\nfiles = [\"~/x\"]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := Load(file); err != nil || len(got.Tools) != 1 || got.Tools[0].Name != "x" {
		t.Errorf("%v, %v", got, err)
	}
}

// FuzzParse: whatever a file holds, Parse returns a table that a Spec takes, or
// an *Error.
func FuzzParse(f *testing.F) {
	data, err := os.ReadFile("../tools.toml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte("[tool.x]\nfiles = [\"~/x\"]\n"))
	f.Add([]byte("tool = {x = {folders = [{at = [\"$A\"]}]}}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		table, err := Parse("f", data)
		if err != nil {
			var bad *Error
			if !errors.As(err, &bad) {
				t.Errorf("%T %v", err, err)
			}
			return
		}
		s := sandbox.Spec{ToolTable: table}
		if err := s.Validate(); err != nil {
			t.Error(err)
		}
	})
}
