package lessons

import (
	"slices"
	"strconv"
	"strings"

	"github.com/sbx-dev/sbx/sandbox"
)

// privilegeFacts ask what CMD may do.
func privilegeFacts() []fact {
	return []fact{
		{
			name: "cap", args: "CAP_NAME", least: 1, most: 1,
			help: "the capability is in CMD's effective set",
			say:  says("CMD holds {}", "CMD does not hold {}"),
			look: seen(func(o *Observation, args []string) (found, error) {
				return is(slices.Contains(o.View.Capabilities.Effective, args[0]), capText(o))
			}),
		},
		{
			name: "nocaps", least: 0, most: 0,
			help: "CMD's effective and bounding sets are empty",
			say:  says("CMD holds no capability, and can gain none", "CMD holds capabilities"),
			look: seen(func(o *Observation, _ []string) (found, error) {
				c := o.View.Capabilities
				return is(len(c.Effective)+len(c.Permitted)+len(c.Bounding) == 0, capText(o))
			}),
		},
		{
			name: "onlycaps", args: "CAP_NAME…", least: 1, most: -1,
			help: "CMD's effective set is exactly this",
			say:  says("CMD holds {} and no other capability", "CMD does not hold exactly {}"),
			look: seen(func(o *Observation, args []string) (found, error) {
				got := slices.Sorted(slices.Values(o.View.Capabilities.Effective))
				return is(slices.Equal(got, slices.Sorted(slices.Values(args))), capText(o))
			}),
		},
		{
			name: "env", args: "NAME", least: 1, most: 1,
			help: "the variable is in CMD's environment as execve(2) gave it",
			say:  says("CMD gets the variable {}", "CMD does not get the variable {}"),
			look: seen(func(o *Observation, args []string) (found, error) {
				var names []string
				for _, v := range o.View.Environment {
					names = append(names, v.Name)
				}
				slices.Sort(names)
				return is(slices.Contains(names, args[0]), "CMD gets "+strings.Join(names, ", "))
			}),
		},
		{
			name: "open", args: "N", least: 1, most: 1,
			help: "CMD begins with the descriptor open",
			say:  says("CMD has descriptor {}", "CMD does not have descriptor {}"),
			look: seen(func(o *Observation, args []string) (found, error) {
				var numbers []string
				for _, f := range o.View.FDs {
					numbers = append(numbers, strconv.Itoa(f.FD))
				}
				return is(slices.Contains(numbers, args[0]), "CMD has the descriptors "+strings.Join(numbers, ", "))
			}),
		},
		{
			name: "nnp", least: 0, most: 0,
			help: "no_new_privs is set",
			say:  says("no_new_privs is 1", "no_new_privs is 0"),
			look: seen(func(o *Observation, _ []string) (found, error) {
				n := "0"
				if o.View.NoNewPrivileges {
					n = "1"
				}
				return is(o.View.NoNewPrivileges, "no_new_privs is "+n)
			}),
		},
		{
			name: "filtered", least: 0, most: 0,
			help: "CMD runs behind a seccomp filter",
			say:  says("CMD runs behind a seccomp filter", "CMD runs without a seccomp filter"),
			look: seen(func(o *Observation, _ []string) (found, error) {
				return is(o.View.Seccomp.Mode == "filter", "seccomp is "+o.View.Seccomp.Mode)
			}),
		},
		{
			name: "rlimit", args: "NAME VALUE", least: 2, most: 2,
			help: "the soft limit, such as nproc, is at most VALUE",
			say:  says("the limit {} holds", "the limit {} does not hold"),
			look: seen(func(o *Observation, args []string) (found, error) {
				want, err := strconv.ParseUint(args[1], 10, 64)
				if err != nil {
					return found{}, err
				}
				for _, l := range o.View.Rlimits {
					if strings.EqualFold(strings.TrimPrefix(l.Name, "RLIMIT_"), args[0]) {
						return is(uint64(l.Soft) <= want, args[0]+" is "+l.Soft.String())
					}
				}
				return unknown("the kernel does not show the limit " + args[0])
			}),
		},
		{
			name: "limit", args: "NAME WHO", least: 2, most: 2,
			help: "the report says that WHO enforces the limit: rlimit, watchdog, tmpfs or not_enforced",
			say: func(args []string, not bool) string {
				return says("the limit "+args[0]+" is enforced by "+args[1], "no limit "+args[0]+" is enforced by "+args[1])(nil, not)
			},
			look: func(o *Observation, args []string) (found, error) {
				var all []string
				holds := false
				for _, l := range o.Result.Limits {
					all = append(all, l.Name+" by "+l.EnforcedBy)
					holds = holds || l.Name == args[0] && l.EnforcedBy == args[1]
				}
				if len(all) == 0 {
					return is(false, "no limit was asked for")
				}
				return is(holds, "the limits that were asked for: "+strings.Join(all, ", "))
			},
		},
		{
			name: "step", args: "NAME", least: 1, most: 1,
			help: "the step is on",
			say:  says("the step {} is on", "the step {} is off"),
			look: func(o *Observation, args []string) (found, error) {
				if o.Result.Verdict == "" || o.Result.Verdict == sandbox.VerdictSetup {
					return unknown("no sandbox was made")
				}
				off := "none"
				if len(o.Result.Skipped) > 0 {
					off = strings.Join(o.Result.Skipped, ", ")
				}
				return is(!slices.Contains(o.Result.Skipped, args[0]), "steps that are off: "+off)
			},
		},
		{
			name: "flag", args: "WORD", least: 1, most: 1,
			help: "the line has this flag",
			say:  says("the line has {}", "the line does not have {}"),
			look: func(o *Observation, args []string) (found, error) {
				has := slices.ContainsFunc(o.Line.Flags, func(f string) bool {
					return f == args[0] || strings.HasPrefix(f, args[0]+"=")
				})
				return is(has, "the flags are "+strings.Join(o.Line.Flags, " "))
			},
		},
		{
			name: "named", least: 0, most: 0,
			help: "the answer is the step that is secretly off",
			say:  says("it is the step that is off", "it is not the step that is off"),
			look: func(o *Observation, _ []string) (found, error) {
				if sandbox.LookupStep(o.answer) == nil {
					return is(false, quoted(o.answer)+" is the name of no step: sbx explain lists them")
				}
				return is(o.answer == o.secret, o.answer+" is on in this box")
			},
		},
		{
			name: "answered", args: "WORD", least: 1, most: 1,
			help: "the answer is this word; for hints of a lesson with secrets",
			say:  says("the answer is {}", "the answer is not {}"),
			look: func(o *Observation, args []string) (found, error) {
				return is(o.answer == args[0], "the answer is "+quoted(o.answer))
			},
		},
	}
}

func capText(o *Observation) string {
	n := len(o.View.Capabilities.Effective)
	switch {
	case n == 0 && len(o.View.Capabilities.Bounding) == 0:
		return "CMD holds no capability"
	case n == 0:
		return "CMD holds none, but can gain " + strconv.Itoa(len(o.View.Capabilities.Bounding))
	case n > 5:
		return "CMD holds " + strconv.Itoa(n) + " capabilities"
	}
	return "CMD holds " + strings.Join(o.View.Capabilities.Effective, ", ")
}

func quoted(s string) string { return "“" + s + "”" }
