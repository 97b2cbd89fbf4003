package sandbox_test

import (
	"testing"

	"github.com/sbx-dev/sbx/sandbox"
)

func TestGuardedName(t *testing.T) {
	for path, want := range map[string]string{
		"":                          "",
		"/":                         "",
		"main.go":                   "",
		".git":                      ".git",
		".git/hooks/pre-commit":     ".git",
		"sub/.git/config":           "sub/.git",
		"sub/.GIT/config":           "sub/.GIT",
		".gitignore":                "",
		".envrc":                    ".envrc",
		"a/b/.envrc":                "a/b/.envrc",
		".envrc.example":            "",
		"x/.vscode/tasks.json":      "x/.vscode",
		".idea":                     ".idea",
		"/.bashrc":                  ".bashrc",
		".config/fish/config.fish":  ".config/fish",
		".config/other":             "",
		"a/../.vscode/x":            ".vscode",
		"a/.g\u200cit/config":       "a/.g\u200cit",
		".git\ufe0f./hooks/x":       ".git\ufe0f.",
		".git./config":              ".git.",
		"x/.envrc. .":               "x/.envrc. .",
		".\u017f\u017fh/config":     ".\u017f\u017fh",
		"café/main.go":              "",
		"...":                       "",
		"docs/.gitbook/hooks/index": "",
	} {
		if got := sandbox.GuardedName(path); got != want {
			t.Errorf("GuardedName(%q) = %q, want %q", path, got, want)
		}
	}
}
