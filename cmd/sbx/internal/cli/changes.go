package cli

import (
	"os"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/sbx-dev/sbx/sandbox"
)

// shownChanges is how many lines the list of changes has at most: who wants
// more reads --report.
const shownChanges = 200

// printChanges lists what CMD wrote: first what lies over folders of the host,
// a line each, then in one line what lies in memory only, such as /tmp.
// Upper is the folder that keeps the layers; "" is none.
func printChanges(f *os.File, changes []sandbox.Change, upper string) {
	s := styleOf(f)
	var b strings.Builder
	var list []sandbox.Change
	memory, memorySize := 0, int64(0)
	for _, c := range changes {
		if c.Memory {
			if !c.Dir {
				memory++
				memorySize += c.Size
			}
			continue
		}
		list = append(list, c)
	}
	if len(list) == 0 {
		b.WriteString(s.bold("sbx:") + " CMD changed none of the folders that it was shown\n")
	} else {
		where := "gone now"
		if upper != "" {
			where = "kept in " + upper
		}
		b.WriteString(s.bold("sbx:") + " " + plural(len(list), "change") + " by CMD, seen only inside and " + where + ":\n")
	}
	for i, c := range list {
		if i == shownChanges {
			b.WriteString("  … and " + strconv.Itoa(len(list)-i) + " more (--report FILE has all)\n")
			break
		}
		b.WriteString("  " + changeLine(s, c) + "\n")
	}
	if memory > 0 {
		b.WriteString("  " + s.dim("and "+plural(memory, "file")+" in memory only, such as in /tmp and HOME: "+sizeText(memorySize)) + "\n")
	}
	f.WriteString(b.String())
}

// changeLine is one change: a letter, the size, the path.
func changeLine(s style, c sandbox.Change) string {
	size := ""
	switch {
	case c.Dir:
		size = "dir"
	case c.Kind != sandbox.Deleted:
		size = sizeText(c.Size)
	}
	size = padLeft(size, 8)
	name := printable(c.Path)
	if c.Dir {
		name += "/"
	}
	switch c.Kind {
	case sandbox.Added:
		return s.green("A "+size+"  ") + name
	case sandbox.Deleted:
		return s.red("D "+size+"  ") + name
	}
	return s.yellow("M "+size+"  ") + name
}

// printable is a path as it may be shown: CMD chose the name, and a terminal
// would obey the control characters in it, or show it in another order.
func printable(name string) string {
	for _, r := range name {
		if r == utf8.RuneError || !strconv.IsPrint(r) {
			return strconv.Quote(name)
		}
	}
	return name
}

// sizeText is a number of bytes in at most six characters.
func sizeText(n int64) string {
	if n < 1024 {
		return strconv.FormatInt(n, 10) + " B"
	}
	v := float64(n)
	for _, unit := range []string{" KiB", " MiB", " GiB"} {
		if v /= 1024; v < 1000 {
			digits := 1
			if v >= 100 {
				digits = 0
			}
			return strconv.FormatFloat(v, 'f', digits, 64) + unit
		}
	}
	return strconv.FormatFloat(v/1024, 'f', 1, 64) + " TiB"
}
