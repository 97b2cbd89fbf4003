package lessons

import (
	"strconv"
	"strings"
)

// buildFacts ask for the image that an answer makes, where that is a Dockerfile:
// of which layers it is, and what is in them, before and after an edit.
func buildFacts() []fact {
	// after looks at two builds, before and after an edit of the file that is the
	// first word.
	after := func(look func(args []string, before, after *builtImage) (found, error)) func(*Observation, []string) (found, error) {
		return func(o *Observation, args []string) (found, error) {
			edit := args[0]
			first, err := o.bench.build(o.ctx, "")
			if err != nil {
				return found{}, err
			}
			second, err := o.bench.build(o.ctx, edit)
			if err != nil {
				return found{}, err
			}
			for _, b := range []*builtImage{first, second} {
				if b.run.Code != 0 {
					return unknown("there is no image")
				}
			}
			return look(args, first, second)
		}
	}
	return []fact{
		{
			name: "builds", least: 0, most: 0,
			help: "the Dockerfile builds",
			say:  says("the Dockerfile builds", "the Dockerfile does not build"),
			look: func(o *Observation, _ []string) (found, error) {
				b, err := o.bench.build(o.ctx, "")
				if err != nil {
					return found{}, err
				}
				if b.run.Code != 0 {
					return is(false, b.failure())
				}
				return is(true, "it builds")
			},
		},
		{
			name: "carries", args: "EDIT FILE", least: 2, most: 2,
			help: "after an edit of the lesson's file EDIT, FILE of the image has what was added",
			say: func(args []string, not bool) string {
				return says("an edit of "+base(args[0])+" is in the image", "an edit of "+base(args[0])+" is not in the image")(nil, not)
			},
			look: after(func(args []string, _, after *builtImage) (found, error) {
				layer, text, err := after.find(args[1])
				if err != nil {
					return found{}, err
				}
				if layer == nil {
					return is(false, "the image has no /"+args[1])
				}
				has := strings.Contains(text, after.word)
				if !has {
					return is(false, "/"+args[1]+" in the image is without the edit")
				}
				return is(true, "/"+args[1]+" in the image has the edit")
			}),
		},
		{
			name: "provides", args: "EDIT FOLDER", least: 2, most: 2,
			help: "after a word was added to the lesson's file EDIT, FOLDER of the image has a file of that name",
			say: func(args []string, not bool) string {
				return says("what is added to "+base(args[0])+" is installed", "what is added to "+base(args[0])+" is not installed")(nil, not)
			},
			look: after(func(args []string, _, after *builtImage) (found, error) {
				layer, _, err := after.find(args[1] + "/" + after.word)
				if err != nil {
					return found{}, err
				}
				if layer == nil {
					return is(false, "the image has no /"+args[1]+"/"+after.word)
				}
				return is(true, "the image has /"+args[1]+"/"+after.word)
			}),
		},
		{
			name: "kept", args: "EDIT FILE", least: 2, most: 2,
			help: "after an edit of EDIT, FILE of the image is in the same layer as before: a file whose step writes another each time was not made again",
			say: func(args []string, not bool) string {
				return says("an edit of "+base(args[0])+" leaves "+base(args[1])+" as it was", "an edit of "+base(args[0])+" makes "+base(args[1])+" anew")(nil, not)
			},
			look: after(func(args []string, before, after *builtImage) (found, error) {
				one, _, err := before.find(args[1])
				if err != nil {
					return found{}, err
				}
				two, _, err := after.find(args[1])
				if err != nil {
					return found{}, err
				}
				if one == nil || two == nil {
					return unknown("the image has no /" + args[1])
				}
				if one.id == two.id {
					return is(true, "/"+args[1]+" is in the same layer")
				}
				return is(false, "this ran again: "+two.madeBy)
			}),
		},
		{
			name: "anew", args: "EDIT MOST", least: 2, most: 2,
			help: "after an edit of EDIT, at most so many layers are others",
			say: func(args []string, not bool) string {
				layers := args[1] + " layers"
				if args[1] == "1" {
					layers = "1 layer"
				}
				return says("an edit of "+base(args[0])+" makes at most "+layers+" anew", "an edit of "+base(args[0])+" makes more than "+layers+" anew")(nil, not)
			},
			look: after(func(args []string, before, after *builtImage) (found, error) {
				most, err := strconv.Atoi(args[1])
				if err != nil {
					return found{}, err
				}
				steps := after.anew(before)
				return is(len(steps) <= most, strconv.Itoa(len(steps))+" of "+plural(len(after.layers), "layer", "layers")+" anew: "+strings.Join(steps, "; "))
			}),
		},
	}
}

// base is the last name of a path.
func base(name string) string { return name[strings.LastIndexByte(name, '/')+1:] }
