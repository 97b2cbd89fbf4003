package image

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strconv"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Loaded is one image that Load added.
type Loaded struct {
	Name string // the whole reference, empty where the archive gives none
	ID   v1.Hash
}

// archiveMembers is how many files the archive of images may hold: a file a
// layer, and some for each image.
const archiveMembers = 1 << 14

// Load adds the images of an archive that docker save, podman save or Save
// wrote: an OCI archive (index.json) or a docker-archive (manifest.json), plain
// or compressed. An OCI archive keeps its digests. In a docker-archive the
// manifests are written anew, the layers and the config are not: docker's image
// id stays. Where an image is there for several platforms, that of this machine
// is taken.
func (s Store) Load(archive io.Reader, progress Progress) ([]Loaded, error) {
	w, err := s.begin()
	if err != nil {
		return nil, err
	}
	defer w.end()
	members, err := w.spool(archive)
	if err != nil {
		return nil, fmt.Errorf("archive: %w", err)
	}
	var add func(Progress) ([]added, error)
	switch {
	case members.has("index.json"):
		add = members.oci
	case members.has("manifest.json"):
		add = members.docker
	case len(members.files) == 0:
		return nil, ErrNoArchive
	default:
		return nil, errors.New("archive: neither index.json (OCI) nor manifest.json (docker) is in it: sbx image import takes the archive of a root file system")
	}
	images, err := add(progress)
	if err != nil {
		return nil, err
	}
	var out []Loaded
	err = s.update(func(index *v1.IndexManifest) error {
		for _, image := range images {
			for _, full := range image.names {
				setName(index, full, image.descriptor)
				out = append(out, Loaded{Name: full, ID: image.id})
			}
			if len(image.names) == 0 {
				setName(index, "", image.descriptor)
				out = append(out, Loaded{ID: image.id})
			}
		}
		return nil
	})
	return out, err
}

// ErrNoArchive says that what was to be loaded holds no file at all: often the
// command in front of a pipe has failed.
var ErrNoArchive = errors.New("archive: it is empty")

// added is an image whose files are in the store and whose names are not.
type added struct {
	names      []string
	descriptor v1.Descriptor
	id         v1.Hash
}

// members are the files of an archive, spooled: a stream can be read once, and
// what an image needs may stand in any order.
type members struct {
	w     *writing
	files map[string]member
}

type member struct {
	file string // where it lies; a number, never the archive's own name
	link string // it is a symbolic link to this member, as docker save once wrote
}

func (w *writing) spool(archive io.Reader) (*members, error) {
	in := &counted{r: archive}
	plain, err := decompress(in)
	if err != nil {
		return nil, err
	}
	defer plain.Close()
	m := &members{w: w, files: map[string]member{}}
	limits := w.s.Limits.withDefaults()
	spooled := int64(0)
	r := tar.NewReader(plain)
	for n := 0; ; n++ {
		h, err := r.Next()
		if errors.Is(err, tar.ErrInsecurePath) {
			err = nil // the name is a key here, and no path
		}
		if err == io.EOF {
			return m, nil
		}
		if err != nil {
			return nil, err
		}
		if n == archiveMembers {
			return nil, fmt.Errorf("it has more than %d members", archiveMembers)
		}
		name := path.Clean(h.Name)
		switch h.Typeflag {
		case tar.TypeReg:
			file := path.Join(w.dir, "member-"+strconv.Itoa(n))
			grown := &proportionate{r: limit(r, limits.Bytes, strconv.Quote(name)), in: in, out: &spooled, ratio: limits.Ratio}
			if err := copyTo(file, grown); err != nil {
				return nil, err
			}
			m.files[name] = member{file: file}
		case tar.TypeSymlink, tar.TypeLink:
			target := h.Linkname
			if h.Typeflag == tar.TypeSymlink {
				target = path.Join(path.Dir(name), target)
			}
			m.files[name] = member{link: path.Clean(target)}
		}
	}
}

func copyTo(name string, r io.Reader) error {
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(file, r)
	return errors.Join(err, file.Close())
}

func (m *members) has(name string) bool { _, ok := m.files[name]; return ok }

// open opens a member.
func (m *members) open(name string) (*os.File, error) {
	file, err := m.file(name)
	if err != nil {
		return nil, err
	}
	return os.Open(file)
}

// file is where a member lies. A link is followed once: to another member.
func (m *members) file(name string) (string, error) {
	found, ok := m.files[path.Clean(name)]
	if ok && found.link != "" {
		found, ok = m.files[found.link]
	}
	if !ok || found.file == "" {
		return "", fmt.Errorf("archive: it has no %q", name)
	}
	return found.file, nil
}

// document reads a small member.
func (m *members) document(name string) ([]byte, error) {
	file, err := m.open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return io.ReadAll(limit(file, m.w.s.Limits.withDefaults().Document, strconv.Quote(name)))
}

func blobMember(h v1.Hash) string { return path.Join("blobs", h.Algorithm, h.Hex) }

// blob reads a small blob of an OCI archive and verifies it.
func (m *members) blob(h v1.Hash) ([]byte, error) {
	data, err := m.document(blobMember(h))
	if err == nil && sum(data) != h {
		err = fmt.Errorf("archive: %s has the digest %s", blobMember(h), sum(data))
	}
	return data, err
}

