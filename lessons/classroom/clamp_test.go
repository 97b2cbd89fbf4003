package classroom

import (
	"strings"
	"testing"

	"github.com/sbx-dev/sbx/lessons"
)

// What a line from another machine may hold, as students and attackers write it.
func TestClampLine(t *testing.T) {
	const (
		yes = true
		no  = false
	)
	for flags, want := range map[string]bool{
		"":                                  yes,
		"--skip uts":                        yes,
		"--skip=uts,landlock":               yes,
		"--skip uts --skip cgroup":          yes,
		"--with time --boottime-offset -5s": yes,
		"-u 0":                              yes,
		"-u 1000:1000 --as-pid-1":           yes,
		"-e A=b --env=C=d":                  yes,
		"--timeout 2s --cpu-time 1":         yes,
		"--pids-limit 10 --ulimit nofile=64:128 --ulimit core=0": yes,
		"--layer-size 1m --tmpfs /x:size=1m --tmpfs /y":          yes,
		"--net none --profile strict --seccomp strict":           yes,
		"--hide /etc/passwd -w /tmp --root-with pivot_root":      yes,

		// steps
		"--skip root":                          no,
		"--skip=root":                          no,
		"--skip uts,root":                      no,
		"--skip uts --skip=mount":              no,
		"--skip user":                          no,
		"--skip nnp":                           no, // landlock and seccomp go with it
		"--skip '' ":                           no,
		"--skip 'uts, root'":                   no,
		"--skip ROOT":                          no,
		"--optional caps":                      no,
		"--optional=proc":                      no,
		"--only uts":                           no,
		"--only=env":                           no,
		"--profile teaching":                   no,
		"--profile nested":                     no,
		"--profile ci":                         no, // goes on without proc
		"--profile ./x.toml":                   no,
		"--profile default --profile teaching": no,
		"--seccomp log":                        no,
		"--seccomp /etc/passwd":                no,
		"--seccomp default --seccomp ./mine.json": no,
		"--root-with chroot":                      no,
		"--allow-nesting":                         no,

		// the server's files, variables, ids and network
		"--rw /":                 no,
		"--ro /etc":              no,
		"--cow .":                no,
		"-v /:/mnt":              no,
		"-v/:/mnt":               no,
		"--volume=/:/mnt":        no,
		"--rootfs /":             no,
		"--upper /tmp":           no,
		"--env-file /etc/passwd": no,
		"-e HOME":                no,
		"-e 'SECRET*'":           no,
		"-eHOME":                 no,
		"-e=A=b":                 no,
		"--net host":             no,
		"--net=user":             no,
		"--uid-map 0:0:1":        no,
		"--uid-map auto":         no,
		"--gid-map 0:0:1":        no,
		"-u auto":                no,
		"--cap-add ALL":          no,
		"--tcp-connect 22":       no,
		"--report /tmp/x":        no,
		"--look /tmp/x":          no,
		"--trace-file=/tmp/x":    no,
		"--trace":                no,

		// words that are read in two ways
		"-tw /":                       no,
		"-u0":                         no,
		"-iu 0":                       no,
		"--hostname --rw":             no,
		"--hostname":                  no,
		"--boottime-offset --rw=/":    no,
		"--boottime-offset -v=/:/mnt": no,
		"--as-pid-1=true":             no,
		"--hostname a b":              no,
		"'' --rw /":                   no,
		"'--hostname a'":              no,
		"--hostname 'a\nb'":           no,
		"--sk root":                   no,
		"---skip uts":                 no,

		// more than a run has
		"--timeout 10h":                        no,
		"--timeout 0":                          no,
		"--timeout -1":                         no,
		"--timeout 1e9":                        no,
		"--timeout 5s --timeout 1h":            no,
		"--cpu-time 1h":                        no,
		"--pids-limit 100000":                  no,
		"--pids-limit 0":                       no,
		"--pids-limit -1":                      no,
		"--pids-limit unlimited":               no,
		"--ulimit fsize=unlimited":             no,
		"--ulimit fsize=-1":                    no,
		"--ulimit fsize=99999999999":           no,
		"--ulimit fsize=1:unlimited":           no,
		"--ulimit nproc=100000":                no,
		"--ulimit RLIMIT_NPROC=100000":         no,
		"--ulimit msgqueue=999999999":          no,
		"--ulimit core=1":                      no,
		"--ulimit nproc=1 --ulimit nproc=9999": no,
		"--layer-size 64g":                     no,
		"--layer-size 65m":                     no,
		"--layer-size 0":                       no,
		"--layer-size unlimited":               no,
		"--tmpfs /x:size=50%":                  no,
		"--tmpfs /x:size=1g":                   no,
		"--tmpfs /x:size=1m,size=9g":           no,
		"--tmpfs /x:nr_inodes=0":               no,
		strings.Repeat("--tmpfs /x ", 5):       no,
	} {
		line, err := lessons.Parse("sbx run " + flags + " -- true")
		if err != nil {
			t.Errorf("%s: %v", flags, err)
			continue
		}
		if err := (clamp{remote: true}).line(line); (err == nil) != want {
			t.Errorf("%s: %v", flags, err)
		}
		if err := (clamp{}).line(line); err != nil {
			t.Errorf("%s on the own machine: %v", flags, err)
		}
	}
}

