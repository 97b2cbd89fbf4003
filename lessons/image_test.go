package lessons

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// kiosk is a lesson with an image of three layers, of which the second has a
// secret and the third removes it.
func kiosk(t *testing.T) *Lesson {
	t.Helper()
	const head = "title: T\nminutes: 1\nman: a(1)\n-- task --\nT\n-- predict --\nQ\n+ a\n- b\n-- answer --\nx\n" +
		"-- solution --\nsbx run -- cat {layer kiosk 2}/srv/token\n-- check --\nfinds kiosk 2 srv/token\n-- hints --\nmade: h\n"
	l, err := parse("99-kiosk", []byte(head+"-- image/kiosk/2 --\nCOPY token /srv/\n-- image/kiosk/2/srv/token --\n{secret} {secret}\n"+
		"-- image/kiosk/3 --\nRUN rm /srv/token\n-- image/kiosk/3/srv/.wh.token --\n"))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// An image of a lesson is in a store of the folder's own. Its secrets stay until
// the lesson is begun anew, and then are others; what a student makes of the
// unpacked layer does not change what is looked for.
func TestImages(t *testing.T) {
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("XDG_DATA_HOME", "")
	l := kiosk(t)
	r := student(t, l)
	secret := func() string {
		t.Helper()
		text, err := r.inLayer("kiosk", 2, "srv/token")
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	first := secret()
	words := strings.Fields(first)
	if len(words) != 2 || len(words[0]) != 16 || words[0] == words[1] {
		t.Fatalf("the secrets are %q", first)
	}
	if entries, err := os.ReadDir(home); err != nil || len(entries) > 0 {
		t.Errorf("the student's home has %v: %v", entries, err)
	}
	if err := r.Prepare(l, false); err != nil || secret() != first {
		t.Errorf("prepared again, the secrets are %q, were %q: %v", secret(), first, err)
	}
	answer := l.SolutionFor(r)
	rep, err := l.Check(t.Context(), r, answer, "")
	if err != nil || !rep.Passed {
		t.Errorf("%s: %v, %+v", answer, err, rep)
	}
	unpacked, err := filepath.Glob(filepath.Join(r.Dir, "data/sbx/layers/*/root/srv/token"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range unpacked {
		_ = os.WriteFile(name, []byte("mine\n"), 0o644) // one of them is a whiteout
	}
	if secret() != first {
		t.Error("who writes into the unpacked layer changes what is looked for")
	}
	if err := r.Prepare(l, true); err != nil || secret() == first {
		t.Errorf("begun anew, the secrets are the same: %v", err)
	}
	if rep, err := l.Check(t.Context(), r, "sbx run -- echo "+first, ""); err != nil || rep.Passed {
		t.Errorf("the secret of before passes: %v", err)
	}
	blob, err := filepath.Glob(filepath.Join(r.Dir, "data/sbx/oci/blobs/sha256/*"))
	if err != nil || len(blob) == 0 {
		t.Fatalf("there is no blob: %v", err)
	}
	for _, name := range blob {
		if err := os.WriteFile(name, []byte("{}"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := r.inLayer("kiosk", 2, "srv/token"); err == nil {
		t.Error("blobs that were changed are believed")
	}
}

// An answer has the verb run, a line of the experiment any.
func TestOtherVerbs(t *testing.T) {
	const text = "sbx image inspect --layer 2 kiosk"
	if _, err := Parse(text); err == nil {
		t.Errorf("%s is taken as an answer", text)
	}
	line, err := parseAny(text)
	if err != nil || line.IsZero() || line.String() != text {
		t.Fatalf("%s is read as %+v: %v", text, line, err)
	}
	l := kiosk(t)
	r := student(t, l)
	r.Given = l.Given
	o, err := r.Run(t.Context(), line)
	if err != nil {
		t.Fatal(err)
	}
	if o.Code != 0 || !strings.Contains(string(o.Stdout), "srv/token") || o.Ended() != "exit 0" {
		t.Errorf("%s: %s, %q, %q", text, o.Ended(), o.Stdout, o.Stderr)
	}
}

// A section of an image that is not in order is an error.
func TestParseImages(t *testing.T) {
	for _, names := range [][]string{
		{"kiosk/1"}, {"kiosk/3"}, {"kiosk/2/srv/token"}, {"kiosk/x"}, {"kiosk"}, {"kiosk/2", "kiosk/2/../token"}, {"kiosk/2", "kiosk/3/token"},
	} {
		l := &Lesson{images: map[string][]imageLayer{}}
		var err error
		for _, name := range names {
			err = l.addImage(name, "text")
		}
		if err == nil {
			t.Errorf("%q is no error", names)
		}
	}
}
