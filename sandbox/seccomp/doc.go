// Package seccomp turns a seccomp profile, in the JSON format that Docker,
// Podman and the OCI runtime specification share, into a program of package
// filter. It is the only package that links libseccomp, and with it cgo; what
// starts a sandbox never imports it.
//
//	profile, err := seccomp.Parse(raw)
//	program, err := profile.Compile(seccomp.Options{Arch: "arm64"})
//
// The built-in profiles are the files of the folder profiles, with the reason
// for every rule in its comment. Their programs are compiled beforehand and
// checked in (package filter); a test here compiles them again and compares.
//
// What differs from other runtimes, always to the strict side:
//
//   - An argument that the kernel takes as an int is compared by its low 32
//     bits, whatever the operator: the upper half is the caller's to choose and
//     the kernel does not look at it (CVE-2019-7303).
//   - Only the target's own calling convention can pass. Architectures that a
//     profile adds to it (i386 and x32 beside amd64, arm beside arm64) are
//     killed, since they multiply the numbers to get right. A profile whose
//     default is SCMP_ACT_LOG refuses nothing, so there they are logged.
//   - Where a call has a rule without conditions and rules with conditions, the
//     ones with conditions are the exceptions and go first. libseccomp alone
//     drops them silently. Rules that contradict each other are an error.
//   - Unknown fields, operators, calls and keys given twice are errors.
//   - As runc does, a profile whose default is SCMP_ACT_ERRNO answers ENOSYS to
//     calls that are newer than the newest that it names, so that the C library
//     falls back to an older call instead of giving up.
package seccomp
