package cli

import (
	"errors"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox"
	"github.com/sbx-dev/sbx/sandbox/image/local"
	"github.com/sbx-dev/sbx/sandbox/layer"
	"github.com/sbx-dev/sbx/sandbox/state"
)

// written is what becomes of what CMD writes, where a flag asks for it: --keep,
// --review and --out.
type written struct {
	store  layer.Store
	layer  *layer.Layer // nil with --out alone
	fresh  bool         // the layer was made for this run
	review bool
	kept   string // the name that --keep gives
	outs   []outPath
	began  bool // CMD was executed
	root   int  // a descriptor of CMD's root, -1 where there is none
	space  int  // one of its mount namespace, which keeps the root together
	dir    string
	// folders of the host in which CMD, of this run or an earlier one, may have
	// made the links: the project's, and those that are shown for writing.
	folders []string
}

// outPath is one --out: a path inside and one on the host.
type outPath struct{ from, to, flag string }

// asked says whether a flag asks for any of it; a plain run goes past all this.
func (r *runCommand) asksWritten() bool { return r.Keep != "" || r.Review || len(r.Out) > 0 }

// openWritten checks the flags and opens the layer. Close it.
func (r *runCommand) openWritten(spec *sandbox.Spec) (*written, error) {
	w := &written{root: -1, space: -1, review: r.Review, kept: r.Keep}
	if r.Review && asking() == nil {
		return nil, &usageError{msg: "--review needs a terminal to ask at", hint: "--keep NAME keeps what CMD writes, for sbx changes and sbx apply"}
	}
	if r.Keep != "" || r.Review {
		flag := "--keep"
		if r.Keep == "" {
			flag = "--review"
		}
		if err := keepable(spec, flag); err != nil {
			return nil, err
		}
	}
	if r.Keep != "" {
		if err := layer.CheckName(r.Keep); err != nil {
			return nil, &usageError{msg: "--keep: " + err.Error()}
		}
	}
	var err error
	if w.store, err = layerStore(); err != nil {
		return nil, err
	}
	for _, o := range r.Out {
		p, err := parseOut(o)
		if err != nil {
			return nil, err
		}
		w.outs = append(w.outs, p)
	}
	switch {
	case r.Keep != "":
		w.layer, err = w.store.Create(r.Keep)
		if errors.Is(err, layer.ErrBusy) {
			return nil, &usageError{msg: "--keep " + r.Keep + ": another run or command is using this layer"}
		}
	case r.Review:
		w.layer, err = w.store.CreateReview()
	}
	if err != nil {
		return nil, err
	}
	if w.layer != nil {
		w.fresh = w.layer.Record.LastUsed.IsZero()
		spec.Upper = w.layer.Upper()
		if r.Keep != "" {
			spec.Home = w.layer.Home()
		}
	}
	return w, nil
}

// planKept makes the spec that of a run with --keep NAME. Nothing is made: the
// layer of a first run need not be there yet.
func planKept(spec *sandbox.Spec, name string) error {
	if err := keepable(spec, "--keep"); err != nil {
		return err
	}
	if err := layer.CheckName(name); err != nil {
		return &usageError{msg: "--keep: " + err.Error()}
	}
	store, err := layerStore()
	if err != nil {
		return err
	}
	spec.Upper, spec.Home = store.Places(name)
	return nil
}

// keepable says why what is written cannot be kept, for the flag that asks.
func keepable(spec *sandbox.Spec, flag string) error {
	switch {
	case spec.Upper != "":
		return &usageError{msg: flag + " and --upper exclude each other"}
	case spec.Skips("overlay"):
		return &usageError{msg: flag + " needs the step overlay, which is skipped: without it CMD can write nothing that could be kept"}
	}
	return nil
}

// parseOut reads PATH or PATH:HOSTPATH. A path that is not absolute is meant
// from the working folder, on each side.
func parseOut(o string) (outPath, error) {
	p := outPath{flag: o}
	from, to, pair := strings.Cut(o, ":")
	if from == "" || pair && to == "" {
		return p, &usageError{msg: "--out " + o + ": is not PATH or PATH:HOSTPATH"}
	}
	p.from = from
	if !pair {
		to = from
	}
	var err error
	if p.to, err = absolute(to); err == nil && p.to == "/" {
		err = &usageError{msg: "--out " + o + ": / cannot be copied to as a whole"}
	}
	return p, err
}

