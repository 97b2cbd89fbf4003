package classroom

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/cookiejar"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sbx-dev/sbx/internal/built"
	"github.com/sbx-dev/sbx/lessons"
)

// served is a server that listens for the tests.
type served struct {
	*Server
	host string // address and port
	stop func()
}

func (s *served) url(path string) string { return "http://" + s.host + path }

// start serves with the sbx of this clone. Far makes it a server for other
// machines, whatever its address.
func start(t *testing.T, far bool) *served {
	t.Helper()
	return serve(t, Config{Sbx: built.Sbx(t), Token: NewToken(), TeacherToken: NewToken(), State: filepath.Join(t.TempDir(), "classroom.json")}, far)
}

// serve serves until the test ends, or its stop is called.
func serve(t *testing.T, config Config, far bool) *served {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server, err := New(config, listener)
	if err != nil {
		t.Fatal(err)
	}
	server.clamp.remote = far
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server.Serve(ctx, listener) }()
	stop := sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil && !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
		if _, err := os.Stat(server.work); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the browsers' folders are left: %v", err)
		}
	})
	t.Cleanup(stop)
	return &served{server, listener.Addr().String(), stop}
}

// client is one browser.
type client struct {
	t    *testing.T
	s    *served
	http *http.Client
}

// client shows a token, as a browser that opens the printed address.
func (s *served) client(t *testing.T, token string) *client {
	t.Helper()
	jar, _ := cookiejar.New(nil)
	c := &client{t, s, &http.Client{Jar: jar}}
	if code, _ := c.get("/?token=" + token); code != http.StatusOK {
		t.Fatalf("the token is answered with %d", code)
	}
	return c
}

// get and do may be called beside the test, so they do not end it.
func (c *client) get(path string) (int, string) { return c.do(c.t.Context(), "GET", path, "", nil) }

