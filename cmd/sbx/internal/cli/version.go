package cli

import (
	"encoding/json"
	"os"
	"runtime"
	"runtime/debug"
)

// version is set by the linker for a release.
var version = ""

type versionCommand struct {
	JSON bool `name:"json" help:"Print JSON."`
}

func versionVerb() command { return &versionCommand{} }

func (v *versionCommand) run(*call) error {
	name := versionText()
	if v.JSON {
		return json.NewEncoder(os.Stdout).Encode(struct {
			Version int    `json:"version"`
			Sbx     string `json:"sbx"`
			Go      string `json:"go"`
			Arch    string `json:"arch"`
		}{1, name, runtime.Version(), runtime.GOARCH})
	}
	_, err := os.Stdout.WriteString("sbx " + name + " (" + runtime.Version() + ", linux/" + runtime.GOARCH + ")\n")
	return err
}

// versionText is the release, or the commit that was built.
func versionText() string {
	if version != "" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	revision, modified := "", ""
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			revision = s.Value[:min(12, len(s.Value))]
		case "vcs.modified":
			if s.Value == "true" {
				modified = "+changes"
			}
		}
	}
	switch {
	case revision != "":
		return "devel-" + revision + modified
	case info.Main.Version != "" && info.Main.Version != "(devel)":
		return info.Main.Version
	}
	return "devel"
}
