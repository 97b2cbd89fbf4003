package sandbox

import (
	"encoding/binary"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Appeared is something that CMD made in a folder that it may write to and that
// makes the host run code: a git folder, an .envrc, a shell's start-up file.
type Appeared struct {
	Path string `json:"path"` // on the host
	// Moved is where it is now: what stands where the caller, a shell or an
	// editor meets it at once is moved aside before Wait returns. It is empty
	// for a git folder elsewhere, which acts on who goes there.
	Moved string `json:"moved_to,omitempty"`
	// Error is why it is still where it was, although it should be moved, or
	// why nobody knows what is there; "" where neither is so.
	Error string `json:"error,omitempty"`
}

// watched is a watch while the sandbox lives. The folders are held open: CMD
// may rename what is in them, and the caller's working folder stays the same
// folder under any name.
type watched struct {
	*watch
	folders []watchedFolder // from the top to the caller's working folder
	known   []inode         // the git folders that were there, and those that were moved aside
}

type watchedFolder struct {
	fd   int
	path string
	git  bool // it held a .git
	bare bool // it was a git folder itself, or to be one
}

type inode struct{ dev, ino uint64 }

func inodeAt(dir int, name string) (inode, bool) {
	var st unix.Stat_t
	if unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW) != nil {
		return inode{}, false
	}
	return inode{uint64(st.Dev), st.Ino}, true
}

// openWatched opens the folders that CMD may write to before it is there.
func (c *Cmd) openWatched() error {
	for i := range c.plan.watched {
		w := watched{watch: &c.plan.watched[i]}
		how := unix.OpenHow{Flags: unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC}
		if w.real {
			how.Resolve = unix.RESOLVE_NO_SYMLINKS
		}
		at := w.source
		parts := append([]string{""}, strings.FieldsFunc(w.into, func(r rune) bool { return r == '/' })...)
		for _, part := range parts {
			at = path.Join(at, part)
			fd, err := unix.Openat2(unix.AT_FDCWD, at, &how)
			if err != nil {
				if part != "" {
					break // the plan, or CMD, finds the same
				}
				c.watched = append(c.watched, w)
				return &Error{Step: "mount", Call: "openat2(AT_FDCWD, " + strconv.Quote(at) + ")", Errno: errno(err)}
			}
			_, git := inodeAt(fd, ".git")
			w.folders = append(w.folders, watchedFolder{fd, at, git, w.own && part == "" || isBare(fd)})
		}
		for _, name := range w.git {
			if id, ok := inodeAt(w.folders[0].fd, name); ok {
				w.known = append(w.known, id)
			}
		}
		c.watched = append(c.watched, w)
	}
	return nil
}

func (c *Cmd) closeWatched() {
	for _, w := range c.watched {
		for _, f := range w.folders {
			unix.Close(f.fd)
		}
	}
	c.watched = nil
}

// appeared looks for what was not there before, and moves aside what acts
// without the caller doing anything: their prompt may ask git before they have
// read that there is something. Everything of the sandbox is dead by now, where
// it has a PID namespace, so nothing is exchanged meanwhile.
func (c *Cmd) appeared() []Appeared {
	var out []Appeared
	for i := range c.watched {
		w := &c.watched[i]
		restore := w.reach()
		move := func(f *watchedFolder, name string) {
			if id, ok := inodeAt(f.fd, name); ok {
				w.known = append(w.known, id)
			}
			out = append(out, moveAside(f.fd, f.path, name))
		}
		top := &w.folders[0]
		for _, name := range w.absent {
			if name != ".git" && there(top.fd, name) {
				move(top, name)
			}
		}
		for i := range w.folders {
			f := &w.folders[i]
			if _, git := inodeAt(f.fd, ".git"); git && !f.git && (f.fd != top.fd || slices.Contains(w.absent, ".git")) {
				move(f, ".git")
			}
			if !f.bare && isBare(f.fd) {
				move(f, "HEAD")
			}
		}
		var shut []string
		found, whole, err := findGit(top.fd, &shut)
		for _, name := range found {
			if id, ok := inodeAt(top.fd, name); ok && (name != "." || !w.own) && !slices.Contains(w.known, id) {
				out = append(out, Appeared{Path: path.Join(top.path, name)})
			}
		}
		for _, name := range shut {
			out = append(out, Appeared{Path: path.Join(top.path, name), Error: "it cannot be looked into"})
		}
		switch {
		case err != nil:
			out = append(out, Appeared{Path: top.path, Error: "it was not looked through: " + err.Error()})
		case !whole:
			out = append(out, Appeared{Path: top.path, Error: "it holds too much to be looked through for git folders"})
		}
		restore()
	}
	return out
}

