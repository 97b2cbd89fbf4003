package container

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/sbx-dev/sbx/sandbox"
	"github.com/sbx-dev/sbx/sandbox/image/local"
	"github.com/sbx-dev/sbx/sandbox/stack"
)

// rootWith is a layer with these accounts. passwd lies behind a link, as hostile
// and some honest images have it.
func rootWith(t *testing.T, passwd, group string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"etc/real": passwd, "etc/group": group} {
		if err := os.MkdirAll(filepath.Join(dir, "etc"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("/etc/../../etc/real", filepath.Join(dir, "etc/passwd")); err != nil {
		t.Fatal(err)
	}
	return dir
}

const (
	passwd = "root:x:0:0:root:/root:/bin/sh\nweb:x:33:33::/var/www:/bin/sh\nodd:x:-1:0::/:/bin/sh\nshort:x:7\n:x:5:5::/:\n7:x:70:70::/seven:\n"
	group  = "root:x:0:\nwww:x:33:web\nmail:x:8:root,web\ntty:x:5:web,root\n"
)

// TestManyVariables: an image with more than anybody needs is refused before time
// is spent on them.
func TestManyVariables(t *testing.T) {
	config := local.Config{Cmd: []string{"/x"}, Env: make([]string, 10001)}
	err := Apply(&sandbox.Spec{}, &local.Image{Layers: []string{rootWith(t, passwd, group)}, Config: config}, Options{})
	if err == nil || !strings.Contains(err.Error(), "10001 variables") {
		t.Error(err)
	}
}

func TestLookup(t *testing.T) {
	root := stack.New([]string{rootWith(t, passwd, group)})
	for text, want := range map[string]User{
		"":          {Name: "root", Home: "/root", Groups: []int{5, 8}},
		"0":         {Name: "root", Home: "/root", Groups: []int{5, 8}},
		"web":       {Name: "web", UID: 33, GID: 33, Groups: []int{5, 8}, Home: "/var/www"},
		"33":        {Name: "web", UID: 33, GID: 33, Groups: []int{5, 8}, Home: "/var/www"},
		"web:mail":  {Name: "web", UID: 33, GID: 8, Home: "/var/www"},
		"1234":      {UID: 1234, Home: "/"},
		"1234:5678": {UID: 1234, GID: 5678, Home: "/"},
		"7":         {Name: "7", UID: 70, GID: 70, Home: "/seven"}, // a name before a number, as docker
	} {
		if have, err := Lookup(root, text); err != nil || !reflect.DeepEqual(have, want) {
			t.Errorf("%q: %+v, %v, want %+v", text, have, err, want)
		}
	}
	for text, want := range map[string]string{
		"nobody": "no user", "web:none": "no group", "odd": "is no id", "-1": "no user", "4294967295": "no user", "short": "no user", "1:4294967295": "no group",
	} {
		if have, err := Lookup(root, text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %+v, %v, want %s", text, have, err, want)
		}
	}
	if have, err := Lookup(root, strings.Repeat("u", 1<<20)); err == nil || len(err.Error()) > 100 {
		t.Errorf("a name of a MiB: %+v", have)
	}
	empty := stack.New([]string{t.TempDir()})
	if have, err := Lookup(empty, ""); err != nil || !reflect.DeepEqual(have, User{Name: "root", Home: "/root"}) {
		t.Errorf("without accounts: %+v, %v", have, err)
	}
}

// TestApply: what of the config reaches the spec, and what wins over it.
func TestApply(t *testing.T) {
	dir := rootWith(t, passwd, group)
	if err := os.Symlink("/srv", filepath.Join(dir, "app")); err != nil {
		t.Fatal(err)
	}
	image := &local.Image{Layers: []string{dir}, Config: local.Config{
		Entrypoint: []string{"/entry", "-x"}, Cmd: []string{"cmd"}, Env: []string{"PATH=/p", "A=image", "=bad", "worse", "Z=\x00"},
		WorkingDir: "app/x", User: "web", Volumes: map[string]struct{}{"/data": {}, "relative": {}},
	}}
	id := func(n int) *int { return &n }
	base := sandbox.Spec{
		Layers: []string{dir}, Args: []string{"/entry", "-x", "cmd"}, Dir: "/app/x", Folders: []string{"/data", "/srv/x"},
		Env:  []string{"HOME=/var/www", "USER=web", "LOGNAME=web", "PATH=/p", "A=image"},
		User: sandbox.User{UID: id(33), GID: id(33)},
	}
	for _, c := range []struct {
		name   string
		spec   sandbox.Spec
		owners bool
		o      Options
		want   func(*sandbox.Spec)
	}{
		{"as the image says", sandbox.Spec{}, false, Options{}, func(*sandbox.Spec) {}},
		{"with real owners", sandbox.Spec{}, true, Options{}, func(s *sandbox.Spec) {
			s.User.Auto, s.User.Switch, s.User.Groups = true, true, []int{5, 8}
		}},
		{"with a map", sandbox.Spec{User: sandbox.User{Unmapped: true}}, true, Options{}, func(s *sandbox.Spec) { s.User.Unmapped = true }},
		{"with words", sandbox.Spec{Args: []string{"a"}}, false, Options{}, func(s *sandbox.Spec) { s.Args = []string{"/entry", "-x", "a"} }},
		{"with an entrypoint", sandbox.Spec{}, false, Options{Entrypoint: []string{"/e"}}, func(s *sandbox.Spec) { s.Args = []string{"/e"} }},
		{"without one", sandbox.Spec{Args: []string{"a"}}, false, Options{Entrypoint: []string{}}, func(s *sandbox.Spec) { s.Args = []string{"a"} }},
		{"with a folder", sandbox.Spec{Dir: "/data"}, false, Options{}, func(s *sandbox.Spec) { s.Dir, s.Folders = "/data", []string{"/data"} }},
		{"with variables", sandbox.Spec{Env: []string{"A=mine"}}, false, Options{}, func(s *sandbox.Spec) { s.Env = append(s.Env, "A=mine") }},
		{"as root", sandbox.Spec{}, false, Options{User: "0:0"}, func(s *sandbox.Spec) {
			s.User = sandbox.User{UID: id(0), GID: id(0)}
			s.Env = []string{"HOME=/root", "USER=root", "LOGNAME=root", "PATH=/p", "A=image"}
		}},
	} {
		want := base
		want.Env = append([]string(nil), base.Env...)
		c.want(&want)
		image.Owners = c.owners
		if err := Apply(&c.spec, image, c.o); err != nil || !c.spec.Equal(&want) {
			t.Errorf("%s: %v\nhave %+v\nwant %+v", c.name, err, c.spec, want)
		}
		if err := c.spec.Validate(); err != nil && c.name != "with a map" {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	for want, image := range map[string]*local.Image{
		"no layer":            {},
		"says no command":     {Layers: []string{dir}},
		"no user \"someone\"": {Layers: []string{dir}, Config: local.Config{User: "someone", Cmd: []string{"x"}}},
	} {
		if err := Apply(&sandbox.Spec{}, image, Options{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}
