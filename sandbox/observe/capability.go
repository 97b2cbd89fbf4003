package observe

import (
	"strings"

	"github.com/sbx-dev/sbx/sandbox/capability"
)

// CapabilityNames returns the names of the bits of a set as capabilities(7)
// and OCI spell them, in the order of their numbers. A bit that is younger
// than the table of names is CAP_ and its number.
func CapabilityNames(set uint64) []string {
	names := []string{}
	for n := range 64 {
		if set>>n&1 != 0 {
			names = append(names, "CAP_"+strings.ToUpper(capability.Name(n)))
		}
	}
	return names
}
