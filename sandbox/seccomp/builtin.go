package seccomp

import (
	"embed"
	"fmt"
	"slices"

	"github.com/sbx-dev/sbx/sandbox/filter"
)

// profiles are the sources of the built-in profiles. Those of nesting
// and owners are only what differs from default, log has no source at all.
//
//go:embed profiles/*.json
var profiles embed.FS

// Builtin is the source of a built-in profile; filter.Names lists them.
func Builtin(name string) (*Profile, error) {
	switch name {
	case "default", "strict":
		return readBuiltin(name)
	case "nesting", "owners":
		base, err := readBuiltin("default")
		if err != nil {
			return nil, err
		}
		changes, err := readBuiltin(name)
		if err != nil {
			return nil, err
		}
		return base.replace(changes), nil
	case "log":
		base, err := readBuiltin("default")
		if err != nil {
			return nil, err
		}
		return base.logging()
	}
	return nil, fmt.Errorf("seccomp: %q is none of the built-in profiles %v", name, filter.Names())
}

func readBuiltin(name string) (*Profile, error) {
	raw, err := profiles.ReadFile("profiles/" + name + ".json")
	if err != nil {
		return nil, err
	}
	p, err := Parse(raw)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return p, nil
}

// replace is the profile with the rules of another for the calls that the other
// names: none of the rules that this profile has for these calls is left.
func (p *Profile) replace(changes *Profile) *Profile {
	out := *p
	out.Syscalls = nil
	changed := func(name string) bool {
		return slices.ContainsFunc(changes.Syscalls, func(r Rule) bool { return slices.Contains(r.names(), name) })
	}
	for _, r := range p.Syscalls {
		r.Names = slices.DeleteFunc(slices.Clone(r.names()), changed)
		r.Name = ""
		if len(r.Names) > 0 {
			out.Syscalls = append(out.Syscalls, r)
		}
	}
	out.Syscalls = append(out.Syscalls, changes.Syscalls...)
	return &out
}

// logging is the profile with everything that it refuses let pass and logged.
func (p *Profile) logging() (*Profile, error) {
	out := *p
	out.DefaultAction, out.DefaultErrnoRet, out.DefaultErrno = "SCMP_ACT_LOG", nil, ""
	out.Syscalls = slices.Clone(p.Syscalls)
	for i := range out.Syscalls {
		r := &out.Syscalls[i]
		action, err := r.action()
		if err != nil {
			return nil, fmt.Errorf("%s%w", where(i, "."), err)
		}
		if !action.Passes() {
			r.Action, r.ErrnoRet, r.Errno = "SCMP_ACT_LOG", nil, ""
		}
	}
	return &out, nil
}
