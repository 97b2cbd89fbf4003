package image

import (
	"bufio"
	"bytes"
	"io"

	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// zstdLayer is OCI's media type of a layer compressed with zstd.
const zstdLayer types.MediaType = types.OCILayerZStd

// The first bytes of what gzip (RFC 1952) and zstd (RFC 8878) write.
var (
	gzipMagic = []byte{0x1f, 0x8b}
	zstdMagic = []byte{0x28, 0xb5, 0x2f, 0xfd}
)

// zstdWindow is the most memory that a zstd stream may ask for, in bytes: what
// RFC 8878 recommends that a decoder supports is 8 MiB, and zstd --ultra writes
// up to 128 MiB.
const zstdWindow = 128 << 20

// decompress tells gzip, zstd and plain data apart by the first bytes, as
// docker does: media types in the wild are not always true. The digest of what
// comes out is compared anyway.
func decompress(r io.Reader) (io.ReadCloser, error) {
	buffered := bufio.NewReaderSize(r, 64<<10)
	head, err := buffered.Peek(4)
	if err != nil && err != io.EOF {
		return nil, err
	}
	switch {
	case bytes.HasPrefix(head, gzipMagic):
		return gzip.NewReader(buffered)
	case bytes.HasPrefix(head, zstdMagic):
		d, err := zstd.NewReader(buffered, zstd.WithDecoderMaxWindow(zstdWindow), zstd.WithDecoderConcurrency(1))
		if err != nil {
			return nil, err
		}
		return d.IOReadCloser(), nil
	}
	return io.NopCloser(buffered), nil
}

// layerType is the media type of a layer that begins with head.
func layerType(head []byte) types.MediaType {
	switch {
	case bytes.HasPrefix(head, gzipMagic):
		return types.OCILayer
	case bytes.HasPrefix(head, zstdMagic):
		return zstdLayer
	}
	return types.OCIUncompressedLayer
}
