package filter

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// cacheMagic begins every entry of the cache. Its digit changes when the format
// does, or when the compiler gives another program for the same profile.
const cacheMagic = "sbxbpf1\n"

// MaxProfile is the largest profile in bytes that is compiled or cached.
const MaxProfile = 1 << 20

// Cached reads the compiled program of a profile, whose bytes are given, from
// the user's cache, where sbx-seccomp put it. The error is fs.ErrNotExist when
// no entry is there. Any other error means that the entry cannot be trusted:
// it belongs to somebody else, others may write it, it is damaged, or the
// program is not valid.
//
// The name of an entry holds a short hash of the profile, and the entry holds
// the profile itself, which is compared byte by byte: a collision is a miss.
// A cache that a sandbox was allowed to write (--rw on the home) says what that
// sandbox wanted; such a folder is not to be shown writable.
func Cached(profile []byte, arch string) (Program, error) {
	path, err := CachePath(profile, arch)
	if err != nil {
		return nil, err
	}
	raw, err := readOwn(path)
	if err != nil {
		return nil, err
	}
	p, of, err := decodeEntry(raw)
	if err != nil {
		return nil, fmt.Errorf("filter: cache entry %s: %w", path, err)
	}
	if !bytes.Equal(of, profile) {
		return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
	}
	return p, nil
}

// CachePath is where the compiled program of a profile lies:
// $XDG_CACHE_HOME/sbx/seccomp (or ~/.cache/…), then the profile's hash, the
// architecture and the kernel's version, since a profile may ask for a least
// kernel. The file need not exist.
func CachePath(profile []byte, arch string) (string, error) {
	if _, ok := Arch(arch); !ok {
		return "", fmt.Errorf("filter: architecture %q is none of %s", arch, strings.Join(Arches(), ", "))
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	major, minor, err := Kernel()
	if err != nil {
		return "", err
	}
	hash := fnv.New64a()
	hash.Write(profile)
	name := fmt.Sprintf("%016x-%s-%d.%d.bpf", hash.Sum64(), arch, major, minor)
	return filepath.Join(dir, "sbx", "seccomp", name), nil
}

// Kernel is the running kernel's version, its first two numbers (uname(2)).
func Kernel() (major, minor int, err error) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return 0, 0, os.NewSyscallError("uname", err)
	}
	release := unix.ByteSliceToString(u.Release[:])
	first, rest, _ := strings.Cut(release, ".")
	second, _, _ := strings.Cut(rest, ".")
	if i := strings.IndexFunc(second, func(r rune) bool { return r < '0' || r > '9' }); i >= 0 {
		second = second[:i]
	}
	major, err1 := strconv.Atoi(first)
	minor, err2 := strconv.Atoi(second)
	if err1 != nil || err2 != nil {
		return 0, 0, fmt.Errorf("filter: kernel release %q does not begin with two numbers", release)
	}
	return major, minor, nil
}

// EncodeEntry is the content of the cache's file for a profile and its program.
func EncodeEntry(profile []byte, p Program) []byte {
	raw := binary.LittleEndian.AppendUint32([]byte(cacheMagic), uint32(len(p)))
	raw = append(raw, p.Bytes()...)
	return append(raw, profile...)
}

// decodeEntry takes a cache entry apart into the program and its profile.
func decodeEntry(raw []byte) (Program, []byte, error) {
	rest, ok := bytes.CutPrefix(raw, []byte(cacheMagic))
	if !ok || len(rest) < 4 {
		return nil, nil, errors.New("it does not begin as a cache entry of this version")
	}
	count := binary.LittleEndian.Uint32(rest)
	rest = rest[4:]
	if count > MaxInstructions || uint64(len(rest)) < uint64(count)*instructionSize {
		return nil, nil, errors.New("it is shorter than it says")
	}
	size := int(count) * instructionSize
	p, err := Parse(rest[:size])
	if err != nil {
		return nil, nil, err
	}
	return p, rest[size:], nil
}

// readOwn reads a file of limited size that nobody but the caller can have
// written. Everything is asked of the open file, so that the name may change
// its meaning meanwhile.
func readOwn(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return nil, &fs.PathError{Op: "fstat", Path: path, Err: err}
	}
	const largest = len(cacheMagic) + 4 + MaxInstructions*instructionSize + MaxProfile
	switch {
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		return nil, fmt.Errorf("filter: cache entry %s: it is no regular file", path)
	case st.Uid != uint32(os.Geteuid()):
		return nil, fmt.Errorf("filter: cache entry %s: it belongs to uid %d: %w", path, st.Uid, fs.ErrPermission)
	case st.Mode&0o022 != 0:
		return nil, fmt.Errorf("filter: cache entry %s: others may write it (mode %04o): %w", path, st.Mode&0o7777, fs.ErrPermission)
	case st.Size > int64(largest):
		return nil, fmt.Errorf("filter: cache entry %s: %d bytes are too many", path, st.Size)
	}
	return io.ReadAll(io.LimitReader(f, int64(largest)))
}
