package observe

import (
	"strconv"
	"strings"

	"github.com/syndtr/gocapability/capability"
)

// CapabilityNames returns the names of the bits of a set as capabilities(7)
// and OCI spell them, in the order of their numbers. A bit that is younger
// than the table of names is CAP_ and its number.
func CapabilityNames(set uint64) []string {
	names := []string{}
	for n := 0; n < 64; n++ {
		if set>>n&1 == 0 {
			continue
		}
		name := capability.Cap(n).String()
		if name == "unknown" {
			name = strconv.Itoa(n)
		}
		names = append(names, "CAP_"+strings.ToUpper(name))
	}
	return names
}
