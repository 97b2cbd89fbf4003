package lessons

import (
	"slices"
	"strings"
)

// fact is one thing that a check can ask of an Observation.
type fact struct {
	name        string
	args        string // for the table of CONTRIBUTING and for people who write a lesson
	least, most int    // number of words after the name; most -1 means any
	help        string
	// say is the claim as a sentence, as a student reads it.
	say func(args []string, not bool) string
	// want is the sentence where the lesson gives one; nil or "" for say's.
	want func(o *Observation, args []string) string
	// look tries it. An error is one of the checker, not of the student.
	look func(o *Observation, args []string) (found, error)
}

// found is what a fact saw.
type found struct {
	holds bool
	known bool   // false where nothing was there to look at: then neither a claim nor its negation holds
	got   string // what is so, in a few words
}

// is is a found that is known.
func is(holds bool, got string) (found, error) {
	return found{holds: holds, known: true, got: got}, nil
}

// unknown is a found for which there was nothing to look at.
func unknown(why string) (found, error) {
	return found{got: why}, nil
}

// facts is the table, made of the groups of fact_*.go.
func facts() []fact {
	return slices.Concat(namespaceFacts(), privilegeFacts(), fileFacts(), endFacts(), imageFacts(), buildFacts())
}

func lookupFact(name string) (fact, bool) {
	for _, f := range facts() {
		if f.name == name {
			return f, true
		}
	}
	return fact{}, false
}

// seen wraps a look at the view of CMD.
func seen(look func(o *Observation, args []string) (found, error)) func(*Observation, []string) (found, error) {
	return func(o *Observation, args []string) (found, error) {
		if o.View == nil {
			return unknown("CMD did not run")
		}
		return look(o, args)
	}
}

// says makes the sentence of a fact: {} stands for its words, and the second
// text is the negated one.
func says(yes, no string) func([]string, bool) string {
	return func(args []string, not bool) string {
		text := yes
		if not {
			text = no
		}
		return strings.ReplaceAll(text, "{}", strings.Join(args, " "))
	}
}
