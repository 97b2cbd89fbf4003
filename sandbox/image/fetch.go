package image

import (
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// fetch writes a layer's blob. A connection that breaks off is made again, and
// goes on where the last one was, if the source can.
func (w *writing) fetch(src source, d v1.Descriptor, progress Progress) error {
	if src.file != nil {
		return w.take(src, d, progress)
	}
	file, err := os.CreateTemp(w.dir, "blob-")
	if err != nil {
		return err
	}
	defer os.Remove(file.Name())
	defer file.Close()
	f := &fetching{file: file, d: d, digest: sha256.New()}
	f.count.tell = func(n int64) { progress(d.Digest, Fetching, n, d.Size) }
	for try := 1; ; try++ {
		err := f.more(src)
		if err == nil {
			return os.Rename(file.Name(), w.s.blobPath(d.Digest))
		}
		if src.pause == nil || !src.pause(try) {
			return err
		}
	}
}

// take gives a file that lies below the writing's folder its place among the
// blobs, without a copy.
func (w *writing) take(src source, d v1.Descriptor, progress Progress) error {
	name, err := src.file(d)
	if err != nil {
		return err
	}
	file, err := os.Open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	digest, count := sha256.New(), &counter{tell: func(n int64) { progress(d.Digest, Fetching, n, d.Size) }}
	if _, err := io.Copy(io.MultiWriter(digest, count), file); err != nil {
		return err
	}
	if got := hexSum(digest); count.n != d.Size || got != d.Digest {
		return differs(count.n, got, d)
	}
	// Another image of the archive may have the same file.
	beside := filepath.Join(w.dir, "blob-"+rand.Text())
	if err := os.Link(name, beside); err != nil {
		return err
	}
	return os.Rename(beside, w.s.blobPath(d.Digest))
}

// differs says that a blob is not the one of the descriptor.
func differs(n int64, got v1.Hash, d v1.Descriptor) error {
	return fmt.Errorf("what came is not what the manifest says: %d bytes with digest %s, wanted %d with %s", n, got, d.Size, d.Digest)
}

// fetching is a blob of which a part is there.
type fetching struct {
	file   *os.File
	d      v1.Descriptor
	digest hash.Hash
	count  counter // what the file and the digest have
}

// more fetches the rest of the blob.
func (f *fetching) more(src source) error {
	in, err := f.open(src)
	if err != nil {
		return err
	}
	defer in.Close()
	// What was written of a part that the digest does not have is written again.
	if err := f.file.Truncate(f.count.n); err != nil {
		return err
	}
	if _, err := f.file.Seek(f.count.n, io.SeekStart); err != nil {
		return err
	}
	if _, err := io.Copy(io.MultiWriter(f.file, f.digest, &f.count), io.LimitReader(in, f.d.Size-f.count.n+1)); err != nil {
		return err
	}
	n, got := f.count.n, hexSum(f.digest)
	if n == f.d.Size && got == f.d.Digest {
		return nil
	}
	if n >= f.d.Size {
		f.begin() // going on would not mend it
	}
	return differs(n, got, f.d)
}

func (f *fetching) open(src source) (io.ReadCloser, error) {
	if f.count.n > 0 && src.resume != nil {
		in, err := src.resume(f.d, f.count.n)
		if in != nil || err != nil {
			return in, err
		}
	}
	f.begin()
	return src.layer(f.d)
}

func (f *fetching) begin() {
	f.digest.Reset()
	f.count.n = 0
}

// counter tells how much went through it.
type counter struct {
	n    int64
	tell func(int64)
}

func (c *counter) Write(p []byte) (int, error) {
	c.n += int64(len(p))
	c.tell(c.n)
	return len(p), nil
}
