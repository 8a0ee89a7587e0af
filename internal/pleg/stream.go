package pleg

import (
	"context"
	"time"

	"go.uber.org/zap"

	"nodeagent.dev/nodeagent/internal/pod"
)

// follow keeps the event stream open until ctx ends.
func (p *PLEG) follow(ctx context.Context, news chan<- streamNews) {
	tell := func(n streamNews) {
		select {
		case news <- n:
		case <-ctx.Done():
		}
	}
	delay, told := minReconnect, false
	for ctx.Err() == nil {
		begin, opened := time.Now(), false
		err := p.cfg.Events(ctx, func(h pod.Hint) {
			if !opened {
				opened = true
				p.cfg.Stream(nil)
				tell(streamNews{opened: true})
				return
			}
			tell(streamNews{hint: h})
		})
		if ctx.Err() != nil {
			return
		}
		if !opened {
			p.cfg.Stream(err)
		}
		tell(streamNews{closed: true})
		if time.Since(begin) >= stable {
			delay, told = minReconnect, false
		}
		if !told { // once per outage: a runtime without events says so for ever
			p.log.Info("no events from the runtime; listing every second until there are", zap.Error(err))
			told = true
		}
		pause(ctx, delay)
		delay = min(2*delay, maxReconnect)
	}
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
