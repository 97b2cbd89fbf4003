package build

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"

	"github.com/sbx-dev/sbx/sandbox/image"
)

// state is a stage after some of its instructions.
type state struct {
	layers []image.Layer // the lowest first
	config v1.ConfigFile
	scope  *scope
	// onHost says that the host's programs are shown in it (FROM host).
	onHost bool
	// made is when its last layer was made, and the image's time of creation.
	made time.Time
}

func (s *state) clone() *state {
	c := *s
	c.layers = slices.Clone(s.layers)
	c.config = *s.config.DeepCopy()
	return &c
}

// parent adds what the state's files are to a key: the diff ids of its layers,
// so that a parent that was made again with the same content changes nothing.
func (s *state) parent(d *digester) {
	var ids []string
	for _, l := range s.layers {
		ids = append(ids, l.DiffID.Hex)
	}
	d.list(ids)
	if s.onHost {
		d.list(hostPrint())
	} else {
		d.list(nil)
	}
}

// run is the building of one stage.
type run struct {
	*builder
	node   *node
	alone  bool
	global *scope
	steps  []Step // planned; those of ONBUILD come beside
	st     *state
	// triggered says that an instruction is the base image's own (ONBUILD).
	triggered bool
}

// plan numbers the steps of the stage.
func (r *run) plan() {
	commands := r.node.stage.Commands
	add := func(text string) {
		r.builder.steps++
		r.steps = append(r.steps, Step{ID: r.builder.steps, Stage: r.title(), Number: len(r.steps) + 1, Of: len(commands) + 1, Text: oneLine(text)})
	}
	add("FROM " + r.node.base)
	for _, c := range commands {
		add(source(c))
	}
}

// title is the stage's name for messages; a file of one stage needs none.
func (r *run) title() string {
	if r.alone && r.node.stage.Name == "" {
		return ""
	}
	return r.node.name
}

// stage does all instructions.
func (r *run) stage(ctx context.Context) (*state, error) {
	started := time.Now()
	fail := func(step Step, err error) error {
		kind := Failed
		if errors.As(err, new(*neededError)) || errors.Is(err, context.Canceled) || ctx.Err() != nil && errors.Is(err, context.Cause(ctx)) {
			kind = Canceled
		}
		r.tell(Event{Kind: kind, Step: step, Took: time.Since(started)})
		return err
	}
	at := r.steps[0]
	if err := r.base(ctx, at); err != nil {
		return nil, fail(at, r.file.at(r.node.stage.Location, r.node.stage.SourceCode, err))
	}
	r.tell(Event{Kind: Finished, Step: at, Took: time.Since(started)})
	if err := r.triggers(ctx, at, fail); err != nil {
		return nil, err
	}
	for i, c := range r.node.stage.Commands {
		if err := context.Cause(ctx); err != nil {
			return nil, err
		}
		started = time.Now()
		if err := r.instruction(ctx, r.steps[i+1], c); err != nil {
			return nil, fail(r.steps[i+1], r.file.at(c.Location(), source(c), err))
		}
	}
	return r.st, nil
}

// triggers does what the base image's ONBUILD instructions say, as if they
// stood after FROM.
func (r *run) triggers(ctx context.Context, at Step, fail func(Step, error) error) error {
	list := r.st.config.Config.OnBuild
	r.st.config.Config.OnBuild = nil
	r.triggered = true
	defer func() { r.triggered = false }()
	for _, expression := range list {
		step := Step{Stage: at.Stage, Number: at.Number, Of: at.Of, Text: "ONBUILD " + oneLine(expression)}
		r.mu.Lock()
		r.builder.steps++
		step.ID = r.builder.steps
		r.mu.Unlock()
		r.tell(Event{Kind: Planned, Step: step})
		c, err := parseTrigger(expression)
		if err == nil {
			err = r.instruction(ctx, step, c)
		}
		if err != nil {
			return fail(step, r.file.at(r.node.stage.Location, r.node.stage.SourceCode, fmt.Errorf("ONBUILD %s of the base: %w", oneLine(expression), err)))
		}
	}
	return nil
}

// instruction does one instruction and tells of it, but of its failure.
func (r *run) instruction(ctx context.Context, step Step, c instructions.Command) error {
	if err := expand(r.st.scope, c); err != nil {
		return err
	}
	text, config, err := configure(&r.st.config.Config, r.st.scope, c)
	if err != nil {
		return err
	}
	if config {
		if m, ok := c.(*instructions.MaintainerCommand); ok {
			r.st.config.Author = m.Maintainer
		}
		r.history(text, true)
		r.tell(Event{Kind: Finished, Step: step, Config: true})
		return nil
	}
	var did outcome
	switch c := c.(type) {
	case *instructions.WorkdirCommand:
		did, err = r.makeFolder(ctx, step, c)
	case *instructions.CopyCommand:
		did, err = r.copyFiles(ctx, step, c)
	case *instructions.AddCommand:
		did, err = r.addFiles(ctx, step, c)
	case *instructions.RunCommand:
		did, err = r.command(ctx, step, c)
	default:
		err = unsupported(source(c), "the instruction is not known")
	}
	if err != nil {
		return err
	}
	r.history(did.text, did.layer == nil)
	kind := Finished
	if did.cached {
		kind = Cached
	}
	r.tell(Event{Kind: kind, Step: step, Took: did.took, Layer: did.layer != nil})
	return nil
}

// history adds a line to the image's history.
func (r *run) history(text string, empty bool) {
	r.st.config.History = append(r.st.config.History, v1.History{
		Created: v1.Time{Time: r.st.made}, CreatedBy: text, Comment: "sbx build", EmptyLayer: empty,
	})
}

// outcome is what an instruction that writes files did.
type outcome struct {
	text   string       // for the history
	layer  *image.Layer // nil where it wrote nothing
	cached bool
	took   time.Duration // without what it waited for
}

// note is what the builder remembers of a cached step.
type note struct {
	Created time.Time `json:"created"`
}

// layer gives the layer of an instruction: that of the cache, or the one that
// make makes, which is remembered.
func (r *run) layer(ctx context.Context, step Step, key string, make func(context.Context) (*image.Layer, error)) (did outcome, err error) {
	if !r.o.NoCache {
		if c, ok := r.store.Cached(key); ok {
			var n note
			if err := json.Unmarshal(c.Note, &n); err == nil {
				did.cached, did.layer = true, c.Layer
				r.put(c.Layer, n.Created)
				return did, nil
			}
		}
	}
	if err := r.slot(ctx); err != nil {
		return did, err
	}
	defer r.giveBack()
	r.tell(Event{Kind: Started, Step: step})
	began := time.Now()
	defer func() { did.took = time.Since(began) }()
	l, err := make(ctx)
	if err != nil {
		return did, err
	}
	data, err := json.Marshal(note{Created: r.now})
	if err != nil {
		return did, err
	}
	if err := r.addition.Remember(key, image.CachedStep{Layer: l, Note: data}); err != nil {
		return did, err
	}
	did.layer = l
	r.put(l, r.now)
	return did, nil
}

// put adds a layer to the state; nil is none.
func (r *run) put(l *image.Layer, made time.Time) {
	if l != nil {
		r.st.layers = append(r.st.layers, *l)
		r.st.made = made
	}
}
