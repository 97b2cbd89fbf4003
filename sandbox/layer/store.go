package layer

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Store is a folder that holds layers. The zero Store holds none.
type Store struct {
	dir string

	// Foreign, when not nil, removes a tree, name being one component of a path
	// below dir, that holds files of the caller's subordinate ids (subuid(5)): CMD
	// had another uid than the caller's, and only root of a user namespace with
	// those ids may remove them.
	Foreign func(dir, name string) error
}

// DefaultStore is $XDG_STATE_HOME/sbx/layers, or .local/state/sbx/layers in
// HOME. It need not exist.
func DefaultStore() (Store, error) {
	if state := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(state) { // else it is to be ignored (XDG Base Directory)
		return NewStore(filepath.Join(state, "sbx", "layers")), nil
	}
	home := os.Getenv("HOME")
	if !filepath.IsAbs(home) {
		return Store{}, errors.New("neither XDG_STATE_HOME nor HOME says where layers are kept")
	}
	return NewStore(filepath.Join(home, ".local", "state", "sbx", "layers")), nil
}

// NewStore is the store in a folder, which need not exist.
func NewStore(dir string) Store { return Store{dir: filepath.Clean(dir)} }

// Dir is the store's folder.
func (s Store) Dir() string { return s.dir }

// CheckName says what is wrong with the name of a layer, or nil: it begins with
// a letter and goes on with letters, digits, ".", "_" and "-", 64 bytes at most.
// So it is one component of a path, no option, and no number of a process.
func CheckName(name string) error {
	ok := name != "" && len(name) <= 64
	for i := 0; ok && i < len(name); i++ {
		b := name[i]
		letter := b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z'
		ok = letter || i > 0 && (b >= '0' && b <= '9' || b == '.' || b == '_' || b == '-')
	}
	if !ok {
		return errors.New(strconv.Quote(name) + " is no name of a layer: a letter, then letters, digits, '.', '_' and '-', 64 at most")
	}
	return nil
}

// The names in a store that are no layer's: none begins with a letter.
const (
	deadPrefix    = ".dead-"
	reviewPrefix  = ".review-"
	boxPrefix     = ".box-"
	journalPrefix = ".journal-"
)

// Names lists the layers, in order.
func (s Store) Names() ([]string, error) {
	all, err := s.all()
	return slices.DeleteFunc(all, func(n string) bool { return CheckName(n) != nil }), err
}

func (s Store) all() ([]string, error) {
	entries, err := os.ReadDir(s.dir) // sorted
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, err
}

// make makes the store's folder, and refuses one in which others than the
// caller can put layers.
func (s Store) make() error {
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Stat(s.dir, &st); err != nil {
		return &os.PathError{Op: "stat", Path: s.dir, Err: err}
	}
	if int(st.Uid) != os.Getuid() || st.Mode&0o022 != 0 {
		return errors.New(s.dir + " can be written by others (uid " + strconv.Itoa(int(st.Uid)) + ", mode " + strconv.FormatUint(uint64(st.Mode&0o7777), 8) + "): layers are not kept there")
	}
	return nil
}

// Sweep finishes what was interrupted: it removes layers that were being
// removed, layers of reviews, and the temporary files of changes to the host,
// unless their process lives. It returns how many it found.
func (s Store) Sweep() (int, error) {
	names, err := s.all()
	errs := []error{err}
	n := 0
	for _, name := range names {
		var err error
		switch {
		case strings.HasPrefix(name, deadPrefix):
			err = s.removeDead(name)
		case strings.HasPrefix(name, reviewPrefix):
			l, lerr := s.open(name)
			if lerr != nil {
				continue // in use, or gone
			}
			err = l.Remove()
		case strings.HasPrefix(name, journalPrefix):
			var found bool
			if found, err = recoverJournal(filepath.Join(s.dir, name)); err == nil && !found {
				continue
			}
		default:
			continue
		}
		n++
		errs = append(errs, err)
	}
	return n, errors.Join(errs...)
}

// recover removes the temporary files of changes that were interrupted. What it
// cannot remove does not keep the next change from being made.
func (s Store) recover() error {
	names, err := s.all()
	errs := []error{err}
	for _, name := range names {
		if strings.HasPrefix(name, journalPrefix) {
			_, err := recoverJournal(filepath.Join(s.dir, name))
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// Interrupted says how many things Sweep would look at.
func (s Store) Interrupted() int {
	names, _ := s.all()
	n := 0
	for _, name := range names {
		if strings.HasPrefix(name, deadPrefix) || strings.HasPrefix(name, reviewPrefix) {
			n++
		}
	}
	return n
}
