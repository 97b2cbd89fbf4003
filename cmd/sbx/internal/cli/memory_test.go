package cli

import "testing"

func TestFilePages(t *testing.T) {
	for _, test := range []struct {
		line       string
		start, end uint64
		ok         bool
	}{
		{"00400000-00681000 r-xp 00000000 fe:00 42    /usr/bin/sbx", 0x400000, 0x681000, true},
		{"0091c000-00940000 rw-p 0051c000 fe:00 42    /usr/bin/sbx", 0, 0, false},
		{"7ffc4b36d000-7ffc4b38e000 r--p 00000000 00:00 0    [vvar]", 0, 0, false},
		{"Anonymous:             0 kB", 0, 0, false},
		{"VmFlags: rd ex mr mw me", 0, 0, false},
		{"", 0, 0, false},
	} {
		start, end, ok := filePages([]byte(test.line))
		if ok != test.ok || ok && (start != test.start || end != test.end) {
			t.Errorf("%q: %x %x %v", test.line, start, end, ok)
		}
	}
}

// TestRelease: nothing that the program needs is lost.
func TestRelease(t *testing.T) {
	for range 3 {
		release()
	}
	if text := versionText(); text == "" {
		t.Error("no version")
	}
}
