package build

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox/container"
	"github.com/sbx-dev/sbx/sandbox/image"
	"github.com/sbx-dev/sbx/sandbox/stack"
)

// layered is the tree of a stage or an image: its layers, and for FROM host the
// programs of the host beside them.
type layered struct {
	stack stack.Stack
	// recorded is what one user could not make of each layer, by path: the
	// owners and modes that an archive is to have.
	recorded []map[string]image.Recorded
	// real says of each layer that its files have their owners on the disk,
	// which is true only in a process in which those ids are mapped.
	real []bool
	host *hostTree // nil but for FROM host
}

func newLayered(layers []image.Layer, host *hostTree) *layered {
	t := &layered{host: host}
	var folders []string
	for _, l := range layers {
		folders = append(folders, l.Folder)
		records := map[string]image.Recorded{}
		for _, r := range l.Contents.Recorded {
			name := r.Path
			if name == "" {
				name = string(r.PathBytes)
			}
			records[strings.TrimPrefix(path.Clean("/"+name), "/")] = r
		}
		t.recorded = append(t.recorded, records)
		t.real = append(t.real, l.Contents.Owners == image.OwnersReal)
	}
	t.stack = stack.New(folders)
	return t
}

// ofHost says whether the host has the path, in what FROM host shows of it.
func (t *layered) ofHost(p string) bool { return t.host != nil && t.host.shows(p) }

func (t *layered) lstat(p string) (info, error) {
	if t.ofHost(p) {
		return t.host.lstat(p)
	}
	if len(t.recorded) == 0 {
		return nothing{}.lstat(p)
	}
	i, err := t.stack.Lstat(p)
	if err != nil {
		return info{}, err
	}
	return t.info(p, i), nil
}

// info takes from what was recorded what is not so on the disk: where the
// caller has no other ids, every file there is the caller's, who is root inside.
func (t *layered) info(p string, i stack.Info) info {
	out := infoOf(i.Name, &i.Stat)
	if !t.real[i.Layer] {
		out.uid, out.gid = 0, 0
	}
	if r, ok := t.recorded[i.Layer][strings.TrimPrefix(path.Clean("/"+p), "/")]; ok {
		out.uid, out.gid = r.UID, r.GID
		if !out.isLink() {
			out.mode = out.mode&unix.S_IFMT | uint32(r.Mode&0o7777)
		}
	}
	return out
}

func (t *layered) readDir(p string) ([]info, error) {
	if t.ofHost(p) {
		return t.host.readDir(p)
	}
	if len(t.recorded) == 0 {
		return nil, nil
	}
	list, err := t.stack.ReadDir(p)
	if err != nil {
		return nil, err
	}
	var out []info
	for _, i := range list {
		name := path.Join(p, i.Name)
		if t.ofHost(name) {
			continue
		}
		out = append(out, t.info(name, i))
	}
	if t.host != nil {
		out = append(out, t.host.below(p)...)
		slices.SortFunc(out, func(a, b info) int { return strings.Compare(a.name, b.name) })
	}
	return out, nil
}

func (t *layered) readlink(p string) (string, error) {
	if t.ofHost(p) {
		return t.host.readlink(p)
	}
	return t.stack.Readlink(p)
}

func (t *layered) open(p string) (*os.File, error) {
	if t.ofHost(p) {
		return t.host.open(p)
	}
	return t.stack.Open(p)
}

// hostTree is what FROM host shows of the host: programs and what they need,
// nothing of a user or of a site.
type hostTree struct {
	root  *folder
	paths []string // absolute, each with everything below it
}

func openHost() (*hostTree, error) {
	root, err := openFolder("/")
	if err != nil {
		return nil, err
	}
	h := &hostTree{root: root}
	for _, m := range container.HostMounts() {
		h.paths = append(h.paths, m.Target)
	}
	return h, nil
}

func (h *hostTree) close() error { return h.root.close() }

func (h *hostTree) shows(p string) bool {
	p = path.Clean("/" + p)
	return slices.ContainsFunc(h.paths, func(shown string) bool {
		return p == shown || strings.HasPrefix(p, shown+"/")
	})
}

// below are the shown paths whose folder is p.
func (h *hostTree) below(p string) []info {
	var out []info
	for _, shown := range h.paths {
		if path.Dir(shown) == path.Clean("/"+p) {
			if i, err := h.root.lstat(shown); err == nil {
				out = append(out, i)
			}
		}
	}
	return out
}

// lstat and the rest read the host's files as root's, which they are.
func (h *hostTree) lstat(p string) (info, error)     { return h.root.lstat(p) }
func (h *hostTree) readDir(p string) ([]info, error) { return h.root.readDir(p) }

func (h *hostTree) readlink(p string) (string, error) { return h.root.readlink(p) }

func (h *hostTree) open(p string) (*os.File, error) {
	file, err := h.root.open(p)
	if errors.Is(err, fs.ErrPermission) {
		return nil, &fs.PathError{Op: "open", Path: p, Err: errors.New("only root may read it on this host")}
	}
	return file, err
}
