package cli

import (
	"path"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox"
)

// RunFlags are the flags that say what a sandbox is to be: run, explain and
// compare have them in common. Every field is a bool, a string or a list of
// strings, so that quickParse can fill it in as kong does. The tag common
// marks what `run --help` shows without =all.
//
//nolint:lll // a tag cannot be broken
type RunFlags struct {
	Volume []string `name:"volume" short:"v" sep:"none" common:"" group:"Files" placeholder:"SRC:DST[:MODE]" help:"Show SRC as DST inside; MODE is rw (the default), ro, or cow: copy on write."`
	RO     []string `name:"ro" sep:"none" common:"" group:"Files" placeholder:"PATH" help:"Show PATH at the same place, read-only."`
	RW     []string `name:"rw" sep:"none" common:"" group:"Files" placeholder:"PATH" help:"Show PATH at the same place; what is written there stays. What makes the host run code, such as .git, is read-only unless named itself."`
	COW    []string `name:"cow" sep:"none" group:"Files" placeholder:"PATH" help:"Show PATH at the same place, copy on write."`
	Tmpfs  []string `name:"tmpfs" sep:"none" group:"Files" placeholder:"DST[:size=64m]" help:"An empty folder in memory at DST."`
	Hide   []string `name:"hide" sep:"none" group:"Files" placeholder:"PATH" help:"An empty folder or file in place of PATH."`

	Tools []string `name:"tools" sep:"," common:"" group:"Files" placeholder:"auto|none|NAME,…" help:"Tools of your home to show: those that PATH or CMD leads to (the default), none, or these (nvm, cargo, go …)."`

	Workdir    string   `name:"workdir" short:"w" common:"" group:"Files" placeholder:"DIR" help:"Start in DIR, as seen inside. It sets only the folder, not what is shown."`
	OnlyCwd    bool     `name:"only-cwd" group:"Files" help:"Show the working folder alone, not the whole git work tree around it."`
	Image      string   `name:"image" common:"" group:"Files" placeholder:"REF" help:"Use an image as the root, copy on write, with its command, environment and user; nothing of the host is shown."`
	Pull       string   `name:"pull" group:"Files" placeholder:"missing|never|always" help:"When the image is fetched: where it is not in the store (the default), never, or each time."`
	Entrypoint []string `name:"entrypoint" sep:"none" group:"Files" placeholder:"CMD" help:"The program, in place of the image's own; an empty one leaves CMD alone."`

	Rootfs    string `name:"rootfs" group:"Files" placeholder:"DIR" help:"Use DIR as the root, copy on write, in place of the host's."`
	RootWith  string `name:"root-with" group:"Files" placeholder:"pivot_root|chroot" help:"How the root is changed; chroot shows what it does not stop."`
	Upper     string `name:"upper" group:"Files" placeholder:"DIR" help:"Keep what CMD writes in DIR instead of in memory."`
	LayerSize string `name:"layer-size" group:"Files" placeholder:"SIZE" help:"How much CMD can write to memory; half of the RAM by default."`

	Env      []string `name:"env" short:"e" sep:"none" common:"" group:"Environment" placeholder:"K[=V]" help:"Set K to V, or pass the caller's K; 'NODE_*' passes all that begin so."`
	EnvFile  []string `name:"env-file" sep:"none" group:"Environment" placeholder:"FILE" help:"Read lines K=V from FILE."`
	Hostname string   `name:"hostname" group:"Environment" placeholder:"NAME" help:"The host's name inside; sandbox by default."`
	Boottime string   `name:"boottime-offset" group:"Environment" placeholder:"DURATION" help:"Shift the boot-time and monotonic clocks; brings the step time."`

	User   string   `name:"user" short:"u" common:"" group:"User" placeholder:"UID[:GID]" help:"Who CMD is inside; -u 0 is root in the sandbox, and still you outside."`
	UIDMap []string `name:"uid-map" sep:"none" group:"User" placeholder:"IN:OUT:COUNT" help:"A line of the uid map; auto takes your subordinate ranges, none maps nobody."`
	GIDMap []string `name:"gid-map" sep:"none" group:"User" placeholder:"IN:OUT:COUNT" help:"A line of the gid map."`

	FakeOwners bool `name:"fake-owners" group:"User" help:"With -u 0: chown and set*id to ids that are not mapped seem to succeed, so that apt-get install works."`

	CapAdd  []string `name:"cap-add" sep:"none" group:"User" placeholder:"CAP" help:"Keep a capability inside; ALL keeps every one."`
	CapDrop []string `name:"cap-drop" sep:"none" group:"User" placeholder:"CAP" help:"Drop a capability that --cap-add ALL or a profile keeps."`

	Net        string   `name:"net" common:"" group:"Network" placeholder:"none|host" help:"Only a loopback interface (the default), or the host's network."`
	TCPConnect []string `name:"tcp-connect" sep:"none" group:"Network" placeholder:"PORT" help:"Allow TCP connections to PORT and to no port that is not named."`
	TCPBind    []string `name:"tcp-bind" sep:"none" group:"Network" placeholder:"PORT" help:"Allow listening on TCP PORT and on no port that is not named."`

	Timeout   string   `name:"timeout" common:"" group:"Limits" placeholder:"DURATION" help:"End the sandbox after this time, with exit code 124."`
	CPUTime   string   `name:"cpu-time" group:"Limits" placeholder:"DURATION" help:"CPU time of each process, in whole seconds."`
	PidsLimit string   `name:"pids-limit" group:"Limits" placeholder:"N" help:"How many processes and threads there may be; 4096 by default."`
	Ulimit    []string `name:"ulimit" sep:"none" group:"Limits" placeholder:"K=SOFT[:HARD]" help:"A resource limit, such as nofile=256 or fsize=1m."`

	Skip     []string `name:"skip" sep:"," common:"" group:"Steps" placeholder:"STEP,…" help:"Leave out steps; sbx explain lists them."`
	Only     []string `name:"only" sep:"," group:"Steps" placeholder:"STEP,…" help:"Take only these steps and those that they need."`
	With     []string `name:"with" sep:"," group:"Steps" placeholder:"STEP,…" help:"Take steps that are off by default (time)."`
	Optional []string `name:"optional" sep:"," group:"Steps" placeholder:"STEP,…" help:"Go on without these steps where the host refuses them."`
	Require  []string `name:"require" sep:"," group:"Steps" placeholder:"STEP,…" help:"Refuse to go on where one of these would be weaker (landlock)."`
	Seccomp  string   `name:"seccomp" group:"Steps" placeholder:"PROFILE" help:"The filter: default, strict, log, or a FILE in the OCI format."`
	Profile  string   `name:"profile" common:"" group:"Steps" placeholder:"NAME" help:"A set of flags: default, strict, teaching, ci, nested, one of yours, or FILE.toml."`
	Nesting  bool     `name:"allow-nesting" group:"Steps" help:"Let sandboxes be made inside the sandbox."`
	AsPID1   bool     `name:"as-pid-1" group:"Steps" help:"Make CMD the first process of the PID namespace."`

	// Docker's and bubblewrap's words for what is the default here.
	Interactive bool `name:"interactive" short:"i" hidden:""`
	Init        bool `name:"init" hidden:""`
	Rm          bool `name:"rm" hidden:""`
	Die         bool `name:"die-with-parent" hidden:""`
}