// reach makes the folders searchable and writable for their owner, the caller,
// where CMD has changed that, until the function that it returns is called.
func (w *watched) reach() (restore func()) {
	modes := make([]uint32, len(w.folders))
	for i, f := range w.folders {
		var st unix.Stat_t
		if unix.Fstat(f.fd, &st) == nil && st.Mode&0o700 != 0o700 && unix.Chmod(openAgain(f.fd), st.Mode&0o7777|0o700) == nil {
			modes[i] = st.Mode & 0o7777
		}
	}
	return func() {
		for i, m := range modes {
			if m != 0 {
				_ = unix.Chmod(openAgain(w.folders[i].fd), m)
			}
		}
	}
}

// openAgain is a name for what a descriptor is open on.
func openAgain(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }

// there says whether the host would find something under a name, by way of
// whatever symbolic links, or would if what a link leads to came to be.
func there(dir int, name string) bool {
	var st unix.Stat_t
	return unix.Fstatat(dir, name, &st, 0) == nil || unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW) == nil
}

// moveAside gives something in a folder another name, which nothing looks for.
// It follows no link: where the way to the name leads through one that CMD has
// made, it is the link that is moved.
func moveAside(dir int, at, name string) Appeared {
	a := Appeared{Path: path.Join(at, name)}
	if holder := path.Dir(name); holder != "." {
		fd, err := unix.Openat2(dir, holder, &unix.OpenHow{
			Flags:   unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC,
			Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS,
		})
		if err != nil {
			return moveAside(dir, at, holder)
		}
		defer unix.Close(fd)
		dir, at, name = fd, path.Join(at, holder), path.Base(name)
	}
	var random [4]byte // CMD cannot have taken a name that it does not know
	_, _ = unix.Getrandom(random[:], 0)
	aside := name + ".sbx-" + strconv.FormatUint(uint64(binary.NativeEndian.Uint32(random[:])), 16)
	err := unix.Renameat2(dir, name, dir, aside, unix.RENAME_NOREPLACE)
	if _, taken := inodeAt(dir, aside); err == unix.EINVAL && !taken {
		err = unix.Renameat(dir, name, dir, aside) // a file system without RENAME_NOREPLACE
	}
	if err != nil {
		a.Error = err.Error()
		return a
	}
	a.Moved = path.Join(at, aside)
	return a
}

// isBare says whether git takes a folder for a repository although it is not
// called .git.
func isBare(dir int) bool {
	return isRepository(func(name string) bool { return there(dir, name) })
}

// IsGitFolder says whether git takes a folder for a repository although it is
// not called .git, and so runs what its config names, such as core.fsmonitor at
// the next git status or prompt. It is what git asks (is_git_directory in its
// setup.c), as far as names tell.
func IsGitFolder(has func(name string) bool) bool { return isRepository(has) }

func isRepository(has func(name string) bool) bool {
	return has("HEAD") && (has("objects") && has("refs") || has("commondir"))
}

// mostLooked is how many names are looked at in search of git folders.
const mostLooked = 1 << 18

// findGit finds git folders and files below a folder, in order. It follows no
// link and holds one descriptor at a time however deep the folder is. A git
// folder is not entered, but for the top itself. Shut, when not nil, gets the
// caller's folders that cannot be read.
func findGit(top int, shut *[]string) (found []string, whole bool, err error) {
	looked := 0
	pending := []string{"."}
	for len(pending) > 0 && looked < mostLooked {
		at := pending[len(pending)-1]
		pending = pending[:len(pending)-1]
		fd, err := unix.Openat2(top, at, &unix.OpenHow{
			Flags:   unix.O_RDONLY | unix.O_DIRECTORY | unix.O_CLOEXEC,
			Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS,
		})
		switch {
		case err == nil:
		case at == ".":
			return nil, false, err
		case err == unix.EACCES && shut != nil && ownFolder(top, at):
			*shut = append(*shut, at)
			continue
		default:
			continue // of another user, gone, or deeper than a path can be
		}
		dir := os.NewFile(uintptr(fd), openAgain(fd))
		entries, err := dir.ReadDir(-1)
		dir.Close()
		if err != nil && at == "." {
			return nil, false, err
		}
		looked += len(entries)
		has := func(name string) bool {
			return slices.ContainsFunc(entries, func(e os.DirEntry) bool { return e.Name() == name })
		}
		if isRepository(has) {
			found = append(found, at)
			if at != "." {
				continue
			}
		}
		for _, e := range entries {
			switch {
			case strings.EqualFold(e.Name(), ".git"): // as a file system may see it that knows no case
				found = append(found, path.Join(at, e.Name()))
			case e.IsDir():
				pending = append(pending, path.Join(at, e.Name()))
			}
		}
	}
	slices.Sort(found)
	return found, len(pending) == 0, nil
}

// ownFolder says whether a folder is the caller's own.
func ownFolder(top int, name string) bool {
	var st unix.Stat_t
	return unix.Fstatat(top, name, &st, unix.AT_SYMLINK_NOFOLLOW) == nil && int(st.Uid) == os.Geteuid()
}
