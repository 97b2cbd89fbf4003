package layer

import (
	"archive/tar"
	"errors"
	"io"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// mostHoles is how many bytes of holes a file may have to be put into a tar
// stream, which would hold them all as zeros: who runs inside can make a file of
// 8 EiB that takes no room.
const mostHoles = 1 << 30

// WriteTar writes a path of a sandbox whose processes live as a tar stream, as
// CopyFrom would copy it with All. Ids says how the sandbox sees ids of the host.
func WriteTar(w io.Writer, root int, from string, how Copying, ids func(uid, gid uint32) (int, int)) (*Out, error) {
	src, err := sourceInside(root, from, how.Follow)
	if err != nil {
		return &Out{}, err
	}
	defer src.close()
	t := tar.NewWriter(w)
	c := &copier{out: &Out{}, from: path.Join("/", from), all: true, git: true, sink: &tarSink{t, ids}}
	c.copy(src, src.name)
	if c.end != nil {
		return c.out, c.end
	}
	return c.out, t.Close()
}

// tarSink is a tar stream.
type tarSink struct {
	to  *tar.Writer
	ids func(uid, gid uint32) (int, int)
}

func (t *tarSink) header(name string, st *unix.Stat_t) *tar.Header {
	h := &tar.Header{Name: name, Mode: int64(st.Mode & modeBits), ModTime: time.Unix(st.Mtim.Unix())}
	h.Uid, h.Gid = t.ids(st.Uid, st.Gid)
	return h
}

// write begins an entry. What cannot be said in a header is the entry's own
// trouble; what cannot be written ends the stream.
func (t *tarSink) write(h *tar.Header) error {
	err := t.to.WriteHeader(h)
	if err == nil || errors.Is(err, tar.ErrHeader) || strings.HasPrefix(err.Error(), "archive/tar: cannot encode") {
		return err
	}
	return &fatal{err}
}

func (t *tarSink) folder(to string, st *unix.Stat_t) (bool, error) {
	h := t.header(to+"/", st)
	h.Typeflag = tar.TypeDir
	return false, t.write(h)
}

func (t *tarSink) finish(string, int, *unix.Stat_t) error { return nil }

func (t *tarSink) link(to, target string, st *unix.Stat_t) error {
	h := t.header(to, st)
	h.Typeflag, h.Linkname = tar.TypeSymlink, target
	return t.write(h)
}

func (t *tarSink) file(to string, src int, st *unix.Stat_t) error {
	if st.Size-st.Blocks*512 > mostHoles {
		return errors.New("its holes would be " + strconv.FormatInt(st.Size-st.Blocks*512, 10) + " bytes of zeros in the stream: copy it to a folder")
	}
	h := t.header(to, st)
	h.Typeflag, h.Size = tar.TypeReg, st.Size
	if err := t.write(h); err != nil {
		return err
	}
	n, err := io.Copy(t.to, io.NewSectionReader(fileAt(src), 0, st.Size))
	if n == st.Size && err == nil {
		return nil
	}
	var read *os.PathError
	if err != nil && !(errors.As(err, &read) && read.Op == "pread") {
		return &fatal{err}
	}
	// The header promised so many bytes.
	if _, werr := io.CopyN(t.to, zeros{}, st.Size-n); werr != nil {
		return &fatal{werr}
	}
	if err == nil {
		err = errors.New("it became shorter while it was copied: the rest of it is zeros")
	}
	return err
}

// fileAt reads an open file.
type fileAt int

func (f fileAt) ReadAt(p []byte, off int64) (int, error) {
	n, err := unix.Pread(int(f), p, off)
	if err != nil {
		return 0, &os.PathError{Op: "pread", Path: "file", Err: err}
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// ReadTar unpacks a tar stream into a folder of a sandbox whose processes live,
// with the same care as CopyInto. Owners are not kept, and no setuid bit; entries
// that are no files, folders or links are left out. A stream that ends before its
// end is an error, and what came until then is in the sandbox.
func ReadTar(r io.Reader, root int, to string) (*Out, error) {
	out := &Out{}
	top, err := openInRoot(root, to, unix.O_DIRECTORY)
	if errors.Is(err, ErrAbsent) {
		err = errors.New(path.Clean("/"+to) + " is no folder inside")
	}
	if err != nil {
		return out, err
	}
	defer unix.Close(top)
	u := &untar{copier: copier{out: out, from: "/", all: true}, to: &folderSink{top: top, inside: true}, index: map[string]int{}}
	err = u.all(tar.NewReader(r))
	for _, f := range slices.Backward(u.made) {
		if err := u.to.finish(f.rel, -1, &f.st); err != nil {
			u.fail(f.rel, err)
		}
	}
	return out, err
}

type untar struct {
	copier
	to    *folderSink
	made  []madeFolder
	index map[string]int // in made, by rel
}

type madeFolder struct {
	rel string
	st  unix.Stat_t
}

func (u *untar) all(t *tar.Reader) error {
	for {
		h, err := t.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		rel := strings.TrimLeft(path.Clean(h.Name), "/")
		if rel == ".." || strings.HasPrefix(rel, "../") {
			u.skip(h.Name, "its name leads out of the folder")
			continue
		}
		if rel == "" {
			rel = "."
		}
		if len(rel) > deepest {
			u.skip(h.Name, "too deep")
			continue
		}
		if err := u.entry(t, h, rel); err != nil {
			var read *readError
			if errors.As(err, &read) {
				return read.error
			}
			u.fail(rel, err)
		}
	}
}

// readError is an error of the stream itself.
type readError struct{ error }

func (u *untar) entry(t *tar.Reader, h *tar.Header, rel string) error {
	st := &unix.Stat_t{Mode: uint32(h.Mode) & modeBits}
	st.Mtim = unix.NsecToTimespec(h.ModTime.UnixNano())
	st.Atim = st.Mtim
	if h.Typeflag == tar.TypeDir {
		return u.folder(rel, st)
	}
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeSymlink, tar.TypeLink, tar.TypeGNUSparse:
	case tar.TypeFifo:
		u.skip(rel, "a FIFO")
		return nil
	case tar.TypeChar, tar.TypeBlock:
		u.skip(rel, "a device")
		return nil
	default:
		u.skip(rel, "of a kind that is not known")
		return nil
	}
	if dir := path.Dir(rel); dir != "." {
		if err := u.folders(dir); err != nil {
			return err
		}
	}
	var err error
	switch h.Typeflag {
	case tar.TypeSymlink:
		err = u.to.link(rel, h.Linkname, st)
	case tar.TypeLink:
		err = u.to.hardLink(rel, strings.TrimLeft(path.Clean(h.Linkname), "/"))
	default:
		err = u.to.put(rel, func(at *spot) error {
			return at.putContent(st, func(dst int) error { return fill(dst, t) })
		})
		if err == nil {
			u.out.Size += h.Size
		}
	}
	if err == nil {
		u.out.Files++
	}
	return err
}

// folders makes the folders of an entry that the stream has not named.
func (u *untar) folders(rel string) error {
	fd, err := openBeneath(u.to.top, rel, folderPath)
	if err == nil {
		unix.Close(fd)
		return nil
	}
	if dir := path.Dir(rel); dir != "." {
		if err := u.folders(dir); err != nil {
			return err
		}
	}
	now := unix.Timespec{Nsec: unix.UTIME_NOW}
	return u.folder(rel, &unix.Stat_t{Mode: 0o755, Mtim: now, Atim: now})
}

func (u *untar) folder(rel string, st *unix.Stat_t) error {
	if dir := path.Dir(rel); dir != "." {
		if err := u.folders(dir); err != nil {
			return err
		}
	}
	made, err := u.to.folder(rel, st)
	if made {
		u.made = append(u.made, madeFolder{rel, *st})
		u.index[rel] = len(u.made) - 1
	} else if i, ok := u.index[rel]; ok && err == nil {
		u.made[i].st = *st // it was made for what is in it, and its mode comes now
	}
	return err
}

// fill writes what is read into an open file.
func fill(dst int, r io.Reader) error {
	buf := make([]byte, 256<<10)
	for {
		n, err := r.Read(buf)
		for done := 0; done < n; {
			k, werr := unix.Write(dst, buf[done:n])
			if werr != nil {
				return werr
			}
			done += k
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return &readError{err}
		}
	}
}

// hardLink gives a regular file beneath the sink another name.
func (s *folderSink) hardLink(to, from string) error {
	dir, base, err := parentOf(s.top, from)
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	st, there, err := lstatAt(dir, base)
	if err != nil {
		return err
	}
	if !there || kindOf(&st) != unix.S_IFREG {
		return errors.New("it is a hard link to " + from + ", which is no file there")
	}
	return s.put(to, func(at *spot) error {
		if old, there, err := lstatAt(at.parent, at.name); err == nil && there && old.Dev == st.Dev && old.Ino == st.Ino {
			return nil // rename(2) would leave the temporary name
		}
		done, err := at.putHardLink(dir, base, st.Ino)
		if err == nil && !done {
			err = errors.New("it is a hard link to " + from + ", which cannot be made")
		}
		return err
	})
}
