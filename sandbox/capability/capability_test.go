package capability

import (
	"testing"

	reference "github.com/syndtr/gocapability/capability"
)

func TestAgainstGocapability(t *testing.T) {
	list := reference.List()
	if len(list) < 38 {
		t.Fatalf("the reference knows %d capabilities", len(list))
	}
	for _, c := range list {
		if got := Name(int(c)); got != c.String() {
			t.Errorf("Name(%d) = %q, want %q", int(c), got, c)
		}
		if got := Number("CAP_" + c.String()); got != int(c) {
			t.Errorf("Number(CAP_%s) = %d, want %d", c, got, int(c))
		}
	}
	if got := Last(); got != int(reference.CAP_LAST_CAP) {
		t.Errorf("Last() = %d, want %d", got, reference.CAP_LAST_CAP)
	}
	if Number("nosuch") != -1 || Name(63) != "63" {
		t.Error("an unknown name or number was found")
	}
}
