package agent

import (
	"context"
	"os"
	"slices"
	"strconv"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"nodeagent.dev/nodeagent/internal/cgroup"
	"nodeagent.dev/nodeagent/internal/config"
	"nodeagent.dev/nodeagent/internal/etchosts"
	"nodeagent.dev/nodeagent/internal/events"
	"nodeagent.dev/nodeagent/internal/lifecycle"
	"nodeagent.dev/nodeagent/internal/lifecycle/hook"
	"nodeagent.dev/nodeagent/internal/node"
	"nodeagent.dev/nodeagent/internal/pod"
	"nodeagent.dev/nodeagent/internal/podlogs"
	"nodeagent.dev/nodeagent/internal/resize"
	"nodeagent.dev/nodeagent/internal/source"
	"nodeagent.dev/nodeagent/internal/source/apiserver"
	"nodeagent.dev/nodeagent/internal/source/file"
	"nodeagent.dev/nodeagent/internal/termination"
	"nodeagent.dev/nodeagent/internal/userns"
)

const (
	runtimeRetry = time.Second
	// runtimeSilence is how often a runtime that stays away is spoken of.
	runtimeSilence = 30 * time.Second
)

// containerLogsDir is where log shippers look for containers' logs.
const containerLogsDir = "/var/log/containers"

// runtimeFacts is what has to be known of the runtime before a pod can run.
type runtimeFacts struct {
	name         string
	cgroupDriver string
	handlers     []pod.RuntimeHandler
	// supplementalGroups is the feature SupplementalGroupsPolicy.
	supplementalGroups bool
}

// askRuntime asks the runtime for its name and for the cgroup driver, which is
// the runtime's to say.
func (p *parts) askRuntime(ctx context.Context) (runtimeFacts, error) {
	info, err := p.runtime.Info(ctx)
	if err != nil {
		return runtimeFacts{}, err
	}
	driver, err := p.runtime.CgroupDriver(ctx)
	if err != nil {
		return runtimeFacts{}, err
	}
	if driver == "" {
		driver = p.cfg.Cgroup.Driver
	} else if driver != p.cfg.Cgroup.Driver {
		p.log.Info("the runtime decides the cgroup driver", zap.String("configured", p.cfg.Cgroup.Driver), zap.String("used", driver))
	}
	return runtimeFacts{name: info.Name, cgroupDriver: driver, handlers: info.Handlers, supplementalGroups: info.SupplementalGroupsPolicy}, nil
}

// awaitRuntime returns once the runtime has answered. Until then nothing can be
// run, but the node can say so.
func (p *parts) awaitRuntime(ctx context.Context) (runtimeFacts, error) {
	var said time.Time
	for {
		rt, err := p.askRuntime(ctx)
		if err == nil {
			return rt, nil
		}
		if ctx.Err() != nil {
			return runtimeFacts{}, ctx.Err()
		}
		if time.Since(said) > runtimeSilence {
			said = time.Now()
			p.log.Error("cannot reach the container runtime; no pod can run before it answers, trying again every second", zap.Error(err))
		}
		select {
		case <-ctx.Done():
			return runtimeFacts{}, ctx.Err()
		case <-time.After(runtimeRetry):
		}
	}
}

// newLogs returns the readers of what containers write: their logs, and the
// message they may leave at their end.
func newLogs(cfg *config.Config, log *zap.Logger) (*podlogs.Reader, *termination.Files, error) {
	logs, err := podlogs.NewReader(cfg.PodLogsDir, log.Named("logs"))
	if err != nil {
		return nil, nil, err
	}
	messages, err := termination.New(termination.Config{RootDir: cfg.RootDir, Tail: func(path string, maxBytes, maxLines int64) (string, error) {
		return logs.Last(context.Background(), path, maxBytes, maxLines) // it sets itself a time limit
	}})
	return logs, messages, err
}

