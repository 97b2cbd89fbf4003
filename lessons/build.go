package lessons

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox/image/local"
)

// bench is where a check builds an answer that is a Dockerfile: a folder of its
// own with the lesson's files, and a store of its own, so that neither what the
// student has changed besides nor what is cached already counts.
type bench struct {
	runner *Runner
	lesson *Lesson
	answer string
	built  map[string]*builtImage // by the file that was edited; "" for none
}

// builtImage is an image that a check has built.
type builtImage struct {
	run    *Observation // of sbx build
	word   string       // what was added to the file that was edited
	layers []builtLayer // the lowest first; none where the build failed
}

type builtLayer struct {
	id     string // of the layer, its diff id
	madeBy string
	folder string
}

// openBench makes the folder; close removes it.
func (l *Lesson) openBench(r *Runner, answer string) (*bench, error) {
	dir, err := os.MkdirTemp("", "sbx-lesson-")
	if err != nil {
		return nil, err
	}
	b := &bench{lesson: l, answer: answer, built: map[string]*builtImage{}}
	b.runner = &Runner{Sbx: r.Sbx, Dir: dir, Timeout: r.Timeout, Env: r.Env, Given: Given{Data: dataFolder}}
	return b, nil
}

func (b *bench) close() error { return b.runner.Remove() }

// build builds the image, after a line was added to a file of the lesson. Each
// edit begins with the files of the lesson, and a build of those comes first, so
// that what does not change is cached.
func (b *bench) build(ctx context.Context, edit string) (*builtImage, error) {
	if done := b.built[edit]; done != nil {
		return done, nil
	}
	if edit != "" {
		first, err := b.build(ctx, "")
		if err != nil {
			return nil, err
		}
		if first.run.Code != 0 { // nor will this one
			return first, nil
		}
	}
	for name, text := range b.lesson.Files {
		if name == b.lesson.File {
			text = b.answer
		}
		if err := b.write(name, text); err != nil {
			return nil, err
		}
	}
	out := &builtImage{}
	if edit != "" {
		out.word = "new-" + strings.ToLower(rand.Text()[:8])
		if err := b.write(edit, b.lesson.Files[edit]+out.word+"\n"); err != nil {
			return nil, err
		}
	}
	const name = "answer"
	line := Line{Other: []string{"build", "--progress", "plain", "-t", name, path.Dir(b.lesson.File)}}
	var err error
	if out.run, err = b.runner.other(ctx, line); err != nil {
		return nil, err
	}
	if out.run.Code == 0 {
		if out.layers, err = b.layers(name); err != nil {
			return nil, err
		}
	}
	b.built[edit] = out
	return out, nil
}

func (b *bench) write(name, text string) error {
	at := filepath.Join(b.runner.Dir, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
		return err
	}
	return os.WriteFile(at, []byte(text), 0o644)
}

// layers are those of an image of the bench's store.
func (b *bench) layers(name string) ([]builtLayer, error) {
	store := filepath.Join(b.runner.Dir, dataFolder, "sbx")
	i, err := local.Find(store, name)
	if err != nil {
		return nil, err
	}
	defer i.Close()
	var config struct {
		History []struct {
			CreatedBy  string `json:"created_by"`
			EmptyLayer bool   `json:"empty_layer"`
		} `json:"history"`
	}
	text, err := os.ReadFile(filepath.Join(store, "oci", "blobs", "sha256", strings.TrimPrefix(i.ID, "sha256:")))
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(text, &config); err != nil {
		return nil, err
	}
	var steps []string
	for _, h := range config.History {
		if !h.EmptyLayer {
			steps = append(steps, strings.Replace(h.CreatedBy, "/bin/sh -c ", "", 1))
		}
	}
	var out []builtLayer
	for n, folder := range i.Layers {
		l := builtLayer{id: filepath.Base(filepath.Dir(folder)), folder: folder}
		if len(steps) == len(i.Layers) {
			l.madeBy = steps[n]
		}
		out = append(out, l)
	}
	return out, nil
}

// find is the layer that a path of the image is taken from, and the path's text
// where it is a file. It is nil where the image has no such path.
func (b *builtImage) find(name string) (*builtLayer, string, error) {
	for n := len(b.layers) - 1; n >= 0; n-- {
		root, err := os.OpenRoot(b.layers[n].folder)
		if err != nil {
			return nil, "", err
		}
		defer root.Close()
		info, err := root.Lstat(name)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
			continue
		}
		if err != nil {
			return nil, "", err
		}
		if info.Mode()&fs.ModeCharDevice != 0 { // a whiteout
			return nil, "", nil
		}
		if !info.Mode().IsRegular() {
			return &b.layers[n], "", nil
		}
		text, err := root.ReadFile(name)
		return &b.layers[n], string(text), err
	}
	return nil, "", nil
}

// anew are the steps of the layers that another build of the same does not have.
func (b *builtImage) anew(before *builtImage) []string {
	var out []string
	for _, l := range b.layers {
		if !slices.ContainsFunc(before.layers, func(o builtLayer) bool { return o.id == l.id }) {
			out = append(out, l.madeBy)
		}
	}
	return out
}

// failure is why a build failed, in its own words.
func (b *builtImage) failure() string {
	lines := strings.Split(strings.TrimSpace(string(b.run.Stderr)), "\n")
	for _, line := range slices.Backward(lines) {
		if strings.HasPrefix(line, "sbx: ") {
			return line
		}
	}
	return fmt.Sprintf("the build ended so: %s: %s", b.run.Ended(), lines[len(lines)-1])
}
