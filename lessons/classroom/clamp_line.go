package classroom

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sbx-dev/sbx/lessons"
)

// remoteFlag is a flag of sbx run that a line from another machine may hold.
type remoteFlag struct {
	names []string
	value bool // takes one
	times int  // how often it may stand; 0 means once
	check func(c clamp, value string) error
}

// What a line may ask for at most: what limitFlags gives every run.
const (
	maxPids  = 256
	maxLayer = 64 << 20 // bytes
	maxData  = 1 << 30  // bytes of a process
	maxTmpfs = 4
)

// maxUlimit is the most that --ulimit may ask for, by name. A name that is not
// here cannot be given: without rlimits of its own sbx keeps some of them low.
var maxUlimit = map[string]uint64{
	"nofile": 1 << 20, "fsize": maxLayer, "data": maxData, "as": 1 << 40, "stack": 64 << 20,
	"cpu": uint64(runTimeout / time.Second), "nproc": maxPids, "core": 0,
}

// remoteFlags is the whole list: what is not in it is refused. None of them
// shows a path of the host, passes a variable of the server, reaches its network
// or gives a run more than limitFlags does. (--hide and -w tell at most whether
// a path of the host is there.)
func remoteFlags() []remoteFlag {
	anything := func(clamp, string) error { return nil }
	steps := func(c clamp, value string) error { return c.off(strings.Split(value, ",")) }
	return []remoteFlag{
		{names: []string{"--skip", "--optional"}, value: true, times: 20, check: steps},
		{names: []string{"--with", "--require"}, value: true, times: 20, check: anything},
		{names: []string{"--hostname", "-w", "--workdir", "--cap-drop"}, value: true, times: 50, check: anything},
		{names: []string{"--hide"}, value: true, times: 10, check: anything},
		{names: []string{"--root-with"}, value: true, check: func(c clamp, value string) error {
			if value == "pivot_root" {
				return nil
			}
			return &refusal{"--root-with " + value + ": " + c.locked("root")}
		}},
		{names: []string{"-u", "--user"}, value: true, check: func(_ clamp, value string) error {
			if strings.Trim(value, "0123456789:") == "" {
				return nil
			}
			return &refusal{"-u takes numbers: UID or UID:GID"}
		}},
		{names: []string{"-e", "--env"}, value: true, times: 50, check: func(_ clamp, value string) error {
			if !strings.Contains(value, "=") {
				return &refusal{"-e " + value + " would pass a variable of the server: -e NAME=VALUE sets one"}
			}
			return nil
		}},
		{names: []string{"--net"}, value: true, check: func(c clamp, value string) error {
			if value == "none" {
				return nil
			}
			return c.off([]string{"net"})
		}},
		{names: []string{"--seccomp"}, value: true, check: func(c clamp, value string) error {
			switch value {
			case "default", "strict":
				return nil
			case "log": // it allows every call
				return c.off([]string{"seccomp"})
			}
			return &refusal{"--seccomp takes default, strict or log here: a file would be the server's"}
		}},
		{names: []string{"--profile"}, value: true, check: func(_ clamp, value string) error {
			if slices.Contains([]string{"default", "strict"}, value) {
				return nil
			}
			return &refusal{"the profile " + value + " switches off what protects the server: run sbx classroom on your own machine for it"}
		}},
		{names: []string{"--boottime-offset"}, value: true, check: func(_ clamp, value string) error {
			_, err := seconds(value)
			return err
		}},
		{names: []string{"--timeout", "--cpu-time"}, value: true, times: 2, check: func(_ clamp, value string) error {
			d, err := seconds(value)
			if err == nil && (d <= 0 || d > runTimeout) {
				err = tooMuch(value, "a run has "+runTimeout.String())
			}
			return err
		}},
		{names: []string{"--pids-limit"}, value: true, check: func(_ clamp, value string) error { return atMost(value, maxPids) }},
		{names: []string{"--layer-size"}, value: true, check: func(_ clamp, value string) error { return size(value) }},
		{names: []string{"--tmpfs"}, value: true, times: maxTmpfs, check: func(_ clamp, value string) error {
			_, option, _ := strings.Cut(value, ":")
			if option == "" {
				return nil // as large as the layer
			}
			text, ok := strings.CutPrefix(option, "size=")
			if !ok {
				return &refusal{"--tmpfs " + value + ": the only option is size="}
			}
			return size(text)
		}},
		{names: []string{"--ulimit"}, value: true, times: 20, check: ulimit},
		{names: []string{"--as-pid-1", "--changes"}, times: 2, check: anything},
	}
}