// oci adds the images of an OCI archive.
func (m *members) oci(progress Progress) ([]added, error) {
	data, err := m.document("index.json")
	if err != nil {
		return nil, err
	}
	index, err := v1.ParseIndexManifest(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("archive: index.json: %w", err)
	}
	var out []added
	for _, d := range index.Manifests {
		names, err := namesOf(d)
		if err != nil {
			return nil, err
		}
		listed := d.Digest
		d, data, err := m.choose(d, 0)
		if err != nil {
			return nil, err
		}
		image, err := m.add(data, progress)
		if err != nil {
			return nil, err
		}
		image.names = names
		if listed != d.Digest {
			image.descriptor.Annotations = map[string]string{pulledDigest: listed.String()}
		}
		if at := indexOfImage(out, image.descriptor.Digest); at >= 0 {
			out[at].names = append(out[at].names, names...)
			continue
		}
		out = append(out, image)
	}
	return out, nil
}

func indexOfImage(images []added, digest v1.Hash) int {
	for i, image := range images {
		if image.descriptor.Digest == digest {
			return i
		}
	}
	return -1
}

// choose goes from a list of platforms to the manifest for this machine.
func (m *members) choose(d v1.Descriptor, nested int) (v1.Descriptor, []byte, error) {
	data, err := m.blob(d.Digest)
	if err != nil || !d.MediaType.IsIndex() {
		return d, data, err
	}
	index, err := v1.ParseIndexManifest(bytes.NewReader(data))
	if err != nil {
		return d, nil, fmt.Errorf("archive: %s: %w", d.Digest, err)
	}
	want := Platform()
	var has []string
	for _, child := range index.Manifests {
		if child.MediaType.IsIndex() && nested == 0 {
			return m.choose(child, nested+1)
		}
		if child.Platform == nil || child.Platform.Satisfies(want) {
			data, err := m.blob(child.Digest)
			return child, data, err
		}
		has = append(has, child.Platform.String())
	}
	return d, nil, &PlatformError{Want: want.String(), Has: has}
}

// PlatformError says that an image is there for other machines only.
type PlatformError struct {
	Want string
	Has  []string
}

func (e *PlatformError) Error() string {
	return fmt.Sprintf("the image is for %v, and this machine is %s", e.Has, e.Want)
}

// namesOf are the names that an archive gives to an image: containerd's and
// docker's annotation is the whole reference, OCI's may be the tag alone, which
// names nothing.
func namesOf(d v1.Descriptor) ([]string, error) {
	if text := d.Annotations["io.containerd.image.name"]; text != "" {
		full, err := Canonical(text)
		return []string{full}, err
	}
	text := d.Annotations[refName]
	if _, tag, digest := SplitReference(text); tag == "" && digest == "" {
		return nil, nil
	}
	full, err := Canonical(text)
	return []string{full}, err
}

// add adds the image of a manifest of an OCI archive.
func (m *members) add(manifest []byte, progress Progress) (added, error) {
	parsed, err := v1.ParseManifest(bytes.NewReader(manifest))
	if err != nil {
		return added{}, fmt.Errorf("archive: manifest: %w", err)
	}
	config, err := m.blob(parsed.Config.Digest)
	if err != nil {
		return added{}, err
	}
	file := func(d v1.Descriptor) (string, error) { return m.file(blobMember(d.Digest)) }
	d, err := m.w.add(source{manifest: manifest, config: config, file: file}, progress)
	return added{descriptor: d, id: parsed.Config.Digest}, err
}

// dockerImage is one element of manifest.json in a docker-archive.
type dockerImage struct {
	Config   string
	RepoTags []string
	Layers   []string
}

// docker adds the images of a docker-archive.
func (m *members) docker(progress Progress) ([]added, error) {
	data, err := m.document("manifest.json")
	if err != nil {
		return nil, err
	}
	var images []dockerImage
	if err := json.Unmarshal(data, &images); err != nil {
		return nil, fmt.Errorf("archive: manifest.json: %w", err)
	}
	var out []added
	for _, image := range images {
		one, err := m.dockerImage(image, progress)
		if err != nil {
			return nil, err
		}
		out = append(out, one)
	}
	return out, nil
}

func (m *members) dockerImage(image dockerImage, progress Progress) (added, error) {
	var one added
	for _, tag := range image.RepoTags {
		full, err := Canonical(tag)
		if err != nil {
			return one, err
		}
		one.names = append(one.names, full)
	}
	config, err := m.document(image.Config)
	if err != nil {
		return one, err
	}
	manifest := v1.Manifest{
		SchemaVersion: 2, MediaType: types.OCIManifestSchema1,
		Config: v1.Descriptor{MediaType: types.OCIConfigJSON, Digest: sum(config), Size: int64(len(config))},
		Layers: []v1.Descriptor{},
	}
	names := map[v1.Hash]string{}
	for _, name := range image.Layers {
		d, err := m.describe(name)
		if err != nil {
			return one, err
		}
		names[d.Digest] = name
		manifest.Layers = append(manifest.Layers, d)
	}
	data, err := json.Marshal(manifest)
	if err != nil {
		return one, err
	}
	file := func(d v1.Descriptor) (string, error) { return m.file(names[d.Digest]) }
	one.id = manifest.Config.Digest
	one.descriptor, err = m.w.add(source{manifest: data, config: config, file: file}, progress)
	return one, err
}

// describe makes the descriptor of a layer's file.
func (m *members) describe(name string) (v1.Descriptor, error) {
	file, err := m.open(name)
	if err != nil {
		return v1.Descriptor{}, err
	}
	defer file.Close()
	return describeLayer(file)
}

// describeLayer reads a layer to its end and says what it is.
func describeLayer(file io.ReadSeeker) (v1.Descriptor, error) {
	head := make([]byte, 4)
	n, err := io.ReadFull(file, head)
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return v1.Descriptor{}, err
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return v1.Descriptor{}, err
	}
	digest, size, err := v1.SHA256(file)
	return v1.Descriptor{MediaType: layerType(head[:n]), Digest: digest, Size: size}, err
}