// A teacher allows what guards, never what protects.
func TestAllow(t *testing.T) {
	for _, name := range Protected {
		if _, err := newClamp(true, []string{name}); err == nil {
			t.Errorf("%s can be allowed", name)
		}
	}
	if _, err := newClamp(true, []string{"nothing"}); err == nil {
		t.Error("a step that does not exist can be allowed")
	}
	c, err := newClamp(true, []string{"pid"})
	if err != nil {
		t.Fatal(err)
	}
	// proc needs pid, and is not allowed.
	if c.off([]string{"pid"}) == nil || c.locked("pid") != "" {
		t.Error("with pid goes proc, which stays on")
	}
	if c, err = newClamp(true, []string{"all"}); err != nil || c.off(Guarding) != nil || c.off([]string{"root"}) == nil {
		t.Errorf("all: %+v %v", c, err)
	}
}

// Why an exercise cannot be done tells nothing of its answer.
func TestRefusedLesson(t *testing.T) {
	near, far := start(t, false), start(t, true)
	refused := 0
	for _, l := range lessons.All() {
		if why := near.refused(l); why != "" {
			t.Errorf("%s cannot be done on the own machine: %s", l.ID(), why)
		}
		why := far.refused(l)
		if why != "" {
			refused++
		}
		line, err := lessons.Parse(l.Solution)
		if err != nil {
			continue // the capstone's is a list
		}
		for _, flag := range line.Flags {
			if strings.Contains(why, flag) {
				t.Errorf("%s: %q holds %s", l.ID(), why, flag)
			}
		}
	}
	if refused == 0 || refused == len(lessons.All()) {
		t.Errorf("%d of %d lessons are refused", refused, len(lessons.All()))
	}
	t.Logf("%d of %d lessons are refused from another machine", refused, len(lessons.All()))
}

// The page never gets to know which step is off in the capstone, and where the
// class may not switch one off, another is chosen.
func TestSecret(t *testing.T) {
	s := start(t, true)
	l := &lessons.Lesson{Number: 99, Name: "box", Secrets: []string{"root", "uts", "user"}}
	for range 20 {
		got, err := s.secret(NewToken(), l)
		if err != nil || got != "uts" {
			t.Fatalf("%q %v", got, err)
		}
	}
	browser := NewToken()
	if _, err := s.roster.change(browser, func(st *student) { st.Secret[l.ID()] = 0 }); err != nil {
		t.Fatal(err)
	}
	if got, err := s.secret(browser, l); err != nil || got != "uts" {
		t.Errorf("what may no longer be off stays: %q %v", got, err)
	}
	if s.refused(l) != "" {
		t.Error("it can be done, and is refused")
	}
	l.Secrets = []string{"root"}
	if _, err := s.secret(browser, l); err == nil || s.refused(l) == "" {
		t.Error("it cannot be done, and is not refused")
	}
}
