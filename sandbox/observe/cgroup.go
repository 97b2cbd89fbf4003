package observe

import (
	"fmt"
	"io"
	"strconv"
	"strings"
)

// CgroupPath is where a process stands in one cgroup hierarchy (cgroups(7)).
type CgroupPath struct {
	Hierarchy   int      `json:"hierarchy"`   // 0 is cgroup v2
	Controllers []string `json:"controllers"` // empty for v2; a named v1 hierarchy has one entry such as name=systemd
	// Path is relative to the root of the reader's cgroup namespace; it begins
	// with /.. when the process stands outside of that (cgroup_namespaces(7)).
	Path string `json:"path"`
}

// name returns the controllers in one word, "cgroup2" for the v2 hierarchy.
func (c *CgroupPath) name() string {
	if c.Hierarchy == 0 {
		return "cgroup2"
	}
	return strings.Join(c.Controllers, ",")
}

// ParseCgroup reads /proc/PID/cgroup. A path may hold colons, the fields
// before it cannot.
func ParseCgroup(r io.Reader) ([]CgroupPath, error) {
	paths := []CgroupPath{}
	err := eachLine("cgroup", r, func(line string) error {
		fields := strings.SplitN(line, ":", 3)
		if len(fields) != 3 {
			return fmt.Errorf("%w: not three fields", errMalformed)
		}
		id, err := strconv.Atoi(fields[0])
		if err != nil || id < 0 {
			return fmt.Errorf("%w: hierarchy %q", errMalformed, fields[0])
		}
		p := CgroupPath{Hierarchy: id, Controllers: []string{}, Path: fields[2]}
		if fields[1] != "" {
			p.Controllers = strings.Split(fields[1], ",")
		}
		paths = append(paths, p)
		return nil
	})
	return paths, err
}
