package cli

import (
	"reflect"
	"regexp"
	"strings"
	"testing"
)

// TestProfiles: every name that is offered is one, its spec can be, and what is
// shown of it makes the same spec.
func TestProfiles(t *testing.T) {
	for _, name := range profileNames {
		s, _, err := (&RunFlags{Profile: name}).Spec([]string{"true"})
		if err == nil {
			err = s.Validate()
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		flags, summary, ok := builtinProfile(name)
		if !ok || summary == "" {
			t.Errorf("%s: no summary", name)
		}
		again := rewritten(t, &flags)
		if have, _, err := again.Spec([]string{"true"}); err != nil || !have.Equal(&s) {
			t.Errorf("%s: what is shown makes %+v, %v, and not %+v", name, have, err, s)
		}
	}
}

// rewritten writes the flags as a profile and reads that.
func rewritten(t *testing.T, flags *RunFlags) *RunFlags {
	t.Helper()
	var b strings.Builder
	if err := writeProfile(&b, flags); err != nil {
		t.Fatal(err)
	}
	text, err := parseProfile("again", "/nowhere", []byte(b.String()))
	if err != nil {
		t.Fatalf("%v, in\n%s", err, b.String())
	}
	return &text.flags
}

// TestEveryFlagInAProfile: each flag of run that says what the sandbox is can
// be a key, and is written as it is read.
func TestEveryFlagInAProfile(t *testing.T) {
	const text = `
volume = ["/a:/b:ro"]
tmpfs = ["/t:size=1m", "/quote\"\\\u0007é"]
env = ["A=ü\n\t1"]
net = "host"
only-cwd = true
tcp-connect = [80, 0x50]
timeout = 1_0
`
	p, err := parseProfile("p", "/dir", []byte(text))
	if err != nil {
		// The mount point with a bell in it is one that mount(2) takes.
		t.Fatal(err)
	}
	want := RunFlags{
		Volume: []string{"/a:/b:ro"}, Tmpfs: []string{"/t:size=1m", "/quote\"\\\aé"}, Env: []string{"A=ü\n\t1"},
		Net: "host", OnlyCwd: true, TCPConnect: []string{"80", "80"}, Timeout: "10",
	}
	if !reflect.DeepEqual(p.flags, want) {
		t.Errorf("read %+v\nwant %+v", p.flags, want)
	}
	if again := rewritten(t, &p.flags); !reflect.DeepEqual(*again, want) {
		t.Errorf("again %+v\nwant  %+v", *again, want)
	}
	n := 0
	flagFields(func(int, reflect.StructField) { n++ })
	if n < 30 {
		t.Errorf("a profile knows %d flags: the tags are misread", n)
	}
}

// TestProfilePaths: a path is absolute, from the home, or from the profile's
// folder, and never from where sbx is called.
func TestProfilePaths(t *testing.T) {
	t.Setenv("HOME", "/home/me")
	p, err := parseProfile("p", "/dir", []byte(`
rw = ["out", "~/x", "/y/", "../z", "~", "~me"]
volume = ["./a:/b", "~:/c", "~/d:~/e:ro", ".:/f"]
seccomp = "./f.json"
tmpfs = ["~/t:size=1m"]
hide = ["~/secret"]
`))
	if err != nil {
		t.Fatal(err)
	}
	want := RunFlags{
		RW:      []string{"/dir/out", "/home/me/x", "/y", "/z", "/home/me", "/dir/~me"},
		Volume:  []string{"/dir/a:/b", "/home/me:/c", "/home/me/d:/home/me/e:ro", "/dir:/f"},
		Seccomp: "/dir/f.json", Tmpfs: []string{"/home/me/t:size=1m"}, Hide: []string{"/home/me/secret"},
	}
	if !reflect.DeepEqual(p.flags, want) {
		t.Errorf("read %+v\nwant %+v", p.flags, want)
	}
	t.Setenv("HOME", "")
	if _, err := parseProfile("p", "/dir", []byte("rw = [\n  '~/x',\n]")); err == nil || !strings.HasPrefix(err.Error(), "p:2:3: rw: ~ is no folder") {
		t.Errorf("without HOME: %v", err)
	}
}

// TestUnder: what is on top adds, and wins where there can be but one.
func TestUnder(t *testing.T) {
	base := RunFlags{
		RO: []string{"/a", "/b"}, Volume: []string{"/x:/c"}, Tmpfs: []string{"/d:size=1m"},
		Net: "host", OnlyCwd: true, Ulimit: []string{"nproc=1", "nofile=2", "cpu=3"}, PidsLimit: "5", Skip: []string{"net"},
	}
	over := RunFlags{
		Hide: []string{"/a/"}, RW: []string{"/c", "/d"}, Net: "none", CPUTime: "1s", Ulimit: []string{"nofile=7"}, PidsLimit: "6",
		Skip: []string{"uts"}, Profile: "x",
	}
	have, err := base.under(&over)
	if err != nil {
		t.Fatal(err)
	}
	want := RunFlags{
		RO: []string{"/b"}, RW: []string{"/c", "/d"}, Hide: []string{"/a/"}, Net: "none", OnlyCwd: true, CPUTime: "1s",
		Ulimit: []string{"nofile=7"}, PidsLimit: "6", Skip: []string{"net", "uts"},
	}
	for _, list := range []*[]string{&have.Volume, &have.Tmpfs} {
		if len(*list) == 0 {
			*list = nil
		}
	}
	clearEmpty(&have)
	if !reflect.DeepEqual(have, want) {
		t.Errorf("have %+v\nwant %+v", have, want)
	}
	if len(base.Ulimit) != 3 || len(base.RO) != 2 {
		t.Errorf("the profile itself was changed: %+v", base)
	}
}

// clearEmpty makes lists without elements nil, for a comparison.
func clearEmpty(f *RunFlags) {
	v := reflect.ValueOf(f).Elem()
	for i := range v.NumField() {
		if v.Field(i).Kind() == reflect.Slice && v.Field(i).Len() == 0 {
			v.Field(i).SetZero()
		}
	}
}

var placed = regexp.MustCompile(`^p:[0-9]+:[0-9]+: `)

// FuzzProfile reads whatever is in a file: an error has its place, and what is
// accepted is written as it was read.
func FuzzProfile(f *testing.F) {
	for _, seed := range []string{
		"", "skip = ['net']", "extends = 'strict'\n# x\nnet = \"none\"", "timeout = 1_0\nulimit = [\"nofile=1:2\"]",
		"volume = ['~/a:/b:ro', './:/x']", "a.b = 1", "[t]", "[[t]]\na=1", "env = [\"A=\\u0007\\U0001F600\"]", "only-cwd = true",
		"rw = ['''x''', \"\"\"\ny\"\"\"]", "skip = [[]]", "skip = {a=1}", "user = 99999999999999999999", "\xff", "'net' = \"host\"",
	} {
		f.Add([]byte(seed))
	}
	f.Setenv("HOME", "/home/me")
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := parseProfile("p", "/nowhere", data)
		if err != nil {
			if !placed.MatchString(err.Error()) {
				t.Fatalf("no place: %v", err)
			}
			return
		}
		clearEmpty(&p.flags)
		var b strings.Builder
		if err := writeProfile(&b, &p.flags); err != nil {
			t.Fatal(err)
		}
		again, err := parseProfile("p", "/elsewhere", []byte(b.String()))
		if err != nil {
			t.Fatalf("%v, in\n%s", err, b.String())
		}
		if !reflect.DeepEqual(again.flags, p.flags) {
			t.Fatalf("read %+v\nagain %+v", p.flags, again.flags)
		}
	})
}
