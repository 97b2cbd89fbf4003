package cli

import (
	"os"
	"path"
	"reflect"
	"slices"
	"strings"

	"github.com/sbx-dev/sbx/sandbox"
)

// profileNames lists the built-in profiles.
var profileNames = []string{"default", "strict", "teaching", "ci", "nested"}

// builtinProfile is the set of flags that a built-in profile stands for, and
// what it is for in a sentence. The flags of the command line come on top.
func builtinProfile(name string) (flags RunFlags, summary string, ok bool) {
	switch name {
	case "default":
		return RunFlags{}, "no flag at all: every step, nothing loosened", true
	case "strict":
		return RunFlags{
			Seccomp: "strict",
			OnlyCwd: true,
			Require: []string{"landlock"},
			Ulimit:  []string{"nproc=256", "nofile=256"},
		}, "less of everything, and nothing that degrades", true
	case "teaching":
		// What a step does is seen best where no other step refuses it.
		return RunFlags{
			User:   "0",
			CapAdd: []string{"ALL"},
			Skip:   []string{"landlock", "seccomp"},
		}, "root inside with every capability, to see what a step does", true
	case "ci":
		// Runners are containers: an outer one masks /proc, has an overlay as
		// its root already, and may have no Landlock.
		return RunFlags{
			Env:      []string{"CI=true"},
			Optional: []string{"overlay", "proc", "cgroup"},
		}, "goes on without overlay, proc or cgroup where refused", true
	case "nested":
		return RunFlags{
			Skip: append([]string{"user"}, sandbox.Dependents("user")...),
		}, "what is left where no namespace can be made", true
	}
	return RunFlags{}, "", false
}

// withProfile puts the flags on top of those of the profile that they name.
func (f *RunFlags) withProfile() (all, profile RunFlags, err error) {
	if f.Profile == "" {
		return *f, RunFlags{}, nil
	}
	p, err := findProfile(f.Profile)
	if err != nil {
		return RunFlags{}, RunFlags{}, err
	}
	all, err = p.flags.under(f)
	return all, p.flags, err
}

// flagFields calls each for every flag that a profile may hold, in the order of
// the help: the name and the field's index.
func flagFields(each func(index int, f reflect.StructField)) {
	t := reflect.TypeFor[RunFlags]()
	for i := range t.NumField() {
		f := t.Field(i)
		_, hidden := f.Tag.Lookup("hidden")
		if name := f.Tag.Get("name"); name != "" && name != "profile" && !hidden {
			each(i, f)
		}
	}
}

// under is the flags with others on top: a value replaces a value, a list goes
// on. Of what can be said but once the one on top stays: what is mounted at a
// place, a limit, a variable.
func (f *RunFlags) under(over *RunFlags) (RunFlags, error) {
	below, above := *f, *over
	if err := below.giveWay(&above); err != nil {
		return RunFlags{}, err
	}
	out := below
	have, add := reflect.ValueOf(&out).Elem(), reflect.ValueOf(&above).Elem()
	flagFields(func(i int, field reflect.StructField) {
		switch field.Type.Kind() {
		case reflect.Slice:
			list := slices.Concat(have.Field(i).Interface().([]string), add.Field(i).Interface().([]string))
			have.Field(i).Set(reflect.ValueOf(list))
		default:
			if !add.Field(i).IsZero() {
				have.Field(i).Set(add.Field(i))
			}
		}
	})
	out.Profile = ""
	return out, nil
}

// giveWay takes out of the flags what those above say otherwise.
func (f *RunFlags) giveWay(above *RunFlags) error {
	limits := map[string]bool{"cpu": above.CPUTime != "", "nproc": above.PidsLimit != ""}
	for _, u := range above.Ulimit {
		if r, err := parseUlimit(u); err == nil {
			limits[r.Name] = true
		}
	}
	f.Ulimit = without(f.Ulimit, func(u string) bool {
		r, err := parseUlimit(u)
		return err == nil && limits[r.Name]
	})
	taken := map[string]bool{}
	above.places(func(list *[]string, target func(string) string) {
		for _, v := range *list {
			taken[target(v)] = true
		}
	})
	if len(taken) > 0 {
		f.places(func(list *[]string, target func(string) string) {
			*list = without(*list, func(v string) bool { return taken[target(v)] })
		})
	}
	if len(above.Tools) > 0 {
		f.Tools = nil
	}
	if len(above.EnvFile) > 0 && len(f.Env) > 0 {
		// -e comes after --env-file, whichever profile it is from: the lines are
		// put where they belong.
		lines, err := readEnvFiles(above.EnvFile)
		if err != nil {
			return err
		}
		above.EnvFile, above.Env = nil, append(lines, above.Env...)
	}
	return nil
}

