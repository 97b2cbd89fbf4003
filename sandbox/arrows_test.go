package sandbox_test

import (
	"debug/elf"
	"debug/gosym"
	"errors"
	"go/ast"
	"go/build/constraint"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/sbx-dev/sbx/sandbox/internal/testenv"
)

// modulePath is the path of this module as go.mod has it.
const modulePath = "github.com/sbx-dev/sbx"

// An arrow is one rule of the architecture: what a package may be built from.
// The rules are held here rather than by a linter because this needs no module
// cache and no go command (docs/adr/0010-arrows.md).
type arrow struct {
	// From is a package of this module, without the module's path.
	From string
	// Never lists packages that From must not reach through packages of this
	// module: standard library ones by their path, ones of this module by their
	// path in it, others by their path. "C" stands for cgo.
	Never []string
	// Only, when not nil, lists everything that From may import beside itself.
	Only []string
	// Why is what breaks otherwise.
	Why string
}

// heavyPackages are packages whose initialisation or size costs every start of
// sbx. kong brings go/doc and go/ast along, which take 12 µs and are let be.
var heavyPackages = []string{
	"encoding/gob", "encoding/xml", "go/parser", "go/types", "html/template",
	"image", "net/http", "text/template",
}

var arrows = []arrow{
	{
		From:  "sandbox",
		Never: slices.Concat(heavyPackages, []string{"C", "github.com/seccomp/libseccomp-golang", "sandbox/seccomp", "sandbox/observe", "sandbox/image", "sandbox/build", "sandbox/network", "sandbox/judge", "sandbox/toolfile", "github.com/pelletier/go-toml/v2", "lessons", "lessons/classroom", "regexp"}),
		Why:   "a program that imports the library needs no C, and starts as fast as without it",
	},
	{
		From:  "sandbox/observe",
		Never: slices.Concat(heavyPackages, []string{"C", "sandbox/seccomp", "sandbox/image", "sandbox/build", "regexp"}),
		Why:   "observe is linked into sbx",
	},
	{
		From:  "sandbox/layer",
		Never: slices.Concat(heavyPackages, []string{"crypto/rand", "math/big", "C", "sandbox/seccomp", "sandbox/observe", "sandbox/image", "sandbox/build", "regexp"}),
		Why:   "layer is linked into sbx, where a plain run must not notice it",
	},
	{
		From:  "sandbox/image",
		Never: []string{"C", "sandbox/seccomp", "sandbox/observe", "sandbox/build", "sandbox/network", "lessons"},
		Why:   "image gives a list of folders and a config; what is made of them is for others to know",
	},
	{
		From: "sandbox/image/local",
		Only: []string{"encoding/json", "errors", "fmt", "io/fs", "os", "path/filepath", "slices", "strconv", "strings", "golang.org/x/sys/unix"},
		Why:  "local is linked into sbx, which must not bring the libraries of registries along",
	},
	{
		From: "sandbox/stack",
		Only: []string{"errors", "io/fs", "os", "path", "slices", "strings", "golang.org/x/sys/unix"},
		Why:  "sandbox itself imports it",
	},
	{
		From:  "sandbox/container",
		Never: slices.Concat(heavyPackages, []string{"C", "sandbox/image", "sandbox/build", "sandbox/seccomp", "sandbox/observe", "regexp"}),
		Why:   "container is linked into sbx",
	},
	{
		From:  "sandbox/build",
		Never: []string{"C", "sandbox/seccomp", "lessons", "cmd/sbx/internal/cli"},
		Why:   "a build is made of images and sandboxes, and knows no command line",
	},
	{
		From:  "cmd/internal/buildflags",
		Never: slices.Concat(heavyPackages, []string{"C", "sandbox", "sandbox/build", "github.com/alecthomas/kong", "regexp"}),
		Why:   "buildflags is linked into sbx, and says only what the flags are",
	},
	{
		From:  "sandbox/state",
		Never: slices.Concat(heavyPackages, []string{"crypto/rand", "math/big", "C", "sandbox/seccomp", "sandbox/observe", "sandbox/image", "sandbox/build", "sandbox/layer", "regexp"}),
		Why:   "state is linked into sbx, where a plain run must not notice it",
	},
	{
		From: "sandbox/internal/rawfork",
		Only: []string{
			"bytes", "encoding/binary", "errors", "fmt", "os", "runtime", "strconv", "sync", "sync/atomic", "syscall", "time",
			"unsafe", "golang.org/x/sys/unix",
		},
		Why: "rawfork prepares memory and runs raw calls on it; what they mean is for sandbox to know",
	},
	{
		From: "sandbox/internal/nofile",
		Only: []string{},
		Why:  "nofile must be initialised before package syscall, and an import would make it wait",
	},
	{
		From:  "sandbox/filter",
		Never: slices.Concat(heavyPackages, []string{"C", "sandbox", "regexp"}),
		Why:   "a filter is data, which sandbox installs and seccomp makes",
	},
	{
		From:  "sandbox/landlock",
		Never: slices.Concat(heavyPackages, []string{"C", "sandbox", "regexp"}),
		Why:   "sandbox imports landlock, never the other way",
	},
	{
		From:  "sandbox/toolfile",
		Never: slices.Concat(heavyPackages, []string{"C", "sandbox/observe", "regexp"}),
		Why:   "toolfile is linked into sbx, and is apart from sandbox because that needs no TOML",
	},
	{
		From:  "sandbox/seccomp",
		Never: []string{"sandbox", "sandbox/observe"},
		Why:   "seccomp compiles a profile to a filter and knows nothing of sandboxes",
	},
	{
		From:  "cmd/sbx/internal/cli",
		Never: slices.Concat(heavyPackages, []string{"C", "github.com/alecthomas/kong", "regexp", "net/netip"}),
		Why:   "a plain sbx run ends in its init, before kong and what kong needs are initialised (docs/adr/0006-quick-parse.md)",
	},
	{
		From:  "cmd/sbx",
		Never: slices.Concat(heavyPackages, []string{"C", "sandbox/seccomp", "sandbox/image", "sandbox/build", "sandbox/network", "lessons", "lessons/classroom"}),
		Why:   "Go initialises every linked package before main; heavy verbs are sibling commands",
	},
	{
		From:  "lessons",
		Never: []string{"C", "net/http", "html/template", "sandbox/seccomp", "lessons/classroom", "cmd/sbx/internal/cli", "github.com/yuin/goldmark"},
		Why:   "the course in the terminal needs no web server, and what a student types goes through the sbx binary alone",
	},
	{
		From:  "lessons/classroom",
		Never: []string{"C", "cmd/sbx/internal/cli", "github.com/chromedp/chromedp"},
		Why:   "the server isolates nothing itself: it starts sbx; a browser is for its tests",
	},
}

