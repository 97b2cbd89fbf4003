package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// noise is what a seed makes of it: the same in each run of the benchmark.
type noise struct{ *rand.ChaCha8 }

func newNoise(seed byte) noise { return noise{rand.NewChaCha8([32]byte{seed})} }

// text gives lines of words, which compress as a program's sources do.
func (n noise) text(size int) []byte {
	words := strings.Fields("func return if err nil for range string bytes package import struct the of and in to is a that it name value")
	var b bytes.Buffer
	for b.Len() < size {
		r := n.Uint64()
		for range 10 {
			b.WriteString(words[r%uint64(len(words))])
			b.WriteByte(' ')
			r /= 6
		}
		fmt.Fprintf(&b, "%x\n", n.Uint64()&0xffff)
	}
	return b.Bytes()[:size]
}

func (n noise) random(size int) []byte {
	b := make([]byte, size)
	if _, err := n.Read(b); err != nil {
		panic(err) // it has none
	}
	return b
}

// writeContext makes the folder of a build: a list of twenty packages, an index
// that has them as archives, and sources.
func writeContext(dir string) error {
	files := map[string][]byte{
		"Dockerfile": []byte(`FROM ` + boxImage + `
WORKDIR /app
COPY index /index
COPY requirements.txt ./
RUN for p in $(cat requirements.txt); do mkdir -p /site/$p && tar -xzf /index/$p.tar.gz -C /site/$p || exit 1; done
COPY src ./
ENV MODE=production
CMD ["sh", "app.sh"]
`),
		"src/app.sh": []byte("echo app\n"),
	}
	n := newNoise(1)
	for i := range 20 {
		name := fmt.Sprintf("package%02d", i)
		files["requirements.txt"] = append(files["requirements.txt"], name+"\n"...)
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		t := tar.NewWriter(z)
		for k := range 50 {
			if err := member(t, fmt.Sprintf("module%02d.txt", k), n.text(4000)); err != nil {
				return err
			}
		}
		if err := closeAll(t, z); err != nil {
			return err
		}
		files["index/"+name+".tar.gz"] = b.Bytes()
	}
	for i := range 30 {
		files[fmt.Sprintf("src/source%02d.txt", i)] = n.text(3000)
	}
	for name, content := range files {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// The shape of the big image: each layer has random files and, of the same size
// together, text files.
const (
	bigLayers  = 5
	randomSize = 1 << 20
	randoms    = 50
	textSize   = 8 << 10
	texts      = randoms * randomSize / textSize
)

// writeBig writes the big image as docker save does, its layers compressed as
// those of a registry are.
func writeBig(path string) error {
	out, err := os.Create(path)
	if err != nil {
		return err
	}
	defer out.Close()
	w := tar.NewWriter(out)
	var names, ids []string
	for i := range bigLayers {
		layer, id, err := bigLayer(i)
		if err != nil {
			return err
		}
		name := fmt.Sprintf("%d/layer.tar", i)
		if err := member(w, name, layer); err != nil {
			return err
		}
		names, ids = append(names, name), append(ids, "sha256:"+id)
	}
	config, err := json.Marshal(map[string]any{
		"architecture": runtime.GOARCH, "os": "linux", "config": map[string]any{},
		"rootfs": map[string]any{"type": "layers", "diff_ids": ids},
	})
	if err != nil {
		return err
	}
	manifest, err := json.Marshal([]map[string]any{{"Config": "config.json", "RepoTags": []string{bigImage}, "Layers": names}})
	if err != nil {
		return err
	}
	if err := member(w, "config.json", config); err != nil {
		return err
	}
	if err := member(w, "manifest.json", manifest); err != nil {
		return err
	}
	return closeAll(w, out)
}

// bigLayer is a compressed layer and the digest of what it is uncompressed.
func bigLayer(i int) ([]byte, string, error) {
	n := newNoise(byte(2 + i))
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestSpeed)
	if err != nil {
		return nil, "", err
	}
	sum := sha256.New()
	w := tar.NewWriter(io.MultiWriter(z, sum))
	for k := range randoms {
		if err := member(w, fmt.Sprintf("layer%d/random/%02d", i, k), n.random(randomSize)); err != nil {
			return nil, "", err
		}
	}
	for k := range texts {
		if err := member(w, fmt.Sprintf("layer%d/text/%02d/%04d", i, k%100, k), n.text(textSize)); err != nil {
			return nil, "", err
		}
	}
	if err := closeAll(w, z); err != nil {
		return nil, "", err
	}
	return b.Bytes(), hex.EncodeToString(sum.Sum(nil)), nil
}

func member(w *tar.Writer, name string, content []byte) error {
	if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(content))}); err != nil {
		return err
	}
	_, err := w.Write(content)
	return err
}

func closeAll(closers ...io.Closer) error {
	for _, c := range closers {
		if err := c.Close(); err != nil {
			return err
		}
	}
	return nil
}
