// Package buildflags holds the flags of sbx build that sbx and sbx-image both
// know: the one for its help, its manual and its completion, the other to build.
package buildflags

import (
	"reflect"
	"slices"
)

// Flags are what sbx passes on. Every field is a bool, a string or a list of
// strings.
//
//nolint:lll // a tag cannot be broken
type Flags struct {
	Tag      []string `name:"tag" short:"t" sep:"none" common:"" group:"Build" placeholder:"NAME[:TAG]" help:"Name the image; several names are several flags."`
	File     string   `name:"file" short:"f" common:"" group:"Build" placeholder:"FILE" help:"The Dockerfile, - for stdin; DIR/Dockerfile by default, or DIR/Containerfile."`
	BuildArg []string `name:"build-arg" sep:"none" common:"" group:"Build" placeholder:"K[=V]" help:"A value for an ARG; K alone takes the caller's variable."`
	Target   string   `name:"target" common:"" group:"Build" placeholder:"STAGE" help:"Build this stage, and those that it needs, in place of the last."`
	Secret   []string `name:"secret" sep:"none" common:"" group:"Build" placeholder:"id=ID,src=FILE" help:"A file, or with env=NAME a variable, for RUN --mount=type=secret: in no layer, no history and no output."`
	Label    []string `name:"label" sep:"none" group:"Build" placeholder:"K=V" help:"Add a label to the image."`
	NoCache  bool     `name:"no-cache" common:"" group:"Build" help:"Do every step anew."`
	Pull     bool     `name:"pull" group:"Build" help:"Fetch base images although they are in the store."`

	PlainHTTP bool   `name:"plain-http" group:"Build" help:"Speak HTTP without TLS, to a registry on this machine only."`
	Progress  string `name:"progress" common:"" group:"Output" placeholder:"auto|plain|tty" help:"A live view (tty) or lines (plain); auto takes the view on a terminal."`
	Quiet     bool   `name:"quiet" short:"q" common:"" group:"Output" help:"Print the image's id alone."`
	IIDFile   string `name:"iidfile" group:"Output" placeholder:"FILE" help:"Write the image's id to FILE."`
	Explain   bool   `name:"explain" group:"Output" help:"Print the plan of the sandbox of each RUN before it runs."`
}

// Args are the flags as words of a command line.
func (f *Flags) Args() []string {
	var out []string
	v := reflect.ValueOf(f).Elem()
	for i := range v.NumField() {
		name := "--" + v.Type().Field(i).Tag.Get("name")
		switch field := v.Field(i).Interface().(type) {
		case bool:
			if field {
				out = append(out, name)
			}
		case string:
			if field != "" {
				out = append(out, name+"="+field)
			}
		case []string:
			for _, value := range slices.Clone(field) {
				out = append(out, name+"="+value)
			}
		}
	}
	return out
}
