package agent

import (
	"os"
	"strings"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"

	"nodeagent.dev/nodeagent/internal/admission"
	"nodeagent.dev/nodeagent/internal/allocation"
	"nodeagent.dev/nodeagent/internal/cgroup"
	"nodeagent.dev/nodeagent/internal/config"
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
	known := p.api.main == nil // without an API server there is nothing to wait for
	return allocation.New(allocation.Config{
		RootDir: cfg.RootDir, Rules: rules, Infeasible: infeasible,
		Node: func() (admission.Node, bool) {
			object := n.Node()
			return admission.Node{
				Object: object, Name: cfg.NodeName, Allocatable: n.Allocatable(),
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
