package classroom

import (
	"fmt"
	"slices"

	"github.com/sbx-dev/sbx/sandbox"
)

// Protected are the steps that nobody on another machine can switch off: without
// one of them a run has the server's files or the rights of its user.
var Protected = []string{"user", "mount", "root", "caps", "nnp"}

// Guarding are the steps that stay on for other machines unless the teacher
// allows it: they keep the server's processes, network, secrets, terminals
// (/dev/pts) and shared memory from the runs, and most of the kernel's calls.
var Guarding = []string{"env", "fds", "pid", "ipc", "net", "proc", "dev", "session", "rlimits", "seccomp"}

// clamp says what a browser may ask for.
type clamp struct {
	remote bool
	allow  []string // of Guarding
}

// newClamp checks what the teacher allows: steps, or "all" for all of Guarding.
func newClamp(remote bool, allow []string) (clamp, error) {
	if slices.Contains(allow, "all") {
		return clamp{remote: remote, allow: Guarding}, nil
	}
	for _, name := range allow {
		switch {
		case slices.Contains(Protected, name):
			return clamp{}, fmt.Errorf("the step %s protects this machine from the class and cannot be allowed off", name)
		case sandbox.LookupStep(name) == nil:
			return clamp{}, fmt.Errorf("no step is called %q", name)
		}
	}
	return clamp{remote: remote, allow: allow}, nil
}

// locked is why a step cannot be switched off, "" where it can.
func (c clamp) locked(step string) string {
	switch {
	case !c.remote:
		return ""
	case slices.Contains(Protected, step):
		return "it protects the machine that you all use; on your own machine sbx classroom can switch it off"
	case slices.Contains(Guarding, step) && !slices.Contains(c.allow, step):
		return "it keeps the server and its account apart from the runs; your teacher can allow it, and on your own machine sbx classroom can"
	}
	return ""
}

// off checks a list of steps to be left out, with what they take along.
func (c clamp) off(steps []string) error {
	for _, name := range steps {
		if sandbox.LookupStep(name) == nil {
			return &refusal{"no step is called “" + name + "”"}
		}
	}
	spec, _ := sandbox.Spec{Skip: steps}.Resolve()
	for _, name := range spec.Skip {
		if why := c.locked(name); why != "" {
			return &refusal{"the step " + name + " stays on here: " + why}
		}
	}
	return nil
}

// refusal is what a browser asked for and does not get.
type refusal struct{ text string }

func (r *refusal) Error() string { return r.text }
