package build

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/bzip2"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// archive unpacks an item to a folder where it is an archive, as ADD does, and
// says whether it was one. Owners and permissions are the archive's, unless
// --chown says otherwise. What the archive holds is not believed: a name with
// ".." is refused, and a link of it is not followed to another of its entries.
func (p *placing) archive(ctx context.Context, dest string, it item) (bool, error) {
	in, err := it.reader()
	if err != nil {
		return false, err
	}
	defer in.Close()
	plain, err := decompressed(in)
	if err != nil {
		return false, err
	}
	if plain == nil {
		return false, nil
	}
	defer plain.Close()
	r := tar.NewReader(plain)
	for first := true; ; first = false {
		h, err := r.Next()
		if errors.Is(err, tar.ErrInsecurePath) {
			err = nil // unpackOne decides
		}
		if err == io.EOF {
			return !first, nil
		}
		if err != nil {
			if first {
				return false, nil // no archive: ADD copies it as it is
			}
			return false, err
		}
		if err := errors.Join(ctx.Err(), p.unpackOne(dest, h, r)); err != nil {
			return false, fmt.Errorf("entry %q: %w", h.Name, err)
		}
	}
}

func (p *placing) unpackOne(dest string, from *tar.Header, content io.Reader) error {
	inside := func(name string) (string, error) {
		for part := range strings.SplitSeq(name, "/") {
			if part == ".." {
				return "", errors.New("a name with .. in it is refused")
			}
		}
		return path.Join(dest, path.Clean("/"+name)), nil
	}
	at, err := inside(from.Name)
	if err != nil {
		return err
	}
	h := &tar.Header{
		Typeflag: from.Typeflag, Mode: from.Mode & 0o7777, Uid: from.Uid, Gid: from.Gid, ModTime: from.ModTime,
		Size: from.Size, Linkname: from.Linkname, Devmajor: from.Devmajor, Devminor: from.Devminor,
	}
	for key, value := range from.PAXRecords {
		if strings.HasPrefix(key, "SCHILY.xattr.") {
			if h.PAXRecords == nil {
				h.PAXRecords = map[string]string{}
			}
			maps.Copy(h.PAXRecords, map[string]string{key: value})
		}
	}
	if p.owner != nil {
		h.Uid, h.Gid = p.owner.uid, p.owner.gid
	}
	switch h.Typeflag {
	case tar.TypeDir:
		_, err := p.folder(at, h)
		return err
	case tar.TypeReg, 0: // 0 is how old archives write it
		h.Typeflag = tar.TypeReg
	case tar.TypeLink:
		to, err := inside(from.Linkname)
		if err != nil {
			return err
		}
		parent, err := p.folder(path.Dir(to), nil)
		if err != nil {
			return err
		}
		to = path.Join(parent, path.Base(to))
		if p.placed[to] != tar.TypeReg {
			return fmt.Errorf("it is a hard link to %q, which is no file before it in the archive", from.Linkname)
		}
		h.Linkname, h.Size = strings.TrimPrefix(to, "/"), 0
	case tar.TypeSymlink, tar.TypeFifo, tar.TypeChar, tar.TypeBlock:
		h.Size = 0
	case tar.TypeXGlobalHeader:
		return nil
	default:
		return fmt.Errorf("its type %q is not known", from.Typeflag)
	}
	return p.file(at, h, content)
}

// decompressed reads what may be an archive, uncompressed; nil where it begins
// like none.
func decompressed(in io.Reader) (io.ReadCloser, error) {
	r := bufio.NewReaderSize(in, 64<<10)
	head, err := r.Peek(512)
	if err != nil && err != io.EOF {
		return nil, err
	}
	switch {
	case bytes.HasPrefix(head, []byte("\x1f\x8b")):
		plain, err := gzip.NewReader(r)
		if err != nil {
			return nil, nil //nolint:nilerr // no gzip after all: copied as it is
		}
		return plain, nil
	case bytes.HasPrefix(head, []byte("BZh")):
		return io.NopCloser(bzip2.NewReader(r)), nil
	case bytes.HasPrefix(head, []byte("\x28\xb5\x2f\xfd")):
		plain, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1))
		if err != nil {
			return nil, err
		}
		return plain.IOReadCloser(), nil
	case bytes.HasPrefix(head, []byte("\xfd7zXZ\x00")):
		return nil, unsupported("ADD of an xz archive", "unpack it first, or COPY it and RUN tar -xJf")
	case len(head) == 512 && bytes.HasPrefix(head[257:], []byte("ustar")):
		return io.NopCloser(r), nil
	}
	return nil, nil
}
