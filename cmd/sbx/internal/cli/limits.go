package cli

import (
	"errors"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/sbx-dev/sbx/sandbox"
)

func (f *RunFlags) setLimits(s *sandbox.Spec) error {
	if f.Timeout != "" {
		d, err := parseDuration(f.Timeout)
		if err == nil && d <= 0 {
			err = errors.New("must be more than nothing")
		}
		if err != nil {
			return &usageError{msg: "--timeout: " + err.Error()}
		}
		s.Timeout = d
	}
	if f.CPUTime != "" {
		d, err := parseDuration(f.CPUTime)
		if err == nil && d <= 0 {
			err = errors.New("must be more than nothing")
		}
		if err != nil {
			return &usageError{msg: "--cpu-time: " + err.Error()}
		}
		// The kernel counts whole seconds, sends SIGXCPU at the soft limit and
		// SIGKILL at the hard one (getrlimit(2)).
		n := uint64((d + time.Second - 1) / time.Second)
		setRlimit(s, sandbox.Rlimit{Name: "cpu", Soft: n, Hard: n + 1})
	}
	if f.PidsLimit != "" {
		n, err := strconv.ParseUint(f.PidsLimit, 10, 32)
		if err != nil || n == 0 {
			return &usageError{msg: "--pids-limit " + f.PidsLimit + ": is no number of processes"}
		}
		setRlimit(s, sandbox.Rlimit{Name: "nproc", Soft: n, Hard: n})
	}
	for _, u := range f.Ulimit {
		r, err := parseUlimit(u)
		if err != nil {
			hint := "--ulimit nofile=256:512"
			if isSize(r.Name) {
				hint = "--ulimit " + r.Name + "=64m, or a number of bytes"
			}
			return &usageError{msg: "--ulimit " + u + ": " + err.Error(), hint: hint}
		}
		setRlimit(s, r)
	}
	return nil
}

// setRlimit adds a limit, or replaces the one of the same name.
func setRlimit(s *sandbox.Spec, r sandbox.Rlimit) {
	for i := range s.Rlimits {
		if s.Rlimits[i].Name == r.Name {
			s.Rlimits[i] = r
			return
		}
	}
	s.Rlimits = append(s.Rlimits, r)
}

// parseUlimit reads docker's K=SOFT[:HARD]; -1 and unlimited mean no limit.
func parseUlimit(u string) (sandbox.Rlimit, error) {
	name, values, ok := strings.Cut(u, "=")
	if !ok || name == "" {
		return sandbox.Rlimit{}, errors.New("is not NAME=SOFT or NAME=SOFT:HARD")
	}
	soft, hard, two := strings.Cut(values, ":")
	r := sandbox.Rlimit{Name: strings.TrimPrefix(strings.ToLower(name), "rlimit_")}
	var err error
	if r.Soft, err = parseLimit(soft, isSize(r.Name)); err != nil {
		return r, err
	}
	r.Hard = r.Soft
	if two {
		r.Hard, err = parseLimit(hard, isSize(r.Name))
	}
	return r, err
}

// isSize says whether a limit counts bytes (getrlimit(2)).
func isSize(name string) bool {
	switch name {
	case "as", "core", "data", "fsize", "memlock", "msgqueue", "rss", "stack":
		return true
	}
	return false
}

// parseLimit reads a number, of bytes with parseSize's suffixes where size is
// set. Zero is a limit too.
func parseLimit(text string, size bool) (uint64, error) {
	if text == "unlimited" || text == "-1" {
		return math.MaxUint64, nil
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		if !size {
			return 0, errors.New(quoted(text) + " is no limit")
		}
		n, err := parseSize(text)
		return uint64(n), err
	}
	return n, nil
}

// parseDuration reads 1m30s or 500ms; a bare number is in seconds.
func parseDuration(text string) (time.Duration, error) {
	if n, err := strconv.ParseFloat(text, 64); err == nil && math.Abs(n) < 1e9 {
		return time.Duration(n * float64(time.Second)), nil
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		return 0, errors.New(quoted(text) + " is no time, such as 10s, 500ms or 1m30s")
	}
	return d, nil
}

// parseSize reads a number of bytes; k, m, g and t are powers of 1024, as
// docker has them.
func parseSize(text string) (int64, error) {
	bad := errors.New(quoted(text) + " is no size, such as 64m or 2g")
	t := strings.TrimSuffix(strings.ToLower(text), "b")
	shift := 0
	if t != "" {
		if i := strings.IndexByte("kmgt", t[len(t)-1]); i >= 0 {
			shift, t = 10*(i+1), t[:len(t)-1]
		}
	}
	n, err := strconv.ParseInt(t, 10, 64)
	if err != nil || n <= 0 || n > math.MaxInt64>>shift {
		return 0, bad
	}
	return n << shift, nil
}
