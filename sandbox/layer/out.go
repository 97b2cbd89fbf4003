package layer

import (
	"errors"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox"
)

// Out is what was copied.
type Out struct {
	Files   int      // and links
	Size    int64    // bytes
	Skipped []OutOne // on purpose
	Failed  []OutOne
}

// OutOne is one thing that was not copied: its path, and why.
type OutOne struct{ Path, Why string }

// ErrAbsent is the error for a path that the sandbox does not have.
var ErrAbsent = errors.New("is not in the sandbox")

// Copying says how something is copied out of a sandbox or into it. The zero
// Copying copies a link as a link and leaves out what could deceive.
type Copying struct {
	// Follow copies what the path leads to where it names a link itself. Links in
	// what is copied are never followed.
	Follow bool
	// All copies to the host too what makes it run code later
	// (sandbox.GuardedName), and links that lead out of what is copied.
	All bool
	// Folders are those of the host whose content need not be the caller's own:
	// no link is followed in them.
	Folders []string
}

// CopyOut copies a path of a sandbox whose processes are gone to the host. Root
// is a descriptor of its root: links on the way are followed as inside, and none
// of them leads out of it. Beneath from no link is followed: one that stays in
// what is copied is copied as a link, one that leads elsewhere is left out,
// since what it names on the host is something else than inside.
//
// To is an absolute path on the host, and missing folders on the way to it are
// made. Where it lies in one of the folders, whose content need not be the
// caller's own, no link is followed on the way to it. What has the name is
// replaced if it is a file, and added to if it is a folder. A link on the host is
// neither followed nor replaced. What makes the host run code later
// (sandbox.GuardedName) is left out, unless from itself names it, and so is all
// of a folder that git would take for a repository of its own.
func (s Store) CopyOut(root int, from, to string, folders []string) (*Out, error) {
	_ = s.recover() // Sweep says what stays
	src, err := sourceInside(root, from, true)
	if err != nil {
		return &Out{}, err
	}
	defer src.close()
	top, err := walkHost(path.Dir(to), folders, true)
	if err != nil {
		return &Out{}, err
	}
	defer unix.Close(top)
	return s.outTo(top, src, from, path.Base(to), false)
}

// CopyFrom is CopyOut for a sandbox whose processes live, and go on changing what
// is copied; and with the names that docker cp gives. Where to is a folder, what
// is copied comes into it under its own name, or, if from ends in "/.", its
// content does; else it gets the name to, whose folder must be there.
func (s Store) CopyFrom(root int, from, to string, how Copying) (*Out, error) {
	_ = s.recover()
	src, err := sourceInside(root, from, how.Follow)
	if err != nil {
		return &Out{}, err
	}
	defer src.close()
	top, name, err := placeOnHost(to, src, how.Folders)
	if err != nil {
		return &Out{}, err
	}
	defer unix.Close(top)
	return s.outTo(top, src, path.Join("/", from), name, how.All)
}

// outTo copies to a name in an open folder of the host.
func (s Store) outTo(top int, src *source, from, name string, all bool) (*Out, error) {
	topName, err := nameOf(top)
	if err != nil {
		return &Out{}, err
	}
	j, err := s.newJournal()
	if err != nil {
		return &Out{}, err
	}
	into := &folderSink{top: top, topName: topName, journal: j}
	c := &copier{out: &Out{}, from: from, all: all, sink: into, git: all || sandbox.GuardedName(from) != "" || strings.HasSuffix(from, ".git")}
	if !c.git {
		c.host = into
	}
	c.copy(src, name)
	j.close(len(c.out.Failed) > 0)
	return c.out, nil
}

// CopyInto copies a path of the host into a sandbox whose processes live. Root is
// a descriptor of its root. From and to are taken as CopyFrom takes them, the
// other way round: the way to is resolved as inside, and nothing that CMD does
// meanwhile lets it lead out of the sandbox's own mounts. A link inside that has
// the name is neither followed nor replaced, nor is a file on which something is
// mounted.
func CopyInto(root int, from, to string, how Copying) (*Out, error) {
	src, err := sourceOnHost(from, how.Follow, how.Folders)
	if err != nil {
		return &Out{}, err
	}
	defer src.close()
	top, name, err := placeInside(root, to, src)
	if err != nil {
		return &Out{}, err
	}
	defer unix.Close(top)
	c := &copier{out: &Out{}, from: from, all: true, git: true, sink: &folderSink{top: top, inside: true}}
	c.copy(src, name)
	return c.out, nil
}
