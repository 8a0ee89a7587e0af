package node

import (
	"context"
	"reflect"
	"time"

	"go.uber.org/zap"
)

const (
	// askTimeout is how long the runtime may take to say how it is.
	askTimeout = 5 * time.Second
	// impatience is the time between two questions while the answer is bad.
	impatience = time.Second
)

// watchRuntime asks the runtime how it is, more often while it is not well, and
// publishes what changes.
func (r *Registrar) watchRuntime(ctx context.Context) {
	for ctx.Err() == nil {
		before := r.runtime.Load()
		after := r.ask(ctx, *before)
		if ctx.Err() != nil {
			return // the answer was cut off, it says nothing
		}
		r.runtime.Store(&after)
		r.publish()
		now := time.Now()
		if !reflect.DeepEqual(before.Info, after.Info) || before.LastOK.IsZero() != after.LastOK.IsZero() ||
			before.Down(now) != after.Down(now) {
			hint(r.changed)
		}
		wait := r.cfg.Timing.RuntimePoll
		if len(runtimeTroubles(after)) > 0 {
			wait = min(wait, impatience)
		}
		select {
		case <-time.After(wait):
		case <-r.poke:
		case <-ctx.Done():
		}
	}
}

// ask returns the state after one question. Without an answer the last one
// stays, and time decides when the runtime counts as down.
func (r *Registrar) ask(ctx context.Context, s RuntimeState) RuntimeState {
	asked, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	info, err := r.deps.Runtime.Info(asked)
	if err != nil {
		if s.Err == "" && ctx.Err() == nil {
			r.log.Warn("the container runtime does not say how it is; the node becomes not ready if this goes on",
				zap.Duration("after", s.DownAfter), zap.Error(err))
		}
		s.Err = err.Error()
		return s
	}
	if s.Err != "" {
		r.log.Info("the container runtime answers again")
	}
	s.Err, s.Info = "", &info
	if info.RuntimeProblem == "" {
		s.LastOK = time.Now()
	}
	return s
}

// runtimeTroubles are reasons to ask again soon.
func runtimeTroubles(s RuntimeState) []string {
	var list []string
	if s.Err != "" {
		list = append(list, s.Err)
	}
	if s.Info != nil && s.Info.RuntimeProblem != "" {
		list = append(list, s.Info.RuntimeProblem)
	}
	if p := networkProblem(s); p != "" {
		list = append(list, p)
	}
	return list
}