// workerDeps builds what the pod workers work with.
func (p *parts) workerDeps(ctx context.Context, rt runtimeFacts, cgroups *cgroup.Manager, n *node.Registrar, have given, recorder *events.Recorder) (lifecycle.Deps, error) {
	cfg := p.cfg
	images, err := p.newImages(ctx, have, recorder)
	if err != nil {
		return lifecycle.Deps{}, err
	}
	logs, err := podlogs.New(podlogs.Config{PodsDir: cfg.PodLogsDir, LinksDir: containerLogsDir})
	if err != nil {
		return lifecycle.Deps{}, err
	}
	hosts, err := etchosts.New(etchosts.Config{RootDir: cfg.RootDir})
	if err != nil {
		return lifecycle.Deps{}, err
	}
	users, err := userns.New(ctx, userns.Config{RootDir: cfg.RootDir, IDsPerPod: cfg.Pods.IDsPerPod, MaxPods: cfg.Node.MaxPods}, p.log.Named("userns"))
	if err != nil {
		return lifecycle.Deps{}, err
	}
	allocations, err := p.newAllocations(n, rt)
	if err != nil {
		return lifecycle.Deps{}, err
	}
	nodeNow := func() pod.Node {
		now := n.Snapshot()
		now.RuntimeName = rt.name
		return now
	}
	granting := grants{Cgroups: measuredCgroups{cgroups, p.metrics.Runtime}, classes: have.objects.RuntimeHandler, users: users, handlers: func() []pod.RuntimeHandler { return rt.handlers }}
	return lifecycle.Deps{
		Observer:   measuredObserver{p.runtime, p.metrics},
		Sandboxes:  sandboxes{Sandboxes: measuredSandboxes{p.runtime, p.metrics.Runtime}, node: p.spec.get, events: recorder},
		Containers: p.runtime,
		Handlers: hook.New(p.runtime, hook.Deps{Events: recorder, Version: p.version,
			HTTPFallback: p.metrics.Pods.FellBack, SleepEnded: p.metrics.Pods.SleepCut}),
		Givens: givens{given: have, clusterDomain: cfg.DNS.Domain, hosts: hosts, messages: p.messages,
			standalone: p.api.main == nil, node: nodeNow, spec: p.spec.get},
		Images:      images,
		Allocations: allocations, Resizer: resize.New(resizedCgroups{cgroups, p.metrics.Runtime}, p.runtime),
		OnNode: lifecycle.OnNode{Volumes: have, Cgroups: granting, Logs: logs, Leftovers: func() []pod.Ref {
			return leftovers(logs.Pods, map[string]func() ([]types.UID, error){"volumes": have.volumes.Pods, "cgroups": cgroups.Pods}, p.log)
		}},
		Events: recorder, Hooks: p.local.hooks(p.hooks()), Tracer: p.tracer.pods(), Node: nodeNow, Log: p.log.Named("pod"),
	}, nil
}

// leftovers names the pods that have something on the disk, each once. The log
// directories know a pod's name, the others its UID alone.
func leftovers(logs func() ([]pod.Ref, error), others map[string]func() ([]types.UID, error), log *zap.Logger) []pod.Ref {
	refs, err := logs()
	if err != nil {
		log.Warn("cannot look for log directories of earlier pods", zap.Error(err))
	}
	for what, list := range others {
		uids, err := list()
		if err != nil {
			log.Warn("cannot look for leftovers of earlier pods", zap.String("of", what), zap.Error(err))
		}
		for _, uid := range uids {
			if !slices.ContainsFunc(refs, func(r pod.Ref) bool { return r.UID == uid }) {
				refs = append(refs, pod.Ref{UID: uid})
			}
		}
	}
	return refs
}

// runSources merges the pod sources into one stream.
func (p *parts) runSources(ctx context.Context, out chan<- pod.Desired) error {
	var sources []source.Source
	if p.cfg.StaticPodPath != "" {
		s, err := file.New(file.Config{Path: p.cfg.StaticPodPath, NodeName: p.cfg.NodeName, CheckFrequency: p.cfg.FileCheckFrequency}, p.log.Named("manifests"))
		if err != nil {
			return err
		}
		sources = append(sources, s)
	}
	if p.api.main != nil {
		s, err := apiserver.New(p.api.main, p.cfg.NodeName, p.log.Named("watch"))
		if err != nil {
			return err
		}
		sources = append(sources, s)
	}
	if len(sources) == 0 {
		p.local.heard(pod.Desired{Synced: true})
	}
	merged := make(chan pod.Desired)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return source.Run(ctx, sources, merged) })
	group.Go(func() error {
		for {
			select {
			case <-ctx.Done():
				return nil
			case d := <-merged:
				for _, c := range d.Conflicts {
					p.log.Warn("a pod is left out", zap.String("why", c))
				}
				p.countDesired(d)
				select {
				case out <- d:
					p.local.heard(d)
				case <-ctx.Done():
				}
			}
		}
	})
	return group.Wait()
}

// noStatus is the status sink of a node without an API server.
type noStatus struct{}

// Publish implements lifecycle.StatusSink.
func (noStatus) Publish(*corev1.Pod, corev1.PodStatus, bool) {}

// Forget implements lifecycle.StatusSink.
func (noStatus) Forget(types.UID) {}

// setOOMScore protects the agent from the OOM killer, where the machine lets it.
func setOOMScore(score int, log *zap.Logger) {
	const path = "/proc/self/oom_score_adj"
	if err := os.WriteFile(path, []byte(strconv.Itoa(score)), 0); err != nil {
		log.Warn("cannot set the agent's own OOM score; going on without (CAP_SYS_RESOURCE is needed to lower it)",
			zap.Int("oomScoreAdj", score), zap.Error(err))
	}
}
