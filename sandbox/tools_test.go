package sandbox_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sbx-dev/sbx/sandbox"
)

// The tests of this file lay out the tools of the built-in table in a
// throw-away home as the real ones do, with scripts for programs, and run them.

// privateFiles lie in every home of these tests: no tool has any business there.
var privateFiles = []string{
	".ssh/id_ed25519", ".gnupg/private-keys-v1.d/key", ".aws/credentials", ".docker/config.json", ".kube/config",
	".netrc", ".git-credentials", ".config/gh/hosts.yml", ".npmrc", ".yarnrc.yml", ".pypirc", ".config/pip/pip.conf", ".condarc",
	".m2/settings.xml", ".gradle/gradle.properties", ".gem/credentials", ".config/mise/config.toml", "notes.txt",
}

// toolCase is a tool as somebody has it.
type toolCase struct {
	// files are what is in the home: a text, executable where it begins with #!,
	// or a symbolic link where it begins with "-> ". $HOME stands for the home.
	files map[string]string
	// secrets are files in the tool's own folders.
	secrets []string
	path    string   // before /usr/bin:/bin
	env     []string // of the caller
	cmd     []string
	want    string // what CMD prints
	// shown are the folders, below the home unless absolute, in which CMD may write.
	shown []string
}

const (
	fakeNode   = "#!/bin/sh\n[ $# -gt 0 ] && exec sh \"$@\"\necho node runs\n"
	fakePython = "#!/bin/sh\n[ $# -gt 0 ] && exec sh \"$@\"\necho python runs\n"
	fakeShim   = "#!/usr/bin/env bash\nset -e\n"
)