// begin notes the run down and looks on as CMD begins.
func (w *written) begin(cmd *sandbox.Cmd) error {
	feat, err := sandbox.Probe(&cmd.Spec)
	if err != nil {
		return err
	}
	plan, err := sandbox.Compile(&cmd.Spec, feat)
	var spec *sandbox.SpecError
	if errors.As(err, &spec) && w.layer != nil && strings.Contains(spec.Reason, w.layer.Dir()) {
		return &usageError{
			msg:  "a layer cannot be kept in a folder that CMD sees: " + spec.Reason,
			hint: "XDG_STATE_HOME=DIR keeps it elsewhere",
		}
	}
	if err != nil {
		return err
	}
	w.dir = plan.Dir()
	w.folders = writableFolders(plan, feat.Dir)
	cmd.Features = feat
	if w.layer != nil {
		err := w.layer.Begin(plan, feat.Dir, cmd.Spec.Args)
		var other *layer.OtherProjectError
		if errors.As(err, &other) {
			return &usageError{msg: "--keep " + other.Name + " belongs to " + other.Has + ", and this is " + other.Wanted, hint: "another name, or sbx rm " + other.Name}
		}
		if err != nil {
			return err
		}
	}
	if len(w.outs) > 0 {
		next := cmd.Trace
		cmd.Trace = func(e sandbox.Event) {
			if e.Kind == sandbox.EventExec {
				w.hold(e.Pid)
			}
			if next != nil {
				next(e)
			}
		}
	}
	return nil
}

// writableFolders are the folders of the host in which CMD, of this run or an
// earlier one, may have made links: the caller's, and those that are shown for
// writing, also on a copy.
func writableFolders(plan *sandbox.Plan, dir string) []string {
	folders := []string{dir}
	for _, s := range plan.Shown {
		if s.Kind != sandbox.BindRW && s.Kind != sandbox.Overlay || s.Source == "" {
			continue
		}
		if real, err := filepath.EvalSymlinks(s.Source); err == nil {
			folders = append(folders, real)
		}
	}
	return folders
}

