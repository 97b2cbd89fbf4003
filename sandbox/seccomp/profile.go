package seccomp

import (
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox/filter"
)

// Profile is a seccomp profile as the JSON file has it. The names are those of
// the OCI runtime specification (config-linux.md, "Seccomp") and of Docker's
// and Podman's profiles, which add archMap, includes, excludes and comments.
type Profile struct {
	DefaultAction   string `json:"defaultAction"`             // SCMP_ACT_…, for calls without a rule
	DefaultErrnoRet *uint  `json:"defaultErrnoRet,omitempty"` // errno of SCMP_ACT_ERRNO; nil means EPERM
	DefaultErrno    string `json:"defaultErrno,omitempty"`    // Podman: the same by name

	Architectures []string       `json:"architectures,omitempty"` // SCMP_ARCH_…; empty means any
	ArchMap       []Architecture `json:"archMap,omitempty"`       // Docker: instead of architectures

	Flags            []string `json:"flags,omitempty"`            // only SECCOMP_FILTER_FLAG_TSYNC, which changes nothing here
	ListenerPath     string   `json:"listenerPath,omitempty"`     // refused: a program has no listener
	ListenerMetadata string   `json:"listenerMetadata,omitempty"` // refused

	Syscalls []Rule `json:"syscalls,omitempty"`
}

// Architecture names one that a profile is for, and those that Docker would
// let pass beside it.
type Architecture struct {
	Architecture     string   `json:"architecture"`
	SubArchitectures []string `json:"subArchitectures"` // read, and killed all the same
}

// Rule gives some calls an action, under conditions that must all hold.
type Rule struct {
	Name     string     `json:"name,omitempty"` // Docker's old form of one name
	Names    []string   `json:"names,omitempty"`
	Action   string     `json:"action"`
	ErrnoRet *uint      `json:"errnoRet,omitempty"` // errno, or message of SCMP_ACT_TRACE; nil means EPERM
	Errno    string     `json:"errno,omitempty"`    // Podman: the same by name
	Args     []Arg      `json:"args,omitempty"`
	Comment  string     `json:"comment,omitempty"`
	Includes *Condition `json:"includes,omitempty"` // the rule counts only if all of this holds
	Excludes *Condition `json:"excludes,omitempty"` // the rule does not count if any of this holds
}

// Arg compares one argument of a call.
type Arg struct {
	Index    uint   `json:"index"`    // 0 to 5
	Value    uint64 `json:"value"`    // for SCMP_CMP_MASKED_EQ the mask
	ValueTwo uint64 `json:"valueTwo"` // for SCMP_CMP_MASKED_EQ the value, else unused
	Op       string `json:"op"`
}

// Condition chooses rules when a profile is compiled.
type Condition struct {
	Arches    []string `json:"arches,omitempty"`    // Go's words
	Caps      []string `json:"caps,omitempty"`      // CAP_…
	MinKernel string   `json:"minKernel,omitempty"` // such as 4.8
}

// where is how an error names the rule with an index.
func where(i int, rest string) string { return "syscalls[" + strconv.Itoa(i) + "]" + rest }

// check makes sure that every word of the profile means something, whatever it
// is compiled for. The errors name the field.
func (p *Profile) check() error {
	if _, err := p.defaultAction(); err != nil {
		return err
	}
	for i, a := range p.Architectures {
		if !strings.HasPrefix(a, "SCMP_ARCH_") {
			return fmt.Errorf("architectures[%d]: %q is no SCMP_ARCH_… name", i, a)
		}
	}
	for i, a := range p.ArchMap {
		for _, name := range append([]string{a.Architecture}, a.SubArchitectures...) {
			if !strings.HasPrefix(name, "SCMP_ARCH_") {
				return fmt.Errorf("archMap[%d]: %q is no SCMP_ARCH_… name", i, name)
			}
		}
	}
	for i, f := range p.Flags {
		if f != "SECCOMP_FILTER_FLAG_TSYNC" {
			return fmt.Errorf("flags[%d]: %q belongs to the installing, not to the program", i, f)
		}
	}
	if p.ListenerPath != "" || p.ListenerMetadata != "" {
		return fmt.Errorf("listenerPath: a program has no listener")
	}
	for i, r := range p.Syscalls {
		if err := r.check(i); err != nil {
			return err
		}
	}
	return nil
}

