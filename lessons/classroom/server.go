package classroom

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sbx-dev/sbx/lessons"
	"github.com/sbx-dev/sbx/sandbox/observe"
)

//go:embed assets
var assets embed.FS

// Config is what a server is made of.
type Config struct {
	Sbx          string   // path of the sbx that runs everything
	Token        string   // for students; not empty
	TeacherToken string   // for /teacher; not empty, and another one
	State        string   // file of the students' progress
	AllowOff     []string // steps of Guarding that may be off for other machines
	AtOnce       int      // runs at once; 0 means as many as there are cores
	Names        []string // further host names that browsers know it by
}

// Server serves one classroom.
type Server struct {
	config  Config
	clamp   clamp
	port    string
	names   []string      // host names that it goes by, in lower case
	timeout time.Duration // of a run
	queue   *queue        // of runs
	plans   *queue        // of plans, which are quick and must not wait behind runs
	roster  *roster
	work    string // folder of the browsers' folders, removed by Close
	self    *observe.View
	broken  map[string]string // steps that this host cannot do, with the reason
	http    *http.Server
	lesson  map[string]string // rendered READMEs by lesson ID
	sheet   []byte            // style.css with the drawing's style

	mu      sync.Mutex
	folders map[string]bool // browsers that have one
}

// New makes a server for a listener. Whether it is on a loopback address decides
// what browsers may ask for.
func New(config Config, listener net.Listener) (made *Server, err error) {
	if config.Token == "" || config.TeacherToken == "" || config.Token == config.TeacherToken {
		return nil, errors.New("classroom: two different tokens are needed")
	}
	if config.AtOnce == 0 {
		config.AtOnce = runtime.NumCPU()
	}
	tcp, ok := listener.Addr().(*net.TCPAddr)
	if !ok {
		return nil, fmt.Errorf("classroom: %s is no TCP address", listener.Addr())
	}
	c, err := newClamp(!tcp.IP.IsLoopback(), config.AllowOff)
	if err != nil {
		return nil, err
	}
	s := &Server{
		config: config, clamp: c, names: []string{"localhost"}, folders: map[string]bool{}, timeout: runTimeout,
		queue: newQueue(config.AtOnce), plans: newQueue(config.AtOnce),
	}
	for _, name := range config.Names {
		s.names = append(s.names, strings.ToLower(name))
	}
	s.port = fmt.Sprint(tcp.Port)
	if name, err := os.Hostname(); err == nil && c.remote {
		name = strings.ToLower(name)
		s.names = append(s.names, name, name+".local")
	}
	if s.self, err = observe.Self(); err != nil {
		return nil, err
	}
	if s.roster, err = openRoster(config.State); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = s.Close()
		}
	}()
	if s.work, err = os.MkdirTemp("", "sbx-classroom-"); err != nil {
		return nil, err
	}
	if s.lesson, err = renderLessons(); err != nil {
		return nil, err
	}
	sheet, err := assets.ReadFile("assets/style.css")
	if err != nil {
		return nil, err
	}
	s.sheet = append(sheet, observe.SVGStyle()...)
	s.broken = s.probe()
	s.http = &http.Server{
		Handler: s.Handler(), ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 20 * time.Second,
		WriteTimeout: 10 * time.Minute, // more than a queue's patience and one turn
		IdleTimeout:  2 * time.Minute, MaxHeaderBytes: 16 << 10,
	}
	return s, nil
}

// Serve answers until ctx ends; then it ends every run and removes the browsers'
// folders.
func (s *Server) Serve(ctx context.Context, listener net.Listener) error {
	defer s.Close()
	base, cancel := context.WithCancel(context.WithoutCancel(ctx))
	s.http.BaseContext = func(net.Listener) context.Context { return base }
	done := make(chan error, 1)
	go func() { done <- s.http.Serve(listener) }()
	select {
	case err := <-done:
		cancel()
		return err
	case <-ctx.Done():
	}
	cancel()
	end, stop := context.WithTimeout(context.Background(), 3*time.Second)
	defer stop()
	if err := s.http.Shutdown(end); err != nil {
		return s.http.Close()
	}
	return nil
}

// Close removes the browsers' folders and lets another server have the file of
// the progress.
func (s *Server) Close() error {
	if s.work == "" {
		return s.roster.close()
	}
	r := lessons.Runner{Dir: s.work, Sbx: s.config.Sbx}
	return errors.Join(r.Remove(), s.roster.close())
}

