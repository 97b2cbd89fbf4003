// Package nofile remembers the limit of open files (RLIMIT_NOFILE, getrlimit(2))
// with which the process was started.
//
// Go's package syscall raises the soft limit to the hard one as it is
// initialised, since Go has no use for select(2), whose sets hold 1024
// descriptors. It lowers it again for a program that os/exec starts, from a copy
// that nobody else can read. What is started by other means would inherit the
// raised limit: a program that closes every possible descriptor then takes
// seconds, and one that uses select writes beyond its sets.
//
// The limit can be read only before that. Go initialises packages in the order
// of their import paths, each once all that it imports is (the language's
// specification, "Program initialization"): so this package, which imports
// nothing, comes before syscall, which imports a dozen. A test holds it to that.
package nofile

var soft, hard = limit()

// Original is the limit at the start of the process, soft and hard. Both are 0
// where it could not be read.
func Original() (atStartSoft, atStartHard uint64) { return soft, hard }

// limit makes the call, in assembler since every package that can is initialised
// too late.
func limit() (soft, hard uint64)
