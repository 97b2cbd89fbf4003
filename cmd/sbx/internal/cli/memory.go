package cli

import (
	"bufio"
	"bytes"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// release drops the pages of the program itself, which are read again from its
// file when they are needed: a sbx that waits should cost a class's machine
// little, and ten of them little more. What was written to stays: a mapping of
// a file in which a page has no file behind it any more (relocations, say) is
// left alone. It allocates next to nothing itself.
func release() {
	f, err := os.Open("/proc/self/smaps")
	if err != nil {
		return // what is not released is only kept
	}
	defer f.Close()
	var start, end uint64
	for lines := bufio.NewScanner(f); lines.Scan(); {
		line := lines.Bytes()
		if rest, ok := bytes.CutPrefix(line, []byte("Anonymous:")); ok {
			if end > start && bytes.Equal(bytes.TrimSpace(rest), []byte("0 kB")) {
				_, _, _ = unix.Syscall(unix.SYS_MADVISE, uintptr(start), uintptr(end-start), unix.MADV_DONTNEED)
			}
		} else if a, b, ok := filePages(line); ok {
			start, end = a, b
		} else if bytes.IndexByte(line, '-') > 0 && bytes.IndexByte(line, ':') != bytes.IndexByte(line, ' ')-1 {
			start, end = 0, 0 // another mapping
		}
	}
}

// filePages reads the first line of a mapping, and says whether it is one of a
// file and may not be written to: "00400000-00681000 r-xp 00000000 fe:00 42 /bin/sbx".
func filePages(line []byte) (start, end uint64, ok bool) {
	span, rest, ok := bytes.Cut(line, []byte(" "))
	if !ok || len(rest) < 4 || rest[1] != '-' || bytes.IndexByte(rest, '/') < 0 {
		return 0, 0, false
	}
	from, to, ok := bytes.Cut(span, []byte("-"))
	start, err1 := strconv.ParseUint(string(from), 16, 64)
	end, err2 := strconv.ParseUint(string(to), 16, 64)
	return start, end, ok && err1 == nil && err2 == nil
}
