package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"nodeagent.dev/nodeagent/internal/agent/inspect"
	"nodeagent.dev/nodeagent/internal/cgroup"
	"nodeagent.dev/nodeagent/internal/config"
	"nodeagent.dev/nodeagent/internal/cri"
	"nodeagent.dev/nodeagent/internal/events"
	"nodeagent.dev/nodeagent/internal/lifecycle"
	"nodeagent.dev/nodeagent/internal/metrics"
	"nodeagent.dev/nodeagent/internal/node"
	"nodeagent.dev/nodeagent/internal/pleg"
	"nodeagent.dev/nodeagent/internal/pod"
	"nodeagent.dev/nodeagent/internal/podlogs"
	"nodeagent.dev/nodeagent/internal/probe"
	"nodeagent.dev/nodeagent/internal/status"
	"nodeagent.dev/nodeagent/internal/termination"
	"nodeagent.dev/nodeagent/internal/volume"
	"nodeagent.dev/nodeagent/internal/volume/usage"
)

// rootMode is the kubelet's mode of its root directory.
const rootMode = 0o750

// Run runs the agent until ctx ends. Pods go on running after it. version is
// what the node reports as its kubeletVersion.
func Run(ctx context.Context, cfg *config.Config, version string) error {
	log, levels, err := newLogger(cfg.Logging)
	if err != nil {
		return err
	}
	defer func() { _ = log.Sync() }()
	go paceCollector(ctx, log.Named("memory"))
	announce(cfg, version, log)
	if err := prepareRoot(cfg.RootDir); err != nil {
		return err
	}
	setOOMScore(cfg.OOMScoreAdj, log)
	tracer, err := newTracer(ctx, cfg, log.Named("tracing"))
	if err != nil {
		return err
	}
	defer tracer.end(ctx, log)
	api, err := newClients(cfg, version, tracer, log.Named("credential"))
	if err != nil {
		return err
	}
	spec := newNodeSpec(cfg, log)
	logs, messages, err := newLogs(cfg, log)
	if err != nil {
		return err
	}
	p := parts{cfg: cfg, log: log, levels: levels, api: api, spec: spec, logs: logs, messages: messages, version: version, tracer: tracer, meters: meters{meter: usage.New(usage.Config{})}}
	p.metrics = p.newMetrics()
	runtime, err := cri.New(cri.Config{
		RuntimeEndpoint: cfg.Runtime.Endpoint, ImageEndpoint: cfg.Runtime.ImageEndpoint,
		RequestTimeout: cfg.Runtime.RequestTimeout, Node: spec.get, Observe: p.metrics.Runtime.Call, Event: p.metrics.Runtime.Event,
		Tracing:     tracer.spans(),
		ReadMessage: messages.Read, TailLog: messages.TailLog,
	}, log.Named("cri"))
	if err != nil {
		return fmt.Errorf("reaching the container runtime (containerRuntimeEndpoint): %w", err)
	}
	defer func() { _ = runtime.Close() }()

	p.runtime = runtime
	limits, swap, err := p.nodeLimits()
	if err != nil {
		return err
	}
	p.limits, spec.fixed.Memory = limits, memoryPolicy(cfg, limits, swap)
	if err := p.openLocalAPI(); err != nil {
		return err
	}
	return p.run(ctx)
}

// parts are what the wiring functions of this package share. It has no life of
// its own: Run makes it, and nothing outlives Run.
type parts struct {
	cfg     *config.Config
	log     *zap.Logger
	levels  *levels
	api     clients
	metrics *metrics.Metrics
	runtime *cri.Client
	spec    *nodeSpec
	// logs and messages are what containers have left to read.
	logs     *podlogs.Reader
	messages *termination.Files
	version  string
	tracer   *tracer
	// limits is what of the node pods and daemons may use.
	limits cgroup.NodeLimits
	// sup and volumes are set once the runtime has answered for the first time.
	sup     atomic.Pointer[lifecycle.Supervisor]
	volumes atomic.Pointer[volume.Manager]
	// local are the sockets for programs of the node.
	local localAPI
	// meters are what statistics are read from.
	meters meters
}

