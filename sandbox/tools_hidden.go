package sandbox

import (
	"path"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// maxHidden is how many paths of one tool's folder may be hidden: each is a
// system call.
const maxHidden = 512

func integerText(n int) string { return strconv.Itoa(n) }

// refuse says why a folder must not be shown, whatever a variable or a symbolic
// link says, or "".
func (t *toolbox) refuse(real string) string {
	if t.private(real) || slices.ContainsFunc(t.homes, func(h string) bool { return within(h, real) }) {
		return "it is a home, or holds one, or is made anew inside"
	}
	if up := t.spec.Upper; up != "" && (within(up, real) || within(real, up)) {
		return "it and the upper layer lie in one another"
	}
	for _, n := range t.neverPlaces() {
		switch {
		case within(real, n.name), n.real != "" && within(real, n.real):
			return "it lies in " + n.name + ", which is private"
		case n.named && within(n.name, real):
			return "it holds " + n.name + ", which is private"
		}
	}
	if t.privateElsewhere(real) {
		return "a folder of that name is private in every home"
	}
	return ""
}

// privateElsewhere says whether a folder has the name of a private place, of
// one in it or of one around it, in whatever home: HOME may be another for this
// run than that to which a variable leads.
func (t *toolbox) privateElsewhere(real string) bool {
	for _, p := range neverPlaces {
		rel, ok := strings.CutPrefix(string(p), "~")
		if !ok {
			continue
		}
		if strings.Contains(real+"/", rel+"/") {
			return true
		}
		for dir := path.Dir(rel); dir != "/"; dir = path.Dir(dir) {
			if strings.HasSuffix(real, dir) {
				return true
			}
		}
	}
	return false
}

// neverPlaces are the private places of this host. Those below XDG's folders
// are meant where the caller's variables put these, too.
func (t *toolbox) neverPlaces() []neverPlace {
	if t.neverIs {
		return t.never
	}
	t.neverIs = true
	t.never = make([]neverPlace, 0, 2*len(neverPlaces))
	add := func(p Place) {
		for _, name := range t.expand(p) {
			n := neverPlace{name: name, named: p[0] != '$'}
			if t.feat.Host.Lstat(name).exists() {
				n.real = t.feat.Host.Real(name)
			}
			t.never = append(t.never, n)
		}
	}
	for _, list := range [][]Place{neverPlaces[:], t.spec.ToolTable.Never} {
		for _, p := range list {
			add(p)
			for _, x := range [...][2]string{
				{"~/.config/", "$XDG_CONFIG_HOME/"},
				{"~/.local/share/", "$XDG_DATA_HOME/"},
				{"~/.local/state/", "$XDG_STATE_HOME/"},
			} {
				if rest, ok := strings.CutPrefix(string(p), x[0]); ok {
					add(Place(x[1] + rest))
				}
			}
		}
	}
	return t.never
}

// has says whether a folder has one of the names; it has where none is asked.
func (t *toolbox) has(dir string, names []Pattern) bool {
	for _, p := range names {
		found, _ := t.glob(dir, strings.Split(string(p), "/"), false)
		if slices.ContainsFunc(found, func(at string) bool { return t.feat.Host.Lstat(at).exists() }) {
			return true
		}
	}
	return len(names) == 0
}

// patterns are the paths below a folder that its patterns mean, there or not.
// It says whether they are few enough.
func (t *toolbox) patterns(dir string, patterns []Pattern) (paths []string, few bool) {
	for _, p := range patterns {
		found, few := t.glob(dir, strings.Split(string(p), "/"), true)
		if paths = append(paths, found...); !few || len(paths) > maxHidden {
			return nil, false
		}
	}
	return paths, true
}

// glob follows the parts of a pattern below a folder. Symbolic links are not
// followed on the way: they lead to what has a name of its own. A part without
// a star need not be there where absent is set.
func (t *toolbox) glob(dir string, parts []string, absent bool) (paths []string, few bool) {
	part, last := parts[0], len(parts) == 1
	names := []string{part}
	if strings.Contains(part, "*") {
		all, err := t.feat.Host.ReadDir(dir)
		if err != nil {
			return nil, true
		}
		names = names[:0]
		for _, name := range all {
			if ok, err := path.Match(part, name); ok && err == nil {
				names = append(names, name)
			}
		}
	}
	if len(names) > maxHidden {
		return nil, false
	}
	for _, name := range names {
		at := path.Join(dir, name)
		if last {
			paths = append(paths, at)
			continue
		}
		if f := t.feat.Host.Lstat(at); f.isDir() || absent && !f.exists() {
			below, few := t.glob(at, parts[1:], absent)
			if paths = append(paths, below...); !few || len(paths) > maxHidden {
				return nil, false
			}
		}
	}
	return paths, true
}

// maskLayer makes the layer that lies between an overlay's upper one and the
// host's folder, and hides what must not be seen: a whiteout (a character device
// with the number 0, which overlayfs.rst tells of and mknod(2) lets everybody
// make since Linux 5.8) for each path. CMD can neither see nor remove them, they
// hide too what appears below later, and the upper layer stays clean. It returns
// the layer's path as an option of the mount, or "".
func (c *compiler) maskLayer(e *entry) string {
	if len(e.mask) == 0 {
		return ""
	}
	dir := c.base + "/k" + strconv.Itoa(len(c.uppers))
	made := []string{}
	var ensure func(rel string)
	ensure = func(rel string) {
		if rel == "." || slices.Contains(made, rel) {
			return
		}
		ensure(path.Dir(rel))
		c.call(sysMkdirat, cwd(), c.str(dir+"/"+rel), mode(0o755))
		made = append(made, rel)
	}
	c.call(sysMkdirat, cwd(), c.str(dir), mode(0o755))
	for _, p := range e.mask {
		ensure(path.Dir(p))
		c.call(sysMknodat, cwd(), c.str(dir+"/"+p), word(unix.S_IFCHR, constant("S_IFCHR|000")), word(0, constant("makedev(0, 0)")))
	}
	return overlayEscape(dir) + ":"
}
