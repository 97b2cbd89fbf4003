package image

import (
	"archive/tar"
	"fmt"
	"path"
	"strconv"
	"strings"
)

// The names of a layer that mean a removal (image-spec, layer.md).
const (
	whiteoutPrefix = ".wh."
	whiteoutMeta   = ".wh..wh." // aufs' own files; only the next one means anything
	whiteoutOpaque = ".wh..wh..opq"

	// whiteoutModel is no name of an archive: entries of the kind mean nothing.
	whiteoutModel = whiteoutMeta + "sbx"
)

// entryKind is what an entry of a layer does.
type entryKind int

const (
	makes     entryKind = iota // it makes a file, a folder, a link
	whiteout                   // it hides a name of the layers below
	opaque                     // it hides all that the layers below have in a folder
	nothing                    // it has no effect
	recordsIt                  // it cannot be made by one user: it is recorded
)

// An entry is one header of a layer, checked: what hostile archives do with
// names is decided here, before anything is done with them.
type entry struct {
	kind   entryKind
	folder string // the folder it lies in, "." for the top, without a slash at an end
	base   string // its name, one component; "." for the top itself
	target string // of a hard link: the name in the layer, cleaned as folder/base
	header *tar.Header
}

// parseEntry checks a header. What stands for a path outside (..) is refused
// and not mended: no tool that means well writes it. A leading slash and ./ are
// taken off, as every tool does. The name of a whiteout must be one of a file:
// ".wh." and ".wh..." would be the folder itself and its parent, and removing
// those is what CVE reports on other unpackers are about.
func parseEntry(header *tar.Header) (entry, error) {
	e := entry{header: header}
	name, err := cleanName(header.Name)
	if err != nil {
		return e, err
	}
	e.folder, e.base = path.Dir(name), path.Base(name)
	for component := range strings.SplitSeq(e.folder, "/") {
		if strings.HasPrefix(component, whiteoutPrefix) {
			return e, refused(header.Name, "it lies below a whiteout")
		}
	}
	switch {
	case e.base == whiteoutOpaque:
		e.kind = opaque
		return e, nil
	case strings.HasPrefix(e.base, whiteoutMeta):
		e.kind = nothing
		return e, nil
	case strings.HasPrefix(e.base, whiteoutPrefix):
		e.kind = whiteout
		e.base = strings.TrimPrefix(e.base, whiteoutPrefix)
		if e.base == "" || e.base == "." || e.base == ".." {
			return e, refused(header.Name, "it is the whiteout of no name")
		}
		return e, nil
	}
	switch header.Typeflag {
	case tar.TypeReg, tar.TypeDir, tar.TypeSymlink, tar.TypeFifo:
	case tar.TypeGNUSparse:
	case tar.TypeLink:
		if e.target, err = cleanName(header.Linkname); err != nil {
			return e, err
		}
		if strings.HasPrefix(path.Base(e.target), whiteoutPrefix) {
			return e, refused(header.Name, "it is a hard link to a whiteout")
		}
	case tar.TypeChar, tar.TypeBlock:
		e.kind = recordsIt
	case tar.TypeXGlobalHeader:
		e.kind = nothing
	default:
		return e, refused(header.Name, fmt.Sprintf("its type %q is not known", header.Typeflag))
	}
	if e.base == "." && header.Typeflag != tar.TypeDir && e.kind != nothing {
		return e, refused(header.Name, "the top of a layer is a folder")
	}
	return e, nil
}

// cleanName is a name without what means nothing in it (leading and double
// slashes, "."); ".." and NUL are refused.
func cleanName(name string) (string, error) {
	const most = 4095 // PATH_MAX without its NUL
	if strings.ContainsRune(name, 0) {
		return "", refused(name, "it holds a NUL")
	}
	if len(name) > most {
		return "", refused(name[:64]+"…", "it is longer than a path can be")
	}
	for component := range strings.SplitSeq(name, "/") {
		if component == ".." {
			return "", refused(name, "it leads outside of the layer")
		}
	}
	return strings.TrimPrefix(path.Clean("/"+name), "/") + dotIfTop(name), nil
}

// dotIfTop is "." where a name is the top of the layer.
func dotIfTop(name string) string {
	if path.Clean("/"+name) == "/" {
		return "."
	}
	return ""
}

// RefusedError is an entry that no layer may have.
type RefusedError struct {
	Name   string // as the archive has it
	Reason string
}

func (e *RefusedError) Error() string {
	return fmt.Sprintf("entry %s is refused: %s", shown(e.Name), e.Reason)
}

// shown is the name of an entry as a message has it: quoted, and not all of it
// where it is as long as a path can be.
func shown(name string) string {
	const most = 200
	if len(name) > most {
		return strconv.Quote(name[:most]) + "…"
	}
	return strconv.Quote(name)
}

func refused(name, reason string) error { return &RefusedError{Name: name, Reason: reason} }