var toolCases = map[string]toolCase{
	"nvm": {
		files: map[string]string{
			".nvm/nvm.sh": "nvm() { :; }\n", ".nvm/alias/default": "20",
			".nvm/versions/node/v20.11.0/bin/node":                              fakeNode,
			".nvm/versions/node/v20.11.0/bin/npm":                               "-> ../lib/node_modules/npm/bin/npm-cli.js",
			".nvm/versions/node/v20.11.0/lib/node_modules/npm/bin/npm-cli.js":   "#!/usr/bin/env node\necho npm runs by $NVM_DIR\n",
			".nvm/versions/node/v20.11.0/lib/node_modules/corepack/corepack.js": "x",
		},
		secrets: []string{".nvm/versions/node/v20.11.0/etc/npmrc"},
		path:    "$HOME/.nvm/versions/node/v20.11.0/bin",
		env:     []string{"NVM_DIR=$HOME/.nvm"},
		cmd:     []string{"npm"}, want: "npm runs by $HOME/.nvm", shown: []string{".nvm/versions/node/v20.11.0/lib"},
	},
	"fnm": {
		// The shell's own folder of links lies in /run/user, which is hidden.
		files: map[string]string{
			".local/share/fnm/node-versions/v22.1.0/installation/bin/node": fakeNode,
			".local/share/fnm/aliases/default":                             "-> ../node-versions/v22.1.0/installation",
			".local/state/fnm_multishells/1234_5678":                       "-> $HOME/.local/share/fnm/node-versions/v22.1.0/installation",
		},
		secrets: []string{".local/share/fnm/node-versions/v22.1.0/installation/etc/npmrc"},
		path:    "$HOME/.local/state/fnm_multishells/1234_5678/bin",
		cmd:     []string{"node"}, want: "node runs", shown: []string{".local/share/fnm"},
	},
	"volta": {
		files: map[string]string{
			".volta/bin/volta-shim": "#!/bin/sh\nexec \"$VOLTA_HOME/tools/image/node/20.1.0/bin/$(basename \"$0\")\" \"$@\"\n",
			".volta/bin/node":       "-> $HOME/.volta/bin/volta-shim", ".volta/tools/image/node/20.1.0/bin/node": fakeNode,
		},
		secrets: []string{".volta/hooks.json", ".volta/tools/image/node/20.1.0/etc/npmrc"},
		path:    "$HOME/.volta/bin", env: []string{"VOLTA_HOME=$HOME/.volta"},
		cmd: []string{"node"}, want: "node runs", shown: []string{".volta"},
	},
	"npm": {
		files: map[string]string{
			".npm-global/lib/node_modules/tsc/tsc": "#!/bin/sh\necho tsc runs\n", ".npm-global/bin/tsc": "-> ../lib/node_modules/tsc/tsc",
			".npm/_cacache/index-v5/x": "x",
		},
		secrets: []string{".npm-global/etc/npmrc", ".npm/_logs/debug-0.log"},
		path:    "$HOME/.npm-global/bin", cmd: []string{"tsc"}, want: "tsc runs", shown: []string{".npm-global", ".npm/_cacache"},
	},
	"pnpm": {
		files: map[string]string{
			".local/share/pnpm/pnpm": "#!/bin/sh\necho pnpm runs in $PNPM_HOME\n", ".local/share/pnpm/store/v3/files/00/x": "x",
		},
		secrets: []string{".local/share/pnpm/rc"},
		path:    "$HOME/.local/share/pnpm", env: []string{"PNPM_HOME=$HOME/.local/share/pnpm"},
		cmd: []string{"pnpm"}, want: "pnpm runs in $HOME/.local/share/pnpm", shown: []string{".local/share/pnpm/store"},
	},
	"yarn": {
		files: map[string]string{
			".yarn/bin/yarn":          "#!/bin/sh\ncat ~/.cache/yarn/v6/npm-x/p\n",
			".cache/yarn/v6/npm-x/p":  "yarn runs",
			".cache/secret-app/token": "x",
		},
		secrets: nil,
		path:    "$HOME/.yarn/bin", cmd: []string{"yarn"}, want: "yarn runs", shown: []string{".yarn", ".cache/yarn"},
	},
	"bun": {
		files: map[string]string{".bun/bin/bun": "#!/bin/sh\necho bun runs\n", ".bun/bin/bunx": "-> bun", ".bun/install/global/package.json": "{}"},
		path:  "$HOME/.bun/bin", env: []string{"BUN_INSTALL=$HOME/.bun"}, cmd: []string{"bunx"}, want: "bun runs", shown: []string{".bun/install"},
	},
	"deno": {
		files: map[string]string{".deno/bin/deno": "#!/bin/sh\nls $HOME/.cache/deno\n", ".cache/deno/deps/https/x": "x"},
		secrets: []string{
			".cache/deno/location_data/local_storage",
		},
		path: "$HOME/.deno/bin", cmd: []string{"deno"}, want: "deps", shown: []string{".deno", ".cache/deno/deps"},
	},
	"mise": {
		files: map[string]string{
			".local/bin/mise":                                 "#!/bin/sh\nexec $HOME/.local/share/mise/installs/node/20/bin/$(basename \"$0\")\n",
			".local/share/mise/shims/node":                    "-> $HOME/.local/bin/mise",
			".local/share/mise/installs/node/20.1.0/bin/node": fakeNode,
			".local/share/mise/installs/node/20":              "-> ./20.1.0",
			".local/bin/my-own-script":                        "#!/bin/sh\necho private\n",
		},
		secrets: []string{".local/share/mise/installs/node/20.1.0/etc/npmrc"},
		path:    "$HOME/.local/share/mise/shims", cmd: []string{"node"}, want: "node runs", shown: []string{".local/share/mise"},
	},
	"asdf": {
		files: map[string]string{
			".asdf/asdf.sh": "x", ".asdf/bin/asdf": "#!/bin/sh\n[ \"$(cat ~/.tool-versions)\" = 'nodejs 20.1.0' ] && exec ~/.asdf/installs/nodejs/20.1.0/bin/$2\n",
			".asdf/shims/node":                      fakeShim + "exec $HOME/.asdf/bin/asdf exec \"node\" \"$@\"\n",
			".asdf/installs/nodejs/20.1.0/bin/node": fakeNode, ".tool-versions": "nodejs 20.1.0\n",
		},
		secrets: []string{".asdf/installs/nodejs/20.1.0/etc/npmrc", ".asdf/installs/python/3.12/pip.conf"},
		path:    "$HOME/.asdf/shims:$HOME/.asdf/bin", cmd: []string{"node"}, want: "node runs", shown: []string{".asdf"},
	},
	"pyenv": {
		files: map[string]string{
			".pyenv/bin/pyenv":                  "-> ../libexec/pyenv",
			".pyenv/libexec/pyenv":              "#!/bin/sh\nexec \"$PYENV_ROOT/versions/$(cat \"$PYENV_ROOT/version\")/bin/$2\"\n",
			".pyenv/shims/python":               fakeShim + "export PYENV_ROOT=$HOME/.pyenv\nexec \"$HOME/.pyenv/libexec/pyenv\" exec \"${0##*/}\" \"$@\"\n",
			".pyenv/versions/3.12.1/bin/python": fakePython, ".pyenv/version": "3.12.1\n",
		},
		secrets: []string{".pyenv/versions/3.12.1/pip.conf", ".pyenv/versions/3.12.1/envs/work/pip.conf"},
		path:    "$HOME/.pyenv/shims:$HOME/.pyenv/bin", cmd: []string{"python"}, want: "python runs", shown: []string{".pyenv/versions"},
	},
	"uv": {
		files: map[string]string{
			".local/bin/uv":                                        "#!/bin/sh\necho uv runs\n",
			".local/bin/ruff":                                      "-> $HOME/.local/share/uv/tools/ruff/bin/ruff",
			".local/bin/my-own-script":                             "#!/bin/sh\necho private\n",
			".local/share/uv/tools/ruff/bin/python":                "-> $HOME/.local/share/uv/python/cpython-3.12.1/bin/python3.12",
			".local/share/uv/tools/ruff/bin/ruff":                  "#!$HOME/.local/share/uv/tools/ruff/bin/python\necho ruff runs\n",
			".local/share/uv/python/cpython-3.12.1/bin/python3.12": fakePython,
			".cache/uv/CACHEDIR.TAG":                               "Signature: 8a477f597d28d172789f06886806bc55",
		},
		secrets: []string{".local/share/uv/credentials/credentials.toml", ".local/share/uv/tools/ruff/pip.conf"},
		path:    "$HOME/.local/bin", cmd: []string{"sh", "-c", "uv && ruff && ls ~/.local/bin"}, want: "uv runs\nruff runs\nruff\nuv",
		shown: []string{".local/share/uv", ".cache/uv"},
	},
	"pipx": {
		files: map[string]string{
			".local/bin/black":                   "-> $HOME/.local/pipx/venvs/black/bin/black",
			".local/bin/my-own-script":           "#!/bin/sh\necho private\n",
			".local/pipx/venvs/black/bin/black":  "#!$HOME/.local/pipx/venvs/black/bin/python\necho black runs\n",
			".local/pipx/venvs/black/bin/python": "-> /bin/sh",
		},
		secrets: []string{".local/pipx/venvs/black/pip.conf", ".local/pipx/logs/log"},
		path:    "$HOME/.local/bin", cmd: []string{"sh", "-c", "black && ls ~/.local/bin"}, want: "black runs\nblack",
		shown: []string{".local/pipx"},
	},
	"pip": {
		files: map[string]string{".cache/pip/wheels/x": "a wheel"},
		path:  "$HOME/nothing", cmd: []string{"/usr/bin/env", "cat", "$HOME/.cache/pip/wheels/x"}, want: "a wheel", shown: []string{".cache/pip"},
	},
	"conda": {
		files: map[string]string{
			"miniconda3/conda-meta/history": "x", "miniconda3/bin/python3.11": fakePython, "miniconda3/bin/python": "-> python3.11",
			"miniconda3/bin/conda":                    "#!$HOME/miniconda3/bin/python\necho conda in $CONDA_PREFIX\n",
			"miniconda3/envs/work/conda-meta/history": "x",
		},
		secrets: []string{
			"miniconda3/.condarc", "miniconda3/envs/work/.condarc", "miniconda3/envs/work/pip.conf", "miniconda3/pkgs/urls.txt", "miniconda3/condarc.d/t.yml",
		},
		path: "$HOME/miniconda3/bin", env: []string{"CONDA_PREFIX=$HOME/miniconda3"},
		cmd: []string{"conda"}, want: "conda in $HOME/miniconda3", shown: []string{"miniconda3"},
	},
	"cargo": {
		files: map[string]string{
			".cargo/bin/rustup": "#!/bin/sh\nt=$(sed -n 's/^default_toolchain = \"\\(.*\\)\"/\\1/p' ~/.rustup/settings.toml)\nexec ~/.rustup/toolchains/$t/bin/$(basename \"$0\")\n",
			".cargo/bin/cargo":  "-> rustup", ".cargo/env": "x",
			".cargo/registry/index/x":                    "x",
			".rustup/settings.toml":                      "default_toolchain = \"stable-x86_64\"\n",
			".rustup/toolchains/stable-x86_64/bin/cargo": "#!/bin/sh\necho cargo runs\n",
		},
		secrets: []string{".cargo/credentials.toml", ".cargo/credentials", ".cargo/config.toml"},
		path:    "$HOME/.cargo/bin", cmd: []string{"cargo"}, want: "cargo runs", shown: []string{".cargo/registry", ".rustup"},
	},
	"go": {
		files: map[string]string{
			"sdk/go1.22.1/bin/go":   "#!/bin/sh\nls $HOME/go/pkg/mod/cache && ls ~/.cache/go-build\n",
			"go/bin/gopls":          "#!/bin/sh\necho gopls\n",
			"go/pkg/mod/cache/lock": "", "go/src/example.org/private/x.go": "package x",
			".cache/go-build/README": "This directory holds cached build artifacts\n",
		},
		secrets: []string{"go/pkg/mod/cache/vcs/1/config", "go/src/example.org/private/secret"},
		path:    "$HOME/sdk/go1.22.1/bin:$HOME/go/bin", cmd: []string{"sh", "-c", "go && gopls"}, want: "lock\nREADME\ngopls",
		shown: []string{"sdk", "go/pkg/mod", "go/bin", ".cache/go-build"},
	},
	"ghcup": {
		files: map[string]string{
			".ghcup/bin/ghc": "-> ghc-9.4.7", ".ghcup/bin/ghc-9.4.7": "-> ../ghc/9.4.7/bin/ghc", ".ghcup/ghc/9.4.7/bin/ghc": "#!/bin/sh\necho ghc runs\n",
			".cabal/bin/hlint": "#!/bin/sh\necho hlint\n", ".cabal/packages/x": "x",
		},
		secrets: []string{".cabal/config"},
		path:    "$HOME/.cabal/bin:$HOME/.ghcup/bin", cmd: []string{"sh", "-c", "ghc && hlint"}, want: "ghc runs\nhlint", shown: []string{".ghcup", ".cabal"},
	},
	"rbenv": {
		files: map[string]string{
			".rbenv/shims/ruby": fakeShim + "exec \"$HOME/.rbenv/libexec/rbenv\" exec ruby \"$@\"\n", ".rbenv/version": "3.3.0",
			".rbenv/libexec/rbenv":           "#!/bin/sh\nexec \"$HOME/.rbenv/versions/$(cat \"$HOME/.rbenv/version\")/bin/$2\"\n",
			".rbenv/versions/3.3.0/bin/ruby": "#!/bin/sh\necho ruby runs\n",
		},
		path: "$HOME/.rbenv/shims", cmd: []string{"ruby"}, want: "ruby runs", shown: []string{".rbenv/versions"},
	},
	"sdkman": {
		files: map[string]string{
			".sdkman/candidates/java/21.0.2-tem/bin/java": "#!/bin/sh\necho java of $JAVA_HOME\n",
			".sdkman/candidates/java/current":             "-> 21.0.2-tem",
			".sdkman/candidates/maven/3.9.6/bin/mvn":      "#!/bin/sh\necho mvn runs\n",
			".sdkman/candidates/maven/current":            "-> $HOME/.sdkman/candidates/maven/3.9.6",
		},
		secrets: []string{".sdkman/candidates/maven/3.9.6/conf/settings.xml", ".sdkman/candidates/gradle/8.5/gradle.properties", ".sdkman/candidates/gradle/8.5/init.d/t.gradle"},
		path:    "$HOME/.sdkman/candidates/maven/current/bin:$HOME/.sdkman/candidates/java/current/bin",
		env:     []string{"JAVA_HOME=$HOME/.sdkman/candidates/java/current", "SDKMAN_DIR=$HOME/.sdkman"},
		cmd:     []string{"sh", "-c", "java && mvn"}, want: "java of $HOME/.sdkman/candidates/java/current\nmvn runs", shown: []string{".sdkman"},
	},
	"jenv": {
		files: map[string]string{
			".jenv/shims/java":    fakeShim + "exec \"$HOME/.jenv/libexec/jenv\" exec \"${0##*/}\"\n",
			".jenv/libexec/jenv":  "#!/bin/sh\nls ~/.jenv/versions\n",
			".jenv/versions/21.0": "-> /usr/lib/jvm/java-21", ".jenv/version": "21.0",
		},
		path: "$HOME/.jenv/shims", cmd: []string{"java"}, want: "21.0", shown: []string{".jenv"},
	},
	"maven": {
		files:   map[string]string{".m2/repository/org/x/x.jar": "a jar", "project/mvnw": "#!/bin/sh\ncat ~/.m2/repository/org/x/x.jar; ls -A ~/.m2\n"},
		secrets: []string{".m2/settings-security.xml"},
		path:    "$HOME/nothing", cmd: []string{"$HOME/project/mvnw"}, want: "a jarrepository", shown: []string{".m2/repository"},
	},
	"gradle": {
		files:   map[string]string{".gradle/caches/modules-2/x": "a module", ".gradle/wrapper/dists/gradle-8.5-bin/x": "x", "project/gradlew": "#!/bin/sh\ncat ~/.gradle/caches/modules-2/x; ls -A ~/.gradle\n"},
		secrets: []string{".gradle/init.d/t.gradle"},
		path:    "$HOME/nothing", cmd: []string{"$HOME/project/gradlew"}, want: "a modulecaches\nwrapper", shown: []string{".gradle/caches", ".gradle/wrapper"},
	},
}