// onlyStandard are packages of which a package may import, beside this module's
// and the standard library's, x/sys/unix alone.
var onlyStandard = []string{"sandbox/filter", "sandbox/landlock", "sandbox/internal/rawfork"}

// unsafeIn is the one package that may import unsafe.
const unsafeIn = "sandbox/internal/rawfork"

// A goPackage is what the arrows need to know of one folder of Go files.
type goPackage struct {
	imports map[string][]string // import path → files that import it, _test.go files aside
}

// repository parses the imports of all Go files of this module, whatever their
// build constraints: an arrow holds on every system, except that files which
// never belong to a build (ignore) are left out.
func repository(t *testing.T) map[string]goPackage {
	t.Helper()
	packages := map[string]goPackage{}
	files := token.NewFileSet()
	err := filepath.WalkDir("..", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			base := entry.Name()
			if name != ".." && (base == "testdata" || strings.HasPrefix(base, ".") || strings.HasPrefix(base, "_")) {
				return fs.SkipDir
			}
			// A folder with a go.mod of its own is another module.
			if _, err := os.Stat(filepath.Join(name, "go.mod")); name != ".." && err == nil {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		file, err := parser.ParseFile(files, name, nil, parser.ImportsOnly|parser.ParseComments)
		if err != nil {
			return err
		}
		if neverBuilt(file) {
			return nil
		}
		rel, err := filepath.Rel("..", filepath.Dir(name))
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		p, ok := packages[rel]
		if !ok {
			p = goPackage{imports: map[string][]string{}}
			packages[rel] = p
		}
		for _, spec := range file.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			p.imports[imported] = append(p.imports[imported], filepath.ToSlash(name))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(packages["sandbox"].imports) == 0 {
		t.Fatal("package sandbox was not found: the test looks in the wrong folder")
	}
	return packages
}

// neverBuilt says whether a file is excluded from every build by a "go:build
// ignore" line, as generators are.
func neverBuilt(file *ast.File) bool {
	for _, group := range file.Comments {
		if group.Pos() > file.Package {
			break
		}
		for _, comment := range group.List {
			expr, err := constraint.Parse(comment.Text)
			if err != nil {
				continue
			}
			if tag, ok := expr.(*constraint.TagExpr); ok && tag.Tag == "ignore" {
				return true
			}
		}
	}
	return false
}

// reach returns every import path that from reaches through packages of this
// module, each with the chain of packages that leads there. Other modules are
// not entered, since their sources may not be here.
func reach(packages map[string]goPackage, from string) map[string][]string {
	chains := map[string][]string{}
	var visit func(name string, chain []string)
	visit = func(name string, chain []string) {
		chain = append(slices.Clone(chain), name)
		for imported := range packages[name].imports {
			inside, ours := strings.CutPrefix(imported, modulePath+"/")
			key := imported
			if ours {
				key = inside
			}
			if _, seen := chains[key]; seen {
				continue
			}
			chains[key] = append(slices.Clone(chain), key)
			if ours {
				visit(inside, chain)
			}
		}
	}
	visit(from, nil)
	return chains
}

// TestArrows holds the arrows of the architecture: each package reaches only
// what its row allows.
func TestArrows(t *testing.T) {
	packages := repository(t)
	for _, a := range arrows {
		t.Run(a.From, func(t *testing.T) {
			if _, ok := packages[a.From]; !ok {
				t.Fatalf("package %s does not exist: its row is out of date", a.From)
			}
			chains := reach(packages, a.From)
			for _, never := range a.Never {
				if chain, ok := chains[never]; ok {
					t.Errorf("%s: %s", strings.Join(chain, " → "), a.Why)
				}
			}
			if a.Only == nil {
				return
			}
			for imported, files := range packages[a.From].imports {
				if !slices.Contains(a.Only, imported) {
					t.Errorf("%v: import of %s: %s", files, imported, a.Why)
				}
			}
		})
	}
}

// TestOnlyStandardLibrary holds that the packages below sandbox which every
// start pays for add no module but x/sys.
func TestOnlyStandardLibrary(t *testing.T) {
	packages := repository(t)
	for _, from := range onlyStandard {
		for imported, files := range packages[from].imports {
			first, _, _ := strings.Cut(imported, "/")
			if !strings.Contains(first, ".") || strings.HasPrefix(imported, modulePath+"/") || imported == "golang.org/x/sys/unix" {
				continue
			}
			t.Errorf("%v: import of %s: %s is made of the standard library and x/sys/unix", files, imported, from)
		}
	}
}

// TestUnsafeStaysInRawfork holds that one package alone handles raw memory, so
// that a reader who looks for the dangerous code looks in one place.
func TestUnsafeStaysInRawfork(t *testing.T) {
	packages := repository(t)
	if _, ok := packages[unsafeIn].imports["unsafe"]; !ok {
		t.Errorf("%s imports no unsafe: the rule or the folder is out of date", unsafeIn)
	}
	for name, p := range packages {
		if name == unsafeIn {
			continue
		}
		if files, ok := p.imports["unsafe"]; ok {
			t.Errorf("%v: import of unsafe: it belongs in %s", files, unsafeIn)
		}
	}
}

// TestLinkedIntoSbx looks at the functions of the built bin/sbx, because only
// the linker knows what a library brought along: what it left out costs nothing.
func TestLinkedIntoSbx(t *testing.T) {
	functions, err := linkedFunctions(filepath.Join("..", "bin", "sbx"))
	if errors.Is(err, fs.ErrNotExist) {
		testenv.Lacks(t, "built", "bin/sbx is missing: run make build")
	}
	if err != nil {
		t.Fatal(err)
	}
	if !functions[modulePath+"/sandbox"] {
		t.Fatalf("no function of %s/sandbox is linked: the table of functions was misread", modulePath)
	}
	never := slices.Concat(heavyPackages, []string{
		"net/http/internal", "github.com/seccomp/libseccomp-golang",
		"github.com/google/go-containerregistry/pkg/name", "github.com/klauspost/compress/zstd",
		modulePath + "/sandbox/seccomp", modulePath + "/sandbox/image", modulePath + "/sandbox/build",
		"github.com/moby/buildkit/frontend/dockerfile/parser", "github.com/moby/buildkit/frontend/dockerfile/instructions",
		"github.com/moby/buildkit/frontend/dockerfile/shell", "github.com/moby/patternmatcher", "google.golang.org/protobuf/proto",
	})
	for _, name := range never {
		if functions[name] {
			t.Errorf("bin/sbx links %s: every start pays for its initialisation", name)
		}
	}
}

// linkedFunctions returns the packages that have a function in the executable.
// It reads the table that Go's own tracebacks use, which stripping leaves.
func linkedFunctions(name string) (map[string]bool, error) {
	file, err := elf.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	section, text := file.Section(".gopclntab"), file.Section(".text")
	if section == nil || text == nil {
		return nil, errors.New(name + ": no .gopclntab: not a Go program")
	}
	data, err := section.Data()
	if err != nil {
		return nil, err
	}
	table, err := gosym.NewTable(nil, gosym.NewLineTable(data, text.Addr))
	if err != nil {
		return nil, err
	}
	packages := map[string]bool{}
	for i := range table.Funcs {
		packages[packageOf(table.Funcs[i].Name)] = true
	}
	return packages, nil
}

// packageOf returns the import path in a linker's name such as
// "net/http.(*Client).Do": what stands before the first dot after the last slash
// of the path. Type arguments, which hold paths of their own, are cut off first.
func packageOf(function string) string {
	function, _, _ = strings.Cut(function, "[")
	folder, base := path.Split(function)
	base, _, _ = strings.Cut(base, ".")
	// The linker writes a dot of the last path element as %2e.
	return strings.ReplaceAll(folder+base, "%2e", ".")
}