// run starts everything that does not need the runtime, then the rest.
func (p *parts) run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	recorder := p.recorder(ctx)
	defer recorder.Close()
	var healthy atomic.Pointer[node.Registrar]
	relister := p.relister(sync.OnceFunc(func() {
		if n := healthy.Load(); n != nil {
			n.Poke() // the last thing that kept the node from being ready
		}
	}))
	n, err := p.newNode(recorder, relister)
	if err != nil {
		return err
	}
	api, err := p.newAPI(n)
	if err != nil {
		return err
	}
	p.metrics.Runtime.LastSeen(relister.LastSeen)
	p.spec.follow(n)
	healthy.Store(n)
	if credential := p.api.credential; credential != nil {
		if err := p.metrics.Register(credential.Collectors()...); err != nil {
			return err
		}
		group.Go(func() error { return credential.Run(ctx) })
	}
	group.Go(func() error { return n.Run(ctx) })
	group.Go(func() error { return serveHealth(ctx, p.cfg.Server, p.alive, p.log.Named("health")) })
	group.Go(func() error { return api.run(ctx) })
	group.Go(func() error { return p.local.run(ctx) })
	group.Go(func() error { p.meters.meter.Run(ctx); return nil })
	group.Go(func() error { return inspect.Serve(ctx, inspect.SocketPath(p.cfg.RootDir), p.explained) })
	group.Go(func() error { return p.core(ctx, n, recorder, relister) })
	group.Go(func() error { return notify(ctx, p.alive, p.log.Named("systemd")) })
	err = group.Wait()
	if errors.Is(err, context.Canceled) {
		err = nil
	}
	p.log.Info("nodeagent ends; its pods go on running", zap.Error(err))
	return err
}

// recorder records events, or only logs them when there is no API server.
func (p *parts) recorder(ctx context.Context) *events.Recorder {
	if p.api.events == nil {
		return events.New(ctx, nil, p.cfg.NodeName, p.log.Named("events"))
	}
	return events.New(ctx, p.api.events.CoreV1(), p.cfg.NodeName, p.log.Named("events"))
}

// relister watches the runtime; answered is called whenever it has listed its
// pods.
func (p *parts) relister(answered func()) *pleg.PLEG {
	return pleg.New(pleg.Config{
		Relist: p.runtime.ListAll, Events: p.runtime.Events,
		RelistTook: func(took time.Duration) {
			p.metrics.Runtime.Relisted(took)
			answered()
		},
		RelistInterval: p.metrics.Runtime.RelistedAfter, Stream: p.metrics.Runtime.Stream,
	}, p.log.Named("pleg"))
}

// core runs pods. It begins once the runtime has answered, since the cgroup
// driver is the runtime's to say.
func (p *parts) core(ctx context.Context, n *node.Registrar, recorder *events.Recorder, relister *pleg.PLEG) error {
	rt, err := p.awaitRuntime(ctx)
	if err != nil {
		return err
	}
	hints, listings := make(chan pod.Hint, 256), make(chan []pod.Listing, 1)
	group, ctx := errgroup.WithContext(ctx)
	have, err := p.newGiven(recorder, func(uids []types.UID) {
		for _, uid := range uids {
			select {
			case hints <- pod.Hint{UID: uid, Why: "something it refers to has changed", Given: true}:
			case <-ctx.Done():
			}
		}
	})
	if err != nil {
		return err
	}
	p.volumes.Store(have.volumes)
	if err := p.showGiven(have); err != nil {
		return err
	}
	cgroups, err := cgroup.New(cgroupConfig(p.cfg, rt.cgroupDriver), p.log.Named("cgroup"))
	if err != nil {
		return err
	}
	p.meters.cgroups.Store(cgroups)
	again, err := p.enforce(ctx, cgroups, recorder)
	if err != nil {
		return err
	}
	group.Go(again)
	group.Go(func() error { return p.settle(ctx, cgroups) })
	deps, err := p.workerDeps(ctx, rt, cgroups, n, have, recorder)
	if err != nil {
		return err
	}
	rotator, err := p.newRotator()
	if err != nil {
		return err
	}
	deps.Hooks.Viewed = p.rotates(rotator, deps.Hooks.Viewed)
	if text := p.spec.resolv.CheckLimits(p.cfg.DNS.Domain); text != "" {
		recorder.NodeEvent(corev1.EventTypeWarning, "CheckLimitsForResolvConf", text)
	}
	for _, run := range []func(context.Context) error{have.objects.Run, have.certificates.Run, have.volumes.Run, rotator.Run} {
		group.Go(func() error { return run(ctx) })
	}
	prober := p.newProber(recorder)
	deps.Probes = prober
	group.Go(func() error { return prober.Run(ctx) })
	if p.api.main == nil {
		deps.Status = noStatus{}
	} else {
		w := status.New(p.api.main.CoreV1(), p.metrics.Pods.StatusSent, p.log.Named("status"))
		group.Go(func() error { return w.Run(ctx) })
		deps.Status = w
	}
	sup := lifecycle.NewSupervisor(deps)
	p.sup.Store(sup)
	desired := make(chan pod.Desired)
	group.Go(func() error { return p.runSources(ctx, desired) })
	group.Go(func() error { return relister.Run(ctx, hints, listings) })
	group.Go(func() error {
		return sup.Run(ctx, lifecycle.Inputs{Desired: desired, Hints: hints, Listings: listings, NodeChanged: changes(ctx, n)})
	})
	return group.Wait()
}

