package sandbox

import (
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox/filter"
)

var sysSeccomp = &sysno{unix.SYS_SECCOMP, "seccomp"}

// seccomp installs the filter: the last call before the program's own, because
// it refuses most of those above.
func (c *compiler) seccomp() error {
	program, err := c.filter()
	if err != nil {
		return err
	}
	insns := c.reserve(8 * len(program))
	for i, in := range program {
		at := c.data[insns+8*i:]
		putUint16(at, in.Code)
		at[2], at[3] = in.Jt, in.Jf
		putUint32(at[4:], in.K)
	}
	fprog := c.reserve(16) // struct sock_fprog: len, filter
	putUint16(c.data[fprog:], uint16(len(program)))
	c.pointer(fprog+8, insns)
	c.call(sysSeccomp, word(unix.SECCOMP_SET_MODE_FILTER, constant("SECCOMP_SET_MODE_FILTER")), integer(0), c.mem(fprog, filterText))
	return nil
}

func filterText(p *Plan, v uint64) string {
	return "{len=" + strconv.Itoa(int(p.data[v])|int(p.data[v+1])<<8) + "}"
}

// filter is the program of Spec.Seccomp for this architecture.
func (c *compiler) filter() (filter.Program, error) {
	name := c.spec.Seccomp
	if name == "" {
		name = "default"
	}
	if c.spec.AllowNesting {
		if name != "default" {
			return nil, &SpecError{Field: "AllowNesting", Reason: "brings its own filter; leave Seccomp empty"}
		}
		name = "nesting"
	}
	if name == fakeOwnersFilter {
		return nil, &SpecError{Field: "Seccomp", Reason: strconv.Quote(name) + " is the filter that FakeOwners brings"}
	}
	if c.spec.FakeOwners {
		name = fakeOwnersFilter
		c.note(fakeOwnersNote)
	}
	if program, ok := filter.Builtin(name, c.feat.Arch); ok {
		return program, nil
	}
	profile, err := c.feat.Host.ReadFile(name)
	if err != nil {
		return nil, &SpecError{Field: "Seccomp", Reason: "neither default, strict nor log, nor a profile that can be read: " + err.Error()}
	}
	program, err := filter.Cached(profile, c.feat.Arch)
	if err != nil {
		return nil, &StepError{
			Step: "seccomp", Reason: "the profile " + name + " is not compiled: " + err.Error(),
			Hint: "sbx-seccomp compile --cache " + name, Err: err,
		}
	}
	return program, nil
}
