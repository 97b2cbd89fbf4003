package lessons

import (
	"strconv"
	"strings"
)

// imageFacts ask for what lies in the layers of an image that the lesson gives.
func imageFacts() []fact {
	// printed compares what CMD printed with the text that a layer has.
	printed := func(compare func(out, text string) bool) func(o *Observation, args []string) (found, error) {
		return seen(func(o *Observation, args []string) (found, error) {
			n, err := strconv.Atoi(args[1])
			if err != nil {
				return found{}, err
			}
			text, err := o.runner.inLayer(args[0], n, args[2])
			if err != nil {
				return unknown(err.Error())
			}
			out := strings.TrimSpace(string(o.Stdout))
			if out == "" {
				return is(false, "CMD printed nothing")
			}
			return is(compare(out, strings.TrimSpace(text)), "CMD printed: "+out)
		})
	}
	return []fact{
		{
			name: "finds", args: "IMAGE N FILE", least: 3, most: 3,
			help: "all that CMD prints is what layer N of the image has as FILE, 1 being the lowest: for a file with a {secret}",
			say:  says("CMD prints what was to be found, and nothing else", "CMD does not print what is in {}"),
			look: printed(func(out, text string) bool { return out == text }),
		},
		{
			name: "shows", args: "IMAGE N FILE", least: 3, most: 3,
			help: "as finds, but CMD may print more",
			say:  says("among what CMD prints is what was to be found", "CMD does not print what is in {}"),
			look: printed(strings.Contains),
		},
	}
}
