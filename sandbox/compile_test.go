package sandbox

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// machine is a host made up for a test: paths and what is there.
type machine map[string]File

func (m machine) Lstat(path string) File {
	if dir, ok := strings.CutSuffix(path, "/."); ok && dir != "/srv/closed" {
		return m[dir]
	}
	return m[path]
}

// LstatIn takes the highest layer that has the path.
func (m machine) LstatIn(layers []string, p string) File {
	for i := len(layers) - 1; i >= 0; i-- {
		if f := m.Lstat(filepath.Join(layers[i], p)); f.exists() {
			return f
		}
	}
	return File{}
}

func (m machine) Real(path string) string   { return path }
func (m machine) Writable(path string) bool { return m[path].UID == 1000 }
func (m machine) ReadDir(dir string) ([]string, error) {
	var names []string
	for p := range m {
		if filepath.Dir(p) == dir && p != dir {
			names = append(names, filepath.Base(p))
		}
	}
	slices.Sort(names)
	return names, nil
}

func (m machine) GitFolders(dir string) (found []string, whole bool, err error) {
	for p := range m {
		if rest, ok := strings.CutPrefix(p, dir+"/"); ok && filepath.Base(p) == ".git" {
			found = append(found, rest)
		}
	}
	slices.Sort(found)
	return found, true, nil
}

func (m machine) ReadFile(path string) ([]byte, error) {
	if text, ok := machineFiles[path]; ok {
		return []byte(text), nil
	}
	return nil, fs.ErrNotExist
}

var machineFiles = map[string]string{
	"/etc/passwd":          "root:x:0:0:root:/root:/bin/bash\nada:x:1000:1000::/home/ada:/bin/bash\n",
	"/etc/group":           "root:x:0:\nada:x:1000:\n",
	"/proc/self/mountinfo": "1 0 8:1 / / rw - ext4 /dev/sda rw\n2 1 8:2 / /srv/data/my\\040disk rw - ext4 /dev/sdb rw\n",
}

// laptop is an ordinary machine with a merged /usr, a home and a git project.
func laptop() *Features {
	dir, file := File{Mode: unix.S_IFDIR}, File{Mode: unix.S_IFREG}
	own := File{Mode: unix.S_IFDIR, UID: 1000}
	m := machine{
		"/tmp": dir, "/dev": dir, "/usr": dir, "/etc": dir, "/opt": dir, "/var": dir, "/var/lib/dpkg": dir,
		"/bin": {Mode: unix.S_IFLNK, Link: "usr/bin"}, "/lib": {Mode: unix.S_IFLNK, Link: "usr/lib"},
		"/etc/hosts": file, "/etc/hostname": file, "/etc/passwd": file, "/etc/group": file,
		"/etc/resolv.conf": {Mode: unix.S_IFLNK, Link: "../run/resolv.conf"},
		"/home":            dir, "/home/ada": own, "/home/ada/project": own, "/home/ada/project/.git": own, "/home/ada/project/sub": own,
		"/home/ada/plain": own, "/home/ada/link": {Mode: unix.S_IFLNK, Link: "plain", UID: 1000}, "/home/ada/file": {Mode: unix.S_IFREG, UID: 1000},
		"/srv/closed": dir, "/srv/data": own, "/srv/data/a": own, "/srv/data/my disk": own, "/srv/data/readme": {Mode: unix.S_IFREG, UID: 1000},
	}
	return &Features{
		UID: 1000, GID: 1000, Dir: "/home/ada/plain", LandlockABI: 7, TmpfsXattr: true, LastCap: 40, Arch: "amd64", Host: m,
		Env:   []string{"PATH=/usr/local/bin:/usr/bin:/home/ada/bin:.:/bin", "HOME=/home/ada", "USER=ada", "TERM=xterm", "SECRET=hunter2"},
		Stdio: [3]Descriptor{{Mode: unix.S_IFCHR, Read: true, Write: true}, {Mode: unix.S_IFIFO, Write: true}, {Mode: unix.S_IFREG, Write: true}},

		OpenFiles: Rlimit{Name: "nofile", Soft: 1024, Hard: 524288},
	}
}

