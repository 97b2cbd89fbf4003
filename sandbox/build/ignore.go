package build

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
	"sync"

	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"
)

// ignored is a .dockerignore: what of a context no instruction sees.
type ignored struct {
	mu      sync.Mutex // patterns are compiled as they are used
	matcher *patternmatcher.PatternMatcher
	back    []string // the patterns that let something in again, without their "!"
}

// newIgnored reads patterns as .dockerignore has them; nil when there are none.
func newIgnored(patterns []string) (*ignored, error) {
	if len(patterns) == 0 {
		return nil, nil
	}
	m, err := patternmatcher.New(patterns)
	if err != nil {
		return nil, err
	}
	i := &ignored{matcher: m}
	for _, p := range m.Patterns() {
		if p.Exclusion() {
			i.back = append(i.back, strings.TrimPrefix(p.String(), "/"))
		}
	}
	return i, nil
}

// readIgnored finds the patterns for a build: those of the file beside the
// Dockerfile, else .dockerignore of the context, as docker does.
func readIgnored(context *folder, dockerfile string) ([]string, error) {
	for _, name := range []string{dockerfile + ".dockerignore", ".dockerignore"} {
		if name == ".dockerignore" || dockerfile != "" {
			file, err := context.open("/" + name)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return nil, err
			}
			data, err := io.ReadAll(io.LimitReader(file, largestFile+1))
			file.Close()
			if err == nil && len(data) > largestFile {
				err = fmt.Errorf("it is larger than %d bytes", largestFile)
			}
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			patterns, err := ignorefile.ReadAll(bytes.NewReader(data))
			if err == nil {
				_, err = newIgnored(patterns)
			}
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			return patterns, nil
		}
	}
	return nil, nil
}

// matches says whether a path is left out. A folder that is left out stays as
// long as a pattern may let something in it in again.
func (i *ignored) matches(rel string, dir bool) (bool, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	out, err := i.matcher.MatchesOrParentMatches(rel)
	if err != nil || !out || !dir {
		return out, err
	}
	for _, back := range i.back {
		if mayBeIn(rel, back) {
			return false, nil
		}
	}
	return true, nil
}

// bare says whether a folder itself is left out, whatever is let in below it.
func (i *ignored) bare(rel string) (bool, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.matcher.MatchesOrParentMatches(rel)
}

// mayBeIn says whether a pattern may match something below a folder.
func mayBeIn(dir, pattern string) bool {
	for _, want := range strings.Split(pattern, "/") {
		if want == "**" || dir == "" {
			return true
		}
		var name string
		name, dir, _ = strings.Cut(dir, "/")
		if ok, err := path.Match(want, name); err == nil && !ok {
			return false
		}
	}
	return dir == ""
}