// newProber returns what runs the probes of containers. Only the supervisor's workers
// ask for any.
func (p *parts) newProber(recorder *events.Recorder) *probe.Prober {
	return probe.New(probe.Config{Version: kubernetesMinor(p.version)}, probe.Deps{
		Exec: p.runtime, Events: recorder, Log: p.log.Named("probe"), Observe: p.metrics.Probes.Observe,
		Changed: func(uid types.UID) { p.sup.Load().Nudge(uid) },
	})
}

// kubernetesMinor is the Kubernetes version that a version of ours stands for,
// without its patch: "1.37" of "v1.37.1+nodeagent.0.4".
func kubernetesMinor(version string) string {
	parts := strings.SplitN(strings.TrimPrefix(version, "v"), ".", 3)
	return strings.Join(parts[:min(2, len(parts))], ".")
}

// alive returns an error when the loop that drives the pods does not answer.
func (p *parts) alive(ctx context.Context) error {
	if sup := p.sup.Load(); sup != nil {
		return sup.Alive(ctx)
	}
	return nil
}

// announce says once what is run, and what of the configuration has no effect.
func announce(cfg *config.Config, version string, log *zap.Logger) {
	log.Info("nodeagent starts", zap.String("version", version), zap.String("node", cfg.NodeName),
		zap.Bool("standalone", cfg.Standalone), zap.String("rootDir", cfg.RootDir), zap.String("runtime", cfg.Runtime.Endpoint))
	for _, w := range cfg.Warnings {
		log.Warn(w)
	}
	if inert := cfg.Inert(); len(inert) > 0 {
		log.Warn("these settings are accepted but have no effect in this version", zap.Strings("settings", inert))
	}
	if cfg.Standalone && cfg.StaticPodPath == "" {
		log.Warn("nothing to do: there is neither an API server (--kubeconfig) nor a manifest directory (staticPodPath)")
	}
}

// prepareRoot makes the root directory and checks that it can be written to.
func prepareRoot(dir string) error {
	const hint = "give nodeagent a directory it may write to (--root-dir), or run it as root"
	if err := os.MkdirAll(dir, rootMode); err != nil {
		return fmt.Errorf("making the root directory %s: %w; %s", dir, err, hint)
	}
	probe, err := os.CreateTemp(dir, ".writable-")
	if err != nil {
		return fmt.Errorf("writing to the root directory %s: %w; %s", dir, err, hint)
	}
	if err := errors.Join(probe.Close(), os.Remove(filepath.Clean(probe.Name()))); err != nil {
		return fmt.Errorf("writing to the root directory %s: %w; %s", dir, err, hint)
	}
	return nil
}
