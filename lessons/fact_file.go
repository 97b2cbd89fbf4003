package lessons

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// fileFacts ask for files on both sides: what lies in the student's folder on
// the host after CMD ended, and what CMD wrote to layers.
func fileFacts() []fact {
	return []fact{
		{
			name: "host", args: "FILE", least: 1, most: 1,
			help: "the file is in the student's folder on the host; a link is not followed",
			say:  says("on the host there is {}", "on the host there is no {}"),
			look: func(o *Observation, args []string) (found, error) {
				info, err := os.Lstat(o.at(args[0]))
				if errors.Is(err, fs.ErrNotExist) {
					return is(false, "on the host there is no "+args[0])
				}
				if err != nil {
					return found{}, err
				}
				return is(true, "on the host there is "+args[0]+", "+info.Mode().String())
			},
		},
		{
			name: "written", args: "FILE", least: 1, most: 1,
			help: "the file, a pattern as in a shell, is in the student's folder on the host, and this run made or changed it",
			say:  says("this run writes {} on the host", "this run does not write {} on the host"),
			look: func(o *Observation, args []string) (found, error) {
				paths, err := o.glob(args[0])
				if err != nil {
					return found{}, err
				}
				for _, p := range paths {
					var st unix.Stat_t
					if err := unix.Lstat(p, &st); err != nil {
						return found{}, err
					}
					if st.Ctim.Nano() >= o.began {
						return is(true, "this run wrote "+args[0]+" on the host")
					}
				}
				if len(paths) == 0 {
					return is(false, "on the host there is no "+args[0])
				}
				return is(false, "on the host "+args[0]+" is older than this run")
			},
		},
		{
			name: "yours", args: "FILE", least: 1, most: 1,
			help: "the file in the student's folder on the host belongs to the student",
			say:  says("on the host {} belongs to you", "on the host {} does not belong to you"),
			look: func(o *Observation, args []string) (found, error) {
				var st unix.Stat_t
				err := unix.Lstat(o.at(args[0]), &st)
				if errors.Is(err, fs.ErrNotExist) {
					return unknown("on the host there is no " + args[0])
				}
				if err != nil {
					return found{}, err
				}
				got := "on the host " + args[0] + " belongs to uid " + strconv.FormatUint(uint64(st.Uid), 10)
				return is(int(st.Uid) == os.Getuid(), got)
			},
		},
		{
			name: "same", args: "FILE", least: 1, most: 1,
			help: "the file of the lesson is on the host as the lesson wrote it",
			say:  says("on the host {} is as it was", "on the host {} is changed"),
			look: func(o *Observation, args []string) (found, error) {
				if o.View != nil && o.View.MountAt(o.at(args[0])) != nil {
					return is(false, "inside, another file covers "+args[0])
				}
				text, err := os.ReadFile(o.at(args[0]))
				if errors.Is(err, fs.ErrNotExist) {
					return is(false, "on the host "+args[0]+" is gone")
				}
				if err != nil {
					return found{}, err
				}
				if string(text) == o.lesson.Files[args[0]] {
					return is(true, "on the host "+args[0]+" is as it was")
				}
				return is(false, "on the host "+args[0]+" is changed")
			},
		},
		{
			name: "changed", args: "KIND FILE", least: 2, most: 2,
			help: "inside, CMD added, modified or deleted the file of the student's folder, or one with an absolute path, copy on write",
			say:  says("inside, CMD has {}", "inside, CMD has not {}"),
			look: func(o *Observation, args []string) (found, error) {
				want := args[1]
				if !filepath.IsAbs(want) {
					want = o.at(want)
				}
				got := []string{}
				for _, c := range o.Result.Changes {
					if c.Path == want && c.Kind == args[0] {
						return is(true, "inside, CMD has "+args[0]+" "+args[1])
					}
					name := c.Path
					if rel, err := filepath.Rel(o.runner.Dir, name); err == nil && filepath.IsLocal(rel) {
						name = rel
					}
					got = append(got, c.Kind+" "+name)
				}
				if len(got) == 0 {
					return is(false, "inside, CMD wrote nothing to a layer")
				}
				return is(false, "inside, CMD has "+strings.Join(got, ", "))
			},
		},
		{
			name: "whiteout", args: "FILE", least: 1, most: 1,
			help: "the file, a pattern as in a shell, is on the host a character device 0:0",
			say:  says("{} is a whiteout", "{} is no whiteout"),
			look: func(o *Observation, args []string) (found, error) {
				paths, err := o.glob(args[0])
				if err != nil {
					return found{}, err
				}
				for _, p := range paths {
					var st unix.Stat_t
					if err := unix.Lstat(p, &st); err != nil {
						return found{}, err
					}
					if st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == 0 {
						return is(true, args[0]+" is a character device 0:0")
					}
				}
				if len(paths) == 0 {
					return is(false, "there is no "+args[0])
				}
				return is(false, args[0]+" is not a character device 0:0")
			},
		},
		{
			name: "mounted", args: "PATH FSTYPE [ro|rw]", least: 2, most: 3,
			help: "exactly there CMD has a mount of this type",
			say:  says("there is a mount: {}", "there is no mount: {}"),
			look: seen(func(o *Observation, args []string) (found, error) {
				m := o.View.MountAt(args[0])
				if m == nil {
					return is(false, "nothing is mounted at "+args[0])
				}
				mode := "rw"
				if m.ReadOnly {
					mode = "ro"
				}
				got := "at " + args[0] + " there is " + m.FSType + ", " + mode
				return is(m.FSType == args[1] && (len(args) < 3 || args[2] == mode), got)
			}),
		},
		{
			name: "readonly", args: "PATH", least: 1, most: 1,
			help: "CMD has a mount at exactly this path, and it and all mounts beneath it are read-only",
			say:  says("{} and all mounts beneath it are read-only", "not all mounts at and beneath {} are read-only"),
			look: seen(func(o *Observation, args []string) (found, error) {
				if o.View.MountAt(args[0]) == nil {
					return is(false, "nothing is mounted at "+args[0])
				}
				count := 0
				for _, m := range o.View.Mounts {
					if m.Target != args[0] && !strings.HasPrefix(m.Target, args[0]+"/") {
						continue
					}
					if !m.ReadOnly {
						return is(false, "writable: "+m.Target)
					}
					count++
				}
				return is(true, "read-only at and beneath "+args[0]+": "+plural(count, "mount", "mounts"))
			}),
		},
	}
}

// at is a path of the student's folder.
func (o *Observation) at(name string) string {
	return filepath.Join(o.runner.Dir, filepath.FromSlash(name))
}

// glob are the paths that a pattern matches, beginning in the student's folder.
func (o *Observation) glob(pattern string) ([]string, error) {
	dir := strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(o.runner.Dir)
	return filepath.Glob(filepath.Join(dir, pattern))
}
