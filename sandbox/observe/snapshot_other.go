//go:build !linux

package observe

import "errors"

// Snapshot answers that only Linux has the /proc that it reads.
func Snapshot(int) (*View, error) { return nil, errors.ErrUnsupported }

// Self answers that only Linux has the /proc that it reads.
func Self() (*View, error) { return nil, errors.ErrUnsupported }

// OutNoRoutes answers that only Linux has the /proc that it reads.
func OutNoRoutes(int) (int64, error) { return 0, errors.ErrUnsupported }
