package layer

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox"
)

// Layer is one kept layer, locked until Close.
type Layer struct {
	Name   string
	Record Record

	store Store
	dir   string
	lock  *os.File // nil where it is only looked at
	// live is a layer that overlayfs goes on with: nothing is taken out of it.
	// What of it has no absolute path lies beneath the descriptor base.
	live bool
	base int
}

// Record says what a layer belongs to. It lies beside the upper layers, in a
// folder that CMD does not see.
type Record struct {
	Version  int             `json:"version"` // 1
	Name     string          `json:"name"`
	Created  time.Time       `json:"created"`
	LastUsed time.Time       `json:"last_used"`
	Dir      string          `json:"dir"`              // the working folder of the last run
	Project  string          `json:"project"`          // the folder around it that is shown
	Home     string          `json:"home,omitempty"`   // where CMD sees HOME
	Uppers   []sandbox.Upper `json:"uppers,omitempty"` // in the order of their making
	Args     []string        `json:"args,omitempty"`   // CMD of the last run
	// Runs are the times at which runs began, oldest first, at most maxRuns:
	// a file of the host that changed after the run in which its copy was made
	// began has two new versions.
	Runs []time.Time `json:"runs,omitempty"`
}

const maxRuns = 256

// ErrNotExist is the error for a layer that is not there, ErrBusy for one that
// a run or another change holds.
var (
	ErrNotExist = errors.New("no layer has this name")
	ErrBusy     = errors.New("a run or another command is using it")
)

// Create opens a layer, and makes it where it is not there.
func (s Store) Create(name string) (*Layer, error) {
	if err := CheckName(name); err != nil {
		return nil, err
	}
	return s.create(name)
}

// CreateReview makes a layer without a name, for one run. Remove it.
func (s Store) CreateReview() (*Layer, error) {
	random, err := randomName()
	if err != nil {
		return nil, err
	}
	return s.create(reviewPrefix + random)
}

func (s Store) create(name string) (*Layer, error) {
	if err := s.make(); err != nil {
		return nil, err
	}
	dir := filepath.Join(s.dir, name)
	for range 8 {
		err := os.Mkdir(dir, 0o700)
		if err != nil && !errors.Is(err, os.ErrExist) {
			return nil, err
		}
		l, err := s.open(name)
		switch {
		case errors.Is(err, ErrNotExist): // it was removed meanwhile
			continue
		case err != nil:
			return nil, err
		}
		if err := l.fill(); err != nil {
			l.Close()
			return nil, err
		}
		return l, nil
	}
	return nil, ErrBusy
}

// fill makes what a layer consists of and is not there yet.
func (l *Layer) fill() error {
	// Overlayfs mounts all the same, and then cannot tell a folder that CMD made
	// anew from the one below it.
	if err := unix.Setxattr(l.dir, "user.sbx.layer", []byte("1"), 0); err != nil {
		if l.Record.Version == 0 {
			_ = l.Remove()
		}
		return errors.New(l.dir + " takes no user.* attributes (" + err.Error() + "), which an upper layer needs: XDG_STATE_HOME can name a folder of another file system")
	}
	for _, dir := range []string{l.Upper(), l.Home()} {
		if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
	}
	if l.Record.Version == 0 {
		l.Record = Record{Version: 1, Name: l.Name, Created: time.Now()}
	}
	return nil
}

// Open opens a layer that is there.
func (s Store) Open(name string) (*Layer, error) {
	if err := CheckName(name); err != nil {
		return nil, err
	}
	return s.open(name)
}

func (s Store) open(name string) (*Layer, error) {
	l := &Layer{Name: name, store: s, dir: filepath.Join(s.dir, name)}
	lock, err := os.OpenFile(filepath.Join(l.dir, "lock"), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if errors.Is(err, os.ErrNotExist) {
		return nil, ErrNotExist
	}
	if err != nil {
		return nil, err
	}
	l.lock = lock
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		lock.Close()
		if err == unix.EWOULDBLOCK {
			return nil, ErrBusy
		}
		return nil, &os.PathError{Op: "flock", Path: lock.Name(), Err: err}
	}
	// Who held the lock before may have removed what it locks.
	opened, err := lock.Stat()
	if err == nil {
		var there os.FileInfo
		if there, err = os.Lstat(lock.Name()); err == nil && !os.SameFile(opened, there) {
			err = os.ErrNotExist
		}
	}
	if err == nil {
		err = l.read()
	}
	if err != nil {
		lock.Close()
		if errors.Is(err, os.ErrNotExist) {
			err = ErrNotExist
		}
		return nil, err
	}
	return l, nil
}

// Look reads a layer that is there without holding it, also while a run goes on
// with it.
func (s Store) Look(name string) (*Layer, error) {
	if err := CheckName(name); err != nil {
		return nil, err
	}
	l := &Layer{Name: name, store: s, dir: filepath.Join(s.dir, name)}
	if _, err := os.Lstat(l.dir); err != nil {
		return nil, ErrNotExist
	}
	return l, l.read()
}

// read fills in the record. One that was never written is the zero Record.
func (l *Layer) read() error {
	data, err := os.ReadFile(l.recordName())
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, &l.Record); err != nil {
		return errors.New(l.recordName() + ": " + err.Error())
	}
	if l.Record.Version != 1 {
		return errors.New(l.recordName() + ": was written by another version of sbx")
	}
	return nil
}

func (l *Layer) recordName() string { return filepath.Join(l.dir, "record.json") }

