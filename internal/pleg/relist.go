package pleg

import (
	"math/rand/v2"
	"time"

	"go.uber.org/zap"
	"k8s.io/apimachinery/pkg/types"

	"nodeagent.dev/nodeagent/internal/pod"
)

// listed takes the result of a list.
func (l *loop) listed(r result) {
	l.busy, l.rearm = false, true
	l.p.cfg.RelistTook(r.took)
	if r.err != nil {
		if !l.failed {
			l.p.log.Warn("cannot list the runtime's pods; trying every second", zap.Error(r.err))
		}
		l.failed = true
		return
	}
	if l.failed {
		l.p.log.Info("the runtime's pods can be listed again")
	}
	l.failed = false
	l.p.seen.Store(time.Now().UnixNano())
	changed, set := diff(l.known, r.list)
	for _, h := range changed {
		l.hint(h)
	}
	if set || l.known == nil {
		l.list, l.unsent = r.list, true
	}
	l.known = index(r.list)
}

// wait is how long until the next list.
func (l *loop) wait() time.Duration {
	switch {
	case l.failed || !l.flowing:
		return pollRelist
	case l.fresh:
		l.fresh = false
		return settle
	}
	return time.Duration(float64(eventRelist) * (1 + jitter*(2*rand.Float64()-1))) // #nosec G404 -- spreads load, hides nothing
}

// diff returns a hint for each pod that changed, came or went, in the order of
// the new list, and whether the set of pods changed.
func diff(old map[types.UID]pod.Listing, list []pod.Listing) (hints []pod.Hint, set bool) {
	now := index(list)
	for i := range list {
		was, known := old[list[i].Ref.UID]
		switch {
		case !known:
			hints, set = append(hints, pod.Hint{UID: list[i].Ref.UID, Why: "relist: appeared"}), true
		case was.Digest != list[i].Digest:
			hints = append(hints, pod.Hint{UID: list[i].Ref.UID, Why: "relist: changed"})
		}
	}
	for uid := range old {
		if _, still := now[uid]; !still {
			hints, set = append(hints, pod.Hint{UID: uid, Why: "relist: gone"}), true
		}
	}
	return hints, set
}

func index(list []pod.Listing) map[types.UID]pod.Listing {
	m := make(map[types.UID]pod.Listing, len(list))
	for i := range list {
		m[list[i].Ref.UID] = list[i]
	}
	return m
}
