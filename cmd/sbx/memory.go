package main

import (
	"os"

	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// release gives back the memory that making a sandbox took and waiting for one
// does not need: ten sbx that wait should cost a class's machine less than one
// browser tab. Pages of the program itself are dropped too, since they are read
// again from its file when they are needed.
func release() {

	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return // what is not released is only kept
	}
	for line := range strings.Lines(string(maps)) {
		fields := strings.Fields(line)
		if len(fields) < 6 || fields[1][1] != '-' || !strings.HasPrefix(fields[5], "/") {
			continue // not a file's pages, or pages that may have been written to
		}
		from, to, _ := strings.Cut(fields[0], "-")
		start, err1 := strconv.ParseUint(from, 16, 64)
		end, err2 := strconv.ParseUint(to, 16, 64)
		if err1 == nil && err2 == nil {
			_, _, _ = unix.Syscall(unix.SYS_MADVISE, uintptr(start), uintptr(end-start), unix.MADV_DONTNEED)
		}
	}
}
