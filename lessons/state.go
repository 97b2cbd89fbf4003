package lessons

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// Progress is how far a student has come in one lesson.
type Progress struct {
	Started time.Time `json:"started"`
	Done    time.Time `json:"done"`   // zero until a check passed
	Tries   int       `json:"tries"`  // checks so far
	Hints   int       `json:"hints"`  // hints that were shown since the last check
	Secret  int       `json:"secret"` // chooses among Lesson.Secrets
}

// State is the file with the progress of all lessons. Two terminals may use it
// at once: every change is made under a lock, on what the file then holds, and
// put in its place by rename(2).
type State struct {
	file string // lessons.json
}

// record is the file's content.
type record struct {
	Version int                 `json:"version"` // 1
	Lessons map[string]Progress `json:"lessons"` // by ID
}

// Home is the folder of the course's files: $XDG_STATE_HOME/sbx, or
// ~/.local/state/sbx.
func Home() (string, error) {
	base := os.Getenv("XDG_STATE_HOME")
	if !filepath.IsAbs(base) {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", err
		}
		base = filepath.Join(home, ".local", "state")
	}
	return filepath.Join(base, "sbx"), nil
}

// Open returns the state below a folder such as Home's. Nothing is written yet.
func Open(home string) *State { return &State{file: filepath.Join(home, "lessons.json")} }

// Folder is the student's folder of a lesson.
func (s *State) Folder(l *Lesson) string {
	return filepath.Join(filepath.Dir(s.file), "lessons", l.ID())
}

// Read returns the progress of every lesson that was started, by ID.
func (s *State) Read() (map[string]Progress, error) {
	rec, err := s.read()
	return rec.Lessons, err
}

func (s *State) read() (record, error) {
	rec := record{Version: 1, Lessons: map[string]Progress{}}
	data, err := os.ReadFile(s.file)
	if errors.Is(err, fs.ErrNotExist) {
		return rec, nil
	}
	if err != nil {
		return rec, err
	}
	if err := json.Unmarshal(data, &rec); err != nil {
		return rec, fmt.Errorf("%s: %w: move it away to begin anew", s.file, err)
	}
	if rec.Version != 1 {
		return rec, fmt.Errorf("%s has version %d, this sbx knows 1", s.file, rec.Version)
	}
	if rec.Lessons == nil {
		rec.Lessons = map[string]Progress{}
	}
	return rec, nil
}

// Change changes the progress of a lesson and returns what it is now.
func (s *State) Change(l *Lesson, change func(*Progress)) (Progress, error) {
	dir := filepath.Dir(s.file)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return Progress{}, err
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lessons.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return Progress{}, err
	}
	defer lock.Close() // which gives the lock back
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return Progress{}, &fs.PathError{Op: "flock", Path: lock.Name(), Err: err}
	}
	rec, err := s.read()
	if err != nil {
		return Progress{}, err
	}
	p, known := rec.Lessons[l.ID()]
	if !known && len(l.Secrets) > 0 {
		p.Secret = rand.IntN(1 << 20)
	}
	change(&p)
	rec.Lessons[l.ID()] = p
	return p, s.write(rec)
}

// Forget removes the progress of a lesson.
func (s *State) Forget(l *Lesson) error {
	_, err := s.Change(l, func(p *Progress) { *p = Progress{Secret: rand.IntN(1 << 20)} })
	return err
}

func (s *State) write(rec record) error {
	data, err := json.MarshalIndent(rec, "", "  ")
	if err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(s.file), "lessons.json.*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(append(data, '\n'))
	if err := errors.Join(err, tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), s.file)
}

// SecretOf is the step that is off in a lesson with secrets; "" in every other.
func (p Progress) SecretOf(l *Lesson) string {
	if len(l.Secrets) == 0 {
		return ""
	}
	return l.Secrets[p.Secret%len(l.Secrets)]
}
