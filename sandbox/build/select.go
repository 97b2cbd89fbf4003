package build

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// item is one thing to copy.
type item struct {
	info
	from tree   // nil where data holds it
	path string // in the tree
	link string // of a symbolic link
	data []byte // of a here-document
	// name is where it goes below the destination; "." is the destination
	// itself, whose folder exists or is made.
	name string
}

// group is what one source of a COPY or ADD stands for.
type group struct {
	source string // as it was written, for messages
	dir    bool   // a folder, of which the contents are copied
	items  []item // the folder itself first
}

// selection says which files of a tree are meant.
type selection struct {
	from    tree
	parents bool     // COPY --parents: keep the folders of the source's path
	exclude *ignored // --exclude
}

// selected finds what the sources of an instruction stand for, in their order.
// A source without a wildcard that does not exist is an error, and a wildcard
// that nothing matches is none, as with BuildKit.
func (s selection) selected(sources []string) ([]group, error) {
	var out []group
	for _, source := range sources {
		root, pattern := "", strings.TrimPrefix(path.Clean("/"+source), "/")
		if s.parents {
			// What stands before /./ is not kept (Dockerfile reference, COPY
			// --parents).
			if before, after, ok := strings.Cut(source, "/./"); ok {
				root, pattern = path.Clean("/"+before), strings.TrimPrefix(path.Clean("/"+after), "/")
			}
		}
		paths, err := s.match(root, pattern)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", source, err)
		}
		for _, p := range paths {
			g, err := s.group(source, root, p)
			if err != nil {
				return nil, err
			}
			out = append(out, g)
		}
	}
	return out, nil
}

// match expands the wildcards of a pattern below root, sorted.
func (s selection) match(root, pattern string) ([]string, error) {
	if !strings.ContainsAny(pattern, `*?[\`) {
		return []string{path.Join("/", root, pattern)}, nil
	}
	found := []string{path.Join("/", root)}
	for _, part := range strings.Split(pattern, "/") {
		var next []string
		for _, dir := range found {
			if !strings.ContainsAny(part, `*?[\`) {
				if _, err := s.from.lstat(path.Join(dir, part)); err == nil {
					next = append(next, path.Join(dir, part))
				}
				continue
			}
			at, err := resolve(s.from, dir)
			if err != nil {
				return nil, err
			}
			if i, err := s.from.lstat(at); err != nil || !i.isDir() {
				continue
			}
			entries, err := s.from.readDir(at)
			if err != nil {
				return nil, err
			}
			for _, e := range entries {
				ok, err := path.Match(part, e.name)
				if err != nil {
					return nil, err
				}
				if ok {
					next = append(next, path.Join(dir, e.name))
				}
			}
		}
		found = next
	}
	return found, nil
}

// group is one path with everything in it. A link that is named itself is
// followed, one that is met below is copied as it is.
func (s selection) group(source, root, p string) (group, error) {
	at, err := resolve(s.from, p)
	if err != nil {
		return group{}, err
	}
	i, err := s.from.lstat(at)
	if errors.Is(err, fs.ErrNotExist) {
		return group{}, fmt.Errorf("%s: %w%s", source, errNoSource, elsewhere(p, at))
	}
	if err != nil {
		return group{}, err
	}
	g := group{source: source, dir: i.isDir()}
	name := path.Base(p)
	if g.dir {
		name = "."
	}
	if s.parents {
		if name = strings.TrimPrefix(strings.TrimPrefix(p, path.Clean("/"+root)), "/"); name == "" {
			name = "."
		}
	}
	g.items, err = s.walk(nil, at, name, "", i)
	if err == nil && s.parents && name != "." {
		g.items, err = s.above(root, name, g.items)
	}
	return g, err
}

// errNoSource says that a source does not exist, or that .dockerignore hides it.
var errNoSource = errors.New("not found")

// elsewhere says where a link led that leads nowhere.
func elsewhere(p, at string) string {
	if path.Clean(p) == at {
		return ""
	}
	return " (a link leads to " + at + ", and no link leads out)"
}

// above adds the folders of the source's path, which --parents keeps.
func (s selection) above(root, name string, items []item) ([]item, error) {
	var out []item
	for at := 0; ; {
		next := strings.IndexByte(name[at:], '/')
		if next < 0 {
			return append(out, items...), nil
		}
		at += next
		real, err := resolve(s.from, path.Join("/", root, name[:at]))
		if err != nil {
			return nil, err
		}
		i, err := s.from.lstat(real)
		if err != nil {
			return nil, err
		}
		out = append(out, item{info: i, from: s.from, path: real, name: name[:at]})
		at++
	}
}

// walk adds an entry and what is below it. Rel is its path below what is copied,
// which --exclude is matched against.
func (s selection) walk(items []item, at, name, rel string, i info) ([]item, error) {
	if excluded := rel; s.exclude != nil {
		if excluded == "" && !i.isDir() {
			excluded = path.Base(at)
		}
		if excluded != "" {
			out, err := s.exclude.matches(excluded, i.isDir())
			if out || err != nil {
				return items, err
			}
		}
	}
	it := item{info: i, from: s.from, path: at, name: name}
	switch i.kind() {
	case unix.S_IFSOCK:
		return items, nil // no archive can hold one
	case unix.S_IFCHR, unix.S_IFBLK:
		return nil, fmt.Errorf("%s is a device, and devices are not copied", at)
	case unix.S_IFLNK:
		var err error
		if it.link, err = s.from.readlink(at); err != nil {
			return nil, err
		}
	}
	if strings.HasPrefix(i.name, whiteoutPrefix) && rel != "" {
		return nil, fmt.Errorf("%s: %w", at, errWhiteoutName)
	}
	items = append(items, it)
	if !i.isDir() {
		return items, nil
	}
	before := len(items)
	entries, err := s.from.readDir(at)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if items, err = s.walk(items, path.Join(at, e.name), path.Join(name, e.name), path.Join(rel, e.name), e); err != nil {
			return nil, err
		}
	}
	if len(items) == before && rel != "" {
		if f, ok := s.from.(*folder); ok && f.bare != nil {
			bare, err := f.bare(strings.TrimPrefix(at, "/"))
			if err != nil {
				return nil, err
			}
			if bare {
				return items[:before-1], nil
			}
		}
	}
	return items, nil
}

// whiteoutPrefix begins the names by which a layer removes what is below it
// (image-spec, layer.md).
const whiteoutPrefix = ".wh."

var errWhiteoutName = errors.New("a layer cannot hold a name that begins with .wh.: it would remove a file of the layers below")
