package build

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sbx-dev/sbx/sandbox"
	"github.com/sbx-dev/sbx/sandbox/container"
	"github.com/sbx-dev/sbx/sandbox/image"
	"github.com/sbx-dev/sbx/sandbox/image/local"
	"github.com/sbx-dev/sbx/sandbox/internal/testenv"
)

// newStore is a store with an image busybox, in which owners are recorded.
func newStore(t *testing.T) image.Store {
	t.Helper()
	testenv.Need(t, "userns", "overlay", "seccomp")
	program, err := exec.LookPath("busybox")
	if err != nil {
		testenv.Lacks(t, "tool:busybox", err)
	}
	data, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	root := files(t, t.TempDir(), "bin/sh=->busybox", "etc/passwd=root:x:0:0:root:/root:/bin/sh\nbob:x:1000:1000::/home/bob:/bin/sh\n", "etc/group=root:x:0:\n", "tmp/", "secrets=->/etc")
	for _, applet := range []string{"cat", "chown", "cp", "echo", "env", "ln", "ls", "mkdir", "mv", "rm", "sleep", "test", "touch", "true"} {
		files(t, root, "bin/"+applet+"=->busybox")
	}
	if err := os.WriteFile(filepath.Join(root, "bin/busybox"), data, 0o755); err != nil {
		t.Fatal(err)
	}
	store := image.NewStore(filepath.Join(t.TempDir(), "store"))
	importFolder(t, store, root, "busybox", v1.Config{})
	return store
}

func importFolder(t *testing.T, store image.Store, root, name string, config v1.Config) {
	t.Helper()
	var archive bytes.Buffer
	if err := image.ArchiveFolder(&archive, root); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Import(&archive, name, config, "test", nil); err != nil {
		t.Fatal(err)
	}
}

// told is what a build told: the output of all steps, and which were cached.
type told struct {
	mu     sync.Mutex
	output []string
	cached []string
	layers []string // the steps that have added one
}

func (w *told) event(e Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch e.Kind {
	case Output:
		w.output = append(w.output, e.Line)
	case Cached:
		w.cached = append(w.cached, e.Step.Text)
	case Finished:
		if e.Layer {
			w.layers = append(w.layers, e.Step.Text)
		}
	default:
	}
}

func (w *told) text() string { return strings.Join(w.output, "\n") }

// built builds a Dockerfile and fails the test where that fails.
func built(t *testing.T, store image.Store, text string, change func(*Options)) (*Result, *told) {
	t.Helper()
	r, w, err := tryBuild(t, store, text, change)
	if err != nil {
		t.Fatalf("%v\n%s", err, w.text())
	}
	return r, w
}

func tryBuild(t *testing.T, store image.Store, text string, change func(*Options)) (*Result, *told, error) {
	t.Helper()
	w := &told{}
	o := Options{Dockerfile: []byte(text), Progress: w.event, Args: map[string]string{}}
	if change != nil {
		change(&o)
	}
	r, err := Build(t.Context(), store, o)
	return r, w, err
}