// places calls each for every list of mounts, with how to tell where inside
// one of its values is mounted.
func (f *RunFlags) places(each func(list *[]string, target func(string) string)) {
	same := func(p string) string {
		at, err := absolute(p)
		if err != nil {
			return p
		}
		return at
	}
	each(&f.Volume, func(v string) string {
		if parts := strings.Split(v, ":"); len(parts) > 1 {
			return path.Clean(parts[1])
		}
		return v
	})
	each(&f.Tmpfs, func(v string) string {
		dst, _, _ := strings.Cut(v, ":")
		return path.Clean(dst)
	})
	for _, list := range []*[]string{&f.RO, &f.RW, &f.COW, &f.Hide} {
		each(list, same)
	}
}

// without is a new list of what does not match.
func without(list []string, match func(string) bool) []string {
	return slices.DeleteFunc(slices.Clone(list), match)
}

// A profile is a set of flags with a name.
type profile struct {
	name    string // as it can be asked for
	path    string // "" for a built-in one
	summary string
	flags   RunFlags
	extends []string // what it stands on, the nearest first
}

// isProfilePath says whether a name means a file: it holds a slash, or ends as
// such files do. Another name is never looked for in the working folder, where
// somebody else's project may hold whatever it likes.
func isProfilePath(name string) bool {
	return strings.Contains(name, "/") || strings.HasSuffix(name, ".toml")
}

// findProfile reads the profile of a name or a path.
func findProfile(name string) (*profile, error) {
	return lookupProfile(name, nil)
}

// lookupProfile also knows which profiles stand on the one that it looks for,
// so that they cannot stand on each other in a circle.
func lookupProfile(name string, above []string) (*profile, error) {
	if !isProfilePath(name) {
		if flags, summary, ok := builtinProfile(name); ok {
			return &profile{name: name, summary: summary, flags: flags}, nil
		}
	}
	file := name
	if !isProfilePath(name) {
		file = ""
		if dir := profileFolder(); dir != "" && name != "" && !strings.HasPrefix(name, ".") {
			file = path.Join(dir, name+".toml")
		}
		if file == "" || !exists(file) {
			return nil, unknownProfile(name)
		}
	}
	at, err := absolute(file)
	if err != nil {
		return nil, err
	}
	if slices.Contains(above, at) {
		return nil, &usageError{msg: "profiles extend each other in a circle: " + strings.Join(append(above, at), " → ")}
	}
	data, err := readSmall(at, maxProfile)
	if err != nil {
		return nil, &usageError{msg: "profile " + err.Error()}
	}
	text, err := parseProfile(file, path.Dir(at), data)
	if err != nil {
		return nil, err
	}
	p := &profile{name: name, path: at, summary: text.summary, flags: text.flags}
	if text.extends == "" {
		return p, nil
	}
	base, err := lookupProfile(text.extends, append(slices.Clip(above), at))
	if err != nil {
		if e, ok := err.(*usageError); ok && !strings.HasPrefix(e.msg, "profiles ") {
			e.msg = text.where + ": extends: " + e.msg
		}
		return nil, err
	}
	p.extends = append([]string{base.name}, base.extends...)
	p.flags, err = base.flags.under(&text.flags)
	return p, err
}

// maxProfile is more than any profile needs, in bytes.
const maxProfile = 1 << 20

// profileFolder is where the caller's own profiles are, "" where there is no
// such place. What is not absolute is to be ignored, as the XDG Base Directory
// Specification has it: it would be a folder of whatever project this is.
func profileFolder() string {
	dir := os.Getenv("XDG_CONFIG_HOME")
	if !path.IsAbs(dir) {
		home := os.Getenv("HOME")
		if !path.IsAbs(home) {
			return ""
		}
		dir = path.Join(home, ".config")
	}
	return path.Join(dir, "sbx", "profiles")
}

// ownProfiles are the names of the files in the caller's folder of profiles.
func ownProfiles() []string {
	dir := profileFolder()
	if dir == "" {
		return nil
	}
	entries, _ := os.ReadDir(dir) // most people have none
	var names []string
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), ".toml"); ok && name != "" && name[0] != '.' {
			names = append(names, name)
		}
	}
	return names
}

func unknownProfile(name string) error {
	names := slices.Concat(profileNames, ownProfiles())
	hint := "profiles: " + strings.Join(names, " ") + "; a file is named by its path"
	if near := nearest(name, names); near != "" {
		hint = "did you mean " + near + "?"
	} else if name != "" && exists(name+".toml") {
		hint = "for the file in this folder: --profile ./" + name + ".toml"
	}
	return &usageError{msg: "no profile is called " + quoted(name), hint: hint}
}
