package cli

import (
	"path"
	"slices"
	"strings"

	"github.com/sbx-dev/sbx/sandbox"
	"github.com/sbx-dev/sbx/sandbox/toolfile"
)

// setTools names the tools that are shown, and reads the caller's own table,
// which most callers do not have.
func (f *RunFlags) setTools(s *sandbox.Spec) error {
	s.Tools = f.Tools
	if slices.Equal(f.Tools, []string{"none"}) {
		return nil
	}
	if dir := profileFolder(); dir != "" {
		table, err := toolfile.Load(path.Join(path.Dir(dir), "tools.toml"))
		if err != nil {
			return &usageError{msg: err.Error()}
		}
		s.ToolTable = table
	}
	if len(f.Tools) > 1 && slices.Contains(f.Tools, "none") {
		return &usageError{msg: "--tools none stands beside no other name"}
	}
	for _, name := range f.Tools {
		if name == "auto" || name == "none" || slices.Contains(s.ToolNames(), name) {
			continue
		}
		names := s.ToolNames()
		if near := nearest(name, names); near != "" {
			return &usageError{msg: "--tools: no tool is called " + quoted(name), hint: "did you mean " + near + "? There are auto, none, " + strings.Join(names, ", ")}
		}
		return &usageError{msg: "--tools: no tool is called " + quoted(name), hint: "there are auto, none, " + strings.Join(names, ", ")}
	}
	return nil
}

// printTools prints the tools of the hidden home that are shown, and why.
func printTools(b *strings.Builder, s style, cols int, spec *sandbox.Spec, plan *sandbox.Plan) {
	if len(plan.Tools) == 0 {
		return
	}
	b.WriteString("\n" + s.bold("Tools of your home") + "\n")
	rows := make([][]cell, 0, 3*len(plan.Tools))
	for i := range plan.Tools {
		t := &plan.Tools[i]
		rows = append(rows, []cell{{t.Name, "1"}, {visible(t.Why), ""}})
		for _, f := range t.Folders {
			rows = append(rows, []cell{{"", ""}, {visible(f), "2"}})
			if without := hiddenIn(t.Hidden, f); without != "" {
				rows = append(rows, []cell{{"", ""}, {"without " + visible(without), "2"}})
			}
		}
	}
	writeTable(b, s, cols, []string{"TOOL", "WHY AND WHERE"}, rows)
	if len(spec.Tools) == 0 {
		b.WriteString(s.dim("--tools none leaves them hidden, --tools NAME,… shows those alone.") + "\n")
	}
}

// hiddenIn lists the hidden paths of a folder, as seen from it.
func hiddenIn(hidden []string, dir string) string {
	var out []string
	for _, h := range hidden {
		if rel, ok := strings.CutPrefix(h, dir+"/"); ok {
			out = append(out, rel)
		}
	}
	return strings.Join(out, ", ")
}
