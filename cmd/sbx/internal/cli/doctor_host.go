package cli

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox"
	"github.com/sbx-dev/sbx/sandbox/landlock"
)

// fact is something about the host beside the steps.
type fact struct {
	Name   string `json:"name"`
	State  string `json:"state"` // works, degraded, fails, absent, or "" where it is neither
	Detail string `json:"detail"`
	Hint   string `json:"hint,omitempty"`
}

// facts looks at what is around the steps that were tried. With trying, it also
// runs newuidmap.
func facts(tried []string, trying bool) []fact {
	out := []fact{kernelFact(), whoFact()}
	if trying {
		out = append(out, rangesFact())
	}
	if !slices.Contains(tried, "landlock") {
		out = append(out, landlockFact())
	}
	out = append(out, cgroupFact(), terminalFact())
	return append(out, nameFact()...)
}

func kernelFact() fact {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return fact{Name: "kernel", State: sandbox.Fails, Detail: err.Error()}
	}
	release := unix.ByteSliceToString(u.Release[:])
	f := fact{Name: "kernel", State: sandbox.Works, Detail: "Linux " + release + ", " + unix.ByteSliceToString(u.Machine[:])}
	major, minor := 0, 0
	if parts := strings.SplitN(release, ".", 3); len(parts) >= 2 {
		major, _ = strconv.Atoi(parts[0])
		minor, _ = strconv.Atoi(strings.TrimRight(parts[1], "-+abcdefghijklmnopqrstuvwxyz"))
	}
	if major < 5 || major == 5 && minor < 14 {
		f.State, f.Hint = sandbox.Degraded, "sbx is made for Linux 5.14 and later"
	}
	var log [16 << 10]byte
	n, err := unix.Klogctl(unix.SYSLOG_ACTION_READ_ALL, log[:]) // which most kernels show to root alone
	if err != nil {
		n = 0
	}
	switch kernelKind(release, string(log[:n])) {
	case "gvisor":
		f.State, f.Detail = sandbox.Degraded, "gVisor, which answers for a kernel and calls itself Linux "+release
		f.Hint = "gVisor lacks some of the calls that sbx makes: --profile nested is what works without namespaces"
	case "wsl2":
		f.Detail += ", of WSL 2"
	case "wsl1":
		f.State, f.Detail = sandbox.Fails, "WSL 1, which has no Linux kernel and calls itself "+release
		f.Hint = "sbx needs a Linux kernel: wsl --set-version DISTRIBUTION 2"
	}
	return f
}

// kernelKind recognises what is no Linux, or a Linux of somebody's own, by what
// it says of itself: WSL by its release (4.4.0-19041-Microsoft is WSL 1, which
// Microsoft wrote with a capital; 5.15.167.4-microsoft-standard-WSL2 is WSL 2),
// gVisor by the first line of its log (pkg/sentry/kernel/syslog.go), which it
// shows to everybody.
func kernelKind(release, log string) string {
	switch {
	case strings.Contains(log, "Starting gVisor"):
		return "gvisor"
	case strings.HasSuffix(release, "-Microsoft"):
		return "wsl1"
	case strings.Contains(strings.ToLower(release), "microsoft"):
		return "wsl2"
	}
	return ""
}

func whoFact() fact {
	uid := os.Getuid()
	f := fact{Name: "caller", State: sandbox.Works, Detail: "uid " + strconv.Itoa(uid)}
	if uid == 0 && inFirstUserNamespace() {
		f.State, f.Detail = sandbox.Degraded, "root: what works for root need not work for a normal user"
		f.Hint = "run it as the user who will use it: runuser -u USER -- sbx doctor"
	}
	if in := insideContainer(); in != "" {
		f.Detail += ", in " + in
	}
	return f
}

// inFirstUserNamespace says whether this is the host's own user namespace, whose
// map holds every id: its root is the real one, and its switches are the host's.
func inFirstUserNamespace() bool {
	text, err := os.ReadFile("/proc/self/uid_map")
	return err == nil && strings.Join(strings.Fields(string(text)), " ") == "0 0 4294967295"
}

