package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"

	"github.com/sbx-dev/sbx/sandbox/filter"
	"github.com/sbx-dev/sbx/sandbox/seccomp"
)

// compileFlags are the flags of compile.
type compileFlags struct {
	profile string   // path, or - for stdin
	output  string   // path, or - for stdout; "" with cache
	cache   bool     // write into sbx's cache and print the path
	arch    string   // Go's word
	caps    []string // capabilities that the program will have
}

// compile turns a profile into a program, in a file or in the cache.
func compile(args []string, stdin io.Reader, stdout io.Writer) error {
	flags, err := parseCompile(args)
	if err != nil {
		return err
	}
	raw, err := readProfile(flags.profile, stdin)
	if err != nil {
		return err
	}
	name := flags.profile
	if name == "-" {
		name = "stdin"
	}
	profile, err := seccomp.Parse(raw)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	p, err := profile.Compile(seccomp.Options{Arch: flags.arch, Capabilities: flags.caps})
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	switch {
	case flags.cache:
		path, err := filter.CachePath(raw, flags.arch)
		if err != nil {
			return err
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return err
		}
		if err := writeFile(path, filter.EncodeEntry(raw, p)); err != nil {
			return err
		}
		_, err = fmt.Fprintln(stdout, path)
		return err
	case flags.output == "-":
		_, err := stdout.Write(p.Bytes())
		return err
	}
	return writeFile(flags.output, p.Bytes())
}

// parseCompile reads the flags, which may stand before and after the profile.
func parseCompile(args []string) (compileFlags, error) {
	var c compileFlags
	set := flag.NewFlagSet("compile", flag.ContinueOnError)
	set.SetOutput(io.Discard)
	set.StringVar(&c.output, "o", "", "")
	set.BoolVar(&c.cache, "cache", false, "")
	set.StringVar(&c.arch, "arch", runtime.GOARCH, "")
	set.Func("cap", "", func(name string) error {
		c.caps = append(c.caps, name)
		return nil
	})
	var words []string
	for rest := args; ; {
		if err := set.Parse(rest); err != nil {
			return c, usageError(err.Error())
		}
		if set.NArg() == 0 {
			break
		}
		words = append(words, set.Arg(0))
		rest = set.Args()[1:]
	}
	switch {
	case len(words) != 1:
		return c, usageError(fmt.Sprintf("compile needs one profile, not %d", len(words)))
	case c.cache == (c.output != ""):
		return c, usageError("compile needs either -o FILE or -cache")
	case c.cache && len(c.caps) > 0:
		return c, usageError("the cache holds programs without capabilities: -cap needs -o FILE")
	}
	if _, ok := filter.Arch(c.arch); !ok {
		return c, usageError(fmt.Sprintf("-arch %s is none of %v", c.arch, filter.Arches()))
	}
	c.profile = words[0]
	return c, nil
}

// readProfile reads the profile, which is limited so that a wrong file does not
// fill the memory.
func readProfile(path string, stdin io.Reader) ([]byte, error) {
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		stdin = f
	}
	raw, err := io.ReadAll(io.LimitReader(stdin, filter.MaxProfile+1))
	if err != nil {
		return nil, err
	}
	if len(raw) > filter.MaxProfile {
		return nil, fmt.Errorf("%s: larger than %d bytes", path, filter.MaxProfile)
	}
	return raw, nil
}

// writeFile puts the bytes where path is, all or nothing: readers see the old
// file or the new one, and only the user may read or write it (mode 0600, which
// os.CreateTemp gives). A device such as /dev/stdout is written as it is.
func writeFile(path string, content []byte) error {
	if st, err := os.Stat(path); err == nil && !st.Mode().IsRegular() {
		return os.WriteFile(path, content, 0o600)
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".tmp-*")
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}
