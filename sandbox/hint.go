package sandbox

import "golang.org/x/sys/unix"

func (c *Cmd) explain(e *Error) error { return e }

func (c *Cmd) execError(e unix.Errno, interpreter bool) error {
	return &ExecError{Name: c.Spec.Args[0], Errno: e, Interpreter: interpreter}
}