func (c *client) do(ctx context.Context, method, path, body string, header map[string]string) (int, string) {
	c.t.Helper()
	req, err := http.NewRequestWithContext(ctx, method, c.s.url(path), strings.NewReader(body))
	if err != nil {
		c.t.Error(err)
		return 0, ""
	}
	for k, v := range header {
		if k == "Host" {
			req.Host = v
		}
		req.Header.Set(k, v)
	}
	answer, err := c.http.Do(req)
	if err != nil {
		if ctx.Err() == nil {
			c.t.Error(err)
		}
		return 0, ""
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil && ctx.Err() == nil {
		c.t.Error(err)
	}
	return answer.StatusCode, string(text)
}

// post sends an object and decodes the answer.
func (c *client) post(path string, in, out any) int {
	c.t.Helper()
	body, err := json.Marshal(in)
	if err != nil {
		c.t.Error(err)
		return 0
	}
	code, text := c.do(c.t.Context(), "POST", path, string(body), nil)
	if err := json.Unmarshal([]byte(text), out); err != nil {
		c.t.Errorf("%s: %v: %s", path, err, text)
	}
	return code
}

// run runs a command on the board.
func (c *client) run(command string, off ...string) (int, answerJSON) {
	c.t.Helper()
	var out answerJSON
	code := c.post("/api/run", map[string]any{"off": off, "command": command}, &out)
	return code, out
}

type answerJSON struct {
	boardJSON
	Error string `json:"error"`
}

// text is what a pane shows.
func (p *pane) text() string {
	var lines []string
	for _, l := range p.Output {
		lines = append(lines, l.Text)
	}
	return strings.Join(lines, "\n")
}

// Who is another page, another name or has no token gets nothing, and none of it
// starts a run.
func TestGuard(t *testing.T) {
	s := start(t, false)
	in := s.client(t, s.config.Token)
	teacher := s.client(t, s.config.TeacherToken)
	_, port, _ := net.SplitHostPort(s.host)
	out := &client{t, s, &http.Client{}}
	const board = `{"command":"true"}`
	for _, c := range []struct {
		name         string
		who          *client
		method, path string
		header       map[string]string
		want         int
	}{
		{"no token", out, "GET", "/", nil, 401},
		{"no token", out, "GET", "/api/course", nil, 401},
		{"no token", out, "POST", "/api/run", nil, 401},
		{"wrong token", out, "GET", "/?token=wrong", nil, 401},
		{"wrong cookie", out, "GET", "/", map[string]string{"Cookie": "sbx-classroom-" + port + "=wrong"}, 401},
		{"the teacher's cookie holds the student's token", out, "GET", "/teacher", map[string]string{"Cookie": "sbx-teacher-" + port + "=" + s.config.Token}, 401},
		{"token in a POST", out, "POST", "/api/run?token=" + s.config.Token, nil, 401},
		{"the page", in, "GET", "/", nil, 200},
		{"the page's script", in, "POST", "/api/plan", map[string]string{"Origin": "http://" + s.host, "Sec-Fetch-Site": "same-origin"}, 200},
		{"another origin", in, "POST", "/api/run", map[string]string{"Origin": "http://evil.example"}, 403},
		{"another port", in, "POST", "/api/run", map[string]string{"Origin": "http://127.0.0.1:1"}, 403},
		{"the null origin", in, "POST", "/api/run", map[string]string{"Origin": "null"}, 403},
		{"another scheme", in, "POST", "/api/run", map[string]string{"Origin": "https://" + s.host}, 403},
		{"another site", in, "POST", "/api/run", map[string]string{"Sec-Fetch-Site": "cross-site"}, 403},
		{"same site, another port", in, "POST", "/api/run", map[string]string{"Origin": "http://" + s.host, "Sec-Fetch-Site": "same-site"}, 403},
		{"a rebound name", in, "GET", "/api/course", map[string]string{"Host": "evil.example:" + port}, 421},
		{"a rebound name as its own origin", in, "POST", "/api/run", map[string]string{"Host": "evil.example:" + port, "Origin": "http://evil.example:" + port}, 421},
		{"a name without the port", in, "GET", "/", map[string]string{"Host": "localhost"}, 421},
		{"localhost, which the cookie is not for", in, "GET", "/", map[string]string{"Host": "localhost:" + port}, 401},
		{"a student at the teacher's", in, "GET", "/teacher", nil, 403},
		{"a student at the teacher's", in, "GET", "/api/teacher", nil, 403},
		{"a student at the teacher's", in, "GET", "/teacher.csv", nil, 403},
		{"the teacher", teacher, "GET", "/api/teacher", nil, 200},
		{"the teacher", teacher, "GET", "/teacher", nil, 200},
		{"a GET that runs", in, "GET", "/api/run", nil, 405},
		{"no such page", in, "GET", "/../server.go", nil, 404},
		{"no such page", in, "GET", "/assets/index.html", nil, 404},
	} {
		body := ""
		if c.method == "POST" {
			body = board
		}
		if code, text := c.who.do(t.Context(), c.method, c.path, body, c.header); code != c.want {
			t.Errorf("%s: %s %s is answered with %d, not %d: %.80s", c.name, c.method, c.path, code, c.want, text)
		}
	}
	answer, err := in.http.Get(s.url("/"))
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if got := answer.Header.Get("Content-Security-Policy"); !strings.HasPrefix(got, "default-src 'none'; script-src 'self';") || strings.Contains(got, "unsafe") {
		t.Errorf("the policy is %q", got)
	}
}

// The address with the token leads to the page and nowhere else, and the cookie
// is no script's.
func TestEnter(t *testing.T) {
	s := start(t, false)
	direct := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	for path, want := range map[string]string{"/": "/", "/teacher": "/teacher", "//evil.example/": "/", "/%5cevil.example": "/", "/x;url=http://evil.example": "/"} {
		answer, err := direct.Get(s.url(path + "?token=" + s.config.Token))
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if got := answer.Header.Get("Location"); got != want {
			t.Errorf("%s leads to %q", path, got)
		}
		if set := answer.Header.Get("Set-Cookie"); !strings.Contains(set, "HttpOnly") || !strings.Contains(set, "SameSite=Lax") {
			t.Errorf("the cookie is %q", set)
		}
	}
}

func TestRun(t *testing.T) {
	s := start(t, false)
	c := s.client(t, s.config.Token)
	host, _ := os.Hostname()
	code, out := c.run("uname -n", "uts")
	if code != 200 || len(out.Panes) != 2 || out.Panes[0].text() != host || out.Panes[1].text() != "sandbox" {
		t.Fatalf("%d %+v", code, out)
	}
	if out.Panes[0].Output[0].Same || len(out.Changes) == 0 || out.Changes[0].Step != "uts" {
		t.Errorf("what differs: %+v %+v", out.Panes[0].Output, out.Changes)
	}
	if strings.Contains(out.Panes[0].Drawing, "UTS namespace") || !strings.Contains(out.Panes[1].Drawing, "UTS namespace") {
		t.Error("the drawings do not follow the switch")
	}
	for _, p := range out.Panes {
		for _, line := range p.Said {
			if strings.Contains(line, "changed none") {
				t.Errorf("noise: %s", line)
			}
		}
	}
	// What is bad is told in a sentence.
	for _, body := range []string{
		`{"command":"true; true"}`, `{"command":""}`, `{"command":"true","off":["nothing"]}`, `{"command":"true","off":["uts,root"]}`,
		`{"command":"true","with":["uts"]}`, `{"command":"true","rw":"/"}`, `{"command":"true"}{}`, `{`, ``, `[]`,
	} {
		code, text := c.do(t.Context(), "POST", "/api/run", body, nil)
		if code != 422 || !strings.Contains(text, `"error":`) {
			t.Errorf("%s is answered with %d: %s", body, code, text)
		}
	}
	big := `{"command":"` + strings.Repeat("x", 70<<10) + `"}`
	if code, _ := c.do(t.Context(), "POST", "/api/run", big, nil); code != 422 {
		t.Errorf("a large request is answered with %d", code)
	}
}

// What a program prints stays text, a megabyte of it is cut, and what never ends
// is ended.
func TestOutput(t *testing.T) {
	s := start(t, false)
	c := s.client(t, s.config.Token)
	_, out := c.run(`printf '<script>alert(1)</script>\033[31m\377\n'`)
	if got := out.Panes[0].text(); got != "<script>alert(1)</script>\ufffd[31m\ufffd" {
		t.Errorf("%q", got)
	}
	_, out = c.run(`sh -c 'yes | head -c 1000000; echo x >&2'`)
	if p := out.Panes[0]; !p.Cut || len(p.Output) > 2001 || p.End != "exit 0" {
		t.Errorf("cut=%t %d lines %s", p.Cut, len(p.Output), p.End)
	}
	began := time.Now()
	_, out = c.run(`yes`)
	if took := time.Since(began); !out.Panes[0].Cut || took > 15*time.Second {
		t.Errorf("endless output took %s: %s", took, out.Panes[0].End)
	}
}

// A run without end is ended, and a line that gives itself more time has no more
// than twice as much.
func TestEndless(t *testing.T) {
	s := start(t, false)
	s.timeout = time.Second
	c := s.client(t, s.config.Token)
	if _, out := c.run("sleep 3600"); out.Panes[0].End != "timeout" || out.Panes[1].End != "timeout" {
		t.Errorf("%+v", out)
	}
	began := time.Now()
	var out struct {
		Pane *pane `json:"pane"`
	}
	c.post("/api/check", map[string]any{"lesson": "01-process", "answer": "sbx run --timeout 10h -- sleep 3600"}, &out)
	if out.Pane == nil || out.Pane.End != "timeout" || time.Since(began) > 7*time.Second {
		t.Fatalf("%s: %+v", time.Since(began), out.Pane)
	}
}

// A browser that goes away, or asks for something else, ends its sandbox.
func TestGoneBrowser(t *testing.T) {
	s := start(t, false)
	c := s.client(t, s.config.Token)
	mark := "31536" + strconv.Itoa(os.Getpid())
	ctx, away := context.WithCancel(t.Context())
	go c.do(ctx, "POST", "/api/run", `{"command":"sleep `+mark+`"}`, nil)
	wait(t, "the run begins", func() bool { return alive(mark) })
	away()
	wait(t, "the run ends with its browser", func() bool { return !alive(mark) })

	first := make(chan int, 1)
	go func() {
		code, _ := c.do(t.Context(), "POST", "/api/run", `{"command":"sleep `+mark+`"}`, nil)
		first <- code
	}()
	wait(t, "the run begins", func() bool { return alive(mark) })
	if code, _ := c.run("true"); code != 200 {
		t.Errorf("the second run is answered with %d", code)
	}
	if code := <-first; code != 409 {
		t.Errorf("the first run is answered with %d", code)
	}
	if alive(mark) {
		t.Error("the first run goes on")
	}
}

func wait(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(8 * time.Second); !is(); time.Sleep(3 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal(what + ": it does not")
		}
	}
}

