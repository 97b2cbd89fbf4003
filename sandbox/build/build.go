package build

import (
	"context"
	"errors"
	"os"
	"strconv"
	"sync"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sbx-dev/sbx/sandbox/image"
)

// builder is one build.
type builder struct {
	o        Options
	store    image.Store
	addition *image.Addition
	file     *file
	given    *given
	nodes    []*node
	context  *folder  // nil where there is none
	ignore   []string // the patterns of its .dockerignore
	host     *hostTree
	hostOnce sync.Once
	hostErr  error

	now time.Time // when it began, or SOURCE_DATE_EPOCH
	// epoch is SOURCE_DATE_EPOCH; zero where it is not set.
	epoch time.Time

	pulling sync.Mutex
	pulled  map[string]bool // images that were fetched

	builds map[*node]*building
	slots  chan struct{} // how many steps run at once

	mu     sync.Mutex
	steps  int
	cached int
	noted  map[string]bool // what plans had to tell, once a build
	hidden []string        // secrets, which no output shows
}

// building is a stage that is being built.
type building struct {
	done  chan struct{}
	state *state // once done is closed
	err   error
}

// Build builds an image of a Dockerfile and adds it to the store. The error is
// an *Error where an instruction is to blame.
func Build(ctx context.Context, store image.Store, o Options) (*Result, error) {
	if err := checkSpec(&o.Spec); err != nil {
		return nil, err
	}
	if o.Name == "" {
		o.Name = "Dockerfile"
	}
	if o.Progress == nil {
		o.Progress = func(Event) {}
	}
	b := &builder{o: o, store: store, given: &given{values: o.Args, used: map[string]bool{}}, builds: map[*node]*building{}, pulled: map[string]bool{}, noted: map[string]bool{}, slots: make(chan struct{}, 4)}
	for _, s := range o.Secrets {
		b.hide(s)
	}
	b.now = time.Now().UTC().Truncate(time.Second)
	if text := os.Getenv("SOURCE_DATE_EPOCH"); text != "" {
		seconds, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return nil, errors.New("SOURCE_DATE_EPOCH=" + text + " is no number of seconds")
		}
		b.epoch = time.Unix(seconds, 0).UTC()
		b.now = b.epoch
	}
	var err error
	if b.file, err = parse(o.Name, o.Dockerfile); err != nil {
		return nil, err
	}
	global, err := b.file.newScope(b.given)
	if err != nil {
		return nil, err
	}
	if b.nodes, err = b.file.graph(global); err != nil {
		return nil, err
	}
	wanted, err := needed(b.nodes, o.Target)
	if err != nil {
		return nil, b.file.at(nil, "", err)
	}
	if err := b.openContext(); err != nil {
		return nil, err
	}
	defer b.close()
	if b.addition, err = store.Begin(); err != nil {
		return nil, err
	}
	defer b.addition.Close()
	st, err := b.stages(ctx, wanted, global)
	if err != nil {
		return nil, err
	}
	return b.finish(st)
}

func (b *builder) openContext() error {
	if b.o.Context == "" {
		return nil
	}
	var err error
	if b.context, err = openFolder(b.o.Context); err != nil {
		return err
	}
	if b.ignore, err = readIgnored(b.context, b.o.IgnoreName); err != nil {
		b.context.close()
	}
	return err
}

func (b *builder) close() {
	if b.context != nil {
		b.context.close()
	}
	if b.host != nil {
		b.host.close()
	}
}

// hostTree opens what FROM host shows, once.
func (b *builder) hostTree() (*hostTree, error) {
	b.hostOnce.Do(func() { b.host, b.hostErr = openHost() })
	return b.host, b.hostErr
}

// stages builds the wanted stages, those that do not need each other at the
// same time, and gives the state of the last.
func (b *builder) stages(ctx context.Context, wanted []*node, global *scope) (*state, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var runs []*run
	for _, n := range wanted {
		b.builds[n] = &building{done: make(chan struct{})}
		r := &run{builder: b, node: n, alone: len(wanted) == 1, global: global}
		r.plan()
		runs = append(runs, r)
	}
	for _, r := range runs {
		for i := range r.steps {
			b.tell(Event{Kind: Planned, Step: r.steps[i]})
		}
	}
	var group sync.WaitGroup
	for _, r := range runs {
		group.Go(func() {
			mine := b.builds[r.node]
			defer close(mine.done)
			mine.state, mine.err = r.stage(ctx)
			if mine.err != nil {
				cancel(mine.err)
			}
		})
	}
	group.Wait()
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	return b.builds[wanted[len(wanted)-1]].state, nil
}

// neededError says that a stage failed which another one waited for.
type neededError struct{ error }

func (e *neededError) Unwrap() error { return e.error }

// wait gives the state of a stage once it is built.
func (b *builder) wait(ctx context.Context, n *node) (*state, error) {
	building := b.builds[n]
	if building == nil {
		return nil, errors.New("stage " + n.name + " is used by an ONBUILD of the base image alone, and is not built")
	}
	select {
	case <-building.done:
		if building.err != nil {
			return nil, &neededError{building.err}
		}
		return building.state, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// slot waits until a step may begin; the caller gives it back.
func (b *builder) slot(ctx context.Context) error {
	select {
	case b.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (b *builder) giveBack() { <-b.slots }

func (b *builder) tell(e Event) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if e.Kind == Cached {
		b.cached++
	}
	b.o.Progress(e)
}

// finish makes the image of the target's state.
func (b *builder) finish(st *state) (*Result, error) {
	config := st.config.DeepCopy()
	for k, v := range b.o.Labels {
		if config.Config.Labels == nil {
			config.Config.Labels = map[string]string{}
		}
		config.Config.Labels[k] = v
	}
	config.Created = v1.Time{Time: st.made}
	config.RootFS = v1.RootFS{}
	id, err := b.addition.Finish(config, st.layers, b.o.Names)
	if err != nil {
		return nil, err
	}
	return &Result{ID: id, Layers: len(st.layers), Cached: b.cached, Unused: b.given.unused(), Warnings: b.file.warnings}, nil
}