// check makes sure that the rule with an index means something.
func (r *Rule) check(i int) error {
	if r.Name != "" && len(r.Names) > 0 {
		return fmt.Errorf("%s: name and names exclude each other", where(i, ""))
	}
	if len(r.names()) == 0 {
		return fmt.Errorf("%s: no call is named", where(i, ".names"))
	}
	if _, err := r.action(); err != nil {
		return fmt.Errorf("%s%w", where(i, "."), err)
	}
	seen := [6]bool{}
	for j, a := range r.Args {
		field := where(i, ".args["+strconv.Itoa(j)+"]")
		switch {
		case a.Index > 5:
			return fmt.Errorf("%s.index: %d is not 0 to 5", field, a.Index)
		case seen[a.Index]:
			return fmt.Errorf("%s.index: argument %d twice in one rule; libseccomp takes one condition an argument, so write two rules", field, a.Index)
		case !knownOp(a.Op):
			return fmt.Errorf("%s.op: %q is no SCMP_CMP_… operator", field, a.Op)
		}
		seen[a.Index] = true
	}
	for _, c := range []*Condition{r.Includes, r.Excludes} {
		if c == nil || c.MinKernel == "" {
			continue
		}
		if _, err := parseKernel(c.MinKernel); err != nil {
			return fmt.Errorf("%s: minKernel: %w", where(i, ""), err)
		}
	}
	return nil
}

// names are the calls of a rule, in both of Docker's forms.
func (r *Rule) names() []string {
	if r.Name != "" {
		return []string{r.Name}
	}
	return r.Names
}

// defaultAction is the action for calls without a rule.
func (p *Profile) defaultAction() (filter.Action, error) {
	return parseAction("defaultAction", p.DefaultAction, "defaultErrnoRet", p.DefaultErrnoRet, "defaultErrno", p.DefaultErrno)
}

// action is what the rule does.
func (r *Rule) action() (filter.Action, error) {
	return parseAction("action", r.Action, "errnoRet", r.ErrnoRet, "errno", r.Errno)
}

// maxErrno is the largest errno that libseccomp takes, one less than the kernel.
const maxErrno = filter.MaxErrno - 1

// parseAction reads an action and its errno, which may be given as a number, by
// name, or both if they agree. The error begins with the field's name.
func parseAction(field, name, numberField string, number *uint, errnoField, errno string) (filter.Action, error) {
	kinds := map[string]filter.Action{
		"SCMP_ACT_KILL":         filter.KillThread,
		"SCMP_ACT_KILL_THREAD":  filter.KillThread,
		"SCMP_ACT_KILL_PROCESS": filter.KillProcess,
		"SCMP_ACT_TRAP":         filter.Trap,
		"SCMP_ACT_ERRNO":        filter.Errno,
		"SCMP_ACT_NOTIFY":       filter.UserNotif,
		"SCMP_ACT_TRACE":        filter.Trace,
		"SCMP_ACT_LOG":          filter.Log,
		"SCMP_ACT_ALLOW":        filter.Allow,
	}
	kind, ok := kinds[name]
	if !ok {
		return 0, fmt.Errorf("%s: %q is no SCMP_ACT_… action", field, name)
	}
	if kind != filter.Errno && kind != filter.Trace {
		if number != nil || errno != "" {
			return 0, fmt.Errorf("%s: %s returns no errno", numberField, name)
		}
		return kind, nil
	}
	data := uint(unix.EPERM)
	if number != nil {
		data = *number
	}
	if errno != "" {
		named, ok := errnoByName(errno)
		if !ok {
			return 0, fmt.Errorf("%s: %q is no errno", errnoField, errno)
		}
		if number != nil && data != named {
			return 0, fmt.Errorf("%s: %s is %d, but %s says %d", errnoField, errno, named, numberField, data)
		}
		data = named
	}
	if data > maxErrno {
		return 0, fmt.Errorf("%s: %d is larger than the largest errno, %d", numberField, data, maxErrno)
	}
	return kind | filter.Action(data), nil
}

// errnoByName is the number of an errno such as ENOSYS.
func errnoByName(name string) (uint, bool) {
	for n := uint(1); n < 256; n++ {
		if unix.ErrnoName(unix.Errno(n)) == name {
			return n, true
		}
	}
	return 0, false
}
