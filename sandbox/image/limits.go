package image

import (
	"fmt"
	"io"
)

// Limits stop an archive that is small to send and huge to unpack. A zero field
// means the one of DefaultLimits.
type Limits struct {
	Bytes   int64 // of one uncompressed layer
	Entries int   // of one layer, folders without an entry of their own included
	// Names is how many bytes all names in one layer may have: those of its
	// entries and of their targets, the whole paths of its folders, and the names
	// of attributes. They are kept in memory, and some of them in layer.json,
	// which every look at the store reads; 64 KiB of names shrink to nothing.
	Names int64
	// Ratio is how many times larger than its compressed form a layer may
	// become; it counts from the first GiB on, since honest layers may hold a
	// file of zeros.
	Ratio int64
	// Document is the largest manifest, config or index, in bytes.
	Document int64
}

// DefaultLimits let every layer in that people have: the largest public ones
// are some 20 GiB, of half a million files, and shrink to a tenth.
var DefaultLimits = Limits{Bytes: 64 << 30, Entries: 1 << 20, Names: 128 << 20, Ratio: 200, Document: 8 << 20}

// ratioFrom is the size from which on Limits.Ratio counts, in bytes.
const ratioFrom = 1 << 30

func (l Limits) withDefaults() Limits {
	if l.Bytes == 0 {
		l.Bytes = DefaultLimits.Bytes
	}
	if l.Entries == 0 {
		l.Entries = DefaultLimits.Entries
	}
	if l.Names == 0 {
		l.Names = DefaultLimits.Names
	}
	if l.Ratio == 0 {
		l.Ratio = DefaultLimits.Ratio
	}
	if l.Document == 0 {
		l.Document = DefaultLimits.Document
	}
	return l
}

// ofLayer is the number of bytes that a layer of the given compressed size may
// have.
func (l Limits) ofLayer(compressed int64) int64 {
	most := l.Bytes
	if compressed < most/l.Ratio {
		most = min(most, max(ratioFrom, compressed*l.Ratio))
	}
	return most
}

// limited is a reader that fails after a number of bytes. Where io.LimitReader
// would end, a bomb would look like a short archive.
type limited struct {
	r    io.Reader
	left int64
	what string
	most int64
}

func limit(r io.Reader, most int64, what string) *limited {
	return &limited{r: r, left: most, what: what, most: most}
}

func (l *limited) Read(p []byte) (int, error) {
	if int64(len(p)) > l.left+1 {
		p = p[:l.left+1]
	}
	n, err := l.r.Read(p)
	l.left -= int64(n)
	if l.left < 0 {
		return 0, fmt.Errorf("%s is larger than the %d bytes that are allowed", l.what, l.most)
	}
	return n, err
}

// counted counts what is read of an archive as it came.
type counted struct {
	r io.Reader
	n int64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// proportionate is Limits.Ratio for a stream whose size nobody knows: what came
// out so far is compared with what went in so far. A sparse member comes out of
// nothing at all.
type proportionate struct {
	r     io.Reader
	in    *counted
	out   *int64 // of all members
	ratio int64
}

func (p *proportionate) Read(b []byte) (int, error) {
	n, err := p.r.Read(b)
	*p.out += int64(n)
	if *p.out > ratioFrom && *p.out/p.ratio > p.in.n {
		return 0, fmt.Errorf("it unpacks to more than %d times its size", p.ratio)
	}
	return n, err
}
