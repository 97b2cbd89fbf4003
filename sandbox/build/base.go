package build

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox/container"
	"github.com/sbx-dev/sbx/sandbox/image"
)

// base makes the state that a stage begins with.
func (r *run) base(ctx context.Context, step Step) error {
	if r.node.from != nil {
		st, err := r.wait(ctx, r.node.from)
		if err != nil {
			return err
		}
		r.tell(Event{Kind: Started, Step: step})
		inherited := st.scope.args
		r.st = st.clone()
		r.st.scope = r.global.stage(st.config.Config.Env)
		maps.Copy(r.st.scope.args, inherited)
		return nil
	}
	r.tell(Event{Kind: Started, Step: step})
	st, err := r.origin(ctx, r.node.base)
	if err != nil {
		return err
	}
	if st.onHost && r.node.base != fromHost {
		r.tell(Event{Kind: Output, Step: step, Line: container.HostNote(r.node.base)})
	}
	r.st = st.clone()
	r.st.scope = r.global.stage(st.config.Config.Env)
	return nil
}

// origin is the state of what is no stage: nothing, the host's programs, or an
// image, which is fetched where the store does not have it.
func (b *builder) origin(ctx context.Context, name string) (*state, error) {
	switch name {
	case fromScratch:
		return &state{config: v1.ConfigFile{Architecture: runtime.GOARCH, OS: "linux"}, made: b.now}, nil
	case fromHost:
		return b.hostBase()
	}
	b.pulling.Lock() // two stages of one image fetch it once
	defer b.pulling.Unlock()
	i, err := b.store.Find(name)
	if errors.Is(err, image.ErrNotFound) || err == nil && b.o.Pull && !b.pulled[name] {
		if i, err = b.store.Pull(ctx, name, b.o.Registry, nil); err == nil {
			b.pulled[name] = true
		}
	}
	if err != nil {
		return nil, err
	}
	if i.Config.Architecture != runtime.GOARCH {
		return nil, fmt.Errorf("%s is an image for %s, and this machine is %s", name, i.Config.Architecture, runtime.GOARCH)
	}
	if err := b.addition.Unpack(i); err != nil {
		return nil, err
	}
	layers, err := i.Layers()
	if err != nil {
		return nil, err
	}
	st := &state{layers: layers, config: *i.Config.DeepCopy(), made: i.Created}
	st.onHost = st.config.Config.Labels[container.BaseLabel] == container.BaseHost
	if len(st.config.History) > 0 {
		made := 0
		for _, h := range st.config.History {
			if !h.EmptyLayer {
				made++
			}
		}
		if made != len(layers) {
			st.config.History = nil // it says something else than there is
		}
	}
	for len(st.config.History) == 0 && len(layers) > 0 {
		for range layers {
			st.config.History = append(st.config.History, v1.History{Created: st.config.Created, CreatedBy: "FROM " + name})
		}
	}
	return st, nil
}

// hostBase is the base of FROM host: one layer with the folders that the host's
// programs are shown in, and with what a root needs beside them.
func (b *builder) hostBase() (*state, error) {
	host, err := b.hostTree()
	if err != nil {
		return nil, err
	}
	var archive bytes.Buffer
	if err := hostLayer(&archive, host); err != nil {
		return nil, err
	}
	d := newDigester("host")
	d.words(archive.String())
	key := d.sum()
	cached, ok := b.store.Cached(key)
	if !ok || cached.Layer == nil {
		l, err := b.addition.AddArchive(&archive)
		if err != nil {
			return nil, err
		}
		cached.Layer = &l
		if err := b.addition.Remember(key, image.CachedStep{Layer: &l}); err != nil {
			return nil, err
		}
	}
	st := &state{layers: []image.Layer{*cached.Layer}, onHost: true, made: time.Unix(0, 0).UTC()}
	st.config = v1.ConfigFile{
		Architecture: runtime.GOARCH, OS: "linux",
		Config: v1.Config{
			Env:    []string{"PATH=" + defaultPath},
			Cmd:    []string{"/bin/sh"},
			Labels: map[string]string{container.BaseLabel: container.BaseHost},
		},
		History: []v1.History{{Created: v1.Time{Time: st.made}, CreatedBy: "FROM host", Comment: "sbx build"}},
	}
	return st, nil
}

