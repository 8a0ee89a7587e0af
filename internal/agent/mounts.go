package agent

import (
	"context"
	"fmt"
	"slices"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"nodeagent.dev/nodeagent/internal/containerspec"
	"nodeagent.dev/nodeagent/internal/events"
	"nodeagent.dev/nodeagent/internal/objects"
	"nodeagent.dev/nodeagent/internal/pod"
	"nodeagent.dev/nodeagent/internal/podcert"
	"nodeagent.dev/nodeagent/internal/token"
	"nodeagent.dev/nodeagent/internal/volume"
	"nodeagent.dev/nodeagent/internal/volume/builtin"
	"nodeagent.dev/nodeagent/internal/volume/claim"
)

// given is what pods are made of beside their spec.
type given struct {
	objects      *objects.Store
	tokens       *token.Manager
	certificates *podcert.Manager
	volumes      *volume.Manager
}

// newGiven returns what pods are made of; changed is told whose has changed.
func (p *parts) newGiven(recorder *events.Recorder, changed func(uids []types.UID)) (given, error) {
	var g given
	told := func(uids []types.UID) {
		g.volumes.Changed(uids)
		changed(uids)
	}
	types := builtin.Config{
		AllocatableMemory: p.spec.fixed.Memory.Allocatable, GitRepo: p.cfg.Pods.GitRepoVolumes,
		Allocatable: p.spec.allocatable,
	}
	volumes := volume.Config{RootDir: p.cfg.RootDir, Events: recorder, Observe: p.metrics.Volumes.Operation}
	if p.api.main == nil {
		g.objects = objects.New(nil, objects.Deps{}, p.log.Named("objects"))
		g.tokens = token.New(nil, p.log.Named("token"))
		g.certificates = podcert.New(p.cfg.NodeName, podcert.Deps{}, p.log.Named("podcert"))
	} else {
		api := forVolumes{p.api.main, p.cfg.NodeName}
		g.objects = objects.New(p.api.main, objects.Deps{Changed: told}, p.log.Named("objects"))
		g.certificates = podcert.New(p.cfg.NodeName, podcert.Deps{Client: api, Events: recorder, Changed: told}, p.log.Named("podcert"))
		g.tokens = token.New(api, p.log.Named("token"))
		types.Tokens, types.Certificates = g.tokens, g.certificates
		volumes.Claims = claim.New(api, api.nodeLabels)
	}
	types.Objects = g.objects
	err := volume.Share(p.cfg.RootDir)
	if err != nil {
		p.log.Warn("mounts that pods make below the root directory are not seen by other pods (mountPropagation: Bidirectional); going on without", zap.Error(err))
	}
	g.volumes, err = volume.New(volumes, builtin.Plugins(types, p.log.Named("volume")), p.log.Named("volume"))
	return g, err
}

// Mount implements lifecycle.Volumes: what the volumes are made of is watched.
func (g given) Mount(ctx context.Context, p *corev1.Pod) (pod.Volumes, error) {
	refer(g.objects, p)
	return g.volumes.Mount(ctx, p)
}

// Unmount implements lifecycle.Volumes.
func (g given) Unmount(ctx context.Context, ref pod.Ref) error { return g.volumes.Unmount(ctx, ref) }

// forget drops what is kept of a pod that is gone.
func (g given) forget(uid types.UID) {
	g.objects.Drop(uid)
	g.tokens.Drop(uid)
	g.certificates.Drop(uid)
}

// Follow implements lifecycle.Volumes.
func (g given) Follow(p *corev1.Pod) { g.volumes.Follow(p) }

// refer has all watched that a pod refers to. It costs little once that is so.
func refer(store *objects.Store, p *corev1.Pod) {
	configMaps, secrets := containerspec.ReferencesOf(p)
	store.Want(p.UID, p.Namespace, configMaps, secrets)
	store.WantTrustBundles(p.UID, objects.TrustBundlesOf(p))
}

// explained are the views of all pods, with what is being done about their volumes.
func (p *parts) explained() []*pod.View {
	views, volumes := p.Views(), p.volumes.Load()
	if volumes == nil {
		return views
	}
	for i, v := range views {
		var waits []pod.Wait
		for _, s := range volumes.Steps(v.Ref.UID) {
			what := s.What
			if s.Volume != "" {
				what = fmt.Sprintf("volume %q: %s", s.Volume, s.What)
			}
			waits = append(waits, pod.Wait{What: what, Since: s.Since})
		}
		if len(waits) > 0 {
			more := *v
			more.Waits = slices.Concat(v.Waits, waits)
			views[i] = &more
		}
	}
	return views
}