// TestGoldenPlans holds whole plans against testdata/plan: whoever changes what
// a sandbox does sees the calls that change.
func TestGoldenPlans(t *testing.T) {
	for name, change := range map[string]func(*Spec, *Features){
		"default":    func(*Spec, *Features) {},
		"nothing":    func(s *Spec, _ *Features) { s.Skip = StepNames() },
		"no-overlay": func(s *Spec, _ *Features) { s.Skip = []string{"overlay"} },
		"no-root":    func(s *Spec, _ *Features) { s.Skip = []string{"root"} },
		"root-inside": func(s *Spec, _ *Features) {
			zero := 0
			s.User.UID, s.CapAdd, s.Hostname = &zero, []string{"SYS_ADMIN"}, "box"
		},
		"ranges":  func(s *Spec, _ *Features) { s.User.Auto = true },
		"nesting": func(s *Spec, _ *Features) { s.AllowNesting = true },
		"fake-owners": func(s *Spec, _ *Features) {
			zero := 0
			s.User.UID, s.FakeOwners = &zero, true
		},
		"time": func(s *Spec, _ *Features) { s.With, s.BootOffset = []string{"time"}, 3600 },
		"mounts": func(s *Spec, _ *Features) {
			s.Mounts = []Mount{
				{Kind: BindRW, Source: "/srv/data", Target: "/data"},
				{Kind: BindRO, Source: "/home/ada/file", Target: "/home/ada/plain/new/file"},
				{Kind: Tmpfs, Target: "/scratch", Size: 1 << 20},
				{Kind: Hide, Target: "/etc/hosts"},
			}
		},
		"old-kernel":   func(s *Spec, f *Features) { f.LandlockABI, s.Upper = 1, "/var/layers" },
		"keys-refused": func(s *Spec, f *Features) { s.Skip, f.KeysRefused = []string{"root", "seccomp"}, unix.EPERM },
		"plain-clone":  func(s *Spec, f *Features) { s.Skip, f.NoClone3 = []string{"root"}, true },
		"image": func(s *Spec, f *Features) {
			f.Host.(machine)["/srv/l/1/root/etc"] = File{Mode: unix.S_IFDIR}
			f.Host.(machine)["/srv/l/2/root/proc"] = File{Mode: unix.S_IFDIR}
			s.Layers, s.Folders, s.Dir = []string{"/srv/l/1/root", "/srv/l/2/root"}, []string{"/app"}, "/app"
		},
		"image-owners": func(s *Spec, _ *Features) {
			app := 1000
			s.Layers = []string{"/srv/l/1/root"}
			s.User = User{UID: &app, GID: &app, Auto: true, Switch: true, Groups: []int{4, 27, 100}}
		},
		"image-many-layers": func(s *Spec, _ *Features) {
			for i := range 60 {
				s.Layers = append(s.Layers, "/srv/layers/"+strings.Repeat("0", 62)+strconv.Itoa(i+10)+"/root")
			}
		},
		"chroot": func(s *Spec, _ *Features) { s.RootWith = "chroot" },
		"tools":  withCargo,
	} {
		t.Run(name, func(t *testing.T) {
			s, f := Spec{Args: []string{"make", "test"}}, laptop()
			change(&s, f)
			p, err := Compile(&s, f)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, name, p)
		})
	}
}

// TestGoldenJoin holds the plan of a program in a sandbox that runs already.
func TestGoldenJoin(t *testing.T) {
	s := Spec{Args: []string{"sh", "-c", "ls"}, Env: []string{"ADDED=1"}, With: []string{"time"}, Terminal: true}
	j := Join{
		Namespaces: []string{"user", "mnt", "uts", "ipc", "pid", "cgroup", "net", "time"},
		UIDMap:     []IDMap{{1000, 1000, 1}}, GIDMap: []IDMap{{1000, 1000, 1}},
		Env: []string{"PATH=/usr/bin:/bin", "HOME=/home/ada"}, Dir: "/home/ada/plain", HostDir: "/home/ada/plain",
	}
	p, err := CompileJoin(&s, laptop(), &j)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "join", p)
	// Where everything is shared there is nothing to enter.
	s.With, s.Skip = nil, StepNames()
	if p, err = CompileJoin(&s, laptop(), &Join{}); err != nil || strings.Contains(p.String(), "setns") || strings.Contains(p.String(), "chroot") {
		t.Errorf("%v:\n%s", err, p)
	}
	// Another kernel uid is changed to.
	s.Skip, s.User.UID = nil, new(int)
	j.UIDMap, j.GIDMap = []IDMap{{0, 100000, 1}, {1000, 1000, 1}}, []IDMap{{0, 100000, 1}}
	if p, err = CompileJoin(&s, laptop(), &j); err != nil || !strings.Contains(p.String(), "setresuid(0, 0, 0)") {
		t.Errorf("%v:\n%s", err, p)
	}
}

