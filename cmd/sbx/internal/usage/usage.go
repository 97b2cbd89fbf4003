// Package usage describes the flags of a verb in words of its own, so that only
// package model needs the library that parses them (docs/adr/0006).
package usage

// Flag is one flag of a verb.
type Flag struct {
	Name        string
	Short       string // one letter, or ""
	Help        string
	Placeholder string // "" where it takes no value, or has no name for one
	Group       string // title, or ""
	Bool        bool   // takes no value
	Hidden      bool
	Common      bool // among those that --help shows
}

// Model is what can be said of a verb's command line.
type Model struct {
	Flags      []Flag // --help first
	Positional []Positional
	Detail     string // paragraphs of help
}

// Positional is a word or words that are no flags.
type Positional struct {
	Name    string
	Summary string // as in a usage line: "[STEP ...]"
}

// Optional is the value of a flag that takes one only with "=": --fix, --fix=all.
type Optional struct {
	Asked bool
	Value string
}

// Parser reads command lines into models: pointers to structs with kong's tags.
type Parser interface {
	// Parse fills in the model. Help says that --help was among the words,
	// which then need not be right.
	Parse(verb string, model any, args []string) (help Optional, err error)
	// Describe says what Parse takes.
	Describe(verb string, model any) (*Model, error)
}
