package layer

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// journal notes down each temporary name on the host before it is used, so that
// what an interrupted change leaves there can be found. It is locked while its
// process lives. A nil journal notes nothing down: it is for what lies in a
// sandbox and is gone with it.
type journal struct{ file *os.File }

// temporary is one line of a journal: Name in Rel beneath Top.
type temporary struct {
	Top  string `json:"top"`
	Rel  string `json:"rel"`
	Name string `json:"name"`
}

func (s Store) newJournal() (*journal, error) {
	if err := s.make(); err != nil {
		return nil, err
	}
	random, err := randomName()
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(s.dir, journalPrefix+random), os.O_RDWR|os.O_CREATE|os.O_EXCL|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, err
	}
	return &journal{f}, nil
}

// name is a new temporary name in a folder. It cannot be guessed, and who finds
// it taken gets an error, so it never means a file of another.
func (j *journal) name(top, rel string) (string, error) {
	random, err := randomName()
	if err != nil {
		return "", err
	}
	t := temporary{top, rel, ".sbx-" + random}
	if j == nil {
		return t.Name, nil
	}
	line, err := json.Marshal(&t)
	if err != nil {
		return "", err
	}
	_, err = j.file.Write(append(line, '\n'))
	return t.Name, err
}

// close ends a journal whose temporary names are gone. One that holds some that
// could not be removed is left for Sweep.
func (j *journal) close(keep bool) {
	if j == nil {
		return
	}
	if !keep {
		_ = os.Remove(j.file.Name())
	}
	j.file.Close()
}

// recoverJournal removes what a change left that was interrupted. It is false
// where the change goes on.
func recoverJournal(name string) (bool, error) {
	f, err := os.OpenFile(name, os.O_RDWR|unix.O_NOFOLLOW, 0)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil {
		return false, nil
	}
	data, err := os.ReadFile(name)
	if err != nil {
		return false, nil //nolint:nilerr // another one was faster
	}
	var errs []error
	lines := bufio.NewScanner(bytes.NewReader(data))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var t temporary
		if json.Unmarshal(lines.Bytes(), &t) != nil || !strings.HasPrefix(t.Name, ".sbx-") || strings.Contains(t.Name, "/") {
			continue // the line that was being written: its name was not used
		}
		errs = append(errs, t.remove())
	}
	if err := errors.Join(errs...); err != nil {
		return true, err
	}
	return true, os.Remove(name)
}

func (t *temporary) remove() error {
	top, err := openTop(t.Top)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(top)
	parent, err := openBeneath(top, t.Rel, folderPath)
	if err != nil {
		return nil //nolint:nilerr // the folder is gone, or is no folder any more
	}
	defer unix.Close(parent)
	if err := removeTree(parent, t.Name); err != nil {
		return pathError("remove", filepath.Join(t.Top, t.Rel, t.Name), err)
	}
	return nil
}
