package cli

import (
	"encoding/json"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/sbx-dev/sbx/sandbox"
)

// printPages prints a page on each of the steps. The calls are those of the
// plan that is given.
func printPages(f *os.File, spec *sandbox.Spec, plan *sandbox.Plan, names []string) error {
	s, cols := styleOf(f), width(f)
	const column = 14
	var b strings.Builder
	for i, name := range names {
		step := sandbox.LookupStep(name)
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(s.bold(strings.ToUpper(name)) + "\n")
		row := func(label, text string) { writeLabelled(&b, s, cols, 2, column, label, "1", text) }
		row("with it", step.Summary)
		row("without it", step.Without)
		row("not against", step.Not)
		row("why here", step.Why)
		row("needs", orNothing(step.Needs, "no other step"))
		row("needed by", orNothing(sandbox.Dependents(name), "no other step"))
		row("look at", strings.Join(step.Watch, ", "))
		row("read", strings.Join(step.Man, ", "))
		kernel := "Linux " + step.Kernel + " or later"
		if step.Kernel == "any" {
			kernel = "any Linux"
		}
		row("kernel", kernel)
		if step.OnRequest {
			row("on", "only when asked for: --with "+name)
		}
		calls := callsOf(plan, name)
		if name == "seccomp" {
			row("filters", "default; --seccomp strict, log or FILE; --allow-nesting and --fake-owners bring one of their own")
		}
		with := *spec
		if len(calls) == 0 && !stepOn(plan, spec, name) && step.OnRequest {
			with.With = append(slices.Clone(spec.With), name)
			if p, err := planOf(&with); err == nil {
				plan, calls = p, callsOf(p, name)
			}
		}
		if flags := plan.FlagsOf(name); flags != "" {
			made := "clone3({flags=" + flags + "|…})"
			if plan.PlainClone {
				made = "clone(" + flags + "|…)"
			}
			calls = append([]string{made}, calls...)
		}
		if len(calls) == 0 {
			row("calls", "none: it is what execve is given")
		} else {
			b.WriteString("  " + s.bold("calls") + "\n")
			for _, text := range calls {
				printCall(&b, f, cols-2, "  "+text)
			}
		}
		row("try it", tryCommand(name))
	}
	_, err := f.WriteString(b.String())
	return err
}

// callsOf are the calls of one step as text.
func callsOf(plan *sandbox.Plan, name string) []string {
	var out []string
	for i := range plan.Calls {
		if plan.Calls[i].Step == name {
			out = append(out, plan.Text(i))
		}
	}
	return out
}

func orNothing(names []string, nothing string) string {
	if len(names) == 0 {
		return nothing
	}
	return strings.Join(names, ", ")
}

// tryCommand shows the step's effect: the two sides of this compare differ.
func tryCommand(step string) string {
	flags, cmd := tryWords(step)
	words := append([]string{"sbx compare", step}, flags...)
	return strings.Join(append(append(words, "--"), cmd), " ")
}

// tryWords are the flags and the command, in the shell's spelling, with which a
// step's effect is seen best. They need nothing but what every host has.
func tryWords(step string) (flags []string, cmd string) {
	switch step {
	case "env":
		return nil, `env`
	case "fds":
		return nil, `ls -l /proc/self/fd 3</etc/passwd`
	case "user":
		return nil, `cat /proc/self/uid_map`
	case "mount":
		return nil, `sh -c 'wc -l </proc/self/mountinfo'`
	case "pid":
		return nil, `sh -c 'echo I am $$'`
	case "uts":
		return nil, `uname -n`
	case "ipc":
		return nil, `readlink /proc/self/ns/ipc`
	case "net":
		return nil, `cat /proc/net/dev`
	case "cgroup":
		return nil, `cat /proc/self/cgroup`
	case "time":
		return []string{"--boottime-offset", "1h"}, `cat /proc/uptime`
	case "overlay":
		return nil, `sh -c 'echo hi >new && cat new'`
	case "proc":
		return nil, `sh -c 'ls -d /proc/[0-9]* | wc -l'`
	case "dev":
		return nil, `ls /dev`
	case "root":
		return []string{"--skip", "landlock"}, `ls /`
	case "session":
		return nil, `cut -d' ' -f6 /proc/self/stat`
	case "rlimits":
		return nil, `sh -c 'ulimit -a'`
	case "caps":
		return []string{"-u", "0"}, `grep Cap /proc/self/status`
	case "nnp":
		return nil, `grep NoNewPrivs /proc/self/status`
	case "landlock":
		return []string{"--skip", "root"}, `ls -a ~`
	case "seccomp":
		return nil, `unshare -U true`
	}
	return nil, "true"
}

