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
	"k8s.io/client-go/kubernetes"

	"nodeagent.dev/nodeagent/internal/agent/inspect"
	"nodeagent.dev/nodeagent/internal/cgroup"
	"nodeagent.dev/nodeagent/internal/config"
	"nodeagent.dev/nodeagent/internal/cri"
	"nodeagent.dev/nodeagent/internal/events"
	"nodeagent.dev/nodeagent/internal/lifecycle"
	"nodeagent.dev/nodeagent/internal/node"
	"nodeagent.dev/nodeagent/internal/objects"
	"nodeagent.dev/nodeagent/internal/pleg"
	"nodeagent.dev/nodeagent/internal/pod"
	"nodeagent.dev/nodeagent/internal/podlogs"
	"nodeagent.dev/nodeagent/internal/probe"
	"nodeagent.dev/nodeagent/internal/status"
	"nodeagent.dev/nodeagent/internal/termination"
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
	announce(cfg, version, log)
	if err := prepareRoot(cfg.RootDir); err != nil {
		return err
	}
	setOOMScore(cfg.OOMScoreAdj, log)
	api, err := newClients(cfg, version)
	if err != nil {
		return err
	}
	m := newMetrics(cfg.NodeName, version)
	spec := newNodeSpec(cfg, log)
	logs, messages, err := newLogs(cfg, log)
	if err != nil {
		return err
	}
	runtime, err := cri.New(cri.Config{
		RuntimeEndpoint: cfg.Runtime.Endpoint, ImageEndpoint: cfg.Runtime.ImageEndpoint,
		RequestTimeout: cfg.Runtime.RequestTimeout, Node: spec.get, Observe: m.runtimeCall,
		ReadMessage: messages.Read, TailLog: messages.TailLog,
	}, log.Named("cri"))
	if err != nil {
		return fmt.Errorf("reaching the container runtime (containerRuntimeEndpoint): %w", err)
	}
	defer func() { _ = runtime.Close() }()

	p := parts{cfg: cfg, log: log, levels: levels, api: api, metrics: m, runtime: runtime, spec: spec, logs: logs, messages: messages, version: version}
	limits, swap, err := p.nodeLimits()
	if err != nil {
		return err
	}
	p.limits, spec.fixed.Memory = limits, memoryPolicy(cfg, limits, swap)
	return p.run(ctx)
}

// parts are what the wiring functions of this package share. It has no life of
// its own: Run makes it, and nothing outlives Run.
type parts struct {
	cfg     *config.Config
	log     *zap.Logger
	levels  *levels
	api     clients
	metrics *metrics
	runtime *cri.Client
	spec    *nodeSpec
	// logs and messages are what containers have left to read.
	logs     *podlogs.Reader
	messages *termination.Files
	version  string
	// limits is what of the node pods and daemons may use.
	limits cgroup.NodeLimits
	// sup is set once the runtime has answered for the first time.
	sup atomic.Pointer[lifecycle.Supervisor]
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
	api, err := p.newAPI()
	if err != nil {
		return err
	}
	p.spec.follow(n)
	healthy.Store(n)
	p.metrics.countPods(p.Views)
	group.Go(func() error { return n.Run(ctx) })
	group.Go(func() error { return serveHealth(ctx, p.cfg.Server, p.alive, p.log.Named("health")) })
	group.Go(func() error { return api.run(ctx) })
	group.Go(func() error { return inspect.Serve(ctx, inspect.SocketPath(p.cfg.RootDir), p.Views) })
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
			p.metrics.relistTook.Observe(took.Seconds())
			answered()
		},
		RelistInterval: observeSeconds(p.metrics.relistInterval),
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
	store := p.newStore(ctx, hints)
	cgroups, err := cgroup.New(cgroupConfig(p.cfg, rt.cgroupDriver), p.log.Named("cgroup"))
	if err != nil {
		return err
	}
	again, err := p.enforce(ctx, cgroups, recorder)
	if err != nil {
		return err
	}
	group.Go(again)
	group.Go(func() error { return p.settle(ctx, cgroups) })
	deps, err := p.workerDeps(ctx, rt, cgroups, n, store, recorder)
	if err != nil {
		return err
	}
	if text := p.spec.resolv.CheckLimits(p.cfg.DNS.Domain); text != "" {
		recorder.NodeEvent(corev1.EventTypeWarning, "CheckLimitsForResolvConf", text)
	}
	group.Go(func() error { return store.Run(ctx) })
	verdicts := make(chan types.UID)
	prober := p.newProber(ctx, recorder, verdicts)
	deps.Probes = prober
	group.Go(func() error { return prober.Run(ctx) })
	if p.api.main == nil {
		deps.Status = noStatus{}
	} else {
		w := status.New(p.api.main.CoreV1(), p.log.Named("status"))
		group.Go(func() error { return w.Run(ctx) })
		deps.Status = w
	}
	sup := lifecycle.NewSupervisor(deps)
	p.sup.Store(sup)
	desired := make(chan pod.Desired)
	group.Go(func() error { return p.runSources(ctx, desired) })
	group.Go(func() error { return relister.Run(ctx, hints, listings) })
	group.Go(func() error {
		return sup.Run(ctx, lifecycle.Inputs{Desired: desired, Hints: hints, Listings: listings, Verdicts: verdicts, NodeChanged: changes(ctx, n)})
	})
	return group.Wait()
}

// newStore returns the objects that pods refer to; pods hear of their changes.
func (p *parts) newStore(ctx context.Context, hints chan<- pod.Hint) *objects.Store {
	changed := func(uids []types.UID) {
		for _, uid := range uids {
			select {
			case hints <- pod.Hint{UID: uid, Why: "a ConfigMap or Secret changed"}:
			case <-ctx.Done():
			}
		}
	}
	var client kubernetes.Interface
	if p.api.main != nil {
		client = p.api.main
	}
	return objects.New(client, objects.Deps{Changed: changed}, p.log.Named("objects"))
}

// newProber returns what runs the probes of containers. It names the pods whose
// verdicts change, until ctx ends.
func (p *parts) newProber(ctx context.Context, recorder *events.Recorder, verdicts chan<- types.UID) *probe.Prober {
	return probe.New(probe.Config{Version: kubernetesMinor(p.version)}, probe.Deps{
		Exec: p.runtime, Events: recorder, Log: p.log.Named("probe"),
		Changed: func(uid types.UID) {
			select {
			case verdicts <- uid:
			case <-ctx.Done():
			}
		},
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
