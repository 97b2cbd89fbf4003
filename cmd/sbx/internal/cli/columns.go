package cli

import (
	"strings"
)

// pair is one row of two texts side by side: a line of each, the same or not.
// A missing line is -1.
type pair struct{ left, right int }

// align puts lines that are the same beside each other, by the longest common
// subsequence; what stands between goes side by side in order.
func align(left, right []string) []pair {
	var out []pair
	begin := 0
	for begin < len(left) && begin < len(right) && left[begin] == right[begin] {
		out = append(out, pair{begin, begin})
		begin++
	}
	endL, endR := len(left), len(right)
	for endL > begin && endR > begin && left[endL-1] == right[endR-1] {
		endL, endR = endL-1, endR-1
	}
	// Beyond this many cells the middle is not searched for equal lines.
	const cells = 4 << 20
	i, k := begin, begin
	flush := func(toL, toR int) {
		for i < toL || k < toR {
			p := pair{-1, -1}
			if i < toL {
				p.left = i
				i++
			}
			if k < toR {
				p.right = k
				k++
			}
			out = append(out, p)
		}
	}
	if (endL-begin)*(endR-begin) <= cells {
		for _, p := range common(left[begin:endL], right[begin:endR]) {
			flush(begin+p.left, begin+p.right)
			out = append(out, pair{i, k})
			i, k = i+1, k+1
		}
	}
	flush(endL, endR)
	for ; i < len(left); i, k = i+1, k+1 {
		out = append(out, pair{i, k})
	}
	return out
}

// common is a longest common subsequence, as pairs of indices.
func common(a, b []string) []pair {
	lengths := make([][]int32, len(a)+1)
	for i := range lengths {
		lengths[i] = make([]int32, len(b)+1)
	}
	for i := len(a) - 1; i >= 0; i-- {
		for k := len(b) - 1; k >= 0; k-- {
			if a[i] == b[k] {
				lengths[i][k] = lengths[i+1][k+1] + 1
			} else {
				lengths[i][k] = max(lengths[i+1][k], lengths[i][k+1])
			}
		}
	}
	var out []pair
	for i, k := 0, 0; i < len(a) && k < len(b); {
		switch {
		case a[i] == b[k]:
			out = append(out, pair{i, k})
			i, k = i+1, k+1
		case lengths[i+1][k] >= lengths[i][k+1]:
			i++
		default:
			k++
		}
	}
	return out
}

// writeColumns prints two texts side by side, cols wide. The sign between says
// what differs: ≠ for two lines, < and > for one that the other side has not.
func writeColumns(b *strings.Builder, s style, cols int, left, right column) {
	half := (cols - 3) / 2
	row := func(sign, signCode, l, lCode, r, rCode string) {
		line := s.paint(lCode, l) + strings.Repeat(" ", max(half-displayWidth(l), 0)) + " " + s.paint(signCode, sign) + " " + s.paint(rCode, r)
		if !s.on {
			line = strings.TrimRight(line, " ")
		}
		b.WriteString(line + "\n")
	}
	both := func(sign, signCode, l, lCode, r, rCode string) {
		ls, rs := chop(l, half), chop(r, half)
		for i := range max(len(ls), len(rs)) {
			var x, y string
			if i < len(ls) {
				x = ls[i]
			}
			if i < len(rs) {
				y = rs[i]
			}
			row(sign, signCode, x, lCode, y, rCode)
			if sign != "≠" {
				continue
			}
			sign, signCode = "│", "2"
		}
	}
	rule := strings.Repeat("─", half+1) + "┼" + strings.Repeat("─", cols-half-2)
	both("│", "2", left.title, "1", right.title, "1")
	b.WriteString(s.dim(rule) + "\n")
	rows := align(left.lines, right.lines)
	for _, p := range rows {
		switch {
		case p.right < 0:
			both("<", "33", left.lines[p.left], "33", "", "")
		case p.left < 0:
			both(">", "32", "", "", right.lines[p.right], "32")
		case left.lines[p.left] != right.lines[p.right]:
			both("≠", "1", left.lines[p.left], "33", right.lines[p.right], "32")
		default:
			both("│", "2", left.lines[p.left], "2", right.lines[p.right], "2")
		}
	}
	if len(rows) == 0 {
		both("│", "2", "(no output)", "2", "(no output)", "2")
	}
	b.WriteString(s.dim(strings.ReplaceAll(rule, "┼", "┴")) + "\n")
	sign, code := "│", "2"
	if left.end != right.end {
		sign, code = "≠", "1"
	}
	both(sign, code, left.end, left.endCode, right.end, right.endCode)
}

// column is one side of a comparison as it is printed.
type column struct {
	title        string
	lines        []string
	end, endCode string // how it ended, and in which colour that is
}

// chop cuts a line into pieces of at most n columns, after a space where one
// is near the end. Every space is kept: they may be columns of a table.
func chop(line string, n int) []string {
	var out []string
	for {
		head, rest := cutDisplay(line, n)
		if rest == "" {
			return append(out, line)
		}
		if at := strings.LastIndexByte(head, ' '); at > len(head)*2/3 && !strings.HasPrefix(rest, " ") {
			head, rest = line[:at+1], line[at+1:]
		}
		out = append(out, head)
		line = rest
	}
}
