package sandbox

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestSpecRoundTrip(t *testing.T) {
	uid := 0
	full := Spec{
		Args: []string{"sh", "-c", "x"}, Env: []string{"A=1"}, Dir: "/w", Hostname: "h", Skip: []string{"net"}, With: []string{"time"},
		User: User{UID: &uid, UIDMap: []IDMap{{0, 1000, 1}}}, Mounts: []Mount{{Kind: Tmpfs, Target: "/t", Size: 1}},
		Rlimits: []Rlimit{{"nofile", 1, 2}}, Timeout: time.Second, TCPConnect: []uint16{80}, BootOffset: -1, LayerSize: 1 << 40,
	}
	for _, s := range []Spec{{}, full} {
		text, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		var back Spec
		if err := json.Unmarshal(text, &back); err != nil {
			t.Fatal(err)
		}
		if !s.Equal(&back) {
			t.Errorf("%s\nbecame %+v", text, back)
		}
	}
	if text, _ := json.Marshal(Spec{}); string(text) != "{}" {
		t.Errorf("the zero spec is %s: a weakening would not stand out", text)
	}
}

func TestValidate(t *testing.T) {
	id := func(n int) *int { return &n }
	for _, test := range []struct {
		spec  Spec
		field string
	}{
		{Spec{Skip: []string{"nte"}}, "Skip[0]"},
		{Spec{Skip: []string{"mount"}}, "Skip"}, // what needs it must be skipped too
		{Spec{With: []string{"time"}, Skip: Closure([]string{"user"})}, "With[0]"},
		{Spec{BootOffset: 1}, "BootOffset"},
		{Spec{With: []string{"time"}, AsPID1: true}, "AsPID1"},
		{Spec{Dir: "x"}, "Dir"},
		{Spec{Hostname: strings.Repeat("x", 65)}, "Hostname"},
		{Spec{Env: []string{"A=1", "=x"}}, "Env[1]"},
		{Spec{Args: []string{"a", "b\x00"}}, "Args[1]"},
		{Spec{Args: []string{""}}, "Args[0]"},
		{Spec{Net: "user"}, "Net"},
		{Spec{RootWith: "magic"}, "RootWith"},
		{Spec{Rootfs: "r"}, "Rootfs"},
		{Spec{Rootfs: "/"}, "Rootfs"},
		{Spec{Rootfs: "/r", Skip: []string{"overlay"}}, "Rootfs"},
		{Spec{Upper: "/a/../b"}, "Upper"},
		{Spec{LayerSize: -1}, "LayerSize"},
		{Spec{CapAdd: []string{"fly"}}, "CapAdd[0]"},
		{Spec{CapDrop: []string{"kill", "fly"}}, "CapDrop[1]"},
		{Spec{Rlimits: []Rlimit{{"files", 1, 1}}}, "Rlimits[0]"},
		{Spec{Rlimits: []Rlimit{{"nofile", 2, 1}}}, "Rlimits[0]"},
		{Spec{Mounts: []Mount{{Kind: "bind", Source: "/a", Target: "/b"}}}, "Mounts[0]"},
		{Spec{Mounts: []Mount{{Kind: BindRO, Source: "a", Target: "/b"}}}, "Mounts[0]"},
		{Spec{Mounts: []Mount{{Kind: BindRO, Source: "/a", Target: "/b/../c"}}}, "Mounts[0]"},
		{Spec{Mounts: []Mount{{Kind: BindRO, Source: "/a", Target: "/"}}}, "Mounts[0]"},
		{Spec{Mounts: []Mount{{Kind: Tmpfs, Source: "/a", Target: "/b"}}}, "Mounts[0]"},
		{Spec{Mounts: []Mount{{Kind: BindRO, Source: "/a", Target: "/b", Layer: true}}}, "Mounts[0]"},
		{Spec{Mounts: []Mount{{Kind: Tmpfs, Target: "/b"}, {Kind: Hide, Target: "/b"}}}, "Mounts[1]"},
		{Spec{Mounts: []Mount{{Kind: BindRO, Source: "/a", Target: "/b"}}, Upper: "/a/layers"}, "Mounts[0]"},
		{Spec{User: User{UID: id(-1)}}, "User.UID"},
		{Spec{User: User{UID: id(1 << 32)}}, "User.UID"},
		{Spec{User: User{Auto: true, Unmapped: true}}, "User"},
		{Spec{User: User{Unmapped: true}}, "User.Unmapped"},
		{Spec{User: User{UIDMap: []IDMap{{0, 0, 0}}}}, "User.UIDMap[0]"},
		{Spec{User: User{UIDMap: []IDMap{{0, 10, 5}, {4, 100, 5}}}}, "User.UIDMap[1]"},
		{Spec{User: User{GIDMap: []IDMap{{0, 10, 5}, {10, 14, 5}}}}, "User.GIDMap[1]"},
		{Spec{User: User{UID: id(9), UIDMap: []IDMap{{0, 10, 5}}}}, "User.UID"},
	} {
		err := test.spec.Validate()
		var bad *SpecError
		if !errors.As(err, &bad) || bad.Field != test.field || bad.Reason == "" {
			t.Errorf("%+v: %v; want an error for %s", test.spec, err, test.field)
		}
	}
	if err := (&Spec{}).Validate(); err != nil {
		t.Errorf("the zero spec: %v", err)
	}
}

func TestResolve(t *testing.T) {
	s, also := (Spec{Skip: []string{"mount"}}).Resolve()
	if want := []string{"overlay", "proc", "dev", "root"}; !slices.Equal(also, want) {
		t.Errorf("with mount go %v, want %v", also, want)
	}
	if err := s.Validate(); err != nil {
		t.Errorf("what Resolve gave: %v", err)
	}
	skip, pulled := Only([]string{"proc"})
	if !slices.Equal(pulled, []string{"user", "mount", "pid"}) || slices.Contains(skip, "proc") || slices.Contains(skip, "time") {
		t.Errorf("only proc: skip %v, pulled in %v", skip, pulled)
	}
}

// TestSteps: each row of the table is enough to explain the step, and needs
// nothing that comes after it.
func TestSteps(t *testing.T) {
	for i, s := range Steps {
		if s.Summary == "" || s.Without == "" || s.Why == "" || s.Not == "" || s.Kernel == "" || len(s.Man) == 0 || len(s.Watch) == 0 || s.compile == nil {
			t.Errorf("%s: a field is empty", s.Name)
		}
		for _, n := range s.Needs {
			if k := slices.Index(StepNames(), n); k < 0 || k >= i {
				t.Errorf("%s needs %s, which does not come before it", s.Name, n)
			}
		}
	}
}