// Handler is the whole interface.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	page := func(name string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			s.browser(w, r)
			http.ServeFileFS(w, r, assets, "assets/"+name)
		}
	}
	mux.HandleFunc("GET /{$}", page("index.html"))
	teachers := func(handle http.HandlerFunc) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if !s.holds(r, teacherCookie, s.config.TeacherToken) {
				http.Error(w, "This page is the teacher's: sbx classroom printed its address.", http.StatusForbidden)
				return
			}
			handle(w, r)
		}
	}
	mux.HandleFunc("GET /teacher", teachers(page("teacher.html")))
	mux.HandleFunc("GET /style.css", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/css; charset=utf-8")
		_, _ = w.Write(s.sheet)
	})
	for _, name := range []string{"page.js", "lessons.js", "board.js", "teacher.js", "icon.svg"} {
		mux.HandleFunc("GET /"+name, page(name))
	}
	mux.HandleFunc("GET /api/course", s.answer(s.course))
	mux.HandleFunc("GET /api/lesson/{id}", s.answer(s.readLesson))
	mux.HandleFunc("POST /api/name", s.answer(s.setName))
	mux.HandleFunc("POST /api/plan", s.answer(s.plan))
	mux.HandleFunc("POST /api/run", s.answer(s.run))
	mux.HandleFunc("POST /api/look", s.answer(s.look))
	mux.HandleFunc("POST /api/experiment", s.answer(s.experiment))
	mux.HandleFunc("POST /api/predict", s.answer(s.predict))
	mux.HandleFunc("POST /api/check", s.answer(s.check))
	mux.HandleFunc("POST /api/reset", s.answer(s.reset))
	mux.HandleFunc("GET /api/queue", s.answer(s.place))
	mux.HandleFunc("GET /api/teacher", teachers(s.answer(s.teacher)))
	mux.HandleFunc("GET /teacher.csv", teachers(s.csv))
	return s.guard(mux)
}

// request is what a handler needs of one request.
type request struct {
	*http.Request
	w       http.ResponseWriter
	browser string
}

// address is where a request comes from, for the queue: the network part of an
// IPv6 address, since a machine has all the others behind it.
func (r *request) address() string {
	at, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	if addr := at.Addr().Unmap(); addr.Is4() {
		return addr.String()
	}
	prefix, _ := at.Addr().Prefix(64)
	return prefix.String()
}

// read decodes the request's JSON. It reads to the end, or the server would not
// see a browser go away (net/http watches the connection after that).
func (r *request) read(to any) error {
	d := json.NewDecoder(http.MaxBytesReader(r.w, r.Body, 64<<10))
	d.DisallowUnknownFields()
	if err := d.Decode(to); err != nil {
		return &refusal{"the request is not what it should be: " + err.Error()}
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return &refusal{"the request is not what it should be: it goes on after its end"}
	}
	return nil
}

// answer writes what a handler returns as JSON. A refusal is told to the
// browser; any other error is the server's, and told without its details.
func (s *Server) answer(handle func(*request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		req := &request{Request: r, w: w, browser: s.browser(w, r)}
		out, err := handle(req)
		code := http.StatusOK
		var refused *refusal
		switch {
		case r.Context().Err() != nil:
			return // the browser has gone
		case errors.As(err, &refused):
			code, out = http.StatusUnprocessableEntity, map[string]any{"version": 1, "error": refused.text}
		case errors.Is(err, context.Canceled):
			code, out = http.StatusConflict, map[string]any{"version": 1, "error": "another run of yours has taken its place"}
		case errors.Is(err, context.DeadlineExceeded):
			code, out = http.StatusUnprocessableEntity, map[string]any{"version": 1, "error": "it took too long and was ended"}
		case err != nil:
			// Quoted, since it may hold what a program wrote and goes to a terminal.
			fmt.Fprintf(os.Stderr, "sbx: classroom: %q: %q\n", r.URL.Path, err.Error())
			code, out = http.StatusInternalServerError, map[string]any{"version": 1, "error": "the server could not do that; its terminal says why"}
		}
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		w.WriteHeader(code)
		_ = json.NewEncoder(w).Encode(out)
	}
}

