package seccomp

import (
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"strings"

	libseccomp "github.com/seccomp/libseccomp-golang"

	"github.com/sbx-dev/sbx/sandbox/filter"
)

// Options say what a profile is compiled for.
type Options struct {
	Arch         string   // Go's word, amd64 or arm64; "" means the host's
	Capabilities []string // CAP_… names that the program will have, for includes and excludes
	Kernel       string   // such as 6.1, for minKernel; "" means the running one
}

// version is a kernel's version.
type version struct{ major, minor int }

// parseKernel reads a version such as 4.8.
func parseKernel(s string) (version, error) {
	first, second, ok := strings.Cut(s, ".")
	major, err1 := strconv.Atoi(first)
	minor, err2 := strconv.Atoi(second)
	if !ok || err1 != nil || err2 != nil || major < 0 || minor < 0 {
		return version{}, fmt.Errorf("%q is no kernel version such as 4.8", s)
	}
	return version{major, minor}, nil
}

// atLeast compares two versions.
func (v version) atLeast(w version) bool {
	return v.major > w.major || v.major == w.major && v.minor >= w.minor
}

// target is Options with everything found out.
type target struct {
	arch   string
	caps   []string
	kernel version
}

// resolve fills in what the options leave open.
func (o Options) resolve() (target, error) {
	t := target{arch: o.Arch, caps: o.Capabilities}
	if t.arch == "" {
		t.arch = runtime.GOARCH
	}
	if _, ok := filter.Arch(t.arch); !ok {
		return t, fmt.Errorf("architecture %q is none of %s", t.arch, strings.Join(filter.Arches(), ", "))
	}
	var err error
	if o.Kernel != "" {
		t.kernel, err = parseKernel(o.Kernel)
	} else {
		t.kernel.major, t.kernel.minor, err = filter.Kernel()
	}
	return t, err
}

// scmpArch is the OCI's and libseccomp's word for an architecture.
func scmpArch(arch string) string {
	return map[string]string{"amd64": "SCMP_ARCH_X86_64", "arm64": "SCMP_ARCH_AARCH64"}[arch]
}

// isFor says whether the profile may be compiled for the architecture.
func (p *Profile) isFor(arch string) bool {
	if len(p.Architectures) == 0 && len(p.ArchMap) == 0 {
		return true
	}
	if slices.Contains(p.Architectures, scmpArch(arch)) {
		return true
	}
	return slices.ContainsFunc(p.ArchMap, func(a Architecture) bool { return a.Architecture == scmpArch(arch) })
}

// counts says whether the rule is in force for the target. All parts of
// includes must hold; any part of excludes takes the rule out. Several
// architectures are alternatives, several capabilities are not, as in Docker.
func (r *Rule) counts(t target) bool {
	if in := r.Includes; in != nil {
		if len(in.Arches) > 0 && !slices.Contains(in.Arches, t.arch) {
			return false
		}
		for _, c := range in.Caps {
			if !slices.Contains(t.caps, c) {
				return false
			}
		}
		if in.MinKernel != "" && !t.kernel.atLeast(mustKernel(in.MinKernel)) {
			return false
		}
	}
	if ex := r.Excludes; ex != nil {
		if slices.Contains(ex.Arches, t.arch) {
			return false
		}
		for _, c := range ex.Caps {
			if slices.Contains(t.caps, c) {
				return false
			}
		}
		if ex.MinKernel != "" && t.kernel.atLeast(mustKernel(ex.MinKernel)) {
			return false
		}
	}
	return true
}

// mustKernel reads a version that check has accepted.
func mustKernel(s string) version {
	v, err := parseKernel(s)
	if err != nil {
		panic(err)
	}
	return v
}

// callRules are all rules of one call.
type callRules struct {
	nr    int32
	name  string
	plain []filter.Action // of rules without conditions
	cases []callCase      // of rules with conditions
}

// callCase is one rule with conditions.
type callCase struct {
	action filter.Action
	args   []Arg
	field  string // for errors: syscalls[3]
}

// select gives the rules of each call that the target has, by rising number. A
// call that exists on other architectures only is left out; one that exists
// nowhere is an error.
func (p *Profile) selectRules(t target) ([]callRules, error) {
	byNr := map[int32]*callRules{}
	for i := range p.Syscalls {
		r := &p.Syscalls[i]
		action, err := r.action()
		if err != nil {
			return nil, fmt.Errorf("%s%w", where(i, "."), err)
		}
		for j, name := range r.names() {
			nr, ok := filter.CallNumber(t.arch, name)
			if !ok {
				if err := existsSomewhere(name); err != nil {
					return nil, fmt.Errorf("%s: %w", where(i, ".names["+strconv.Itoa(j)+"]"), err)
				}
				continue
			}
			if !r.counts(t) {
				continue
			}
			c := byNr[nr]
			if c == nil {
				c = &callRules{nr: nr, name: name}
				byNr[nr] = c
			}
			if len(r.Args) == 0 {
				c.plain = append(c.plain, action)
				continue
			}
			c.cases = append(c.cases, callCase{action, r.Args, where(i, "")})
		}
	}
	all := make([]callRules, 0, len(byNr))
	for _, c := range byNr {
		all = append(all, *c)
	}
	slices.SortFunc(all, func(a, b callRules) int { return int(a.nr) - int(b.nr) })
	for i := range all {
		if err := all[i].settle(); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// existsSomewhere refuses a name that neither a table nor libseccomp knows:
// most likely it is misspelt.
func existsSomewhere(name string) error {
	for _, arch := range filter.Arches() {
		if _, ok := filter.CallNumber(arch, name); ok {
			return nil
		}
	}
	// libseccomp knows the calls of all of its architectures, such as _llseek.
	if strings.ContainsRune(name, 0) {
		return fmt.Errorf("unknown system call %q", name)
	}
	if _, err := libseccomp.GetSyscallFromName(name); err != nil {
		return fmt.Errorf("unknown system call %q", name)
	}
	return nil
}

// settle drops rules that say the same and refuses those that contradict each
// other. Afterwards there is at most one plain rule.
func (c *callRules) settle() error {
	slices.Sort(c.plain)
	c.plain = slices.Compact(c.plain)
	if len(c.plain) > 1 {
		return fmt.Errorf("%s: one rule says %v, another %v", c.name, c.plain[0], c.plain[1])
	}
	for i, a := range c.cases {
		for _, b := range c.cases[:i] {
			if a.action != b.action && !disjoint(c.name, a.args, b.args) {
				return fmt.Errorf("%s of %s and %s may both hold for one call, but say %v and %v", c.name, b.field, a.field, b.action, a.action)
			}
		}
	}
	return nil
}
