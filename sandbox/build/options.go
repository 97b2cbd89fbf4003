package build

import (
	"context"
	"io"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sbx-dev/sbx/sandbox"
	"github.com/sbx-dev/sbx/sandbox/image"
)

// Options say what is built and how. Dockerfile alone must be set.
type Options struct {
	// Dockerfile is the file's content, Name what messages call it.
	Dockerfile []byte
	Name       string
	// Context is the folder that COPY and ADD read; empty means that there is
	// none.
	Context string
	// IgnoreName is the Dockerfile's path in the context, beside which a file
	// NAME.dockerignore is looked for; empty where it lies elsewhere.
	IgnoreName string

	Target  string            // the stage to be built; empty means the last
	Args    map[string]string // build arguments
	Names   []string          // of the image; none leaves it without one
	Labels  map[string]string // added to the image's
	NoCache bool              // do every step anew
	// Pull fetches base images although the store has them.
	Pull     bool
	Registry image.Registry
	// Secrets are for RUN --mount=type=secret, by id.
	Secrets map[string]Secret
	// Spec is the sandbox of each RUN: its steps, network, limits. What the
	// image and the instruction say is put in.
	Spec sandbox.Spec
	// Explain has the plan of each RUN printed, as output of the step.
	Explain bool
	// Worker, when not nil, carries a Copying out where the caller's
	// subordinate ids are mapped, uid 0 being the caller. It is for a store
	// whose files have their owners.
	Worker func(ctx context.Context, c *Copying, out io.Writer) error
	// Progress is told what happens, by one goroutine at a time; nil is told
	// nothing.
	Progress func(Event)
}

// Secret is a file's or a variable's content, in the caller's hands.
type Secret struct {
	File  string // a path of the host; or, where it is empty,
	Value string
}

// Result is what a build made.
type Result struct {
	ID     v1.Hash // of the config, as docker's image id
	Layers int
	Cached int // steps that the cache had
	// Unused are build arguments that no ARG asked for.
	Unused []string
	// Warnings are instructions that mean something else than they look like,
	// each in a line with its file and number.
	Warnings []string
}

// Step is one instruction, for people to follow.
type Step struct {
	ID     int    // counts from 1, in the order in which stages and steps stand in the file
	Stage  string // empty where the file has one stage
	Number int    // in its stage, from 1, which is FROM
	Of     int    // how many its stage has
	Text   string // the instruction, in one line
}

// EventKind is what happened to a step.
type EventKind int

// The kinds of Event.
const (
	Planned  EventKind = iota // it will be done; all come before the first Started
	Started                   // it is being done
	Output                    // it wrote a line
	Cached                    // it was in the cache; it ends with that
	Finished                  // it was done
	Failed                    // it ended with an error
	Canceled                  // another one failed
)

// Event tells of a step.
type Event struct {
	Kind EventKind
	Step Step
	Line string        // of Output, without its end; secrets are masked
	Took time.Duration // of Finished and Failed
	// Config says of Finished that the step changed the image's config alone.
	Config bool
	// Layer says of Finished and Cached whether the step has added a layer.
	Layer bool
}
