// Package sandbox runs an untrusted command isolated, as a normal user: no
// privilege, no daemon, no setuid program.
//
// Isolation is a list of steps, a step is a list of system calls, and a list
// can be printed, shortened, paused and compared:
//
//	Spec  ──Compile──▶  Plan  ──Cmd──▶  process  ──observe──▶  View
//	what you want       the exact       the sandbox            what changed
//	                    calls
//
// A [Spec] is data; its zero value is fully isolated. [Steps] is the table of
// all isolation measures in the order in which they are made, and each can be
// left out (Spec.Skip). [Compile] turns a spec into a [Plan], the flat list of
// calls, without asking the host for anything but [Features]. A [Cmd] launches
// the plan and is used like os/exec's:
//
//	cmd := sandbox.Command("go", "test", "./...")
//	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
//	err := cmd.Run()
//
// The plan runs in a child that never enters the Go runtime again, so a program
// that imports this package needs no hook at its start and is not executed a
// second time. Package observe looks at the result from outside.
//
// # What CMD sees
//
// The host's programs and their data (/usr, /etc, /opt …) read-only, but for an
// /opt that the caller may write, which is copy on write; the
// caller's working folder copy on write; an empty HOME, /tmp and /run in
// memory; of the hidden home the tools that PATH or CMD leads to ([Tool]), copy
// on write and without their credentials; its own /proc and /dev. Nothing that it writes reaches the host
// unless a [Mount] of kind [BindRW] says so. Files of other owners than the
// caller cannot be changed even in the copy: an id map of one id leaves the
// kernel no owner to give the copy to (EOVERFLOW, EACCES).
//
// # What it does not protect against
//
// An error in the kernel, and side channels of the processor. What the spec
// shows on purpose. Using up the machine, beyond the limits that are set:
// memory as a whole is limited only where a cgroup can be had. And a passed
// descriptor allows what it allows: a file opened for writing can be written,
// fchmod(2) and futimens(2) work on any, and a terminal can be read from and
// set, even one that is passed for the output alone.
package sandbox
