package sandbox

import (
	"path"
	"strings"
)

// GuardedName is the part of a relative path that makes the host run code
// later, or "" where it has none: ".git" of "sub/.git/hooks/pre-commit". It is
// for whoever copies what CMD wrote to the host. The names count at any depth,
// since a project holds others, and in any case of letters, since a file system
// may not tell these apart. All of a git folder counts: its configuration names
// programs in many places, in that of each submodule too.
func GuardedName(rel string) string {
	rel = strings.TrimPrefix(path.Clean(rel), "/")
	for at := 0; ; {
		rest := rel[at:]
		first, _, more := strings.Cut(rest, "/")
		if strings.EqualFold(first, ".git") {
			return rel[:at+len(first)]
		}
		for _, name := range guarded {
			if len(rest) >= len(name) && strings.EqualFold(rest[:len(name)], name) && (len(rest) == len(name) || rest[len(name)] == '/') {
				return rel[:at+len(name)]
			}
		}
		if !more {
			return ""
		}
		at += len(first) + 1
	}
}