// golden compares a plan with a file.
func golden(t *testing.T, name string, p *Plan) {
	t.Helper()
	got := p.String()
	for _, n := range p.Notes {
		got += "note: " + n + "\n"
	}
	file := filepath.Join("testdata/plan", name+".txt")
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("the plan is another than %s (UPDATE=1 rewrites it):\n%s", file, difference(string(want), got))
	}
}

// difference lists lines that only one of the texts has.
func difference(want, got string) string {
	var b strings.Builder
	a, o := strings.Split(want, "\n"), strings.Split(got, "\n")
	for _, l := range a {
		if !slices.Contains(o, l) {
			b.WriteString("- " + l + "\n")
		}
	}
	for _, l := range o {
		if !slices.Contains(a, l) {
			b.WriteString("+ " + l + "\n")
		}
	}
	return b.String()
}

// TestCompileIsPure: the same spec and host give the same plan, and neither is
// changed by it.
func TestCompileIsPure(t *testing.T) {
	s := Spec{Args: []string{"true"}, Env: []string{"A=1"}, Mounts: []Mount{{Kind: Tmpfs, Target: "/x"}}}
	before, _ := json.Marshal(s)
	first, err := Compile(&s, laptop())
	if err != nil {
		t.Fatal(err)
	}
	second, err := Compile(&s, laptop())
	if err != nil {
		t.Fatal(err)
	}
	if first.String() != second.String() {
		t.Error("two plans of one spec differ")
	}
	if after, _ := json.Marshal(s); string(after) != string(before) {
		t.Errorf("the spec was changed:\n%s\n%s", before, after)
	}
}

// TestEveryStepCanBeSkipped compiles the plan without each step, and without
// every two, and looks for calls that should have gone with it.
func TestEveryStepCanBeSkipped(t *testing.T) {
	for _, a := range StepNames() {
		for _, b := range StepNames() {
			s, _ := (Spec{Args: []string{"true"}, Skip: []string{a, b}}).Resolve()
			p, err := Compile(&s, laptop())
			if err != nil {
				t.Errorf("without %s, %s: %v", a, b, err)
				continue
			}
			for _, c := range p.Calls {
				if s.Skips(c.Step) {
					t.Errorf("without %s, %s: a call of %s is left", a, b, c.Step)
				}
			}
			for _, f := range p.flagsBy {
				if s.Skips(f.step) {
					t.Errorf("without %s, %s: the flag of %s is left", a, b, f.step)
				}
			}
		}
	}
}

// TestWorkingFolder is the table of what is shown of where the caller stands.
func TestWorkingFolder(t *testing.T) {
	for _, test := range []struct {
		dir    string
		change func(*Spec)
		shown  string // the entry, as kind and target; "" for none
		start  string
	}{
		{"/home/ada/plain", nil, "cow /home/ada/plain", "/home/ada/plain"},
		{"/home/ada/project/sub", nil, "cow /home/ada/project", "/home/ada/project/sub"},
		{"/home/ada/project/sub", func(s *Spec) { s.OnlyDir = true }, "cow /home/ada/project/sub", "/home/ada/project/sub"},
		{"/home/ada/plain", func(s *Spec) { s.HideDir = true }, "", "/home/ada"},
		{"/home/ada/plain", func(s *Spec) { s.Skip = []string{"overlay"} }, "ro /home/ada/plain", "/home/ada/plain"},
		{"/home/ada", nil, "", "/home/ada"},
		{"/home/grace", nil, "", "/home/ada"},
		{"/home", nil, "", "/home/ada"},
		{"/", nil, "", "/home/ada"},
		{"/root", nil, "", "/home/ada"},
		{"/proc/1", nil, "", "/home/ada"},
		{"", nil, "", "/home/ada"},
		{"/usr/share", nil, "", "/usr/share"}, // shown already, and not the caller's to write
		{"/srv/data", nil, "ro /srv/data", "/srv/data"},
		{"/home/ada/plain", func(s *Spec) { s.Dir = "/tmp" }, "cow /home/ada/plain", "/tmp"},
	} {
		s, f := Spec{Args: []string{"true"}}, laptop()
		f.Dir = test.dir
		if test.change != nil {
			test.change(&s)
		}
		p, err := Compile(&s, f)
		if err != nil {
			t.Errorf("%q: %v", test.dir, err)
			continue
		}
		found := ""
		for _, e := range p.Shown {
			if strings.Contains(e.Why, "working") {
				found = e.Kind + " " + e.Target
				break
			}
		}
		if found != test.shown || p.Dir() != test.start {
			t.Errorf("in %q: shown %q, CMD starts in %q; want %q and %q", test.dir, found, p.Dir(), test.shown, test.start)
		}
	}
}

