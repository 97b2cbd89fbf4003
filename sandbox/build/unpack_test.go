package build

import (
	"archive/tar"
	"bytes"
	"io"
	"path"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// FuzzAdd: whatever an archive holds, what ADD makes of it lies below its
// destination, has no name that removes anything, and no hard link to what is
// not in it.
func FuzzAdd(f *testing.F) {
	seed := func(entries ...tar.Header) {
		var out bytes.Buffer
		w := tar.NewWriter(&out)
		for _, h := range entries {
			if err := w.WriteHeader(&h); err != nil {
				f.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			f.Fatal(err)
		}
		f.Add(out.Bytes())
	}
	seed(tar.Header{Name: "d/", Typeflag: tar.TypeDir}, tar.Header{Name: "d/../../x", Typeflag: tar.TypeReg})
	seed(tar.Header{Name: "l", Typeflag: tar.TypeSymlink, Linkname: "/etc"}, tar.Header{Name: "l/x", Typeflag: tar.TypeReg})
	seed(tar.Header{Name: "/.wh.x", Typeflag: tar.TypeReg}, tar.Header{Name: "h", Typeflag: tar.TypeLink, Linkname: "../h"})
	seed(tar.Header{Name: "n", Typeflag: tar.TypeChar, Devmajor: 1}, tar.Header{Name: "f", Typeflag: tar.TypeFifo})
	f.Fuzz(func(t *testing.T, data []byte) {
		var out bytes.Buffer
		p := newPlacing(nothing{}, &out, time.Unix(0, 0), time.Time{})
		it := item{info: info{name: "a", mode: unix.S_IFREG, size: int64(len(data))}, data: data, name: "a"}
		done, err := p.archive(t.Context(), "/to", it)
		if err != nil || !done {
			return
		}
		if err := p.out.Close(); err != nil {
			t.Fatal(err)
		}
		files := map[string]bool{}
		for r := tar.NewReader(&out); ; {
			h, err := r.Next()
			if err == io.EOF {
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			name := strings.TrimSuffix(h.Name, "/")
			if name != path.Clean(name) || name != "to" && !strings.HasPrefix(name, "to/") || strings.HasPrefix(path.Base(name), whiteoutPrefix) {
				t.Errorf("an entry is called %q", h.Name)
			}
			if h.Typeflag == tar.TypeLink && !files[h.Linkname] {
				t.Errorf("%q is a hard link to %q, which is not there", h.Name, h.Linkname)
			}
			files[name] = h.Typeflag == tar.TypeReg
		}
	})
}
