package sandbox

import (
	"time"

	"golang.org/x/sys/unix"
)

// Result is how CMD ended, and what it used.
type Result struct {
	Version int    `json:"version"` // 1
	Verdict string `json:"verdict"` // one of the Verdict constants
	// Code is the exit code as a shell has it: CMD's own, or 128 plus the
	// number of the signal that ended it.
	Code   int         `json:"code"`
	Signal unix.Signal `json:"signal,omitempty"` // 0 where CMD exited
	// Step is the isolation step that the verdict is due to, or "".
	Step string `json:"step,omitempty"`
	// Evidence is what the verdict was read from.
	Evidence string        `json:"evidence,omitempty"`
	Wall     time.Duration `json:"wall_nanoseconds"`
	User     time.Duration `json:"user_nanoseconds"`   // CPU time of all waited-for processes
	System   time.Duration `json:"system_nanoseconds"` // the same, in the kernel
	MaxRSS   int64         `json:"max_rss"`            // bytes, of the largest process
	Skipped  []string      `json:"skipped,omitempty"`  // steps that were off
	Notes    []string      `json:"notes,omitempty"`    // what the plan had to tell
	Limits   []Limit       `json:"limits,omitempty"`
	Changes  []Change      `json:"changes,omitempty"` // with Spec.Changes
	// Appeared are the things that CMD made in a folder that it may write to
	// (BindRW) and that make the host run code.
	Appeared []Appeared `json:"appeared,omitempty"`
}

// Limit is a limit that was asked for, and who holds it.
type Limit struct {
	Name       string `json:"name"`
	Requested  string `json:"requested"`
	EnforcedBy string `json:"enforced_by"` // "rlimit", "watchdog", "tmpfs" or "not_enforced"
}

// The verdicts.
const (
	VerdictExited   = "exited"
	VerdictSignaled = "signaled"
	VerdictTimeout  = "timeout"      // Spec.Timeout passed
	VerdictCPU      = "cpu-time"     // SIGXCPU, or SIGKILL at the hard RLIMIT_CPU
	VerdictSeccomp  = "seccomp"      // SIGSYS, with the step seccomp on
	VerdictOutput   = "output"       // SIGXFSZ
	VerdictSetup    = "setup-failed" // nothing of CMD ran
)

// judge fills in the verdict from the wait status.
func (r *Result) judge(ws unix.WaitStatus, timedOut bool) {
	switch {
	case ws.Exited():
		r.Code, r.Verdict = ws.ExitStatus(), VerdictExited
	case ws.Signaled():
		r.Signal = ws.Signal()
		r.Code, r.Verdict = 128+int(r.Signal), VerdictSignaled
		switch r.Signal {
		case unix.SIGSYS:
			r.Verdict, r.Step, r.Evidence = VerdictSeccomp, "seccomp", "SIGSYS"
		case unix.SIGXCPU:
			r.Verdict, r.Step, r.Evidence = VerdictCPU, "rlimits", "SIGXCPU"
		case unix.SIGXFSZ:
			r.Verdict, r.Step, r.Evidence = VerdictOutput, "rlimits", "SIGXFSZ"
		}
	}
	if timedOut {
		r.Verdict, r.Code, r.Evidence = VerdictTimeout, 124, "the time given had passed"
	}
}

// use fills in what was consumed.
func (r *Result) use(ru *unix.Rusage) {
	r.User = time.Duration(ru.Utime.Nano())
	r.System = time.Duration(ru.Stime.Nano())
	r.MaxRSS = ru.Maxrss << 10
}
