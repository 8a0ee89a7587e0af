package image

import (
	"context"
	"fmt"

	"golang.org/x/time/rate"
	corev1 "k8s.io/api/core/v1"
)

// Config limits what is asked of the runtime and the registries, and says who
// else takes part. The zero value limits nothing and pulls anonymously.
type Config struct {
	// PullQPS and PullBurst limit how often a pull begins; 0 is no limit. A pull
	// over the limit waits for its turn, where the kubelet lets it fail.
	PullQPS   float64
	PullBurst int
	// Serialize allows one pull at a time.
	Serialize bool
	// MaxParallel bounds pulls at a time; 0 is no limit.
	MaxParallel int

	// Keyring finds credentials; nil: there are none.
	Keyring Keyring
	// Records decides who may use images that are there; nil: everybody may.
	Records Records
	// Hooks are told what is counted.
	Hooks Hooks
	// Events takes what users are told beside the results of [Puller.Ensure]; nil:
	// nothing.
	Events Events
	// MissingSecrets returns the names of those of the pod's imagePullSecrets that do
	// not exist or cannot be read. It is asked after a pull has failed; nil: never.
	MissingSecrets func(ctx context.Context, p *corev1.Pod) []string
}

func (c Config) validate() error {
	switch {
	case c.PullQPS < 0 || c.PullBurst < 0 || c.MaxParallel < 0:
		return fmt.Errorf("image pulls: limits must not be negative: %v per second, burst %d, %d in parallel",
			c.PullQPS, c.PullBurst, c.MaxParallel)
	case c.PullQPS > 0 && c.PullBurst == 0:
		return fmt.Errorf("image pulls: a rate of %v per second with a burst of 0 would never let one begin", c.PullQPS)
	case c.Serialize && c.MaxParallel > 1:
		return fmt.Errorf("image pulls: one at a time and %d in parallel are both asked for", c.MaxParallel)
	}
	return nil
}

func (c Config) limits() limits {
	var l limits
	if n := c.MaxParallel; c.Serialize || n > 0 {
		l.slots = make(chan struct{}, max(n, 1))
	}
	if c.PullQPS > 0 {
		l.rate = rate.NewLimiter(rate.Limit(c.PullQPS), c.PullBurst)
	}
	return l
}

// limits lets pulls begin. The zero value lets all.
type limits struct {
	slots chan struct{}
	rate  *rate.Limiter
}

// acquire waits for a turn. A slot is taken before the rate is asked, so that
// the rate counts pulls that really begin.
func (l limits) acquire(ctx context.Context) (release func(), err error) {
	release = func() {}
	if l.slots != nil {
		select {
		case l.slots <- struct{}{}:
			release = func() { <-l.slots }
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if l.rate != nil {
		if err := l.rate.Wait(ctx); err != nil {
			release()
			return nil, err
		}
	}
	return release, nil
}
