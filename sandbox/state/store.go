package state

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Store is a folder that holds the state of sandboxes. The zero Store holds none.
type Store struct{ dir string }

// NameError is a word that names no sandbox, or cannot be a new one's name.
type NameError struct{ Reason string }

func (e *NameError) Error() string { return e.Reason }

// FolderError is a place for the store that cannot be trusted or made.
type FolderError struct{ Reason string }

func (e *FolderError) Error() string { return e.Reason }

// The reasons why a sandbox cannot be had.
var (
	ErrNotExist = errors.New("no such sandbox")
	ErrRunning  = errors.New("it is running")
)

// DefaultStore is $XDG_RUNTIME_DIR/sbx. Where that is not set it is
// /run/user/UID/sbx, if that folder is the user's own, else /tmp/sbx-UID, which
// is used only if nobody else has made it. It need not exist.
func DefaultStore() (Store, error) {
	uid := os.Getuid()
	if dir := os.Getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(dir) { // else it is to be ignored (XDG Base Directory)
		if err := private(dir, uid); err != nil {
			return Store{}, &FolderError{"XDG_RUNTIME_DIR is " + err.Error()}
		}
		return NewStore(filepath.Join(dir, "sbx")), nil
	}
	if dir := filepath.Join("/run/user", strconv.Itoa(uid)); private(dir, uid) == nil {
		return NewStore(filepath.Join(dir, "sbx")), nil
	}
	return NewStore("/tmp/sbx-" + strconv.Itoa(uid)), nil
}

// NewStore is the store in a folder, which need not exist.
func NewStore(dir string) Store { return Store{filepath.Clean(dir)} }

// Dir is the store's folder.
func (s Store) Dir() string { return s.dir }

// private says why a folder is not the user's alone, or nil. A symbolic link is
// none: in /tmp anybody may have put it there.
func private(dir string, uid int) error {
	var st unix.Stat_t
	if err := unix.Lstat(dir, &st); err != nil {
		return &os.PathError{Op: "lstat", Path: dir, Err: err}
	}
	switch {
	case st.Mode&unix.S_IFMT != unix.S_IFDIR:
		return errors.New(dir + ", which is no folder")
	case int(st.Uid) != uid:
		return errors.New(dir + ", which belongs to uid " + strconv.Itoa(int(st.Uid)))
	case st.Mode&0o022 != 0:
		return errors.New(dir + ", which others can write to (mode " + strconv.FormatUint(uint64(st.Mode&0o7777), 8) + ")")
	}
	return nil
}

// check says whether the store can be trusted; a folder that is not there can.
func (s Store) check() error {
	err := private(s.dir, os.Getuid())
	if err == nil || errors.Is(err, unix.ENOENT) {
		return nil
	}
	return &FolderError{"the state of sandboxes would be kept in " + err.Error()}
}

// lock makes the store and holds it alone until the returned function is called.
func (s Store) lock() (func(), error) {
	err := unix.Mkdir(s.dir, 0o700)
	if err != nil && err != unix.EEXIST {
		return nil, &FolderError{(&os.PathError{Op: "mkdir", Path: s.dir, Err: err}).Error()}
	}
	if err := s.check(); err != nil {
		return nil, err
	}
	fd, err := unix.Open(filepath.Join(s.dir, ".lock"), unix.O_RDWR|unix.O_CREAT|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: filepath.Join(s.dir, ".lock"), Err: err}
	}
	if err := flock(fd, unix.LOCK_EX); err != nil {
		unix.Close(fd)
		return nil, os.NewSyscallError("flock", err)
	}
	return func() { unix.Close(fd) }, nil
}

// Sandbox is a sandbox's state in the hands of its monitor.
type Sandbox struct {
	Record Record
	store  Store
	dir    string
	held   int // the lock
	mu     sync.Mutex
}

