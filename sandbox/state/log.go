package state

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// LogSize is how much of what CMD prints is kept, in bytes: the newest, between
// the half of it and all.
const LogSize = 16 << 20

// Log is the file that CMD's output goes to. When it has reached half of its
// size it is renamed to log.1, in place of the one before, and begun anew.
type Log struct {
	mu   sync.Mutex
	dir  string
	file *os.File
	size int64
	half int64
}

// NewLog begins the log in a sandbox's folder; size is LogSize but for tests.
func NewLog(dir string, size int64) (*Log, error) {
	l := &Log{dir: dir, half: size / 2}
	return l, l.begin()
}

func (l *Log) begin() error {
	f, err := os.OpenFile(filepath.Join(l.dir, "log"), os.O_WRONLY|os.O_CREATE|os.O_EXCL|os.O_APPEND, 0o600)
	l.file, l.size = f, 0
	return err
}

// Write implements io.Writer. It never fails: CMD must not end because a log
// cannot be written.
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for rest := p; len(rest) > 0; {
		if l.size >= l.half {
			if l.file != nil {
				l.file.Close()
			}
			if os.Rename(filepath.Join(l.dir, "log"), filepath.Join(l.dir, "log.1")) != nil || l.begin() != nil {
				return len(p), nil // removed, or the disk is full
			}
		}
		n := min(int64(len(rest)), l.half-l.size)
		if l.file != nil {
			_, _ = l.file.Write(rest[:n])
		}
		l.size += n
		rest = rest[n:]
	}
	return len(p), nil
}

// Close closes the file.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return nil
	}
	return l.file.Close()
}

// AllLines has CopyLog begin where the log begins.
const AllLines = -1

// CopyLog writes what the sandbox has printed, the last lines of it or AllLines.
// With follow it goes on until the sandbox has ended, or was removed.
func (s Store) CopyLog(out io.Writer, r *Record, lines int, follow bool) error {
	dir := filepath.Join(s.dir, r.ID)
	var file *os.File
	defer func() {
		if file != nil {
			file.Close()
		}
	}()
	// The older half first. Between the two opens the newer may become the older.
	for {
		older, err := os.Open(filepath.Join(dir, "log.1"))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		if file, err = os.Open(filepath.Join(dir, "log")); err != nil && !errors.Is(err, os.ErrNotExist) {
			if older != nil {
				older.Close()
			}
			return err
		}
		if older == nil {
			if err := seekLines(lines, file); err != nil {
				return err
			}
			break
		}
		now, err := os.Stat(filepath.Join(dir, "log.1"))
		then, err2 := older.Stat()
		if errors.Join(err, err2) == nil && !os.SameFile(now, then) && file != nil {
			older.Close()
			file.Close()
			continue
		}
		if err = seekLines(lines, older, file); err == nil {
			_, err = io.Copy(out, older)
		}
		older.Close()
		if err != nil {
			return err
		}
		break
	}
	for {
		ended := true
		if now, err := s.Again(r); follow && err == nil {
			ended = now.Status != Running && now.Status != Created
		}
		if file == nil {
			file, _ = os.Open(filepath.Join(dir, "log"))
		}
		if file != nil {
			if _, err := io.Copy(out, file); err != nil {
				return err
			}
			if next, err := os.Open(filepath.Join(dir, "log")); err == nil {
				a, err1 := next.Stat()
				b, err2 := file.Stat()
				if errors.Join(err1, err2) == nil && !os.SameFile(a, b) {
					_, err := io.Copy(out, file) // what came until it was renamed
					file.Close()
					if file = next; err != nil {
						return err
					}
					continue
				}
				next.Close()
			}
		}
		if ended {
			return nil
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// seekLines sets files, of which one goes on where the one before ends, to where
// their last n lines begin. A nil file is empty. The last line need not have an
// end yet.
func seekLines(n int, files ...*os.File) error {
	if n < 0 {
		return nil
	}
	buf := make([]byte, 64<<10)
	found, final := n == 0, true
	for i := len(files) - 1; i >= 0; i-- {
		f := files[i]
		if f == nil {
			continue
		}
		end, err := f.Seek(0, io.SeekEnd)
		if err != nil {
			return err
		}
		at := end
		if !found {
			at = 0
		}
		for off := end; off > 0 && !found; {
			part := buf[:min(int64(len(buf)), off)]
			off -= int64(len(part))
			if _, err := f.ReadAt(part, off); err != nil {
				return err
			}
			for k := len(part) - 1; k >= 0 && !found; k-- {
				if part[k] == '\n' && !final {
					if n--; n == 0 {
						at, found = off+int64(k)+1, true
					}
				}
				final = false
			}
		}
		if _, err := f.Seek(at, io.SeekStart); err != nil {
			return err
		}
	}
	return nil
}
