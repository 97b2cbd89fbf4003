package main

import (
	"fmt"
	"slices"
	"time"
)

// percentile returns the value below which p percent of the values lie, without
// interpolation. values may not be empty.
func percentile[T int64 | float64 | time.Duration](values []T, p int) T {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[min(len(sorted)*p/100, len(sorted)-1)]
}

func median[T int64 | float64 | time.Duration](values []T) T {
	return percentile(values, 50)
}

// pairedRatio returns the median of a[i]/b[i]: each ratio compares two runs of
// one moment, so that what changes slowly on the machine falls out.
func pairedRatio(a, b []time.Duration) float64 {
	ratios := make([]float64, len(a))
	for i := range a {
		ratios[i] = float64(a[i]) / float64(b[i])
	}
	return median(ratios)
}

func milliseconds(d time.Duration) string {
	if d >= 10*time.Second {
		return fmt.Sprintf("%.2f s", d.Seconds())
	}
	return fmt.Sprintf("%.2f ms", float64(d)/float64(time.Millisecond))
}
