package build

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox"
)

// mounts are what the flags --mount of one RUN show.
type mounts struct {
	list []mount
	held []*os.File // locks of cache folders
	dirs []string   // folders that hold secrets
}

// mount is one flag --mount.
type mount struct {
	*instructions.Mount
	target string // absolute; empty for a secret in a variable
	place  Place  // of a bind
	secret *Secret
	run    *run
}

// mounts reads the flags of a RUN, and refuses what is not done.
func (r *run) mounts(ctx context.Context, flags []*instructions.Mount) (*mounts, error) {
	m := &mounts{}
	for _, f := range flags {
		one := mount{Mount: f, run: r}
		fail := func(err error) error { return fmt.Errorf("--mount=type=%s: %w", f.Type, err) }
		var err error
		if f.Type == instructions.MountTypeSecret {
			id := secretID(f)
			if r.triggered {
				return nil, fail(fmt.Errorf("a base image may not take the secret %s by itself: put the RUN into the Dockerfile", id))
			}
			if s, ok := r.o.Secrets[id]; ok {
				one.secret = &s
			} else if f.Required {
				return nil, fail(fmt.Errorf("no secret %s was given: sbx build --secret id=%s,src=FILE", id, id))
			} else {
				continue
			}
			if f.Env != nil && f.Target == "" {
				m.list = append(m.list, one)
				continue
			}
			if f.Target == "" {
				f.Target = "/run/secrets/" + path.Base(id)
			}
		}
		if one.target, err = mountTarget(r.st.config.Config.WorkingDir, f.Target); err != nil {
			return nil, fail(err)
		}
		switch f.Type {
		case instructions.MountTypeBind:
			if one.place, err = r.place(ctx, f.From); err != nil {
				return nil, fail(err)
			}
		case instructions.MountTypeCache:
			if f.From != "" || f.Source != "" {
				return nil, unsupported("RUN --mount=type=cache,from=", "a cache begins empty")
			}
		case instructions.MountTypeTmpfs, instructions.MountTypeSecret:
		default:
			return nil, unsupported("RUN --mount=type="+string(f.Type), "there are bind, cache, tmpfs and secret")
		}
		m.list = append(m.list, one)
	}
	return m, nil
}

func secretID(f *instructions.Mount) string {
	switch {
	case f.CacheID != "":
		return f.CacheID
	case f.Source != "":
		return f.Source
	}
	return path.Base(f.Target)
}

// key adds the mounts to a RUN's cache key: what is bound counts with its
// content; of a cache and a secret only that they are there, since neither may
// decide what the RUN makes.
func (m *mounts) key(ctx context.Context, d *digester) error {
	d.number(int64(len(m.list)))
	for _, one := range m.list {
		d.words(string(one.Type), one.target, one.Source, strconv.FormatBool(one.ReadOnly), strconv.FormatInt(one.SizeLimit, 10))
		switch one.Type {
		case instructions.MountTypeSecret:
			d.words(secretID(one.Mount))
			if one.Env != nil {
				d.words("env", *one.Env)
			}
		case instructions.MountTypeCache:
			d.words(one.cacheID())
		case instructions.MountTypeBind:
			var digest bytes.Buffer
			err := one.run.work(ctx, one.copying(CopyDigest), &digest)
			d.words(digest.String())
			if err != nil {
				return fmt.Errorf("--mount=type=bind: %w", err)
			}
		}
	}
	return nil
}

// copying is the Copying of what a bind shows.
func (m *mount) copying(verb string) *Copying {
	return &Copying{Verb: verb, From: m.place, Sources: []string{m.Source}, Whole: true, Owners: m.run.o.Worker != nil && len(m.place.Layers) > 0}
}

// place puts the mounts into a sandbox.
func (m *mounts) place(ctx context.Context, b *boxed) error {
	for i := range m.list {
		one := &m.list[i]
		at, env, err := m.one(ctx, b, one)
		if err != nil {
			return fmt.Errorf("--mount=type=%s: %w", one.Type, err)
		}
		if env != "" {
			b.spec.Env = append(b.spec.Env, env)
			continue
		}
		// A link of the stage on the way leads on inside the stage, as docker
		// has it: the sandbox itself takes names without links alone.
		real, err := b.resolve(ctx, at.Target)
		if err != nil {
			return fmt.Errorf("--mount=type=%s: target: %w", one.Type, err)
		}
		at.Target = real.Path
		at.Layer = at.Kind == sandbox.BindRW // nothing of the host's runs from it
		b.spec.Mounts = append(b.spec.Mounts, at)
		b.leave = append(b.leave, at.Target)
	}
	return nil
}

