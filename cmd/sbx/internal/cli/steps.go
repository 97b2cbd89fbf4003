package cli

import (
	"slices"
	"strconv"
	"strings"

	"github.com/sbx-dev/sbx/sandbox"
)

// setSteps puts the toggles into the spec and says what they take along. The
// steps to be skipped are told apart by who named them: the command line, whose
// every word gets an answer, or a profile.
func (f *RunFlags) setSteps(s sandbox.Spec, asked, fromProfile []string) (sandbox.Spec, []string, error) {
	var notes []string
	for _, list := range []struct {
		flag  string
		names []string
	}{{"--skip", f.Skip}, {"--only", f.Only}, {"--with", f.With}, {"--optional", f.Optional}, {"--require", f.Require}} {
		for _, name := range list.names {
			if err := checkStep(list.flag, name); err != nil {
				return s, nil, err
			}
		}
	}
	many := fromProfile
	if len(f.Only) > 0 {
		skip, pulled := sandbox.Only(append(slices.Clone(f.Only), f.With...))
		many = append(slices.Clone(many), skip...)
		if len(pulled) > 0 {
			they := "it"
			if len(pulled) > 1 {
				they = "them"
			}
			who, need := needing(f.Only, pulled), " needs "
			if len(who) > 1 {
				need = " need "
			}
			notes = append(notes, "also took "+strings.Join(pulled, ", ")+": "+sentence(who)+need+they)
		}
	}
	for _, list := range [][]string{many, asked} {
		for _, name := range list {
			if !slices.Contains(s.Skip, name) {
				s.Skip = append(s.Skip, name)
			}
		}
	}
	s.With = append(s.With, f.With...)
	if f.Boottime != "" && !slices.Contains(s.With, "time") {
		s.With = append(s.With, "time")
	}
	s.Optional = append(s.Optional, f.Optional...)
	s.Require = append(s.Require, f.Require...)
	if f.Seccomp != "" {
		filter, err := parseSeccomp(f.Seccomp)
		if err != nil {
			return s, nil, err
		}
		s.Seccomp = filter
	}
	s.AllowNesting = s.AllowNesting || f.Nesting
	s.FakeOwners = s.FakeOwners || f.FakeOwners
	s.AsPID1 = s.AsPID1 || f.AsPID1
	for _, name := range s.With {
		if need := missingFor(name, s.Skip); len(need) > 0 {
			return s, nil, &usageError{msg: "--with " + name + " needs " + strings.Join(need, ", ") + ", which is skipped"}
		}
	}
	resolved, also := s.Resolve()
	notes = append(notes, skipNotes(asked, many, also)...)
	return resolved, notes, nil
}

// checkStep says that there is no such step, and which may have been meant.
func checkStep(flag, name string) error {
	if sandbox.LookupStep(name) != nil {
		return nil
	}
	names := sandbox.StepNames()
	hint := "steps: " + strings.Join(names, " ")
	if near := nearest(name, names); near != "" {
		hint = "did you mean " + near + "?"
	}
	return &usageError{msg: flag + ": no step is called " + quoted(name), hint: hint}
}

// needing are those of the names that need one of the pulled steps.
func needing(names, pulled []string) []string {
	var out []string
	for _, n := range names {
		if s := sandbox.LookupStep(n); slices.ContainsFunc(pulled, s.Requires) {
			out = append(out, n)
		}
	}
	return out
}

// missingFor are the steps that the named one needs and that are skipped.
func missingFor(name string, skip []string) []string {
	var out []string
	for _, n := range skip {
		if sandbox.LookupStep(name).Requires(n) {
			out = append(out, n)
		}
	}
	return out
}

// skipNotes says what CMD has without each step that was named. What --only or
// a profile leaves out is one line: it was the wish to have little.
func skipNotes(asked, many, also []string) []string {
	var notes, rest []string
	for _, name := range asked {
		notes = append(notes, name+" is skipped: "+sandbox.LookupStep(name).Without)
	}
	for _, name := range many {
		if !slices.Contains(asked, name) {
			rest = append(rest, name)
		}
	}
	left, off := remaining(slices.Concat(asked, many, also))
	switch {
	case len(rest) > 3 && len(left) <= 3 && len(left) > 0:
		notes = append(notes, "with "+sentence(left)+" alone: the other "+strconv.Itoa(off)+" steps are off (sbx explain lists them)")
	case len(rest) > 3:
		notes = append(notes, "without "+strings.Join(rest, ", ")+" (sbx explain STEP says what each does)")
	default:
		for _, name := range rest {
			notes = append(notes, name+" is skipped: "+sandbox.LookupStep(name).Without)
		}
	}
	if len(also) > 0 {
		var roots []string
		for _, name := range append(slices.Clone(asked), many...) {
			if slices.ContainsFunc(also, func(a string) bool { return sandbox.LookupStep(a).Requires(name) }) && !slices.Contains(roots, name) {
				roots = append(roots, name)
			}
		}
		they := "they need "
		if len(also) == 1 {
			they = "it needs "
		}
		notes = append(notes, "also skipped "+strings.Join(also, ", ")+": "+they+strings.Join(roots, ", "))
	}
	return notes
}

// remaining are the steps that are on where these are skipped, and how many are
// not. Steps that are off unless they are asked for count as neither.
func remaining(skipped []string) (left []string, off int) {
	for i := range sandbox.Steps {
		s := &sandbox.Steps[i]
		switch {
		case s.OnRequest:
		case slices.Contains(skipped, s.Name):
			off++
		default:
			left = append(left, s.Name)
		}
	}
	return left, off
}

// parseSeccomp takes one of the built-in filters or the path of a profile.
func parseSeccomp(text string) (string, error) {
	switch text {
	case "default", "strict", "log":
		return text, nil
	case "unconfined":
		return "", &usageError{msg: "--seccomp unconfined is spelled --skip seccomp"}
	}
	if !strings.ContainsAny(text, "/.") {
		return "", &usageError{msg: "--seccomp " + text + ": is none of default, strict and log, nor a path", hint: "for a file: --seccomp ./" + text}
	}
	return absolute(text)
}
