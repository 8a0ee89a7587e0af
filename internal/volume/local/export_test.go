package local

import (
	"context"

	"nodeagent.dev/nodeagent/internal/volume"
)

// Lock takes the lock of a path.
func Lock(p volume.Plugin, ctx context.Context, path string) (func(), error) { //nolint:revive // the plugin is like a receiver
	return p.(*plugin).locks.take(ctx, path)
}
