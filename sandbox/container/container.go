package container

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/sbx-dev/sbx/sandbox"
	"github.com/sbx-dev/sbx/sandbox/image/local"
	"github.com/sbx-dev/sbx/sandbox/stack"
)

// Options are what a caller may say in place of the image's config. The zero
// Options take all of it.
type Options struct {
	// Entrypoint, when not nil, replaces the image's; its Cmd goes with that, as
	// with docker. Of one that is empty only Spec.Args are left.
	Entrypoint []string
	// User is NAME, UID, NAME:GROUP or UID:GID as the image's own accounts have
	// them; empty means the config's, or root.
	User string
}

// Apply completes a spec: Layers, Args, Env, Dir, User and Folders. What the spec
// has already wins over the config: Args stand in place of Cmd, Env is added, Dir
// stays, and so do id maps. The image must stay open for as long as the sandbox
// runs.
func Apply(s *sandbox.Spec, image *local.Image, o Options) error {
	if len(image.Layers) == 0 {
		return errors.New("the image has no layer, and so no root")
	}
	c := &image.Config
	if len(c.Env) > mostVariables {
		return fmt.Errorf("the image has %d variables, more than %d", len(c.Env), mostVariables)
	}
	s.Layers = image.Layers
	root := stack.New(image.Layers)
	if c.Labels[BaseLabel] == BaseHost {
		s.Mounts = append(HostMounts(), s.Mounts...)
	}

	entry, words := c.Entrypoint, s.Args
	if o.Entrypoint != nil {
		entry = o.Entrypoint
	} else if len(words) == 0 {
		words = c.Cmd
	}
	s.Args = slices.Concat(entry, words)
	if len(s.Args) == 0 {
		return errors.New("the image says no command: give one")
	}

	who, err := Lookup(root, cmp.Or(o.User, c.User))
	if err != nil {
		return err
	}
	setUser(s, who, image.Owners)

	env := []string{"HOME=" + who.Home}
	if who.Name != "" {
		env = append(env, "USER="+who.Name, "LOGNAME="+who.Name)
	}
	s.Env = slices.Concat(env, variables(c.Env), s.Env)

	if s.Dir == "" {
		s.Dir = cmp.Or(c.WorkingDir, "/")
		if !path.IsAbs(s.Dir) {
			s.Dir = "/" + s.Dir
		}
		s.Dir = path.Clean(s.Dir)
	}
	s.Folders = append(s.Folders, s.Dir)
	for v := range c.Volumes {
		if path.IsAbs(v) {
			s.Folders = append(s.Folders, path.Clean(v))
		}
	}
	// Names without links in them, as mount points must be. What lies in a folder
	// that is closed to the caller, being that of another user of the image, is
	// left to be there.
	asked := s.Folders
	s.Folders = nil
	for _, dir := range asked {
		real, err := root.Resolve(dir)
		if errors.Is(err, fs.ErrPermission) {
			continue
		}
		if err != nil {
			return err
		}
		s.Folders = append(s.Folders, real)
	}
	slices.Sort(s.Folders)
	s.Folders = slices.Compact(s.Folders)
	return nil
}

// mostVariables is how many variables an image may have: each is looked for among
// the others, and a config has room for a million.
const mostVariables = 10000

// variables leaves out what is no variable: a config may hold anything.
func variables(env []string) []string {
	return slices.DeleteFunc(slices.Clone(env), func(kv string) bool {
		return strings.IndexByte(kv, '=') < 1 || strings.ContainsRune(kv, 0)
	})
}

// setUser makes CMD who it is to be. Where the files have their own owners, the
// caller's ranges map those ids; else the one id that there is becomes it.
func setUser(s *sandbox.Spec, who User, owners bool) {
	u := &s.User
	u.UID, u.GID = &who.UID, &who.GID
	if owners && !u.Auto && !u.Unmapped && len(u.UIDMap) == 0 && len(u.GIDMap) == 0 && !s.Skips("user") {
		u.Auto, u.Switch, u.Groups = true, true, who.Groups
	}
}
