package layer

import (
	"errors"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Report is what Apply did.
type Report struct {
	Applied []Item
	Failed  []Failure
	Left    int // how many changes the layer still holds
}

// Failure is an item that could not be copied.
type Failure struct {
	Item Item
	Err  error
}

// Apply copies those items to the host that want chooses, one by one, and takes
// them out of the layer. A folder that hides all below it leaves the layer as a
// whole, once everything in it is on the host; until then it is compared anew
// each time. Whatever happens, each name of the host has its old content or its
// new one.
//
// Of a sandbox that runs nothing leaves the layer: what was copied is no change
// any more when the layer is compared again. What CMD has put in the place of an
// item since the layer was compared is not copied.
//
// An error is one that no single item has; the report is valid all the same.
func (l *Layer) Apply(ch *Changes, want func(*Item) bool) (*Report, error) {
	report := &Report{}
	if l.lock == nil && !l.live {
		return report, ErrBusy
	}
	errs := []error{l.store.recover()}
	j, err := l.store.newJournal()
	if err != nil {
		return report, err
	}
	a := &applier{layer: l, journal: j, links: map[inode]place{}}
	defer a.close()
	if err := a.open(); err != nil {
		return report, err
	}
	applied := map[int]bool{}
	for i := range ch.Items {
		it := &ch.Items[i]
		if it.Skip != "" || !want(it) {
			continue
		}
		if err := a.apply(it); err != nil {
			report.Failed = append(report.Failed, Failure{*it, err})
			continue
		}
		applied[i] = true
		report.Applied = append(report.Applied, *it)
	}
	errs = append(errs, a.finish())
	if !l.live {
		errs = append(errs, a.drop(ch, applied))
	}
	report.Left = len(ch.Items) - len(report.Applied)
	return report, errors.Join(errs...)
}

var errLayerChanged = errors.New("it changed in the layer meanwhile")

type inode struct{ dev, ino uint64 }

// place is a path beneath one of the tops.
type place struct {
	upper int
	rel   string
	ino   uint64
}

// applier holds what items share while they are applied.
type applier struct {
	layer   *Layer
	journal *journal
	uppers  []int // the layer's tops, -1 where one is not there
	lowers  []int // the host's
	links   map[inode]place
	folders []*Item  // made or changed, whose mode is set in the end
	opened  []opened // folders that were made writable, the last one last
	failed  bool
}

type opened struct {
	top  int
	rel  string
	mode uint32
}

func (a *applier) open() error {
	for _, u := range a.layer.Record.Uppers {
		upper, lower := -1, -1
		var err error
		if !a.layer.own(&u) {
			if upper, err = a.layer.openUpper(&u); err == nil {
				lower, err = openTop(u.Lower)
			}
		}
		if errors.Is(err, unix.ENOENT) {
			err = nil
		}
		a.uppers, a.lowers = append(a.uppers, upper), append(a.lowers, lower)
		if err != nil {
			return err
		}
	}
	return nil
}

func (a *applier) close() {
	for _, fd := range slices.Concat(a.uppers, a.lowers) {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
	a.journal.close(a.failed)
}

// enter opens the folder around rel to be written to. One whose owner took
// away his own right to write gets it until the end.
func (a *applier) enter(top int, rel string) (int, string, error) {
	dir, name, err := parentOf(top, rel)
	if err != nil {
		return -1, "", err
	}
	var st unix.Stat_t
	if err := unix.Fstat(dir, &st); err == nil && st.Mode&0o300 != 0o300 && int(st.Uid) == unix.Getuid() {
		if err := unix.Chmod(procName(dir), st.Mode&modeBits|0o700); err == nil {
			a.opened = append(a.opened, opened{top, path.Dir(rel), st.Mode & modeBits})
		}
	}
	return dir, name, nil
}

// apply copies one item.
func (a *applier) apply(it *Item) error {
	top := a.lowers[it.upper]
	if top < 0 {
		return unix.ENOENT
	}
	parent, name, err := a.enter(top, it.rel)
	if err != nil {
		if err == unix.ELOOP {
			return errors.New("a symbolic link is on the way to it on the host")
		}
		return err
	}
	defer unix.Close(parent)
	now, there, err := lstatAt(parent, name)
	if err != nil {
		return err
	}
	if there != it.there || there && !unchanged(&now, &it.host) {
		return errChanged
	}
	s := &spot{
		parent: parent, name: name, journal: a.journal, there: there, folder: there && isFolder(&now),
		top: a.layer.Record.Uppers[it.upper].Lower, rel: path.Dir(it.rel),
	}
	if it.Kind == "deleted" {
		err = s.remove()
	} else {
		err = a.put(it, s)
	}
	if err != nil {
		a.failed = true // and may have left a temporary name
	}
	return err
}

// unchanged says whether the host's version is the one that was compared. Its
// change time may differ: another of its names may have been replaced.
func unchanged(now, then *unix.Stat_t) bool {
	if kindOf(now) != kindOf(then) || now.Ino != then.Ino || now.Dev != then.Dev {
		return false
	}
	return isFolder(now) || now.Size == then.Size && now.Mtim == then.Mtim
}

func (a *applier) put(it *Item, s *spot) error {
	dir, name, err := parentOf(a.uppers[it.upper], it.rel)
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	switch it.Type {
	case typeFolder:
		a.folders = append(a.folders, it)
		if s.folder {
			return nil // its mode is what changed
		}
		return s.putFolder()
	case typeLink:
		target, err := readlinkAt(dir, name)
		if err == nil && target != it.Link {
			err = errLayerChanged // and may lead elsewhere
		}
		if err != nil {
			return err
		}
		return s.putLink(target, &it.st)
	}
	key := inode{it.st.Dev, it.st.Ino}
	if first, ok := a.links[key]; ok && it.st.Nlink > 1 {
		if from, base, err := parentOf(a.lowers[first.upper], first.rel); err == nil {
			done, err := s.putHardLink(from, base, first.ino)
			unix.Close(from)
			if done || err != nil {
				return err
			}
		}
	}
	src, err := openBeneath(dir, name, fileRead)
	if err != nil {
		return err
	}
	defer unix.Close(src)
	var st unix.Stat_t
	if err := unix.Fstat(src, &st); err != nil {
		return err
	}
	if kindOf(&st) != unix.S_IFREG || st.Ino != it.st.Ino {
		return errLayerChanged
	}
	if err := s.putFile(src, &st); err != nil {
		return err
	}
	if it.st.Nlink > 1 {
		if made, there, err := lstatAt(s.parent, s.name); err == nil && there {
			a.links[key] = place{it.upper, it.rel, made.Ino}
		}
	}
	return nil
}

// finish gives folders their modes and new ones their times: after all that was
// made in them, the innermost first.
func (a *applier) finish() error {
	var errs []error
	for _, o := range slices.Backward(a.opened) {
		errs = append(errs, chmodBeneath(o.top, o.rel, o.mode))
	}
	a.opened = nil
	for _, it := range slices.Backward(a.folders) {
		fd, err := openBeneath(a.lowers[it.upper], it.rel, folderPath)
		if err != nil {
			errs = append(errs, pathError("openat2", it.Host, err))
			continue
		}
		err = unix.Chmod(procName(fd), it.st.Mode&modeBits)
		if err == nil && !(it.there && isFolder(&it.host)) {
			if src, serr := openBeneath(a.uppers[it.upper], it.rel, folderPath); serr == nil {
				copyAttributes(procName(src), procName(fd))
				unix.Close(src)
			}
			err = setTimes(fd, &it.st)
		}
		unix.Close(fd)
		if err != nil {
			errs = append(errs, pathError("chmod", it.Host, err))
		}
	}
	return errors.Join(errs...)
}

func chmodBeneath(top int, rel string, mode uint32) error {
	fd, err := openBeneath(top, rel, folderPath)
	if err != nil {
		return nil //nolint:nilerr // it is gone, or is no folder any more
	}
	defer unix.Close(fd)
	return unix.Chmod(procName(fd), mode)
}

// drop takes out of the layer what the host has now: what was applied, and what
// it had before.
func (a *applier) drop(ch *Changes, applied map[int]bool) error {
	type root struct {
		upper int
		rel   string
	}
	left := map[root]bool{} // folders that leave as a whole, and still hold something
	var errs []error
	alone := func(it *Item) {
		if it.whole != "" {
			r := root{it.upper, it.whole}
			left[r] = left[r] || false
			return
		}
		if it.Type == typeFolder && it.Kind != "deleted" && isFolder(&it.st) {
			return // it goes with the folders that only hold changes
		}
		errs = append(errs, a.unlink(it))
	}
	for i := range ch.done {
		alone(&ch.done[i])
	}
	for i := range ch.Items {
		switch it := &ch.Items[i]; {
		case applied[i]:
			alone(it)
		case it.whole != "":
			left[root{it.upper, it.whole}] = true
		}
	}
	for r, keep := range left {
		if keep || a.uppers[r.upper] < 0 {
			continue
		}
		if dir, name, err := a.enter(a.uppers[r.upper], r.rel); err == nil {
			errs = append(errs, removeTree(dir, name))
			unix.Close(dir)
		}
	}
	list := slices.Clone(ch.merged)
	slices.SortFunc(list, func(x, y merged) int { return strings.Compare(y.rel, x.rel) })
	for _, m := range list {
		a.dropFolder(m)
	}
	return errors.Join(append(errs, a.finishLayer())...)
}

// finishLayer takes back the rights that were needed to empty the layer.
func (a *applier) finishLayer() error {
	var errs []error
	for _, o := range slices.Backward(a.opened) {
		errs = append(errs, chmodBeneath(o.top, o.rel, o.mode))
	}
	a.opened = nil
	return errors.Join(errs...)
}

func (a *applier) unlink(it *Item) error {
	if a.uppers[it.upper] < 0 {
		return nil
	}
	dir, name, err := a.enter(a.uppers[it.upper], it.rel)
	if err != nil {
		return pathError("openat2", it.Path, err)
	}
	defer unix.Close(dir)
	if st, there, err := lstatAt(dir, name); err != nil || !there || st.Ino != it.st.Ino {
		return err
	}
	if err := unix.Unlinkat(dir, name, 0); err != nil {
		return pathError("unlinkat", it.Path, err)
	}
	return nil
}

// dropFolder removes a folder of the layer that holds no change any more, nor
// another mode than the host's.
func (a *applier) dropFolder(m merged) {
	if a.uppers[m.upper] < 0 || a.lowers[m.upper] < 0 {
		return
	}
	host, err := openBeneath(a.lowers[m.upper], m.rel, folderPath)
	if err != nil {
		return
	}
	defer unix.Close(host)
	var st unix.Stat_t
	if unix.Fstat(host, &st) != nil || st.Mode&modeBits != m.mode {
		return
	}
	if dir, name, err := a.enter(a.uppers[m.upper], m.rel); err == nil {
		_ = unix.Unlinkat(dir, name, unix.AT_REMOVEDIR) // unless it still holds something
		unix.Close(dir)
	}
}
