package cli

import (
	"io"
	"os"
	"sync"
)

// replay gives one stream to several readers, one after the other: what the
// first has been given is kept for the next. It reads only while somebody is
// there to read, so that a stream without an end is no obstacle to a CMD that
// does not read it.
type replay struct {
	from io.Reader

	mu      sync.Mutex
	more    sync.Cond
	data    []byte
	ended   bool
	reading bool
}

// maxReplay is how much of a stream is kept, in bytes; what comes after is the
// end of the stream to everybody.
const maxReplay = 64 << 20

func newReplay(from io.Reader) *replay {
	r := &replay{from: from}
	r.more.L = &r.mu
	return r
}

// reader returns a pipe that holds the stream from its beginning, and what to
// call when its reader is gone. A stream of nil is no file at all.
func (r *replay) reader() (*os.File, func(), error) {
	if r.from == nil {
		return nil, func() {}, nil
	}
	out, in, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	gone := false
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		defer in.Close()
		for at := 0; ; {
			chunk := r.after(at, &gone)
			if len(chunk) == 0 {
				return
			}
			if _, err := in.Write(chunk); err != nil {
				return // nobody reads any more
			}
			at += len(chunk)
		}
	}()
	return out, func() {
		out.Close()
		r.mu.Lock()
		gone = true
		r.more.Broadcast()
		r.mu.Unlock()
		<-finished
	}, nil
}

// after returns what follows the first bytes of the stream, and waits for it.
// Nothing means the end, or that the reader is gone.
func (r *replay) after(at int, gone *bool) []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	for !*gone && !r.ended && at >= len(r.data) {
		if !r.reading {
			r.reading = true
			go r.read()
		}
		r.more.Wait()
	}
	if *gone {
		return nil
	}
	return r.data[at:]
}

// read takes one piece of the stream.
func (r *replay) read() {
	buf := make([]byte, 64<<10)
	n, err := r.from.Read(buf)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.data = append(r.data, buf[:n]...)
	r.ended = err != nil || len(r.data) >= maxReplay
	r.reading = false
	r.more.Broadcast()
}
