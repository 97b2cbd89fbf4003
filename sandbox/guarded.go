package sandbox

import (
	"path"
	"strings"
	"unicode"
)

// GuardedName is the part of a relative path that makes the host run code
// later, or "" where it has none: ".git" of "sub/.git/hooks/pre-commit". It is
// for whoever copies what CMD wrote to the host. The names count at any depth,
// since a project holds others, and in all the spellings that a file system may
// take for the same (sameOnDisk). All of a git folder counts: its configuration
// names programs in many places, in that of each submodule too.
func GuardedName(rel string) string {
	rel = strings.TrimPrefix(path.Clean(rel), "/")
	if plain := sameOnDisk(rel); plain != rel {
		name := guardedName(plain)
		if name == "" {
			return ""
		}
		// As many parts of it as the plain one has.
		parts := strings.Split(rel, "/")
		return strings.Join(parts[:strings.Count(name, "/")+1], "/")
	}
	return guardedName(rel)
}

// sameOnDisk spells a path as file systems do that take several spellings for
// one. A folder of ext4, f2fs or tmpfs with casefold leaves out what Unicode
// calls ignorable (fs/unicode, utf8nfdicf), so that ".g\u200cit" is .git there;
// vfat and exfat leave out dots at the end (vfat_striptail_len), and servers of
// cifs blanks too. The case is compared later.
func sameOnDisk(rel string) string {
	plain := true
	for i := 0; i < len(rel) && plain; i++ {
		b := rel[i]
		last := i+1 == len(rel) || rel[i+1] == '/'
		plain = b < 0x80 && !(last && (b == '.' || b == ' '))
	}
	if plain {
		return rel
	}
	parts := strings.Split(rel, "/")
	for i, part := range parts {
		part = strings.Map(func(r rune) rune {
			if unicode.In(r, unicode.Cf, unicode.Variation_Selector, unicode.Other_Default_Ignorable_Code_Point) {
				return -1
			}
			return r
		}, part)
		if part = strings.TrimRight(part, ". "); part == "" {
			part = parts[i] // dots alone
		}
		parts[i] = part
	}
	return strings.Join(parts, "/")
}

func guardedName(rel string) string {
	if rel == "" {
		return "" // the root itself
	}
	for at := 0; ; {
		rest := rel[at:]
		first, _, more := strings.Cut(rest, "/")
		if strings.EqualFold(first, ".git") {
			return rel[:at+len(first)]
		}
		for _, name := range guarded {
			if rest[0]|0x20 != name[0]|0x20 {
				continue // no other letter is the same as one of these first ones
			}
			if n := beginsWith(rest, name); n > 0 {
				return rel[:at+n]
			}
		}
		if !more {
			return ""
		}
		at += len(first) + 1
	}
}

// beginsWith is how many bytes of a path are the name, in parts and in any case
// of letters, or 0. The bytes differ: U+017F is an s.
func beginsWith(rel, name string) int {
	n := 0
	for {
		part, more, longer := strings.Cut(name, "/")
		first, _, deeper := strings.Cut(rel[n:], "/")
		if !strings.EqualFold(first, part) || longer && !deeper {
			return 0
		}
		n += len(first)
		if !longer {
			return n
		}
		n++
		name = more
	}
}
