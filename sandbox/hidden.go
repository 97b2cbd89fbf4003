package sandbox

import (
	"path"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// hiddenPath is what a Hide of the spec hides, as it was found when the plan was
// made. A mount hides what has the name at that moment: a process that
// exchanges names meanwhile (another sandbox that may write there) has it hide
// something else. No call of the plan can compare, so the launcher does: before
// the plan, and in a pause of it, when everything is mounted.
type hiddenPath struct {
	asked string   // as the spec says it; "" where that is no path of the host
	at    string   // on the host, without symbolic links
	names []string // the folders from what is shown down to it, and itself
	found []File   // what was there
}

// unsteady is a hiddenPath that was another when it was looked at again.
type unsteady struct{ path string }

func (e *unsteady) Error() string { return e.path + " was renamed, or files beside it" }

// refuse is the error where it stays so.
func (e *unsteady) refuse() error {
	return &StepError{Step: "mount", Reason: "what --hide is to hide changes all the time: another process renames " + e.path + " or files beside it", Err: e}
}

// steadyFor is for how long the folders must not have changed before the plan
// is run: longer than a tick of the clock that their times are taken from (10 ms
// at HZ=100), so that a later change has a later time.
const steadyFor = 20 * time.Millisecond

// steadyTries is how often a sandbox is made anew because of an unsteady path.
const steadyTries = 5

// watchHidden makes a plan compare what a Hide was placed on. It comes after
// what is shown has been ordered.
func (c *compiler) watchHidden(e *entry) {
	if !e.ofSpec {
		return // in folders that are not to be written by others
	}
	h := hiddenPath{asked: e.asked, at: e.target}
	top := path.Dir(e.target)
	if e.inside >= 0 && c.entries[e.inside].source != "" {
		o := &c.entries[e.inside]
		top, h.at = o.source, path.Join(o.source, strings.TrimPrefix(e.target, o.target))
	}
	for at := h.at; within(at, top); at = path.Dir(at) {
		h.names = append(h.names, at)
		if at == "/" {
			break
		}
	}
	h.look(c.feat.Host)
	c.hiddenPaths = append(c.hiddenPaths, h)
}

func (h *hiddenPath) look(host Host) {
	h.found = make([]File, len(h.names))
	for i, name := range h.names {
		h.found[i] = host.Lstat(name)
	}
}

// same says whether everything is as it was: the names lead to the same files,
// and nothing was renamed in the folders, which the times tell.
func (h *hiddenPath) same(host Host) bool {
	if h.asked != "" {
		if real := host.Real(h.asked); real != h.at && (real != "" || h.found[0].exists()) {
			return false
		}
	}
	for i, name := range h.names {
		f, was := host.Lstat(name), h.found[i]
		if i == 0 {
			f.Changed, was.Changed = 0, 0 // of what is hidden itself only the name counts
		}
		if f != was {
			return false
		}
	}
	return true
}

// youngest is when one of the folders was changed last.
func (h *hiddenPath) youngest() time.Time {
	var at int64
	for i, f := range h.found {
		if i > 0 {
			at = max(at, f.Changed)
		}
	}
	return time.Unix(0, at)
}

// settleHidden waits until what is to be hidden has been as it is for a while.
func (c *Cmd) settleHidden() error {
	for i := range c.plan.hiddenPaths {
		h := &c.plan.hiddenPaths[i]
		if wait := steadyFor - time.Since(h.youngest()); wait > 0 {
			time.Sleep(min(wait, steadyFor)) // a clock elsewhere may be ahead
		}
		if !h.same(c.host()) {
			return &unsteady{h.at}
		}
	}
	return nil
}

// checkHidden is a pause of the plan: everything is mounted.
func (c *Cmd) checkHidden(int) error {
	for i := range c.plan.hiddenPaths {
		if h := &c.plan.hiddenPaths[i]; !h.same(c.host()) {
			return &unsteady{h.at}
		}
	}
	return c.letGo()
}

// changedAt is a file's time of change (inode(7)) in nanoseconds: a rename in a
// folder sets it.
func changedAt(st *unix.Stat_t) int64 { return st.Ctim.Nano() }
