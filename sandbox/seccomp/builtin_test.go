package seccomp

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	libseccomp "github.com/seccomp/libseccomp-golang"

	"github.com/sbx-dev/sbx/sandbox/filter"
)

// TestBuiltinIsCurrent compiles the built-in profiles and compares them with
// the programs that are checked in. Another version of libseccomp may arrange
// the same decisions in another way; then the decisions are compared.
func TestBuiltinIsCurrent(t *testing.T) {
	for _, arch := range filter.Arches() {
		source, err := os.ReadFile(filepath.Join("..", "filter", "zz_"+arch+"_programs.go"))
		if err != nil {
			t.Fatal(err)
		}
		sameLibrary := strings.Contains(string(source), "libseccomp "+LibraryVersion()+".\n")
		for _, name := range filter.Names() {
			t.Run(name+" "+arch, func(t *testing.T) {
				p, err := Builtin(name)
				if err != nil {
					t.Fatal(err)
				}
				fresh, err := p.Compile(Options{Arch: arch})
				if err != nil {
					t.Fatal(err)
				}
				checkedIn, ok := filter.Builtin(name, arch)
				if !ok {
					t.Fatal("not checked in")
				}
				if sameLibrary && !slices.Equal(fresh, checkedIn) {
					t.Errorf("the profile changed: run go generate in sandbox/filter")
				}
				t.Logf("%d instructions", len(checkedIn))
				compareWithReference(t, p, Options{Arch: arch}, fresh, 3000)
				compareWithReference(t, p, Options{Arch: arch}, checkedIn, 3000)
			})
		}
	}
}

// TestBuiltinNamesEveryCall makes sure that nothing is refused by mere
// oversight: each call of the tables has a rule, so each refusal has a reason.
func TestBuiltinNamesEveryCall(t *testing.T) {
	for _, name := range filter.Names() {
		p, err := Builtin(name)
		if err != nil {
			t.Fatal(err)
		}
		for i, r := range p.Syscalls {
			if r.Comment == "" {
				t.Errorf("%s: %s has no comment", name, where(i, ""))
			}
		}
		for _, arch := range filter.Arches() {
			for _, call := range filter.CallNames(arch) {
				if !slices.ContainsFunc(p.Syscalls, func(r Rule) bool { return slices.Contains(r.names(), call) }) {
					t.Errorf("%s: no rule names %s of %s", name, call, arch)
				}
			}
		}
	}
	if _, err := Builtin("other"); err == nil {
		t.Error("a profile that does not exist")
	}
}

// TestIntArguments makes sure that the table speaks of calls that exist.
func TestIntArguments(t *testing.T) {
	for call, bits := range intArgs {
		if err := existsSomewhere(call); err != nil || bits == 0 || bits >= 1<<6 {
			t.Errorf("%s: %#b, %v", call, bits, err)
		}
	}
	for _, p := range []string{"default", "strict", "owners"} {
		profile, err := Builtin(p)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range profile.Syscalls {
			for _, a := range r.Args {
				for _, call := range r.names() {
					if !isInt(call, a.Index) {
						t.Errorf("%s: argument %d of %s is compared, but not in the table", p, a.Index, call)
					}
				}
			}
		}
	}
}

// TestTablesAgreeWithLibseccomp compares the tables, which come from Go's
// x/sys, with libseccomp's, which come from the kernel by another way.
func TestTablesAgreeWithLibseccomp(t *testing.T) {
	compared := 0
	for _, arch := range filter.Arches() {
		target, err := libseccomp.GetArchFromString(arch)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range filter.CallNames(arch) {
			nr, _ := filter.CallNumber(arch, name)
			theirs, err := libseccomp.GetSyscallFromNameByArch(name, target)
			if err != nil {
				continue // newer than the library
			}
			compared++
			if int32(theirs) != nr {
				t.Errorf("%s: %s is %d, libseccomp says %d", arch, name, nr, int32(theirs))
			}
		}
	}
	if compared < 600 {
		t.Errorf("only %d calls compared", compared)
	}
}
