package main

import (
	"fmt"
	"os/exec"
	"strconv"
	"strings"
)

const (
	getppidCalls = 300_000 // in one run of the payload
	filterRounds = 30
	filterTarget = 1.1
)

// filter compares a system call under the default filter with the same under a
// filter of one instruction, which allows everything. The rest of the sandbox is
// the same, and both run by turns.
func (b *bench) filter() error {
	payload, err := compile("getppid", b.folder)
	if err != nil {
		return err
	}
	calls := strconv.Itoa(getppidCalls)
	byDefault := []string{"run", "--", payload, calls}
	allowAll := []string{"run", "--skip", "seccomp", "--", payload, calls, "allow"}
	var filtered, allowed, ratios []float64
	for round := range filterRounds + 1 {
		var f, a float64
		var err error
		// Each goes first in every other round.
		if round%2 == 0 {
			f, err = b.nanoseconds(byDefault)
		}
		if err == nil {
			a, err = b.nanoseconds(allowAll)
		}
		if err == nil && round%2 == 1 {
			f, err = b.nanoseconds(byDefault)
		}
		if err != nil {
			return err
		}
		if round > 0 {
			filtered, allowed, ratios = append(filtered, f), append(allowed, a), append(ratios, f/a)
		}
	}
	ratio := median(filtered) / median(allowed)
	fmt.Printf("filter: one getppid, mean of %d calls, median of %d runs by turns\n", getppidCalls, filterRounds)
	fmt.Printf("  %-28s %9.1f ns\n", "a filter that allows all", median(allowed))
	fmt.Printf("  %-28s %9.1f ns\n", "the default filter", median(filtered))
	fmt.Printf("  %-28s %9.2f    (paired %.2f)   ≤ %.2f %s\n", "ratio", ratio, median(ratios), filterTarget,
		b.judge("getppid, default filter / allow all", ratio, filterTarget, false))
	return nil
}

// nanoseconds runs sbx with arguments and returns the number that CMD printed.
func (b *bench) nanoseconds(arguments []string) (float64, error) {
	cmd := exec.Command(b.sbx, arguments...)
	cmd.Dir = b.folder
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		return 0, fmt.Errorf("sbx %s: %w: %s", strings.Join(arguments, " "), err, said.String())
	}
	return strconv.ParseFloat(strings.TrimSpace(string(out)), 64)
}
