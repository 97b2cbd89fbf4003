package observe

import (
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Mount is one line of /proc/PID/mountinfo (proc_pid_mountinfo(5)), with all
// escapes undone.
type Mount struct {
	ID           int      `json:"id"`            // unique while it is mounted
	Parent       int      `json:"parent"`        // the mount that it stands on; may lie outside the root and then is not listed
	Device       string   `json:"device"`        // MAJOR:MINOR of the file system
	Root         string   `json:"root"`          // the folder of the file system that is mounted; not "/" for a bind of a part
	Target       string   `json:"target"`        // where it is mounted, seen from the root of the process
	FSType       string   `json:"fstype"`        // such as ext4, or fuse.sshfs
	Source       string   `json:"source"`        // may be empty
	Options      []string `json:"options"`       // of this mount: ro, nosuid, relatime…
	SuperOptions []string `json:"super_options"` // of the file system, shared by all of its mounts
	Propagation  []string `json:"propagation"`   // shared:N, master:N, propagate_from:N, unbindable; empty when private
	ReadOnly     bool     `json:"read_only"`     // by the mount's own option or by the file system's
	Overlay      *Overlay `json:"overlay,omitempty"`
}

// Overlay holds the folders of an overlay mount, as they were given to
// mount(2): perhaps relative, and in the mount namespace of that moment.
type Overlay struct {
	Lower []string `json:"lower"` // the topmost first
	Upper string   `json:"upper"` // empty for a read-only overlay
	Work  string   `json:"work"`
}

// PropagationType returns the word of mount_namespaces(7) for how mount events
// travel: shared, slave, "shared and slave", unbindable or private. Peer group
// numbers are left out, since they differ between any two looks.
func (m *Mount) PropagationType() string {
	var shared, slave, unbindable bool
	for _, p := range m.Propagation {
		switch tag, _, _ := strings.Cut(p, ":"); tag {
		case "shared":
			shared = true
		case "master":
			slave = true
		case "unbindable":
			unbindable = true
		}
	}
	switch {
	case shared && slave:
		return "shared and slave"
	case shared:
		return "shared"
	case slave:
		return "slave"
	case unbindable:
		return "unbindable"
	}
	return "private"
}

// ParseMountinfo reads /proc/PID/mountinfo. On a line that it cannot read it
// returns the mounts before it and an error.
func ParseMountinfo(r io.Reader) ([]Mount, error) {
	mounts := []Mount{}
	err := eachLine("mountinfo", r, func(line string) error {
		m, err := parseMount(line)
		if err == nil {
			mounts = append(mounts, m)
		}
		return err
	})
	return mounts, err
}

// parseMount splits at single spaces, not at runs of white space: the kernel
// escapes each space of a name, but writes an empty source as nothing between
// two spaces.
func parseMount(line string) (Mount, error) {
	var m Mount
	fields := strings.Split(line, " ")
	separator := -1
	for i := 6; i < len(fields); i++ {
		if fields[i] == "-" {
			separator = i
			break
		}
	}
	if separator < 0 || len(fields) != separator+4 {
		return m, fmt.Errorf("%w: not the fields of a mount", errMalformed)
	}
	var err error
	if m.ID, err = strconv.Atoi(fields[0]); err != nil {
		return m, fmt.Errorf("%w: %w", errMalformed, err)
	}
	if m.Parent, err = strconv.Atoi(fields[1]); err != nil {
		return m, fmt.Errorf("%w: %w", errMalformed, err)
	}
	m.Device = fields[2]
	m.Root = unescapeOctal(fields[3])
	m.Target = unescapeOctal(fields[4])
	m.Options = splitOptions(fields[5])
	m.Propagation = append([]string{}, fields[6:separator]...)
	m.FSType = unescapeOctal(fields[separator+1])
	m.Source = unescapeOctal(fields[separator+2])
	m.SuperOptions = splitOptions(fields[separator+3])
	m.ReadOnly = contains(m.Options, "ro") || contains(m.SuperOptions, "ro")
	if m.FSType == "overlay" {
		m.Overlay = parseOverlay(m.SuperOptions)
	}
	return m, nil
}

// splitOptions splits before it unescapes: a comma within a value is written
// as \054 (seq_show_option in the kernel).
func splitOptions(text string) []string {
	if text == "" {
		return []string{}
	}
	options := strings.Split(text, ",")
	for i, o := range options {
		options[i] = unescapeOctal(o)
	}
	return options
}

func contains(list []string, word string) bool {
	for _, w := range list {
		if w == word {
			return true
		}
	}
	return false
}

// parseOverlay reads both spellings of the lower folders: one lowerdir= with
// colons, and since Linux 6.8 a lowerdir+= for each.
func parseOverlay(options []string) *Overlay {
	o := &Overlay{Lower: []string{}}
	for _, option := range options {
		key, value, _ := strings.Cut(option, "=")
		switch key {
		case "lowerdir":
			o.Lower = append(o.Lower, splitLower(value)...)
		case "lowerdir+", "datadir+":
			o.Lower = append(o.Lower, value)
		case "upperdir":
			o.Upper = value
		case "workdir":
			o.Work = value
		}
	}
	return o
}

// splitLower splits a lowerdir= value at its colons. A backslash makes the
// next byte part of the name, and :: stands before a data-only layer
// (Documentation/filesystems/overlayfs.rst).
func splitLower(value string) []string {
	var folders []string
	var b strings.Builder
	for i := 0; i <= len(value); i++ {
		switch {
		case i == len(value) || value[i] == ':':
			if b.Len() > 0 {
				folders = append(folders, b.String())
			}
			b.Reset()
		case value[i] == '\\' && i+1 < len(value):
			i++
			b.WriteByte(value[i])
		default:
			b.WriteByte(value[i])
		}
	}
	return folders
}

// unescapeOctal undoes the \NNN of seq_escape in the kernel. A backslash that
// no three octal digits follow stays as it is.
func unescapeOctal(s string) string {
	first := strings.IndexByte(s, '\\')
	if first < 0 {
		return s
	}
	b := make([]byte, 0, len(s))
	b = append(b, s[:first]...)
	for i := first; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) &&
			s[i+1] >= '0' && s[i+1] <= '3' && octal(s[i+2]) && octal(s[i+3]) {
			b = append(b, (s[i+1]-'0')<<6|(s[i+2]-'0')<<3|(s[i+3]-'0'))
			i += 3
			continue
		}
		b = append(b, s[i])
	}
	return string(b)
}

func octal(c byte) bool { return c >= '0' && c <= '7' }
