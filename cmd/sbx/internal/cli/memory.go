package cli

import (
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// release drops the pages of the program itself, which are read again from its
// file when they are needed: a sbx that waits should cost a class's machine
// little, and ten of them little more. What was written to stays: a mapping of
// a file in which a page has no file behind it any more (relocations, say) is
// left alone.
func release() {
	text, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		return // what is not released is only kept
	}
	var start, end uint64
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		switch {
		case len(fields) >= 5 && strings.Contains(fields[0], "-"): // a mapping begins
			start, end = 0, 0
			if len(fields) < 6 || fields[1][1] != '-' || !strings.HasPrefix(fields[5], "/") {
				continue
			}
			from, to, _ := strings.Cut(fields[0], "-")
			a, err1 := strconv.ParseUint(from, 16, 64)
			b, err2 := strconv.ParseUint(to, 16, 64)
			if err1 == nil && err2 == nil {
				start, end = a, b
			}
		case len(fields) == 3 && fields[0] == "Anonymous:" && fields[1] == "0" && end > start:
			_, _, _ = unix.Syscall(unix.SYS_MADVISE, uintptr(start), uintptr(end-start), unix.MADV_DONTNEED)
		}
	}
}
