package sandbox

import (
	"errors"
	"path"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// withCargo puts Cargo into the laptop's home and on its PATH.
func withCargo(s *Spec, f *Features) {
	own := File{Mode: unix.S_IFDIR, UID: 1000}
	m := f.Host.(machine)
	for _, dir := range []string{".cargo", ".cargo/bin", ".cargo/registry", ".rustup", ".rustup/toolchains"} {
		m["/home/ada/"+dir] = own
	}
	for _, file := range []string{".cargo/credentials.toml", ".cargo/bin/cargo"} {
		m["/home/ada/"+file] = File{Mode: unix.S_IFREG, UID: 1000}
	}
	f.Env = append([]string{"PATH=/home/ada/.cargo/bin:/usr/bin", "RUSTUP_TOOLCHAIN=nightly", "CARGO_REGISTRY_TOKEN=sesame"}, f.Env[1:]...)
	s.Args = []string{"cargo", "test"}
}

// shownOf lists what a plan shows below a folder.
func shownOf(p *Plan, dir string) []string {
	var out []string
	for _, e := range p.Shown {
		if within(e.Target, dir) && e.Target != dir {
			out = append(out, e.Kind+" "+e.Target)
		}
	}
	slices.Sort(out)
	return out
}

// TestToolPlans: how a tool is shown goes by the host.
func TestToolPlans(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*Spec, *Features)
		want   string
	}{
		{"by default", func(*Spec, *Features) {}, "cow /home/ada/.cargo, cow /home/ada/.rustup, cow /home/ada/plain"},
		{"none", func(s *Spec, _ *Features) { s.Tools = []string{"none"} }, "cow /home/ada/plain"},
		{"others", func(s *Spec, _ *Features) { s.Tools = []string{"go"} }, "cow /home/ada/plain"},
		{"named and on no PATH", func(s *Spec, f *Features) {
			s.Tools, s.Args, f.Env[0] = []string{"cargo"}, []string{"true"}, "PATH=/usr/bin"
		}, "cow /home/ada/.cargo, cow /home/ada/.rustup, cow /home/ada/plain"},
		{"on no PATH", func(s *Spec, f *Features) { s.Args, f.Env[0] = []string{"true"}, "PATH=/usr/bin" }, "cow /home/ada/plain"},
		{"by the name of CMD", func(_ *Spec, f *Features) { f.Env[0] = "PATH=/usr/bin" }, "cow /home/ada/.cargo, cow /home/ada/.rustup, cow /home/ada/plain"},
		{"without overlay", func(s *Spec, _ *Features) { s.Skip = []string{"overlay"} }, "hide /home/ada/.cargo/credentials.toml, ro /home/ada/.cargo, ro /home/ada/.rustup, ro /home/ada/plain"},
		{"around a mount", func(_ *Spec, f *Features) {
			f.Host = mounted{f.Host.(machine), "/home/ada/.cargo/registry"}
		}, "cow /home/ada/.cargo/bin, cow /home/ada/.cargo/registry, cow /home/ada/.rustup, cow /home/ada/plain, hide /home/ada/.cargo/credentials.toml, ro /home/ada/.cargo"},
		{"shown by the spec", func(s *Spec, _ *Features) {
			s.Mounts = []Mount{{Kind: BindRO, Source: "/home/ada/.cargo", Target: "/home/ada/.cargo"}}
		}, "cow /home/ada/.rustup, cow /home/ada/plain, ro /home/ada/.cargo"},
		{"hidden by the spec", func(s *Spec, _ *Features) {
			s.Mounts = []Mount{{Kind: Hide, Target: "/home/ada/.cargo"}}
		}, "cow /home/ada/.rustup, cow /home/ada/plain, hide /home/ada/.cargo"},
		{"another root", func(s *Spec, _ *Features) { s.Rootfs = "/srv/data" }, ""},
		{"the upper layer in it", func(s *Spec, _ *Features) { s.Upper = "/home/ada/.rustup/layers" }, "cow /home/ada/.cargo, cow /home/ada/plain"},
		{"a variable moves one into the working folder", func(_ *Spec, f *Features) {
			f.Host.(machine)["/home/ada/plain/r"] = File{Mode: unix.S_IFDIR, UID: 1000}
			f.Host.(machine)["/home/ada/plain/r/toolchains"] = File{Mode: unix.S_IFDIR, UID: 1000}
			f.Env = append(f.Env, "RUSTUP_HOME=/home/ada/plain/r")
		}, "cow /home/ada/.cargo, cow /home/ada/plain"},
	} {
		s, f := Spec{}, laptop()
		withCargo(&s, f)
		test.change(&s, f)
		p, err := Compile(&s, f)
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		if got := strings.Join(shownOf(p, "/home/ada"), ", "); got != test.want {
			t.Errorf("%s: shown is\n%s\nwant\n%s", test.name, got, test.want)
		}
	}
}

