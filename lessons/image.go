package lessons

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sbx-dev/sbx/sandbox/container"
	"github.com/sbx-dev/sbx/sandbox/image/local"
)

// dataFolder is the folder of the student's that XDG_DATA_HOME names in a lesson
// on images: what the student keeps elsewhere is neither seen nor changed.
const dataFolder = "data"

// imageLayer is one layer of an image that a lesson gives.
type imageLayer struct {
	madeBy string            // the step that made it, for the history
	files  map[string]string // by path without a leading slash; ".wh.NAME" removes NAME
}

// addImage takes a section image/NAME:TAG/N, the step that made layer N, or
// image/NAME:TAG/N/PATH, a file of it.
func (l *Lesson) addImage(rest, text string) error {
	name, rest, _ := strings.Cut(rest, "/")
	number, file, isFile := strings.Cut(rest, "/")
	n, err := strconv.Atoi(number)
	if err != nil {
		return fmt.Errorf("%q is no number of a layer", number)
	}
	layers := l.images[name]
	if n == len(layers)+2 && !isFile {
		l.images[name] = append(layers, imageLayer{madeBy: strings.TrimSpace(text), files: map[string]string{}})
		return nil
	}
	if n != len(layers)+1 || !isFile || !fs.ValidPath(file) {
		return errors.New("the layers are 2, 3 and so on, in order, each its step first and then its files")
	}
	layers[n-2].files[file] = text
	return nil
}

// prepareImages writes NAME.tar for each image of the lesson, as docker save
// would, and loads it into the store of the student's folder. What is there
// stays as it is.
func (r *Runner) prepareImages(l *Lesson) error {
	for name, layers := range l.images {
		archive := filepath.Join(r.Dir, archiveName(name))
		if err := newFile(archive, func(w io.Writer) error { return writeImage(w, name, layers) }); err != nil {
			return err
		}
		if r.Sbx == "" || r.hasImage(name) {
			continue
		}
		ctx, cancel := context.WithTimeout(context.Background(), DefaultTimeout)
		defer cancel()
		cmd := exec.CommandContext(ctx, r.Sbx, "image", "load", "--quiet", "-i", archive)
		cmd.Dir, cmd.Env = r.Dir, r.Env
		takeBack, err := l.Given.Lend(cmd)
		if err != nil {
			return err
		}
		out, err := cmd.CombinedOutput()
		takeBack()
		if err != nil {
			return fmt.Errorf("the image %s of the lesson: %w: %s", name, err, bytes.TrimSpace(out))
		}
	}
	return nil
}

// archiveName is the file that an image comes in: kiosk.tar for kiosk:2.
func archiveName(image string) string {
	name, _, _ := strings.Cut(image, ":")
	return name + ".tar"
}

func (r *Runner) hasImage(name string) bool {
	i, err := r.image(name)
	if err != nil {
		return false
	}
	i.Close()
	return true
}

// image opens an image of the student's store.
func (r *Runner) image(name string) (*local.Image, error) {
	return local.Find(filepath.Join(r.Dir, dataFolder, "sbx"), name)
}

// newFile writes a file that is not there yet, all of it or nothing: two requests
// of one student may come at once, and what the first has written counts.
func newFile(name string, write func(io.Writer) error) error {
	if _, err := os.Lstat(name); err == nil {
		return nil
	}
	f, err := os.CreateTemp(filepath.Dir(name), ".new-")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	if err := errors.Join(write(f), f.Chmod(0o644), f.Close()); err != nil {
		return err
	}
	if err := os.Link(f.Name(), name); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// imageTime is when the image of a lesson was made, and its files.
var imageTime = time.Date(2026, time.March, 2, 9, 0, 0, 0, time.UTC)

// writeImage writes the archive of an image (docker's image spec v1.2): its
// layers, a config and manifest.json.
func writeImage(to io.Writer, name string, layers []imageLayer) error {
	type step struct {
		Created   time.Time `json:"created"`
		CreatedBy string    `json:"created_by"`
	}
	var config struct {
		Architecture string    `json:"architecture"`
		OS           string    `json:"os"`
		Created      time.Time `json:"created"`
		Config       struct {
			Cmd    []string
			Labels map[string]string
		} `json:"config"`
		RootFS struct {
			Type    string   `json:"type"`
			DiffIDs []string `json:"diff_ids"`
		} `json:"rootfs"`
		History []step `json:"history"`
	}
	config.Architecture, config.OS, config.Created = runtime.GOARCH, "linux", imageTime
	config.Config.Cmd, config.RootFS.Type = []string{"sh"}, "layers"
	config.Config.Labels = map[string]string{container.BaseLabel: container.BaseHost}
	var names []string
	members := map[string][]byte{}
	for i, layer := range append([]imageLayer{hostLayer()}, layers...) {
		archive, err := layer.archive()
		if err != nil {
			return err
		}
		file := "layer-" + strconv.Itoa(i+1) + ".tar"
		names, members[file] = append(names, file), archive
		sum := sha256.Sum256(archive)
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, "sha256:"+hex.EncodeToString(sum[:]))
		config.History = append(config.History, step{imageTime.Add(time.Duration(i) * time.Minute), layer.madeBy})
	}
	var err error
	if members["config.json"], err = json.Marshal(config); err != nil {
		return err
	}
	members["manifest.json"], err = json.Marshal([]map[string]any{{"Config": "config.json", "RepoTags": []string{name}, "Layers": names}})
	if err != nil {
		return err
	}
	out := tar.NewWriter(to)
	for _, file := range slices.Sorted(maps.Keys(members)) {
		if err := entry(out, &tar.Header{Typeflag: tar.TypeReg, Name: file, Mode: 0o644}, string(members[file])); err != nil {
			return err
		}
	}
	return out.Close()
}

