package local

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrNotFound says that the store has no such image.
var ErrNotFound = errors.New("no such image in the store")

// Image is one image of the store. It is in use, so that nothing of it is
// removed, until Close.
type Image struct {
	Name   string // the whole reference that it was found by; empty where it was an id
	Digest string // of the manifest, "sha256:…"
	ID     string // of the config, "sha256:…"
	// Layers are the folders of its layers on the host, the lowest first.
	Layers []string
	Config Config
	// Owners says that the layers' files have the owners that the image gives
	// them, by the caller's subordinate ids; else all of them are the caller's.
	Owners bool

	lock *os.File
}

// Config is what an image says of the process to be run (image-spec, config.md).
type Config struct {
	User         string              `json:"User"`
	ExposedPorts map[string]struct{} `json:"ExposedPorts"`
	Env          []string            `json:"Env"`
	Entrypoint   []string            `json:"Entrypoint"`
	Cmd          []string            `json:"Cmd"`
	Volumes      map[string]struct{} `json:"Volumes"`
	WorkingDir   string              `json:"WorkingDir"`
	Labels       map[string]string   `json:"Labels"`
	StopSignal   string              `json:"StopSignal"`
	Shell        []string            `json:"Shell"`
}

// The annotations of a descriptor in index.json that are read here.
const (
	refName      = "org.opencontainers.image.ref.name"
	pulledDigest = "dev.sbx.pulled.digest"
)

type index struct {
	Manifests []struct {
		Digest      string            `json:"digest"`
		Annotations map[string]string `json:"annotations"`
	} `json:"manifests"`
}

type manifest struct {
	Config struct {
		Digest string `json:"digest"`
	} `json:"config"`
}

type configFile struct {
	Config Config `json:"config"`
	RootFS struct {
		DiffIDs []string `json:"diff_ids"`
	} `json:"rootfs"`
}

// DefaultDir is the store's folder: $XDG_DATA_HOME/sbx, or .local/share/sbx in
// HOME. It need not exist.
func DefaultDir() (string, error) {
	if data := os.Getenv("XDG_DATA_HOME"); filepath.IsAbs(data) { // else it is to be ignored (XDG Base Directory)
		return filepath.Join(data, "sbx"), nil
	}
	home := os.Getenv("HOME")
	if !filepath.IsAbs(home) {
		return "", errors.New("neither XDG_DATA_HOME nor HOME says where images are kept")
	}
	return filepath.Join(home, ".local", "share", "sbx"), nil
}

// Find finds the image that a word means: a reference, a digest, or the
// beginning of an id of 4 hexadecimal digits or more. It wraps ErrNotFound where
// there is none. The caller closes the image when nothing uses it any more.
func Find(dir, word string) (*Image, error) {
	for range 100 {
		image, err := find(dir, word)
		if err == nil || !errors.Is(err, errMoved) {
			return image, err
		}
	}
	return nil, fmt.Errorf("%s: %w", word, errMoved)
}

// errMoved says that an image was removed while it was being opened.
var errMoved = errors.New("the image is being removed and added again by other processes")

func find(dir, word string) (*Image, error) {
	digest, name, err := lookup(dir, word)
	if err != nil {
		return nil, err
	}
	i := &Image{Name: name, Digest: digest}
	if i.lock, err = lock(dir, digest); err != nil {
		return nil, err
	}
	if err := i.read(dir); err != nil {
		i.Close()
		if errors.Is(err, fs.ErrNotExist) {
			if again, _, lost := lookup(dir, word); lost != nil || again != digest {
				return nil, errMoved // before it was locked
			}
		}
		return nil, fmt.Errorf("image %s: %w", word, err)
	}
	return i, nil
}

