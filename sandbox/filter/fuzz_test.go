package filter_test

import (
	"bytes"
	"errors"
	"io/fs"
	"strings"
	"testing"

	"github.com/sbx-dev/sbx/sandbox/filter"
)

// FuzzProgram takes any bytes for a program: the listing has a line for each
// instruction, and a program that Validate accepts runs to a result and is read
// back as it was written.
func FuzzProgram(f *testing.F) {
	for _, name := range filter.Names() {
		p, _ := filter.Builtin(name, "amd64")
		f.Add(p.Bytes(), int32(16), uint32(0xc000003e), uint64(1), uint64(0x5412))
	}
	f.Add([]byte{6, 0, 0, 0, 0, 0, 0, 0}, int32(0), uint32(0), uint64(0), uint64(0))
	f.Fuzz(func(t *testing.T, raw []byte, nr int32, arch uint32, first, second uint64) {
		p := decode(raw)
		if lines := strings.Count(p.String(), "\n"); lines != len(p) {
			t.Fatalf("%d lines for %d instructions", lines, len(p))
		}
		d := filter.Data{Nr: nr, Arch: arch, Args: [6]uint64{first, second}}
		action, err := p.Run(d)
		if p.Validate() != nil {
			return
		}
		if err != nil {
			t.Fatalf("valid, but %v", err)
		}
		again, err := filter.Parse(p.Bytes())
		if err != nil || !bytes.Equal(again.Bytes(), p.Bytes()) {
			t.Fatalf("read back: %v", err)
		}
		if b, _ := again.Run(d); b != action {
			t.Fatalf("%v, then %v", action, b)
		}
	})
}

// FuzzCached puts any bytes into the cache: they are refused, or what they hold
// is valid and for the profile that was asked for.
func FuzzCached(f *testing.F) {
	profile := []byte(`{"defaultAction":"SCMP_ACT_ALLOW"}`)
	p := filter.Program{{Code: retK, K: uint32(filter.Allow)}}
	f.Add(filter.EncodeEntry(profile, p))
	f.Add(filter.EncodeEntry(nil, p))
	f.Add([]byte("sbxbpf1\n\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, entry []byte) {
		putEntry(t, profile, entry, 0o600)
		got, err := filter.Cached(profile, "amd64")
		if err != nil {
			return
		}
		if err := got.Validate(); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(filter.EncodeEntry(profile, got), entry) {
			t.Fatal("an entry of another profile was taken")
		}
		if _, err := filter.Cached([]byte("other"), "amd64"); !errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("another profile: %v", err)
		}
	})
}
