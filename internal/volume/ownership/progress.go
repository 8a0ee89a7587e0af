package ownership

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// When users are told, as the kubelet does.
const (
	firstReport = 30 * time.Second
	nextReport  = time.Minute
)

// watch tells users about a walk that takes long, until stop; then it has ended.
func watch(opts Options, dir string, files func() int64) (stop func()) {
	if opts.Tell == nil {
		return func() {}
	}
	name := opts.Name
	if name == "" {
		name = dir
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { report(ctx, name, opts.Tell, files) })
	return func() { cancel(); running.Wait() }
}

func report(ctx context.Context, name string, tell func(string), files func() int64) {
	timer := time.NewTimer(firstReport)
	defer timer.Stop()
	for first := true; ; first = false {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		timer.Reset(nextReport)
		if first {
			tell(fmt.Sprintf("Setting volume ownership for %s is taking longer than expected, consider using OnRootMismatch - "+
				"https://kubernetes.io/docs/tasks/configure-pod-container/security-context/#configure-volume-permission-and-ownership-change-policy-for-pods", name))
			continue
		}
		tell(fmt.Sprintf("Setting volume ownership for %s, processed %d files.", name, files()))
	}
}