// lookup finds the digest of the manifest, and the name if the word is one.
func lookup(dir, word string) (digest, name string, err error) {
	var ix index
	err = readJSON(filepath.Join(dir, "oci", "index.json"), &ix)
	if errors.Is(err, fs.ErrNotExist) {
		return "", "", fmt.Errorf("%s: %w", word, ErrNotFound)
	}
	if err != nil {
		return "", "", err
	}
	full, _ := Canonical(word)
	repository, asked, _ := strings.Cut(full, "@")
	for _, m := range ix.Manifests {
		has := m.Annotations[refName]
		if full != "" && has == full {
			return m.Digest, full, nil
		}
		if asked != "" && strings.HasPrefix(has, repository+":") && (m.Digest == asked || m.Annotations[pulledDigest] == asked) {
			return m.Digest, full, nil
		}
	}
	prefix := strings.TrimPrefix(word, "sha256:")
	if len(prefix) < 4 || strings.Trim(prefix, "0123456789abcdef") != "" {
		return "", "", fmt.Errorf("%s: %w", word, ErrNotFound)
	}
	var found []string
	for _, m := range ix.Manifests {
		if slices.Contains(found, m.Digest) {
			continue
		}
		var of manifest
		_ = readJSON(blob(dir, m.Digest), &of) // a damaged one has no id
		if strings.HasPrefix(hexOf(m.Digest), prefix) || strings.HasPrefix(hexOf(of.Config.Digest), prefix) {
			found = append(found, m.Digest)
		}
	}
	switch len(found) {
	case 0:
		return "", "", fmt.Errorf("%s: %w", word, ErrNotFound)
	case 1:
		return found[0], "", nil
	}
	return "", "", fmt.Errorf("%s begins the ids of %d images: give more digits", word, len(found))
}

// Names are the names of the images in a store, as short as they can be typed. A
// store that is not there has none.
func Names(dir string) ([]string, error) {
	var all index
	err := readJSON(filepath.Join(dir, "oci", "index.json"), &all)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var names []string
	for _, m := range all.Manifests {
		if name := m.Annotations[refName]; name != "" {
			name = strings.TrimPrefix(name, "docker.io/")
			names = append(names, strings.TrimPrefix(name, "library/"))
		}
	}
	return names, err
}

// lock says that an image is in use: flock(2), shared, of its manifest. Prune
// takes it alone before it removes what the image needs.
func lock(dir, digest string) (*os.File, error) {
	file, err := os.Open(blob(dir, digest))
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, errMoved
		}
		return nil, err
	}
	for {
		err = unix.Flock(int(file.Fd()), unix.LOCK_SH)
		if err != unix.EINTR {
			break
		}
	}
	var st unix.Stat_t
	if err == nil {
		err = unix.Fstat(int(file.Fd()), &st)
	}
	if err == nil && st.Nlink == 0 {
		err = errMoved
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	return file, nil
}

// read reads the manifest, the config and what is known of the layers.
func (i *Image) read(dir string) error {
	var m manifest
	if err := readJSON(blob(dir, i.Digest), &m); err != nil {
		return err
	}
	i.ID = m.Config.Digest
	var c configFile
	if err := readJSON(blob(dir, i.ID), &c); err != nil {
		return err
	}
	i.Config = c.Config
	for _, id := range c.RootFS.DiffIDs {
		if hexOf(id) == "" {
			return errors.New("the config has the diff id " + id + ", which is none")
		}
		layer := filepath.Join(dir, "layers", hexOf(id))
		// The root of a sandbox is what lies here: no link that somebody has put
		// there decides on another folder.
		for _, folder := range []string{layer, filepath.Join(layer, "root")} {
			if st, err := os.Lstat(folder); err != nil {
				return err
			} else if !st.IsDir() {
				return errors.New(folder + " is no folder")
			}
		}
		if _, err := os.Stat(filepath.Join(layer, realOwners)); err == nil {
			i.Owners = true
		}
		i.Layers = append(i.Layers, filepath.Join(layer, "root"))
	}
	return nil
}

// realOwners is the empty file beside an unpacked layer whose files have the
// owners that its archive gives them.
const realOwners = "owners"

// Close says that the image is in use no more.
func (i *Image) Close() error { return i.lock.Close() }

// hexOf is the hexadecimal part of a digest; empty for what is no sha256 digest.
func hexOf(digest string) string {
	if !isDigest(digest) {
		return ""
	}
	return strings.TrimPrefix(digest, "sha256:")
}

func blob(dir, digest string) string {
	return filepath.Join(dir, "oci", "blobs", "sha256", hexOf(digest))
}

func readJSON(name string, to any) error {
	data, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, to); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}
