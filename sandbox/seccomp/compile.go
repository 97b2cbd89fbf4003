package seccomp

import (
	"fmt"
	"runtime"

	libseccomp "github.com/seccomp/libseccomp-golang"

	"github.com/sbx-dev/sbx/sandbox/filter"
)

// Compile makes the program of the profile for one architecture and kernel. The
// errors name the rule. What comes out is valid (filter.Program.Validate) and
// consists of up to three parts, each of which goes on to the next where it has
// nothing to say:
//
//  1. the prologue, for what libseccomp cannot express: calls newer than the
//     profile, and calls newer than libseccomp;
//  2. the exceptions: rules with conditions of calls that have another rule
//     without;
//  3. everything else.
//
// The whole is then made compact.
func (p *Profile) Compile(o Options) (filter.Program, error) {
	if o.Arch == "" {
		o.Arch = runtime.GOARCH
	}
	program, err := p.assemble(o)
	if err != nil {
		return nil, fmt.Errorf("seccomp: %w", err)
	}
	return compact(program, o.Arch), nil
}

// assemble joins the parts, in the order in which they decide.
func (p *Profile) assemble(o Options) (filter.Program, error) {
	t, err := o.resolve()
	if err != nil {
		return nil, err
	}
	if !p.isFor(t.arch) {
		return nil, fmt.Errorf("architectures: the profile is not for %s", scmpArch(t.arch))
	}
	fallback, err := p.defaultAction()
	if err != nil {
		return nil, err
	}
	calls, err := p.selectRules(t)
	if err != nil {
		return nil, err
	}
	foreign := filter.KillProcess
	if fallback == filter.Log {
		foreign = filter.Log
	}
	rules, err := divide(calls, fallback)
	if err != nil {
		return nil, err
	}
	rest, err := build(t.arch, fallback, foreign, rules.rest)
	if err != nil {
		return nil, err
	}
	body := rest
	if len(rules.exceptions) > 0 {
		// An action that no rule has marks "nothing to say".
		undecided := unusedAction(rules.exceptions)
		first, err := build(t.arch, undecided, undecided, rules.exceptions)
		if err != nil {
			return nil, err
		}
		body = chain(first, undecided, rest)
	}
	prologue, err := makePrologue(t.arch, fallback, calls, rules.newer)
	if err != nil {
		return nil, err
	}
	program := append(prologue, body...)
	if err := program.Validate(); err != nil {
		return nil, err
	}
	return program, nil
}

// scmpRule is one rule as libseccomp takes it.
type scmpRule struct {
	name   string
	call   libseccomp.ScmpSyscall // number on the host's architecture
	action filter.Action
	tests  []test
}

// newerCall is a call that libseccomp does not know.
type newerCall struct {
	nr     int32
	action filter.Action
}

// parts are the rules by the part of the program that they go to.
type parts struct {
	exceptions, rest []scmpRule
	newer            []newerCall
}

// divide sorts the rules into the parts of the program. Rules that say what is
// done without them anyway are dropped, since libseccomp refuses them.
func divide(calls []callRules, fallback filter.Action) (parts, error) {
	var out parts
	for _, c := range calls {
		// libseccomp translates from the host's numbers to the target's.
		number, err := libseccomp.GetSyscallFromName(c.name)
		if err != nil {
			if len(c.cases) > 0 {
				return out, fmt.Errorf("%s: libseccomp %s does not know %s, so the rule cannot have conditions", c.cases[0].field, LibraryVersion(), c.name)
			}
			if c.plain[0] != fallback {
				out.newer = append(out.newer, newerCall{c.nr, c.plain[0]})
			}
			continue
		}
		plain := fallback
		if len(c.plain) > 0 {
			plain = c.plain[0]
		}
		if plain != fallback {
			out.rest = append(out.rest, scmpRule{c.name, number, plain, nil})
		}
		for _, k := range c.cases {
			if k.action == plain {
				continue
			}
			sets, err := expand(c.name, k.args)
			if err != nil {
				return out, fmt.Errorf("%s: %s: %w", k.field, c.name, err)
			}
			for _, tests := range sets {
				r := scmpRule{c.name, number, k.action, tests}
				if plain != fallback {
					out.exceptions = append(out.exceptions, r)
				} else {
					out.rest = append(out.rest, r)
				}
			}
		}
	}
	return out, nil
}

// unusedAction is an action that none of the rules has.
func unusedAction(rules []scmpRule) filter.Action {
	for a := filter.WithErrno(maxErrno); ; a-- {
		used := false
		for _, r := range rules {
			used = used || r.action == a
		}
		if !used {
			return a
		}
	}
}

// chain joins two programs: where first returns undecided, next decides.
func chain(first filter.Program, undecided filter.Action, next filter.Program) filter.Program {
	out := make(filter.Program, 0, len(first)+len(next))
	for pc, in := range first {
		if isReturn(in) && in.K == uint32(undecided) {
			in = jump(len(first) - pc - 1)
		}
		out = append(out, in)
	}
	return append(out, next...)
}
