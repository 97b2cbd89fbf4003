package sandbox

import (
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// ShownTool is a tool of the caller's home that a plan shows.
type ShownTool struct {
	Name  string `json:"name"`
	About string `json:"about,omitempty"`
	Why   string `json:"why"`
	// Folders are its folders and files that are shown, without symbolic links.
	Folders []string `json:"folders"`
	// Hidden are the paths in them that are not, whether they are there or not.
	Hidden []string `json:"hidden,omitempty"`
	// Variables of the caller are passed to CMD.
	Variables []string `json:"variables,omitempty"`
}

// toolbox decides which tools are shown. It asks the host for nothing but what
// the table, PATH and CMD name.
type toolbox struct {
	*compiler
	homes   []string // HOME, and its path without symbolic links where that is another
	path    []pathFolder
	cmd     string // CMD's file, and that without symbolic links; "" where none was found
	cmdReal string
	never   []neverPlace // asked for by places
	neverIs bool         // never was filled in
	folders []toolFolder
	links   []toolLink
}

// pathFolder is a folder of PATH. Real is its path without symbolic links where
// it is not shown by that name, else "".
type pathFolder struct{ name, real string }

// toolFolder is a folder that is to be shown.
type toolFolder struct {
	tool string
	real string
	hide []string // absolute paths in it
}

// toolLink is a name of the host that leads into a tool's folder, or a file of
// a tool under that name.
type toolLink struct {
	name, to string
	file     bool
	tool     string
}

// neverPlace is a place with credentials. Named says that it was given by its
// name and not by a variable.
type neverPlace struct {
	name, real string
	named      bool
}

// tools shows the tools of the hidden home that the spec names, or that PATH or
// CMD leads to. A tool that cannot be shown is a note and never an error: who
// runs a command need not know that it is installed.
func (c *compiler) tools() error {
	if c.spec.givenRoot() || slices.Contains(c.spec.Tools, toolsNone) {
		return nil
	}
	t := &toolbox{compiler: c}
	t.look()
	for i := range c.spec.ToolTable.Tools {
		t.consider(&c.spec.ToolTable.Tools[i])
	}
	for i := range builtinTools {
		name := builtinTools[i].Name
		if !slices.ContainsFunc(c.spec.ToolTable.Tools, func(o Tool) bool { return o.Name == name }) {
			t.consider(&builtinTools[i])
		}
	}
	if len(t.folders) == 0 && len(t.links) == 0 {
		return nil
	}
	return t.show()
}

// look asks the host about PATH and CMD.
func (t *toolbox) look() {
	if home := t.feat.getenv("HOME"); path.IsAbs(home) && path.Clean(home) != "/" {
		t.homes = append(t.homes, path.Clean(home))
		if real := t.realHome; real != "" && real != t.homes[0] && t.home == t.homes[0] {
			t.homes = append(t.homes, real)
		}
	}
	name := ""
	if len(t.spec.Args) > 0 {
		name = t.spec.Args[0]
	}
	bare := name != "" && !strings.Contains(name, "/")
	if name != "" && !bare {
		if !path.IsAbs(name) && t.feat.Dir != "" {
			name = path.Join(t.feat.Dir, name)
		}
		t.cmd, t.cmdReal = path.Clean(name), t.feat.Host.Real(name)
	}
	for dir := range strings.SplitSeq(t.callersPath(), ":") {
		if !path.IsAbs(dir) {
			continue
		}
		f := pathFolder{name: path.Clean(dir)}
		if !t.shows(f.name) {
			if f.real = t.feat.Host.Real(f.name); f.real == "" {
				continue
			}
		}
		t.path = append(t.path, f)
		if bare && t.cmd == "" {
			at := path.Join(f.name, name)
			if file := t.feat.Host.Lstat(at); file.exists() {
				t.cmd = at
				if file.isLink() || f.real != "" {
					t.cmdReal = t.feat.Host.Real(at)
				}
			}
		}
	}
}

// expand is a place as paths of this host: none where its variable is not set.
// What is not absolute in a variable is passed over.
func (t *toolbox) expand(p Place) []string {
	head, rest, nested := strings.Cut(string(p), "/")
	switch {
	case head == "~":
		out := make([]string, len(t.homes))
		for i, home := range t.homes {
			out[i] = home + "/" + rest
		}
		return out
	case strings.HasPrefix(head, "$"):
		value := t.feat.getenv(head[1:])
		if value == "" {
			return nil
		}
		var out []string
		for v := range strings.SplitSeq(value, ":") {
			if !path.IsAbs(v) {
				continue
			}
			if v = path.Clean(v); nested {
				v = path.Join(v, rest)
			}
			out = append(out, v)
		}
		return out
	}
	return []string{string(p)}
}

// consider takes a tool up that is to be shown, as far as it is there.
func (t *toolbox) consider(tool *Tool) {
	name := string(tool.Name)
	why, weak := "asked for", false
	named := slices.Contains(t.spec.Tools, name)
	if !named {
		if len(t.spec.Tools) > 0 && !slices.Contains(t.spec.Tools, toolsAuto) {
			return
		}
		if why, weak = t.recognise(tool); why == "" {
			return
		}
	}
	shown := ShownTool{Name: name, About: tool.About, Why: why}
	folders, links, notes := len(t.folders), len(t.links), len(t.Notes)
	programs := false
	for i := range tool.Folders {
		if t.folder(&shown, &tool.Folders[i]) && !tool.Folders[i].Cache {
			programs = true
		}
	}
	for _, p := range tool.Files {
		if t.file(&shown, p) {
			programs = true
		}
	}
	if programs {
		t.linksInto(&shown, tool.Links)
	}
	switch {
	case weak && !programs:
		t.folders, t.links, t.Notes = t.folders[:folders], t.links[:links], t.Notes[:notes]
		return
	case len(t.folders) == folders && len(t.links) == links:
		if named && len(t.Notes) == notes {
			t.note("the tool " + name + " is not where the table looks for it, so nothing of it is shown (docs/tools.md)")
		}
		return
	}
	for _, v := range tool.Variables {
		t.variable(&shown, string(v))
	}
	t.Tools = append(t.Tools, shown)
}

// recognise says why a tool is shown, or "". It is weak where nothing but a
// folder that holds much else was found.
func (t *toolbox) recognise(tool *Tool) (why string, weak bool) {
	for i := range tool.Folders {
		if tool.Folders[i].Cache {
			continue
		}
		for _, place := range tool.Folders[i].At {
			for _, p := range t.expand(place) {
				if t.cmd != "" && (within(t.cmd, p) || t.cmdReal != "" && within(t.cmdReal, p)) {
					return "CMD is " + t.cmd, false
				}
				for _, f := range t.path {
					if within(f.name, p) || f.real != "" && within(f.real, p) {
						return f.name + " is on PATH", false
					}
				}
			}
		}
	}
	if len(t.spec.Args) > 0 && slices.Contains(tool.Commands, Name(path.Base(t.spec.Args[0]))) {
		return "CMD is " + path.Base(t.spec.Args[0]), false
	}
	for _, place := range tool.Links {
		for _, p := range t.expand(place) {
			if slices.ContainsFunc(t.path, func(f pathFolder) bool { return f.name == p }) {
				return p + " is on PATH", true
			}
		}
	}
	for _, place := range tool.Files {
		for _, p := range t.expand(place) {
			dir := path.Dir(p)
			if slices.ContainsFunc(t.path, func(f pathFolder) bool { return f.name == dir }) && t.feat.Host.Lstat(p).exists() {
				return dir + " is on PATH", true
			}
		}
	}
	return "", false
}

// folder finds the first place of a tool's folder that is there, and takes it up
// unless it must not be seen.
func (t *toolbox) folder(shown *ShownTool, f *ToolFolder) bool {
	for _, place := range f.At {
		for _, p := range t.expand(place) {
			real := t.feat.Host.Real(p)
			if real == "" || !t.feat.Host.Lstat(real).isDir() || !t.has(real, f.Has) {
				continue
			}
			if t.coveredByMount(p) || t.coveredByMount(real) {
				return false // the caller says how it is shown
			}
			reason := t.refuse(real)
			hide, few := t.patterns(real, f.Hide)
			if reason == "" && !few {
				reason = "it holds more than " + integerText(maxHidden) + " files with credentials"
			}
			if reason != "" {
				t.note(shown.Name + ": " + p + " is not shown, because " + reason)
				return false
			}
			t.folders = append(t.folders, toolFolder{tool: shown.Name, real: real, hide: hide})
			shown.Folders = append(shown.Folders, real)
			if p != real {
				t.links = append(t.links, toolLink{name: p, to: real, tool: shown.Name})
			}
			if name, ok := strings.CutPrefix(string(place), "$"); ok {
				name, _, _ = strings.Cut(name, "/")
				t.variable(shown, name)
			}
			return true
		}
	}
	return false
}

// file takes up a single file of a tool.
func (t *toolbox) file(shown *ShownTool, place Place) bool {
	for _, p := range t.expand(place) {
		real := t.feat.Host.Real(p)
		if real == "" || t.feat.Host.Lstat(real).Mode != unix.S_IFREG || t.coveredByMount(p) || slices.Contains(shown.Folders, real) {
			continue
		}
		for _, n := range t.neverPlaces() {
			if within(real, n.name) || n.real != "" && within(real, n.real) {
				t.note(shown.Name + ": " + p + " is not shown, because it lies in " + n.name + ", which is private")
				return false
			}
		}
		t.links = append(t.links, toolLink{name: p, to: real, file: true, tool: shown.Name})
		shown.Folders = append(shown.Folders, p)
		t.keepOnPath(path.Dir(p), path.Dir(p))
		return true
	}
	return false
}

// linksInto takes up the symbolic links of a folder that lead into the tool's
// own. What they lead to is decided inside, so they show nothing that is hidden.
func (t *toolbox) linksInto(shown *ShownTool, places []Place) {
	for _, place := range places {
		for _, dir := range t.expand(place) {
			names, err := t.feat.Host.ReadDir(dir)
			if err != nil || !t.feat.Host.Lstat(t.feat.Host.Real(dir)).isDir() {
				continue
			}
			for _, name := range names {
				at := path.Join(dir, name)
				link := t.feat.Host.Lstat(at).Link
				if link == "" || t.coveredByMount(at) {
					continue
				}
				if !path.IsAbs(link) {
					link = path.Join(dir, link)
				}
				link = path.Clean(link)
				if slices.ContainsFunc(shown.Folders, func(f string) bool { return within(link, f) }) ||
					slices.ContainsFunc(t.links, func(l toolLink) bool { return l.tool == shown.Name && !l.file && within(link, l.name) }) {
					t.links = append(t.links, toolLink{name: at, to: link, tool: shown.Name})
				}
			}
			t.keepOnPath(dir, dir)
			if name, ok := strings.CutPrefix(string(place), "$"); ok {
				name, _, _ = strings.Cut(name, "/")
				t.variable(shown, name)
			}
			return
		}
	}
}

// variable passes a variable of the caller on, if it is set.
func (t *toolbox) variable(shown *ShownTool, name string) {
	if t.feat.getenv(name) == "" || slices.Contains(shown.Variables, name) {
		return
	}
	shown.Variables = append(shown.Variables, name)
	if !slices.Contains(t.toolVars, name) {
		t.toolVars = append(t.toolVars, name)
	}
}

func (t *toolbox) keepOnPath(name, as string) {
	t.toolPath = append(t.toolPath, pathFolder{name, as})
}

// coveredByMount says whether a mount of the spec decides how a path is seen.
func (t *toolbox) coveredByMount(p string) bool {
	return slices.ContainsFunc(t.spec.Mounts, func(m Mount) bool { return within(p, path.Clean(m.Target)) })
}

// show makes entries of what was taken up: one overlay for a folder, the ones
// inside of another included, symbolic links where a folder has another name,
// and single files.
func (t *toolbox) show() error {
	slices.SortStableFunc(t.folders, func(a, b toolFolder) int { return strings.Compare(a.real, b.real) })
	var kept []toolFolder
	for _, f := range t.folders {
		if i := slices.IndexFunc(kept, func(k toolFolder) bool { return within(f.real, k.real) }); i >= 0 {
			kept[i].hide = append(kept[i].hide, f.hide...)
			continue
		}
		kept = append(kept, f)
	}
	for i := range kept {
		k := &kept[i]
		for _, n := range t.neverPlaces() {
			for _, p := range []string{n.name, n.real} {
				if p != "" && within(p, k.real) {
					k.hide = append(k.hide, p)
				}
			}
		}
		k.hide = t.hiddenIn(kept, k.hide)
	}
	for i := range kept {
		if err := t.showFolder(&kept[i]); err != nil {
			return err
		}
	}
	for _, l := range t.links {
		t.showLink(l)
	}
	for _, f := range t.path {
		if f.real != "" && f.real != f.name && slices.ContainsFunc(kept, func(k toolFolder) bool { return within(f.real, k.real) }) {
			t.keepOnPath(f.name, f.real)
		}
	}
	for i := range t.Tools {
		tool := &t.Tools[i]
		for _, k := range kept {
			for _, h := range k.hide {
				if slices.ContainsFunc(tool.Folders, func(f string) bool { return within(h, f) }) {
					tool.Hidden = append(tool.Hidden, h)
				}
			}
		}
	}
	return nil
}

// hiddenIn adds to hidden paths what they lead to, where that is in one of the
// folders, and leaves out what lies in another one or is shown by a mount of
// the spec. The result is sorted.
func (t *toolbox) hiddenIn(kept []toolFolder, hide []string) []string {
	for _, h := range slices.Clone(hide) {
		if f := t.feat.Host.Lstat(h); !f.exists() {
			continue
		}
		real := t.feat.Host.Real(h)
		if real == "" || real == h {
			continue
		}
		for i := range kept {
			if within(real, kept[i].real) && real != kept[i].real {
				hide = append(hide, real)
			}
		}
	}
	slices.Sort(hide)
	var out []string
	for _, h := range hide {
		if len(out) > 0 && within(h, out[len(out)-1]) {
			continue
		}
		if slices.ContainsFunc(t.spec.Mounts, func(m Mount) bool { return m.Kind != Hide && within(path.Clean(m.Target), h) }) {
			continue
		}
		out = append(out, h)
	}
	return out
}

// showFolder shows one folder.
func (t *toolbox) showFolder(f *toolFolder) error {
	why := "the tool " + f.tool
	i := t.holder(f.real)
	if i >= 0 && (t.entries[i].kind == Hide || t.entries[i].kind == symlink || t.entries[i].kind == content) {
		t.note(f.tool + ": " + f.real + " is not shown, because " + t.entries[i].target + " is covered")
		return nil
	}
	switch {
	case t.covered(f.real):
	case !t.on["overlay"]:
		t.replace(entry{kind: BindRO, source: f.real, target: f.real, why: why, real: true})
	case t.holdsMounts(f.real):
		if err := t.split(f.real, why); err != nil {
			return err
		}
	default:
		e := entry{kind: Overlay, source: f.real, target: f.real, why: why, real: true}
		for _, h := range f.hide {
			if rel, ok := strings.CutPrefix(h, f.real+"/"); ok {
				e.mask = append(e.mask, rel)
			}
		}
		t.replace(e)
		return nil
	}
	// No layer of ours lies over it: what is there is covered one by one.
	for _, h := range f.hide {
		if file := t.feat.Host.Lstat(h); file.exists() && !file.isLink() && within(h, f.real) {
			t.replace(entry{kind: Hide, target: h, why: "credentials of " + f.tool})
		}
	}
	return nil
}

// showLink shows a name that leads into a tool's folder, where nothing that is
// shown has it already.
func (t *toolbox) showLink(l toolLink) {
	if i := t.holder(l.name); i >= 0 && t.entries[i].kind != folder && t.entries[i].kind != Tmpfs || t.find(l.name) >= 0 {
		return
	}
	if l.file {
		t.addEntry(entry{kind: BindRO, source: l.to, target: l.name, why: "the tool " + l.tool, file: true, real: true})
		return
	}
	t.addEntry(entry{kind: symlink, link: l.to, target: l.name, why: "the tool " + l.tool})
}

// holder is the index of the innermost entry that a path lies in, or -1.
func (t *toolbox) holder(p string) int {
	best := -1
	for i := range t.entries {
		if within(p, t.entries[i].target) && (best < 0 || len(t.entries[i].target) > len(t.entries[best].target)) {
			best = i
		}
	}
	return best
}