// wheel makes a Python package that pip installs without a network.
func wheel(t *testing.T, dir string) {
	t.Helper()
	var out bytes.Buffer
	z := zip.NewWriter(&out)
	const info = "greet-1.0.dist-info/"
	for _, f := range [][2]string{
		{"greet.py", "def hello(): return 'hello from a wheel'\n"},
		{info + "METADATA", "Metadata-Version: 2.1\nName: greet\nVersion: 1.0\n"},
		{info + "WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"},
		{info + "RECORD", "greet.py,,\n" + info + "METADATA,,\n" + info + "WHEEL,,\n" + info + "RECORD,,\n"},
	} {
		w, err := z.Create(f[0])
		if err == nil {
			_, err = io.WriteString(w, f[1])
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "greet-1.0-py3-none-any.whl"), out.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestNotes is the Dockerfile of a student's notes, word for word: why one
// copies requirements.txt before the sources.
func TestNotes(t *testing.T) {
	store := newStore(t)
	if out, err := exec.Command("/usr/bin/python3", "-m", "pip", "--version").CombinedOutput(); err != nil {
		testenv.Lacks(t, "tool:pip", string(out)+err.Error())
	}
	base := t.TempDir()
	files(t, base, "packages/")
	wheel(t, filepath.Join(base, "packages"))
	built(t, store, `FROM host
COPY packages /packages
RUN mkdir /opt/bin && ln -s /usr/bin/python3 /opt/bin/python && ln -s /usr/bin/python3 /opt/bin/python3
RUN printf '#!/bin/sh\nexec /usr/bin/python3 -m pip "$@"\n' > /opt/bin/pip && chmod +x /opt/bin/pip
ENV PATH=/opt/bin:$PATH PIP_NO_INDEX=1 PIP_FIND_LINKS=/packages PIP_TARGET=/opt/site PYTHONPATH=/opt/site PIP_BREAK_SYSTEM_PACKAGES=1 PIP_ROOT_USER_ACTION=ignore
`, func(o *Options) { o.Context, o.Names = base, []string{"python:3-slim"} })

	const notes = `FROM python:3-slim
WORKDIR /app
COPY requirements.txt .
RUN pip install -r requirements.txt
COPY . .
CMD ["python", "app.py"]
`
	app := files(t, t.TempDir(), "requirements.txt=greet==1.0\n", "app.py=import greet\nprint(greet.hello())\n")
	with := func(o *Options) { o.Context, o.Names = app, []string{"notes"} }
	_, w := built(t, store, notes, with)
	if len(w.layers) != 4 || !strings.Contains(w.text(), "Successfully installed greet-1.0") {
		t.Fatalf("layers of %q\n%s", w.layers, w.text())
	}
	if got := runImage(t, store, "notes"); got != "hello from a wheel\n" {
		t.Errorf("the image prints %q", got)
	}
	files(t, app, "app.py=import greet\nprint(greet.hello().upper())\n")
	_, w = built(t, store, notes, with)
	if len(w.layers) != 1 || w.layers[0] != "COPY . ." {
		t.Errorf("a source edit rebuilds %q", w.layers)
	}
	if len(w.cached) != 3 || w.cached[2] != "RUN pip install -r requirements.txt" {
		t.Errorf("cached are %q", w.cached)
	}
	if got := runImage(t, store, "notes"); got != "HELLO FROM A WHEEL\n" {
		t.Errorf("the edited image prints %q", got)
	}
	files(t, app, "requirements.txt=greet\n")
	if _, w = built(t, store, notes, with); len(w.layers) != 3 {
		t.Errorf("other requirements rebuild %q", w.layers)
	}
}

// runImage runs an image's own command and gives what it prints.
func runImage(t *testing.T, store image.Store, name string) string {
	t.Helper()
	i, err := local.Find(store.Dir(), name)
	if err != nil {
		t.Fatal(err)
	}
	defer i.Close()
	cmd := &sandbox.Cmd{}
	if err := container.Apply(&cmd.Spec, i, container.Options{}); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		t.Fatal(err, out.String())
	}
	return out.String()
}

// TestReproducible: with SOURCE_DATE_EPOCH the same input makes the same image,
// in another store and at another time.
func TestReproducible(t *testing.T) {
	t.Setenv("SOURCE_DATE_EPOCH", "1000000000")
	context := files(t, t.TempDir(), "a=A", "d/b=B")
	const text = `FROM busybox AS one
WORKDIR /w/x
COPY . .
RUN echo now > made; mkdir -p /n/m; touch /n/m/o; rm /bin/mv; ln -s a l
FROM host
COPY --from=one /w /w
RUN test -e /w/x/made && echo x > /y
LABEL a=b
`
	var ids []string
	for range 2 {
		store := newStore(t)
		r, _ := built(t, store, text, func(o *Options) { o.Context, o.NoCache, o.Names = context, true, []string{"same"} })
		i, err := store.Find("same")
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, r.ID.String()+" "+i.Digest.String())
		time.Sleep(1100 * time.Millisecond) // times are in seconds
	}
	if ids[0] != ids[1] {
		t.Errorf("%s\n%s", ids[0], ids[1])
	}
}

// TestParallel: stages that do not need each other run at the same time. Each
// waits for what the other writes to a cache they share.
func TestParallel(t *testing.T) {
	store := newStore(t)
	stage := func(me, other string) string {
		return "FROM busybox AS " + me + "\nRUN --mount=type=cache,id=meet,target=/m touch /m/" + me +
			"; n=0; while test ! -e /m/" + other + "; do n=$((n+1)); test $n -lt 600 || exit 1; sleep 0.05; done; touch /" + me + "\n"
	}
	built(t, store, stage("one", "two")+stage("two", "one")+"FROM scratch\nCOPY --from=one /one /\nCOPY --from=two /two /\n", nil)
}

func TestOnbuild(t *testing.T) {
	store := newStore(t)
	built(t, store, "FROM busybox\nONBUILD COPY a /a\nONBUILD RUN cat /a\nRUN true\n", func(o *Options) { o.Names = []string{"later"} })
	context := files(t, t.TempDir(), "a=of the child")
	_, w := built(t, store, "FROM later\nRUN echo after\n", func(o *Options) { o.Context, o.Names = context, []string{"child"} })
	if got := w.text(); !strings.HasSuffix(got, "of the child\nafter") {
		t.Errorf("%q", got)
	}
	i, err := store.Find("child")
	if err != nil || len(i.Config.Config.OnBuild) != 0 {
		t.Errorf("the child has triggers of its own: %v, %v", i.Config.Config.OnBuild, err)
	}
	_, _, err = tryBuild(t, store, "FROM later\n", nil)
	if err == nil || !strings.Contains(err.Error(), "Dockerfile:1: FROM later: ONBUILD COPY a /a of the base: there is no context") {
		t.Error(err)
	}
}

