package sandbox

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox/filter"
	"github.com/sbx-dev/sbx/sandbox/internal/testenv"
)

// TestHintChild is no test of its own: it is what the tests below run inside an
// imitation of another host. It makes a sandbox and prints what comes of it.
func TestHintChild(t *testing.T) {
	step := os.Getenv("SANDBOX_TEST_HINT")
	if step == "" {
		return // started as a test
	}
	c := Command("/bin/true")
	if program := os.Getenv("SANDBOX_TEST_PROGRAM"); program != "" {
		c = Command(program)
	}
	switch step {
	case "nproc": // the runtime may need a thread for more than to ask
		limit := unix.Rlimit{Cur: 1, Max: 1}
		e := &Error{Step: "user", Call: "clone3({flags=CLONE_NEWUSER}, 64)", Errno: unix.EAGAIN}
		if err := unix.Setrlimit(unix.RLIMIT_NPROC, &limit); err == nil {
			_ = new(Cmd).explain(e)
		}
		_, _ = os.Stdout.WriteString(e.Hint)
		os.Exit(0)
	case "all":
		c.Spec.HideDir = true
	case "folder": // the working folder, copy on write
	case "upper":
		c.Spec.Upper = "/mnt/m1/upper"
	default:
		c.Spec.Skip, _ = Only([]string{step})
		c.Spec.HideDir = true
	}
	err := c.Run()
	if err == nil {
		_, _ = os.Stdout.WriteString("made\n")
	} else {
		_, _ = os.Stdout.WriteString(err.Error() + "\nhint: " + HintOf(err) + "\n")
	}
	os.Exit(0)
}

// imitated runs the child below a shell command that changes the host for it,
// in a user namespace that unshare(1) made with these flags. The command ends
// in "$@".
func imitated(t *testing.T, step, flags, script string) string {
	t.Helper()
	testenv.Need(t, "tool:unshare")
	unshare, err := exec.LookPath("unshare")
	if err != nil {
		t.Fatal(err)
	}
	args := append(strings.Fields(flags), "sh", "-ec", script, "sh", os.Args[0], "-test.run=^TestHintChild$")
	cmd := exec.Command(unshare, args...)
	cmd.Env = append(os.Environ(), "SANDBOX_TEST_HINT="+step)
	cmd.Dir = "/"
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
	return string(out)
}

func wantIn(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("%q is not in:\n%s", part, text)
		}
	}
}

func TestHintOfTheHost(t *testing.T) {
	for _, test := range []struct {
		name, step, flags, script string
		want                      []string
	}{
		{"nothing is wrong", "all", "-Ur", `exec "$@"`, []string{"made"}},
		{
			"no user namespaces", "user", "-Ur", `echo 0 >/proc/sys/user/max_user_namespaces; exec "$@"`,
			[]string{"user: clone3", "ENOSPC", "user.max_user_namespaces is 0 in this user namespace", "--allow-nesting"},
		},
		{
			"no network namespaces", "all", "-Ur", `echo 0 >/proc/sys/user/max_net_namespaces; exec "$@"`,
			[]string{"ENOSPC", "user.max_net_namespaces is 0"},
		},
		{
			"a part of proc is covered", "proc", "-Urm", `mount --bind /dev/null /proc/keys; exec "$@"`,
			[]string{"proc: mount(", "EPERM", "an outer container masks /proc (/proc/keys)", "systempaths=unconfined"},
		},
		{"no proc at all", "proc", "-Urmpf", `mount -t tmpfs none /proc; exec "$@"`, []string{"/proc"}},
		{"no ids", "user", "-U", `exec "$@"`, []string{"clone3", "EPERM", "the uid of this process is not mapped"}},
		{"a chroot", "user", "-Urm", `
			mount -t tmpfs none /mnt; mkdir /mnt/r; cd /mnt/r
			for d in /bin /sbin /lib* /usr /etc /proc /dev /tmp /home; do
				if [ -L $d ]; then cp -P $d .$d; elif [ -d $d ]; then mkdir .$d; mount --rbind $d .$d; fi
			done
			exec /usr/sbin/chroot . "$@"`, []string{"clone3", "EPERM", "in a chroot"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			wantIn(t, imitated(t, test.step, test.flags, test.script), test.want...)
		})
	}
}

