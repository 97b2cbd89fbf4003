package sandbox_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sbx-dev/sbx/sandbox"
	"github.com/sbx-dev/sbx/sandbox/internal/testenv"
)

// The attacks of this file are by a CMD that may write to a project of the
// caller's (--rw) and wants its code run by what the caller does there next.

// hostGit runs git as the caller does afterwards, and says whether that ran what
// CMD had left for it.
func hostGit(t *testing.T, dir string, args ...string) (ran bool, said string) {
	t.Helper()
	mark := filepath.Join(ownFolder(t), "mark")
	cmd := exec.Command("git", append([]string{"-c", "advice.detachedHead=false"}, args...)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "MARK="+mark, "GIT_CONFIG_NOSYSTEM=1", "GIT_CEILING_DIRECTORIES=/var/tmp",
		"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.org", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.org")
	out, _ := cmd.CombinedOutput()
	return exists(mark), strings.TrimSpace(string(out))
}

// newProject makes a git work tree with one commit, a nested one, a bare one,
// and names that are links.
func newProject(t *testing.T) string {
	t.Helper()
	dir := ownFolder(t)
	for _, args := range [][]string{
		{"init", "-q", "."},
		{"commit", "-q", "--allow-empty", "-m", "first"},
		{"init", "-q", "sub/nested"},
		{"init", "-q", "--bare", "sub/bare"},
	} {
		if _, said := hostGit(t, dir, args...); said != "" {
			t.Fatalf("git %s: %s", args, said)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "settings"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("settings", filepath.Join(dir, ".vscode")); err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(dir, ".envrc"), "as it was")
	return dir
}

// A monitor is a program that git runs for git status.
const monitor = `evil() { git --git-dir="$1" config core.fsmonitor 'touch $MARK; false'; }; `

// TestGuards: a writable project, with what the caller does there afterwards.
// Each attack succeeds where the spec names what is guarded, and fails where
// not.
func TestGuards(t *testing.T) {
	needAll(t)
	testenv.Need(t, "git")
	for _, test := range []struct {
		name   string
		script string
		names  []string // what the spec names to let it happen
		at     string   // where the caller runs git afterwards
		file   string   // or what has changed
	}{
		{"config", monitor + "evil .git", []string{".git"}, ".", ""},
		{"commondir", monitor + "cp -r .git other; evil other; echo ../other >.git/commondir", []string{".git"}, ".", ""},
		{"hook", "printf '#!/bin/sh\ntouch $MARK' >.git/hooks/post-checkout; chmod +x .git/hooks/post-checkout", []string{".git"}, ".", ""},
		{"nested", monitor + "evil sub/nested/.git", []string{"sub/nested/.git"}, "sub/nested", ""},
		{"bare", "cd sub/bare; git config core.bare false; git config core.worktree ..; git config core.fsmonitor 'touch $MARK; false'", []string{"sub/bare"}, "sub/bare", ""},
		{"file", "echo changed >.envrc", []string{".envrc"}, "", ".envrc"},
		{"link exchanged", "echo changed >settings/new; rm .vscode; mkdir .vscode; echo changed >.vscode/new", []string{"settings"}, "", ".vscode/new"},
	} {
		for _, named := range []bool{true, false} {
			dir := newProject(t)
			before := readIfThere(filepath.Join(dir, test.file))
			c := in(t, sandbox.Command("sh", "-c", test.script), dir)
			c.Spec.Mounts = []sandbox.Mount{{Kind: sandbox.BindRW, Source: dir, Target: dir}}
			if named {
				for _, n := range test.names {
					p := filepath.Join(dir, n)
					c.Spec.Mounts = append(c.Spec.Mounts, sandbox.Mount{Kind: sandbox.BindRW, Source: p, Target: p})
				}
			}
			_, said := says(t, c)
			succeeded := test.file != "" && readIfThere(filepath.Join(dir, test.file)) != before
			if test.at != "" {
				var gitSaid string
				succeeded, gitSaid = hostGit(t, filepath.Join(dir, test.at), "status")
				if !succeeded { // for the hook
					succeeded, gitSaid = hostGit(t, filepath.Join(dir, test.at), "checkout", "-q", "HEAD")
				}
				said += "\n" + gitSaid
			}
			if succeeded != named {
				t.Errorf("%s: named %v, and the attack succeeds %v: %s", test.name, named, succeeded, said)
			}
		}
	}
}

func readIfThere(name string) string {
	data, err := os.ReadFile(name)
	if err != nil {
		return ""
	}
	return string(data)
}

// TestGuardsOfAbsentNames: what is not there cannot be kept from being made. It
// has another name before the caller's prompt looks, and is told.
func TestGuardsOfAbsentNames(t *testing.T) {
	needAll(t)
	testenv.Need(t, "git")
	const make = monitor + "git init -q new; evil new/.git; "
	for _, test := range []struct {
		name   string
		script string
		cwd    string // the caller's folder, from the top of what CMD may write to
		path   string // what is told
		moved  bool
		lost   []string // names that are not there afterwards
	}{
		{"a git folder", make + "mv new/.git .", ".", ".git", true, []string{".git"}},
		{"a git file", make + "echo gitdir: new/.git >.git", ".", ".git", true, []string{".git"}},
		{"a link to one", make + "mv new/.git g; ln -s g .git", ".", ".git", true, []string{".git"}},
		{"a git folder in the caller's", make + "mv new/.git deep/er/", "deep/er", "deep/er/.git", true, []string{"deep/er/.git"}},
		{"and the folder renamed", make + "mv new/.git deep/er/; mv deep/er other; rmdir deep; ln -s / deep", "deep/er", "deep/er/.git", true, []string{"other/.git"}},
		{"and closed", make + "mv new/.git .; chmod 0 .", ".", ".git", true, []string{".git"}},
		{"the folder itself", make + "cd new/.git; git config core.bare false; git config core.worktree .; mv * ../..", ".", "HEAD", true, []string{"HEAD"}},
		{"elsewhere", make + "mv new deep/new", ".", "deep/new/.git", false, nil},
		{"elsewhere, and bare", make + "mv new/.git deep/new", ".", "deep/new", false, nil},
		{"an environment", "echo evil >.envrc", ".", ".envrc", true, []string{".envrc"}},
		{"a shell's file", "ln -s nowhere .zshenv", ".", ".zshenv", true, []string{".zshenv"}},
		{"in a folder", "mkdir -p .config/fish", ".", ".config/fish", true, []string{".config/fish"}},
		{"through a link", "mkdir -p c/fish; ln -s c .config", ".", ".config", true, []string{".config"}},
		{"out of it", "ln -s /usr/share .config; ln -s /etc .ssh", ".", ".ssh", true, []string{".ssh"}},
		{"nothing", "mkdir -p .github .config/other; echo HEAD >HEAD", ".", "", false, nil},
	} {
		dir := ownFolder(t)
		if err := os.MkdirAll(filepath.Join(dir, "deep/er"), 0o755); err != nil {
			t.Fatal(err)
		}
		c := in(t, sandbox.Command("sh", "-c", "cd "+dir+"; "+test.script), filepath.Join(dir, test.cwd))
		c.Spec.Mounts = []sandbox.Mount{{Kind: sandbox.BindRW, Source: dir, Target: dir}}
		_, said := says(t, c)
		if err := os.Chmod(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		var told []string
		for _, a := range c.Result.Appeared {
			told = append(told, strings.TrimPrefix(a.Path, dir+"/"))
			if a.Error != "" || (a.Moved != "") != (test.moved && a.Path == filepath.Join(dir, test.path)) && a.Path == filepath.Join(dir, test.path) {
				t.Errorf("%s: %+v", test.name, a)
			}
			if test.name == "and the folder renamed" {
				continue // it has yet another name
			}
			if a.Moved != "" && !exists(a.Moved) {
				t.Errorf("%s: what was made is lost: %+v", test.name, a)
			}
		}
		if (test.path != "") != slices.Contains(told, test.path) || test.path == "" && told != nil {
			t.Errorf("%s: told %q: %s", test.name, told, said)
		}
		for _, name := range test.lost {
			if exists(filepath.Join(dir, name)) {
				t.Errorf("%s: %s is there", test.name, name)
			}
		}
		if test.moved {
			if ran, gitSaid := hostGit(t, dir, "status"); ran {
				t.Errorf("%s: git runs what CMD has left: %s", test.name, gitSaid)
			}
		}
	}
}

// TestAppearedIsReachable holds that the attacks of TestGuardsOfAbsentNames
// would succeed: where the caller names .git, what CMD puts there runs.
func TestAppearedIsReachable(t *testing.T) {
	needAll(t)
	testenv.Need(t, "git")
	dir := ownFolder(t)
	git := filepath.Join(dir, ".git")
	if err := os.Mkdir(git, 0o755); err != nil {
		t.Fatal(err)
	}
	c := in(t, sandbox.Command("sh", "-c", monitor+"git init -q . && evil .git"), dir)
	for _, p := range []string{dir, git} {
		c.Spec.Mounts = append(c.Spec.Mounts, sandbox.Mount{Kind: sandbox.BindRW, Source: p, Target: p})
	}
	_, said := says(t, c)
	if ran, gitSaid := hostGit(t, dir, "status"); !ran || c.Result.Appeared != nil {
		t.Errorf("appeared %v; %s; %s", c.Result.Appeared, said, gitSaid)
	}
}