// ulimit checks NAME=SOFT[:HARD]. Numbers alone are taken: what unlimited or a
// suffix means is for sbx to know.
func ulimit(_ clamp, value string) error {
	name, limits, _ := strings.Cut(value, "=")
	most, known := maxUlimit[name]
	if !known {
		return &refusal{"--ulimit " + value + ": on a shared server there are " + strings.Join(sortedNames(maxUlimit), ", ")}
	}
	soft, hard, two := strings.Cut(limits, ":")
	if err := atMost(soft, most); err != nil || !two {
		return err
	}
	return atMost(hard, most)
}

func tooMuch(value, most string) error {
	return &refusal{value + " is more than this server gives, or nothing: " + most}
}

// atMost takes digits alone. 0 is right only where nothing more is: elsewhere it
// can stand for no limit.
func atMost(value string, most uint64) error {
	n, err := strconv.ParseUint(value, 10, 64)
	if err != nil {
		return &refusal{"“" + value + "” is no number"}
	}
	if n > most || n == 0 && most != 0 {
		return tooMuch(value, "at most "+strconv.FormatUint(most, 10))
	}
	return nil
}

// size takes digits and one of k and m.
func size(value string) error {
	digits, unit := value, uint64(1)
	if i := strings.IndexByte("km", lastByte(value)); i >= 0 {
		digits, unit = value[:len(value)-1], []uint64{1 << 10, 1 << 20}[i]
	}
	if atMost(digits, maxLayer/unit) != nil {
		return tooMuch(value, "at most 64m")
	}
	return nil
}

// lastByte is 0 for an empty text.
func lastByte(text string) byte {
	if text == "" {
		return 0
	}
	return text[len(text)-1]
}

// seconds takes 10, 0.5, 10s, 500ms and the like.
func seconds(value string) (time.Duration, error) {
	if strings.Trim(value, "0123456789.-") == "" {
		value += "s"
	}
	d, err := time.ParseDuration(value)
	if err != nil {
		return 0, &refusal{"“" + value + "” is no time, such as 5s or 500ms"}
	}
	return d, nil
}

// line checks the flags of a student's line. Only long and one-letter spellings
// that stand alone are known here (no -tw, no abbreviations), so that this list
// and sbx cannot read a word differently: a word that is neither a flag of the
// list nor its value is refused.
func (c clamp) line(l lessons.Line) error {
	if !c.remote {
		return nil
	}
	flags, seen := remoteFlags(), map[int]int{}
	for i := 0; i < len(l.Flags); i++ {
		name, value, inline := strings.Cut(l.Flags[i], "=")
		k := slices.IndexFunc(flags, func(f remoteFlag) bool { return slices.Contains(f.names, name) })
		if k < 0 || inline && (!flags[k].value || !strings.HasPrefix(name, "--")) {
			return &refusal{l.Flags[i] + " cannot be used on a shared server: run sbx classroom on your own machine for it"}
		}
		if seen[k]++; seen[k] > max(flags[k].times, 1) {
			return &refusal{name + " stands there too often"}
		}
		if !flags[k].value {
			continue
		}
		if !inline {
			if i++; i == len(l.Flags) {
				return &refusal{name + " needs a value after it"}
			}
			value = l.Flags[i]
			// A negative time is the one value that begins so; the check of that
			// flag takes nothing else.
			if strings.HasPrefix(value, "-") && name != "--boottime-offset" {
				return &refusal{name + " needs a value after it, and " + value + " is a flag"}
			}
		}
		if strings.ContainsAny(value, "\x00\n") {
			return &refusal{name + " has a value of more than one line"}
		}
		if err := flags[k].check(c, value); err != nil {
			return err
		}
	}
	return nil
}
