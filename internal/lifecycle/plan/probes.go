package plan

import (
	"nodeagent.dev/nodeagent/internal/pod"
)

// Probes lists the probes that have to be run now. A container is probed from
// its start, its postStart hook included, to its end: by its startup probe
// alone until that has succeeded, then by the others. A verdict that ends the
// container ends the probe too, and once the pod is to end only readiness still
// matters (API: Probe; surface 8.3).
func Probes(in *pod.Input) []pod.ProbeTarget {
	if in.Pod == nil || in.Observed.At.IsZero() {
		return nil
	}
	ending := in.Stop != nil || in.Over()
	var list []pod.ProbeTarget
	for k, c := range pod.Containers(in.Pod) {
		i := in.Latest(c.Name)
		if k == pod.KindInit || k == pod.KindEphemeral || i == nil || i.State != pod.ContainerRunning || in.InHook(c) {
			continue
		}
		doomed := ending || in.Instances[i.ID].Doomed()
		started := in.Started(c, i)
		for _, kind := range []pod.ProbeKind{pod.ProbeStartup, pod.ProbeLiveness, pod.ProbeReadiness} {
			if kind.Spec(c) != nil && wanted(kind, started, doomed) {
				list = append(list, pod.ProbeTarget{
					ProbeKey:  pod.ProbeKey{ContainerID: i.ID, Kind: kind},
					Container: c, IP: Address(in), StartedAt: i.StartedAt,
				})
			}
		}
	}
	return list
}

func wanted(kind pod.ProbeKind, started, doomed bool) bool {
	switch kind {
	case pod.ProbeStartup:
		return !started && !doomed
	case pod.ProbeLiveness:
		return started && !doomed
	case pod.ProbeReadiness:
	}
	return started
}

// Address is where the pod is reached; empty when that is not known.
func Address(in *pod.Input) string {
	if in.HostNetwork() {
		if len(in.Node.HostIPs) > 0 {
			return in.Node.HostIPs[0]
		}
	} else if len(in.Observed.Sandboxes) > 0 && len(in.Observed.Sandboxes[0].IPs) > 0 {
		return in.Observed.Sandboxes[0].IPs[0]
	}
	return in.Prior.PodIP
}
