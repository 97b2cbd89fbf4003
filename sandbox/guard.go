package sandbox

import (
	"path"
	"slices"
	"strconv"
	"strings"
)

// guarded are names in a folder that make the host run code later, unasked: by
// a shell that starts, a prompt, an editor, a login. Who writes there from
// inside has left the sandbox by tomorrow. Of .git it is all: its config and
// hooks run programs, and commondir, HEAD or a file in its place lead git to
// another config. What a tool runs only when it is called by name (Makefile,
// package.json, .npmrc) is not among them.
//
//   - .mise.toml, .tool-versions: the prompt of a shell asks node and the like
//     for their version, and a version may be a path of the project ("path:", in
//     the documentation of asdf and mise); the same is true of rustup's
//     rust-toolchain.toml ([toolchain] path).
//   - .exrc, .vimrc, .nvimrc: vim's option exrc reads them where it starts
//     (:help exrc). .zed, .fleet, .nvim.lua, .dir-locals.el: editors.
//   - .claude, .cursor, .mcp.json: hooks and servers that begin with the folder,
//     once it was trusted (CVE-2025-54135, CVE-2025-54136).
//   - .pdbrc, .Rprofile, .irbrc, .pryrc, .octaverc: interpreters read them
//     where they start, not only in a home.
//   - .inputrc, .bash_aliases, .zlogout, .xprofile and so on: a home's own.
var guarded = []string{
	".git", ".envrc", ".vscode", ".idea", ".husky",
	".profile", ".bash_profile", ".bash_login", ".bash_logout", ".bashrc", ".zshenv", ".zprofile", ".zshrc", ".zlogin",
	".config/fish", ".gitconfig", ".config/git", ".config/autostart", ".config/systemd", ".ssh",
	".mise.toml", "mise.toml", ".tool-versions", "rust-toolchain.toml", "rust-toolchain",
	".exrc", ".vimrc", ".nvimrc", ".nvim.lua", ".dir-locals.el", ".zed", ".fleet", ".claude", ".cursor", ".mcp.json",
	".pdbrc", ".Rprofile", ".irbrc", ".pryrc", ".octaverc",
	".bash_aliases", ".zlogout", ".inputrc", ".kshrc", ".cshrc", ".tcshrc", ".login",
	".xprofile", ".xsession", ".xsessionrc", ".xinitrc", ".tmux.conf", ".screenrc", ".vim", ".emacs", ".emacs.d",
	".gdbinit", ".lldbinit", ".config/environment.d", ".config/nvim", ".config/emacs", ".config/direnv", ".config/mise",
	".config/nushell", ".config/tmux", ".config/zsh", ".config/starship.toml",
}

// mostGuards is how many git folders a folder that is shown for writing may
// hold: each is a mount of its own.
const mostGuards = 1000

// watch is a folder that is shown for writing, and what of the guarded names
// was not there when the plan was made. A mount needs something to be mounted
// on, so nothing keeps CMD from making them: they are looked for when it has
// ended (appeared.go).
type watch struct {
	source string   // on the host
	real   bool     // it has no symbolic link in it
	absent []string // names below source
	git    []string // git folders and files that were there, below source
	own    bool     // source is a git folder itself, and so CMD's to write
	into   string   // from source to the caller's working folder, where that lies in it
}

// guard keeps what makes the host run code read-only in a folder that is shown
// for writing, unless the spec names it itself. A folder around it becomes a
// mount too, which cannot be renamed: else another could take its place. Git
// folders are found at any depth, since git looks for one from wherever the
// caller is.
func (c *compiler) guard(e entry) error {
	if c.feat.Host.Lstat(e.source).isLink() {
		if real := c.feat.Host.Real(e.source); real != "" {
			e.source, e.real = real, true
		}
	}
	w := watch{source: e.source, real: e.real}
	if c.feat.Dir != "" && within(c.feat.Dir, e.source) {
		w.into = strings.TrimPrefix(c.feat.Dir, e.source)
	}
	for _, name := range guarded {
		if c.named(e, name) {
			continue
		}
		holder := path.Dir(name)
		if f := c.feat.Host.Lstat(path.Join(e.source, holder)); holder != "." && f.isLink() {
			c.cover(e, holder)
			continue
		}
		if !c.cover(e, name) {
			w.absent = append(w.absent, name)
			continue
		}
		if holder != "." {
			c.coverAs(e, holder, BindRW, "holds what makes the host run code")
		}
	}
	found, whole, err := c.feat.Host.GitFolders(e.source)
	if err != nil {
		return &SpecError{Field: "Mounts", Reason: "to look for git folders in " + e.source + ": " + err.Error()}
	}
	if !whole {
		c.note(e.source + " holds so much that it was not looked through to the end: a git folder deep in it may be open to CMD")
	}
	w.git = found
	// A git folder that the caller named is CMD's to write, with those of the
	// submodules in it.
	w.own = slices.Contains(found, ".") || path.Base(e.source) == ".git"
	for _, name := range found {
		if !w.own || path.Base(name) == ".git" {
			c.cover(e, name)
		}
	}
	if len(found) > mostGuards {
		return &SpecError{Field: "Mounts", Reason: e.source + " holds more than " + strconv.Itoa(mostGuards) + " git folders, each of which would have to be kept from CMD: show less of it for writing"}
	}
	c.watched = append(c.watched, w)
	return nil
}

// named says whether the spec says itself what is to be at a name below a
// folder that is shown for writing, or around it.
func (c *compiler) named(e entry, name string) bool {
	target := path.Join(e.target, name)
	return slices.ContainsFunc(c.spec.Mounts, func(m Mount) bool {
		return m.Target != e.target && within(m.Target, e.target) && within(target, m.Target)
	})
}

// cover makes one name below a folder that is shown for writing read-only, and
// says whether it is there. A symbolic link is covered with itself, so that no
// other can take its place, and so is what it leads to, where CMD could write
// that.
func (c *compiler) cover(e entry, name string) bool {
	return c.coverAs(e, name, BindRO, "makes the host run code; writable where it is named itself")
}

func (c *compiler) coverAs(e entry, name, kind, why string) bool {
	source, target := path.Join(e.source, name), path.Join(e.target, name)
	f := c.feat.Host.Lstat(source)
	if !f.exists() {
		return false
	}
	if name == "." || c.named(e, name) {
		return true
	}
	real := source
	if holder := c.feat.Host.Real(path.Dir(source)); holder != "" {
		real = path.Join(holder, path.Base(source))
	}
	c.replace(entry{kind: kind, source: real, target: target, file: !f.isDir(), why: why, real: true, asLink: f.isLink(), guarded: kind == BindRO})
	if !f.isLink() {
		return true
	}
	top := c.feat.Host.Real(e.source)
	leads := c.feat.Host.Real(source)
	if rest, ok := strings.CutPrefix(leads, top+"/"); ok && top != "" && rest != name {
		c.coverAs(e, rest, kind, why)
	}
	return leads != "" // else what it leads to may be made
}