func (m *mounts) one(ctx context.Context, b *boxed, one *mount) (at sandbox.Mount, env string, err error) {
	at = sandbox.Mount{Kind: sandbox.BindRO, Target: one.target}
	switch one.Type {
	case instructions.MountTypeTmpfs:
		at.Kind, at.Size = sandbox.Tmpfs, one.SizeLimit
		return at, "", nil
	case instructions.MountTypeSecret:
		data := []byte(one.secret.Value)
		if one.secret.File != "" {
			if data, err = os.ReadFile(one.secret.File); err != nil {
				return at, "", err
			}
		}
		if one.Env != nil {
			name := *one.Env
			if name == "" {
				name = secretID(one.Mount)
			}
			if one.target == "" {
				return at, name + "=" + string(data), nil
			}
			b.spec.Env = append(b.spec.Env, name+"="+string(data))
		}
		at.Source, err = m.secretFile(one, data)
		return at, "", err
	case instructions.MountTypeCache:
		if !one.ReadOnly {
			at.Kind = sandbox.BindRW
		}
		at.Source, err = m.cacheFolder(ctx, b, one)
		return at, "", err
	}
	// What is bound is a copy: in the context itself RUN could connect to
	// sockets, and would see what .dockerignore leaves out.
	if !one.ReadOnly {
		at.Kind = sandbox.BindRW
	}
	dir, err := b.addition.Dir()
	if err != nil {
		return at, "", err
	}
	var shown bytes.Buffer
	c := one.copying(CopyOut)
	c.Dest = dir
	err = b.work(ctx, c, &shown)
	at.Source = filepath.Join(dir, shown.String())
	return at, "", err
}

// secretFile writes a secret to memory: XDG_RUNTIME_DIR is a tmpfs of the
// caller's own. Without one it lies below the store until the RUN has ended.
func (m *mounts) secretFile(one *mount, data []byte) (string, error) {
	dir, err := "", error(nil)
	if memory := os.Getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(memory) {
		dir, _ = os.MkdirTemp(memory, "sbx-secret-") // else the store it is
	}
	if dir == "" {
		if dir, err = one.run.addition.Dir(); err != nil {
			return "", err
		}
	}
	m.dirs = append(m.dirs, dir)
	mode := os.FileMode(0o400)
	if one.Mode != nil {
		mode = os.FileMode(*one.Mode) & 0o777
	}
	if one.UID != nil && *one.UID != 0 || one.GID != nil && *one.GID != 0 {
		mode |= 0o044 // it belongs to root inside, and the user who is meant must read it
	}
	name := filepath.Join(dir, "secret")
	if err := os.WriteFile(name, data, 0o600); err != nil {
		return "", err
	}
	return name, os.Chmod(name, mode)
}

// cacheID is the name of a cache: its target where none is given.
func (m *mount) cacheID() string {
	if m.CacheID != "" {
		return m.CacheID
	}
	return m.target
}

// cacheFolder is the folder of a cache, locked as its sharing says. An id is a
// name and never a path: the folder is called by its digest (CVE-2024-9675).
func (m *mounts) cacheFolder(ctx context.Context, b *boxed, one *mount) (string, error) {
	digest := sha256.Sum256([]byte(one.cacheID()))
	root := filepath.Join(b.store.Dir(), "mounts")
	if err := os.MkdirAll(root, 0o700); err != nil {
		return "", err
	}
	mode := os.FileMode(0o755)
	if one.Mode != nil {
		mode = os.FileMode(*one.Mode) & 0o777
	}
	if one.UID != nil && *one.UID != 0 || one.GID != nil && *one.GID != 0 {
		mode |= 0o077 // it is root's inside, below a folder that only the caller can enter
	}
	for n := 0; ; n++ {
		dir := filepath.Join(root, hex.EncodeToString(digest[:16])+"-"+strconv.Itoa(n))
		lock, err := os.OpenFile(dir+".lock", os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
		if err != nil {
			return "", err
		}
		how := unix.LOCK_SH
		if one.CacheSharing == instructions.MountSharingLocked || one.CacheSharing == instructions.MountSharingPrivate {
			how = unix.LOCK_EX
		}
		err = flock(ctx, lock, how, one.CacheSharing == instructions.MountSharingPrivate)
		if errors.Is(err, unix.EWOULDBLOCK) {
			lock.Close()
			continue // somebody else's for now: take the next
		}
		if err != nil {
			lock.Close()
			return "", err
		}
		m.held = append(m.held, lock)
		if err := os.Mkdir(dir, 0o700); err == nil {
			return dir, os.Chmod(dir, mode)
		} else if !errors.Is(err, fs.ErrExist) {
			return "", err
		}
		return dir, nil
	}
}

// release lets go of what the mounts hold, and removes secrets.
func (m *mounts) release() {
	for _, f := range m.held {
		f.Close()
	}
	for _, dir := range m.dirs {
		_ = os.RemoveAll(dir) // one below the store goes with the Addition at the latest
	}
	m.held, m.dirs = nil, nil
}
