package lessons

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox"
)

// endFacts ask what ran and how it ended.
func endFacts() []fact {
	return []fact{
		{
			name: "made", least: 0, most: 0,
			help: "the sandbox was made and CMD ran",
			say:  says("the sandbox is made and CMD runs", "no CMD runs"),
			look: func(o *Observation, _ []string) (found, error) {
				if o.Result.Verdict == sandbox.VerdictSetup {
					return is(false, o.Setup.Evidence)
				}
				return is(o.Result.Verdict != "", "CMD ended with "+strconv.Itoa(o.Code))
			},
		},
		{
			name: "refused", args: "STEP ERRNO", least: 1, most: 2,
			help: "the sandbox could not be made, because of the step, with the errno",
			say:  says("the kernel refuses {}", "the kernel does not refuse {}"),
			look: func(o *Observation, args []string) (found, error) {
				if o.Result.Verdict != sandbox.VerdictSetup {
					return is(false, "the sandbox was made")
				}
				holds := o.Setup.Step == args[0] && (len(args) == 1 || o.Setup.Errno == args[1])
				return is(holds, o.Setup.Evidence)
			},
		},
		{
			name: "exit", args: "CODE", least: 1, most: 1,
			help: "CMD exits with CODE",
			say:  says("CMD exits with {}", "CMD does not exit with {}"),
			look: func(o *Observation, args []string) (found, error) {
				switch o.Result.Verdict {
				case sandbox.VerdictSetup:
					return unknown("CMD did not run")
				case sandbox.VerdictExited:
					return is(strconv.Itoa(o.Result.Code) == args[0], "CMD exited with "+strconv.Itoa(o.Result.Code))
				}
				return is(false, "CMD was ended: "+o.Ended())
			},
		},
		{
			name: "verdict", args: "WORD", least: 1, most: 1,
			help: "the report's verdict: exited, signaled, timeout, cpu-time, seccomp, output or setup-failed",
			say:  says("the verdict is {}", "the verdict is not {}"),
			look: func(o *Observation, args []string) (found, error) {
				return is(o.Result.Verdict == args[0], "the verdict is "+o.Result.Verdict)
			},
		},
		{
			name: "ran", args: "WORD…", least: 1, most: -1,
			help: "the kernel says that CMD's command line is this, … standing for any words; its program may have any folder but the student's",
			say:  says("what runs is: {}", "what runs is not: {}"),
			look: seen(func(o *Observation, args []string) (found, error) {
				got, text := commandLine(o, args[0])
				return is(match(got, args), text)
			}),
		},
		{
			name: "starts", args: "WORD…", least: 1, most: -1,
			help: "as ran, but more words may follow: for what the student is to find",
			say:  says("what runs begins with: {}", "what runs does not begin with: {}"),
			look: seen(func(o *Observation, args []string) (found, error) {
				got, text := commandLine(o, args[0])
				return is(len(got) >= len(args) && slices.Equal(got[:len(args)], args), text)
			}),
		},
		{
			name: "survivors", least: 0, most: 0,
			help: "after the sandbox ended, a process of it is still there",
			say:  says("a process of the sandbox outlives it", "no process of the sandbox outlives it"),
			look: func(o *Observation, _ []string) (found, error) {
				if o.Survivors == nil {
					return unknown("CMD's processes cannot be told from others")
				}
				return is(len(o.Survivors) > 0, plural(len(o.Survivors), "process of the sandbox was", "processes of the sandbox were")+" left on your machine")
			},
		},
		{
			name: "prints", args: "TEXT…", least: 1, most: -1,
			help: "TEXT is a line that CMD printed. A program can print anything: with the fact ran only",
			say:  says("CMD prints the line: {}", "CMD does not print the line: {}"),
			look: func(o *Observation, args []string) (found, error) {
				out := strings.TrimSpace(string(o.Stdout))
				want := strings.Join(args, " ")
				for line := range strings.Lines(out) {
					if strings.Join(strings.Fields(line), " ") == want {
						return is(true, "CMD printed: "+want)
					}
				}
				if out == "" {
					return is(false, "CMD printed nothing")
				}
				return is(false, "CMD printed: "+out)
			},
		},
		{
			name: "probe", args: "NAME CODE", least: 2, most: 2,
			help: "the checker's program NAME, run with the student's flags, exits with CODE: one that no program gives by chance, such as 42",
			say: func(args []string, not bool) string {
				return says("the checker's own program "+quoted(args[0])+" exits with "+args[1],
					"the checker's own program "+quoted(args[0])+" does not exit with "+args[1])(nil, not)
			},
			// The line "# want: …" of a probe is what it is to show, for the student.
			want: func(o *Observation, args []string) string {
				_, after, _ := strings.Cut(o.lesson.probe[args[0]], "\n# want: ")
				text, _, _ := strings.Cut(after, "\n")
				return text
			},
			look: func(o *Observation, args []string) (found, error) {
				p, ok := o.lesson.probe[args[0]]
				if !ok {
					return found{}, fmt.Errorf("there is no probe/%s", args[0])
				}
				other, err := o.with(command(p))
				if err != nil {
					return found{}, err
				}
				if other.Result.Verdict == sandbox.VerdictSetup {
					return unknown(other.Setup.Evidence)
				}
				// What a probe finds it says on stdout, for the student.
				got := strings.TrimSpace(string(other.Stdout))
				if got == "" {
					got = "the try ended so: " + other.Ended()
				}
				return is(strconv.Itoa(other.Result.Code) == args[1], got)
			},
		},
	}
}

// commandLine is what the kernel says of CMD's command line, and that in a few
// words. The folder of the program is left out unless it is asked for. The line
// is nil where it does not say what runs: a program of the student's that is
// called like another, or a variable that makes the program run something else.
func commandLine(o *Observation, program string) ([]string, string) {
	got := slices.Clone(o.View.Command)
	text := "what ran is: " + strings.Join(got, " ")
	if len(got) > 0 && !strings.Contains(program, "/") {
		if strings.HasPrefix(o.View.Exe, o.runner.Dir+"/") {
			return nil, "what ran is a program of your own, " + o.View.Exe
		}
		got[0] = path.Base(got[0])
	}
	for _, v := range o.View.Environment {
		if slices.Contains(altering, v.Name) {
			return nil, "the variable " + v.Name + " changes what the program does"
		}
	}
	return got, text
}

// altering are variables that make an interpreter or the dynamic linker run
// something else before, or in place of, what the command line says.
var altering = []string{"LD_PRELOAD", "LD_LIBRARY_PATH", "LD_AUDIT", "PERL5OPT", "PERL5LIB", "PERL5DB", "ENV", "BASH_ENV"}

// match says whether words are those wanted, where … stands for any number.
func match(words, want []string) bool {
	i := slices.Index(want, "…")
	if i < 0 {
		return slices.Equal(words, want)
	}
	rest := want[i+1:]
	return len(words) >= len(want)-1 && slices.Equal(words[:i], want[:i]) && slices.Equal(words[len(words)-len(rest):], rest)
}

// command is how a probe is executed: by the interpreter that its first line
// names, which finds the program in an argument.
func command(text string) []string {
	if strings.HasPrefix(text, "#!/usr/bin/perl") {
		return []string{"perl", "-e", text}
	}
	return []string{"sh", "-c", text}
}

// Ended is how CMD ended, in a few words.
func (o *Observation) Ended() string {
	switch o.Result.Verdict {
	case sandbox.VerdictExited:
		return "exit " + strconv.Itoa(o.Result.Code)
	case sandbox.VerdictSignaled:
		return unix.SignalName(o.Result.Signal)
	}
	return o.Result.Verdict
}