// TestHintOfAnOuterFilter answers clone3, and then mount, as the filters of
// container engines do.
func TestHintOfAnOuterFilter(t *testing.T) {
	for _, test := range []struct {
		step  string
		call  int
		errno unix.Errno
	}{
		{"user", unix.SYS_CLONE3, unix.ENOSYS},
		{"user", unix.SYS_CLONE3, unix.EPERM},
		{"mount", unix.SYS_MOUNT, unix.EPERM},
	} {
		t.Run(test.step+" "+unix.ErrnoName(test.errno), func(t *testing.T) {
			refuse := filter.Program{
				{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0}, // the number of the call
				{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 1, K: uint32(test.call)},
				{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(test.errno)},
				{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
			}
			skip, _ := Only([]string{"nnp", "seccomp"})
			if test.errno == unix.ENOSYS {
				// And as Docker's: clone with a namespace among its flags is refused.
				refuse = slices.Insert(
					refuse, 3,
					unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 3, K: unix.SYS_CLONE},
					unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 16}, // the low half of the first argument
					unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K, Jf: 1, K: unix.CLONE_NEWUSER},
					unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)},
				)
			}
			// The threads of C need clone3, which a build with -race has.
			idle := Command(os.Args[0], "-test.run=^$")
			idle.Spec.Skip, idle.Spec.Seccomp = skip, cachedFilter(t, refuse)
			if out, err := idle.CombinedOutput(); err != nil {
				t.Skipf("this test binary itself does not run behind the filter: %v: %.200s", err, out)
			}
			outer := Command(os.Args[0], "-test.run=^TestHintChild$")
			outer.Spec.Skip = skip
			outer.Spec.Env = []string{"SANDBOX_TEST_HINT=" + test.step}
			outer.Spec.Seccomp = cachedFilter(t, refuse)
			out, err := outer.CombinedOutput()
			if err != nil {
				t.Fatal(err)
			}
			call := map[int]string{unix.SYS_CLONE3: "clone3", unix.SYS_MOUNT: "mount"}[test.call]
			if test.errno == unix.ENOSYS {
				call = "clone"
			}
			wantIn(t, string(out), test.step+": "+call+"(", "EPERM", "a seccomp filter around this process refuses "+call+";", "seccomp=unconfined")
		})
	}
}

// cachedFilter puts a program where a compiled profile would be, and returns
// the profile's path.
func cachedFilter(t *testing.T, p filter.Program) string {
	t.Helper()
	dir := t.TempDir()
	t.Setenv("XDG_CACHE_HOME", filepath.Join(dir, "cache"))
	profile := filepath.Join(dir, "profile.json")
	text := []byte("{}")
	entry, err := filter.CachePath(text, runtime.GOARCH)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.WriteFile(profile, text, 0o600), os.MkdirAll(filepath.Dir(entry), 0o700),
		os.WriteFile(entry, filter.EncodeEntry(text, p), 0o600)); err != nil {
		t.Fatal(err)
	}
	return profile
}

// TestHintOfAFullUser: fork's EAGAIN, in a child whose limit is below what the
// user of this test already runs.
func TestHintOfAFullUser(t *testing.T) {
	cmd := exec.Command(os.Args[0], "-test.run=^TestHintChild$")
	cmd.Env = append(os.Environ(), "SANDBOX_TEST_HINT=nproc")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatal(err)
	}
	wantIn(t, string(out), "processes and threads, and the limit is 1 (ulimit -u)")
}

// files is a host that has only these files.
type files map[string]string

// LstatIn takes the highest layer that has the path.
func (m files) LstatIn(layers []string, p string) File {
	for i := len(layers) - 1; i >= 0; i-- {
		if f := m.Lstat(filepath.Join(layers[i], p)); f.exists() {
			return f
		}
	}
	return File{}
}

func (f files) Real(path string) string { return path }

func (f files) Lstat(name string) File {
	if _, ok := f[name]; ok {
		return File{Mode: unix.S_IFREG}
	}
	return File{}
}
func (f files) Writable(string) bool                    { return false }
func (files) GitFolders(string) ([]string, bool, error) { return nil, true, nil }
func (f files) ReadDir(string) ([]string, error)        { return nil, fs.ErrNotExist }
func (f files) ReadFile(name string) ([]byte, error) {
	text, ok := f[name]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return []byte(text), nil
}

