package agent

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"nodeagent.dev/nodeagent/internal/cgroup"
	"nodeagent.dev/nodeagent/internal/pod"
)

// podCgroups is how resizes see the cgroups of pods.
type podCgroups struct{ *cgroup.Manager }

// part is the limit in the words of the cgroup manager.
func part(l pod.Limit) cgroup.Part {
	switch l {
	case pod.LimitCPUQuota:
		return cgroup.PartCPUQuota
	case pod.LimitCPUShares:
		return cgroup.PartCPUShares
	case pod.LimitMemory:
	}
	return cgroup.PartMemory
}

// Compare implements resize.Cgroups. A limit that the pod's cgroup is not to have
// stays what it is, as under the kubelet: limits are not taken away.
func (c podCgroups) Compare(p *corev1.Pod, l pod.Limit) (int, error) {
	have, err := c.Actual(p)
	if err != nil {
		return 0, fmt.Errorf("read the limits of the pod's cgroup: %w", err)
	}
	want := c.Wanted(p).Only(part(l))
	switch {
	case l == pod.LimitCPUShares:
		if want.CPUShares == 0 || have.CPUShares == 0 || cgroup.SharesAgree(want.CPUShares, have.CPUShares) {
			return 0, nil
		}
		return direction(int64(have.CPUShares), int64(want.CPUShares)), nil // #nosec G115 -- at most 2^18
	case l == pod.LimitCPUQuota && want.CPUQuota != nil && have.CPUQuota != nil:
		return direction(*have.CPUQuota, *want.CPUQuota), nil
	case l == pod.LimitMemory && want.Memory != nil && have.Memory != nil:
		return direction(*have.Memory, *want.Memory), nil
	}
	return 0, nil
}

// direction is positive when a limit grows; none is more than any.
func direction(from, to int64) int {
	switch {
	case from == to:
		return 0
	case from == cgroup.Unlimited, to != cgroup.Unlimited && to < from:
		return -1
	}
	return 1
}

// Set implements resize.Cgroups.
func (c podCgroups) Set(ctx context.Context, p *corev1.Pod, l pod.Limit) error {
	_, err := c.Resize(ctx, p, c.Wanted(p).Only(part(l)))
	return err
}

// MemoryShort implements resize.Cgroups.
func (c podCgroups) MemoryShort(p *corev1.Pod) error {
	want := c.Wanted(p).Memory
	if want == nil || *want == cgroup.Unlimited {
		return nil
	}
	usage, err := c.Usage(p)
	if err != nil {
		return fmt.Errorf("missing pod memory usage: %w", err)
	}
	if usage >= *want {
		return &cgroup.BelowUsageError{Limit: *want, Usage: usage}
	}
	return nil
}

// With implements resize.Cgroups.
func (c podCgroups) With(p *corev1.Pod, l pod.Limit) (pod.CgroupLimits, error) {
	limits, err := c.Actual(p)
	if err != nil {
		return pod.CgroupLimits{}, fmt.Errorf("read the limits of the pod's cgroup: %w", err)
	}
	want := c.Wanted(p)
	switch l {
	case pod.LimitMemory:
		limits.Memory = want.Memory
	case pod.LimitCPUQuota:
		limits.CPUQuota, limits.CPUPeriod = want.CPUQuota, want.CPUPeriod
	case pod.LimitCPUShares:
		limits.CPUShares = want.CPUShares
	}
	out := pod.CgroupLimits{CPUShares: int64(limits.CPUShares), CPUPeriod: int64(limits.CPUPeriod), Unified: want.Unified} // #nosec G115 -- small
	if limits.CPUQuota != nil {
		out.CPUQuota = *limits.CPUQuota
	}
	if limits.Memory != nil {
		out.Memory = *limits.Memory
	}
	return out, nil
}
