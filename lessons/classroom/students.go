package classroom

import (
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/lessons"
)

// student is one browser and how far it has come.
type student struct {
	Name   string               `json:"name"` // typed by the student; "" until then
	Seen   time.Time            `json:"seen"`
	Done   map[string]time.Time `json:"done"`   // by lesson ID
	Tries  map[string]int       `json:"tries"`  // checks, by lesson ID
	Secret map[string]int       `json:"secret"` // place in Lesson.Secrets, by lesson ID
}

// roster is the file of all students. It is written anew beside itself and put
// in its place, so that it survives the server's end at any moment.
type roster struct {
	file string
	lock *os.File // held as long as the server runs: two would undo each other's changes

	mu       sync.Mutex
	students map[string]student // by browser
}

type rosterJSON struct {
	Version  int                `json:"version"` // 1
	Students map[string]student `json:"students"`
}

func openRoster(file string) (*roster, error) {
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return nil, err
	}
	lock, err := os.OpenFile(file+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = lock.Close()
		return nil, fmt.Errorf("classroom: another classroom keeps its progress in %s: name another file with --state", file)
	}
	r := &roster{file: file, lock: lock, students: map[string]student{}}
	if err := r.load(); err != nil {
		return nil, errors.Join(err, r.close())
	}
	return r, nil
}

// close lets another server have the file.
func (r *roster) close() error { return r.lock.Close() }

func (r *roster) load() error {
	file := r.file
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var rec rosterJSON
	if err := json.Unmarshal(data, &rec); err != nil || rec.Version != 1 {
		return fmt.Errorf("classroom: %s is not a file of this version: move it away, or name another with --state", file)
	}
	if rec.Students != nil {
		r.students = rec.Students
	}
	return nil
}

// of is what is known of a browser; the zero student where nothing is.
func (r *roster) of(browser string) student {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.students[browser]
}

// maxStudents is how many browsers are kept.
const maxStudents = 2000

var errFull = &refusal{"this classroom is full"}

// change changes what is known of a browser and writes the file.
func (r *roster) change(browser string, change func(*student)) (student, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	before, known := r.students[browser]
	if !known && len(r.students) >= maxStudents {
		return student{}, errFull
	}
	next := student{Name: before.Name, Seen: time.Now().UTC().Truncate(time.Second), Done: map[string]time.Time{}, Tries: map[string]int{}, Secret: map[string]int{}}
	for k, v := range before.Done {
		next.Done[k] = v
	}
	for k, v := range before.Tries {
		next.Tries[k] = v
	}
	for k, v := range before.Secret {
		next.Secret[k] = v
	}
	change(&next)
	r.students[browser] = next
	if err := r.write(); err != nil {
		if known {
			r.students[browser] = before
		} else {
			delete(r.students, browser)
		}
		return student{}, err
	}
	return next, nil
}

func (r *roster) write() error {
	data, err := json.MarshalIndent(rosterJSON{1, r.students}, "", "  ")
	if err != nil {
		return err
	}
	dir := filepath.Dir(r.file)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(dir, filepath.Base(r.file)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(append(data, '\n'))
	if err := errors.Join(err, tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), r.file)
}

// maxName is how many characters a name may have.
const maxName = 60

func (s *Server) setName(r *request) (any, error) {
	var in struct {
		Name string `json:"name"`
	}
	if err := r.read(&in); err != nil {
		return nil, err
	}
	name := strings.Join(strings.Fields(strings.Map(func(c rune) rune {
		if !strconv.IsPrint(c) && c != ' ' {
			return ' '
		}
		return c
	}, in.Name)), " ")
	if name == "" || utf8.RuneCountInString(name) > maxName {
		return nil, &refusal{"a name has 1 to " + strconv.Itoa(maxName) + " characters"}
	}
	_, err := s.roster.change(r.browser, func(st *student) { st.Name = name })
	return map[string]any{"version": 1, "name": name}, err
}

// teacherJSON is the teacher's view.
type teacherJSON struct {
	Version  int           `json:"version"`
	Lessons  []lessonJSON  `json:"lessons"`
	Students []studentJSON `json:"students"`
}

type studentJSON struct {
	Name  string               `json:"name"`
	Seen  time.Time            `json:"seen"`
	Done  map[string]time.Time `json:"done"`
	Tries map[string]int       `json:"tries"`
}

// list is everybody who has typed a name, in the order of names.
func (r *roster) list() []studentJSON {
	r.mu.Lock()
	defer r.mu.Unlock()
	byName := map[string]studentJSON{}
	for browser, st := range r.students {
		if st.Name == "" {
			continue
		}
		// Two browsers with one name are two rows; the random name of the
		// browser keeps their order.
		byName[strings.ToLower(st.Name)+"\x00"+browser] = studentJSON{st.Name, st.Seen, st.Done, st.Tries}
	}
	out := []studentJSON{}
	for _, key := range sortedNames(byName) {
		out = append(out, byName[key])
	}
	return out
}

func (s *Server) teacher(*request) (any, error) {
	out := teacherJSON{Version: 1, Students: s.roster.list()}
	for _, l := range lessons.All() {
		out.Lessons = append(out.Lessons, lessonJSON{ID: l.ID(), Number: l.Number, Title: l.Title})
	}
	return out, nil
}

// csv is the teacher's view for a spreadsheet.
func (s *Server) csv(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/csv; charset=utf-8")
	w.Header().Set("Content-Disposition", `attachment; filename="classroom.csv"`)
	out := csv.NewWriter(w)
	head := []string{"name", "last seen", "done"}
	for _, l := range lessons.All() {
		head = append(head, l.ID())
	}
	_ = out.Write(head)
	for _, st := range s.roster.list() {
		row := []string{cell(st.Name), st.Seen.Format(time.RFC3339), strconv.Itoa(len(st.Done))}
		for _, l := range lessons.All() {
			switch {
			case !st.Done[l.ID()].IsZero():
				row = append(row, st.Done[l.ID()].Format(time.RFC3339))
			case st.Tries[l.ID()] > 0:
				row = append(row, "tried "+strconv.Itoa(st.Tries[l.ID()]))
			default:
				row = append(row, "")
			}
		}
		_ = out.Write(row)
	}
	out.Flush()
}

// cell keeps a spreadsheet from taking a name for a formula. Some take the wide
// forms of East Asian keyboards, too.
func cell(text string) string {
	first, _ := utf8.DecodeRuneInString(text)
	if text != "" && strings.ContainsRune("=+-@|%\t\r＝＋－＠", first) {
		return "'" + text
	}
	return text
}
