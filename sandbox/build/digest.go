package build

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
)

// digester makes cache keys: of words, each with its length, so that no two
// lists give the same bytes.
type digester struct{ h hash.Hash }

func newDigester(kind string) *digester {
	d := &digester{sha256.New()}
	d.words("sbx build 1", kind)
	return d
}

func (d *digester) words(words ...string) {
	for _, w := range words {
		d.number(int64(len(w)))
		io.WriteString(d.h, w) //nolint:errcheck // a hash takes everything
	}
}

func (d *digester) list(words []string) {
	d.number(int64(len(words)))
	d.words(words...)
}

func (d *digester) number(n int64) {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], uint64(n))
	d.h.Write(b[:])
}

func (d *digester) sum() string { return hex.EncodeToString(d.h.Sum(nil)) }

// groups adds what is copied: names, types, permissions, owners, link targets
// and content, and no times, which a checkout sets anew.
func (d *digester) groups(ctx context.Context, groups []group) error {
	d.number(int64(len(groups)))
	buf := make([]byte, 128<<10)
	for _, g := range groups {
		d.number(int64(len(g.items)))
		for _, it := range g.items {
			if err := ctx.Err(); err != nil {
				return err
			}
			d.words(it.name, it.link)
			d.number(int64(it.mode))
			d.number(int64(it.uid))
			d.number(int64(it.gid))
			if !it.isRegular() {
				continue
			}
			if err := d.content(it, buf); err != nil {
				return fmt.Errorf("%s: %w", it.name, err)
			}
		}
	}
	return nil
}

// content adds a file. Its own digest has a fixed length, so the file may grow
// meanwhile and still cannot be taken for its neighbour.
func (d *digester) content(it item, buf []byte) error {
	h := sha256.New()
	in, err := it.reader()
	if err != nil {
		return err
	}
	defer in.Close()
	if _, err := io.CopyBuffer(h, in, buf); err != nil {
		return err
	}
	d.h.Write(h.Sum(nil))
	return nil
}
