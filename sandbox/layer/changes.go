package layer

import (
	"errors"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox"
)

// Item is one change that an upper layer holds against the host.
type Item struct {
	Kind string `json:"kind"` // sandbox.Added, Modified or Deleted
	Path string `json:"path"` // where CMD sees it
	Host string `json:"host"` // where it is on the host
	Type string `json:"type"` // "file", "folder", "link", or of what is deleted ""
	Size int64  `json:"size,omitempty"`
	// Guarded is what of the path makes the host run code later, or "".
	Guarded string `json:"guarded,omitempty"`
	// Link is what a link leads to, as it says itself.
	Link string `json:"link,omitempty"`
	// LeadsOut says that a link leads out of the folder, to where the caller
	// may have what is worth reading, or writing to, through it.
	LeadsOut bool `json:"leads_out,omitempty"`
	// Conflict says why the host's own version is newer, or "".
	Conflict string `json:"conflict,omitempty"`
	// Skip says why it cannot be copied, or "".
	Skip string `json:"skip,omitempty"`

	upper int    // index in Record.Uppers
	rel   string // beneath the upper layer and beneath the lower
	// whole is the folder that can leave the layer only as a whole, since it
	// hides all below it; "" where this item can leave it alone.
	whole string
	st    unix.Stat_t // in the layer; of what is deleted, nothing
	host  unix.Stat_t // on the host, where it is there
	there bool
}

const (
	typeFile   = "file"
	typeFolder = "folder"
	typeLink   = "link"
	// same is the Kind of what is no change any more: the host has it too.
	same = ""
)

// Changes is what a layer holds.
type Changes struct {
	Items []Item `json:"changes"`
	// OwnFiles and OwnSize (bytes) are what CMD left in HOME and in tools'
	// folders: it belongs to the layer and not to the host.
	OwnFiles int   `json:"own_files"`
	OwnSize  int64 `json:"own_size"`

	done   []Item   // what the host has already
	merged []merged // folders of the layer that only hold changes
	room   int      // bytes that all this takes, roughly
}

// The limits of a comparison, since CMD decides how much there is: the path of a
// folder that is entered, and what the list of changes takes, in bytes.
const (
	deepest  = 32 << 10
	mostRoom = 1 << 30
	itemRoom = 600 // an Item without its paths
)

var errTooMuch = errors.New("it holds more than can be compared (the list takes over 1 GiB): sbx rm removes it")

type merged struct {
	upper int
	rel   string
	mode  uint32
}

// Changes compares the layer with the host, in the order of paths. What
// belongs to the layer and not to the host is only counted.
func (l *Layer) Changes() (*Changes, error) {
	out := &Changes{}
	var errs []error
	for i, u := range l.Record.Uppers {
		if len(u.Lowers) > 0 {
			errs = append(errs, l.ofImage(&u, i, out))
			continue
		}
		if l.own(&u) {
			errs = append(errs, l.countOwn(&u, out))
			continue
		}
		s := scan{layer: l, index: i, upper: u, out: out}
		errs = append(errs, s.run())
	}
	slices.SortStableFunc(out.Items, func(a, b Item) int { return strings.Compare(a.Path, b.Path) })
	return out, errors.Join(errs...)
}

// ofImage lists what was written over an image, which no folder of the host
// takes.
func (l *Layer) ofImage(u *sandbox.Upper, index int, out *Changes) error {
	changes, err := u.Changes(l.base)
	if errors.Is(err, unix.ENOENT) {
		return nil // no run has come so far
	}
	for _, c := range changes {
		it := Item{Kind: c.Kind, Path: c.Path, Type: typeFile, Size: c.Size, Skip: "of an image: sbx commit makes an image of it", upper: index, rel: c.Path}
		if c.Dir {
			it.Type = typeFolder
		}
		out.Items = append(out.Items, it)
	}
	return err
}

// countOwn counts the files of an upper layer.
func (l *Layer) countOwn(u *sandbox.Upper, out *Changes) error {
	top, err := l.openUpper(u)
	if err != nil {
		if errors.Is(err, unix.ENOENT) {
			return nil
		}
		return err
	}
	defer unix.Close(top)
	walkFilesIn(top, func(st *unix.Stat_t) {
		out.OwnFiles++
		out.OwnSize += st.Size
	})
	return nil
}

// Size is how much room the layer takes on the disk, in bytes. A file with
// several names counts once for each.
func (l *Layer) Size() int64 {
	n := int64(0)
	_ = walkFiles(l.dir, func(st *unix.Stat_t) { n += st.Blocks * 512 })
	return n
}

// walkFiles calls f for all in a folder that is no folder and no whiteout, but
// for what lies deeper than is compared.
func walkFiles(dir string, f func(*unix.Stat_t)) error {
	top, err := openTop(dir)
	if err != nil {
		if errors.Is(err, unix.ENOENT) {
			return nil
		}
		return err
	}
	defer unix.Close(top)
	walkFilesIn(top, f)
	return nil
}

func walkFilesIn(top int, f func(*unix.Stat_t)) {
	list := []string{"."}
	for len(list) > 0 {
		rel := list[len(list)-1]
		list = list[:len(list)-1]
		fd, err := openBeneath(top, rel, folderList)
		if err != nil {
			continue // of mode 0: overlayfs' own, or CMD's
		}
		names, _ := namesIn(fd)
		for _, n := range names {
			st, there, err := lstatAt(fd, n)
			switch {
			case err != nil || !there:
			case isFolder(&st):
				if len(rel)+len(n) <= deepest { // else each open would go all the way again
					list = append(list, path.Join(rel, n))
				}
			case kindOf(&st) == unix.S_IFCHR && st.Rdev == 0:
			default:
				f(&st)
			}
		}
		unix.Close(fd)
	}
}
