package source

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"

	"nodeagent.dev/nodeagent/internal/pod"
)

type update struct {
	name pod.SourceName
	pods []*corev1.Pod
}

// Run starts the sources and sends what they want together each time it
// changes. A receiver that is slow gets the newest combination and misses the
// ones between; the sources never wait for it.
//
// The order of the sources is their rank (see [NewMerge]). Run returns nil when
// ctx is done, and an error when a source gives up, which no source should.
func Run(ctx context.Context, sources []Source, out chan<- pod.Desired) error {
	names := make([]pod.SourceName, 0, len(sources))
	for _, s := range sources {
		names = append(names, s.Name())
	}
	updates := make(chan update)
	group, ctx := errgroup.WithContext(ctx)
	for _, s := range sources {
		group.Go(func() error { return follow(ctx, s, updates) })
	}
	group.Go(func() error { return combine(ctx, NewMerge(names...), updates, out) })
	return group.Wait()
}

// follow runs one source and labels what it sends.
func follow(ctx context.Context, s Source, updates chan<- update) error {
	sets := make(chan []*corev1.Pod)
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx, sets) }()
	for {
		select {
		case pods := <-sets:
			select {
			case updates <- update{s.Name(), pods}:
			case <-ctx.Done():
			}
		case err := <-done:
			if ctx.Err() != nil {
				return nil
			}
			if err == nil {
				err = errors.New("it ended without an error")
			}
			return fmt.Errorf("pod source %q stopped: %w", s.Name(), err)
		}
	}
}

// combine owns the Merge. It holds at most one unsent result.
func combine(ctx context.Context, m *Merge, updates <-chan update, out chan<- pod.Desired) error {
	var newest pod.Desired
	var ready chan<- pod.Desired // nil, hence never chosen, while nothing is unsent
	for {
		select {
		case u := <-updates:
			m.Set(u.name, u.pods)
			newest, ready = m.Desired(), out
		case ready <- newest:
			newest, ready = pod.Desired{}, nil
		case <-ctx.Done():
			return nil
		}
	}
}
