// Sbx-seccomp compiles seccomp profiles for sbx, which executes it when a
// profile of the user's is not yet in the cache. It is a program of its own
// because libseccomp needs cgo, and cgo costs every start of a program 0.8 ms.
//
//	sbx-seccomp compile PROFILE.json [-arch amd64|arm64] -o FILE
//	sbx-seccomp compile PROFILE.json [-arch amd64|arm64] -cache
//	sbx-seccomp generate calls|programs FOLDER
//
// It is linked statically, so that it runs on any distribution:
//
//	CGO_ENABLED=1 go build -trimpath -tags netgo,osusergo -ldflags '-s -w -linkmode external -extldflags "-static"' ./cmd/sbx-seccomp
//
// Exit status: 0 done, 1 the profile is wrong or a file cannot be written, 125
// wrong usage.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
)

// usageError is wrong usage: its text, then the synopsis, then exit 125.
type usageError string

func (e usageError) Error() string { return string(e) }

const synopsis = `usage: sbx-seccomp compile PROFILE.json [-arch amd64|arm64] [-cap CAP_NAME]... -o FILE
       sbx-seccomp compile PROFILE.json [-arch amd64|arm64] -cache
       sbx-seccomp generate calls|programs FOLDER
PROFILE.json in Docker's and OCI's format; - reads stdin, -o - writes stdout.
-o writes raw struct sock_filter; -cache fills sbx's cache and prints the path.
`

func main() { os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }

// run is main without the process: it gives the exit status.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	err := dispatch(args, stdin, stdout)
	var usage usageError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &usage):
		fmt.Fprintf(stderr, "sbx-seccomp: %v\n%s", err, synopsis)
		return 125
	default:
		fmt.Fprintf(stderr, "sbx-seccomp: %v\n", err)
		return 1
	}
}

// dispatch carries out the verb.
func dispatch(args []string, stdin io.Reader, stdout io.Writer) error {
	if len(args) == 0 {
		return usageError("a verb is missing")
	}
	switch args[0] {
	case "compile":
		return compile(args[1:], stdin, stdout)
	case "generate":
		return generate(args[1:])
	case "help", "-h", "-help", "--help":
		_, err := io.WriteString(stdout, synopsis)
		return err
	}
	return usageError(fmt.Sprintf("unknown verb %q", args[0]))
}