// browserName is what a browser calls itself: a random name of this server's.
var browserName = regexp.MustCompile(`^[A-Za-z0-9_-]{22}$`)

// browser is the name of the browser, which it gets with the first answer.
func (s *Server) browser(w http.ResponseWriter, r *http.Request) string {
	if c, err := r.Cookie("sbx-browser"); err == nil && browserName.MatchString(c.Value) {
		return c.Value
	}
	var b [16]byte
	_, _ = rand.Read(b[:])
	name := base64.RawURLEncoding.EncodeToString(b[:])
	http.SetCookie(w, &http.Cookie{
		Name: "sbx-browser", Value: name, Path: "/", HttpOnly: true,
		SameSite: http.SameSiteLaxMode, MaxAge: 90 * 24 * 3600,
	})
	return name
}

// folder is the browser's own folder for a lesson, or for the board. Its name is
// not the browser's: who sees the path is not to know the cookie.
func (s *Server) folder(browser, name string) string {
	sum := sha256.Sum256([]byte(browser))
	return filepath.Join(s.work, hex.EncodeToString(sum[:6]), name)
}

// prepare makes the runner of a browser in its folder for a lesson or the board.
func (s *Server) prepare(r *request, name string, l *lessons.Lesson, anew bool) (*lessons.Runner, error) {
	s.mu.Lock()
	full := !s.folders[r.browser] && len(s.folders) >= maxStudents
	if !full {
		s.folders[r.browser] = true
	}
	s.mu.Unlock()
	if full {
		return nil, errFull
	}
	runner := s.runner(r.browser, name)
	runner.Given = l.Given
	return runner, runner.Prepare(l, anew)
}

// place says how many runs go before the browser's, for those who wait.
func (s *Server) place(r *request) (any, error) {
	return map[string]any{"version": 1, "ahead": s.queue.place(r.browser)}, nil
}

// courseJSON is what the page begins with.
type courseJSON struct {
	Version int               `json:"version"`
	Shared  bool              `json:"shared"` // another machine may be at it
	Name    string            `json:"name"`   // the student's, "" until it was typed
	Host    map[string]uint64 `json:"host"`   // the server's own namespaces, by kind
	Steps   []stepJSON        `json:"steps"`
	Lessons []lessonJSON      `json:"lessons"`
}

type lessonJSON struct {
	ID      string   `json:"id"`
	Number  int      `json:"number"`
	Title   string   `json:"title"`
	Minutes int      `json:"minutes"`
	Steps   []string `json:"steps"`
	Done    bool     `json:"done"`
	Refused string   `json:"refused,omitempty"` // why its exercise cannot be done here
}

func (s *Server) course(r *request) (any, error) {
	student := s.roster.of(r.browser)
	out := courseJSON{Version: 1, Shared: s.clamp.remote, Name: student.Name, Host: map[string]uint64{}, Steps: s.steps(), Lessons: []lessonJSON{}}
	for _, n := range s.self.Namespaces {
		out.Host[n.Kind] = n.Inode
	}
	for _, l := range lessons.All() {
		out.Lessons = append(out.Lessons, lessonJSON{
			ID: l.ID(), Number: l.Number, Title: l.Title, Minutes: l.Minutes, Steps: l.Steps,
			Done: !student.Done[l.ID()].IsZero(), Refused: s.refused(l),
		})
	}
	return out, nil
}

// refused is why a lesson's exercise cannot be done on this server.
func (s *Server) refused(l *lessons.Lesson) string {
	if len(l.Secrets) > 0 {
		if len(s.secrets(l)) > 0 {
			return ""
		}
		return s.clamp.off(l.Secrets).Error()
	}
	if l.File != "" {
		// What a Dockerfile can ask for is more than flags of run.
		if s.clamp.remote {
			return "its answer is a file that sbx build carries out, which a shared server does not do for others; on your own machine sbx classroom does"
		}
		return ""
	}
	line, err := lessons.Parse(l.Solution)
	if err == nil {
		err = s.clamp.line(line)
	}
	if err != nil {
		// What exactly would be a part of the answer.
		return "its answer needs what a shared server refuses; on your own machine sbx classroom takes it"
	}
	return ""
}

// sortedNames are the keys of a map in order.
func sortedNames[V any](m map[string]V) []string {
	names := make([]string, 0, len(m))
	for n := range m {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}
