package local

import (
	"errors"
	"strconv"
	"strings"
)

// Canonical is the whole form of a reference, as the store's index has it:
// "docker.io/library/busybox:latest" for busybox. It reads names as docker does:
// without a registry it is docker.io, without a folder there library/, without a
// tag latest. The error says why a text is no reference; what a registry may be called
// is for those to say who speak to one.
func Canonical(text string) (string, error) {
	bad := func(why string) (string, error) {
		return "", errors.New(strconv.Quote(text) + " is no reference of an image: " + why)
	}
	base, digest, hasDigest := strings.Cut(text, "@")
	if hasDigest && !isDigest(digest) {
		return bad("the digest is not sha256: and 64 hexadecimal digits")
	}
	repository, tag := base, ""
	if colon := strings.LastIndexByte(base, ':'); colon > strings.LastIndexByte(base, '/') {
		repository, tag = base[:colon], base[colon+1:]
		if !isTag(tag) {
			return bad("the tag is not 1 to 128 letters, digits, _ . or -")
		}
	}
	registry, rest, found := strings.Cut(repository, "/")
	if !found || !strings.ContainsAny(registry, ".:") && registry != "localhost" {
		registry, rest = "docker.io", repository
	}
	if registry == "index.docker.io" {
		registry = "docker.io"
	}
	if registry == "docker.io" && !strings.Contains(rest, "/") {
		rest = "library/" + rest
	}
	if !isRepository(rest) {
		return bad("the name is not 1 to 255 lower-case letters, digits and _ - . /")
	}
	switch {
	case hasDigest:
		return registry + "/" + rest + "@" + digest, nil
	case tag == "":
		tag = "latest"
	}
	return registry + "/" + rest + ":" + tag, nil
}

func isDigest(s string) bool {
	hex, ok := strings.CutPrefix(s, "sha256:")
	return ok && len(hex) == 64 && strings.Trim(hex, "0123456789abcdef") == ""
}

func isTag(s string) bool {
	return s != "" && len(s) <= 128 && strings.IndexFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' || r == '-' || r == '.')
	}) < 0
}

func isRepository(s string) bool {
	return s != "" && len(s) <= 255 && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789_-./") == ""
}
