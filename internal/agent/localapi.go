package agent

import (
	"context"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/types"

	"nodeagent.dev/nodeagent/internal/lifecycle"
	"nodeagent.dev/nodeagent/internal/pod"
	"nodeagent.dev/nodeagent/internal/podresources"
	"nodeagent.dev/nodeagent/internal/podsapi"
)

// maxUnseen is how long the pods API waits for the first view of every pod there
// was when the agent started: one of them may have to wait for long.
const maxUnseen = 10 * time.Second

// localAPI are the sockets for programs of the node.
type localAPI struct {
	resources *podresources.Server
	pods      *podsapi.Server // nil: it is switched off
	// first are the pods that there were when all sources had been heard.
	first atomic.Pointer[firstPods]
	known atomic.Bool
}

type firstPods struct {
	uids []types.UID
	at   time.Time
}

// openLocalAPI makes the sockets' servers and registers their counters.
func (p *parts) openLocalAPI() error {
	features, log := p.cfg.Features, p.log.Named("local")
	p.local.resources = podresources.New(podresources.Config{
		RootDir: p.cfg.RootDir, Ended: !features.Enabled("KubeletPodResourcesListUseActivePods"),
	}, p.Views, log)
	if !features.Enabled("PodsAPI") {
		return p.metrics.Register(p.local.resources.Collectors()...)
	}
	p.local.pods = podsapi.New(p.cfg.RootDir, p, log)
	return p.metrics.Register(slices.Concat(p.local.resources.Collectors(), p.local.pods.Collectors())...)
}

// run serves until ctx ends.
func (l *localAPI) run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return l.resources.Run(ctx) })
	if l.pods != nil {
		group.Go(func() error { return l.pods.Run(ctx) })
	}
	return group.Wait()
}

// hooks lets those who watch pods hear of new views.
func (l *localAPI) hooks(h lifecycle.Hooks) lifecycle.Hooks {
	if l.pods != nil {
		h.Viewed = l.pods.Changed
	}
	return h
}

// heard takes note of the pods there are once all sources have been heard.
func (l *localAPI) heard(d pod.Desired) {
	if !d.Synced || l.first.Load() != nil {
		return
	}
	f := &firstPods{at: time.Now()}
	for _, spec := range d.Specs {
		f.uids = append(f.uids, spec.Pod.UID)
	}
	l.first.Store(f)
}

// Known implements podsapi.Pods.
func (p *parts) Known() bool {
	l := &p.local
	if l.known.Load() {
		return true
	}
	f := l.first.Load()
	if f == nil {
		return false
	}
	unseen := slices.ContainsFunc(f.uids, func(uid types.UID) bool { return p.View(uid) == nil })
	if unseen && time.Since(f.at) < maxUnseen {
		return false
	}
	l.known.Store(true)
	return true
}
