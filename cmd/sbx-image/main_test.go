package main

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/sbx-dev/sbx/internal/built"
	"github.com/sbx-dev/sbx/sandbox"
	"github.com/sbx-dev/sbx/sandbox/build"
	"github.com/sbx-dev/sbx/sandbox/image/worker"
)

func TestMain(m *testing.M) {
	if worker.IsWorker(os.Args) {
		os.Exit(worker.Main())
	}
	if build.IsWorker(os.Args) {
		os.Exit(build.WorkerMain())
	}
	testscript.Main(m, map[string]func(){"sbx-image": main})
}

// TestScript runs testdata/script/*.txtar, one file a behaviour.
func TestScript(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		UpdateScripts:       os.Getenv("UPDATE") != "",
		Setup: func(e *testscript.Env) error {
			e.Setenv("NO_COLOR", "1")
			e.Setenv("SOURCE_DATE_EPOCH", "0")
			e.Setenv("XDG_DATA_HOME", e.WorkDir+"/data")
			return nil
		},
	})
}

// TestBuilt runs testdata/built/*.txtar, which need bin/sbx as well.
func TestBuilt(t *testing.T) {
	sbx := built.Sbx(t)
	testscript.Run(t, testscript.Params{
		Dir: "testdata/built",
		Condition: func(name string) (bool, error) {
			if name != "subuid" {
				return false, errors.New("no condition is called " + name)
			}
			err := sandbox.Subordinate()
			if slices.Contains(strings.Split(os.Getenv("SBX_REQUIRE"), ","), name) {
				return err == nil, err // where it must hold, the test fails in place of being skipped
			}
			return err == nil, nil
		},
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(e *testscript.Env) error {
			for name, value := range map[string]string{
				"NO_COLOR": "1", "SOURCE_DATE_EPOCH": "0", "SBX": sbx, "HOME": e.WorkDir + "/home",
				"XDG_DATA_HOME": e.WorkDir + "/data", "XDG_STATE_HOME": e.WorkDir + "/state", "XDG_CONFIG_HOME": e.WorkDir + "/config", "XDG_RUNTIME_DIR": e.WorkDir + "/run",
			} {
				e.Setenv(name, value)
			}
			return errors.Join(os.Mkdir(e.WorkDir+"/home", 0o755), os.Mkdir(e.WorkDir+"/run", 0o700))
		},
	})
}
