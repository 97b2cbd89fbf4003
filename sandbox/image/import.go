package image

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/sys/unix"
)

// Import makes an image of one layer: the archive of a root file system, plain
// or compressed. The empty name makes one without a name. The zero Config is
// one that says nothing; source is told in the history.
func (s Store) Import(archive io.Reader, name string, config v1.Config, source string, progress Progress) (v1.Hash, error) {
	var none v1.Hash
	full := ""
	if name != "" {
		var err error
		if full, err = Canonical(name); err != nil {
			return none, err
		}
	}
	w, err := s.begin()
	if err != nil {
		return none, err
	}
	defer w.end()
	file := filepath.Join(w.dir, "rootfs")
	limits := s.Limits.withDefaults()
	if err := copyTo(file, limit(archive, limits.Bytes, "the archive")); err != nil {
		return none, err
	}
	manifest, raw, err := importManifest(file, limits, config, source)
	if err != nil {
		return none, err
	}
	d, err := w.add(oneLayer(manifest, raw, file), progress)
	if err != nil {
		return none, err
	}
	return sum(raw), s.update(func(index *v1.IndexManifest) error {
		setName(index, full, d)
		return nil
	})
}

func oneLayer(manifest, config []byte, file string) source {
	return source{manifest: manifest, config: config, file: func(v1.Descriptor) (string, error) { return file, nil }}
}

// importManifest describes an image whose only layer is a file.
func importManifest(name string, limits Limits, config v1.Config, source string) (manifest, raw []byte, err error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, nil, err
	}
	defer file.Close()
	d, err := describeLayer(file)
	if err != nil {
		return nil, nil, err
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return nil, nil, err
	}
	plain, err := decompress(file)
	if err != nil {
		return nil, nil, err
	}
	defer plain.Close()
	digest := sha256.New()
	if _, err := io.Copy(digest, limit(plain, limits.ofLayer(d.Size), "the unpacked layer")); err != nil {
		return nil, nil, err
	}
	platform := Platform()
	now := v1.Time{Time: Now()}
	raw, err = json.Marshal(v1.ConfigFile{
		Architecture: platform.Architecture, OS: platform.OS, Created: now, Config: config,
		RootFS:  v1.RootFS{Type: "layers", DiffIDs: []v1.Hash{hexSum(digest)}},
		History: []v1.History{{Created: now, CreatedBy: "import " + source}},
	})
	if err != nil {
		return nil, nil, err
	}
	manifest, err = json.Marshal(v1.Manifest{
		SchemaVersion: 2, MediaType: types.OCIManifestSchema1,
		Config: v1.Descriptor{MediaType: types.OCIConfigJSON, Digest: sum(raw), Size: int64(len(raw))},
		Layers: []v1.Descriptor{d},
	})
	return manifest, raw, err
}

// Now is the time that is written into images: now, or what SOURCE_DATE_EPOCH
// says, so that the same input can make the same digest
// (reproducible-builds.org).
func Now() time.Time {
	if at, ok := sourceDate(); ok {
		return at
	}
	return time.Now().UTC().Truncate(time.Second)
}

// sourceDate is what SOURCE_DATE_EPOCH says, if it says a time.
func sourceDate() (time.Time, bool) {
	seconds, err := strconv.ParseInt(os.Getenv("SOURCE_DATE_EPOCH"), 10, 64)
	if err != nil {
		return time.Time{}, false
	}
	return time.Unix(seconds, 0).UTC(), true
}

// ArchiveFolder writes a folder as the archive of a root file system. What the
// caller owns belongs to root in it, as it will seem to inside. It follows no
// link, and leaves sockets out.
func ArchiveFolder(to io.Writer, dir string) error {
	out := tar.NewWriter(to)
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	links := map[[2]uint64]string{} // device and inode to the first name
	err = fs.WalkDir(root.FS(), ".", func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return archiveOne(out, root, name, e, links)
	})
	return errors.Join(err, out.Close())
}

func archiveOne(out *tar.Writer, root *os.Root, name string, e fs.DirEntry, links map[[2]uint64]string) error {
	info, err := e.Info()
	if err != nil || info.Mode().Type() == fs.ModeSocket {
		return err
	}
	target := ""
	if info.Mode().Type() == fs.ModeSymlink {
		if target, err = root.Readlink(name); err != nil {
			return err
		}
	}
	h, err := tar.FileInfoHeader(info, target)
	if err != nil {
		return err
	}
	h.Name, h.Format = name, tar.FormatPAX
	h.AccessTime, h.ChangeTime = time.Time{}, time.Time{}
	h.Uname, h.Gname = "", ""
	if h.Uid == os.Getuid() {
		h.Uid, h.Gid = 0, 0
	}
	if info.IsDir() {
		h.Name += "/"
	}
	if !info.Mode().IsRegular() {
		return out.WriteHeader(h)
	}
	file, err := root.OpenFile(name, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer file.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(file.Fd()), &st); err != nil {
		return &fs.PathError{Op: "fstat", Path: name, Err: err}
	}
	if first, ok := links[[2]uint64{uint64(st.Dev), st.Ino}]; ok {
		h.Typeflag, h.Linkname, h.Size = tar.TypeLink, first, 0
		return out.WriteHeader(h)
	}
	if st.Nlink > 1 {
		links[[2]uint64{uint64(st.Dev), st.Ino}] = strings.TrimSuffix(name, "/")
	}
	if err := out.WriteHeader(h); err != nil {
		return err
	}
	_, err = io.Copy(out, file)
	return err
}