func entry(out *tar.Writer, h *tar.Header, text string) error {
	h.ModTime, h.Size, h.Format = imageTime, int64(len(text)), tar.FormatPAX
	if err := out.WriteHeader(h); err != nil {
		return err
	}
	_, err := io.WriteString(out, text)
	return err
}

// linkTo begins the text of a file of hostLayer that is a link.
const linkTo = "link to "

// hostLayer is the lowest layer of each image, as that of FROM host: empty places
// for what the host shows in it, and its links.
func hostLayer() imageLayer {
	base := imageLayer{madeBy: "FROM host", files: map[string]string{}}
	for _, p := range container.HostPaths {
		info, err := os.Lstat(p)
		if err != nil {
			continue // this host has none
		}
		name := strings.TrimPrefix(p, "/")
		switch {
		case info.IsDir():
			base.files[name+"/"] = ""
		case info.Mode().IsRegular():
			base.files[name] = ""
		default:
			if target, err := os.Readlink(p); err == nil {
				base.files[name] = linkTo + target
			}
		}
	}
	return base
}

// archive is the layer as it is sent, with the folders that its files are in.
func (l imageLayer) archive() ([]byte, error) {
	var b bytes.Buffer
	out := tar.NewWriter(&b)
	folders := map[string]bool{".": true}
	var folder func(dir string) error
	folder = func(dir string) error {
		if folders[dir] {
			return nil
		}
		folders[dir] = true
		if err := folder(path.Dir(dir)); err != nil {
			return err
		}
		return entry(out, &tar.Header{Typeflag: tar.TypeDir, Name: dir + "/", Mode: 0o755}, "")
	}
	for _, name := range slices.Sorted(maps.Keys(l.files)) {
		if err := folder(path.Dir(name)); err != nil {
			return nil, err
		}
		text := l.files[name]
		target, isLink := strings.CutPrefix(text, linkTo)
		var err error
		switch {
		case strings.HasSuffix(name, "/"):
			// path.Dir has made it
		case isLink:
			err = entry(out, &tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target, Mode: 0o777}, "")
		default:
			err = entry(out, &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644}, withSecrets(text))
		}
		if err != nil {
			return nil, err
		}
	}
	err := out.Close()
	return b.Bytes(), err
}

// withSecrets puts a word that nobody can know in the place of each {secret}.
func withSecrets(text string) string {
	for strings.Contains(text, "{secret}") {
		text = strings.Replace(text, "{secret}", strings.ToLower(rand.Text()[:16]), 1)
	}
	return text
}

// inLayer is what layer n of an image of the student's store, 1 being the lowest,
// has at a path. It is read from the archive of the layer, whose name is its
// digest: the unpacked folder can be changed, this cannot without being told.
func (r *Runner) inLayer(name string, n int, file string) (string, error) {
	i, err := r.image(name)
	if err != nil {
		return "", err
	}
	defer i.Close()
	blob := func(digest string) ([]byte, error) {
		text, err := os.ReadFile(filepath.Join(r.Dir, dataFolder, "sbx", "oci", "blobs", "sha256", strings.TrimPrefix(digest, "sha256:")))
		if err != nil {
			return nil, err
		}
		if sum := sha256.Sum256(text); "sha256:"+hex.EncodeToString(sum[:]) != digest {
			return nil, errors.New("the image in " + dataFolder + " is damaged: sbx lesson reset")
		}
		return text, nil
	}
	text, err := blob(i.Digest)
	if err != nil {
		return "", err
	}
	var manifest struct {
		Layers []struct {
			Digest string `json:"digest"`
		} `json:"layers"`
	}
	if err := json.Unmarshal(text, &manifest); err != nil {
		return "", err
	}
	if n < 1 || n > len(manifest.Layers) {
		return "", fmt.Errorf("%s has %d layers", name, len(manifest.Layers))
	}
	if text, err = blob(manifest.Layers[n-1].Digest); err != nil {
		return "", err
	}
	for in := tar.NewReader(bytes.NewReader(text)); ; {
		h, err := in.Next()
		if err != nil {
			return "", fmt.Errorf("%s in layer %d of %s: %w", file, n, name, err)
		}
		if h.Name == file {
			text, err := io.ReadAll(in)
			return string(text), err
		}
	}
}

// SolutionFor is the solution as this student could type it: {layer IMAGE N}
// stands for the folder of a layer, which has another name for everybody.
func (l *Lesson) SolutionFor(r *Runner) string {
	text := l.Solution
	for {
		before, rest, ok := strings.Cut(text, "{layer ")
		words, after, closed := strings.Cut(rest, "}")
		if !ok || !closed {
			return text
		}
		name, number, _ := strings.Cut(words, " ")
		folder := "layer-" + number
		if i, err := r.image(name); err == nil {
			if n, err := strconv.Atoi(number); err == nil && n >= 1 && n <= len(i.Layers) {
				folder = i.Layers[n-1]
			}
			i.Close()
		}
		if rel, err := filepath.Rel(r.Dir, folder); err == nil {
			folder = rel
		}
		text = before + folder + after
	}
}