// stepJSON is a step in JSON.
type stepJSON struct {
	Name     string   `json:"name"`
	On       bool     `json:"on"`
	Summary  string   `json:"summary"`
	Without  string   `json:"without"`
	Why      string   `json:"why"`
	Not      string   `json:"not"`
	Man      []string `json:"man"`
	Watch    []string `json:"watch"`
	Needs    []string `json:"needs"`
	NeededBy []string `json:"needed_by"`
	Kernel   string   `json:"kernel"`
	Request  bool     `json:"on_request,omitempty"`
	Flags    string   `json:"clone_flags,omitempty"`
	Calls    []string `json:"calls"`
	Try      string   `json:"try"`
}

// callJSON is a call in the plan's order.
type callJSON struct {
	Step string `json:"step"`
	Call string `json:"call"`
}

// planJSON is what explain --json prints.
type planJSON struct {
	Version int             `json:"version"`
	Spec    *sandbox.Spec   `json:"spec"`
	Clone   string          `json:"clone"`
	Steps   []stepJSON      `json:"steps"`
	Calls   []callJSON      `json:"calls,omitempty"`
	Shown   []sandbox.Shown `json:"shown,omitempty"`
	// Tools are those of the caller's home that are shown.
	Tools []sandbox.ShownTool `json:"tools,omitempty"`
	// Environment has the names only: values may be secrets.
	Environment []string `json:"environment,omitempty"`
	Dir         string   `json:"dir"`
	Notes       []string `json:"notes,omitempty"`
}

// explainJSON prints the plan, or the named steps of it.
func explainJSON(w io.Writer, spec *sandbox.Spec, plan *sandbox.Plan, names []string) error {
	out := planJSON{Version: 1, Spec: spec, Clone: plan.Clone(), Dir: plan.Dir(), Notes: plan.Notes, Steps: []stepJSON{}}
	for i := range sandbox.Steps {
		step := &sandbox.Steps[i]
		if names != nil && !slices.Contains(names, step.Name) {
			continue
		}
		out.Steps = append(out.Steps, stepJSON{
			Name: step.Name, On: stepOn(plan, spec, step.Name), Summary: step.Summary, Without: step.Without, Why: step.Why,
			Not: step.Not, Man: step.Man, Watch: step.Watch, Needs: orEmpty(step.Needs), NeededBy: orEmpty(sandbox.Dependents(step.Name)),
			Kernel: step.Kernel, Request: step.OnRequest, Flags: plan.FlagsOf(step.Name), Calls: orEmpty(callsOf(plan, step.Name)), Try: tryCommand(step.Name),
		})
	}
	if names == nil {
		for i := range plan.Calls {
			out.Calls = append(out.Calls, callJSON{plan.Calls[i].Step, plan.Text(i)})
		}
		out.Shown, out.Tools = plan.Shown, plan.Tools
		for _, kv := range plan.Env {
			name, _, _ := strings.Cut(kv, "=")
			out.Environment = append(out.Environment, name)
		}
	}
	return writeJSON(w, out)
}

func orEmpty(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}

// writeJSON prints one value as indented JSON. Characters of HTML stay as they
// are: < and & are common in calls.
func writeJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}