// Create reserves an id and, where it is not "", the name, for the calling
// process as the monitor. The error is a *NameError where the name is taken.
func (s Store) Create(name string) (*Sandbox, error) {
	if name != "" {
		if err := CheckName(name); err != nil {
			return nil, err
		}
	}
	unlock, err := s.lock()
	if err != nil {
		return nil, err
	}
	defer unlock()
	s.sweep()
	if name != "" {
		if r, err := s.byName(name); err == nil {
			return nil, &NameError{"a sandbox has the name " + name + " already (" + r.ID + ", " + r.Status + ")"}
		}
	}
	id, err := newID()
	if err != nil {
		return nil, err
	}
	b := &Sandbox{store: s, dir: filepath.Join(s.dir, id), held: -1, Record: Record{
		Version: 1, ID: id, Name: name, Status: Created, Created: time.Now().Round(time.Millisecond),
		Monitor: ProcessOf(os.Getpid()), Boot: bootID(), PIDNamespace: pidNamespace(),
	}}
	// Nobody sees the folder before it has its lock and its record.
	temporary := filepath.Join(s.dir, newPrefix+id)
	if err := b.fill(temporary); err != nil {
		if b.held >= 0 {
			unix.Close(b.held)
		}
		os.RemoveAll(temporary)
		return nil, err
	}
	if name != "" {
		link := filepath.Join(s.dir, namesFolder, name)
		_ = os.Remove(link) // of a sandbox that is no more
		if err := os.Symlink(id, link); err != nil {
			b.Close()
			_ = s.remove(&b.Record)
			return nil, err
		}
	}
	return b, nil
}

// The names in a store that are no sandbox's.
const (
	namesFolder = ".names"
	newPrefix   = ".new-"
	deadPrefix  = ".dead-"
)

func (b *Sandbox) fill(temporary string) error {
	if err := os.MkdirAll(filepath.Join(b.store.dir, namesFolder), 0o700); err != nil {
		return err
	}
	if err := os.Mkdir(temporary, 0o700); err != nil {
		return err
	}
	var err error
	if b.held, err = unix.Open(filepath.Join(temporary, "lock"), unix.O_RDWR|unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC, 0o600); err != nil {
		return &os.PathError{Op: "open", Path: filepath.Join(temporary, "lock"), Err: err}
	}
	if err := flock(b.held, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return os.NewSyscallError("flock", err)
	}
	if err := writeRecord(temporary, &b.Record); err != nil {
		return err
	}
	return os.Rename(temporary, b.dir)
}

// Update changes the record and writes it.
func (b *Sandbox) Update(change func(*Record)) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	change(&b.Record)
	return writeRecord(b.dir, &b.Record)
}

