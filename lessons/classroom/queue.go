package classroom

import (
	"context"
	"slices"
	"sync"
	"time"
)

// queue lets a number of runs go at once; the others wait. A browser has one
// place in it (and one for what its switches look like): who asks again while
// waiting or running ends the run before. A
// browser's name is cheap to make up, an address is not: the addresses that wait
// take turns, so that one that sends a hundred names delays itself.
type queue struct {
	patience time.Duration // how long one waits
	turn     time.Duration // how long what got a slot may take

	mu    sync.Mutex
	free  int
	lines []*line              // one an address, whose turn is next first; none is empty
	runs  map[string]*occupant // by browser
}

// line is what waits of one address, in the order in which it came.
type line struct {
	address string
	waiting []*occupant
}

// occupant is a run that waits or goes.
type occupant struct {
	cancel context.CancelFunc
	ready  chan struct{} // closed with the slot given
}

func newQueue(atOnce int) *queue {
	return &queue{patience: 5 * time.Minute, turn: time.Minute, free: atOnce, runs: map[string]*occupant{}}
}

// How many may wait; more are told to come again. A class behind one address
// (NAT, a terminal server) fits into the second.
const (
	maxWaiting   = 400
	maxOfAddress = 100
)

// enter waits for a slot. It returns a context that ends with the browser's
// request, with its next one or when its turn has taken too long, how many stood
// before, and what gives the slot back.
func (q *queue) enter(ctx context.Context, browser, address string) (context.Context, int, func(), error) {
	ctx, cancel := context.WithCancel(ctx)
	own := &occupant{cancel: cancel, ready: make(chan struct{})}
	ahead, err := q.add(own, browser, address)
	if err != nil {
		cancel()
		return nil, 0, nil, err
	}
	leave := func() {
		cancel()
		q.mu.Lock()
		defer q.mu.Unlock()
		if q.runs[browser] == own {
			delete(q.runs, browser)
		}
		if !q.remove(own) { // it had a slot
			q.free++
			q.next()
		}
	}
	patience := time.NewTimer(q.patience)
	defer patience.Stop()
	select {
	case <-own.ready:
		ctx, stop := context.WithTimeout(ctx, q.turn)
		return ctx, ahead, func() { stop(); leave() }, nil
	case <-ctx.Done():
		leave()
		return nil, 0, nil, ctx.Err()
	case <-patience.C:
		leave()
		return nil, 0, nil, &refusal{"your turn has not come in " + q.patience.String() + ": try again later"}
	}
}

// add puts a run at the end of its address' line, and gives it a slot where one
// is free.
func (q *queue) add(own *occupant, browser, address string) (ahead int, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if before := q.runs[browser]; before != nil {
		before.cancel()
	}
	for _, l := range q.lines {
		ahead += len(l.waiting)
	}
	k := slices.IndexFunc(q.lines, func(l *line) bool { return l.address == address })
	if ahead >= maxWaiting || k >= 0 && len(q.lines[k].waiting) >= maxOfAddress {
		return 0, &refusal{"too many runs are waiting: try again in a minute"}
	}
	if k < 0 {
		q.lines = append(q.lines, &line{address: address})
		k = len(q.lines) - 1
	}
	q.lines[k].waiting = append(q.lines[k].waiting, own)
	q.runs[browser] = own
	q.next()
	return ahead, nil
}

// next gives the free slots to those whose turn it is. An address that got one
// goes to the end.
func (q *queue) next() {
	for q.free > 0 && len(q.lines) > 0 {
		l := q.lines[0]
		q.lines = q.lines[1:]
		close(l.waiting[0].ready)
		q.free--
		if l.waiting = l.waiting[1:]; len(l.waiting) > 0 {
			q.lines = append(q.lines, l)
		}
	}
}

// remove takes a run out that still waits, and says whether it did.
func (q *queue) remove(own *occupant) bool {
	for k, l := range q.lines {
		if i := slices.Index(l.waiting, own); i >= 0 {
			if l.waiting = slices.Delete(l.waiting, i, i+1); len(l.waiting) == 0 {
				q.lines = slices.Delete(q.lines, k, k+1)
			}
			return true
		}
	}
	return false
}

// place is how many runs go before a browser's; -1 where it does not wait.
func (q *queue) place(browser string) int {
	q.mu.Lock()
	defer q.mu.Unlock()
	own := q.runs[browser]
	if own == nil {
		return -1
	}
	for k, l := range q.lines {
		i := slices.Index(l.waiting, own)
		if i < 0 {
			continue
		}
		before := 0
		for j, other := range q.lines {
			// In each round before its own every address has one turn, and in its
			// own those that stand before it.
			rounds := i
			if j < k {
				rounds++
			}
			before += min(len(other.waiting), rounds)
		}
		return before
	}
	return -1
}
