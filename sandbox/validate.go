package sandbox

import (
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/sbx-dev/sbx/sandbox/capability"
)

// Resolve returns the spec with everything skipped that cannot stand without a
// step that is skipped, and says which those are.
func (s Spec) Resolve() (Spec, []string) {
	var also []string
	skip := slices.Clone(s.Skip)
	for _, name := range Closure(s.Skip) {
		if !slices.Contains(skip, name) {
			skip = append(skip, name)
			if !LookupStep(name).OnRequest {
				also = append(also, name)
			}
		}
	}
	s.Skip = skip
	return s, also
}

// Validate says what about the spec can never be, whatever the host: the field
// and the reason, as a *SpecError.
func (s *Spec) Validate() error {
	bad := func(field, reason string) error { return &SpecError{Field: field, Reason: reason} }
	for _, list := range []struct {
		field string
		names []string
	}{{"Skip", s.Skip}, {"With", s.With}, {"Optional", s.Optional}, {"Require", s.Require}} {
		for i, name := range list.names {
			if LookupStep(name) == nil {
				return bad(at(list.field, i), "no step is called "+strconv.Quote(name)+"; there are "+strings.Join(StepNames(), " "))
			}
		}
	}
	for _, name := range Closure(s.Skip) {
		if !s.Skips(name) && (!LookupStep(name).OnRequest || slices.Contains(s.With, name)) {
			return bad("Skip", name+" cannot be made without "+strings.Join(missing(name, s.Skip), ", ")+": skip it too")
		}
	}
	for i, name := range s.With {
		if s.Skips(name) {
			return bad(at("With", i), name+" is skipped at the same time")
		}
	}
	if (s.BootOffset != 0 || s.MonotonicOffset != 0) && !slices.Contains(s.With, "time") {
		return bad("BootOffset", "needs the step time in With")
	}
	if slices.Contains(s.With, "time") && s.AsPID1 {
		return bad("AsPID1", "CMD would be in the new time namespace before its clocks are set")
	}
	if s.Dir != "" && !path.IsAbs(s.Dir) {
		return bad("Dir", strconv.Quote(s.Dir)+" is not an absolute path")
	}
	if len(s.Hostname) > 64 || strings.ContainsAny(s.Hostname, "\x00\n /") {
		return bad("Hostname", strconv.Quote(s.Hostname)+" is no host name of at most 64 bytes")
	}
	for i, e := range s.Env {
		if e == "" || e[0] == '=' || strings.Contains(e, "\x00") {
			return bad(at("Env", i), strconv.Quote(e)+" has no name, or a zero byte")
		}
	}
	for i, a := range s.Args {
		if strings.Contains(a, "\x00") {
			return bad(at("Args", i), "holds a zero byte")
		}
	}
	if len(s.Args) > 0 && s.Args[0] == "" {
		return bad("Args[0]", "the first word is empty, as from a variable of a shell that is not set")
	}
	switch s.Net {
	case "", "none", "host":
	default:
		return bad("Net", strconv.Quote(s.Net)+" is neither none nor host")
	}
	switch s.RootWith {
	case "", "pivot_root", "chroot":
	default:
		return bad("RootWith", strconv.Quote(s.RootWith)+" is neither pivot_root nor chroot")
	}
	if s.Rootfs != "" && !cleanAbs(s.Rootfs) {
		return bad("Rootfs", strconv.Quote(s.Rootfs)+" is not a clean absolute path")
	}
	if s.Rootfs == "/" {
		return bad("Rootfs", "the host's own root holds other mounts, and cannot be copy on write as a whole: without it the host's programs are shown, with the step root skipped all of its files")
	}
	if err := s.validateLayers(); err != nil {
		return err
	}
	if s.givenRoot() && s.Skips("overlay") {
		field := "Rootfs"
		if s.Rootfs == "" {
			field = "Layers"
		}
		return bad(field, "is shown through an overlay, which is skipped")
	}
	if s.Upper != "" && !cleanAbs(s.Upper) {
		return bad("Upper", strconv.Quote(s.Upper)+" is not a clean absolute path")
	}
	if s.Home != "" && (!cleanAbs(s.Home) || s.Upper == "") {
		return bad("Home", strconv.Quote(s.Home)+" is not a clean absolute path, or Upper is not set")
	}
	if s.LayerSize < 0 || s.Timeout < 0 {
		return bad("LayerSize", "and Timeout cannot be negative")
	}
	for i, list := range [][]string{s.CapAdd, s.CapDrop} {
		for k, name := range list {
			if !strings.EqualFold(name, "all") && capability.Number(name) < 0 {
				return bad(at([]string{"CapAdd", "CapDrop"}[i], k), "no capability is called "+strconv.Quote(name)+" (capabilities(7))")
			}
		}
	}
	for i, r := range s.Rlimits {
		if !slices.Contains(rlimitNames[:], r.Name) {
			return bad(at("Rlimits", i), "no limit is called "+strconv.Quote(r.Name)+"; there are "+strings.Join(rlimitNames[:], " "))
		}
		if r.Soft > r.Hard {
			return bad(at("Rlimits", i), r.Name+": the soft limit is above the hard one")
		}
	}
	if err := s.validateTools(); err != nil {
		return err
	}
	if err := s.validateMounts(); err != nil {
		return err
	}
	if err := s.validateMaps(); err != nil {
		return err
	}
	return s.validateFakeOwners()
}