// Dir is the layer's folder.
func (l *Layer) Dir() string { return l.dir }

// Upper is what Spec.Upper is to be, and Home what Spec.Home is.
func (l *Layer) Upper() string { return filepath.Join(l.dir, upperFolder) }

// Home is an empty folder, the lower layer of HOME.
func (l *Layer) Home() string { return filepath.Join(l.dir, homeFolder) }

const (
	upperFolder = "up"
	homeFolder  = "home"
)

// Places are Upper and Home of a layer, whether it is there or not.
func (s Store) Places(name string) (upper, home string) {
	return filepath.Join(s.dir, name, upperFolder), filepath.Join(s.dir, name, homeFolder)
}

// OtherProjectError is a layer that belongs to another folder than the one it
// is asked for in.
type OtherProjectError struct {
	Name, Has, Wanted string
}

func (e *OtherProjectError) Error() string {
	return "the layer " + e.Name + " is of " + e.Has + ", not of " + e.Wanted
}

// Begin notes down a run that is about to begin. It is an error where the layer
// belongs to another project, or lies over other folders than the plan's.
func (l *Layer) Begin(plan *sandbox.Plan, dir string, args []string) error {
	r := l.Record
	r.Uppers = slices.Clone(r.Uppers)
	project := dir
	for _, s := range plan.Shown {
		if ofProject(s.Why) && (dir == s.Target || strings.HasPrefix(dir, s.Target+"/")) {
			project = s.Target
			break // the outermost: Shown is in the order of depth
		}
	}
	image := func(list []sandbox.Upper) bool {
		return slices.ContainsFunc(list, func(u sandbox.Upper) bool { return len(u.Lowers) > 0 })
	}
	switch {
	case len(r.Uppers) > 0 && image(r.Uppers) != image(plan.Uppers()):
		return errors.New("the layer " + l.Name + " belongs to a run of the host's programs, and this one is of an image, or the other way round: take another name")
	case image(plan.Uppers()):
		project = "" // an image's run is the same wherever it is called
	case r.Project != "" && r.Project != project:
		return &OtherProjectError{l.Name, r.Project, project}
	}
	for _, u := range plan.Uppers() {
		if u.Lower == l.Home() {
			r.Home = u.Target
		}
		at := slices.IndexFunc(r.Uppers, func(o sandbox.Upper) bool { return o.Target == u.Target })
		switch {
		case at < 0:
			r.Uppers = append(r.Uppers, u)
		case r.Uppers[at].Lower != u.Lower:
			return errors.New("the layer " + l.Name + " has at " + u.Target + " what was written over " + r.Uppers[at].Lower + ", not over " + u.Lower)
		case !slices.Equal(r.Uppers[at].Lowers, u.Lowers):
			return errors.New("the layer " + l.Name + " was written over another image, or an older version of this one: take another name")
		default:
			r.Uppers[at] = u
		}
	}
	now := time.Now()
	r.Version = 1
	r.Dir, r.Project, r.Args, r.LastUsed = dir, project, args, now
	if r.Runs = append(r.Runs, now); len(r.Runs) > maxRuns {
		r.Runs = slices.Delete(r.Runs, 0, len(r.Runs)-maxRuns)
	}
	l.Record = r
	return l.write()
}

// ofProject says whether a folder is shown because it is the caller's project.
func ofProject(why string) bool {
	return strings.HasPrefix(why, "the working folder") || strings.HasPrefix(why, "the git work tree")
}

// own says whether an upper layer belongs to the layer and not to the host:
// that of HOME, and those of folders that nobody has asked for, such as a tool's
// cache. What CMD left in those is for other projects to run.
func (l *Layer) own(u *sandbox.Upper) bool {
	asked := u.Why == "" || ofProject(u.Why) || u.Why == "--rootfs" ||
		strings.HasPrefix(u.Why, "asked for") || strings.HasPrefix(u.Why, "the git folder of ")
	return u.Lower == l.Home() || !asked
}

// guardedIn is sandbox.GuardedName for a path in an upper layer. Outside of the
// project the folder's own name counts too: git's, or ~/.config.
func guardedIn(u *sandbox.Upper, rel string) string {
	if u.Why == "" || ofProject(u.Why) || u.Why == "--rootfs" {
		return sandbox.GuardedName(rel)
	}
	return sandbox.GuardedName(filepath.Join(u.Lower, rel))
}

// write puts the record in place of the old one, whole or not at all.
func (l *Layer) write() error {
	data, err := json.MarshalIndent(l.Record, "", "  ")
	if err != nil {
		return err
	}
	tmp := l.recordName() + ".new"
	if err := os.WriteFile(tmp, append(data, '\n'), 0o600); err != nil {
		_ = os.Remove(tmp) // a full disk
		return err
	}
	return os.Rename(tmp, l.recordName())
}

// began is when the run began in which something of the layer was made: the
// last one before it. Times of files come from a clock that is up to a tick of
// the kernel behind (ktime_get_coarse_real_ts64), which is 10 ms at most.
func (l *Layer) began(made time.Time) time.Time {
	began := l.Record.Created
	for _, run := range l.Record.Runs {
		if run.After(made.Add(10 * time.Millisecond)) {
			break
		}
		began = run
	}
	return began
}

// Close lets go of the layer.
func (l *Layer) Close() {
	if l.lock != nil {
		l.lock.Close()
		l.lock = nil
	}
}
