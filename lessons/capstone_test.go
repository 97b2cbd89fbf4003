package lessons

import (
	"bytes"
	"strings"
	"testing"
)

// Each step that can be missing in a lesson with secrets shows itself: the
// solution names a command whose output, or exit code, is another in the box.
// And sbx gives nothing away: it says in the box what it says in a whole one.
func TestSecretsCanBeFound(t *testing.T) {
	found := false
	for _, l := range All() {
		if len(l.Secrets) == 0 {
			continue
		}
		found = true
		shows := map[string]string{}
		for line := range strings.Lines(l.Solution) {
			step, cmd, ok := strings.Cut(strings.TrimSpace(line), ": ")
			if !ok {
				t.Fatalf("%s: the solution's line %q is not STEP: CMD", l.ID(), line)
			}
			shows[step] = cmd
		}
		r := student(t, l)
		r.Given = l.Given
		run := func(t *testing.T, secret, script string) *Observation {
			line := Line{Flags: l.Off.Flags, CMD: []string{"sh", "-c", script}}
			if secret != "" {
				var err error
				if line, err = l.Box(secret, line.CMD); err != nil {
					t.Fatal(err)
				}
			}
			o, err := r.Run(t.Context(), line)
			if err != nil {
				t.Fatal(err)
			}
			if o.View == nil {
				t.Fatalf("%s: CMD did not run: %s", line, o.Stderr)
			}
			return o
		}
		whole := run(t, "", "true")
		for _, secret := range l.Secrets {
			t.Run(secret, func(t *testing.T) {
				cmd := shows[secret]
				if cmd == "" {
					t.Fatal("the solution names no command that shows it")
				}
				with, without := run(t, "", cmd), run(t, secret, cmd)
				if bytes.Equal(with.Stdout, without.Stdout) && with.Code == without.Code {
					t.Errorf("%s shows no difference: exit %d, %q", cmd, with.Code, with.Stdout)
				}
				if says := run(t, secret, "true").Stderr; !bytes.Equal(says, whole.Stderr) {
					t.Errorf("in the box sbx says %q, in a whole one %q", says, whole.Stderr)
				}
				for _, word := range append([]string{l.Answer}, l.Secrets...) {
					rep, err := l.Check(t.Context(), r, "# a comment\n"+word+"\n", secret)
					if err != nil {
						t.Fatal(err)
					}
					if rep.Passed != (word == secret) {
						t.Errorf("the answer %s: passed=%t", word, rep.Passed)
					}
					if !rep.Passed && len(rep.Hints) == 0 {
						t.Errorf("the answer %s has no hint", word)
					}
				}
			})
		}
	}
	if !found {
		t.Error("no lesson has secrets")
	}
}