// defaultPath is what a PATH is where an image names none, as docker has it.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// hostLayer writes the layer of FROM host. The same host makes the same layer.
func hostLayer(to io.Writer, host *hostTree) error {
	out := tar.NewWriter(to)
	made := map[string]bool{"/": true}
	write := func(name string, h *tar.Header, content string) error {
		made[name] = true
		h.Name, h.ModTime, h.Format, h.Size = name[1:], time.Unix(0, 0), tar.FormatPAX, int64(len(content))
		if h.Typeflag == tar.TypeDir {
			h.Name += "/"
		}
		if err := out.WriteHeader(h); err != nil {
			return err
		}
		_, err := io.WriteString(out, content)
		return err
	}
	var folder func(name string, mode int64) error
	folder = func(name string, mode int64) error {
		if made[name] {
			return nil
		}
		if err := folder(path.Dir(name), 0o755); err != nil {
			return err
		}
		return write(name, &tar.Header{Typeflag: tar.TypeDir, Mode: mode}, "")
	}
	for _, f := range []struct {
		name string
		mode int64
	}{{"/dev", 0o755}, {"/etc", 0o755}, {"/home", 0o755}, {"/opt", 0o755}, {"/proc", 0o555}, {"/root", 0o700}, {"/run", 0o755}, {"/sys", 0o555}, {"/tmp", 0o1777}, {"/var/tmp", 0o1777}} {
		if err := folder(f.name, f.mode); err != nil {
			return err
		}
	}
	for _, f := range [][2]string{
		{"/etc/passwd", "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n"},
		{"/etc/group", "root:x:0:\nnogroup:x:65534:\n"},
		{"/etc/hosts", ""},
		{"/etc/resolv.conf", ""},
		{"/etc/hostname", ""},
	} {
		if err := write(f[0], &tar.Header{Typeflag: tar.TypeReg, Mode: 0o644}, f[1]); err != nil {
			return err
		}
	}
	for _, p := range container.HostPaths {
		i, err := host.root.lstat(p)
		if err != nil {
			continue // this host has none
		}
		switch {
		case i.isLink():
			target, err := host.readlink(p)
			if err != nil {
				return err
			}
			if err := write(p, &tar.Header{Typeflag: tar.TypeSymlink, Mode: 0o777, Linkname: target}, ""); err != nil {
				return err
			}
		case i.isDir():
			if err := folder(p, 0o755); err != nil {
				return err
			}
		case i.isRegular():
			if err := folder(path.Dir(p), 0o755); err != nil {
				return err
			}
			if err := write(p, &tar.Header{Typeflag: tar.TypeReg, Mode: 0o644}, ""); err != nil {
				return err
			}
		}
	}
	return out.Close()
}

// hostPrint is what tells one state of the host's programs from the next: an
// upgrade changes the package database or the folders that programs lie in. It
// stands for the base's digest in cache keys.
func hostPrint() []string {
	var out []string
	for _, name := range []string{
		"/etc/os-release", "/usr/bin", "/usr/sbin", "/usr/lib", "/usr/local/bin", "/usr/local/lib",
		"/var/lib/dpkg/status", "/var/lib/rpm", "/var/lib/pacman/local", "/lib/apk/db/installed", "/nix/var/nix/db",
	} {
		var st unix.Stat_t
		if err := unix.Stat(name, &st); err == nil {
			out = append(out, name+" "+strconv.FormatInt(st.Mtim.Nano(), 10)+" "+strconv.FormatInt(st.Size, 10))
		}
	}
	return out
}

// place is what a name after --from or from= means, for a Copying.
func (r *run) place(ctx context.Context, name string) (Place, error) {
	if name == "" {
		if r.context == nil {
			return Place{}, errors.New("there is no context to read from: sbx build DIR names one")
		}
		return Place{Context: r.o.Context, Ignore: r.ignore}, nil
	}
	st, err := r.named(ctx, name)
	if err != nil {
		return Place{}, err
	}
	return st.place(), nil
}

// named is the state of the stage or image of a name.
func (r *run) named(ctx context.Context, name string) (*state, error) {
	if n := find(r.nodes[:r.node.index], name); n != nil {
		return r.wait(ctx, n)
	}
	if _, err := strconv.Atoi(name); err == nil {
		return nil, fmt.Errorf("--from=%s: there is no such stage before this one", name)
	}
	st, err := r.origin(ctx, name)
	if err != nil && name != fromHost && !strings.ContainsAny(name, "/:@.") {
		var stages []string
		for _, n := range r.nodes[:r.node.index] {
			stages = append(stages, n.name)
		}
		hint := "no stage before this one is called " + name + ", so it was taken for an image"
		if len(stages) > 0 {
			hint += "; stages: " + strings.Join(stages, ", ")
		}
		err = &MistakeError{Hint: hint, err: err}
	}
	return st, err
}

// place is the state's files.
func (s *state) place() Place { return Place{Layers: slices.Clone(s.layers), OnHost: s.onHost} }

// emptyLayer is an empty folder that stands for the layers of a stage that has
// none yet.
func (b *builder) emptyLayer() (string, error) {
	dir, err := b.addition.Dir()
	if err != nil {
		return "", err
	}
	return dir, os.Chmod(dir, 0o755)
}
