package cli

import (
	"errors"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-dev/sbx/sandbox"
	"github.com/sbx-dev/sbx/sandbox/layer"
	"github.com/sbx-dev/sbx/sandbox/state"
)

// aboutImage is what the record keeps of the image's config. What it says of ports
// and the signal is anybody's text: what is none is left out.
func (l *life) aboutImage() (ref, digest string, ports []string, stop string) {
	if l.image == nil {
		return "", "", nil, ""
	}
	for port := range l.image.Config.ExposedPorts {
		number, protocol, _ := strings.Cut(port, "/")
		if n, err := strconv.Atoi(number); err == nil && n > 0 && n < 1<<16 && slices.Contains([]string{"", "tcp", "udp", "sctp"}, protocol) {
			ports = append(ports, port)
		}
	}
	slices.SortFunc(ports, func(a, b string) int {
		na, _, _ := strings.Cut(a, "/")
		nb, _, _ := strings.Cut(b, "/")
		return (len(na)-len(nb))*2 + strings.Compare(a, b)
	})
	stop = l.image.Config.StopSignal
	if _, err := parseSignal(stop, unix.SIGTERM); err != nil {
		stop = ""
	}
	return l.ref, l.image.Digest, ports, stop
}

// isShown says whether a folder of the host is to be seen inside.
func isShown(spec *sandbox.Spec, dir string) bool {
	if real, err := filepath.EvalSymlinks(filepath.Dir(filepath.Dir(dir))); err == nil {
		dir = filepath.Join(real, "sbx", "layers")
	}
	return slices.ContainsFunc(spec.Mounts, func(m sandbox.Mount) bool {
		source, err := filepath.EvalSymlinks(m.Source)
		return m.Source != "" && m.Kind != sandbox.Hide && err == nil && (source == dir || strings.HasPrefix(dir, strings.TrimSuffix(source, "/")+"/"))
	})
}

// removeLayerOf removes what a sandbox that has ended wrote over an image.
func removeLayerOf(box *state.Record) error {
	layers, err := layerStore()
	if err != nil {
		return nil //nolint:nilerr // no home, and so no layer
	}
	// A monitor that was killed lets go of its locks one after the other.
	l, err := layers.OpenSandbox(box.ID)
	for end := time.Now().Add(2 * time.Second); errors.Is(err, layer.ErrBusy) && time.Now().Before(end); l, err = layers.OpenSandbox(box.ID) {
		time.Sleep(time.Millisecond)
	}
	if errors.Is(err, layer.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return l.Remove()
}
