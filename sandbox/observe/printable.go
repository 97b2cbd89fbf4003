package observe

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// printable returns text with everything escaped that a terminal could obey or
// a reader could not see: control characters, escape sequences, bidirectional
// overrides, bytes that are no UTF-8. Names of files and processes are chosen
// by the observed process.
func printable(text string) string {
	clean := true
	for _, r := range text {
		if r == utf8.RuneError || !strconv.IsPrint(r) {
			clean = false
			break
		}
	}
	if clean {
		return text
	}
	var b strings.Builder
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRuneInString(text[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&b, `\x%02x`, text[i])
		case strconv.IsPrint(r):
			b.WriteRune(r)
		default:
			quoted := strconv.QuoteRuneToASCII(r)
			b.WriteString(quoted[1 : len(quoted)-1])
		}
		i += size
	}
	return b.String()
}

// listed is how many names a sentence spells out.
const listed = 6

// list joins names as a sentence does: "a", "a and b", "a, b and 7 more".
func list(names []string) string {
	shown := make([]string, 0, listed+1)
	for i, name := range names {
		if i == listed && len(names) > listed+1 {
			shown = append(shown, strconv.Itoa(len(names)-listed)+" more")
			break
		}
		shown = append(shown, printable(name))
	}
	switch n := len(shown); n {
	case 0:
		return "none"
	case 1:
		return shown[0]
	default:
		return strings.Join(shown[:n-1], ", ") + " and " + shown[n-1]
	}
}

// count writes a number with its noun: "no mount", "1 mount", "2 mounts". The
// plural adds an s, es after ss, and ies for y after a consonant.
func count(n int, noun string) string {
	switch n {
	case 0:
		return "no " + noun
	case 1:
		return "1 " + noun
	}
	switch {
	case strings.HasSuffix(noun, "ss"):
		noun += "es"
	case strings.HasSuffix(noun, "y") && !strings.HasSuffix(noun, "ay"): // capability, but overlay
		noun = noun[:len(noun)-1] + "ies"
	default:
		noun += "s"
	}
	return strconv.Itoa(n) + " " + noun
}

// isAre returns the verb for n things.
func isAre(n int) string {
	if n == 1 {
		return "is"
	}
	return "are"
}

// size writes bytes in the largest binary unit that divides them.
func size(bytes uint64) string {
	unit := ""
	for _, u := range [...]string{"KiB", "MiB", "GiB", "TiB"} {
		if bytes == 0 || bytes%1024 != 0 {
			break
		}
		bytes, unit = bytes/1024, u
	}
	if unit == "" {
		return strconv.FormatUint(bytes, 10) + " bytes"
	}
	return strconv.FormatUint(bytes, 10) + " " + unit
}

// minus returns what is in a and not in b, in the order of a, each once.
func minus(a, b []string) []string {
	in := make(map[string]bool, len(b))
	for _, s := range b {
		in[s] = true
	}
	rest := []string{}
	for _, s := range a {
		if !in[s] {
			in[s] = true
			rest = append(rest, s)
		}
	}
	return rest
}
