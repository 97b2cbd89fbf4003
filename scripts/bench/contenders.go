package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
)

// bubblewrap is the name of the contender that the targets refer to.
const bubblewrap = "bwrap, same isolation"

// contenders returns those that run here, in the order of the table, each tried
// once, and those that do not.
func (b *bench) contenders() ([]*contender, []left, error) {
	var all []*contender
	var lefts []left
	add := func(name string, target float64, argv []string, err error) error {
		if err == nil {
			c := &contender{name: name, argv: argv, target: target}
			if err = c.try(b.folder); err == nil {
				all = append(all, c)
				return nil
			}
		}
		lefts = append(lefts, left{name, err.Error()})
		return err
	}

	add("/bin/true, bare", 0, []string{"/bin/true"}, nil)
	unshare, err := exec.LookPath("unshare")
	add("unshare -Urmpfiun", 0, []string{unshare, "-Urmpfiun", "--mount-proc", "true"}, err)
	bwrap, err := b.bwrap("--dev", "/dev")
	add(bubblewrap, 0, bwrap, err)
	bwrap, err = b.bwrap("--dev-bind", "/dev", "/dev")
	add("bwrap, the host's /dev", 0, bwrap, err)
	bundle, err := b.bundle()
	if err != nil {
		lefts = append(lefts, left{"crun run", err.Error()})
	} else if err := add("crun run", 0, []string{bundle.crun, "run", "--bundle", bundle.dir, "sbx-bench"}, nil); err != nil {
		add("crun run, cgroups disabled", 0, []string{bundle.crun, "--cgroup-manager=disabled", "run", "--bundle", bundle.dir, "sbx-bench"}, nil)
	}
	// These two are what is measured: without them there is no benchmark.
	if err := add("sbx run --skip overlay", 0.85, []string{b.sbx, "run", "--skip", "overlay", "--", "true"}, nil); err != nil {
		return nil, nil, fmt.Errorf("sbx run --skip overlay -- true: %w", err)
	}
	if err := add("sbx run", 1.0, []string{b.sbx, "run", "--", "true"}, nil); err != nil {
		return nil, nil, fmt.Errorf("sbx run -- true: %w", err)
	}
	return all, lefts, nil
}

// shown are the folders of the host's root that sbx shows by default.
var shown = []string{
	"/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/etc", "/opt", "/nix", "/snap",
	"/var/lib/dpkg", "/var/lib/rpm", "/var/lib/pacman", "/var/cache/fontconfig",
}

// bwrap returns bubblewrap's command for the isolation that `sbx run --skip
// overlay` has: the same namespaces, what is shown read-only, private /tmp and
// HOME, no capability, a session of its own, no_new_privs (which it always sets).
// It has no filter and no Landlock rules, which sbx has on top. dev are the
// arguments that make /dev: for one of its own bubblewrap makes a second user
// namespace, which costs it about a millisecond.
func (b *bench) bwrap(dev ...string) ([]string, error) {
	path, err := exec.LookPath("bwrap")
	if err != nil {
		return nil, err
	}
	argv := []string{
		path, "--unshare-user", "--unshare-pid", "--unshare-uts", "--unshare-ipc", "--unshare-net", "--unshare-cgroup",
		"--die-with-parent", "--new-session", "--cap-drop", "ALL",
	}
	for _, folder := range shown {
		info, err := os.Lstat(folder)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil:
			return nil, err
		case info.Mode()&fs.ModeSymlink != 0:
			to, err := os.Readlink(folder)
			if err != nil {
				return nil, err
			}
			argv = append(argv, "--symlink", to, folder)
		default:
			argv = append(argv, "--ro-bind", folder, folder)
		}
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return nil, err
	}
	argv = append(argv, "--proc", "/proc")
	argv = append(argv, dev...)
	return append(argv, "--tmpfs", "/tmp", "--tmpfs", home,
		"--ro-bind", b.folder, b.folder, "--chdir", b.folder, "--", "true"), nil
}

// An ociBundle is a bundle with one file, for the runtimes of containers.
type ociBundle struct {
	crun, dir string
}

// bundle makes a bundle whose root is one static program, true.
func (b *bench) bundle() (*ociBundle, error) {
	crun, err := exec.LookPath("crun")
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(b.folder, "bundle")
	if err := os.MkdirAll(filepath.Join(dir, "rootfs"), 0o755); err != nil {
		return nil, err
	}
	if _, err := compile("true", filepath.Join(dir, "rootfs")); err != nil {
		return nil, err
	}
	spec := exec.Command(crun, "spec", "--rootless")
	spec.Dir = dir
	if said, err := spec.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("crun spec: %w: %s", err, said)
	}
	return &ociBundle{crun, dir}, rewriteConfig(filepath.Join(dir, "config.json"))
}

// rewriteConfig changes the bundle's process from a shell on a terminal to true
// on none.
func rewriteConfig(name string) error {
	data, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	var config map[string]any
	if err := json.Unmarshal(data, &config); err != nil {
		return err
	}
	process, ok := config["process"].(map[string]any)
	if !ok {
		return fmt.Errorf("%s has no process", name)
	}
	process["terminal"] = false
	process["args"] = []string{"/true"}
	data, err = json.Marshal(config)
	if err != nil {
		return err
	}
	return os.WriteFile(name, data, 0o644)
}
