package sandbox

// A user namespace with one id has one owner for all files: chown(2) to any
// other id is EINVAL, because it has no number outside, and setgroups(2) is
// EPERM, because the kernel lets a user without privilege write an id map only
// with setgroups denied (user_namespaces(7), CVE-2014-8989). Package managers
// unpack files of a dozen owners and download as a user of their own. Where
// subordinate ids cannot be had (User.Auto), Spec.FakeOwners lets the filter
// say that these calls went well.
//
// Nothing that isolates is lost by that: what a refused call would have changed
// is unchanged. But a program that believes to have given up root has not, and
// one that verifies so with getuid(2) ends. Inside one id there is nobody whom
// either could be kept from; outside, all of it is the caller.

// fakeOwnersFilter is the built-in profile with these answers.
const fakeOwnersFilter = "owners"

const fakeOwnersNote = "owners are pretended, since one id is mapped: chown and set*id to another, and setgroups, answer with success and change nothing"

// apt downloads as the user _apt, and verifies that it became that (its
// APT::Sandbox::Verify::IDs). So it is told to stay root, by a file of the
// sandbox's own /dev, of which nothing gets into a kept layer, and a variable
// that apt.conf(5) has for this. One of the caller's or of Spec.Env wins.
const (
	aptConf   = "/dev/apt.conf"
	aptAsRoot = "APT::Sandbox::User \"root\";\n"
)

// tellsApt says whether that file is made: without a root of its own the sandbox
// has no /dev in which Landlock would let CMD read it.
func (c *compiler) tellsApt() bool { return c.spec.FakeOwners && c.on["root"] && c.on["dev"] }

// validateFakeOwners refuses FakeOwners where the filter, which knows the id 0
// alone, would lie about ids that are mapped, or would not be there.
func (s *Spec) validateFakeOwners() error {
	if !s.FakeOwners {
		return nil
	}
	bad := func(reason string) error { return &SpecError{Field: "FakeOwners", Reason: reason} }
	switch u := &s.User; {
	case s.Skips("seccomp"):
		return bad("is done by the step seccomp, which is skipped")
	case s.Skips("user"):
		return bad("is for a user namespace of one id, but the step user is skipped: all ids are the host's")
	case s.AllowNesting:
		return bad("and nesting bring a filter each, of which there can be one")
	case s.Seccomp != "" && s.Seccomp != "default":
		return bad("brings its own filter; leave Seccomp empty")
	case u.Unmapped:
		return bad("needs uid 0 inside, and no id is mapped")
	case u.Auto || !onlyZero(u.UIDMap) || !onlyZero(u.GIDMap):
		return bad("is for one id, and more than uid 0 and gid 0 are mapped: with those chown is real")
	case u.UID == nil || *u.UID != 0 || u.GID != nil && *u.GID != 0:
		return bad("needs uid 0 and gid 0 inside (-u 0)")
	}
	return nil
}

// onlyZero says whether a map has no line, or one that maps the id 0 alone.
func onlyZero(maps []IDMap) bool {
	return len(maps) == 0 || len(maps) == 1 && maps[0].Inside == 0 && maps[0].Count == 1
}
