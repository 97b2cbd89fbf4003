// Package filter holds seccomp filters as data: it reads, checks, prints and
// runs them, and it carries the programs of the built-in profiles.
//
// A seccomp filter is a program of the classic BPF machine. The kernel runs it
// before every system call of a process, on the 64 bytes of struct seccomp_data
// (the call's number, the CPU architecture, the six arguments), and does what
// the returned number says: let the call pass, answer with an errno, kill. The
// program cannot loop, since jumps only go forward, and it cannot follow a
// pointer, so it never sees a path or a structure. See seccomp(2) and the
// kernel's Documentation/userspace-api/seccomp_filter.rst.
//
//	p, _ := filter.Builtin("default", "amd64")
//	fmt.Print(p)                       // the listing, calls by name
//	a, _ := p.Run(filter.Data{Nr: 165, Arch: 0xc000003e})
//	fmt.Println(a)                     // ERRNO(EPERM): 165 is mount(2)
//
// Nothing here compiles a profile: package seccomp does that with libseccomp
// and cgo, at another time and in another process. What starts a sandbox links
// only this package, whose programs and tables need no initialisation.
package filter

// The first line reads the numbers of the calls out of golang.org/x/sys, the
// second compiles the profiles with them: the order matters.
//
//go:generate go run ../../cmd/sbx-seccomp generate calls .
//go:generate go run ../../cmd/sbx-seccomp generate programs .
