package image

import (
	"fmt"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"

	"github.com/sbx-dev/sbx/sandbox/image/local"
)

// dockerHub is how people write the registry that go-containerregistry calls by
// its host.
const dockerHub = "docker.io/"

// parseReference reads NAME[:TAG] or NAME@DIGEST as docker does: without a
// registry it is docker.io, without a folder there library/, without a tag
// latest.
func parseReference(text string) (name.Reference, error) {
	ref, err := name.ParseReference(text)
	if err != nil {
		// Both read the same names; the other one says what is wrong with it.
		if _, why := local.Canonical(text); why != nil {
			return nil, why
		}
		return nil, fmt.Errorf("%q is no reference of an image: %w", text, err)
	}
	return ref, nil
}

// Canonical is the whole reference, as it is kept in the index:
// "docker.io/library/busybox:latest" for busybox.
func Canonical(text string) (string, error) {
	ref, err := parseReference(text)
	if err != nil {
		return "", err
	}
	return canonical(ref), nil
}

func canonical(ref name.Reference) string {
	full := ref.Name()
	if rest, ok := strings.CutPrefix(full, name.DefaultRegistry+"/"); ok {
		return dockerHub + rest
	}
	return full
}

// Familiar is the short form of a whole reference, as docker shows it.
func Familiar(full string) string {
	short, ok := strings.CutPrefix(full, dockerHub)
	if !ok {
		return full
	}
	return strings.TrimPrefix(short, "library/")
}

// SplitReference cuts a reference into its repository and its tag or digest.
func SplitReference(ref string) (repository, tag, digest string) {
	ref, digest, _ = strings.Cut(ref, "@")
	slash := strings.LastIndexByte(ref, '/')
	if colon := strings.LastIndexByte(ref, ':'); colon > slash {
		return ref[:colon], ref[colon+1:], digest
	}
	return ref, "", digest
}