// hold takes hold of CMD's root before CMD has run an instruction. Without its
// mount namespace the mounts in it would go with the last process.
func (w *written) hold(pid int) {
	w.began = true
	proc := "/proc/" + strconv.Itoa(pid)
	if fd, err := unix.Open(proc+"/ns/mnt", unix.O_RDONLY|unix.O_CLOEXEC, 0); err == nil {
		w.space = fd
	}
	if fd, err := unix.Open(proc+"/root", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err == nil {
		w.root = fd
	}
}

// end does what was asked for, once CMD is gone. Ran says that it ran.
func (w *written) end(ran bool) error {
	if !ran {
		return nil
	}
	var errs []error
	if w.kept != "" && w.fresh {
		say("what CMD writes is kept as " + w.kept + ": sbx changes " + w.kept + " lists it, sbx apply " + w.kept + " copies it to your files")
	}
	for _, o := range w.outs {
		if w.began {
			errs = append(errs, w.copyOut(o))
		}
	}
	// No overlay may be mounted on a layer that is changed below it.
	w.letGo()
	if w.review {
		errs = append(errs, w.reviewAll())
	}
	return errors.Join(errs...)
}

func (w *written) reviewAll() error {
	changes, err := w.layer.Changes()
	if err != nil {
		return err
	}
	if len(changes.Items) == 0 {
		say("CMD changed none of the folders that it was shown")
		return nil
	}
	tty := asking()
	if tty == nil { // the terminal went away while CMD ran
		return &outError{"--review: the terminal is gone: nothing is copied"}
	}
	plainScreen(tty)
	a := applying{layer: w.layer, what: "the layer of this run", changes: changes, afterRun: true}
	_, err = a.interactive(tty)
	return err
}

func (w *written) copyOut(o outPath) error {
	if w.root < 0 {
		return &outError{"--out " + o.flag + ": the sandbox's root cannot be looked at"}
	}
	from := o.from
	if !path.IsAbs(from) {
		from = path.Join(w.dir, from)
	}
	out, err := w.store.CopyOut(w.root, path.Clean(from), o.to, w.folders)
	if errors.Is(err, layer.ErrAbsent) {
		say("--out " + o.flag + ": " + from + " is not there, nothing is copied")
		return nil
	}
	if err != nil {
		return &outError{"--out " + o.flag + ": " + err.Error()}
	}
	say("--out: " + plural(out.Files, "file") + " (" + sizeText(out.Size) + ") copied to " + o.to)
	listOut("left out", out.Skipped)
	if len(out.Failed) > 0 {
		listOut("not copied", out.Failed)
		return &outError{"--out " + o.flag + ": " + plural(len(out.Failed), "path") + " could not be copied"}
	}
	return nil
}

// shownOut is how many paths of a kind are named.
const shownOut = 10

func listOut(what string, list []layer.OutOne) {
	for i, one := range list {
		if i == shownOut {
			say(what + ": … and " + strconv.Itoa(len(list)-i) + " more")
			return
		}
		say(what + ": " + printable(one.Path) + ": " + one.Why)
	}
}

// outError is something that --out could not copy: exit code 125 where CMD's own
// would have been 0.
type outError struct{ msg string }

func (e *outError) Error() string { return e.msg }

// letGo lets go of CMD's root, and so of the mounts in it.
func (w *written) letGo() {
	for _, fd := range []*int{&w.root, &w.space} {
		if *fd >= 0 {
			unix.Close(*fd)
			*fd = -1
		}
	}
}

// close lets go of everything, and removes the layer of a review and one that
// was made for a run that could not begin.
func (w *written) close(ran bool) {
	w.letGo()
	if w.layer == nil {
		return
	}
	if w.kept == "" || w.fresh && !ran {
		if err := w.layer.Remove(); err != nil {
			say(err.Error() + ": sbx prune goes on with it")
		}
		return
	}
	w.layer.Close()
}

// hideLayers keeps the kept layers, the state of sandboxes and the images out of
// sight where a mount would show them. Who can write to the images decides what the
// next sandbox of one shows as its root.
func hideLayers(s *sandbox.Spec) {
	if store, err := layerStore(); err == nil {
		hideStore(s, path.Dir(store.Dir()), false)
	}
	if store, err := state.DefaultStore(); err == nil {
		hideStore(s, store.Dir(), true)
	}
	if images, err := local.DefaultDir(); err == nil {
		hideStore(s, images, true)
	}
}

// hideStore hides a folder of sbx's own. One that must be hidden is made where a
// mount would show it: else CMD could make it, and put into it what sbx believes,
// or read what comes into it later.
func hideStore(s *sandbox.Spec, dir string, always bool) {
	parent := ""
	for _, m := range s.Mounts {
		if m.Source == "" || m.Kind == sandbox.Hide {
			continue
		}
		if parent == "" {
			var err error
			if parent, err = filepath.EvalSymlinks(path.Dir(dir)); err != nil {
				return // nothing is kept
			}
			if _, err := os.Lstat(dir); err == nil {
				if dir, err = filepath.EvalSymlinks(dir); err != nil {
					return
				}
			} else {
				dir = path.Join(parent, path.Base(dir))
			}
		}
		// A link may lead to what holds the folder, or from it to them.
		source, err := filepath.EvalSymlinks(m.Source)
		rest, holds := strings.CutPrefix(dir, strings.TrimSuffix(source, "/")+"/")
		if err != nil || !holds {
			continue
		}
		if always {
			_ = os.Mkdir(dir, 0o700)
		}
		hidden := sandbox.Mount{Kind: sandbox.Hide, Target: path.Join(m.Target, rest)}
		if _, err := os.Lstat(dir); err == nil && !slices.Contains(s.Mounts, hidden) {
			s.Mounts = append(s.Mounts, hidden)
		}
	}
}
