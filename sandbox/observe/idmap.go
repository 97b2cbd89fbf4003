package observe

import (
	"fmt"
	"io"
	"strconv"
	"strings"
)

// overflowID is what an id without an entry in the map looks like from inside
// (/proc/sys/kernel/overflowuid, user_namespaces(7)).
const overflowID = 65534

// IDRange is one line of an id map: Count ids from Inside on are the ids from
// Outside on in the reader's user namespace. A reader inside the same user
// namespace gets the ids of its parent instead (user_namespaces(7)).
type IDRange struct {
	Inside  uint32 `json:"inside"`
	Outside uint32 `json:"outside"`
	Count   uint32 `json:"count"`
}

// ParseIDMap reads /proc/PID/uid_map or gid_map. A namespace whose map has not
// been written yet gives an empty list.
func ParseIDMap(r io.Reader) ([]IDRange, error) {
	ranges := []IDRange{}
	err := eachLine("id map", r, func(line string) error {
		ids, err := parseIDs(line)
		if err != nil {
			return fmt.Errorf("%w: %w", errMalformed, err)
		}
		if len(ids) != 3 {
			return fmt.Errorf("%w: %d numbers instead of 3", errMalformed, len(ids))
		}
		ranges = append(ranges, IDRange{Inside: ids[0], Outside: ids[1], Count: ids[2]})
		return nil
	})
	return ranges, err
}

// insideID returns how an outside id looks from inside, the overflow id when
// no range holds it.
func insideID(ranges []IDRange, outside uint32) uint32 {
	for _, r := range ranges {
		if outside >= r.Outside && outside-r.Outside < r.Count {
			return r.Inside + (outside - r.Outside)
		}
	}
	return overflowID
}

// identityMap says whether every id means itself, which is the map of a host.
func identityMap(ranges []IDRange) bool {
	return len(ranges) == 1 && ranges[0] == IDRange{Count: 1<<32 - 1}
}

// describeMap writes a map as a person would say it.
func describeMap(ranges []IDRange) string {
	switch {
	case len(ranges) == 0:
		return "no map"
	case identityMap(ranges):
		return "every id is itself"
	}
	parts := make([]string, 0, len(ranges))
	for _, r := range ranges {
		if r.Count == 1 {
			parts = append(parts, fmt.Sprintf("%d inside is %d outside", r.Inside, r.Outside))
			continue
		}
		parts = append(parts, fmt.Sprintf("%d to %d inside are %d to %d outside",
			r.Inside, uint64(r.Inside)+uint64(r.Count)-1, r.Outside, uint64(r.Outside)+uint64(r.Count)-1))
	}
	return strings.Join(parts, ", ")
}

// ParseTimeOffsets reads /proc/PID/timens_offsets (time_namespaces(7)).
func ParseTimeOffsets(r io.Reader) ([]TimeOffset, error) {
	offsets := []TimeOffset{}
	err := eachLine("timens_offsets", r, func(line string) error {
		words := strings.Fields(line)
		if len(words) != 3 {
			return fmt.Errorf("%w: %d words instead of 3", errMalformed, len(words))
		}
		seconds, err := strconv.ParseInt(words[1], 10, 64)
		if err != nil {
			return fmt.Errorf("%w: %w", errMalformed, err)
		}
		nanoseconds, err := strconv.ParseInt(words[2], 10, 64)
		if err != nil {
			return fmt.Errorf("%w: %w", errMalformed, err)
		}
		offsets = append(offsets, TimeOffset{Clock: words[0], Seconds: seconds, Nanoseconds: nanoseconds})
		return nil
	})
	return offsets, err
}
