package sandbox

import (
	"encoding/binary"
	"os"
	"path"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// execError is a CMD that was not executed, with its hint: where the program is
// on the host, and what is needed to have it inside.
func (c *Cmd) execError(e unix.Errno, interpreter bool) error {
	failed := &ExecError{Name: c.Spec.Args[0], Errno: e, Interpreter: interpreter}
	k := &clues{cmd: c, host: c.host(), err: &Error{Step: "exec", Call: "execve", Errno: e}}
	if _, f := k.program(); e == unix.ENOENT && f.Mode == unix.S_IFREG {
		// PID 1 tells the two apart; a CMD that is executed without one does not.
		failed.Interpreter = true
	}
	switch {
	case failed.Interpreter:
		failed.Hint = k.noInterpreter()
	case e == unix.ENOENT, e == unix.ENOTDIR:
		failed.Hint = k.notFound()
	case e == unix.EACCES:
		failed.Hint = k.notExecutable()
	case e == unix.ENOEXEC:
		failed.Hint = k.noFormat()
	case e == unix.E2BIG:
		failed.Hint = k.tooLong()
	}
	return failed
}

// programs are the paths inside at which CMD may be, in the order of the
// search.
func (k *clues) programs() []string {
	name := k.cmd.Spec.Args[0]
	if strings.Contains(name, "/") {
		if k.cmd.plan != nil && !path.IsAbs(name) {
			name = path.Join(k.cmd.plan.Dir(), name)
		}
		return []string{path.Clean(name)}
	}
	var out []string
	for dir := range strings.SplitSeq(k.insidePath(), ":") {
		if path.IsAbs(dir) {
			out = append(out, path.Join(dir, name))
		}
	}
	return out
}

// insidePath is PATH as CMD has it.
func (k *clues) insidePath() string {
	if k.cmd.plan != nil {
		for _, kv := range k.cmd.plan.Env {
			if value, ok := strings.CutPrefix(kv, "PATH="); ok {
				return value
			}
		}
	}
	return ""
}

// callersEnv is a variable of the caller.
func (k *clues) callersEnv(name string) string {
	if f := k.cmd.Features; f != nil {
		return f.getenv(name)
	}
	return os.Getenv(name)
}

// program is the first of the paths that is there, on the host.
func (k *clues) program() (string, File) {
	for _, p := range k.programs() {
		on, shown := k.cmd.onHost(p)
		if f := k.follow(on); shown && f.exists() {
			return on, f
		}
	}
	return "", File{}
}

// notFound looks for CMD where the caller would have found it.
func (k *clues) notFound() string {
	name := k.cmd.Spec.Args[0]
	if strings.Contains(name, "/") {
		p := k.programs()[0]
		if _, shown := k.cmd.onHost(p); !shown && k.follow(p).exists() {
			return p + " is hidden: " + k.show(p)
		}
		if from := k.callersFolder(); !path.IsAbs(name) && k.cmd.plan != nil && from != k.cmd.plan.Dir() {
			if there := path.Join(from, name); k.follow(there).exists() {
				return "CMD starts in " + k.cmd.plan.Dir() + ", and " + name + " is " + there + ": " + k.show(there) + " and name it with its whole path"
			}
		}
		return ""
	}
	for dir := range strings.SplitSeq(k.callersEnv("PATH"), ":") {
		p := path.Join(dir, name)
		if !path.IsAbs(dir) || !k.runnable(p) {
			continue
		}
		if _, shown := k.cmd.onHost(p); !shown {
			return name + " is " + p + ", which is hidden: " + k.show(p)
		}
		if real := k.realPath(p); real != p {
			if _, shown := k.cmd.onHost(real); !shown {
				return name + " is " + p + ", which leads to " + real + ", which is hidden: " + k.show(real)
			}
		}
	}
	if k.follow(path.Join(k.callersFolder(), name)).exists() && k.runnable(path.Join(k.callersFolder(), name)) {
		return "a program of the working folder is named with its path: ./" + name
	}
	if looksLikeImage(name) && !k.cmd.Spec.givenRoot() {
		return "no program " + name + " is on this host. An image? sbx run --image " + shellWord(name)
	}
	return ""
}

func (k *clues) callersFolder() string {
	if f := k.cmd.Features; f != nil {
		return f.Dir
	}
	dir, err := os.Getwd()
	if err != nil {
		return ""
	}
	return dir
}

// runnable says whether a path is a file that the caller may execute.
func (k *clues) runnable(p string) bool {
	return k.follow(p).Mode == unix.S_IFREG && unix.Access(p, unix.X_OK) == nil
}

// realPath is a path after its symbolic links, those of its end only.
func (k *clues) realPath(p string) string {
	for range 40 {
		f := k.host.Lstat(p)
		if !f.isLink() {
			return p
		}
		if path.IsAbs(f.Link) {
			p = path.Clean(f.Link)
		} else {
			p = path.Join(path.Dir(p), f.Link)
		}
	}
	return p
}

// show is the flag that shows what a program needs: its folder, or the prefix
// that it is installed under. What a symbolic link leads to is shown too.
func (k *clues) show(p string) string {
	if flag := k.toolFlag(p); flag != "" {
		return flag
	}
	flags := []string{}
	for _, file := range []string{p, k.realPath(p)} {
		if _, shown := k.cmd.onHost(file); shown {
			continue
		}
		flag := "--ro " + k.homeWord(k.programFolder(file))
		if !slices.Contains(flags, flag) {
			flags = append(flags, flag)
		}
	}
	return strings.Join(flags, " ")
}

// programFolder is what to show of a hidden program, and no more than that: it
// is often advice to show a part of the home. A program that lies in a home
// itself is shown alone. One in a bin folder gets the folder above where that
// is a prefix, which holds what the program loads: a folder of a tool's own,
// such as ~/.foo, or one with libraries. ~/.local has those, and all that
// desktop programs store beside them.
func (k *clues) programFolder(file string) string {
	home := path.Clean(k.callersEnv("HOME"))
	private := func(dir string) bool {
		return dir == "/" || dir == home || dir == "/root" || path.Dir(dir) == "/home"
	}
	dir := path.Dir(file)
	if private(dir) {
		return file
	}
	if base := path.Base(dir); base != "bin" && base != "sbin" {
		return dir
	}
	prefix := path.Dir(dir)
	if private(prefix) || prefix == path.Join(home, ".local") {
		return dir
	}
	if strings.HasPrefix(path.Base(prefix), ".") {
		return prefix
	}
	for _, name := range [...]string{"lib", "lib64", "libexec", "pyvenv.cfg"} {
		if k.follow(path.Join(prefix, name)).exists() {
			return prefix
		}
	}
	return dir
}

// homeWord is a path as a word of a shell, with ~ for the home.
func (k *clues) homeWord(p string) string {
	if home := path.Clean(k.callersEnv("HOME")); path.IsAbs(home) && home != "/" && p != home && within(p, home) {
		if rest := strings.TrimPrefix(p, home+"/"); shellWord(rest) == rest {
			return "~/" + rest
		}
	}
	return shellWord(p)
}

// imageNames are what people run with docker run, and no host has as programs.
var imageNames = [...]string{
	"alpine", "ubuntu", "debian", "fedora", "archlinux", "centos", "rockylinux", "almalinux", "hello-world", "golang", "rust",
	"postgres", "mariadb", "mongo", "httpd", "openjdk", "eclipse-temurin", "gcc", "python", "node", "ruby", "php", "perl", "redis", "nginx", "busybox",
}

// looksLikeImage says whether a word without a slash is a well-known image, or
// has a tag as an image has: python:3.
func looksLikeImage(name string) bool {
	repository, tag, tagged := strings.Cut(name, ":")
	if slices.Contains(imageNames[:], repository) {
		return true
	}
	return tagged && repository != "" && tag != "" && !strings.ContainsFunc(name, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && !strings.ContainsRune(":._-", r)
	})
}

