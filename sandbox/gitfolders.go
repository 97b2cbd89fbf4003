package sandbox

import (
	"path"
	"strings"
)

// gitFolders shows what git needs beside a work tree that is shown: the common
// folder of a linked worktree (git-worktree(1)), the git folder of a submodule
// (gitsubmodules(7)). A file .git names them, and whoever wrote the project may
// have written that file: so a folder is shown only where it names this work
// tree in turn, which only git in the caller's own hands has written there.
func (c *compiler) gitFolders(top string) error {
	git := top + "/.git"
	f := c.feat.Host.Lstat(git)
	if !f.exists() || f.UID != c.feat.UID {
		return nil
	}
	objects := git
	if !f.isDir() {
		names, folder, refused := c.linkedGit(top, f)
		switch {
		case refused != "":
			c.note(git + " leads to " + names + ", which is not shown: " + refused)
			return nil
		case folder == "":
			return nil // it lies in the work tree
		}
		objects = folder
		if !c.covered(folder) && !c.asked(folder) {
			if err := c.overlayFolder(folder, "the git folder of "+top); err != nil {
				return err
			}
		}
	}
	c.alternates(objects)
	return nil
}

// linkedGit follows a .git that is no folder: what it names, the folder that is
// to be shown for it ("" where the work tree holds it), or why none is.
func (c *compiler) linkedGit(top string, f File) (names, folder, refused string) {
	if f.isLink() {
		names = c.feat.Host.Real(top + "/.git")
		if names != "" && within(names, top) {
			return names, "", ""
		}
		return f.Link, "", "a symbolic link may lead anywhere"
	}
	text, ok := c.firstLine(top + "/.git")
	if !ok {
		return "", "", ""
	}
	names, ok = strings.CutPrefix(text, "gitdir: ")
	if !ok || names == "" {
		return "", "", ""
	}
	dir := c.realFrom(top, names)
	switch {
	case dir == "":
		return names, "", "it is not there"
	case within(dir, top):
		return names, "", ""
	}
	if common, ok := c.firstLine(dir + "/commondir"); ok {
		folder, refused = c.commonFolder(top, dir, c.realFrom(dir, common))
	} else {
		folder, refused = dir, ""
		if work := c.workTreeOf(dir); work == "" || c.realFrom(dir, work) != top {
			refused = "it does not say that " + top + " is its work tree"
		}
	}
	if refused == "" {
		refused = c.unfit(folder)
	}
	return names, folder, refused
}

// commonFolder is the folder that a worktree shares with the others, where the
// two and the work tree name one another.
func (c *compiler) commonFolder(top, dir, common string) (folder, refused string) {
	back, _ := c.firstLine(dir + "/gitdir")
	switch {
	case common == "" || path.Dir(dir) != common+"/worktrees":
		return "", "it is no worktree of the folder that it names"
	case back == "" || c.realFrom(dir, back) != top+"/.git":
		return "", "it does not say that " + top + " is its work tree"
	case c.feat.Host.Lstat(dir).UID != c.feat.UID:
		return "", "it belongs to another user"
	}
	return common, ""
}

// unfit says why a folder is none that may be shown as a git folder, or "".
func (c *compiler) unfit(dir string) string {
	has := func(name string) bool { return c.feat.Host.Lstat(dir + "/" + name).exists() }
	f := c.feat.Host.Lstat(dir)
	switch {
	case c.private(dir):
		return "it is a home, or holds what is never shown"
	case !f.isDir() || !isRepository(has) || !has("config"):
		return "it is no git folder"
	case f.UID != c.feat.UID:
		return "it belongs to another user"
	}
	return ""
}

// workTreeOf reads core.worktree of a git folder's config (git-config(1)), as
// git itself writes it: "" where there is none.
func (c *compiler) workTreeOf(dir string) string {
	data, err := c.feat.Host.ReadFile(dir + "/config")
	if err != nil {
		return ""
	}
	section, value := "", ""
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "[") {
			section = strings.ToLower(line)
			continue
		}
		name, v, ok := strings.Cut(line, "=")
		if ok && section == "[core]" && strings.EqualFold(strings.TrimSpace(name), "worktree") {
			v = strings.TrimSpace(v)
			if n := len(v); n > 1 && v[0] == '"' && v[n-1] == '"' {
				v = strings.NewReplacer(`\\`, `\`, `\"`, `"`).Replace(v[1 : n-1])
			}
			value = v
		}
	}
	return value
}

// alternates notes the other object folders that a git folder borrows from
// (gitrepository-layout(5)). The project may have named any path there, so none
// is shown for it.
func (c *compiler) alternates(git string) {
	name := git + "/objects/info/alternates"
	if c.feat.Host.Lstat(name).Mode != regular {
		return
	}
	from, ok := c.firstLine(name)
	if ok && from != "" && from[0] != '#' {
		if at := c.realFrom(git+"/objects", from); at == "" || !c.shows(at) && !c.asked(at) {
			c.note(git + " borrows objects from " + from + ", which is not shown: git may miss commits and files inside")
		}
	}
}

// firstLine reads the first line of a regular file, and says whether there is
// one.
func (c *compiler) firstLine(name string) (string, bool) {
	if c.feat.Host.Lstat(name).Mode != regular {
		return "", false // a FIFO would block
	}
	data, err := c.feat.Host.ReadFile(name)
	if err != nil {
		return "", false
	}
	line, _, _ := strings.Cut(string(data), "\n")
	return strings.TrimRight(line, "\r"), !strings.Contains(line, "\x00")
}

// realFrom is a path that is meant from a folder, without symbolic links: "" where
// it leads nowhere. It is not made clean before, since .. behind a link leads
// elsewhere than the text says.
func (c *compiler) realFrom(dir, p string) string {
	if !path.IsAbs(p) {
		p = dir + "/" + p
	}
	return c.feat.Host.Real(p)
}
