package cri

import (
	"context"
	"errors"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// maxCheckpoint is the longest time that a checkpoint is waited for.
const maxCheckpoint = 4 * time.Hour

// Checkpoint writes a container's state into a new file at path, an archive. The
// runtime gets the seconds that were asked for, or those of any call if these are
// more. The error has the runtime's gRPC status.
func (c *Client) Checkpoint(ctx context.Context, id, path string, seconds int64) error {
	if seconds < 0 {
		return errors.New("CheckpointContainer requires the timeout value to be > 0")
	}
	limit := c.cfg.RequestTimeout
	if least := int64(limit / time.Second); seconds > least {
		limit = time.Duration(min(seconds, int64(maxCheckpoint/time.Second))) * time.Second
	} else {
		seconds = least
	}
	_, err := call(ctx, c, "checkpoint_container", limit, c.runtime.CheckpointContainer,
		&runtimeapi.CheckpointContainerRequest{ContainerId: id, Location: path, Timeout: seconds})
	return err
}
