package main

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"github.com/sbx-dev/sbx/sandbox/image"
)

// listedFile is a file of a layer in JSON.
type listedFile struct {
	Path string `json:"path"`
	Link string `json:"link,omitempty"`
	Type string `json:"type"`
	Mode string `json:"mode"` // octal
	UID  int    `json:"uid"`
	GID  int    `json:"gid"`
	Size int64  `json:"size"`
}

// files lists a layer as its archive has it: with the owners and devices that
// one user cannot make.
func (c *inspectCommand) files(i *image.Image) error {
	layer, err := i.OpenLayer(c.Layer - 1)
	if err != nil {
		return err
	}
	defer layer.Close()
	out := []listedFile{}
	rows := [][]string{{"MODE", "OWNER", "SIZE", "NAME"}}
	for r := tar.NewReader(layer); ; {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil && !errors.Is(err, tar.ErrInsecurePath) {
			return err
		}
		kind, letter := fileType(h)
		out = append(out, listedFile{Path: h.Name, Link: h.Linkname, Type: kind, Mode: fmt.Sprintf("%04o", h.Mode&0o7777), UID: h.Uid, GID: h.Gid, Size: h.Size})
		name := printable(h.Name)
		switch kind {
		case "symlink":
			name += " -> " + printable(h.Linkname)
		case "hardlink":
			name += " = " + printable(h.Linkname)
		case "char", "block":
			name += fmt.Sprintf(" (%d:%d)", h.Devmajor, h.Devminor)
		}
		rows = append(rows, []string{modeText(letter, h.Mode), fmt.Sprintf("%d:%d", h.Uid, h.Gid), sizeText(h.Size), name})
	}
	if c.JSON {
		return writeJSON(os.Stdout, struct {
			Version int          `json:"version"`
			Files   []listedFile `json:"files"`
		}{1, out})
	}
	return table(os.Stdout, rows)
}

// fileType is what an entry is, in a word and as ls -l has it.
func fileType(h *tar.Header) (string, byte) {
	switch h.Typeflag {
	case tar.TypeDir:
		return "folder", 'd'
	case tar.TypeSymlink:
		return "symlink", 'l'
	case tar.TypeLink:
		return "hardlink", 'h'
	case tar.TypeChar:
		return "char", 'c'
	case tar.TypeBlock:
		return "block", 'b'
	case tar.TypeFifo:
		return "fifo", 'p'
	}
	if strings.HasPrefix(path.Base(h.Name), ".wh.") {
		return "whiteout", '-'
	}
	return "file", '-'
}

// modeText is the mode as ls -l writes it.
func modeText(letter byte, mode int64) string {
	text := []byte(fs.FileMode(mode & 0o777).String())
	text[0] = letter
	for _, bit := range []struct {
		mode int64
		at   int
		with [2]byte // where x is set as well, and where it is not
	}{{0o4000, 3, [2]byte{'s', 'S'}}, {0o2000, 6, [2]byte{'s', 'S'}}, {0o1000, 9, [2]byte{'t', 'T'}}} {
		switch {
		case mode&bit.mode == 0:
		case text[bit.at] == 'x':
			text[bit.at] = bit.with[0]
		default:
			text[bit.at] = bit.with[1]
		}
	}
	return string(text)
}
