package lessons

import (
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox/observe"
)

// survivors are the processes that are still in CMD's user namespace after sbx
// ended, by number on the host. They are ended: a class that tries what a
// missing step does would leave a machine full of them. Nil where CMD had no
// user namespace of its own, since nothing then tells its processes from others.
func survivors(v *observe.View) []int {
	if v == nil {
		return nil
	}
	n, ok := v.Namespace("user")
	if !ok || n.Shared {
		return nil
	}
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil
	}
	name := "user:[" + strconv.FormatUint(n.Inode, 10) + "]"
	pids := []int{}
	for _, dir := range dirs {
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil || !within(dir, name) {
			continue
		}
		fd, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			continue // it ended by itself
		}
		// The number may have gone to another process before the descriptor
		// was there; now it stays.
		if within(dir, name) {
			pids = append(pids, pid)
			_ = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
		}
		unix.Close(fd)
	}
	return pids
}

// within says whether the process of a folder of /proc is in a user namespace.
func within(dir, name string) bool {
	link, err := os.Readlink(dir + "/ns/user")
	return err == nil && link == name
}
