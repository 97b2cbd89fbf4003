package observe

import (
	"errors"
	"strings"
	"testing"
	"unicode/utf8"
)

const wantPage = `PROCESS
  pid               5151, inside 2
  command           bash
  executable        /usr/bin/bash
  state             S (sleeping)
  uid               1000, inside 0
  gid               1000, inside 0
  groups            1000
  root              /
  folder            /work
  hostname          sandbox
  session           began outside, led by it, no terminal

NAMESPACES
  user              4026532337  * differs
  mnt               4026532338  * differs
  pid               4026532339  * differs
  pid_for_children  4026532339  * differs
  uts               4026532341  * differs
  ipc               4026532342  * differs
  net               4026532343  * differs
  cgroup            4026532344  * differs
  time              4026531845  same
  clocks            boottime 86400 s ahead of the host's

ID MAPS
  uid               0 inside is 1000 outside
  gid               0 inside is 1000 outside
  setgroups         deny

PRIVILEGES
  effective         none
  permitted         2 of 41: NET_BIND_SERVICE NET_RAW
  inheritable       none
  bounding          39 of 41, without CHOWN SYS_ADMIN
  ambient           none
  no_new_privs      yes
  seccomp           1 filter
  landlock          not visible

LIMITS
  NAME   SOFT      HARD       UNIT
  nproc  4096      4096       processes
  fsize  16777216  unlimited  bytes

MEMORY AND CGROUPS
  oom_score_adj     0
  cgroup            /user.slice/box (cgroup2)

MOUNTS
  TARGET       TYPE      FLAGS  SOURCE
  /            tmpfs     ro     tmpfs
  /usr         ext4      ro     /dev/sda1[/usr]
  /work        overlay   rw     /work + /u
  /proc        proc      rw     proc
  /proc/kcore  tmpfs     ro     [/null]
  /dev         tmpfs     ro
  /dev/null    devtmpfs  rw     [/null]

NETWORK
  lo                no address (received 0, sent 0 bytes)

VISIBLE PROCESSES
  3                 1 init, 2 bash, 3 cat

OPEN FILES
  FD  ACCESS  TARGET     FLAGS
  0   r       /dev/null
  1   w       pipe:[1]   append,cloexec
  2   w       pipe:[2]

ENVIRONMENT
  3                 HOME PATH TZ

NOT READABLE
  exe               EACCES (/proc/5151/exe)
`

func pageView() *View {
	v := sandboxView()
	v.Namespaces[8] = hostView().Namespaces[8]
	v.Capabilities.Permitted = []string{"CAP_NET_BIND_SERVICE", "CAP_NET_RAW"}
	v.Capabilities.Bounding = minus(CapabilityNames(1<<41-1), []string{"CAP_CHOWN", "CAP_SYS_ADMIN"})
	v.FDs[1].Flags = []string{"O_APPEND", "O_CLOEXEC"}
	v.Unreadable = []Unread{{"exe", "/proc/5151/exe", "EACCES"}}
	return v
}

func TestWrite(t *testing.T) {
	var b strings.Builder
	if err := pageView().Write(&b, WriteOptions{Reference: hostView()}); err != nil {
		t.Fatal(err)
	}
	got, want := strings.Split(b.String(), "\n"), strings.Split(wantPage, "\n")
	for i := 0; i < max(len(got), len(want)); i++ {
		if i >= len(got) || i >= len(want) || got[i] != want[i] {
			t.Fatalf("line %d differs; the whole is:\n%s", i+1, b.String())
		}
	}
}

// Colour adds escape sequences and changes no column.
func TestWriteColor(t *testing.T) {
	var plain, colored strings.Builder
	v := pageView()
	if err := v.Write(&plain, WriteOptions{Width: 60}); err != nil {
		t.Fatal(err)
	}
	if err := v.Write(&colored, WriteOptions{Width: 60, Color: true}); err != nil {
		t.Fatal(err)
	}
	text := colored.String()
	if !strings.Contains(text, string(styleIsolated)) || !strings.Contains(text, string(styleShared)) {
		t.Error("no colours")
	}
	for _, s := range []style{styleHeading, styleIsolated, styleShared, styleMissing, styleReset} {
		text = strings.ReplaceAll(text, string(s), "")
	}
	if text != plain.String() {
		t.Errorf("without its colours it differs:\n%s", text)
	}
	if strings.Contains(plain.String(), "\x1b") {
		t.Error("colours without Color")
	}
}

func TestWriteWidths(t *testing.T) {
	v := pageView()
	v.Exe = "/" + strings.Repeat("a-very-long-name/", 30)
	v.Mounts[2].Overlay.Lower = []string{strings.Repeat("/lower", 50)}
	v.Mounts[1].Target = strings.Repeat("/ü", 60)
	for width := 40; width <= 200; width += 8 {
		var b strings.Builder
		if err := v.Write(&b, WriteOptions{Width: width}); err != nil {
			t.Fatal(err)
		}
		for line := range strings.SplitSeq(b.String(), "\n") {
			if n := utf8.RuneCountInString(line); n > width {
				t.Errorf("width %d: %d characters: %s", width, n, line)
			}
		}
	}
}

type brokenWriter struct{}

var errBroken = errors.New("broken")

func (brokenWriter) Write([]byte) (int, error) { return 0, errBroken }

func TestWriteError(t *testing.T) {
	if err := hostView().Write(brokenWriter{}, WriteOptions{}); !errors.Is(err, errBroken) {
		t.Errorf("got %v", err)
	}
}