// TestOnbuildSecret: what is given to the Dockerfile is not the base's to take,
// which may be anybody's.
func TestOnbuildSecret(t *testing.T) {
	store := newStore(t)
	built(t, store, "FROM busybox\nONBUILD RUN --mount=type=secret,id=s cat /run/secrets/s\n", func(o *Options) { o.Names = []string{"greedy"} })
	_, w, err := tryBuild(t, store, "FROM greedy\nRUN true\n", func(o *Options) { o.Secrets = map[string]Secret{"s": {Value: "four"}} })
	if err == nil || !strings.Contains(err.Error(), "may not take the secret s by itself") || strings.Contains(w.text(), "four") {
		t.Errorf("%v: %s", err, w.text())
	}
	built(t, store, "FROM busybox\nRUN --mount=type=secret,id=s test four = \"$(cat /run/secrets/s)\"\n", func(o *Options) { o.Secrets = map[string]Secret{"s": {Value: "four"}} })
}

// TestSecretKey: a RUN that gets a secret in another variable is another RUN.
func TestSecretKey(t *testing.T) {
	store := newStore(t)
	for _, name := range []string{"A", "B"} {
		_, w := built(t, store, "FROM busybox\nRUN --mount=type=secret,id=s,env="+name+" test -z \"$A\" || touch /has-a\nRUN echo /has*\n", func(o *Options) {
			o.Secrets = map[string]Secret{"s": {Value: "a secret"}}
		})
		if want := map[string]string{"A": "/has-a", "B": "/has*"}[name]; !strings.HasSuffix(w.text(), want) {
			t.Errorf("with the secret in %s: %q, want %q", name, w.text(), want)
		}
	}
}

// TestHostLabel: that an image shows this machine's programs is said, unless it
// was FROM host that asked for it.
func TestHostLabel(t *testing.T) {
	store := newStore(t)
	label := v1.Config{Labels: map[string]string{container.BaseLabel: container.BaseHost}}
	importFolder(t, store, files(t, t.TempDir(), "usr/", "tmp/"), "strange", label)
	const said = "shows this machine's programs"
	if _, w := built(t, store, "FROM strange\nWORKDIR /x\n", nil); !strings.Contains(w.text(), said) {
		t.Errorf("nothing is said: %q", w.text())
	}
	if _, w := built(t, store, "FROM host\nWORKDIR /x\n", nil); strings.Contains(w.text(), said) {
		t.Errorf("it is said of FROM host: %q", w.text())
	}
}

// TestLayers: an instruction that writes nothing makes no layer, and the history
// says so; mount points and what a sandbox makes for itself are in none.
func TestLayers(t *testing.T) {
	store := newStore(t)
	context := files(t, t.TempDir(), "a=A")
	built(t, store, `FROM scratch
COPY --from=busybox / /
RUN true
WORKDIR /tmp
WORKDIR /made
ENV A=1
COPY a /
RUN rm /a && chown bob /made && echo x > /etc/new
VOLUME /data
`, func(o *Options) { o.Context, o.Names = context, []string{"layered"} })
	i, err := store.Find("layered")
	if err != nil {
		t.Fatal(err)
	}
	var history []string
	for _, h := range i.Config.History {
		mark := "+ "
		if h.EmptyLayer {
			mark = "- "
		}
		history = append(history, mark+h.CreatedBy)
	}
	want := "+ COPY --from=busybox / /\n- RUN /bin/sh -c true\n- WORKDIR /tmp\n+ WORKDIR /made\n- ENV A=1\n+ COPY a /\n" +
		"+ RUN /bin/sh -c rm /a && chown bob /made && echo x > /etc/new\n- VOLUME [\"/data\"]"
	if got := strings.Join(history, "\n"); got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
	layers, err := i.Layers()
	if err != nil {
		t.Fatal(err)
	}
	if c := layers[3].Contents; c.Files != 1 || c.Whiteouts != 1 {
		t.Errorf("the last layer holds %+v", c)
	}
}

// TestCanceled: a build that is broken off ends its RUN at once, and leaves
// nothing but the cache.
func TestCanceled(t *testing.T) {
	store := newStore(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	began := time.Now()
	_, err := Build(ctx, store, Options{
		Dockerfile: []byte("FROM busybox\nRUN echo go; sleep 1000\n"),
		Progress: func(e Event) {
			if e.Kind == Output {
				cancel()
			}
		},
	})
	if !errors.Is(err, context.Canceled) || time.Since(began) > 100*time.Second {
		t.Errorf("%v after %s", err, time.Since(began))
	}
	left, err := filepath.Glob(filepath.Join(store.Dir(), "tmp", "*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %q, %v", left, err)
	}
}

// TestNeededSteps: without a root of its own a RUN would write to the host.
func TestNeededSteps(t *testing.T) {
	for _, step := range capturing {
		skip := sandbox.Closure([]string{step})
		if _, err := Build(t.Context(), image.NewStore(t.TempDir()), Options{Dockerfile: []byte("FROM scratch"), Spec: sandbox.Spec{Skip: skip}}); err == nil {
			t.Errorf("a build without %s", step)
		}
	}
}
