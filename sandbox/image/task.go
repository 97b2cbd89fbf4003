package image

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox/layer"
)

// A Task is work on files that belong to the caller's subordinate ids: in the
// caller's own user namespace those are strangers' files. It is plain data, so
// that a process in which the ids are mapped can be told of it; what it reads
// and writes are two streams.
type Task struct {
	Verb string `json:"verb"` // one of the Task constants

	Dir    string `json:"dir,omitempty"`  // of TaskUnpack the layer's folder, of TaskRemove the one that Name is in
	Name   string `json:"name,omitempty"` // one component of a path
	Limits Limits `json:"limits,omitzero"`
	// Uppers and Below are AddUpper's.
	Uppers []Upper    `json:"uppers,omitempty"`
	Below  []Unpacked `json:"below,omitempty"`
}

// Unpacked is what a Task needs to know of a layer.
type Unpacked struct {
	Folder   string     `json:"folder"`
	Recorded []Recorded `json:"recorded,omitempty"` // owners only; none where they are real
}

func unpacked(layers []Layer) []Unpacked {
	var out []Unpacked
	for _, l := range layers {
		u := Unpacked{Folder: l.Folder}
		if l.Contents.owners() != OwnersReal {
			u.Recorded = l.Contents.Recorded
		}
		out = append(out, u)
	}
	return out
}

// What a Task can be.
const (
	TaskUnpack  = "unpack"  // reads an archive, writes Contents as JSON
	TaskArchive = "archive" // writes an archive
	TaskRemove  = "remove"  // neither
	TaskNothing = "nothing" // neither: it shows that there can be a worker
)

// A Worker carries a Task out where the caller's subordinate ids are mapped,
// uid 0 being the caller. Errors are Task.Do's, and its own.
type Worker interface {
	Work(t Task, in io.Reader, out io.Writer) error
}

// Do is the worker's side: it carries the task out in this process.
func (t Task) Do(in io.Reader, out io.Writer) error {
	switch t.Verb {
	case TaskUnpack:
		in := bufio.NewReaderSize(in, 256<<10)
		contents, err := unpack(t.Dir, in, t.Limits.withDefaults(), OwnersReal)
		if err == nil {
			_, err = io.Copy(io.Discard, in) // what stands after the end of the archive
		}
		if err != nil {
			return err
		}
		return json.NewEncoder(out).Encode(contents)
	case TaskArchive:
		out := bufio.NewWriterSize(out, 256<<10)
		return errors.Join(archiveUppers(out, t.Uppers, t.Below), out.Flush())
	case TaskRemove:
		if t.Name != filepath.Base(t.Name) || strings.Trim(t.Name, "./") == "" {
			return fmt.Errorf("%q is no name in a folder", t.Name)
		}
		return removeTree(filepath.Join(t.Dir, t.Name))
	case TaskNothing:
		return nil
	}
	return fmt.Errorf("%q is no task", t.Verb)
}

// owners is how a layer that is unpacked now has its owners.
func (s Store) owners() string {
	if s.Worker == nil {
		return OwnersRecorded
	}
	return OwnersReal
}

// mostContents is how much a worker may say of a layer, in bytes: a million
// entries, all of which are recorded.
const mostContents = 1 << 30

// unpack unpacks an archive into a folder of the store and reads it to its end.
func (s Store) unpack(root string, archive io.Reader, limits Limits) (Contents, error) {
	if s.Worker == nil {
		contents, err := unpack(root, archive, limits, OwnersRecorded)
		if err == nil {
			_, err = io.Copy(io.Discard, archive)
		}
		return contents, err
	}
	if err := unix.Mknod(filepath.Join(root, whiteoutModel), unix.S_IFCHR, 0); err != nil {
		return Contents{}, &os.PathError{Op: "mknod", Path: filepath.Join(root, whiteoutModel), Err: err}
	}
	in, out := &heard{Reader: archive}, &bounded{left: mostContents}
	err := s.Worker.Work(Task{Verb: TaskUnpack, Dir: root, Limits: limits}, in, out)
	if in.err != nil && in.err != io.EOF {
		err = in.err // what the worker says then is that the archive was cut off
	}
	if err != nil {
		return Contents{}, err
	}
	var contents Contents
	if err := json.Unmarshal(out.Bytes(), &contents); err != nil {
		return Contents{}, fmt.Errorf("the worker's answer: %w", err)
	}
	// A worker that was taken over may have stopped to read: the digests are
	// those of the whole archive.
	if _, err := io.Copy(io.Discard, in); err != nil {
		return Contents{}, err
	}
	if contents.Version != 1 || contents.Owners != OwnersReal {
		return Contents{}, errors.New("the worker's answer is that of another version of sbx")
	}
	return contents, nil
}

// Unpack makes sure that an image's layers have their owners in the store's way
// of now: the caller may have got subordinate ids, or lost them, since it came.
func (a *Addition) Unpack(i *Image) error {
	limits := a.w.s.Limits.withDefaults()
	for n, d := range i.Manifest.Layers {
		id := i.Config.RootFS.DiffIDs[n]
		if l, err := a.w.s.layer(d, id); err == nil && l.Contents.owners() == a.w.s.owners() {
			continue
		}
		if err := a.w.unpackBlob(a.w.s.blobPath(d.Digest), d, id, limits); err != nil {
			return fmt.Errorf("layer %d (%s): %w", n+1, Short(d.Digest), err)
		}
	}
	return nil
}

// archive writes upper folders as the archive of a layer.
func (s Store) archive(to io.Writer, uppers []Upper, below []Layer) error {
	t := Task{Verb: TaskArchive, Uppers: uppers, Below: unpacked(below)}
	if s.Worker == nil || slices.ContainsFunc(uppers, func(u Upper) bool { return u.Live }) {
		return t.Do(nil, to)
	}
	return s.Worker.Work(t, nil, to)
}

// removeTree removes a folder of the store, also one in which others than the
// caller own something.
func (s Store) removeTree(name string) error {
	err := removeTree(name)
	if !errors.Is(err, unix.EACCES) && !errors.Is(err, unix.EPERM) {
		return err
	}
	if s.Worker == nil {
		return fmt.Errorf("%w: it holds files of subordinate ids (subuid(5)), which are not at hand now", err)
	}
	return s.Worker.Work(Task{Verb: TaskRemove, Dir: filepath.Dir(name), Name: filepath.Base(name)}, nil, nil)
}

// removeTree removes a folder of any modes and any depth.
func removeTree(name string) error {
	dir, err := os.Open(filepath.Dir(name))
	if err != nil {
		return err
	}
	defer dir.Close()
	return layer.RemoveTree(dir, filepath.Base(name))
}

// heard is a reader that remembers why it ended.
type heard struct {
	io.Reader
	err error
}

func (h *heard) Read(p []byte) (int, error) {
	n, err := h.Reader.Read(p)
	if err != nil {
		h.err = err
	}
	return n, err
}

// bounded is a buffer that does not grow without end.
type bounded struct {
	bytes.Buffer
	left int
}

func (b *bounded) Write(p []byte) (int, error) {
	if b.left -= len(p); b.left < 0 {
		return 0, errors.New("the worker's answer is too long")
	}
	return b.Buffer.Write(p)
}
