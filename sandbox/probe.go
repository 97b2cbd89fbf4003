package sandbox

import (
	"errors"
	"os"
	"path"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox/landlock"
)

// The states of a Trial.
const (
	Works    = "works"
	Degraded = "degraded" // made, but it does less than the step says
	Fails    = "fails"
)

// Trial is what came of trying one step for real.
type Trial struct {
	Step string `json:"step"`
	// State is Works, Degraded or Fails.
	State string `json:"state"`
	// Detail says what was found, in a few words; of a failure the failed call.
	Detail string `json:"detail,omitempty"`
	// Hint is what mends it, where the cause is known.
	Hint string `json:"hint,omitempty"`
	// Blamed is the step that failed, which may be one that Step needs; "" where
	// none did.
	Blamed string `json:"blamed,omitempty"`
	// Needed are the steps that were made beside it, because it needs them.
	Needed []string      `json:"needed,omitempty"`
	Took   time.Duration `json:"nanoseconds"` // from the call to the sandbox's end
	Err    error         `json:"-"`
}

// TryStep makes a sandbox of one step and what it needs, and runs a program in
// it that does nothing. Nothing else tells surely what a host can do: versions
// and switches are not all that decides.
func TryStep(name string) *Trial {
	t := &Trial{Step: name, State: Works}
	if LookupStep(name) == nil {
		t.fail(&SpecError{Field: "Step", Reason: "no step is called " + strconv.Quote(name)})
		return t
	}
	c := Command(trivial())
	c.Spec.Skip, t.Needed = Only([]string{name})
	c.Spec.HideDir = true
	if LookupStep(name).OnRequest {
		c.Spec.With = []string{name}
	}
	if name == "session" {
		// Without the filter the step joins a new keyring, of which a user has
		// some 200: trying must not use them up.
		c.Spec.Skip, _ = Only([]string{name, "seccomp"})
	}
	if name == "overlay" {
		// Of a folder of the caller's own, as the working folder is.
		dir, err := os.MkdirTemp("", "sbx-try-")
		if err != nil {
			t.fail(err)
			return t
		}
		defer os.RemoveAll(dir)
		if dir, err = realFolder(dir); err != nil {
			t.fail(err)
			return t
		}
		c.Spec.Mounts = []Mount{{Kind: Overlay, Source: dir, Target: dir}}
	}
	begin := time.Now()
	err := c.Run()
	t.Took = time.Since(begin)
	if err != nil {
		t.fail(err)
		return t
	}
	t.degraded()
	return t
}

// trivial is a program that ends at once with 0, under a path that is shown.
func trivial() string {
	for _, p := range []string{"/bin/true", "/usr/bin/true", "/run/current-system/sw/bin/true"} {
		if unix.Access(p, unix.X_OK) == nil {
			return p
		}
	}
	return "true"
}

// realFolder is a folder's path without symbolic links: a target may hold none.
func realFolder(dir string) (string, error) {
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", &os.PathError{Op: "open", Path: dir, Err: err}
	}
	defer unix.Close(fd)
	name, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd))
	if err != nil || !path.IsAbs(name) {
		return dir, nil //nolint:nilerr // without /proc the path has to do as it is
	}
	return name, nil
}

// fail fills in what an error says.
func (t *Trial) fail(err error) {
	t.State, t.Err, t.Detail, t.Hint = Fails, err, err.Error(), HintOf(err)
	t.Blamed = failedStep(err)
	var exit *ExitError
	if errors.As(err, &exit) {
		t.Blamed, t.Detail = t.Step, "the sandbox stood, but a program that does nothing ended with "+exit.Error()
	}
	if t.Blamed != "" && t.Blamed != t.Step && LookupStep(t.Blamed) != nil {
		t.Detail = "needs " + t.Blamed + ", which fails"
	}
}

// degraded says what a step that was made cannot do here.
func (t *Trial) degraded() {
	switch t.Step {
	case "landlock":
		abi := landlock.ABI()
		_, lost := landlock.Downgrade(landlock.Ruleset{
			FS:    landlock.AllFS(),
			Net:   unix.LANDLOCK_ACCESS_NET_BIND_TCP | unix.LANDLOCK_ACCESS_NET_CONNECT_TCP,
			Scope: unix.LANDLOCK_SCOPE_SIGNAL | unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET,
		}, abi)
		t.Detail = "ABI " + strconv.Itoa(abi)
		if abi == 0 {
			t.State, t.Detail = Degraded, "this kernel has no Landlock, or it is switched off"
			t.Hint = "Linux 5.13 or later with landlock among the modules of lsm= on the kernel's command line (/sys/kernel/security/lsm)"
			return
		}
		if missing := lostRights(lost); missing != "" {
			t.State = Degraded
			t.Detail += ": no " + missing
			t.Hint = "Linux 6.12 or later has all of it (ABI 6); until then the other steps hold alone in this"
		}
	case "overlay":
		if !tmpfsXattr() {
			t.State = Degraded
			t.Detail = "this kernel's tmpfs takes no user.* attributes (Linux 6.6): upper layers lie on disk in /var/tmp, without a size limit"
		}
	case "user":
		if data, err := os.ReadFile("/proc/sys/user/max_user_namespaces"); err == nil {
			t.Detail = strings.TrimSpace(string(data)) + " user namespaces allowed"
		}
	}
}

// lostRights puts what a Landlock version cannot do into words, with the ABI
// that brought each.
func lostRights(lost landlock.Ruleset) string {
	var out []string
	for _, r := range [...]struct {
		lost bool
		text string
	}{
		{lost.FS&unix.LANDLOCK_ACCESS_FS_EXECUTE != 0, "rules for paths (they need ABI 2)"},
		{lost.FS&unix.LANDLOCK_ACCESS_FS_TRUNCATE != 0, "truncate (ABI 3)"},
		{lost.Net != 0, "TCP ports (ABI 4)"},
		{lost.FS&unix.LANDLOCK_ACCESS_FS_IOCTL_DEV != 0, "ioctl on devices (ABI 5)"},
		{lost.Scope != 0, "scopes for signals and abstract sockets (ABI 6)"},
	} {
		if r.lost {
			out = append(out, r.text)
		}
	}
	return strings.Join(out, ", ")
}
