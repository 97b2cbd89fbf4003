package sandbox

import (
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// ranges are id maps that only newuidmap(1) and newgidmap(1) may write: they
// are setuid, and check that the caller owns what is mapped (subuid(5)).
type ranges struct {
	uid, gid []IDMap
	auto     bool
}

// writeMaps runs both programs on the child, which pauses meanwhile.
func (c *Cmd) writeMaps(pid int) error {
	r := c.plan.ranges
	for _, m := range []struct {
		program, file, field string
		own                  int
		lines                []IDMap
	}{
		{"newuidmap", "/etc/subuid", "UIDMap", os.Getuid(), r.uid},
		{"newgidmap", "/etc/subgid", "GIDMap", os.Getgid(), r.gid},
	} {
		lines := m.lines
		if r.auto {
			text, err := os.ReadFile(m.file)
			if err != nil {
				return &StepError{Step: "user", Reason: err.Error(), Hint: rangesHint, Err: err}
			}
			owned := subordinate(string(text), os.Getuid(), c.plan.userName)
			if len(owned) == 0 {
				return &StepError{Step: "user", Reason: m.file + " gives you no subordinate ids", Hint: rangesHint}
			}
			lines = around(m.lines[0], owned)
		}
		if err := runMapper(m.program, pid, lines); err != nil {
			return err
		}
	}
	return c.letGo()
}

// Subordinate says why the caller cannot have ids beside the own one, as
// User.Auto asks for: no ranges in subuid(5) and subgid(5), or no newuidmap(1).
// Nil promises nothing: only making a sandbox shows what the host allows.
func Subordinate() error {
	c := compiler{feat: &Features{UID: os.Getuid(), GID: os.Getgid(), Env: os.Environ(), Host: osHost{}}}
	name := c.callerName()
	for _, m := range []struct{ program, file string }{{"newuidmap", "/etc/subuid"}, {"newgidmap", "/etc/subgid"}} {
		text, err := os.ReadFile(m.file)
		if err != nil {
			return &StepError{Step: "user", Reason: err.Error(), Hint: rangesHint, Err: err}
		}
		if len(subordinate(string(text), os.Getuid(), name)) == 0 {
			return &StepError{Step: "user", Reason: m.file + " gives you no subordinate ids", Hint: rangesHint}
		}
		if mapper(m.program) == "" {
			return &StepError{Step: "user", Reason: m.program + " is not installed", Hint: rangesHint}
		}
	}
	return nil
}

const rangesHint = "sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 $USER, and the package uidmap (shadow-utils)"

// subordinate reads the ranges of a user out of subuid(5)'s lines.
func subordinate(text string, uid int, name string) []IDMap {
	var out []IDMap
	for line := range strings.Lines(text) {
		f := strings.Split(strings.TrimSpace(line), ":")
		if len(f) != 3 || f[0] != name && f[0] != strconv.Itoa(uid) {
			continue
		}
		start, err1 := strconv.Atoi(f[1])
		count, err2 := strconv.Atoi(f[2])
		if err1 == nil && err2 == nil && start > 0 && count > 0 {
			out = append(out, IDMap{Outside: start, Count: count})
		}
	}
	return out
}

// around lays ranges out over the ids from 0 up, leaving the caller's own id
// to its own line.
func around(own IDMap, owned []IDMap) []IDMap {
	out := []IDMap{own}
	next := 0
	for _, r := range owned {
		for r.Count > 0 {
			if next == own.Inside {
				next++
			}
			n := r.Count
			if next < own.Inside {
				n = min(n, own.Inside-next)
			}
			out = append(out, IDMap{next, r.Outside, n})
			next, r.Outside, r.Count = next+n, r.Outside+n, r.Count-n
		}
	}
	return out
}

// mapper is the path of newuidmap or newgidmap, or "".
func mapper(program string) string {
	for _, dir := range []string{"/usr/bin/", "/bin/", "/usr/local/bin/", "/run/wrappers/bin/"} {
		if unix.Access(dir+program, unix.X_OK) == nil {
			return dir + program
		}
	}
	return ""
}

// runMapper runs newuidmap or newgidmap.
func runMapper(program string, pid int, lines []IDMap) error {
	path := mapper(program)
	if path == "" {
		return &StepError{Step: "user", Reason: program + " is not installed", Hint: rangesHint}
	}
	args := []string{program, strconv.Itoa(pid)}
	for _, l := range lines {
		args = append(args, strconv.Itoa(l.Inside), strconv.Itoa(l.Outside), strconv.Itoa(l.Count))
	}
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	process, err := os.StartProcess(path, args, &os.ProcAttr{Env: []string{"LANG=C"}, Files: []*os.File{nil, w, w}})
	w.Close()
	if err != nil {
		return &StepError{Step: "user", Reason: path + ": " + err.Error(), Err: err}
	}
	said, _ := io.ReadAll(r)
	state, err := process.Wait()
	if err != nil {
		return err
	}
	if !state.Success() {
		return &StepError{
			Step: "user", Reason: strings.Join(args, " ") + ": " + strings.TrimSpace(string(said)),
			Hint: "the ids outside must lie in your ranges in /etc/subuid and /etc/subgid, or be your own",
		}
	}
	return nil
}
