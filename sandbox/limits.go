package sandbox

import (
	"strconv"
)

// limits says, for each limit that was asked for, who holds it.
func (c *Cmd) limits() []Limit {
	var out []Limit
	held := func(step, by string) string {
		if c.Spec.Skips(step) {
			return "not_enforced"
		}
		return by
	}
	for _, r := range c.Spec.Rlimits {
		out = append(out, Limit{Name: r.Name, Requested: strconv.FormatUint(r.Soft, 10), EnforcedBy: held("rlimits", "rlimit")})
	}
	if c.Spec.Timeout > 0 {
		out = append(out, Limit{Name: "timeout", Requested: c.Spec.Timeout.String(), EnforcedBy: "watchdog"})
	}
	if c.Spec.LayerSize > 0 {
		by := held("mount", "tmpfs")
		if c.Spec.Upper != "" {
			by = "not_enforced" // a folder on a disk has no limit of its own
		}
		out = append(out, Limit{Name: "layer", Requested: strconv.FormatInt(c.Spec.LayerSize, 10), EnforcedBy: by})
	}
	return out
}
