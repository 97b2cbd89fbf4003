package build

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox/image"
)

// Copying is one COPY, ADD, WORKDIR or bind of a RUN with all that it depends on: plain data,
// so that a process can be told of it in which the caller's subordinate ids are
// mapped, and the files of a stage have their owners.
type Copying struct {
	Verb string `json:"verb"` // one of the Copy constants

	Stage Place `json:"stage"` // what is copied to
	From  Place `json:"from"`  // what is copied from

	Sources  []string `json:"sources,omitempty"` // expanded
	Contents []Inline `json:"contents,omitempty"`
	Dest     string   `json:"dest"` // absolute; a slash at its end makes it a folder
	Chown    string   `json:"chown,omitempty"`
	Chmod    string   `json:"chmod,omitempty"`
	Exclude  []string `json:"exclude,omitempty"`
	Parents  bool     `json:"parents,omitempty"`
	Unpack   bool     `json:"unpack,omitempty"` // archives, as ADD does
	Folder   bool     `json:"folder,omitempty"` // nothing is copied: Dest is made
	Whole    bool     `json:"whole,omitempty"`  // the only source is a path as it is, without wildcards
	Owners   bool     `json:"owners,omitempty"` // of CopyOut: files are given to their owners

	Now    time.Time `json:"now"`             // of folders that are made
	Latest time.Time `json:"latest,omitzero"` // no time is later; zero is no limit
}

// The verbs of a Copying.
const (
	CopyDigest  = "digest"  // writes the digest of what would be copied
	CopyArchive = "archive" // writes the archive of the layer
	CopyResolve = "resolve" // writes a Resolved of Dest, in JSON
	CopyOut     = "out"     // writes the files into Dest, an empty folder of the host, and their name there
)

// Inline is a here-document of COPY or ADD.
type Inline struct {
	Name string `json:"name"`
	Data string `json:"data"`
}

// Place is somewhere that files are. The zero Place is empty.
type Place struct {
	// Context is a folder of the host; what Ignore says is not in it.
	Context string   `json:"context,omitempty"`
	Ignore  []string `json:"ignore,omitempty"`

	Layers []image.Layer `json:"layers,omitempty"` // the lowest first
	OnHost bool          `json:"on_host,omitempty"`
}

// open gives the place's tree.
func (p *Place) open() (tree, io.Closer, error) {
	if p.Context != "" {
		f, err := openFolder(p.Context)
		if err != nil {
			return nil, nil, err
		}
		ignore, err := newIgnored(p.Ignore)
		if err != nil {
			f.close()
			return nil, nil, err
		}
		if ignore != nil {
			f.hidden, f.bare = ignore.matches, ignore.bare
		}
		return f, f.root, nil
	}
	if !p.OnHost {
		return newLayered(p.Layers, nil), io.NopCloser(nil), nil
	}
	host, err := openHost()
	if err != nil {
		return nil, nil, err
	}
	return newLayered(p.Layers, host), host.root.root, nil
}

// Do carries the copying out in this process. Only an archive without an error
// is whole.
func (c *Copying) Do(ctx context.Context, out io.Writer) error {
	stage, done, err := c.Stage.open()
	if err != nil {
		return err
	}
	defer done.Close()
	from, done, err := c.From.open()
	if err != nil {
		return err
	}
	defer done.Close()
	var to *owner
	if c.Chown != "" {
		if to, err = parseOwner(stage, c.Chown); err != nil {
			return err
		}
	}
	var mode *int64
	if c.Chmod != "" {
		if mode, err = parseMode(c.Chmod); err != nil {
			return err
		}
	}
	groups, err := c.groups(from)
	if err != nil {
		return err
	}
	switch c.Verb {
	case CopyDigest:
		d := newDigester("files")
		if to != nil {
			d.number(int64(to.uid))
			d.number(int64(to.gid))
		}
		if err := d.groups(ctx, groups); err != nil {
			return err
		}
		_, err := io.WriteString(out, d.sum())
		return err
	case CopyArchive:
		p := newPlacing(stage, out, c.Now, c.Latest)
		p.owner, p.mode, p.unpack = to, mode, c.Unpack
		if c.Folder {
			_, err = p.folder(c.Dest, nil)
		} else {
			err = p.place(ctx, c.Dest, groups)
		}
		return errors.Join(err, p.out.Close())
	}
	if c.Verb == CopyResolve {
		r, err := resolved(stage, c.Dest)
		if err != nil {
			return err
		}
		return json.NewEncoder(out).Encode(r)
	}
	if c.Verb == CopyOut {
		at, err := copyOut(ctx, c.Dest, groups[0], c.Owners)
		if err != nil {
			return err
		}
		_, err = io.WriteString(out, at)
		return err
	}
	return fmt.Errorf("%q is no verb of a copying", c.Verb)
}

// groups finds what is to be copied.
func (c *Copying) groups(from tree) ([]group, error) {
	if c.Folder || c.Verb == CopyResolve {
		return nil, nil
	}
	s := selection{from: from, parents: c.Parents}
	if c.Whole {
		g, err := s.group(c.Sources[0], "", path.Join("/", c.Sources[0]))
		return []group{g}, err
	}
	var err error
	if s.exclude, err = newIgnored(c.Exclude); err != nil {
		return nil, fmt.Errorf("--exclude: %w", err)
	}
	groups, err := s.selected(c.Sources)
	if err != nil {
		return nil, err
	}
	for _, inline := range c.Contents {
		name := path.Base(path.Clean("/" + inline.Name))
		i := info{name: name, mode: unix.S_IFREG | 0o644, size: int64(len(inline.Data)), mtime: c.Now}
		groups = append(groups, group{source: inline.Name, items: []item{{info: i, data: []byte(inline.Data), name: name}}})
	}
	return groups, nil
}

// Resolved is where a path leads in a stage, and what is there.
type Resolved struct {
	Path   string `json:"path"` // without links
	Exists bool   `json:"exists"`
	Folder bool   `json:"folder"`
}

func resolved(stage tree, p string) (Resolved, error) {
	at, err := resolve(stage, p)
	if err != nil {
		return Resolved{}, err
	}
	i, err := stage.lstat(at)
	if errors.Is(err, fs.ErrNotExist) {
		return Resolved{Path: at}, nil
	}
	return Resolved{at, err == nil, i.isDir()}, err
}

// resolve finds out where a path of the stage leads. Only where a folder on the
// way is closed to the caller, being another user's of the image, does it take a
// process in which that user's id is mapped.
func (r *run) resolve(ctx context.Context, p string) (Resolved, error) {
	place := r.st.place()
	stage, done, err := place.open()
	if err != nil {
		return Resolved{}, err
	}
	defer done.Close()
	found, err := resolved(stage, p)
	if !errors.Is(err, fs.ErrPermission) || r.o.Worker == nil {
		return found, err
	}
	var out bytes.Buffer
	if err := r.work(ctx, &Copying{Verb: CopyResolve, Stage: place, Dest: p}, &out); err != nil {
		return Resolved{}, err
	}
	return found, json.Unmarshal(out.Bytes(), &found)
}

// destination is where an instruction copies to, absolute; the slash at its end
// stays, and so does the meaning of "." and of several sources: a folder.
func destination(workdir, dest string, sources int) string {
	folder := strings.HasSuffix(dest, "/") || dest == "." || dest == ".." || strings.HasSuffix(dest, "/.") || strings.HasSuffix(dest, "/..") || sources > 1
	if !path.IsAbs(dest) {
		dest = path.Join("/", workdir, dest)
	}
	if dest = path.Clean(dest); folder && dest != "/" {
		dest += "/"
	}
	return dest
}