func (s *Spec) validateMounts() error {
	for i, m := range s.Mounts {
		bad := func(reason string) error { return &SpecError{Field: at("Mounts", i), Reason: reason} }
		switch m.Kind {
		case BindRO, BindRW, Overlay:
			if !cleanAbs(m.Source) {
				return bad("the source " + strconv.Quote(m.Source) + " is not a clean absolute path")
			}
			if s.Upper != "" && (within(s.Upper, m.Source) || within(m.Source, s.Upper)) {
				return bad("the source " + m.Source + " and the upper layer " + s.Upper + " lie in one another")
			}
		case Tmpfs, Hide:
			if m.Source != "" {
				return bad("a " + m.Kind + " has no source")
			}
		default:
			return bad(strconv.Quote(m.Kind) + " is none of ro, rw, cow, tmpfs and hide")
		}
		if m.Layer && m.Kind != BindRW {
			return bad("only what is shown for writing can be a layer")
		}
		if !cleanAbs(m.Target) {
			return bad("the target " + strconv.Quote(m.Target) + " is not a clean absolute path (no .. and no double slash)")
		}
		if m.Target == "/" {
			return bad("the root itself cannot be a target: use Rootfs")
		}
		for k := range i {
			if s.Mounts[k].Target == m.Target {
				return bad("the target " + m.Target + " is named twice")
			}
		}
		if s.Skips("mount") {
			return bad("nothing can be shown or hidden with the step mount skipped")
		}
	}
	return nil
}

func (s *Spec) validateMaps() error {
	u := &s.User
	if (u.Auto || u.Unmapped) && (len(u.UIDMap) > 0 || len(u.GIDMap) > 0) || u.Auto && u.Unmapped {
		return &SpecError{Field: "User", Reason: "auto, none and lines of a map exclude each other"}
	}
	if u.Switch && (!u.Auto || s.Skips("user")) {
		return &SpecError{Field: "User.Switch", Reason: "needs auto, which maps more than one id, and the step user"}
	}
	if len(u.Groups) > 0 && !u.Switch {
		return &SpecError{Field: "User.Groups", Reason: "need Switch: without it setgroups(2) is denied"}
	}
	if u.Unmapped && !s.Skips("user") && !s.Skips("mount") {
		return &SpecError{Field: "User.Unmapped", Reason: "with empty id maps nobody can own a file, so no root can be made: skip mount"}
	}
	for _, list := range []struct {
		field string
		maps  []IDMap
		id    *int
	}{{"User.UIDMap", u.UIDMap, u.UID}, {"User.GIDMap", u.GIDMap, u.GID}} {
		if list.id != nil && (*list.id < 0 || int64(*list.id) >= 1<<32-1) {
			return &SpecError{Field: strings.TrimSuffix(list.field, "Map"), Reason: strconv.Itoa(*list.id) + " is no id: 0 to 4294967294"}
		}
		for i, m := range list.maps {
			if m.Count <= 0 || m.Inside < 0 || m.Outside < 0 || int64(m.Inside)+int64(m.Count) > 1<<32-1 || int64(m.Outside)+int64(m.Count) > 1<<32-1 {
				return &SpecError{Field: at(list.field, i), Reason: "the ids are out of range, or the count is none"}
			}
			for k := range i {
				o := list.maps[k]
				if m.Inside < o.Inside+o.Count && o.Inside < m.Inside+m.Count {
					return &SpecError{Field: at(list.field, i), Reason: "the ids inside overlap with line " + strconv.Itoa(k)}
				}
				if m.Outside < o.Outside+o.Count && o.Outside < m.Outside+m.Count {
					return &SpecError{Field: at(list.field, i), Reason: "the ids outside overlap with line " + strconv.Itoa(k)}
				}
			}
		}
		if list.id != nil && len(list.maps) > 0 && outside(list.maps, *list.id) < 0 {
			return &SpecError{Field: strings.TrimSuffix(list.field, "Map"), Reason: strconv.Itoa(*list.id) + " is not in the map"}
		}
	}
	return nil
}

// missing are those of the skipped steps that the named one needs.
func missing(name string, skip []string) []string {
	var out []string
	for _, s := range skip {
		if LookupStep(name).Requires(s) {
			out = append(out, s)
		}
	}
	return out
}

func at(field string, i int) string { return field + "[" + strconv.Itoa(i) + "]" }

func cleanAbs(p string) bool {
	return path.IsAbs(p) && path.Clean(p) == p && !strings.Contains(p, "\x00")
}
