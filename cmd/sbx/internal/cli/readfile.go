package cli

import (
	"errors"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// maxEnvFile is how much an --env-file may hold, in bytes: execve takes no more
// for a whole environment than a quarter of the stack's limit (execve(2)).
const maxEnvFile = 8 << 20

// readEnvFiles reads docker's format: a line each of K=V or K, comments, no
// quotes.
func readEnvFiles(names []string) ([]string, error) {
	var out []string
	for _, name := range names {
		data, err := readSmall(name, maxEnvFile)
		if err != nil {
			return nil, &usageError{msg: "--env-file: " + err.Error()}
		}
		for line := range strings.Lines(string(data)) {
			line = strings.TrimRight(strings.TrimLeft(line, " \t"), "\r\n")
			if line == "" || line[0] == '#' {
				continue
			}
			if key, _, _ := strings.Cut(line, "="); strings.ContainsAny(key, " \t") {
				return nil, &usageError{msg: "--env-file " + name + ": " + quoted(line) + " is not K=V: a name holds no space"}
			}
			out = append(out, line)
		}
	}
	return out, nil
}

// pipeFS is PIPEFS_MAGIC of include/uapi/linux/magic.h: a pipe that has no name,
// as a shell makes for <(…), and none that lies in a folder.
const pipeFS = 0x50495045

// readSmall reads a file of the caller's whole, of at most so many bytes. It
// does not wait for whoever may write to a FIFO, nor does it read a device: what
// is no regular file is an error. The shell's <(…) and a pipe as /dev/stdin
// count as files, for they have a writer and an end, and so does /dev/null.
func readSmall(name string, most int64) ([]byte, error) {
	bad := func(reason string) ([]byte, error) { return nil, errors.New(name + ": " + reason) }
	fd, err := unix.Open(name, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return bad(err.Error())
	}
	var st unix.Stat_t
	var fs unix.Statfs_t
	if err := errors.Join(unix.Fstat(fd, &st), unix.Fstatfs(fd, &fs), unix.SetNonblock(fd, false)); err != nil {
		unix.Close(fd)
		return bad(err.Error())
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	what := ""
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
	case unix.S_IFIFO:
		if int64(fs.Type) != pipeFS {
			what = "a FIFO"
		}
	case unix.S_IFDIR:
		what = "a folder"
	case unix.S_IFCHR:
		if unix.Major(st.Rdev) != 1 || unix.Minor(st.Rdev) != 3 {
			what = "a device"
		}
	default:
		what = "a device or a socket"
	}
	if what != "" {
		return bad("is " + what + ", and no regular file")
	}
	data, err := io.ReadAll(io.LimitReader(f, most+1))
	switch {
	case err != nil:
		return bad(err.Error())
	case int64(len(data)) > most:
		return bad("is larger than " + sizeText(most))
	}
	return data, nil
}
