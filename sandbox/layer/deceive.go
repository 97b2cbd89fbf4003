package layer

import (
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox"
)

// isGitFolder says whether git would take a folder for a repository once the
// names of the layer are in that of the host, which is -1 where there is none.
// What the layer deletes counts too: not all need be copied.
func isGitFolder(dir int, names []string, host int) bool {
	return sandbox.IsGitFolder(func(want string) bool {
		if host >= 0 {
			if _, there, err := lstatAt(host, want); err == nil && there {
				return true
			}
		}
		return slices.ContainsFunc(names, func(name string) bool {
			if !strings.EqualFold(name, want) { // a file system may not tell the case apart
				return false
			}
			st, there, err := lstatAt(dir, name)
			return err == nil && there && kindOf(&st) != unix.S_IFCHR
		})
	})
}

// leads notes where a link leads. One that leads to what is guarded is guarded
// itself: a tool of the host that writes to it writes there.
func (s *scan) leads(dir int, name string, it *Item) {
	target, err := readlinkAt(dir, name)
	if err != nil {
		it.Skip = "the link cannot be read: " + err.Error()
		return
	}
	it.Link = target
	to := path.Join(path.Dir(it.rel), target)
	if path.IsAbs(target) {
		rest, inside := strings.CutPrefix(target, strings.TrimSuffix(s.upper.Lower, "/")+"/")
		switch {
		case hasDotDot(target) || !inside && !ofSystem(target):
			it.LeadsOut = true
			return
		case !inside:
			return
		}
		to = path.Clean(rest)
	} else if leadsOut(it.rel, target) {
		it.LeadsOut = true
		return
	}
	if it.Guarded == "" {
		it.Guarded = guardedIn(&s.upper, to)
	}
}

func hasDotDot(p string) bool { return slices.Contains(strings.Split(p, "/"), "..") }

// ofSystem says whether a path lies where only root can write and nothing is
// private: a virtual environment of Python leads there, as do many toolchains.
func ofSystem(p string) bool {
	for _, dir := range []string{"/usr/", "/bin/", "/sbin/", "/lib/", "/lib64/", "/opt/", "/nix/store/"} {
		if strings.HasPrefix(p, dir) {
			return true
		}
	}
	return p == "/dev/null"
}
