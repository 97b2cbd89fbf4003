package main

import (
	"bytes"
	"os"
	"testing"
)

// TestGenerated: the Go source that is checked in is what tools.toml says.
func TestGenerated(t *testing.T) {
	want, err := generate("../../tools.toml")
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("../../zz_tools.go")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("sandbox/zz_tools.go is not what tools.toml says: run go generate ./sandbox")
	}
}

// TestUsage: wrong words are an error.
func TestUsage(t *testing.T) {
	for _, args := range [][]string{nil, {"one"}, {"/no/such.toml", "/no/such.go"}} {
		if run(args) == nil {
			t.Errorf("%q is taken", args)
		}
	}
}
