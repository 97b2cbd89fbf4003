package main

import (
	"embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

//go:embed payload/*.c
var payloads embed.FS

// compile builds one of the C programs of payload/, statically linked, and
// returns its path, which is dir/name.
func compile(name, dir string) (string, error) {
	compiler, err := exec.LookPath("gcc")
	if err != nil {
		return "", err
	}
	source, err := payloads.ReadFile("payload/" + name + ".c")
	if err != nil {
		return "", err
	}
	program := filepath.Join(dir, name)
	if err := os.WriteFile(program+".c", source, 0o644); err != nil {
		return "", err
	}
	if said, err := exec.Command(compiler, "-O2", "-static", "-o", program, program+".c").CombinedOutput(); err != nil {
		return "", fmt.Errorf("%s: %w: %s", name, err, said)
	}
	return program, os.Remove(program + ".c")
}