// make lays the tool out in a new home.
func (tc *toolCase) make(t *testing.T) string {
	t.Helper()
	home := ownFolder(t)
	for name, text := range tc.files {
		layOut(t, home, name, text)
	}
	for _, name := range slices.Concat(tc.secrets, privateFiles) {
		layOut(t, home, name, aSecret)
	}
	return home
}

func layOut(t *testing.T, home, name, text string) {
	t.Helper()
	at := filepath.Join(home, name)
	// In a script $HOME is the shell's own; in a first line and a link it is ours.
	link, isLink := strings.CutPrefix(text, "-> ")
	err := os.MkdirAll(filepath.Dir(at), 0o755)
	if isLink {
		err = errors.Join(err, os.Symlink(strings.ReplaceAll(link, "$HOME", home), at))
	} else {
		mode := os.FileMode(0o644)
		if strings.HasPrefix(text, "#!") {
			mode = 0o755
			text = strings.Replace(text, "#!$HOME", "#!"+home, 1)
		}
		err = errors.Join(err, os.WriteFile(at, []byte(text), mode))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// atHome is a Cmd of a caller with this home, PATH and variables.
func (tc *toolCase) atHome(t *testing.T, home string, spec sandbox.Spec) *sandbox.Cmd {
	t.Helper()
	fill := func(s string) string { return strings.ReplaceAll(s, "$HOME", home) }
	c := in(t, &sandbox.Cmd{Spec: spec}, filepath.Join(home, "project"))
	if !exists(filepath.Join(home, "project")) {
		c.Features.Dir = "/"
	}
	c.Features.Env = []string{"HOME=" + home, "PATH=" + fill(tc.path) + ":/usr/bin:/bin", "USER=tester"}
	for _, kv := range tc.env {
		c.Features.Env = append(c.Features.Env, fill(kv))
	}
	return c
}

func (tc *toolCase) words(home string) []string {
	out := make([]string, len(tc.cmd))
	for i, w := range tc.cmd {
		out[i] = strings.ReplaceAll(w, "$HOME", home)
		if i == 2 && tc.cmd[0] == "sh" {
			out[i] = tc.cmd[i]
		}
	}
	return out
}

// TestTools runs each tool of the built-in table as it is laid out, looks for
// every secret, and writes into its folders. The same secrets can be read where
// the home is shown in place of the tool.
func TestTools(t *testing.T) {
	needAll(t)
	for _, tool := range sandbox.BuiltinTools().Tools {
		name := string(tool.Name)
		tc, ok := toolCases[name]
		if !ok {
			t.Errorf("the tool %s of tools.toml has no test", name)
			continue
		}
		t.Run(name, func(t *testing.T) {
			home := tc.make(t)
			before := listing(t, home)
			var tools []string
			if name == "pip" { // which Debian has not by that name
				tools = []string{"pip"}
			}
			run := func(spec sandbox.Spec) (*sandbox.Cmd, string) {
				c := tc.atHome(t, home, spec)
				out, err := c.CombinedOutput()
				return c, strings.TrimSpace(string(out)) + errorText(err)
			}
			c, got := run(sandbox.Spec{Tools: tools, Args: tc.words(home)})
			if want := strings.ReplaceAll(tc.want, "$HOME", home); got != want {
				t.Fatalf("%q printed\n%s\nwant\n%s\nnotes %q", tc.cmd, got, want, c.Plan().Notes)
			}
			if shown := c.Plan().Tools; !slices.ContainsFunc(shown, func(s sandbox.ShownTool) bool { return s.Name == name && s.Why != "" }) {
				t.Errorf("the plan does not say that %s is shown: %+v", name, shown)
			}

			find := []string{"sh", "-c", `find "$HOME" ` + "! -type l -exec grep -ls \"" + aSecret + "\" {} +; for f; do cat \"$f\" 2>/dev/null && echo \"in $f\"; done", "sh"}
			for _, s := range slices.Concat(tc.secrets, privateFiles) {
				find = append(find, filepath.Join(home, s))
			}
			if name == "maven" || name == "gradle" {
				tools = []string{name}
			}
			asked := tools
			if asked == nil {
				asked = []string{name}
			}
			if _, got := run(sandbox.Spec{Tools: asked, Args: find}); strings.Contains(got, aSecret) || strings.Contains(got, "in "+home) {
				t.Errorf("with %s shown CMD reads secrets:\n%s", name, got)
			}
			_, got = run(sandbox.Spec{Args: find, Tools: []string{"none"}, Mounts: []sandbox.Mount{{Kind: sandbox.BindRO, Source: home, Target: home}}})
			for _, s := range slices.Concat(tc.secrets, privateFiles) {
				if !strings.Contains(got, "in "+filepath.Join(home, s)) {
					t.Errorf("with the home shown %s cannot be read, so the test proves nothing:\n%s", s, got)
				}
			}

			write := []string{"sh", "-c", `for d; do echo new >"$d/made-inside" || exit; done; echo written`, "sh"}
			for _, d := range tc.shown {
				write = append(write, filepath.Join(home, d))
			}
			if _, got := run(sandbox.Spec{Tools: asked, Args: write}); got != "written" {
				t.Errorf("CMD cannot write into %q: %s", tc.shown, got)
			}
			if after := listing(t, home); !slices.Equal(before, after) {
				t.Errorf("the home has changed: %q", after)
			}

			_, got = run(sandbox.Spec{Tools: []string{"none"}, Args: []string{"sh", "-c", `ls -A "$HOME"; ls -d ` + filepath.Join(home, tc.shown[0])}})
			if strings.Contains(got, filepath.Join(home, tc.shown[0])+"\n") {
				t.Errorf("with no tools CMD sees %s", got)
			}
		})
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return " (" + err.Error() + ": " + sandbox.HintOf(err) + ")"
}

// listing is everything in a folder.
func listing(t *testing.T, dir string) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		out = append(out, p+" "+info.Mode().String()+" "+info.ModTime().String())
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}
