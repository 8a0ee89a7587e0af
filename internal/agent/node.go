package agent

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/component-helpers/nodedeclaredfeatures/features/extendwebsocketstokubelet"
	"k8s.io/component-helpers/nodedeclaredfeatures/features/inplacepodresize"
	"k8s.io/component-helpers/nodedeclaredfeatures/features/restartallcontainers"

	"nodeagent.dev/nodeagent/internal/config"
	"nodeagent.dev/nodeagent/internal/events"
	"nodeagent.dev/nodeagent/internal/node"
	"nodeagent.dev/nodeagent/internal/pleg"
)

// runtimeDown is how long the runtime may be silent before the node is not
// ready: long enough for its restart, half of what the kubelet takes.
const runtimeDown = 15 * time.Second

// newNode builds the part that speaks for the node.
func (p *parts) newNode(recorder *events.Recorder, relister *pleg.PLEG) (*node.Registrar, error) {
	cfg := p.cfg
	resources, err := p.nodeResources()
	if err != nil {
		return nil, err
	}
	hostname, err := os.Hostname()
	if err != nil {
		hostname = cfg.NodeName
	}
	if cfg.NodeName != "" {
		hostname = cfg.NodeName
	}
	external := cfg.CloudProvider == "external"
	return node.New(node.Config{
		Name: cfg.NodeName, Hostname: hostname, Version: p.version, IPs: cfg.NodeIPs,
		Port: int32(cfg.Server.Port), ExternalCloud: external,
		MaxImages: int32(cfg.Node.StatusMaxImages), MaxBackoff: cfg.CrashLoop.MaxPeriod,
		Registration: node.Registration{
			Register: cfg.Node.Register && p.api.main != nil, Labels: cfg.NodeLabels, Taints: cfg.Taints,
			ProviderID: cfg.ProviderID, AttachDetach: true,
		},
		Resources: resources, DeclaredFeatures: declaredFeatures(cfg),
		Timing: node.Timing{
			StatusUpdate: cfg.Node.StatusUpdateFrequency, StatusReport: cfg.Node.StatusReportFrequency,
			LeaseDuration: cfg.Node.LeaseDuration, RuntimeDown: runtimeDown,
		},
	}, node.Deps{
		Client: p.api.main, LeaseClient: p.api.heartbeat, Runtime: p.runtime,
		Machine: &node.LinuxMachine{Root: "/", StateDir: cfg.RootDir, NodeName: cfg.NodeName, IPs: cfg.NodeIPs},
		Checks:  []node.Check{{Name: "PLEG", Err: relister.Healthy}},
		Event:   recorder.NodeEvent, Milestone: p.milestone, HeartbeatFailed: p.heartbeatFailed(),
		Log: p.log.Named("node"),
	})
}

// heartbeatFailed is what to do when heartbeats fail again and again; nil without
// an API server. With the kubelet's variable DISABLE_HTTP2 nothing else finds out
// that connections are dead.
func (p *parts) heartbeatFailed() func() {
	if p.api.credential == nil {
		return nil
	}
	if os.Getenv("DISABLE_HTTP2") != "" {
		return p.api.credential.CloseAll
	}
	return p.api.credential.CloseIdle
}

// declaredFeatures are the features of which the API server asks whether this
// node has them (KEP-5328), and which it has.
func declaredFeatures(cfg *config.Config) []string {
	names := []string{restartallcontainers.RestartAllContainersOnContainerExits}
	for _, gate := range []string{inplacepodresize.IPPRInitContainersFeatureGate, inplacepodresize.IPPRPodLevelResourcesFeatureGate} {
		if cfg.Features.Enabled(gate) {
			names = append(names, gate)
		}
	}
	if s := cfg.Server; s.Enabled && s.Handlers.Debugging && s.Handlers.WebSockets {
		names = append(names, extendwebsocketstokubelet.ExtendWebSocketsToKubeletFeatureGate)
	}
	slices.Sort(names)
	return names
}

// nodeResources translates the reservations and thresholds.
func (p *parts) nodeResources() (node.Resources, error) {
	n := p.cfg.Node
	r := node.Resources{MaxPods: int64(n.MaxPods), PodsPerCore: int64(n.PodsPerCore)}
	var err error
	if r.SystemReserved, err = quantities("systemReserved", n.SystemReserved); err != nil {
		return r, err
	}
	if r.KubeReserved, err = quantities("kubeReserved", n.KubeReserved); err != nil {
		return r, err
	}
	if r.EvictMemory, err = threshold(n.EvictionHard["memory.available"]); err != nil {
		return r, fmt.Errorf("evictionHard memory.available: %w", err)
	}
	if r.EvictStorage, err = threshold(n.EvictionHard["nodefs.available"]); err != nil {
		return r, fmt.Errorf("evictionHard nodefs.available: %w", err)
	}
	return r, nil
}

func quantities(field string, in map[string]string) (corev1.ResourceList, error) {
	out := corev1.ResourceList{}
	for name, value := range in {
		if name == "pid" {
			continue // not a resource of the Node object
		}
		q, err := resource.ParseQuantity(value)
		if err != nil {
			return nil, fmt.Errorf("%s %s=%q: %w", field, name, value, err)
		}
		out[corev1.ResourceName(name)] = q
	}
	return out, nil
}

// threshold reads an eviction threshold; 0% and 100% disable it.
func threshold(value string) (node.Threshold, error) {
	if value == "" || value == "0%" || value == "100%" {
		return node.Threshold{}, nil
	}
	if percent, ok := strings.CutSuffix(value, "%"); ok {
		f, err := strconv.ParseFloat(percent, 32)
		if err != nil {
			return node.Threshold{}, fmt.Errorf("percentage %q: %w", value, err)
		}
		return node.Threshold{Fraction: float32(f / 100)}, nil
	}
	q, err := resource.ParseQuantity(value)
	if err != nil {
		return node.Threshold{}, fmt.Errorf("quantity %q: %w", value, err)
	}
	return node.Threshold{Bytes: q.Value()}, nil
}

// totalMemory is the machine's memory in bytes; 0 when it cannot be read.
func totalMemory(log *zap.Logger) int64 {
	f := (&node.LinuxMachine{Root: "/"}).Gather(context.Background())
	if f.MemoryBytes == 0 {
		log.Warn("the machine's memory is not known; OOM scores of pods are guesses", zap.Strings("missing", f.Missing))
	}
	return f.MemoryBytes
}

// changes turns the node's snapshots into a stream of hints.
func changes(ctx context.Context, n *node.Registrar) <-chan struct{} {
	out := make(chan struct{})
	go func() {
		for {
			_, next := n.Watch()
			select {
			case <-ctx.Done():
				return
			case <-next:
			}
			select {
			case <-ctx.Done():
				return
			case out <- struct{}{}:
			}
		}
	}()
	return out
}
