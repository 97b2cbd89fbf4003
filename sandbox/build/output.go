package build

import (
	"bytes"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/sbx-dev/sbx/sandbox"
	"github.com/sbx-dev/sbx/sandbox/observe"
)

// longestLine is how much of a line of output is kept, in bytes.
const longestLine = 64 << 10

// lines gives whole lines of what is written to it. Of a line that overwrites
// itself (\r), as progress bars do, the last state counts.
type lines struct {
	mu   sync.Mutex
	tell func(string)
	part []byte
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for rest := p; ; {
		line, after, whole := bytes.Cut(rest, []byte("\n"))
		if room := longestLine - len(l.part); len(line) > room {
			line = line[:max(room, 0)]
		}
		l.part = append(l.part, line...)
		if !whole {
			return len(p), nil
		}
		l.flush()
		rest = after
	}
}

func (l *lines) flush() {
	text := strings.TrimRight(string(l.part), "\r")
	if i := strings.LastIndexByte(text, '\r'); i >= 0 {
		text = text[i+1:]
	}
	l.part = l.part[:0]
	l.tell(text)
}

// end gives what has no end of line.
func (l *lines) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.part) > 0 {
		l.flush()
	}
}

// leastMasked is how long a line of a secret is that output is searched for, in
// bytes: shorter ones are in every text.
const leastMasked = 5

// hide has a secret masked in all output, line by line.
func (b *builder) hide(s Secret) {
	text := s.Value
	if s.File != "" {
		data, err := os.ReadFile(s.File)
		if err != nil {
			return // the RUN that asks for it says why
		}
		text = string(data)
	}
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); len(line) >= leastMasked {
			b.hidden = append(b.hidden, line)
		}
	}
	slices.SortFunc(b.hidden, func(x, y string) int { return len(y) - len(x) })
}

// mask replaces the secrets in a line.
func (b *builder) mask(line string) string {
	for _, secret := range b.hidden {
		line = strings.ReplaceAll(line, secret, "***")
	}
	return line
}

// offline tells whether a command tried a network that it did not have: by the
// counters of its network namespace, which are gone once it has ended.
type offline struct{ snmp, snmp6 *os.File }

func (o *offline) gather(cmd *sandbox.Cmd) {
	if cmd.Spec.Skips("net") || cmd.Spec.Net == "host" {
		return
	}
	proc := "/proc/" + strconv.Itoa(cmd.InitPid())
	o.snmp, _ = os.Open(proc + "/net/snmp")   // nil says nothing then
	o.snmp6, _ = os.Open(proc + "/net/snmp6") // the same
}

func (o *offline) tried() bool {
	defer o.snmp.Close()
	defer o.snmp6.Close()
	for _, c := range [...][2]string{{"Ip", "OutNoRoutes"}, {"Udp", "NoPorts"}} {
		if o.snmp == nil {
			break
		}
		if _, err := o.snmp.Seek(0, 0); err != nil {
			break
		}
		if n, err := observe.ParseSNMP(o.snmp, c[0], c[1]); err == nil && n > 0 {
			return true
		}
	}
	if o.snmp6 == nil {
		return false
	}
	n, err := observe.ParseSNMP6(o.snmp6, "Ip6OutNoRoutes")
	return err == nil && n > 0
}
