package seccomp

import (
	"fmt"
	"math"
	"math/bits"
)

// A test compares the bits of one argument that mask has: argument & mask ==
// value. Every operator on an int argument becomes tests, so that only the 32
// bits that the kernel sees are looked at.
type test struct {
	arg         uint
	op          string // SCMP_CMP_MASKED_EQ, or another operator on all 64 bits
	mask, value uint64 // mask is unused by other operators
}

// low32 masks what the kernel keeps of an int.
const low32 = math.MaxUint32

// knownOp says whether an operator exists.
func knownOp(op string) bool {
	switch op {
	case "SCMP_CMP_NE", "SCMP_CMP_LT", "SCMP_CMP_LE", "SCMP_CMP_EQ", "SCMP_CMP_GE", "SCMP_CMP_GT", "SCMP_CMP_MASKED_EQ":
		return true
	}
	return false
}

// alternatives are the tests that stand for one condition: it holds if any of
// them does.
func alternatives(call string, a Arg) ([]test, error) {
	if !isInt(call, a.Index) {
		if a.Op == "SCMP_CMP_MASKED_EQ" {
			return []test{{a.Index, a.Op, a.Value, a.ValueTwo & a.Value}}, nil
		}
		return []test{{arg: a.Index, op: a.Op, value: a.Value}}, nil
	}
	masked := func(mask, value uint64) test { return test{a.Index, "SCMP_CMP_MASKED_EQ", mask, value} }
	if a.Op == "SCMP_CMP_MASKED_EQ" {
		mask := a.Value & low32
		return []test{masked(mask, a.ValueTwo&mask)}, nil
	}
	v := a.Value & low32
	// A negative number may be written with all 64 bits.
	if a.Value != v && a.Value != uint64(int64(int32(v))) {
		return nil, fmt.Errorf("argument %d is an int, %#x has more than 32 bits", a.Index, a.Value)
	}
	var tests []test
	switch a.Op {
	case "SCMP_CMP_EQ", "SCMP_CMP_GE", "SCMP_CMP_LE":
		tests = append(tests, masked(low32, v))
	}
	for bit := uint64(1); bit <= low32; bit <<= 1 {
		// above is the bit itself and all that count more: two numbers that
		// agree on all but the lowest of these are ordered by it.
		above := low32 &^ (bit - 1)
		switch {
		case a.Op == "SCMP_CMP_NE":
			tests = append(tests, masked(bit, ^v&bit))
		case (a.Op == "SCMP_CMP_GT" || a.Op == "SCMP_CMP_GE") && v&bit == 0:
			tests = append(tests, masked(above, v&above|bit))
		case (a.Op == "SCMP_CMP_LT" || a.Op == "SCMP_CMP_LE") && v&bit != 0:
			tests = append(tests, masked(above, v&above&^bit))
		}
	}
	return tests, nil
}

// maxTests is the most that the conditions of one rule may become.
const maxTests = 64

// expand gives the sets of tests that stand for the conditions of a rule: the
// rule holds if all tests of any set do.
func expand(call string, args []Arg) ([][]test, error) {
	sets := [][]test{nil}
	for _, a := range args {
		alts, err := alternatives(call, a)
		if err != nil {
			return nil, err
		}
		if len(sets)*len(alts) > maxTests {
			return nil, fmt.Errorf("the conditions on int arguments are too many: each but SCMP_CMP_EQ and SCMP_CMP_MASKED_EQ becomes up to 33")
		}
		var next [][]test
		for _, s := range sets {
			for _, t := range alts {
				next = append(next, append(s[:len(s):len(s)], t))
			}
		}
		sets = next
	}
	return sets, nil
}

// disjoint says whether two lists of conditions surely never hold for the same
// call. It looks at the operators that compare bits; of others it is not sure.
func disjoint(call string, a, b []Arg) bool {
	for _, x := range a {
		for _, y := range b {
			if x.Index == y.Index && disjointArg(call, x, y) {
				return true
			}
		}
	}
	return false
}

func disjointArg(call string, x, y Arg) bool {
	if x.Op == "SCMP_CMP_NE" {
		x, y = y, x
	}
	width := uint64(math.MaxUint64)
	if isInt(call, x.Index) {
		width = low32
	}
	if x.Op == "SCMP_CMP_EQ" && y.Op == "SCMP_CMP_NE" {
		return (x.Value^y.Value)&width == 0
	}
	maskX, valueX, okX := bitsOf(x)
	maskY, valueY, okY := bitsOf(y)
	return okX && okY && bits.OnesCount64(maskX&maskY&width&(valueX^valueY)) > 0
}

// bitsOf is a condition as mask and value, where it is one.
func bitsOf(a Arg) (mask, value uint64, ok bool) {
	switch a.Op {
	case "SCMP_CMP_EQ":
		return math.MaxUint64, a.Value, true
	case "SCMP_CMP_MASKED_EQ":
		return a.Value, a.ValueTwo, true
	}
	return 0, 0, false
}