// Spec turns the flags, on top of those of their profile, and CMD into a spec.
// The notes are for the user, one line each: what is skipped, and what that
// means. The paths of the host that are not absolute are meant from the working
// folder.
func (f *RunFlags) Spec(args []string) (sandbox.Spec, []string, error) {
	s := sandbox.Spec{Args: args}
	all, profile, err := f.withProfile()
	if err != nil {
		return s, nil, err
	}
	for _, set := range []func(*sandbox.Spec) error{
		all.setFiles, all.setTools, all.setEnvironment, all.setUser, all.setNetwork, all.setLimits,
	} {
		if err := set(&s); err != nil {
			return s, nil, err
		}
	}
	s, notes, err := all.setSteps(s, f.Skip, profile.Skip)
	if err == nil {
		err = all.setImage(&s)
	}
	return s, notes, err
}

func (f *RunFlags) setFiles(s *sandbox.Spec) error {
	for _, v := range f.Volume {
		m, err := parseVolume(v)
		if err != nil {
			return err
		}
		s.Mounts = append(s.Mounts, m)
	}
	for _, list := range []struct {
		kind  string
		paths []string
	}{{sandbox.BindRO, f.RO}, {sandbox.BindRW, f.RW}, {sandbox.Overlay, f.COW}} {
		for _, p := range list.paths {
			if p == "" {
				return &usageError{msg: "--" + list.kind + " needs a path"}
			}
			at, err := absolute(p)
			if err != nil {
				return err
			}
			s.Mounts = append(s.Mounts, sandbox.Mount{Kind: list.kind, Source: at, Target: at})
		}
	}
	for _, t := range f.Tmpfs {
		m, err := parseTmpfs(t)
		if err != nil {
			return err
		}
		s.Mounts = append(s.Mounts, m)
	}
	for _, p := range f.Hide {
		at, err := absolute(p)
		if err != nil {
			return err
		}
		s.Mounts = append(s.Mounts, sandbox.Mount{Kind: sandbox.Hide, Target: at})
	}
	for _, p := range []struct {
		flag string
		to   *string
	}{
		{f.Workdir, &s.Dir}, {f.Rootfs, &s.Rootfs}, {f.Upper, &s.Upper},
	} {
		if p.flag == "" {
			continue
		}
		at, err := absolute(p.flag)
		if err != nil {
			return err
		}
		*p.to = at
	}
	if len(s.Mounts) > 0 {
		hideLayers(s)
	}
	s.OnlyDir = s.OnlyDir || f.OnlyCwd
	s.RootWith = f.RootWith
	if f.LayerSize != "" {
		n, err := parseSize(f.LayerSize)
		if err != nil {
			return &usageError{msg: "--layer-size: " + err.Error()}
		}
		s.LayerSize = n
	}
	return nil
}

