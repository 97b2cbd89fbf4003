package build

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// reader opens what an item holds.
func (i item) reader() (io.ReadCloser, error) {
	if i.from == nil {
		return io.NopCloser(bytes.NewReader(i.data)), nil
	}
	return i.from.open(i.path)
}

// placing writes a layer: files at their places in a stage. A link of the stage
// on the way to a place is followed, since with it replaced by a folder the
// stage would lose what it led to (a copied lib/ would hide /usr/lib where /lib
// is a link).
type placing struct {
	stage tree
	out   *tar.Writer
	now   time.Time // of the folders that are made
	// latest is SOURCE_DATE_EPOCH: nothing is younger. Zero is no limit.
	latest time.Time
	owner  *owner // --chown; nil keeps what the source says
	mode   *int64 // --chmod, of everything that is copied
	unpack bool   // ADD: an archive is unpacked

	folders map[string]string // paths that were asked for, and where they lead
	placed  map[string]byte   // the type of what is in the layer, by its path
}

// owner is who files belong to.
type owner struct{ uid, gid int }

func newPlacing(stage tree, to io.Writer, now, latest time.Time) *placing {
	return &placing{stage: stage, out: tar.NewWriter(to), now: now, latest: latest, folders: map[string]string{}, placed: map[string]byte{}}
}

// place writes the groups to a destination: dest is absolute, and ends with a
// slash where it is a folder whatever is there.
func (p *placing) place(ctx context.Context, dest string, groups []group) error {
	folder := strings.HasSuffix(dest, "/") || len(groups) > 1
	for _, g := range groups {
		folder = folder || g.dir || len(g.items) > 1
		for _, it := range g.items {
			folder = folder || strings.Contains(it.name, "/")
		}
	}
	if at, err := resolve(p.stage, dest); err != nil {
		return err
	} else if i, err := p.stage.lstat(at); err == nil && i.isDir() {
		folder = true
	}
	last := p.lastOf(groups)
	for _, g := range groups {
		for _, it := range g.items {
			if err := ctx.Err(); err != nil {
				return err
			}
			if last[it.name] > 0 {
				// One of the same name follows, and an archive holds each once.
				last[it.name]--
				continue
			}
			at := path.Join(dest, it.name)
			if !folder {
				at = path.Clean(dest)
			}
			if err := p.item(ctx, at, it); err != nil {
				return fmt.Errorf("%s: %w", strings.TrimPrefix(cmpOr(it.path, it.name), "/"), err)
			}
		}
	}
	return nil
}

func cmpOr(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// lastOf counts for each name how many files of it are to be left out, because
// another source has one of the same name later.
func (p *placing) lastOf(groups []group) map[string]int {
	count := map[string]int{}
	for _, g := range groups {
		for _, it := range g.items {
			if !it.isDir() {
				count[it.name]++
			}
		}
	}
	for name := range count {
		count[name]--
	}
	return count
}

// item writes one thing to a path.
func (p *placing) item(ctx context.Context, at string, it item) error {
	h := &tar.Header{Mode: int64(it.mode & 0o7777), Uid: it.uid, Gid: it.gid, ModTime: it.mtime}
	if p.owner != nil {
		h.Uid, h.Gid = p.owner.uid, p.owner.gid
	}
	if p.mode != nil && !it.isLink() {
		h.Mode = *p.mode
	}
	if it.isDir() {
		if it.name == "." { // the destination itself keeps its own permissions
			h = nil
		}
		_, err := p.folder(at, h)
		return err
	}
	if p.unpack && it.isRegular() {
		if done, err := p.archive(ctx, path.Dir(at), it); done || err != nil {
			return err
		}
	}
	switch it.kind() {
	case unix.S_IFLNK:
		h.Typeflag, h.Linkname = tar.TypeSymlink, it.link
	case unix.S_IFIFO:
		h.Typeflag = tar.TypeFifo
	default:
		h.Typeflag, h.Size = tar.TypeReg, it.size
	}
	if h.Typeflag != tar.TypeReg {
		return p.file(at, h, nil)
	}
	in, err := it.reader()
	if err != nil {
		return err
	}
	defer in.Close()
	return p.file(at, h, in)
}

// folder makes sure that the layer has the folder at a path, and gives the path
// where it really is. One that the stage has keeps its owner and permissions;
// one that is new is as h says, or 0755.
func (p *placing) folder(at string, h *tar.Header) (string, error) {
	at = path.Clean("/" + at)
	if at == "/" {
		return at, nil
	}
	if real, ok := p.folders[at]; ok {
		return real, nil
	}
	parent, err := p.folder(path.Dir(at), nil)
	if err != nil {
		return "", err
	}
	real := path.Join(parent, path.Base(at))
	if kind, ok := p.placed[real]; ok {
		if kind != tar.TypeDir {
			return "", fmt.Errorf("%s is no folder: this instruction has put a file or a link there", real)
		}
		p.folders[at] = real
		return real, nil
	}
	i, err := p.stage.lstat(real)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if h == nil {
			h = &tar.Header{Mode: 0o755, ModTime: p.now}
			if p.owner != nil {
				h.Uid, h.Gid = p.owner.uid, p.owner.gid
			}
		}
	case err != nil:
		return "", err
	case i.isLink():
		to, err := resolve(p.stage, real)
		if err != nil {
			return "", err
		}
		if to, err = p.folder(to, h); err == nil {
			p.folders[at] = to
		}
		return to, err
	case !i.isDir():
		return "", fmt.Errorf("%s is there, and is no folder", real)
	default:
		h = &tar.Header{Mode: int64(i.mode & 0o7777), Uid: i.uid, Gid: i.gid, ModTime: i.mtime}
	}
	h.Typeflag = tar.TypeDir
	p.folders[at] = real
	return real, p.write(real, h)
}

// file writes what is no folder; h.Size bytes of content.
func (p *placing) file(at string, h *tar.Header, content io.Reader) error {
	parent, err := p.folder(path.Dir(at), nil)
	if err != nil {
		return err
	}
	real := path.Join(parent, path.Base(at))
	if strings.HasPrefix(path.Base(real), whiteoutPrefix) {
		return errWhiteoutName
	}
	if p.placed[real] == tar.TypeDir {
		return fmt.Errorf("%s is a folder, and a file cannot take its place", real)
	}
	if i, err := p.stage.lstat(real); err == nil && i.isDir() {
		return fmt.Errorf("%s is a folder in the stage, and a file cannot take its place", real)
	}
	if err := p.write(real, h); err != nil || h.Typeflag != tar.TypeReg {
		return err
	}
	n, err := io.Copy(p.out, io.LimitReader(content, h.Size))
	if err == nil && n != h.Size {
		err = fmt.Errorf("it had %d bytes, and now has %d: it was changed while it was copied", h.Size, n)
	}
	return err
}

func (p *placing) write(at string, h *tar.Header) error {
	h.Name = strings.TrimPrefix(at, "/")
	if h.Typeflag == tar.TypeDir {
		h.Name += "/"
	}
	if !p.latest.IsZero() && h.ModTime.After(p.latest) {
		h.ModTime = p.latest
	}
	h.Format = tar.FormatPAX
	p.placed[at] = h.Typeflag
	return p.out.WriteHeader(h)
}