// mounted is a machine with one more mount.
type mounted struct {
	machine
	at string
}

func (m mounted) ReadFile(p string) ([]byte, error) {
	data, err := m.machine.ReadFile(p)
	if path.Base(p) == "mountinfo" {
		data = append(data, "3 1 8:3 / "+m.at+" rw - ext4 /dev/sdc rw\n"...)
	}
	return data, err
}

// TestToolEnvironment: a tool's variables are passed with it, and no token.
func TestToolEnvironment(t *testing.T) {
	s, f := Spec{}, laptop()
	withCargo(&s, f)
	p, err := Compile(&s, f)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(p.Env, "RUSTUP_TOOLCHAIN=nightly") || strings.Contains(strings.Join(p.Env, " "), "sesame") {
		t.Errorf("%q", p.Env)
	}
	if len(p.Tools) != 1 || p.Tools[0].Name != "cargo" || p.Tools[0].Why != "CMD is /home/ada/.cargo/bin/cargo" ||
		!slices.Equal(p.Tools[0].Folders, []string{"/home/ada/.cargo", "/home/ada/.rustup"}) || !slices.Contains(p.Tools[0].Hidden, "/home/ada/.cargo/credentials.toml") {
		t.Errorf("%+v", p.Tools)
	}
	s.Tools = []string{"none"}
	if p, err = Compile(&s, f); err != nil || len(p.Tools) != 0 || slices.Contains(p.Env, "RUSTUP_TOOLCHAIN=nightly") {
		t.Errorf("with none: %+v, %q, %v", p.Tools, p.Env, err)
	}
}

// TestToolSpecs: names that are none are refused by Validate, with those that are.
func TestToolSpecs(t *testing.T) {
	for _, test := range []struct {
		spec  Spec
		field string
		say   string
	}{
		{Spec{Tools: []string{"auto", "nvmm"}}, "Tools[1]", "there are asdf bun "},
		{Spec{Tools: []string{"none", "nvm"}}, "Tools[0]", "beside other names"},
		{Spec{Tools: []string{"nvm"}, Rootfs: "/srv"}, "Tools[0]", "Rootfs shows none"},
		{Spec{ToolTable: ToolTable{Never: []Place{"x"}}}, "ToolTable.Never[0]", "begins with none of"},
		{Spec{ToolTable: ToolTable{Tools: []Tool{{Name: "x"}}}}, "ToolTable.Tools[0]", "neither folders nor files"},
		{Spec{ToolTable: ToolTable{Tools: []Tool{{Name: "x", Files: []Place{"~/x"}}, {Name: "x", Files: []Place{"~/x"}}}}}, "ToolTable.Tools[1]", "two tools"},
		{Spec{ToolTable: ToolTable{Tools: []Tool{{Name: "x", Folders: []ToolFolder{{At: []Place{"~/x"}, Hide: []Pattern{"../y"}}}}}}}, "ToolTable.Tools[0]", "no clean path"},
	} {
		err := test.spec.Validate()
		var bad *SpecError
		if !errors.As(err, &bad) || bad.Field != test.field || !strings.Contains(bad.Reason, test.say) {
			t.Errorf("%+v: %v", test.spec, err)
		}
	}
	own := Spec{Tools: []string{"mine"}, ToolTable: ToolTable{Tools: []Tool{{Name: "mine", Files: []Place{"~/x"}}}}}
	if err := own.Validate(); err != nil || !slices.Contains(own.ToolNames(), "mine") || !slices.Contains(own.ToolNames(), "nvm") {
		t.Errorf("%v, %q", err, own.ToolNames())
	}
}