// alive says whether a process with a word among its arguments runs; sbx itself
// has it, too.
func alive(word string) bool {
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, f := range files {
		text, _ := os.ReadFile(f)
		if slices.Contains(strings.Split(string(text), "\x00"), word) {
			return true
		}
	}
	return false
}

// Thirty browsers at once all get their answer, and no more runs go at once than
// there are slots.
func TestThirty(t *testing.T) {
	s := start(t, true)
	var most atomic.Int32
	stop := make(chan struct{})
	go func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Millisecond):
			}
			s.queue.mu.Lock()
			going := int32(s.config.AtOnce - s.queue.free)
			s.queue.mu.Unlock()
			most.Store(max(most.Load(), going))
		}
	}()
	var wg sync.WaitGroup
	for i := range 30 {
		c := s.client(t, s.config.Token)
		wg.Go(func() {
			word := "student-" + strconv.Itoa(i)
			if code, out := c.run("echo " + word); code != 200 || len(out.Panes) != 2 || out.Panes[0].text() != word || out.Panes[1].text() != word {
				t.Errorf("%s: %d %s", word, code, out.Error)
			}
		})
	}
	wg.Wait()
	close(stop)
	if n := int(most.Load()); n > s.config.AtOnce || n == 0 {
		t.Errorf("%d went at once, of %d", n, s.config.AtOnce)
	}
	s.queue.mu.Lock()
	defer s.queue.mu.Unlock()
	if s.queue.free != s.config.AtOnce || len(s.queue.lines)+len(s.queue.runs) > 0 {
		t.Errorf("the queue is not empty: %d free, %d lines, %d runs", s.queue.free, len(s.queue.lines), len(s.queue.runs))
	}
}

