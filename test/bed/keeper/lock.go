package keeper

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"nodeagent.dev/nodeagent/test/bed/build"
)

// LockBase takes the lock under which the beds below base are made and removed.
func LockBase(ctx context.Context, base string) (func(), error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	unlock, err := build.Lock(ctx, filepath.Join(base, ".lock"), nil)
	if err != nil {
		return nil, fmt.Errorf("lock the beds of this machine: %w", err)
	}
	return unlock, nil
}