// TestHintOfHostsThatCannotBeImitated gives the files of other kernels. Each
// errno and file is as those hosts have them; without the file there is no
// hint.
func TestHintOfHostsThatCannotBeImitated(t *testing.T) {
	const root = "25 1 0:2 / / rw - rootfs rootfs rw\n"
	for _, test := range []struct {
		name  string
		err   Error
		host  files
		want  string
		clue  string // the file that confirms
		other string // and what it says on a host where this is not the cause
	}{
		{
			"Ubuntu 24.04",
			Error{Step: "user", Call: `openat(AT_FDCWD, "/proc/self/setgroups", O_WRONLY|O_CLOEXEC)`, Errno: unix.EACCES},
			files{"/proc/sys/kernel/apparmor_restrict_unprivileged_userns": "1\n", "/proc/self/attr/apparmor/current": "unconfined\n"},
			"AppArmor takes the capabilities of user namespaces away", "/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "0\n",
		},
		{
			"docker's AppArmor profile",
			Error{Step: "mount", Call: `mount(NULL, "/", NULL, MS_REC|MS_PRIVATE, NULL)`, Errno: unix.EACCES},
			files{"/proc/self/attr/current": "docker-default (enforce)\n"},
			"the AppArmor profile docker-default confines this process", "/proc/self/attr/current", "unconfined\n",
		},
		{
			"Debian 10",
			Error{Step: "user", Call: "clone3({flags=CLONE_NEWUSER}, 64)", Errno: unix.EPERM},
			files{"/proc/sys/kernel/unprivileged_userns_clone": "0\n"},
			"sudo sysctl kernel.unprivileged_userns_clone=1", "/proc/sys/kernel/unprivileged_userns_clone", "1\n",
		},
		{
			"the host's limit",
			Error{Step: "user", Call: "clone3({flags=CLONE_NEWUSER}, 64)", Errno: unix.ENOSPC},
			files{"/proc/sys/user/max_user_namespaces": "0\n", "/proc/self/uid_map": "         0          0 4294967295\n"},
			"sudo sysctl user.max_user_namespaces=", "/proc/sys/user/max_user_namespaces", "96365\n",
		},
		{
			"an initramfs",
			Error{Step: "root", Call: `pivot_root(".", ".")`, Errno: unix.EINVAL},
			files{"/proc/self/mountinfo": root},
			"an initramfs, which pivot_root cannot replace", "/proc/self/mountinfo", "25 1 254:0 / / rw - ext4 /dev/vda rw\n",
		},
		{
			"too many keys",
			Error{Step: "session", Call: "keyctl(KEYCTL_JOIN_SESSION_KEYRING, NULL)", Errno: unix.EDQUOT},
			files{"/proc/key-users": "    0:     5 4/4 2/1000000 10/25000000\n " + decimal(nil, uint64(unix.Getuid())) + ":   200 199/199 200/200 4012/20000\n"},
			"your keys are used up (200/200", "/proc/key-users", "",
		},
		{
			"an old kernel",
			Error{Step: "mount", Call: "mount_setattr(tree:/usr)", Errno: unix.ENOSYS},
			files{"/proc/sys/kernel/osrelease": "5.4.0-26-generic\n"},
			"this kernel, 5.4.0-26-generic, has no mount_setattr; the step mount needs Linux 5.12", "/proc/sys/kernel/osrelease", "",
		},
		{
			"no overlay in the kernel",
			Error{Step: "overlay", Call: `mount("overlay", "/a", "overlay", 0, "")`, Errno: unix.ENODEV},
			files{"/proc/filesystems": "nodev\ttmpfs\n"},
			"modprobe overlay", "/proc/filesystems", "nodev\ttmpfs\nnodev\toverlay\n",
		},
		{
			"a full cgroup",
			Error{Step: "user", Call: "clone3({flags=CLONE_NEWUSER}, 64)", Errno: unix.EAGAIN},
			files{"/proc/self/cgroup": "0::/user.slice/s\n", "/sys/fs/cgroup/user.slice/pids.current": "64\n", "/sys/fs/cgroup/user.slice/pids.max": "64\n"},
			"the cgroup /user.slice holds 64 processes", "/sys/fs/cgroup/user.slice/pids.max", "max\n",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			hint := func() string {
				e := test.err
				_ = (&Cmd{Features: &Features{Host: test.host}}).explain(&e)
				return e.Hint
			}
			wantIn(t, hint(), test.want)
			test.host[test.clue] = test.other
			if got := hint(); got != "" {
				t.Errorf("without the clue there still is a hint: %s", got)
			}
		})
	}
}