// Progress and names survive the server; a second server on the same file is
// refused while the first runs.
func TestRestart(t *testing.T) {
	s := start(t, true)
	c := s.client(t, s.config.Token)
	var named struct{ Name string }
	if code := c.post("/api/name", map[string]any{"name": "  Ada \u202e L.\n "}, &named); code != 200 || named.Name != "Ada L." {
		t.Fatalf("%d %q", code, named.Name)
	}
	var rep struct{ Passed bool }
	c.post("/api/check", map[string]any{"lesson": "01-process", "answer": "sbx run -- readlink /proc/self/ns/uts"}, &rep)
	if !rep.Passed {
		t.Fatal("the solution does not pass")
	}
	if _, err := openRoster(s.config.State); err == nil || !strings.Contains(err.Error(), "another classroom") {
		t.Errorf("a second server is told %v", err)
	}
	s.stop()
	again := serve(t, s.config, true)
	c.s = again
	// The port is another, so the token is shown again; who the browser is, it
	// still knows.
	if code, _ := c.get("/?token=" + s.config.Token); code != 200 {
		t.Fatal(code)
	}
	_, text := c.get("/api/course")
	var course courseJSON
	if err := json.Unmarshal([]byte(text), &course); err != nil {
		t.Fatal(err)
	}
	if course.Name != "Ada L." || !course.Lessons[0].Done || course.Lessons[1].Done || !course.Shared {
		t.Errorf("after the restart: %.300s", text)
	}
}