// parseVolume reads docker's SRC:DST[:MODE].
func parseVolume(v string) (sandbox.Mount, error) {
	bad := func(reason, hint string) (sandbox.Mount, error) {
		return sandbox.Mount{}, &usageError{msg: "-v " + v + ": " + reason, hint: hint}
	}
	parts := strings.Split(v, ":")
	if len(parts) < 2 || len(parts) > 3 || parts[0] == "" || parts[1] == "" {
		return bad("is not SRC:DST or SRC:DST:MODE", "--rw "+parts[0]+" shows a path at the same place")
	}
	m := sandbox.Mount{Kind: sandbox.BindRW, Target: trimSlash(parts[1])}
	if len(parts) == 3 {
		switch parts[2] {
		case "rw":
		case "ro", "cow":
			m.Kind = parts[2]
		default:
			return bad("the mode "+quoted(parts[2])+" is none of rw, ro and cow", "")
		}
	}
	if src := parts[0]; !strings.Contains(src, "/") && src != "." && src != ".." {
		return bad("named volumes do not exist here", "for the folder: -v ./"+v)
	}
	if !path.IsAbs(m.Target) {
		return bad("the place inside must be absolute", "")
	}
	src, err := absolute(parts[0])
	m.Source = src
	return m, err
}

// parseTmpfs reads DST[:size=SIZE]. A DST that is not absolute is meant from the
// working folder, as that of --hide.
func parseTmpfs(t string) (sandbox.Mount, error) {
	dst, options, _ := strings.Cut(t, ":")
	m := sandbox.Mount{Kind: sandbox.Tmpfs, Target: trimSlash(dst)}
	if dst == "" {
		return m, &usageError{msg: "--tmpfs " + t + ": needs a place", hint: "--tmpfs /scratch:size=64m"}
	}
	if !path.IsAbs(dst) {
		at, err := absolute(dst)
		if err != nil {
			return m, err
		}
		m.Target = at
	}
	if options == "" {
		return m, nil
	}
	size, ok := strings.CutPrefix(options, "size=")
	if !ok {
		return m, &usageError{msg: "--tmpfs " + t + ": the only option is size=", hint: "--tmpfs " + dst + ":size=64m"}
	}
	n, err := parseSize(size)
	if err != nil {
		return m, &usageError{msg: "--tmpfs " + t + ": " + err.Error()}
	}
	m.Size = n
	return m, nil
}