// writeRecord replaces the record as a whole, so that a reader finds the one or
// the other whenever the writer is killed.
func writeRecord(dir string, r *Record) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	temporary := filepath.Join(dir, "state.new")
	if err := os.WriteFile(temporary, append(text, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(temporary, filepath.Join(dir, "state.json"))
}

// Dir is the sandbox's folder in the store.
func (b *Sandbox) Dir() string { return b.dir }

// Close lets go of the sandbox, whose monitor is about to end.
func (b *Sandbox) Close() {
	if b.held >= 0 {
		unix.Close(b.held)
		b.held = -1
	}
}

// Remove removes the state and lets go of it.
func (b *Sandbox) Remove() error {
	defer b.Close()
	unlock, err := b.store.lock()
	if err != nil {
		return err
	}
	defer unlock()
	return b.store.remove(&b.Record)
}

// List reads all records, the newest first. What cannot be read is left out.
func (s Store) List() ([]*Record, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	ids, err := s.ids()
	if err != nil {
		return nil, err
	}
	var out []*Record
	for _, id := range ids {
		if r, err := readRecord(filepath.Join(s.dir, id)); err == nil {
			out = append(out, r)
		}
	}
	slices.SortStableFunc(out, func(a, b *Record) int { return b.Created.Compare(a.Created) })
	return out, nil
}

func (s Store) ids() ([]string, error) {
	entries, err := os.ReadDir(s.dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	var ids []string
	for _, e := range entries {
		if len(e.Name()) == 12 && IsID(e.Name()) {
			ids = append(ids, e.Name())
		}
	}
	return ids, err
}

// Find finds a sandbox by its name, its id, or what its id alone begins with. The
// error is ErrNotExist, or a *NameError where several begin so.
func (s Store) Find(word string) (*Record, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	if CheckName(word) == nil {
		if r, err := s.byName(word); err == nil {
			return r, nil
		}
	}
	if !IsID(word) {
		return nil, ErrNotExist
	}
	ids, err := s.ids()
	if err != nil {
		return nil, err
	}
	ids = slices.DeleteFunc(ids, func(id string) bool { return !strings.HasPrefix(id, word) })
	switch len(ids) {
	case 0:
		return nil, ErrNotExist
	case 1:
		r, err := readRecord(filepath.Join(s.dir, ids[0]))
		if errors.Is(err, os.ErrNotExist) {
			err = ErrNotExist
		}
		return r, err
	}
	return nil, &NameError{"the ids of " + strconv.Itoa(len(ids)) + " sandboxes begin with " + word + ": " + strings.Join(ids, " ")}
}

// byName reads the record that a name leads to.
func (s Store) byName(name string) (*Record, error) {
	id, err := os.Readlink(filepath.Join(s.dir, namesFolder, name))
	if err != nil || len(id) != 12 || !IsID(id) {
		return nil, ErrNotExist
	}
	r, err := readRecord(filepath.Join(s.dir, id))
	if err != nil {
		return nil, err
	}
	if r.Name != name {
		return nil, ErrNotExist
	}
	return r, nil
}

// Again reads a record once more.
func (s Store) Again(r *Record) (*Record, error) {
	now, err := readRecord(filepath.Join(s.dir, r.ID))
	if errors.Is(err, os.ErrNotExist) {
		err = ErrNotExist
	}
	return now, err
}

// Wait blocks until the sandbox's monitor has ended, and returns the record then;
// ErrNotExist where it was removed with it. It holds a thread.
func (s Store) Wait(r *Record) (*Record, error) {
	fd, err := unix.Open(filepath.Join(s.dir, r.ID, "lock"), unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err == unix.ENOENT {
		return nil, ErrNotExist
	}
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: filepath.Join(s.dir, r.ID, "lock"), Err: err}
	}
	defer unix.Close(fd)
	if err := flock(fd, unix.LOCK_SH); err != nil {
		return nil, os.NewSyscallError("flock", err)
	}
	return s.Again(r)
}

// Remove removes the state of a sandbox that does not run. The error is
// ErrRunning where it does, ErrNotExist where another was faster.
func (s Store) Remove(r *Record) error {
	unlock, err := s.lock()
	if err != nil {
		return err
	}
	defer unlock()
	now, err := s.Again(r)
	if err != nil {
		return err
	}
	if now.Status == Running || now.Status == Created {
		return ErrRunning
	}
	return s.remove(now)
}

// remove takes the sandbox out of sight first, in one step.
func (s Store) remove(r *Record) error {
	if r.Name != "" {
		link := filepath.Join(s.dir, namesFolder, r.Name)
		if id, err := os.Readlink(link); err == nil && id == r.ID {
			_ = os.Remove(link)
		}
	}
	dead := filepath.Join(s.dir, deadPrefix+r.ID)
	if err := os.Rename(filepath.Join(s.dir, r.ID), dead); err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return ErrNotExist
		}
		return err
	}
	return os.RemoveAll(dead)
}

// sweep removes what a kill has left half made or half removed. The store is
// locked, so nobody is at it, but for the last steps of a removal.
func (s Store) sweep() {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), newPrefix) || strings.HasPrefix(e.Name(), deadPrefix) {
			_ = os.RemoveAll(filepath.Join(s.dir, e.Name()))
		}
	}
}
