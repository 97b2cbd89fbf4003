package cli

import (
	"strings"

	"github.com/sbx-dev/sbx/sandbox"
)

// profileNames lists the built-in profiles.
var profileNames = []string{"default", "strict", "teaching", "ci", "nested"}

// applyProfile makes the edits of a profile; the flags come after it. The empty
// name is the default, which edits nothing.
func applyProfile(s *sandbox.Spec, name string) error {
	switch name {
	case "", "default":
	case "strict":
		// Less of everything, and nothing that degrades.
		s.Seccomp = "strict"
		s.OnlyDir = true
		s.Require = []string{"landlock"}
		s.Rlimits = []sandbox.Rlimit{{Name: "nproc", Soft: 256, Hard: 256}, {Name: "nofile", Soft: 256, Hard: 256}}
	case "teaching":
		// Root inside who may mount, make namespaces and rename the host: what
		// a step does is seen best where no other step refuses it.
		root := 0
		s.User.UID = &root
		s.CapAdd = []string{"ALL"}
		s.Skip = []string{"landlock", "seccomp"}
	case "ci":
		// Runners are containers: an outer one masks /proc, has an overlay as
		// its root already, and may have no Landlock.
		s.Optional = []string{"overlay", "proc", "cgroup"}
		s.Env = []string{"CI=true"}
	case "nested":
		// What is left where no namespace can be made.
		s.Skip = append([]string{"user"}, sandbox.Dependents("user")...)
	default:
		if strings.ContainsAny(name, "/.") {
			return &usageError{
				msg:  "--profile " + name + ": profiles in files are not in this version",
				hint: "profiles: " + strings.Join(profileNames, " "),
			}
		}
		hint := "profiles: " + strings.Join(profileNames, " ")
		if near := nearest(name, profileNames); near != "" {
			hint = "did you mean " + near + "?"
		}
		return &usageError{msg: "no profile is called " + quoted(name), hint: hint}
	}
	return nil
}
