package sandbox

import (
	"slices"
	"strings"
)

// toolFlag is the flag that shows a hidden program by the table of tools, which
// leaves its credentials hidden; "" where the tools that were asked for have it
// already, or no tool has it.
func (k *clues) toolFlag(p string) string {
	spec := &k.cmd.Spec
	if len(spec.Tools) == 0 || slices.Contains(spec.Tools, toolsAuto) || spec.givenRoot() || spec.Skips("root") {
		return ""
	}
	t := &toolbox{compiler: &compiler{Plan: &Plan{}, spec: spec, feat: &Features{Host: k.host, Env: []string{"HOME=" + k.callersEnv("HOME")}}}}
	t.look()
	table := BuiltinTools()
	for i := range spec.ToolTable.Tools {
		table.Tools = append([]Tool{spec.ToolTable.Tools[i]}, table.Tools...)
	}
	for i := range table.Tools {
		tool := &table.Tools[i]
		name := string(tool.Name)
		if slices.Contains(spec.Tools, name) {
			continue
		}
		for j := range tool.Folders {
			f := &tool.Folders[j]
			t.feat.Env = append(t.feat.Env[:1:1], k.variablesOf(f)...)
			shown := ShownTool{Name: name}
			if f.Cache || !t.folder(&shown, f) || !within(t.host().Real(p), shown.Folders[0]) {
				continue
			}
			names := slices.Clone(spec.Tools)
			if slices.Equal(names, []string{toolsNone}) {
				names = nil
			}
			return "--tools " + strings.Join(append(names, name), ",")
		}
	}
	return ""
}

func (t *toolbox) host() Host { return t.feat.Host }

// variablesOf are the caller's variables among a folder's places.
func (k *clues) variablesOf(f *ToolFolder) []string {
	var out []string
	for _, p := range f.At {
		if name, ok := strings.CutPrefix(string(p), "$"); ok {
			name, _, _ = strings.Cut(name, "/")
			out = append(out, name+"="+k.callersEnv(name))
		}
	}
	return out
}
