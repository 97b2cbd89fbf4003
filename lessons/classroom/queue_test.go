package classroom

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"testing"
	"time"
)

// An address that makes up a hundred names waits for itself: the next address
// has its turn after one of them.
func TestQueueIsFair(t *testing.T) {
	q := newQueue(1)
	_, _, leave, err := q.enter(t.Context(), "first", "a")
	if err != nil {
		t.Fatal(err)
	}
	order := make(chan string, maxOfAddress+1)
	waits := func(browser, address string) {
		before := count(q)
		go func() {
			_, _, leave, err := q.enter(t.Context(), browser, address)
			if err == nil {
				order <- browser
				leave()
			}
		}()
		wait(t, browser+" waits", func() bool { return count(q) > before })
	}
	for i := range maxOfAddress {
		waits("greedy-"+strconv.Itoa(i), "a")
	}
	if _, _, _, err := q.enter(t.Context(), "one too many", "a"); err == nil {
		t.Error("an address may fill the queue")
	}
	waits("other", "b")
	waits("another", "c")
	for browser, want := range map[string]int{"greedy-0": 0, "other": 1, "another": 2, "greedy-1": 3, "greedy-9": 11, "nobody": -1, "first": -1} {
		if got := q.place(browser); got != want {
			t.Errorf("%d are before %s, not %d", got, browser, want)
		}
	}
	leave()
	var got []string
	for range maxOfAddress + 2 {
		got = append(got, <-order)
	}
	if want := []string{"greedy-0", "other", "another", "greedy-1"}; !slices.Equal(got[:4], want) {
		t.Errorf("the order is %q", got[:4])
	}
	if got[len(got)-1] != "greedy-"+strconv.Itoa(maxOfAddress-1) {
		t.Errorf("the last is %s", got[len(got)-1])
	}
	wait(t, "the queue is empty", func() bool { q.mu.Lock(); defer q.mu.Unlock(); return q.free == 1 && len(q.runs) == 0 })
}

func count(q *queue) int {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := 0
	for _, l := range q.lines {
		n += len(l.waiting)
	}
	return n
}

// Who waits too long, goes away or takes too long gives the place back.
func TestQueueEnds(t *testing.T) {
	q := newQueue(1)
	q.patience, q.turn = 50*time.Millisecond, 100*time.Millisecond
	ctx, _, leave, err := q.enter(t.Context(), "a", "x")
	if err != nil {
		t.Fatal(err)
	}
	var refused *refusal
	if _, _, _, err := q.enter(t.Context(), "b", "x"); !errors.As(err, &refused) {
		t.Errorf("who waits for long is told %v", err)
	}
	gone, away := context.WithCancel(t.Context())
	away()
	if _, _, _, err := q.enter(gone, "c", "y"); !errors.Is(err, context.Canceled) {
		t.Errorf("who has gone is told %v", err)
	}
	if count(q) != 0 || q.place("b") != -1 {
		t.Error("who has gone still waits")
	}
	<-ctx.Done()
	if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
		t.Errorf("a turn ends with %v", ctx.Err())
	}
	leave()
	// A browser's next run ends the one before, also one that has the only slot.
	q = newQueue(1)
	before, _, leave, err := q.enter(t.Context(), "a", "x")
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		<-before.Done()
		leave()
	}()
	_, _, leave, err = q.enter(t.Context(), "a", "x")
	if err != nil || before.Err() == nil {
		t.Errorf("%v %v", err, before.Err())
	}
	leave()
	if q.free != 1 || len(q.runs) != 0 {
		t.Errorf("%d free, %d runs", q.free, len(q.runs))
	}
}
