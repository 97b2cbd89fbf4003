package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/sbx-dev/sbx/internal/built"
)

// busyboxFolder is the root file system that tests make images of.
func busyboxFolder(t testing.TB, dir string) string {
	t.Helper()
	program, err := exec.LookPath("busybox")
	if err != nil {
		built.Lacks(t, "tool:busybox", err.Error())
	}
	data, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(dir, "busybox")
	for _, d := range []string{"bin", "etc", "tmp"} {
		if err := os.MkdirAll(filepath.Join(root, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	write := func(name, text string, mode os.FileMode) {
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	write("bin/busybox", string(data), 0o755)
	write("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nbob:x:1000:1000::/home/bob:/bin/sh\n", 0o644)
	write("etc/group", "root:x:0:\nbob:x:1000:\n", 0o644)
	for _, applet := range []string{"sh", "cat", "chmod", "chown", "cp", "echo", "env", "false", "find", "grep", "id", "ln", "ls", "mkdir", "mv", "pwd", "rm", "sleep", "stat", "test", "touch", "true", "wget"} {
		if err := os.Symlink("busybox", filepath.Join(root, "bin", applet)); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// needSandboxes skips a test where no sandbox with a root of its own can be made.
func needSandboxes(t testing.TB) {
	t.Helper()
	if os.Getuid() == 0 {
		t.Fatal("this is tested as a normal user: run make test, or go test -exec scripts/as-user")
	}
	const overlay = "mount -t tmpfs t /tmp && cd /tmp && mkdir l u w m && mount -t overlay o -o lowerdir=l,upperdir=u,workdir=w,userxattr m"
	for _, c := range []struct{ name, script string }{{"userns", "true"}, {"overlay", overlay}} {
		if out, err := exec.Command("unshare", "--user", "--map-root-user", "--mount", "sh", "-c", c.script).CombinedOutput(); err != nil {
			built.Lacks(t, c.name, err.Error()+": "+string(out))
		}
	}
}

// TestBuildScript runs testdata/build/*.txtar, with an image busybox in the
// store.
func TestBuildScript(t *testing.T) {
	needSandboxes(t)
	root := busyboxFolder(t, t.TempDir())
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/build",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		UpdateScripts:       os.Getenv("UPDATE") != "",
		Setup: func(e *testscript.Env) error {
			e.Setenv("NO_COLOR", "1")
			e.Setenv("BUSYBOX", root)
			e.Setenv("KEY", "another-secret")
			e.Setenv("HOME", e.WorkDir+"/home")
			e.Setenv("XDG_DATA_HOME", e.WorkDir+"/data")
			return os.Mkdir(e.WorkDir+"/home", 0o755)
		},
	})
}