// trimSlash takes away the slash with which a folder's name may end.
func trimSlash(p string) string {
	if len(p) > 1 {
		return strings.TrimSuffix(p, "/")
	}
	return p
}

// absolute is a path of the host from the root: one that is not is meant from
// the working folder, without symbolic links (getcwd(2), not PWD).
func absolute(p string) (string, error) {
	if path.IsAbs(p) {
		return path.Clean(p), nil
	}
	dir, err := unix.Getwd()
	if err != nil || !path.IsAbs(dir) {
		return "", &usageError{msg: quoted(p) + " is not absolute, and the working folder is gone"}
	}
	return path.Join(dir, p), nil
}

func (f *RunFlags) setEnvironment(s *sandbox.Spec) error {
	lines, err := readEnvFiles(f.EnvFile)
	if err != nil {
		return err
	}
	s.Env = append(s.Env, lines...)
	s.Env = append(s.Env, f.Env...)
	s.Hostname = f.Hostname
	if f.Boottime != "" {
		d, err := parseDuration(f.Boottime)
		if err != nil {
			return &usageError{msg: "--boottime-offset: " + err.Error()}
		}
		s.BootOffset = int64(d.Seconds())
		s.MonotonicOffset = s.BootOffset
	}
	return nil
}

func (f *RunFlags) setUser(s *sandbox.Spec) error {
	if f.User != "" && f.Image == "" { // else the image's accounts say what it means
		u, g, pair := strings.Cut(f.User, ":")
		for _, id := range []struct {
			text string
			to   **int
			ask  bool
		}{{u, &s.User.UID, true}, {g, &s.User.GID, pair}} {
			if !id.ask {
				continue
			}
			n, err := strconv.Atoi(id.text)
			if err != nil {
				return &usageError{msg: "-u " + f.User + ": " + quoted(id.text) + " is no number", hint: "ids are numbers here: -u 0 for root"}
			}
			*id.to = &n
		}
	}
	auto, none := false, false
	for _, list := range []struct {
		flag  string
		lines []string
		to    *[]sandbox.IDMap
	}{{"--uid-map ", f.UIDMap, &s.User.UIDMap}, {"--gid-map ", f.GIDMap, &s.User.GIDMap}} {
		for _, line := range list.lines {
			switch line {
			case "auto":
				auto = true
			case "none":
				none = true
			default:
				m, ok := parseIDMap(line)
				if !ok {
					return &usageError{msg: list.flag + line + ": is not INSIDE:OUTSIDE:COUNT, auto or none"}
				}
				*list.to = append(*list.to, m)
			}
		}
	}
	s.User.Auto, s.User.Unmapped = auto, none
	s.CapAdd = append(s.CapAdd, f.CapAdd...)
	s.CapDrop = append(s.CapDrop, f.CapDrop...)
	return nil
}

func parseIDMap(line string) (sandbox.IDMap, bool) {
	parts := strings.Split(line, ":")
	if len(parts) != 3 {
		return sandbox.IDMap{}, false
	}
	var n [3]int
	for i, p := range parts {
		v, err := strconv.Atoi(p)
		if err != nil {
			return sandbox.IDMap{}, false
		}
		n[i] = v
	}
	return sandbox.IDMap{Inside: n[0], Outside: n[1], Count: n[2]}, true
}

func (f *RunFlags) setNetwork(s *sandbox.Spec) error {
	if f.Net != "" {
		if f.Net == "user" {
			return &usageError{msg: "--net user is not in this version", hint: "--net none or --net host"}
		}
		s.Net = f.Net
	}
	for _, list := range []struct {
		flag  string
		ports []string
		to    *[]uint16
	}{{"--tcp-connect ", f.TCPConnect, &s.TCPConnect}, {"--tcp-bind ", f.TCPBind, &s.TCPBind}} {
		for _, p := range list.ports {
			n, err := strconv.ParseUint(p, 10, 16)
			if err != nil {
				return &usageError{msg: list.flag + p + ": is no port: 0 to 65535"}
			}
			*list.to = append(*list.to, uint16(n))
		}
	}
	return nil
}
