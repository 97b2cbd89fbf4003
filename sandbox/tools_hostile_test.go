package sandbox_test

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox"
)

// readsSecret runs a shell in a sandbox that looks through all of the home for
// the secret and for a file by each of the names.
func readsSecret(t *testing.T, tc *toolCase, home string, spec sandbox.Spec, names ...string) (string, *sandbox.Cmd) {
	t.Helper()
	script := `find "$HOME" -type f -exec grep -ls "` + aSecret + `" {} +; for f; do cat "$f" 2>/dev/null; done; true`
	spec.Args = append([]string{"sh", "-c", script, "sh"}, names...)
	c := tc.atHome(t, home, spec)
	out, err := c.CombinedOutput()
	return string(out) + errorText(err), c
}

// TestToolVariablesShowNoHome: a variable, or a symbolic link in place of a
// tool's folder, makes neither a home nor a folder with credentials visible.
func TestToolVariablesShowNoHome(t *testing.T) {
	needAll(t)
	nvm := toolCases["nvm"]
	for _, test := range []struct {
		name, value string
		link        string // of ~/.nvm
		note        string // which says so
	}{
		{"the home", "$HOME", "", "is a home"},
		{"the home with a slash", "$HOME/", "", "is a home"},
		{"what holds it", "$HOME/..", "", "is a home"},
		{"the root", "/", "", ""},
		{"keys", "$HOME/.ssh", "", "lies in $HOME/.ssh, which is private"},
		{"below keys", "$HOME/.ssh/sub", "", "lies in $HOME/.ssh, which is private"},
		{"what holds keys of gh", "$HOME/.config", "", "holds $HOME/.config/git, which is private"},
		{"by another name", "$HOME/alias", "", "lies in $HOME/.ssh, which is private"},
		{"the home by another name", "$HOME/self", "", "is a home"},
		{"a folder in place of the tool's", "", "-> .ssh", "lies in $HOME/.ssh, which is private"},
		{"the home in place of the tool's", "", "-> .", "is a home"},
		{"not absolute", ".ssh", "", ""},
		{"several", "$HOME:$HOME/.ssh", "", "is a home"},
	} {
		t.Run(test.name, func(t *testing.T) {
			tc := toolCase{path: nvm.path, env: []string{"NVM_DIR=" + test.value}}
			home := tc.make(t)
			for _, dir := range []string{".", "..", ".ssh", ".ssh/sub", ".config"} {
				at := filepath.Join(home, dir, "nvm.sh")
				if dir != ".." {
					layOut(t, home, filepath.Join(dir, "nvm.sh"), aSecret)
				} else if err := os.WriteFile(at, nil, 0o644); err == nil {
					t.Cleanup(func() { os.Remove(at) })
				}
			}
			layOut(t, home, "alias", "-> .ssh")
			layOut(t, home, "self", "-> .")
			if test.link != "" {
				layOut(t, home, ".nvm", test.link)
			}
			got, c := readsSecret(t, &tc, home, sandbox.Spec{Tools: []string{"nvm"}},
				home+"/.ssh/id_ed25519", home+"/alias/id_ed25519", home+"/.nvm/id_ed25519", home+"/notes.txt", home+"/self/notes.txt", home+"/.config/gh/hosts.yml")
			if got != "" {
				t.Errorf("CMD reads %s", got)
			}
			notes := strings.Join(c.Plan().Notes, "\n")
			if want := strings.ReplaceAll(test.note, "$HOME", home); !strings.Contains(notes, want) || want != "" && !strings.Contains(notes, "nvm: ") {
				t.Errorf("the notes are %q, want %q in them", notes, want)
			}
		})
	}
}

// TestToolOfAnotherHome: HOME is another for this run, and a variable leads to
// the keys of the real one, which nothing names then.
func TestToolOfAnotherHome(t *testing.T) {
	needAll(t)
	tc := toolCase{path: "$HOME/bin"}
	real, home := tc.make(t), ownFolder(t)
	for _, dir := range []string{".ssh", ".config", ".config/gh", ".local/share", ".local/share/keyrings/sub", ".m2"} {
		layOut(t, real, filepath.Join(dir, "nvm.sh"), aSecret)
		c := tc.atHome(t, home, sandbox.Spec{Tools: []string{"nvm"}, Args: []string{"cat", filepath.Join(real, dir, "nvm.sh")}})
		c.Features.Env = append(c.Features.Env, "NVM_DIR="+filepath.Join(real, dir))
		if _, said := says(t, c); strings.Contains(said, aSecret) || len(c.Plan().Notes) == 0 {
			t.Errorf("NVM_DIR=%s of another home: %s, notes %q", dir, said, c.Plan().Notes)
		}
	}
	layOut(t, real, "shared/nvm/nvm.sh", "fine")
	c := tc.atHome(t, home, sandbox.Spec{Tools: []string{"nvm"}, Args: []string{"cat", filepath.Join(real, "shared/nvm/nvm.sh")}})
	c.Features.Env = append(c.Features.Env, "NVM_DIR="+filepath.Join(real, "shared/nvm"))
	if ok, said := says(t, c); !ok || said != "fine" {
		t.Errorf("a tool of another home: %s", said)
	}
}

