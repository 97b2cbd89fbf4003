package cli

import (
	"os"
	"path"
	"reflect"
	"slices"
	"strings"

	"github.com/sbx-dev/sbx/sandbox"
)

// profileCommand is the model of sbx profile.
type profileCommand struct {
	JSON bool `name:"json" help:"Print JSON; of show with the spec that the profile makes."`

	What string `arg:"" optional:"" help:"ls (the default) or show."`
	Name string `arg:"" optional:"" help:"The name or the file of a profile."`
}

func profileVerb() command { return &profileCommand{} }

func (*profileCommand) usage() string { return "ls | show NAME [--json]" }

// Help implements kong.HelpProvider.
func (*profileCommand) Help() string {
	return `A profile is a set of flags with a name, for --profile. Five are built in; yours are files of lines KEY = VALUE in TOML, the keys being the long names of the flags: $XDG_CONFIG_HOME/sbx/profiles/NAME.toml, or any file that --profile names by its path. A profile is never taken unless it is named.

show prints what a profile comes to, with all that it extends, as a file that can be saved and changed.`
}

func (*profileCommand) examples() [][2]string {
	return [][2]string{
		{"sbx profile ls", "which are there?"},
		{"sbx profile show strict > ./mine.toml", "begin one of your own"},
		{"sbx run --profile ./mine.toml -- make test", "and use it"},
	}
}

func (p *profileCommand) run(c *call) error {
	if len(c.after) > 0 {
		return &usageError{msg: "no CMD is run", hint: "sbx run --profile NAME -- CMD"}
	}
	switch {
	case p.What == "" || p.What == "ls" && p.Name == "":
		return p.list()
	case p.What == "ls":
		return &usageError{msg: "ls takes no word more", hint: "sbx profile show " + p.Name}
	case p.What != "show":
		near := nearest(p.What, []string{"ls", "show"})
		if near == "" {
			near = "show " + shellLine([]string{p.What})
		}
		return &usageError{msg: "there are ls and show, and no " + quoted(p.What), hint: "sbx profile " + near}
	case p.Name == "":
		return &usageError{msg: "show needs the name of a profile", hint: "sbx profile ls lists them"}
	}
	return p.show(p.Name)
}

// listedProfile is a row of sbx profile ls.
type listedProfile struct {
	Name    string `json:"name"`
	Builtin bool   `json:"builtin"`
	Path    string `json:"path,omitempty"`
	Summary string `json:"summary"`
	Error   string `json:"error,omitempty"` // why it cannot be used
}

func listProfiles() []listedProfile {
	var out []listedProfile
	for _, name := range profileNames {
		_, summary, _ := builtinProfile(name)
		out = append(out, listedProfile{Name: name, Builtin: true, Summary: summary})
	}
	for _, name := range ownProfiles() {
		row := listedProfile{Name: name, Path: path.Join(profileFolder(), name+".toml")}
		if slices.Contains(profileNames, name) {
			row.Error = "hidden by the built-in profile of this name"
		} else if p, err := findProfile(name); err != nil {
			row.Error = strings.TrimPrefix(err.Error(), profileFolder()+"/")
		} else {
			row.Summary = p.summary
		}
		out = append(out, row)
	}
	return out
}

func (p *profileCommand) list() error {
	all := listProfiles()
	if p.JSON {
		return writeJSON(os.Stdout, struct {
			Version  int             `json:"version"`
			Folder   string          `json:"folder"`
			Profiles []listedProfile `json:"profiles"`
		}{1, profileFolder(), all})
	}
	s, cols := styleOf(os.Stdout), width(os.Stdout)
	var b strings.Builder
	rows := make([][]cell, 0, len(all))
	own := 0
	for _, r := range all {
		from, what := cell{"built in", "2"}, cell{r.Summary, ""}
		if !r.Builtin {
			own++
			from = cell{"yours", ""}
		}
		if r.Error != "" {
			what = cell{visible(r.Error), "31"}
		}
		rows = append(rows, []cell{{visible(r.Name), "1"}, from, what})
	}
	writeTable(&b, s, cols, []string{"PROFILE", "FROM", "WHAT FOR"}, rows)
	if dir := profileFolder(); own == 0 && dir != "" {
		b.WriteByte('\n')
		text := "Files NAME.toml in " + visible(dir) + " are profiles, too; sbx profile show NAME prints one to begin with."
		b.WriteString(s.dim(strings.Join(fold(text, cols), "\n")) + "\n")
	}
	_, err := os.Stdout.WriteString(b.String())
	return err
}

func (p *profileCommand) show(name string) error {
	found, err := findProfile(name)
	if err != nil {
		return err
	}
	if p.JSON {
		spec, _, err := found.flags.Spec(nil)
		if err != nil {
			return err
		}
		flags := map[string]any{}
		v := reflect.ValueOf(&found.flags).Elem()
		flagFields(func(i int, f reflect.StructField) {
			if !v.Field(i).IsZero() {
				flags[f.Tag.Get("name")] = v.Field(i).Interface()
			}
		})
		return writeJSON(os.Stdout, struct {
			Version int            `json:"version"`
			Name    string         `json:"name"`
			Path    string         `json:"path,omitempty"`
			Extends []string       `json:"extends"`
			Flags   map[string]any `json:"flags"` // by their long names: bools, texts, lists of texts
			Spec    *sandbox.Spec  `json:"spec"`
		}{1, found.name, found.path, orEmpty(found.extends), flags, &spec})
	}
	var b strings.Builder
	comment := found.summary
	if found.path == "" {
		comment = "built into sbx: " + comment
	}
	if comment != "" {
		b.WriteString("# " + visible(comment) + "\n")
	}
	if len(found.extends) > 0 {
		b.WriteString("# with all of " + visible(strings.Join(found.extends, ", ")) + "\n")
	}
	if err := writeProfile(&b, &found.flags); err != nil {
		return err
	}
	_, err = os.Stdout.WriteString(b.String())
	return err
}
