package cli

import (
	"os"
	"testing"
)

// TestManPage: docs/man/sbx.1 is what the models say; UPDATE=1 writes it anew.
func TestManPage(t *testing.T) {
	const name = "../../../../docs/man/sbx.1"
	want, err := manPage()
	if err != nil {
		t.Fatal(err)
	}
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(name, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if string(have) != want {
		t.Errorf("%s is out of date: go generate ./cmd/sbx/internal/cli", name)
	}
}
