package main

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// printable is a text of an image, which may be anybody's, for a terminal: what
// could steer it or change the reading order is quoted.
func printable(text string) string {
	if utf8.ValidString(text) && strings.IndexFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) < 0 {
		return text
	}
	return strconv.QuoteToGraphic(text)
}

// printableLines is printable for a text that may have several lines.
func printableLines(text string) string {
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		lines[i] = printable(line)
	}
	return strings.Join(lines, "\n")
}

// sizeText is a size as docker writes it: three digits, powers of 1000.
func sizeText(n int64) string {
	if n < 1000 {
		return fmt.Sprintf("%dB", n)
	}
	value, unit := float64(n), -1
	for value >= 999.5 && unit < 3 {
		value /= 1000
		unit++
	}
	return fmt.Sprintf("%.3g%cB", value, "kMGT"[unit])
}

// agoText is how long ago something was, as docker writes it. An image may say
// nothing (year 1), or the year 1970 so that its digest is always the same.
func agoText(t, now time.Time) string {
	if t.Year() <= 1970 {
		return "N/A"
	}
	const day = 24 * time.Hour
	d := now.Sub(t)
	for _, u := range []struct {
		length time.Duration
		name   string
	}{{365 * day, "year"}, {30 * day, "month"}, {7 * day, "week"}, {day, "day"}, {time.Hour, "hour"}, {time.Minute, "minute"}, {time.Second, "second"}} {
		switch n := int64(d / u.length); {
		case n == 1:
			return "1 " + u.name + " ago"
		case n > 1:
			return fmt.Sprintf("%d %ss ago", n, u.name)
		}
	}
	return "just now"
}

// table writes rows in columns, three spaces apart; the header is the first.
func table(w io.Writer, rows [][]string) error {
	widths := map[int]int{}
	for _, row := range rows {
		for i, text := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(text))
		}
	}
	var b strings.Builder
	for n, row := range rows {
		line := ""
		for i, text := range row {
			line += text + strings.Repeat(" ", widths[i]-utf8.RuneCountInString(text)+3)
		}
		line = strings.TrimRight(line, " ")
		if n == 0 && colours(w) {
			line = "\x1b[2m" + line + "\x1b[0m"
		}
		b.WriteString(line + "\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// terminal says whether a reader or writer is a terminal, and how many columns
// it has.
func terminal(f any) (columns int, ok bool) {
	file, ok := f.(*os.File)
	if !ok {
		return 0, false
	}
	size, err := unix.IoctlGetWinsize(int(file.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return 0, false
	}
	if size.Col == 0 {
		return 80, true
	}
	return int(size.Col), true
}

// colours says whether a writer takes colours.
func colours(w io.Writer) bool {
	_, ok := terminal(w)
	return ok && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
}

// cutTo shortens a text to n columns.
func cutTo(text string, n int) string {
	runes := []rune(text)
	if len(runes) <= n {
		return text
	}
	return string(runes[:max(n-1, 0)]) + "…"
}