// TestHintOfAnIDOutsideTheMap: what the launcher is to become is the caller's
// own id, where nothing else is asked for.
func TestHintOfAnIDOutsideTheMap(t *testing.T) {
	for call, want := range map[string]string{"setresuid(7, 7, 7)": "the uid that CMD is to have is not inside", "setresgid(7, 7, 7)": "the gid that CMD is to have is not inside"} {
		e := Error{Step: "user", Call: call, Errno: unix.EINVAL}
		_ = (&Cmd{Features: &Features{Host: files{}}}).explain(&e)
		wantIn(t, e.Hint, want)
	}
}

// TestHintOfNoProc: a launcher without /proc cannot write the maps.
func TestHintOfNoProc(t *testing.T) {
	e := Error{Step: "user", Call: `openat(AT_FDCWD, "/proc/self/uid_map", O_WRONLY|O_CLOEXEC)`, Errno: unix.ENOENT}
	_ = (&Cmd{Features: &Features{Host: files{}}}).explain(&e)
	wantIn(t, e.Hint, "/proc is not mounted here")
	e.Hint = ""
	_ = (&Cmd{}).explain(&e)
	if e.Hint != "" {
		t.Errorf("with a /proc there still is a hint: %s", e.Hint)
	}
}

// lateMounts is a host that has no mounts at the first look.
type lateMounts struct {
	Host
	looked bool
}

func (h *lateMounts) ReadFile(name string) ([]byte, error) {
	if name == "/proc/self/mountinfo" && !h.looked {
		h.looked = true
		return []byte("1 0 0:1 / / rw - tmpfs none rw\n"), nil
	}
	return h.Host.ReadFile(name)
}

func TestHintOfOverlays(t *testing.T) {
	t.Run("a folder that holds a mount", func(t *testing.T) {
		c := Command("/bin/true")
		c.Spec.HideDir = true
		c.Spec.Mounts = []Mount{{Kind: Overlay, Source: "/dev", Target: "/x"}}
		var refused *SpecError
		if err := c.Run(); !errors.As(err, &refused) || !strings.Contains(refused.Reason, "/dev holds another mount") {
			t.Errorf("where the mount is seen beforehand: %v", err)
		}
		// One that is mounted once the plan is made.
		feat, err := Probe(&c.Spec)
		if err != nil {
			t.Fatal(err)
		}
		feat.Host = &lateMounts{Host: feat.Host}
		c = &Cmd{Spec: c.Spec, Features: feat}
		err = c.Run()
		if !errors.Is(err, unix.EINVAL) {
			t.Fatal(err)
		}
		wantIn(t, HintOf(err), "/dev holds another mount", "--ro /dev")
	})
	t.Run("the third overlay on one another", func(t *testing.T) {
		out := imitated(t, "folder", "-Urm", `
			mount -t tmpfs none /mnt; cd /mnt; mkdir l1 u1 w1 m1 u2 w2 m2 l1/src
			mount -t overlay o -o lowerdir=l1,upperdir=u1,workdir=w1,userxattr m1
			mount -t overlay o -o lowerdir=m1,upperdir=u2,workdir=w2,userxattr m2
			cd m2/src; exec "$@"`)
		wantIn(t, out, "overlay: mount(", "EINVAL", "/mnt/m2/src lies on an overlay already, and the kernel stacks no more than two")
	})
	t.Run("an upper layer on an overlay", func(t *testing.T) {
		out := imitated(t, "upper", "-Urm", `
			mount -t tmpfs none /mnt; cd /mnt; mkdir l1 u1 w1 m1 src l1/upper
			mount -t overlay o -o lowerdir=l1,upperdir=u1,workdir=w1,userxattr m1
			cd src; exec "$@"`)
		wantIn(t, out, "overlay: mount(", "EINVAL", "the upper layer /mnt/m1/upper lies on an overlay itself")
	})
}
