package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/sbx-dev/sbx/lessons"
)

const (
	beginMark = "<!-- transcript "
	endMark   = "<!-- /transcript -->"
	fence     = "```"
)

// A part is a piece of a document: text, its last lines the opening mark and
// fence, and the block that follows. The last part has neither name nor block.
type part struct {
	before string
	name   string
	block  string
}

// split finds the transcripts of a document. What it returns, put together
// again, is the document.
func split(text string) ([]part, error) {
	var parts []part
	for {
		at := strings.Index(text, beginMark)
		if at < 0 {
			return append(parts, part{before: text}), nil
		}
		name, _, ok := strings.Cut(text[at+len(beginMark):], " -->\n")
		if !ok || strings.ContainsAny(name, " \n") {
			return nil, errors.New("a mark of a transcript is not closed on its line")
		}
		open := at + len(beginMark) + len(name) + len(" -->\n")
		first, _, _ := strings.Cut(text[open:], "\n")
		if first != fence+"console" {
			return nil, fmt.Errorf("the transcript %s does not begin with %sconsole", name, fence)
		}
		start := open + len(first) + 1
		size := strings.Index(text[start:], fence+"\n"+endMark)
		if size < 0 {
			return nil, fmt.Errorf("the transcript %s has no end", name)
		}
		parts = append(parts, part{before: text[:start], name: name, block: text[start : start+size]})
		text = text[start+size:]
	}
}

// commands are the commands of a block.
func commands(block string) []string {
	var list []string
	for line := range strings.Lines(block) {
		if c, ok := strings.CutPrefix(line, "$ "); ok {
			list = append(list, strings.TrimSuffix(c, "\n"))
		}
	}
	return list
}

// outputs are what a block shows for each of its commands.
func outputs(block string) []string {
	var list []string
	for line := range strings.Lines(block) {
		if strings.HasPrefix(line, "$ ") {
			list = append(list, "")
		} else if len(list) > 0 {
			list[len(list)-1] += line
		}
	}
	return list
}

// A result is one command and what came of it.
type result struct {
	command string
	output  string // stdout and stderr, as a terminal would show them
	code    int    // exit code
}

// prepare is the shell script that runs the commands, its arguments: one shell
// and one home for all, with a key to be stolen and a copy of the scene, the
// output of each command followed by \036 and its exit code. Names of the folder are all of one length, because lines are broken by it.
const prepare = `
top=$(mktemp -d /tmp/sbx.XXXXXX) || exit
trap 'chmod -R u+rwX "$top"; rm -rf "$top"' EXIT
PATH=$1:$PATH
shift
unset COLUMNS
HOME=$top
mkdir -p "$top/.ssh"
echo 'no real key' >"$top/.ssh/id_ed25519"
cp -R "$1" "$top/" && cd "$top/${1##*/}" || exit
shift
for command; do
	eval "$command" </dev/null 2>&1
	printf '\036%d\n' $?
done
`

// run runs the commands of a transcript of a file as a normal user.
func run(root, file string, commands []string) ([]result, error) {
	if _, err := os.Stat(filepath.Join(root, "bin/sbx")); err != nil {
		return nil, fmt.Errorf("%w: run make build", err) // or every output would be "sbx: not found"
	}
	folder, err := scene(file)
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(filepath.Dir(folder))
	args := append([]string{"sh", "-c", prepare, "sh", filepath.Join(root, "bin"), folder}, commands...)
	cmd := exec.Command(filepath.Join(root, "scripts/as-user"), args...)
	cmd.Dir = root
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%w %s", err, &stderr)
	}
	var list []result
	rest := string(out)
	for _, c := range commands {
		output, after, ok := strings.Cut(rest, "\x1e")
		code, after, ok2 := strings.Cut(after, "\n")
		n, err := strconv.Atoi(code)
		if !ok || !ok2 || err != nil {
			return nil, fmt.Errorf("%s: no exit code in %q", c, rest)
		}
		output = host.ReplaceAllLiteralString(output, "lab")
		list = append(list, result{command: c, output: home.ReplaceAllString(output, "/home/you"), code: n})
		rest = after
	}
	return list, nil
}

// scene makes a copy of the folder that the commands of a file begin in: two
// small files, or those of the lesson that the file belongs to, with its images as
// archives.
func scene(file string) (string, error) {
	name, lesson := "essay", &lessons.Lesson{Files: map[string]string{"thesis.txt": "my only copy\n", "notes/chapter-1.txt": "more of it\n"}}
	if l, ok := lessons.Find(filepath.Base(filepath.Dir(file))); ok {
		name, lesson = l.ID(), l
	}
	top, err := os.MkdirTemp("", "transcript")
	if err != nil {
		return "", err
	}
	if err := os.Chmod(top, 0o755); err != nil {
		return "", err
	}
	runner := &lessons.Runner{Dir: filepath.Join(top, name)}
	return runner.Dir, errors.Join(runner.Prepare(lesson, false), os.Chmod(runner.Dir, 0o755))
}

// host is this host's name, as a word.
var host = func() *regexp.Regexp {
	name, err := os.Hostname()
	if err != nil || name == "" {
		name = "localhost"
	}
	return regexp.MustCompile(`\b` + regexp.QuoteMeta(name) + `\b`)
}()

// home is the folder that prepare makes.
var home = regexp.MustCompile(`/tmp/sbx\.\w{6}`)

// format writes results as the block of a transcript.
func format(list []result) string {
	var b strings.Builder
	for _, r := range list {
		fmt.Fprintf(&b, "$ %s\n", r.command)
		b.WriteString(r.output)
		if r.output != "" && !strings.HasSuffix(r.output, "\n") {
			b.WriteByte('\n')
		}
	}
	return b.String()
}
