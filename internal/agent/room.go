package agent

import (
	"context"
	"os"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"nodeagent.dev/nodeagent/internal/admission"
	"nodeagent.dev/nodeagent/internal/allocation"
	"nodeagent.dev/nodeagent/internal/cgroup"
	"nodeagent.dev/nodeagent/internal/config"
	"nodeagent.dev/nodeagent/internal/events"
	"nodeagent.dev/nodeagent/internal/node"
	"nodeagent.dev/nodeagent/internal/pod"
)

// newAllocations returns who decides what the node takes and gives.
func (p *parts) newAllocations(n *node.Registrar, rt runtimeFacts) (*allocation.Manager, error) {
	cfg := p.cfg
	rules, err := admission.New(admission.Config{
		AllowedUnsafeSysctls: cfg.Pods.AllowedUnsafeSysctls, KernelVersion: kernelRelease(), AppArmor: hasAppArmor(),
		Version: p.version,
		Features: admission.Features{
			PodLevelResources:                       cfg.Features.Enabled("PodLevelResources"),
			InPlacePodLevelResourcesVerticalScaling: cfg.Features.Enabled("InPlacePodLevelResourcesVerticalScaling"),
			DRANodeAllocatableResources:             cfg.Features.Enabled("DRANodeAllocatableResources"),
			TaintTolerationComparisonOperators:      cfg.Features.Enabled("TaintTolerationComparisonOperators"),
		},
	})
	if err != nil {
		return nil, err
	}
	own, err := p.nodeTotals()
	if err != nil {
		return nil, err
	}
	known := p.api.main == nil // without an API server there is nothing to wait for
	return allocation.New(allocation.Config{
		RootDir: cfg.RootDir, Rules: rules, Infeasible: infeasible,
		Node: func() (admission.Node, bool) {
			object, allocatable := n.Node(), n.Allocatable()
			if allocatable == nil {
				allocatable = own.allocatable // static pods do not wait for the API server
			}
			return admission.Node{
				Object: object, Name: cfg.NodeName, Allocatable: allocatable,
				SupplementalGroupsPolicy: rt.supplementalGroups, DeclaredFeatures: declaredFeatures(cfg),
			}, known || object != nil
		},
	}, p.log.Named("allocation"))
}

// infeasible says why a pod can never be resized as it asks (KEP-1287).
func infeasible(wanted, _ *corev1.Pod) string {
	if wanted.Annotations[configSource] != "" && wanted.Annotations[configSource] != string(pod.SourceAPI) {
		return "In-place resize of static-pods is not supported"
	}
	return ""
}

// kernelRelease is what uname -r says; empty when it does not.
func kernelRelease() string {
	var name unix.Utsname
	if unix.Uname(&name) != nil {
		return ""
	}
	return unix.ByteSliceToString(name.Release[:])
}

// hasAppArmor reports whether the kernel has AppArmor and it is on.
func hasAppArmor() bool {
	on, err := os.ReadFile("/sys/module/apparmor/parameters/enabled")
	return err == nil && strings.HasPrefix(string(on), "Y")
}

// cgroupConfig is the part of the configuration that is about cgroups.
func cgroupConfig(cfg *config.Config, driver string) cgroup.Config {
	return cgroup.Config{
		Driver: cgroup.Driver(driver), Root: cfg.Cgroup.Root, PerQOS: cfg.Cgroup.PerQOS,
		NoCPUQuota: !cfg.Cgroup.CPUQuota, CPUPeriod: cfg.Cgroup.CPUPeriod, PodPidsLimit: cfg.Cgroup.PodPidsLimit,
		NoMemoryQoS: !cfg.Features.Enabled("MemoryQoS"), TieredReservation: cfg.Memory.TieredReservation,
		MemoryThrottlingFactor: cfg.Memory.ThrottlingFactor,
	}
}

// totals is what the machine has, and what of it pods may have.
type totals struct {
	capacity, allocatable corev1.ResourceList
	swap                  int64 // bytes
}

