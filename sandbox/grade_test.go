package sandbox_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sbx-dev/sbx/sandbox"
)

// testSubmissions runs each submission on one case with limits.
func testSubmissions(t *testing.T) {
	for name, want := range map[string]string{
		"cat":                              sandbox.VerdictExited, // right
		"echo 42":                          sandbox.VerdictExited, // wrong
		"sleep 60":                         sandbox.VerdictTimeout,
		"exec head -c 9m /dev/zero > file": sandbox.VerdictOutput,
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			program := filepath.Join(dir, "submission.sh")
			if err := os.WriteFile(program, []byte(name+"\n"), 0o644); err != nil {
				t.Fatal(err)
			}

			var answer strings.Builder
			cmd := sandbox.CommandContext(context.Background(), "sh", "submission.sh")
			cmd.Stdin = strings.NewReader("6 7\n")
			cmd.Stdout = &answer
			cmd.Spec.Dir = dir // shown because of the next line, and a copy
			cmd.Spec.Mounts = []sandbox.Mount{{Kind: sandbox.Overlay, Source: dir, Target: dir}}
			cmd.Spec.HideDir = true // the grader's own folder stays hidden
			cmd.Spec.Timeout = time.Second
			cmd.Spec.LayerSize = 16 << 20 // bytes that may be written in all
			cmd.Spec.Rlimits = []sandbox.Rlimit{
				{Name: "cpu", Soft: 1, Hard: 2},                // seconds, of each process
				{Name: "as", Soft: 256 << 20, Hard: 256 << 20}, // bytes, of each process
				{Name: "fsize", Soft: 1 << 20, Hard: 1 << 20},  // bytes, of each file
				{Name: "nproc", Soft: 32, Hard: 32},            // processes, of all
			}

			err := cmd.Run()
			if exit := new(sandbox.ExitError); err != nil && !errors.As(err, &exit) {
				t.Fatal(err, sandbox.HintOf(err)) // no sandbox: the submission is not to blame
			}
			if got := cmd.Result.Verdict; got != want {
				t.Errorf("%s: %s, want %s", name, got, want)
			}
			t.Logf("%s: code %d, %v, answer %q", cmd.Result.Verdict, cmd.Result.Code, cmd.Result.Wall, answer.String())
		})
	}
}
