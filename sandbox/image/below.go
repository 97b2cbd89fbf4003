package image

import (
	"os"
	"path"

	"golang.org/x/sys/unix"
)

// below are the unpacked layers under an upper folder: what a file that was
// copied up from them was.
type below struct {
	layers []belowLayer // the highest first
}

type belowLayer struct {
	root     *os.File // nil where it cannot be opened
	recorded map[string]Recorded
}

func newBelow(layers []Unpacked) *below {
	b := &below{}
	for i := len(layers) - 1; i >= 0; i-- {
		l := belowLayer{recorded: map[string]Recorded{}}
		l.root, _ = os.Open(layers[i].Folder) // lookup finds nothing in it then
		for _, r := range layers[i].Recorded {
			name := r.Path
			if name == "" {
				name = string(r.PathBytes)
			}
			l.recorded[name] = r
		}
		b.layers = append(b.layers, l)
	}
	return b
}

func (b *below) close() {
	for _, l := range b.layers {
		l.root.Close()
	}
}

// lookup finds what the layers show under a name.
func (b *below) lookup(name string) (st unix.Stat_t, there bool) {
	st, _, there = b.find(name)
	return st, there
}

// find looks for a name from the top. The first layer that has it, or has
// something else than a folder on the way to it, decides.
func (b *below) find(name string) (st unix.Stat_t, layer int, there bool) {
	for i, l := range b.layers {
		if l.root == nil {
			continue
		}
		fd, err := unix.Openat2(int(l.root.Fd()), path.Clean(name), &unix.OpenHow{
			Flags:   unix.O_PATH | unix.O_NOFOLLOW | unix.O_CLOEXEC,
			Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_XDEV,
		})
		if err == unix.ENOENT {
			continue
		}
		if err != nil {
			return st, i, false
		}
		err = unix.Fstat(fd, &st)
		unix.Close(fd)
		if err != nil || st.Mode&unix.S_IFMT == unix.S_IFCHR {
			return st, i, false
		}
		return st, i, true
	}
	return st, -1, false
}

// owner gives the recorded owner of what the layers show under a name; 0 and 0
// where none is recorded.
func (b *below) owner(name string) (uid, gid int) {
	if _, layer, there := b.find(name); there {
		r := b.layers[layer].recorded[name]
		return r.UID, r.GID
	}
	return 0, 0
}