// insideContainer says in which engine's container this runs, or "".
func insideContainer() string {
	switch {
	case exists("/.dockerenv"):
		return "a Docker container"
	case exists("/run/.containerenv"):
		return "a Podman container"
	case os.Getenv("KUBERNETES_SERVICE_HOST") != "":
		return "a Kubernetes pod"
	case os.Getenv("container") != "":
		return "a container (" + visible(os.Getenv("container")) + ")"
	}
	return ""
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// rangesFact makes a user namespace whose map newuidmap and newgidmap write.
func rangesFact() fact {
	c := sandbox.Command("/bin/true")
	c.Spec.Skip, _ = sandbox.Only([]string{"user"})
	c.Spec.User.Auto = true
	f := fact{Name: "newuidmap", State: sandbox.Works, Detail: "--uid-map auto takes your subordinate ids"}
	if err := c.Run(); err != nil {
		f.State, f.Detail, f.Hint = "absent", errorText(err), sandbox.HintOf(err)
		if f.Hint != "" {
			f.Hint = "only --uid-map auto needs it: " + f.Hint
		}
	}
	return f
}

func landlockFact() fact {
	abi := landlock.ABI()
	if abi == 0 {
		return fact{Name: "landlock", State: "absent", Detail: "not in this kernel, or switched off"}
	}
	return fact{Name: "landlock", State: sandbox.Works, Detail: "ABI " + strconv.Itoa(abi)}
}

// cgroupFact says whether the caller may make cgroups, which limits for a whole
// sandbox will need.
func cgroupFact() fact {
	f := fact{Name: "cgroup"}
	text, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return fact{Name: "cgroup", State: "absent", Detail: "this kernel has none"}
	}
	for line := range strings.Lines(string(text)) {
		dir, ok := strings.CutPrefix(strings.TrimSpace(line), "0::")
		if !ok {
			continue
		}
		at := "/sys/fs/cgroup" + dir
		if !exists(at + "/cgroup.procs") {
			continue
		}
		if unix.Access(at, unix.W_OK) == nil && unix.Access(at+"/cgroup.procs", unix.W_OK) == nil {
			controllers, _ := os.ReadFile(at + "/cgroup.controllers")
			f.State, f.Detail = sandbox.Works, "v2, "+dir+" is delegated to you: "+strings.TrimSpace(string(controllers))
			return f
		}
		f.State, f.Detail = "absent", "v2, not delegated to you: limits hold for each process, not for their sum"
		return f
	}
	f.State, f.Detail = "absent", "v1: limits hold for each process, not for their sum"
	return f
}

func terminalFact() fact {
	f := fact{Name: "terminal", State: sandbox.Works}
	if isTerminal(os.Stdin) && isTerminal(os.Stdout) {
		f.Detail = strconv.Itoa(width(os.Stdout)) + " columns; sbx run gives CMD one of its own"
	} else {
		f.Detail = "stdin or stdout is none: sbx run passes them as they are (-t makes one)"
	}
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		f.State, f.Detail = sandbox.Fails, "open(\"/dev/ptmx\"): "+err.Error()+": no terminal can be made for CMD"
		return f
	}
	unix.Close(fd)
	return f
}

// nameFact names the programs called sbx that PATH leads to, where one of them
// is another: Docker ships one.
func nameFact() []fact {
	own, err := os.Executable()
	if err != nil {
		return nil
	}
	mine, err := os.Stat(own)
	if err != nil {
		return nil
	}
	var before, after []string
	reached := false
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		p := filepath.Join(dir, "sbx")
		if !filepath.IsAbs(p) {
			continue
		}
		info, err := os.Stat(p)
		if err != nil || !info.Mode().IsRegular() || info.Mode()&0o111 == 0 {
			continue
		}
		switch {
		case os.SameFile(info, mine):
			reached = true
		case reached:
			after = append(after, p)
		default:
			before = append(before, p)
		}
	}
	switch {
	case len(before) > 0:
		return []fact{{
			Name: "name", State: sandbox.Degraded, Detail: "the shell's sbx is " + before[0] + ", not this one, " + own,
			Hint: "another program has this name, too (Docker ships an sbx): put " + filepath.Dir(own) + " before " + filepath.Dir(before[0]) + " in PATH, or call it by its path",
		}}
	case len(after) > 0:
		return []fact{{Name: "name", State: sandbox.Works, Detail: "another sbx, later on PATH: " + after[0]}}
	}
	return nil
}