// TestSplit: a folder with a mount in it is no lower layer. Its other folders
// are, and what is left of it can be read.
func TestSplit(t *testing.T) {
	f := laptop()
	f.Dir = "/srv/data"
	p, err := Compile(&Spec{Args: []string{"true"}}, f)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range p.Shown {
		if within(e.Target, "/srv/data") {
			got = append(got, e.Kind+" "+e.Target)
		}
	}
	want := []string{"ro /srv/data", "cow /srv/data/a", "cow /srv/data/my disk"}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestGuards: what makes the host run code later stays read-only in a folder
// that is shown for writing, unless it is named itself.
func TestGuards(t *testing.T) {
	for _, named := range []bool{false, true} {
		s, f := Spec{Args: []string{"true"}}, laptop()
		s.Mounts = []Mount{{Kind: BindRW, Source: "/home/ada/project", Target: "/w"}}
		f.Host.(machine)["/home/ada/project/.git/hooks"] = File{Mode: unix.S_IFDIR, UID: 1000}
		f.Host.(machine)["/home/ada/project/.envrc"] = File{Mode: unix.S_IFREG, UID: 1000}
		if named {
			s.Mounts = append(s.Mounts, Mount{Kind: BindRW, Source: "/home/ada/project/.envrc", Target: "/w/.envrc"})
		}
		p, err := Compile(&s, f)
		if err != nil {
			t.Fatal(err)
		}
		kinds := map[string]string{}
		for _, e := range p.Shown {
			kinds[e.Target] = e.Kind
		}
		want := BindRO
		if named {
			want = BindRW
		}
		if kinds["/w"] != BindRW || kinds["/w/.git"] != BindRO || kinds["/w/.envrc"] != want {
			t.Errorf("named %v: %v", named, kinds)
		}
	}
}

// TestCompileErrors: what cannot be is said before anything runs, with the
// field and the reason.
func TestCompileErrors(t *testing.T) {
	mount := func(kind, source, target string) func(*Spec) {
		return func(s *Spec) { s.Mounts = append(s.Mounts, Mount{Kind: kind, Source: source, Target: target}) }
	}
	for _, test := range []struct {
		name   string
		change func(*Spec)
		field  string
		say    string
	}{
		{"source missing", mount(BindRW, "/no/such", "/data"), "Mounts", "does not exist"},
		{"target a link", mount(BindRO, "/srv/data", "/home/ada/plain/../link/x"), "Mounts[0]", "no .."},
		{"through a link", func(s *Spec) {
			mount(BindRO, "/home/ada", "/h")(s)
			mount(BindRO, "/srv/data", "/h/link/x")(s)
		}, "Mounts", "symbolic link"},
		{"source out of reach", mount(BindRO, "/srv/closed/a/b", "/x"), "Mounts", "you may not search /srv/closed (EACCES)"},
		{"source missing beside others", mount(BindRO, "/srv/data/none", "/x"), "Mounts", "does not exist"},
		{"file onto folder", mount(BindRO, "/home/ada/file", "/usr/share"), "Mounts", "cannot be made inside read-only"},
		{"file onto a folder of the root", mount(BindRO, "/home/ada/file", "/etc"), "Mounts", "/etc is a folder, but the source /home/ada/file is a file"},
		{"missing behind a link of the root", mount(BindRO, "/srv/data", "/lib/none"), "Mounts", "/usr/lib/none does not exist, and cannot be made inside read-only /usr"},
		{"below the new /proc", mount(BindRO, "/srv/data", "/proc/x"), "Mounts", "the step proc makes anew"},
		{"hidden in the new /proc", func(s *Spec) { s.Mounts = []Mount{{Kind: Hide, Target: "/proc/cpuinfo"}} }, "Mounts", "the step proc makes anew"},
		{"below the new /dev/pts", mount(BindRO, "/srv/data", "/dev/pts/x"), "Mounts", "the step dev makes anew"},
		{"missing in read-only", mount(BindRO, "/srv/data", "/usr/none"), "Mounts", "read-only /usr"},
		{"file as overlay", mount(Overlay, "/home/ada/file", "/x"), "Mounts", "not a folder"},
		{"inside a file", func(s *Spec) {
			mount(BindRO, "/home/ada/file", "/f")(s)
			mount(BindRO, "/srv/data", "/f/x")(s)
		}, "Mounts", "which is a file"},
		{"capability without user", func(s *Spec) { s.Skip, s.CapAdd = Closure([]string{"user"}), []string{"kill"} }, "CapAdd", "needs the step user"},
		{"no such filter", func(s *Spec) { s.Seccomp = "/no/profile" }, "Seccomp", "neither"},
		{"two filters", func(s *Spec) { s.Seccomp, s.AllowNesting = "strict", true }, "AllowNesting", "its own filter"},
		{"the filter of pretended owners by its name", func(s *Spec) { s.Seccomp = "owners" }, "Seccomp", "FakeOwners"},
		{"upper in what is shown", func(s *Spec) { s.Upper = "/home/ada/plain/layers" }, "Upper", "lie in one another"},
	} {
		s := Spec{Args: []string{"true"}}
		test.change(&s)
		_, err := Compile(&s, laptop())
		var bad *SpecError
		if !errors.As(err, &bad) || bad.Field != test.field || !strings.Contains(bad.Reason, test.say) {
			t.Errorf("%s: %v; want %s: … %s …", test.name, err, test.field, test.say)
		}
	}
}

// TestNixDaemon: what the nix daemon listens on is hidden where /nix is shown: a
// read-only bind does not stop connect(2).
func TestNixDaemon(t *testing.T) {
	const socket = "/nix/var/nix/daemon-socket"
	s, f := Spec{Args: []string{"true"}}, laptop()
	for _, name := range []string{"/nix", "/nix/var", "/nix/var/nix", socket} {
		f.Host.(machine)[name] = File{Mode: unix.S_IFDIR}
	}
	p, err := Compile(&s, f)
	if err != nil {
		t.Fatal(err)
	}
	shown := slices.IndexFunc(p.Shown, func(e Shown) bool { return e.Target == "/nix" && e.Kind == BindRO })
	hidden := slices.IndexFunc(p.Shown, func(e Shown) bool { return e.Target == socket && e.Kind == Hide })
	if shown < 0 || hidden < shown {
		t.Errorf("shown %d, hidden %d: %+v", shown, hidden, p.Shown)
	}
	covers := slices.ContainsFunc(strings.Split(p.String(), "\n"), func(line string) bool {
		return strings.Contains(line, "move_mount(") && strings.Contains(line, "target:"+socket)
	})
	if !covers {
		t.Error("nothing is mounted over " + socket)
	}
	if slices.ContainsFunc(p.Calls, func(c Call) bool { return c.Step == "exec" && c.sys == nil }) {
		t.Error("a sandbox that was asked to hide nothing pauses")
	}
}

// TestLandlockDegrades: an older kernel does less and says so; what was asked
// for by name is an error.
func TestLandlockDegrades(t *testing.T) {
	s, f := Spec{Args: []string{"true"}}, laptop()
	for _, abi := range []int{0, 1, 2, 4, 7, 99} {
		f.LandlockABI = abi
		p, err := Compile(&s, f)
		if err != nil {
			t.Fatal(err)
		}
		calls := slices.ContainsFunc(p.Calls, func(c Call) bool { return c.Step == "landlock" })
		if calls != (abi >= 2) || (len(p.Notes) > 0) != (abi < 2) {
			t.Errorf("ABI %d: calls %v, notes %q", abi, calls, p.Notes)
		}
	}
	f.LandlockABI, s.Require = 0, []string{"landlock"}
	var refused *StepError
	if _, err := Compile(&s, f); !errors.As(err, &refused) || refused.Step != "landlock" {
		t.Errorf("required on a kernel without: %v", err)
	}
	f.LandlockABI, s.Require, s.TCPConnect = 3, nil, []uint16{443}
	if _, err := Compile(&s, f); !errors.As(err, &refused) {
		t.Errorf("ports on a kernel that cannot: %v", err)
	}
}

// TestEnvironment: nothing of the caller but what is passed on purpose.
func TestEnvironment(t *testing.T) {
	for _, test := range []struct {
		env  []string
		skip []string
		has  []string
		not  []string
	}{
		{nil, nil, []string{"PATH=/usr/local/bin:/usr/bin:/bin", "HOME=/home/ada", "USER=ada", "LANG=C.UTF-8", "TZ=UTC", "TERM=xterm"}, []string{"SECRET"}},
		{[]string{"SECRET"}, nil, []string{"SECRET=hunter2"}, nil},
		{[]string{"A=1,2", "A=3", "HOME=/x"}, nil, []string{"A=3", "HOME=/x"}, []string{"A=1,2"}},
		{[]string{"SEC*"}, nil, []string{"SECRET=hunter2"}, nil},
		{[]string{"NONE"}, nil, nil, []string{"NONE"}},
		{nil, []string{"env"}, []string{"SECRET=hunter2"}, nil},
	} {
		p, err := Compile(&Spec{Args: []string{"true"}, Env: test.env, Skip: test.skip}, laptop())
		if err != nil {
			t.Fatal(err)
		}
		for _, kv := range test.has {
			if !slices.Contains(p.Env, kv) {
				t.Errorf("%q skip %q: no %q in %q", test.env, test.skip, kv, p.Env)
			}
		}
		for _, name := range test.not {
			if slices.ContainsFunc(p.Env, func(kv string) bool { return strings.HasPrefix(kv, name) }) {
				t.Errorf("%q: %s is in %q", test.env, name, p.Env)
			}
		}
	}
}

// TestIDMaps: who CMD is inside, and whether the launcher must help.
func TestIDMaps(t *testing.T) {
	ptr := func(n int) *int { return &n }
	for _, test := range []struct {
		user   User
		line   string // what the child writes itself; "" when it pauses or writes none
		own    bool
		pauses int
	}{
		{User{}, "1000 1000 1\n", false, 0},
		{User{UID: ptr(0)}, "0 1000 1\n", false, 0},
		{User{UID: ptr(7), GID: ptr(8)}, "7 1000 1\n", false, 0},
		{User{Unmapped: true}, "", false, 0},
		{User{Auto: true}, "", false, 1},
		{User{UIDMap: []IDMap{{0, 100000, 10}}, GIDMap: []IDMap{{0, 100000, 10}}, UID: ptr(0)}, "", true, 1},
		{User{UIDMap: []IDMap{{0, 1000, 1}, {1, 100000, 10}}, GIDMap: []IDMap{{0, 1000, 1}}, UID: ptr(0)}, "", false, 1},
	} {
		s := Spec{Args: []string{"true"}, User: test.user}
		if test.user.Unmapped {
			s.Skip = Closure([]string{"mount"})
		}
		p, err := Compile(&s, laptop())
		if err != nil {
			t.Errorf("%+v: %v", test.user, err)
			continue
		}
		wrote := ""
		for i := range p.Calls {
			if text := p.Text(i); strings.HasPrefix(text, "write(file:/proc/self/uid_map") {
				wrote = strings.Split(text, `"`)[1]
			}
		}
		if strings.ReplaceAll(wrote, `\n`, "\n") != test.line || p.OwnMemory != test.own || len(p.pauses) != test.pauses {
			t.Errorf("%+v: wrote %q, own memory %v, %d pauses", test.user, wrote, p.OwnMemory, len(p.pauses))
		}
	}
}

func TestAround(t *testing.T) {
	got := around(IDMap{1000, 1000, 1}, []IDMap{{Outside: 100000, Count: 2000}, {Outside: 300000, Count: 10}})
	want := []IDMap{{1000, 1000, 1}, {0, 100000, 1000}, {1001, 101000, 1000}, {2001, 300000, 10}}
	if !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if got := around(IDMap{0, 1000, 1}, []IDMap{{Outside: 5, Count: 3}}); !slices.Equal(got, []IDMap{{0, 1000, 1}, {1, 5, 3}}) {
		t.Errorf("root inside: %v", got)
	}
	if got := subordinate("ada:100:5\n1000:200:6\nbob:1:1\nada:x:3\nada:9\n", 1000, "ada"); !slices.Equal(got, []IDMap{{0, 100, 5}, {0, 200, 6}}) {
		t.Errorf("subordinate: %v", got)
	}
}