// Names are text for a spreadsheet, and for JSON.
func TestCSV(t *testing.T) {
	s := start(t, true)
	for _, name := range []string{"=HYPERLINK(\"http://evil\")", "+1", "-1", "@x", "＝1", "<b>B</b>", "C, D \"E\""} {
		c := s.client(t, s.config.Token)
		var out any
		if code := c.post("/api/name", map[string]any{"name": name}, &out); code != 200 {
			t.Fatal(code, out)
		}
	}
	c := s.client(t, s.config.Token)
	for _, name := range []string{"", " \n", strings.Repeat("x", 61)} {
		var out any
		if code := c.post("/api/name", map[string]any{"name": name}, &out); code != 422 {
			t.Errorf("the name %q is answered with %d", name, code)
		}
	}
	teacher := s.client(t, s.config.TeacherToken)
	_, text := teacher.get("/teacher.csv")
	rows, err := csv.NewReader(strings.NewReader(text)).ReadAll()
	if err != nil || len(rows) != 8 || len(rows[0]) != 3+len(lessons.All()) {
		t.Fatalf("%v: %s", err, text)
	}
	for _, row := range rows[1:] {
		if strings.ContainsAny(row[0][:1], "=+-@") || strings.HasPrefix(row[0], "＝") {
			t.Errorf("a spreadsheet would compute %s", row[0])
		}
	}
	if _, text := teacher.get("/api/teacher"); strings.Contains(text, "<b>") || !strings.Contains(text, `\u003cb\u003eB`) {
		t.Errorf("%s", text)
	}
}

