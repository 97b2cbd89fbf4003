package observe

import (
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
)

// Limit is a bound of getrlimit(2). In JSON it is a number, or the word
// "unlimited", since RLIM_INFINITY does not fit into a JavaScript number.
type Limit uint64

// Unlimited is RLIM_INFINITY.
const Unlimited Limit = math.MaxUint64

// String returns the number, or "unlimited".
func (l Limit) String() string {
	if l == Unlimited {
		return "unlimited"
	}
	return strconv.FormatUint(uint64(l), 10)
}

// MarshalJSON writes a number, or "unlimited" in quotes.
func (l Limit) MarshalJSON() ([]byte, error) {
	if l == Unlimited {
		return []byte(`"unlimited"`), nil
	}
	return strconv.AppendUint(nil, uint64(l), 10), nil
}

// UnmarshalJSON reads what MarshalJSON writes.
func (l *Limit) UnmarshalJSON(text []byte) error {
	if string(text) == `"unlimited"` {
		*l = Unlimited
		return nil
	}
	n, err := strconv.ParseUint(string(text), 10, 64)
	*l = Limit(n)
	return err
}

// Rlimit is one resource limit of a process.
type Rlimit struct {
	Name string `json:"name"` // as OCI and getrlimit(2) spell it: RLIMIT_NOFILE; the kernel's own text for one not known here
	Soft Limit  `json:"soft"`
	Hard Limit  `json:"hard"`
	Unit string `json:"unit"` // bytes, seconds, files, processes, locks, signals, us; empty for priorities
}

// limitsColumn is where the numbers begin: fs/proc/base.c pads the name, which
// holds spaces itself, to 25 and adds one.
const limitsColumn = 26

// ParseLimits reads /proc/PID/limits (proc_pid_limits(5)).
func ParseLimits(r io.Reader) ([]Rlimit, error) {
	limits := []Rlimit{}
	err := eachLine("limits", r, func(line string) error {
		if strings.HasPrefix(line, "Limit ") {
			return nil
		}
		if len(line) <= limitsColumn {
			return fmt.Errorf("%w: %d bytes", errMalformed, len(line))
		}
		name, words := strings.TrimSpace(line[:limitsColumn]), strings.Fields(line[limitsColumn:])
		if name == "" || len(words) < 2 || len(words) > 3 {
			return fmt.Errorf("%w: not a name, two bounds and a unit", errMalformed)
		}
		l := Rlimit{Name: limitName(name)}
		var err error
		if l.Soft, err = parseLimit(words[0]); err != nil {
			return err
		}
		if l.Hard, err = parseLimit(words[1]); err != nil {
			return err
		}
		if len(words) == 3 {
			l.Unit = words[2]
		}
		limits = append(limits, l)
		return nil
	})
	return limits, err
}

func parseLimit(word string) (Limit, error) {
	if word == "unlimited" {
		return Unlimited, nil
	}
	n, err := strconv.ParseUint(word, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", errMalformed, err)
	}
	return Limit(n), nil
}

// limitName turns the kernel's text into the constant of getrlimit(2).
func limitName(text string) string {
	switch text {
	case "Max cpu time":
		return "RLIMIT_CPU"
	case "Max file size":
		return "RLIMIT_FSIZE"
	case "Max data size":
		return "RLIMIT_DATA"
	case "Max stack size":
		return "RLIMIT_STACK"
	case "Max core file size":
		return "RLIMIT_CORE"
	case "Max resident set":
		return "RLIMIT_RSS"
	case "Max processes":
		return "RLIMIT_NPROC"
	case "Max open files":
		return "RLIMIT_NOFILE"
	case "Max locked memory":
		return "RLIMIT_MEMLOCK"
	case "Max address space":
		return "RLIMIT_AS"
	case "Max file locks":
		return "RLIMIT_LOCKS"
	case "Max pending signals":
		return "RLIMIT_SIGPENDING"
	case "Max msgqueue size":
		return "RLIMIT_MSGQUEUE"
	case "Max nice priority":
		return "RLIMIT_NICE"
	case "Max realtime priority":
		return "RLIMIT_RTPRIO"
	case "Max realtime timeout":
		return "RLIMIT_RTTIME"
	}
	return text
}
