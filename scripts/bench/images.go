package main

import (
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// The images of this part, by the names that sbx, podman and buildah all have
// for them.
const (
	boxImage = "docker.io/library/bench-box:1"
	bigImage = "docker.io/library/bench-big:1"
)

// stores are the image stores of this part: private ones, since the user's may
// hold anything.
type stores struct {
	*bench
	env     func(store string) []string // for sbx
	sbxEnv  []string                    // with the store that most comparisons share
	peerEnv []string
	peer    []string // the flags of podman and buildah that name their store
	podman  string   // path
	buildah string   // path
	lefts   map[string]left
}

// images compares sbx with rootless podman and buildah, the distribution's, as
// the same user: a run of an image, a build, and the unpacking of an image.
func (b *bench) images() error {
	s, err := b.stores()
	if err != nil {
		return err
	}
	defer s.close()
	if err := s.box(); err != nil {
		fmt.Println("images: left out:", err)
		return nil
	}
	for _, compare := range []func() error{s.runs, s.builds, s.unpacks} {
		if err := compare(); err != nil {
			return err
		}
	}
	return nil
}

// stores makes the stores and looks for the peers.
func (b *bench) stores() (*stores, error) {
	at := func(name string) string { return filepath.Join(b.folder, "images", name) }
	for _, name := range []string{"home", "run"} {
		if err := os.MkdirAll(at(name), 0o700); err != nil {
			return nil, err
		}
	}
	private := []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + at("home"), "XDG_RUNTIME_DIR=" + at("run"), "LANG=C.UTF-8",
	}
	s := &stores{
		bench: b, peerEnv: append(private[:len(private):len(private)], "STORAGE_DRIVER=overlay"),
		env: func(store string) []string {
			return append(private[:len(private):len(private)], "XDG_DATA_HOME="+store)
		},
		peer:  []string{"--root", at("store"), "--runroot", at("runroot")},
		lefts: map[string]left{},
	}
	s.sbxEnv = s.env(at("data"))
	for name, path := range map[string]*string{podman: &s.podman, buildah: &s.buildah} {
		found, err := exec.LookPath(name)
		if err == nil {
			*path = found
			err = said(s.peerEnv, b.folder, s.peerCommand(found, "info")...)
		}
		if err != nil {
			*path, s.lefts[name] = "", left{name, err.Error()}
		}
	}
	if _, err := exec.LookPath("runc"); err != nil && s.podman != "" {
		s.podman, s.lefts[podman] = "", left{podman, "its runtime: " + err.Error()}
	}
	return s, nil
}

// close removes what a plain removal cannot.
func (s *stores) close() {
	s.removePeer()
	s.removeImages(s.sbxEnv)
}

// removePeer removes the peers' store, with files of subordinate ids, the mount
// below which they lie, and the process that holds it.
// A failure shows when the folder of the benchmark is removed.
func (s *stores) removePeer() {
	if store := s.peer[1]; s.podman != "" && exists(store) {
		_ = said(s.peerEnv, s.folder, s.peerCommand(s.podman, "unshare", "sh", "-c", "umount "+store+"/overlay; rm -rf "+store+" "+s.peer[3])...)
		_ = said(s.peerEnv, s.folder, s.peerCommand(s.podman, "system", "migrate")...)
	}
}

// removeImages empties a store of sbx, which may hold files of subordinate ids.
func (s *stores) removeImages(env []string) {
	_ = said(env, s.folder, s.sbx, "image", "prune", "-a", "-f")
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// peerCommand is a command of podman or buildah on the private store.
func (s *stores) peerCommand(path string, words ...string) []string {
	argv := append([]string{path}, s.peer...)
	if path == s.podman {
		// Debian's crun refuses the hybrid tree of control groups of some hosts.
		argv = append(argv, "--runtime", "runc", "--cgroup-manager", "cgroupfs")
	}
	return append(argv, words...)
}

// box puts an image of one program, a static busybox, into both stores.
func (s *stores) box() error {
	busybox, err := staticBusybox()
	if err != nil {
		return err
	}
	root := filepath.Join(s.folder, "images", "box")
	for _, dir := range []string{"bin", "tmp", "etc"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			return err
		}
	}
	program, err := os.ReadFile(busybox)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(root, "bin/busybox"), program, 0o755); err != nil {
		return err
	}
	for _, name := range []string{"sh", "true", "tar", "gzip", "mkdir", "cat"} {
		if err := os.Symlink("busybox", filepath.Join(root, "bin", name)); err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(root, "etc/passwd"), []byte("root:x:0:0::/:/bin/sh\n"), 0o644); err != nil {
		return err
	}
	archive := filepath.Join(s.folder, "images", "box.tar")
	if err := said(s.sbxEnv, s.folder, s.sbx, "image", "import", "-q", "-c", `CMD ["/bin/true"]`, root, boxImage); err != nil {
		return fmt.Errorf("sbx image import: %w", err)
	}
	if err := said(s.sbxEnv, s.folder, s.sbx, "save", "-o", archive, boxImage); err != nil {
		return fmt.Errorf("sbx save: %w", err)
	}
	for name, path := range map[string]*string{podman: &s.podman, buildah: &s.buildah} {
		if *path == "" {
			continue
		}
		words := []string{"load", "-i", archive}
		if name == buildah {
			words = []string{"pull", "docker-archive:" + archive}
		}
		if err := said(s.peerEnv, s.folder, s.peerCommand(*path, words...)...); err != nil {
			*path, s.lefts[name] = "", left{name, err.Error()}
		}
	}
	return nil
}

