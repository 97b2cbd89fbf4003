package build

import (
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/shell"
)

// proxyArgs may be given as build arguments without an ARG, and are then in the
// environment of RUN, but neither in the image nor in a cache key: where a
// machine's proxy is says nothing about the result (Dockerfile reference,
// "Predefined ARGs").
var proxyArgs = []string{
	"HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "FTP_PROXY", "ftp_proxy",
	"NO_PROXY", "no_proxy", "ALL_PROXY", "all_proxy",
}

// given are the build arguments of the command line, shared by all stages.
type given struct {
	values map[string]string

	mu   sync.Mutex
	used map[string]bool // what an ARG has asked for
}

// value is a build argument, which counts as used from then on.
func (g *given) value(key string) (string, bool) {
	v, ok := g.values[key]
	if ok {
		g.mu.Lock()
		g.used[key] = true
		g.mu.Unlock()
	}
	return v, ok
}

// unused are the build arguments that nothing has asked for, sorted.
func (g *given) unused() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.DeleteFunc(slices.Sorted(maps.Keys(g.values)), func(k string) bool { return g.used[k] })
}

// scope is what a variable means at one place of the file.
type scope struct {
	escape rune
	lex    *shell.Lex
	given  *given
	global map[string]string // the ARGs before the first FROM; nil in their own scope
	args   map[string]string // declared here, with a value
	env    []string          // of the image, K=V; it wins over args
}

// newScope is the scope before the first FROM, with the ARGs that stand there.
func (f *file) newScope(g *given) (*scope, error) {
	s := &scope{escape: f.escape, lex: shell.NewLex(f.escape), given: g, args: platformArgs()}
	for _, a := range f.global {
		if err := a.Expand(s.expand); err != nil {
			return nil, f.at(a.Location(), a.String(), err)
		}
		s.declare(a.Args)
	}
	return s, nil
}

// platformArgs are the predefined ARGs on the platform, which a stage gets by
// an ARG of their name.
func platformArgs() map[string]string {
	out := map[string]string{}
	for _, side := range []string{"BUILD", "TARGET"} {
		out[side+"PLATFORM"] = "linux/" + runtime.GOARCH
		out[side+"OS"] = "linux"
		out[side+"ARCH"] = runtime.GOARCH
		out[side+"VARIANT"] = ""
	}
	return out
}

func (s *scope) platform() string { return "linux/" + runtime.GOARCH }

// stage is the scope at the beginning of a stage.
func (s *scope) stage(env []string) *scope {
	return &scope{escape: s.escape, lex: shell.NewLex(s.escape), given: s.given, global: s.args, args: map[string]string{}, env: slices.Clone(env)}
}

// declare makes the variables of an ARG known: with the value of the command
// line, else the one that stands there, else that of the ARG before the first
// FROM.
func (s *scope) declare(args []instructions.KeyValuePairOptional) {
	for _, a := range args {
		if value, ok := s.given.value(a.Key); ok {
			s.args[a.Key] = value
		} else if a.Value != nil {
			s.args[a.Key] = *a.Value
		} else if value, ok := s.global[a.Key]; ok {
			s.args[a.Key] = value
		}
	}
}

// setEnv sets a variable of the image.
func (s *scope) setEnv(key, value string) { s.env = setEnv(s.env, key, value) }

// setEnv replaces a variable where it stands, or adds it.
func setEnv(env []string, key, value string) []string {
	for i, line := range env {
		if k, _, _ := strings.Cut(line, "="); k == key {
			env[i] = key + "=" + value
			return env
		}
	}
	return append(env, key+"="+value)
}

// variables are what $NAME can mean here.
func (s *scope) variables() shell.EnvGetter {
	var list []string
	for _, k := range slices.Sorted(maps.Keys(s.args)) {
		list = append(list, k+"="+s.args[k])
	}
	return shell.EnvsFromSlice(append(list, s.env...))
}

// expand replaces the variables in a word and takes its quotes away.
func (s *scope) expand(word string) (string, error) {
	out, _, err := s.lex.ProcessWord(word, s.variables())
	return out, err
}

// expandRaw replaces variables and leaves quotes as they are: for the text of a
// here-document.
func (s *scope) expandRaw(word string) (string, error) {
	lex := shell.NewLex(s.escape)
	lex.RawQuotes, lex.RawEscapes = true, true
	out, _, err := lex.ProcessWord(word, s.variables())
	return out, err
}

// expandWords replaces variables and splits at the spaces outside of quotes.
func (s *scope) expandWords(word string) ([]string, error) {
	return s.lex.ProcessWords(word, s.variables())
}

// runArgs are the ARGs that a RUN sees, sorted, K=V: those that ENV does not
// hide. They count for its cache key.
func (s *scope) runArgs() []string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(s.args)) {
		if !slices.ContainsFunc(s.env, func(line string) bool { return strings.HasPrefix(line, k+"=") }) {
			out = append(out, k+"="+s.args[k])
		}
	}
	return out
}

// proxies are the predefined build arguments that were given.
func (s *scope) proxies() []string {
	var out []string
	for _, k := range proxyArgs {
		if value, ok := s.given.value(k); ok {
			out = append(out, k+"="+value)
		}
	}
	return out
}