// TestToolBehindLinks: a tool's folder that a symbolic link leads to is shown
// under both names, and what is hidden in it is hidden under both. What a
// credential file's own link leads to is hidden too, where a tool shows it.
func TestToolBehindLinks(t *testing.T) {
	needAll(t)
	tc := toolCase{
		files: map[string]string{
			".nvm":                           "-> disk/nvm",
			"disk/nvm/nvm.sh":                "x",
			"disk/nvm/versions/v1/bin/node":  fakeNode,
			"disk/nvm/npmrc":                 aSecret,
			"disk/other":                     aSecret,
			".cargo/bin/cargo":               "#!/bin/sh\necho cargo\n",
			".cargo/credentials.toml":        "-> dotfiles/cargo-token",
			".cargo/dotfiles/cargo-token":    aSecret,
			".cargo/dotfiles/harmless":       "shown",
			".cargo/keys-of-gnupg/pubring":   aSecret,
			"disk/nvm/versions/v1/etc/npmrc": "shown: no pattern names it",
		},
		path: "$HOME/.nvm/versions/v1/bin:$HOME/.cargo/bin",
	}
	home := tc.make(t)
	for name, to := range map[string]string{".npmrc": "disk/nvm/npmrc", ".gnupg": ".cargo/keys-of-gnupg"} {
		if err := os.RemoveAll(filepath.Join(home, name)); err != nil {
			t.Fatal(err)
		}
		layOut(t, home, name, "-> "+to)
	}
	names := []string{
		".npmrc", ".nvm/npmrc", "disk/nvm/npmrc", "disk/other", ".cargo/credentials.toml", ".cargo/dotfiles/cargo-token",
		".gnupg/pubring", ".cargo/keys-of-gnupg/pubring",
	}
	for i := range names {
		names[i] = filepath.Join(home, names[i])
	}
	got, c := readsSecret(t, &tc, home, sandbox.Spec{}, append(names, filepath.Join(home, ".cargo/dotfiles/harmless"))...)
	if got != "shown" {
		t.Errorf("CMD reads %q, notes %q", got, c.Plan().Notes)
	}
	got, _ = readsSecret(t, &tc, home, sandbox.Spec{Mounts: []sandbox.Mount{{Kind: sandbox.BindRO, Source: home, Target: home}}}, names...)
	if n := strings.Count(got, aSecret); n != len(names) {
		t.Errorf("with the home shown %d of %d secrets are read: the test proves nothing\n%s", n, len(names), got)
	}
	run := tc.atHome(t, home, sandbox.Spec{Args: []string{"sh", "-c", "node && " + home + "/disk/nvm/versions/v1/bin/node && cargo"}})
	if out, err := run.CombinedOutput(); err != nil || string(out) != "node runs\nnode runs\ncargo\n" {
		t.Errorf("%s%s", out, errorText(err))
	}
}

// TestCredentialsMadeLater: a credential file that the host makes while CMD runs
// stays hidden, also where CMD has made one of that name and removed it again.
func TestCredentialsMadeLater(t *testing.T) {
	needAll(t)
	cargo := toolCases["cargo"]
	for _, shown := range []bool{false, true} {
		home := cargo.make(t)
		file := filepath.Join(home, ".cargo/credentials.toml")
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
		spec := sandbox.Spec{Args: []string{"sh", "-c", `cd ~/.cargo || exit
			test -e credentials && echo "it is there"
			echo mine >credentials && cat credentials && rm credentials && mv bin moved 2>/dev/null
			echo ready; read -r go; cat credentials credentials.toml 2>/dev/null; ls ~/.cargo | grep -c credentials; true`}}
		if shown {
			spec.Mounts = []sandbox.Mount{{Kind: sandbox.Overlay, Source: filepath.Join(home, ".cargo"), Target: filepath.Join(home, ".cargo")}}
		}
		c := cargo.atHome(t, home, spec)
		stdin, err := c.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		stdout, err := c.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		var said bytes.Buffer
		buf := make([]byte, 4096)
		for deadline := time.Now().Add(10 * time.Second); !strings.Contains(said.String(), "ready") && time.Now().Before(deadline); {
			n, err := stdout.Read(buf)
			said.Write(buf[:n])
			if err != nil {
				break
			}
		}
		writeFile(t, file, aSecret)
		if _, err := io.WriteString(stdin, "go\n"); err != nil {
			t.Error(err)
		}
		rest, err := io.ReadAll(stdout)
		if err != nil {
			t.Error(err)
		}
		said.Write(rest)
		if err := c.Wait(); err != nil {
			t.Errorf("%v: %s", err, said.String())
		}
		if strings.Contains(said.String(), aSecret) != shown {
			t.Errorf("shown %v: CMD read\n%s", shown, said.String())
		}
		if !shown && !strings.HasSuffix(said.String(), "mine\nready\n0\n") {
			t.Errorf("CMD read\n%s", said.String())
		}
	}
}

