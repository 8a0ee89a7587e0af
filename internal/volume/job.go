package volume

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"go.uber.org/zap"
	"k8s.io/apimachinery/pkg/types"
)

// maxJobs bounds the goroutines that wait for the kernel, the abandoned ones
// included: each may hold a thread.
const maxJobs = 1024

// jobs runs at most one piece of work per pod, off the caller's goroutine.
type jobs struct {
	log *zap.Logger
	// ended is told when a pod has no work any more.
	ended func()

	mu   sync.Mutex
	busy map[types.UID]*job
}

type job struct {
	what  string
	since time.Time
	done  chan struct{} // closed when the job has left the map
}

// do runs f for a pod and waits for it, or for ctx: then it returns at once and
// f goes on in the background until it notices. Work for the same pod waits.
func (j *jobs) do(ctx context.Context, uid types.UID, what string, f func(context.Context) error) error {
	mine, err := j.begin(ctx, uid, what)
	if err != nil {
		return err
	}
	return j.run(ctx, uid, mine, f)
}

// try does the same if nothing else is done for the pod; else it says so.
func (j *jobs) try(ctx context.Context, uid types.UID, what string, f func(context.Context) error) (busy bool, err error) {
	now, cancel := context.WithCancel(ctx)
	cancel()
	mine, err := j.begin(now, uid, what)
	if err != nil {
		return true, err
	}
	return false, j.run(ctx, uid, mine, f)
}

func (j *jobs) run(ctx context.Context, uid types.UID, mine *job, f func(context.Context) error) error {
	failed := make(chan error, 1)
	go func() {
		defer j.end(uid, mine)
		failed <- j.shielded(ctx, uid, f)
	}()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	select {
	case err := <-failed: // both were ready
		return err
	default:
		return fmt.Errorf("%s of pod %s has not returned: %w", mine.what, uid, ctx.Err())
	}
}

// begin takes the pod's place, waiting for whoever has it.
func (j *jobs) begin(ctx context.Context, uid types.UID, what string) (*job, error) {
	for {
		j.mu.Lock()
		other := j.busy[uid]
		if other == nil {
			defer j.mu.Unlock()
			if len(j.busy) >= maxJobs {
				return nil, fmt.Errorf("%s of pod %s: %d volume operations are in flight or hang, refusing more", what, uid, len(j.busy))
			}
			mine := &job{what: what, since: time.Now(), done: make(chan struct{})}
			j.busy[uid] = mine
			return mine, nil
		}
		j.mu.Unlock()
		select {
		case <-other.done:
		case <-ctx.Done():
			return nil, fmt.Errorf("%s of pod %s: an earlier %s still runs after %s: %w",
				what, uid, other.what, time.Since(other.since).Round(time.Second), ctx.Err())
		}
	}
}

// current is the pod's work that runs; nil: there is none.
func (j *jobs) current(uid types.UID) *job {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.busy[uid]
}

func (j *jobs) end(uid types.UID, mine *job) {
	j.mu.Lock()
	delete(j.busy, uid)
	j.mu.Unlock()
	close(mine.done)
	j.ended()
}

// shielded turns a panic into an error: nobody could recover it on this
// goroutine, and one plugin's bug must not end the agent.
func (j *jobs) shielded(ctx context.Context, uid types.UID, f func(context.Context) error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			j.log.Error("Volume operation panicked", zap.String("uid", string(uid)), zap.Any("panic", r), zap.ByteString("stack", debug.Stack()))
			err = fmt.Errorf("volume operation of pod %s panicked: %v", uid, r)
		}
	}()
	return f(ctx)
}