// nodeTotals reads what the machine has.
func (p *parts) nodeTotals() (totals, error) {
	resources, err := p.nodeResources()
	if err != nil {
		return totals{}, err
	}
	machine := &node.LinuxMachine{Root: "/", StateDir: p.cfg.RootDir, NodeName: p.cfg.NodeName, IPs: p.cfg.NodeIPs}
	var t totals
	facts := machine.Gather(context.Background())
	t.swap = facts.SwapBytes
	t.capacity, t.allocatable = node.Totals(resources, facts)
	return t, nil
}

// nodeLimits are what cgroups keep pods and daemons to.
// swap is the node's, in bytes.
func (p *parts) nodeLimits() (limits cgroup.NodeLimits, swap int64, err error) {
	t, err := p.nodeTotals()
	if err != nil {
		return limits, 0, err
	}
	reserved, err := p.nodeResources()
	if err != nil {
		return limits, 0, err
	}
	if most := mostPIDs(); most > 0 {
		t.capacity["pid"] = *resource.NewQuantity(most, resource.DecimalSI)
	}
	for list, pid := range map[*corev1.ResourceList]string{&reserved.SystemReserved: p.cfg.Node.SystemReserved["pid"], &reserved.KubeReserved: p.cfg.Node.KubeReserved["pid"]} {
		if q, err := resource.ParseQuantity(pid); err == nil {
			(*list)["pid"] = q
		}
	}
	return cgroup.NodeLimits{
		Capacity: t.capacity, Enforce: p.cfg.Cgroup.Enforce,
		SystemReserved: reserved.SystemReserved, KubeReserved: reserved.KubeReserved,
		SystemReservedCgroup: p.cfg.Cgroup.SystemReserved, KubeReservedCgroup: p.cfg.Cgroup.KubeReserved,
	}, t.swap, nil
}

// mostPIDs is how many processes the machine can have; 0: it does not say.
func mostPIDs() int64 {
	least := int64(0)
	for _, path := range []string{"/proc/sys/kernel/pid_max", "/proc/sys/kernel/threads-max"} {
		text, err := os.ReadFile(path)
		n, bad := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
		if err == nil && bad == nil && n > 0 && (least == 0 || n < least) {
			least = n
		}
	}
	return least
}

// enforce limits the cgroups of all pods and of the daemons. It returns an error
// when that can never be done; what may go better later is tried again until ctx
// ends.
func (p *parts) enforce(ctx context.Context, cgroups *cgroup.Manager, recorder *events.Recorder) (again func() error, err error) {
	once := func() (retry bool, err error) {
		steps, err := cgroups.Enforce(ctx, p.limits)
		for _, s := range steps {
			if s.Err == nil {
				recorder.NodeEvent(corev1.EventTypeNormal, "NodeAllocatableEnforced", s.Message)
				continue
			}
			recorder.NodeEvent(corev1.EventTypeWarning, "FailedNodeAllocatableEnforcement", s.Message)
			if s.Fatal {
				return false, err
			}
		}
		if err != nil {
			p.log.Warn("cannot limit the pods of the node as a whole yet, trying again", zap.Duration("in", cgroup.EnforceAgain), zap.Error(err))
		}
		return err != nil, nil
	}
	retry, err := once()
	return func() error {
		for retry && ctx.Err() == nil {
			select {
			case <-ctx.Done():
			case <-time.After(cgroup.EnforceAgain):
				if retry, err = once(); err != nil {
					return err
				}
			}
		}
		return nil
	}, err
}

// settleFirst is how long after the start the pods are taken to be known.
const settleFirst = 5 * time.Second

// settle gives the QoS classes their part of the node, from time to time.
func (p *parts) settle(ctx context.Context, cgroups *cgroup.Manager) error {
	next := time.After(settleFirst)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-next:
		}
		next = time.After(cgroup.SettleEvery)
		var pods []*corev1.Pod
		for _, v := range p.Views() {
			if v.Pod != nil && !pod.Terminal(v.Status.Phase) {
				pods = append(pods, v.Pod)
			}
		}
		if err := cgroups.Settle(ctx, pods); err != nil && ctx.Err() == nil {
			p.log.Warn("cannot give the QoS classes their part of the node, trying again", zap.Error(err))
		}
	}
}
