package build

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
)

// The names that FROM and --from know beside stages and images.
const (
	fromScratch = "scratch" // nothing
	fromHost    = "host"    // the host's programs, shown and not copied
)

// node is one stage with what it needs of others.
type node struct {
	index int
	name  string // as the user sees it: its name, or "stage-N"
	base  string // expanded; the name of an image, where from is nil
	from  *node  // the stage that it goes on from
	stage instructions.Stage
	// uses are the other stages that it copies or mounts from.
	uses []*node
}

// graph connects the stages of a file. A stage knows only those before it, so
// there are no circles.
func (f *file) graph(global *scope) ([]*node, error) {
	var nodes []*node
	for i, stage := range f.stages {
		n := &node{index: i, stage: stage, name: stage.Name}
		if n.name == "" {
			n.name = "stage-" + strconv.Itoa(i)
		}
		fail := func(err error) error { return f.at(stage.Location, stage.SourceCode, err) }
		base, err := global.expand(stage.BaseName)
		if err != nil {
			return nil, fail(err)
		}
		if base == "" {
			return nil, fail(fmt.Errorf("%s is empty: a build argument is missing", stage.BaseName))
		}
		if stage.Platform != "" {
			platform, err := global.expand(stage.Platform)
			if err != nil {
				return nil, fail(err)
			}
			if platform != global.platform() {
				return nil, fail(unsupported("FROM --platform="+platform, "this machine runs "+global.platform()))
			}
		}
		n.base, n.from = base, find(nodes, base)
		for _, c := range stage.Commands {
			for _, from := range sources(c) {
				if used := find(nodes, from); used != nil && !slices.Contains(n.uses, used) {
					n.uses = append(n.uses, used)
				}
				if later := f.later(i, from); later != "" {
					return nil, f.at(c.Location(), source(c), fmt.Errorf("stage %s comes later: a stage uses only those before it", later))
				}
			}
		}
		nodes = append(nodes, n)
	}
	return nodes, nil
}

// sources are the stages or images that an instruction reads from.
func sources(c instructions.Command) []string {
	var out []string
	switch c := c.(type) {
	case *instructions.CopyCommand:
		if c.From != "" {
			out = append(out, c.From)
		}
	case *instructions.RunCommand:
		for _, m := range instructions.GetMounts(c) {
			if m.From != "" {
				out = append(out, m.From)
			}
		}
	}
	return out
}

// find is the stage that a name means: the last of that name, or its number.
// Names are the same in either case, as docker has it.
func find(nodes []*node, name string) *node {
	for i := len(nodes) - 1; i >= 0; i-- {
		if nodes[i].stage.Name != "" && strings.EqualFold(nodes[i].stage.Name, name) {
			return nodes[i]
		}
	}
	if i, err := strconv.Atoi(name); err == nil && i >= 0 && i < len(nodes) {
		return nodes[i]
	}
	return nil
}

// later is the name of a stage at or after index i, where it is meant.
func (f *file) later(i int, name string) string {
	for j, s := range f.stages {
		if s.Name == "" || !strings.EqualFold(s.Name, name) {
			continue
		}
		if j < i {
			return ""
		}
		return s.Name
	}
	return ""
}

// errNoStage says that --target names none.
var errNoStage = errors.New("no such stage")

// needed are the stages that the target needs, itself last, in the file's order.
func needed(nodes []*node, target string) ([]*node, error) {
	last := nodes[len(nodes)-1]
	if target != "" {
		if last = find(nodes, target); last == nil {
			var names []string
			for _, n := range nodes {
				names = append(names, n.name)
			}
			return nil, fmt.Errorf("--target %s: %w: there are %s", target, errNoStage, strings.Join(names, ", "))
		}
	}
	wanted := map[*node]bool{}
	var mark func(*node)
	mark = func(n *node) {
		if n == nil || wanted[n] {
			return
		}
		wanted[n] = true
		mark(n.from)
		for _, u := range n.uses {
			mark(u)
		}
	}
	mark(last)
	return slices.DeleteFunc(slices.Clone(nodes[:last.index+1]), func(n *node) bool { return !wanted[n] }), nil
}