// From another machine the server's files, variables and network stay out of
// reach, whatever a line holds; each of the same lines reaches its aim where
// nothing is clamped, so they test something.
func TestFarLines(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("the-server's-secret\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	near, far := start(t, false), start(t, true)
	one, two := near.client(t, near.config.Token), far.client(t, far.config.Token)
	for _, flags := range []string{
		"--skip=root,landlock", "--skip root,landlock", "--skip landlock,uts,root", "--skip landlock --skip root", "--skip landlock,mount",
		"--skip landlock,user", "--only uts", "--ro " + secret, "--rw=" + secret, "-v " + secret + ":" + secret, "--cow " + filepath.Dir(secret),
		"-u 0 --skip=root,landlock", "--profile nested --skip landlock", "--as-pid-1 --rw " + secret, "--hostname a --ro=" + secret,
	} {
		answer := "sbx run " + flags + " -- cat " + secret
		var in, out struct {
			Pane  *pane  `json:"pane"`
			Error string `json:"error"`
		}
		one.post("/api/check", map[string]any{"lesson": "01-process", "answer": answer}, &in)
		if in.Pane == nil || !strings.Contains(in.Pane.text(), "the-server's-secret") {
			t.Errorf("%s does not reach its aim on the own machine: %+v", flags, in)
		}
		if code := two.post("/api/check", map[string]any{"lesson": "01-process", "answer": answer}, &out); code != 422 || out.Pane != nil {
			t.Errorf("from another machine %s is answered with %d: %+v", flags, code, out)
		}
	}
	// The board's switches, and a lesson's own experiment.
	for _, step := range append(slices.Clone(Protected), Guarding...) {
		if code, out := two.run("true", step); code != 422 || !strings.Contains(out.Error, "stays on here") {
			t.Errorf("%s is answered with %d: %+v", step, code, out)
		}
	}
	var out answerJSON
	if code := two.post("/api/run", map[string]any{"command": "true", "keep": true}, &out); code != 422 {
		t.Errorf("the capabilities: %d", code)
	}
	// A lesson's own two lines run as they are, in a folder that the student
	// cannot write to, and what they see of the server is not passed on.
	var rep any
	two.post("/api/check", map[string]any{"lesson": "08-chroot", "answer": "sbx run --skip overlay,landlock -- sh -c 'echo id >escape; rm -f escape'"}, &rep)
	two.post("/api/check", map[string]any{"lesson": "08-chroot", "answer": "sbx run -- sh -c 'echo id >escape'"}, &rep)
	if code := two.post("/api/experiment", map[string]any{"lesson": "08-chroot", "command": "cat " + secret}, &out); code != 200 ||
		!strings.Contains(out.Panes[0].text(), "it is another root: out") || out.Panes[0].View != nil || out.Panes[0].Drawing != "" {
		t.Errorf("the experiment: %d %+v", code, out)
	}
	if code, out := two.run("uname -n", "uts", "cgroup", "landlock", "overlay"); code != 200 {
		t.Errorf("what may be off: %d %s", code, out.Error)
	}
	// What is left inside: no file and no variable of the server.
	t.Setenv("SERVERS_SECRET", "the-server's-secret")
	_, out = two.run("sh -c 'env; cat "+secret+"; ls / /home /root; cat /proc/1/environ'", "uts")
	if text := out.Panes[0].text(); strings.Contains(text, "the-server's-secret") || strings.Contains(text, "classroom.json") {
		t.Errorf("%s", text)
	}
}

// A Dockerfile is built for the person at the machine alone: it could fetch what it
// likes, and take what it likes of the server's time.
func TestFarBuild(t *testing.T) {
	type checkJSON struct {
		Passed bool   `json:"passed"`
		Pane   *pane  `json:"pane"`
		Error  string `json:"error"`
	}
	for _, l := range lessons.All() {
		if l.File == "" {
			continue
		}
		s := start(t, true)
		if s.refused(l) == "" {
			t.Errorf("%s: its answer is not said to be refused", l.ID())
		}
		for _, answer := range []string{l.Solution, "sbx run -- true"} {
			var out checkJSON
			c := s.client(t, s.config.Token)
			if code := c.post("/api/check", map[string]any{"lesson": l.ID(), "answer": answer}, &out); code != 422 || out.Pane != nil || !strings.Contains(out.Error, "own machine") {
				t.Errorf("%s from another machine gives %d %s", answer, code, out.Error)
			}
		}
		near := start(t, false)
		var out checkJSON
		c := near.client(t, near.config.Token)
		if code := c.post("/api/check", map[string]any{"lesson": l.ID(), "answer": l.Solution}, &out); code != 200 || !out.Passed {
			t.Errorf("%s on the own machine gives %d %s", l.ID(), code, out.Error)
		}
	}
}

// Every lesson's experiment can be seen from another machine.
func TestFarExperiments(t *testing.T) {
	s := start(t, true)
	c := s.client(t, s.config.Token)
	for _, l := range lessons.All() {
		if len(l.Secrets) > 0 || l.Off.IsZero() {
			continue
		}
		var out answerJSON
		if code := c.post("/api/experiment", map[string]any{"lesson": l.ID()}, &out); code != 200 || len(out.Panes) != 2 {
			t.Errorf("%s: %d %s", l.ID(), code, out.Error)
			continue
		}
		for _, p := range out.Panes {
			if p.Error != "" && l.Name != "nesting" {
				t.Errorf("%s, %s: %s", l.ID(), p.Title, p.Error)
			}
			if p.View != nil || p.Drawing != "" {
				t.Errorf("%s tells what it saw of the server", l.ID())
			}
		}
	}
}