// staticBusybox is the host's, where it runs without the host's libraries.
func staticBusybox() (string, error) {
	path, err := exec.LookPath("busybox")
	if err != nil {
		return "", err
	}
	file, err := elf.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	for _, p := range file.Progs {
		if p.Type == elf.PT_INTERP {
			return "", errors.New(path + " is linked dynamically: a static one is needed (Debian: busybox-static)")
		}
	}
	return path, nil
}

// compare measures sbx beside one peer. Rounds are fewer than those of a start
// by as much as what is compared takes longer.
func (s *stores) compare(title, what, reference string, divisor int, target float64, sbx, peer contender) error {
	fewer := *s.bench
	fewer.rounds, fewer.warmUp = max(s.rounds/divisor, 3), 1
	var all []*contender
	var lefts []left
	if l, absent := s.lefts[reference]; absent {
		lefts = append(lefts, l)
	} else {
		peer.name, peer.env = reference, s.peerEnv
		all = append(all, &peer)
	}
	sbx.name, sbx.env, sbx.target = "sbx", s.sbxEnv, target
	all = append(all, &sbx)
	for i := len(all) - 1; i >= 0; i-- {
		if err := all[i].try(s.folder); err != nil {
			if all[i] == &sbx {
				s.missed = append(s.missed, what+" sbx: "+err.Error())
			}
			lefts = append(lefts, left{all[i].name, err.Error()})
			all = append(all[:i], all[i+1:]...)
		}
	}
	if err := fewer.interleave(all); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	fmt.Printf("images: %s, %d rounds\n", title, fewer.rounds)
	s.table(what, all, lefts, reference, "/"+reference)
	return nil
}

// runs compares the wall time of true in a new container of the image.
func (s *stores) runs() error {
	return s.compare(
		"one run of true in a busybox image", "image run of", podman, 4, 0.2,
		contender{argv: []string{s.sbx, "run", "--image", boxImage, "--", "true"}},
		contender{argv: s.peerCommand(s.podman, "run", "--rm", "--network=none", boxImage, "true")},
	)
}

// builds compares builds of a Dockerfile as a course has it: install what a list
// names, then copy the sources. The packages lie in a folder beside it, since a
// network would be what is measured.
func (s *stores) builds() error {
	context := filepath.Join(s.folder, "images", "context")
	if err := writeContext(context); err != nil {
		return err
	}
	edit := func(*contender) error {
		edits++
		return os.WriteFile(filepath.Join(context, "src/app.sh"), []byte("echo edit "+strconv.Itoa(edits)+"\n"), 0o644)
	}
	for _, b := range []struct {
		title, what string
		divisor     int
		target      float64
		noCache     bool
		before      func(*contender) error
	}{
		{"a build without a cache", "cold build by", 20, 0, true, nil},
		{"the same build again, all cached", "cached build by", 10, 0.3, false, nil},
		{"the build after an edit of a source file", "rebuild by", 20, 0, false, edit},
	} {
		sbx := []string{s.sbx, "build", "-q", "-t", "bench-built"}
		peer := s.peerCommand(s.buildah, "bud", "-q", "--isolation", "chroot", "--layers", "-t", "bench-built")
		if b.noCache {
			sbx, peer = append(sbx, "--no-cache"), append(peer, "--no-cache")
		}
		err := s.compare(
			b.title, b.what, buildah, b.divisor, b.target,
			contender{argv: append(sbx, context), before: b.before},
			contender{argv: append(peer, context), before: b.before},
		)
		if err != nil {
			return err
		}
	}
	return nil
}

// edits counts those of the source file: no two rounds build the same.
var edits int

// unpacks compares how long an image of half a gigabyte takes from its archive
// into a fresh store. What was written before is on the disk by then, and nothing
// is removed until the end: on ext4 a new file costs up to four times as much for
// minutes after many were removed, since it takes no inode of those
// (recently_deleted in fs/ext4/ialloc.c).
func (s *stores) unpacks() error {
	archive := filepath.Join(s.folder, "images", "big.tar")
	if err := writeBig(archive); err != nil {
		return err
	}
	fresh := 0
	next := func(kind string) string {
		fresh++
		unix.Sync()
		return filepath.Join(s.folder, "images", kind+strconv.Itoa(fresh))
	}
	peer := *s
	defer func() {
		for i := range fresh + 1 {
			at := func(name string) string { return filepath.Join(s.folder, "images", name+strconv.Itoa(i)) }
			peer.peer = []string{"--root", at("store"), "--runroot", at("runroot")}
			peer.removePeer()
			s.removeImages(s.env(at("data")))
		}
	}()
	return s.compare(
		"an archive of 5 layers, 500 MB of random and text files, loaded", "load by", podman, 60, 1,
		contender{
			argv: []string{s.sbx, "load", "-q", "-i", archive},
			before: func(c *contender) error {
				c.env = s.env(next("data"))
				return nil
			},
		},
		contender{before: func(c *contender) error {
			peer.peer = []string{"--root", next("store"), "--runroot", filepath.Join(s.folder, "images", "runroot"+strconv.Itoa(fresh))}
			c.argv = peer.peerCommand(s.podman, "load", "-q", "-i", archive)
			return nil
		}},
	)
}