// notExecutable: EACCES of execve(2).
func (k *clues) notExecutable() string {
	on, f := k.program()
	if on == "" {
		return ""
	}
	switch {
	case f.isDir():
		return on + " is a folder"
	case f.Mode != unix.S_IFREG:
		return on + " is not a regular file"
	}
	real := k.realPath(on)
	m := k.mountOf(real)
	if slices.Contains(strings.Split(m.options, ","), "noexec") {
		return real + " lies on " + m.point + ", which is mounted noexec, and no mount of a sandbox takes that away: copy it elsewhere"
	}
	if closed := k.firstClosed(on); closed != "" {
		return "you may not enter " + closed + ", which belongs to " + k.owner(closed)
	}
	if unix.Access(real, unix.X_OK) == nil {
		return ""
	}
	if f.UID == unix.Getuid() {
		return on + " is not marked as a program: chmod +x " + shellWord(on)
	}
	return on + " belongs to " + k.owner(on) + ", who does not let you execute it"
}

// noInterpreter names the program that a script's first line, or an ELF file's
// header, asks for.
func (k *clues) noInterpreter() string {
	on, _ := k.program()
	if on == "" {
		return ""
	}
	head := k.head(on)
	what := "its loader is "
	interpreter := elfInterpreter(head)
	if strings.HasPrefix(string(head), "#!") {
		line, _, _ := strings.Cut(string(head[2:]), "\n")
		if strings.HasSuffix(line, "\r") {
			return "the first line of " + on + " ends in a carriage return, as Windows writes lines, so the interpreter's name does too: sed -i 's/\\r$//' " + shellWord(on)
		}
		what = "its first line asks for "
		if words := strings.Fields(line); len(words) > 0 {
			interpreter = words[0]
		}
	}
	if interpreter == "" {
		return ""
	}
	if !k.cmd.Spec.givenRoot() && k.follow(interpreter).exists() {
		if _, shown := k.cmd.onHost(interpreter); !shown {
			return what + interpreter + ", which is hidden: " + k.show(interpreter)
		}
		if real := k.realPath(interpreter); real != interpreter {
			if _, shown := k.cmd.onHost(real); !shown {
				return what + interpreter + ", which leads to " + real + ", which is hidden: " + k.show(real)
			}
		}
		return what + interpreter
	}
	if !k.cmd.Spec.givenRoot() {
		return what + interpreter + ", which is not on the host either"
	}
	return what + interpreter + ", which " + k.cmd.Spec.rootName() + " does not have"
}

