package seccomp

import (
	"fmt"
	"io"
	"os"

	libseccomp "github.com/seccomp/libseccomp-golang"
	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox/filter"
)

// LibraryVersion is the version of libseccomp that is linked, such as 2.5.4.
func LibraryVersion() string {
	major, minor, micro := libseccomp.GetLibraryVersion()
	return fmt.Sprintf("%d.%d.%d", major, minor, micro)
}

// build lets libseccomp compile rules into a program for one architecture.
// fallback is for calls without a rule, foreign for other architectures and
// x32.
func build(arch string, fallback, foreign filter.Action, rules []scmpRule) (filter.Program, error) {
	f, err := newFilter(arch, fallback, foreign)
	if err != nil {
		return nil, err
	}
	defer f.Release()
	for _, r := range rules {
		conditions, err := scmpConditions(r.tests)
		if err != nil {
			return nil, fmt.Errorf("%s: libseccomp: %w", r.name, err)
		}
		action, err := scmpAction(r.action)
		if err != nil {
			return nil, err
		}
		if len(conditions) == 0 {
			err = f.AddRule(r.call, action)
		} else {
			err = f.AddRuleConditional(r.call, action, conditions)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: libseccomp: %w", r.name, err)
		}
	}
	return export(f)
}

// newFilter is an empty filter for the architecture, which need not be the
// host's, and only for it.
func newFilter(arch string, fallback, foreign filter.Action) (*libseccomp.ScmpFilter, error) {
	defaultAction, err := scmpAction(fallback)
	if err != nil {
		return nil, err
	}
	foreignAction, err := scmpAction(foreign)
	if err != nil {
		return nil, err
	}
	f, err := libseccomp.NewFilter(defaultAction)
	if err != nil {
		return nil, fmt.Errorf("libseccomp: %w", err)
	}
	err = func() error {
		target, err := libseccomp.GetArchFromString(arch)
		if err != nil {
			return err
		}
		native, err := libseccomp.GetNativeArch()
		if err != nil {
			return err
		}
		if target != native {
			if err := f.AddArch(target); err != nil {
				return err
			}
			if err := f.RemoveArch(native); err != nil {
				return err
			}
		}
		// A binary tree over the numbers: the cost of a call does not depend
		// on its place in a list of 350.
		if err := f.SetOptimize(2); err != nil {
			return err
		}
		return f.SetBadArchAction(foreignAction)
	}()
	if err != nil {
		f.Release()
		return nil, fmt.Errorf("libseccomp: %w", err)
	}
	return f, nil
}

// export gets the program out of libseccomp through a memfd: its export to
// memory came with 2.6.
func export(f *libseccomp.ScmpFilter) (filter.Program, error) {
	fd, err := unix.MemfdCreate("seccomp", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	file := os.NewFile(uintptr(fd), "seccomp")
	defer file.Close()
	if err := f.ExportBPF(file); err != nil {
		return nil, fmt.Errorf("libseccomp: export: %w", err)
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	raw, err := io.ReadAll(file)
	if err != nil {
		return nil, err
	}
	return filter.Parse(raw)
}

// scmpAction is an action in libseccomp's words.
func scmpAction(a filter.Action) (libseccomp.ScmpAction, error) {
	switch a.Kind() {
	case filter.KillProcess:
		return libseccomp.ActKillProcess, nil
	case filter.KillThread:
		return libseccomp.ActKillThread, nil
	case filter.Trap:
		return libseccomp.ActTrap, nil
	case filter.Errno:
		return libseccomp.ActErrno.SetReturnCode(int16(a.Data())), nil
	case filter.UserNotif:
		return libseccomp.ActNotify, nil
	case filter.Trace:
		return libseccomp.ActTrace.SetReturnCode(int16(a.Data())), nil
	case filter.Log:
		return libseccomp.ActLog, nil
	case filter.Allow:
		return libseccomp.ActAllow, nil
	}
	return libseccomp.ActInvalid, fmt.Errorf("action %v has no name in libseccomp", a)
}

// scmpConditions are tests in libseccomp's words.
func scmpConditions(tests []test) ([]libseccomp.ScmpCondition, error) {
	ops := map[string]libseccomp.ScmpCompareOp{
		"SCMP_CMP_NE":        libseccomp.CompareNotEqual,
		"SCMP_CMP_LT":        libseccomp.CompareLess,
		"SCMP_CMP_LE":        libseccomp.CompareLessOrEqual,
		"SCMP_CMP_EQ":        libseccomp.CompareEqual,
		"SCMP_CMP_GE":        libseccomp.CompareGreaterEqual,
		"SCMP_CMP_GT":        libseccomp.CompareGreater,
		"SCMP_CMP_MASKED_EQ": libseccomp.CompareMaskedEqual,
	}
	var out []libseccomp.ScmpCondition
	for _, t := range tests {
		values := []uint64{t.value}
		if t.op == "SCMP_CMP_MASKED_EQ" {
			values = []uint64{t.mask, t.value}
		}
		c, err := libseccomp.MakeCondition(t.arg, ops[t.op], values...)
		if err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	return out, nil
}
