package sandbox

import (
	"encoding/binary"
	"path"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox/filter"
)

// judgeSIGSYS says what can be known of a SIGSYS that ended CMD. The call that
// it was for is not among that: the kernel tells its number to the process that
// dies, to a tracer and to its log, which only root reads (docs/adr/0019). What
// the filter ends a process for at all can be read from the filter, though.
func (c *Cmd) judgeSIGSYS(r *Result) {
	if c.Spec.Skips("seccomp") {
		r.Verdict, r.Step = VerdictSignaled, ""
		r.Evidence = "SIGSYS, and not from a filter of sbx: the step seccomp is skipped"
		return
	}
	k := &clues{cmd: c, host: c.host(), err: &Error{Step: "exec", Call: "execve"}}
	on, _ := k.program()
	if machine := foreignMachine(k.head(on)); on != "" && machine != "" && c.Spec.Seccomp != "log" {
		r.Evidence = "SIGSYS: it is a program for " + machine + ", and the filter ends calls of another architecture"
		return
	}
	program, err := (&compiler{spec: &c.Spec, feat: &Features{Host: k.host, Arch: runtime.GOARCH}}).filter()
	if err != nil {
		return // a profile that is gone by now
	}
	killed, other := killing(program, runtime.GOARCH)
	const few = 8
	switch {
	case len(killed) == 0:
		r.Evidence = "SIGSYS: the filter ends nothing but calls of another architecture, as 32-bit programs make them, unless CMD sent it to itself"
	case len(killed) <= few:
		r.Evidence = "SIGSYS: the filter ends a process for " + strings.Join(killed, ", ")
	case other <= few:
		r.Evidence = "SIGSYS: the filter ends a process for every call but " + strconv.Itoa(other)
	default:
		r.Evidence = "SIGSYS: the filter ends a process for " + strconv.Itoa(len(killed)) + " of its calls, " + strings.Join(killed[:few], ", ") + " among them"
	}
}

// killing are the calls of an architecture that a filter answers with SIGSYS,
// by name, and how many it answers otherwise. A rule that looks at arguments is
// asked with none and with every bit set.
func killing(p filter.Program, arch string) (names []string, other int) {
	token, _ := filter.Arch(arch)
	for _, name := range filter.CallNames(arch) {
		nr, _ := filter.CallNumber(arch, name)
		kills := false
		for _, bits := range [...]uint64{0, ^uint64(0)} {
			d := filter.Data{Nr: nr, Arch: token, Args: [6]uint64{bits, bits, bits, bits, bits, bits}}
			if a, err := p.Run(d); err == nil {
				kind := a.Kind()
				kills = kills || kind == filter.KillProcess || kind == filter.KillThread || kind == filter.Trap
			}
		}
		if kills {
			names = append(names, name)
		} else {
			other++
		}
	}
	return names, other
}

// foreignMachine is what an ELF file is for, where that is not this process'
// architecture: "" for one of its own, and for what is no ELF file.
func foreignMachine(head []byte) string {
	if len(head) < 20 || string(head[:4]) != "\x7fELF" {
		return ""
	}
	machine := int(binary.LittleEndian.Uint16(head[18:]))
	if own := map[string]int{"amd64": 62, "arm64": 183}[runtime.GOARCH]; machine == own {
		return ""
	}
	return machineName(machine)
}

// browsers are programs of Chromium's kind by the name of their file: each
// makes a sandbox of its own from user namespaces, and crashes on purpose where
// it cannot.
var browsers = [...]string{
	"chromium", "chromium-browser", "chrome", "google-chrome", "google-chrome-stable", "chrome-headless-shell", "headless_shell",
	"electron", "msedge", "microsoft-edge", "brave", "brave-browser", "vivaldi", "opera",
}

// OwnSandboxRefused says whether CMD is of Chromium's kind and crashed as those
// do that get no sandbox of their own: a trap instruction (SIGTRAP, SIGILL) or
// abort, while the sandbox refuses further user namespaces, and without
// --no-sandbox. It is to be asked after Wait.
func (c *Cmd) OwnSandboxRefused() bool {
	r := c.Result
	if r == nil || len(c.Spec.Args) == 0 || c.Spec.AllowNesting || c.Spec.Skips("user") && c.Spec.Skips("seccomp") {
		return false
	}
	switch r.Signal {
	case unix.SIGTRAP, unix.SIGILL, unix.SIGABRT:
	default:
		return false
	}
	name := path.Base(c.Spec.Args[0])
	return slices.Contains(browsers[:], name) && !slices.Contains(c.Spec.Args, "--no-sandbox")
}