// TestToolLayerIsClean: what is hidden is no change of CMD's, in memory as in a
// layer that is kept: whoever copies that to the host deletes nothing there.
func TestToolLayerIsClean(t *testing.T) {
	needAll(t)
	cargo := toolCases["cargo"]
	home, upper := cargo.make(t), ownFolder(t)
	for range 2 {
		for _, layer := range []string{"", upper} {
			c := cargo.atHome(t, home, sandbox.Spec{Args: []string{"cargo"}, Changes: true, Upper: layer})
			out, err := c.CombinedOutput()
			if err != nil || string(out) != "cargo runs\n" {
				t.Fatalf("%s%s", out, errorText(err))
			}
			if len(c.Result.Changes) != 0 {
				t.Errorf("layer %q: %v", layer, c.Result.Changes)
			}
		}
	}
	layers, err := filepath.Glob(filepath.Join(upper, "*cargo/upper"))
	if err != nil || len(layers) != 1 {
		t.Fatalf("no layer of the tool's folder is kept: %q, %v", layers, err)
	}
	if held := listing(t, layers[0]); len(held) != 1 {
		t.Errorf("the kept layer holds %q", held)
	}
}

// TestToolWithoutOverlay: where a tool's folder is shown without a layer of its
// own, read-only or because something else shows it, its credentials are
// covered, and what is named is not.
func TestToolWithoutOverlay(t *testing.T) {
	needAll(t)
	cargo := toolCases["cargo"]
	home := cargo.make(t)
	var names []string
	for _, s := range cargo.secrets {
		names = append(names, filepath.Join(home, s))
	}
	if got, _ := readsSecret(t, &cargo, home, sandbox.Spec{Skip: []string{"overlay"}}, names...); got != "" {
		t.Errorf("with overlay skipped CMD reads %s", got)
	}
	// The working folder is the tool's.
	c := cargo.atHome(t, home, sandbox.Spec{Args: append([]string{"sh", "-c", `cargo; cat "$@" 2>/dev/null; echo x >made; cat made`, "sh"}, names...)})
	c.Features.Dir = filepath.Join(home, ".cargo")
	if out, err := c.CombinedOutput(); err != nil || string(out) != "cargo runs\nx\n" {
		t.Errorf("in the tool's folder: %s%s", out, errorText(err))
	}
	// One credential file is shown on purpose, the others stay hidden.
	config := filepath.Join(home, ".cargo/config.toml")
	got, c := readsSecret(t, &cargo, home, sandbox.Spec{Mounts: []sandbox.Mount{{Kind: sandbox.BindRO, Source: config, Target: config}}}, names...)
	if want := config + "\n" + aSecret; got != want {
		t.Errorf("CMD reads %q, want %q", got, want)
	}
	if slices.Contains(c.Plan().Tools[0].Hidden, config) {
		t.Errorf("the plan says that %s is hidden", config)
	}
}

// TestToolSpecials: FIFOs and sockets of a tool's folder reach nobody on the
// host, and a FIFO in place of a single file is not shown.
func TestToolSpecials(t *testing.T) {
	needAll(t)
	mise := toolCases["mise"]
	home := mise.make(t)
	bin, pipe := filepath.Join(home, ".local/bin/mise"), filepath.Join(home, ".local/share/mise/pipe")
	if err := os.Remove(bin); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{bin, pipe} {
		if err := unix.Mkfifo(name, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	reader, err := os.OpenFile(pipe, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	c := mise.atHome(t, home, sandbox.Spec{Timeout: 5 * time.Second, Args: []string{"sh", "-c", "ls ~/.local/bin; timeout 0.3 sh -c 'echo out >~/.local/share/mise/pipe'; true"}})
	out, err := c.CombinedOutput()
	if err != nil || strings.Contains(string(out), "mise") {
		t.Errorf("%s%s", out, errorText(err))
	}
	if n, _ := reader.Read(make([]byte, 8)); n > 0 {
		t.Error("CMD wrote to a process of the host")
	}
}
