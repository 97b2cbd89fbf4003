package lessons

import (
	"errors"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// What CMD leaves behind is found, and ended, also where it holds the pipes that
// CMD's output is read from; a sandbox with a PID namespace leaves nothing.
func TestSurvivorsAreEnded(t *testing.T) {
	r := student(t, &Lesson{Number: 99, Name: "survivors"})
	for _, script := range []string{"sleep 100 >/dev/null 2>&1 &", "sleep 100 & echo begun"} {
		o, err := r.Run(t.Context(), Line{Flags: []string{"--skip", "pid"}, CMD: []string{"sh", "-c", script}})
		if err != nil {
			t.Fatal(err)
		}
		if len(o.Survivors) != 1 {
			t.Fatalf("%s: the survivors are %v, want one: %s", script, o.Survivors, o.Stderr)
		}
		for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(10 * time.Millisecond) {
			if err := unix.Kill(o.Survivors[0], 0); errors.Is(err, unix.ESRCH) {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s: process %d was not ended", script, o.Survivors[0])
			}
		}
		o, err = r.Run(t.Context(), Line{CMD: []string{"sh", "-c", script}})
		if err != nil {
			t.Fatal(err)
		}
		if o.Survivors == nil || len(o.Survivors) != 0 {
			t.Errorf("%s: with a PID namespace the survivors are %v, want none", script, o.Survivors)
		}
	}
}

// What is given reaches CMD as it would from a shell: with the steps off, and
// only then. What runs beside a line is there before it and gone after it.
func TestGiven(t *testing.T) {
	r := student(t, &Lesson{Number: 99, Name: "given"})
	r.Given = Given{
		Env:    []string{"LENT=a variable"},
		Open:   []string{"the third", "the fourth"},
		Beside: `open F, ">", "beside"; close F; $| = 1; print "ready\n"; 1 while <STDIN>; unlink "beside"`,
	}
	cmd := []string{"sh", "-c", `echo "$LENT"; cat <&3; echo; cat <&4; echo; ls`}
	for _, test := range []struct {
		skip string
		want string
	}{
		{"env,fds", "a variable\nthe third\nthe fourth\nbeside\n"},
		{"uts", "\n"}, // the shell ends at the first descriptor that is not open
	} {
		o, err := r.Run(t.Context(), Line{Flags: []string{"--skip", test.skip}, CMD: cmd})
		if err != nil {
			t.Fatal(err)
		}
		if got := string(o.Stdout); !strings.HasPrefix(got, test.want) || strings.Contains(got, "third") != (test.skip != "uts") {
			t.Errorf("--skip %s: CMD printed %q, want %q", test.skip, got, test.want)
		}
	}
	o, err := (&Runner{Sbx: r.Sbx, Dir: r.Dir}).Run(t.Context(), Line{CMD: []string{"ls"}})
	if err != nil {
		t.Fatal(err)
	}
	if len(o.Stdout) > 0 {
		t.Errorf("the program beside left %q", o.Stdout)
	}
	r.Given.Beside = `die "no room\n"`
	if _, err := r.Run(t.Context(), Line{CMD: []string{"true"}}); err == nil || !strings.Contains(err.Error(), "no room") {
		t.Errorf("a program beside that ends at once gives %v", err)
	}
}

// Descriptors are in order, since each is lent as the next.
func TestParseGiven(t *testing.T) {
	const head = "title: T\nminutes: 1\nman: a(1)\n-- task --\nT\n-- predict --\nQ\n+ a\n- b\n-- answer --\nx\n" +
		"-- solution --\ny\n-- check --\nmade\n-- hints --\nmade: h\n"
	l, err := parse("01-x", []byte(head+"-- fd/3 --\na\n-- fd/4 --\nb\n-- env/K --\nv\n-- beside --\np\n"))
	if err != nil {
		t.Fatal(err)
	}
	if g := l.Given; len(g.Open) != 2 || len(g.Env) != 1 || g.Env[0] != "K=v" || g.Beside != "p\n" {
		t.Errorf("what is given is %+v", g)
	}
	if _, err := parse("01-x", []byte(head+"-- fd/4 --\nb\n")); err == nil {
		t.Error("fd/4 without fd/3 is no error")
	}
}