// head is the beginning of a file: an ELF file's headers, or the first line of
// a script.
func (k *clues) head(p string) []byte {
	fd, err := unix.Open(p, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	defer unix.Close(fd)
	buf := make([]byte, 4096)
	n, err := unix.Pread(fd, buf, 0)
	if err != nil {
		return nil
	}
	return buf[:n]
}

// elfInterpreter is the PT_INTERP of a 64-bit little-endian ELF file (elf(5)),
// or "".
func elfInterpreter(head []byte) string {
	if len(head) < 64 || string(head[:6]) != "\x7fELF\x02\x01" {
		return ""
	}
	le := binary.LittleEndian
	at, size, count := le.Uint64(head[32:]), uint64(le.Uint16(head[54:])), uint64(le.Uint16(head[56:]))
	if size < 56 || at > uint64(len(head)) {
		return ""
	}
	for i := range count {
		h := at + i*size // no overflow: at is small, the others are 16 bits wide
		if h+56 > uint64(len(head)) {
			return ""
		}
		const ptInterp = 3
		if le.Uint32(head[h:]) != ptInterp {
			continue
		}
		offset, length := le.Uint64(head[h+8:]), le.Uint64(head[h+32:])
		if length == 0 || offset > uint64(len(head)) || length > uint64(len(head))-offset {
			return ""
		}
		return strings.TrimRight(string(head[offset:offset+length]), "\x00")
	}
	return ""
}

// noFormat: ENOEXEC of execve(2).
func (k *clues) noFormat() string {
	on, _ := k.program()
	if on == "" {
		return ""
	}
	head := k.head(on)
	if len(head) == 0 {
		return on + " is empty"
	}
	if len(head) >= 20 && string(head[:4]) == "\x7fELF" {
		machine := int(binary.LittleEndian.Uint16(head[18:]))
		if own := map[string]int{"amd64": 62, "arm64": 183}[runtime.GOARCH]; own != 0 && machine != own {
			return on + " is a program for another machine (" + machineName(machine) + "; this one is " + runtime.GOARCH + ")"
		}
		return ""
	}
	if slices.Contains(head, 0) {
		return ""
	}
	return on + " is text without a #! line: add one, or run it with its interpreter: sh " + shellWord(k.cmd.Spec.Args[0])
}

// machineName is e_machine of elf(5) by name, for those that are met.
func machineName(machine int) string {
	for _, m := range [...]struct {
		number int
		name   string
	}{{3, "i386"}, {8, "mips"}, {20, "ppc"}, {21, "ppc64"}, {22, "s390x"}, {40, "arm"}, {62, "amd64"}, {183, "arm64"}, {243, "riscv"}, {258, "loongarch"}} {
		if m.number == machine {
			return m.name
		}
	}
	return "ELF machine " + strconv.Itoa(machine)
}

// tooLong: E2BIG of execve(2). One string may have 128 KiB, and all of them a
// quarter of the stack's limit, 6 MiB at most.
func (k *clues) tooLong() string {
	const oneString = 128 << 10
	for i, a := range k.cmd.Spec.Args {
		if len(a) >= oneString {
			return "argument " + strconv.Itoa(i) + " has " + strconv.Itoa(len(a)) + " bytes, and the kernel takes 131071 at most: pass it in a file or on stdin"
		}
	}
	total := 0
	for _, a := range k.cmd.Spec.Args {
		total += len(a) + 9
	}
	if k.cmd.plan == nil {
		return ""
	}
	for _, kv := range k.cmd.plan.Env {
		if name, _, _ := strings.Cut(kv, "="); len(kv) >= oneString {
			return "the variable " + name + " has " + strconv.Itoa(len(kv)) + " bytes, and the kernel takes 131071 at most"
		}
		total += len(kv) + 9
	}
	return "the arguments and the environment have " + strconv.Itoa(total) + " bytes together, more than a quarter of the stack's limit (ulimit -s)"
}
