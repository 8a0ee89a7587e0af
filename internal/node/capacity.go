package node

import (
	"maps"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// buildResources sets the capacity and what of it is left for pods. Resources
// of others, such as device plugins' of another agent, are left alone.
func buildResources(r *Result, cfg *Config, m MachineFacts) {
	r.Problems = append(r.Problems, m.Missing...)
	status := &r.Node.Status
	if status.Capacity == nil {
		status.Capacity = corev1.ResourceList{}
	}
	dropHugePages(status.Capacity)
	maps.Copy(status.Capacity, capacity(cfg, m))
	reserved := reservation(cfg, status.Capacity)
	if status.Allocatable == nil {
		status.Allocatable = corev1.ResourceList{}
	}
	for name := range status.Allocatable {
		if _, known := status.Capacity[name]; !known {
			delete(status.Allocatable, name)
		}
	}
	for name, total := range status.Capacity {
		left := total.DeepCopy()
		if q, ok := reserved[name]; ok {
			left.Sub(q)
		}
		status.Allocatable[name] = atLeastZero(left)
	}
	// Huge pages are taken out of the memory when they are set up.
	memory, known := status.Allocatable[corev1.ResourceMemory]
	if !known {
		return
	}
	for name, total := range status.Capacity {
		if isHugePages(name) {
			memory.Sub(total)
		}
	}
	status.Allocatable[corev1.ResourceMemory] = atLeastZero(memory)
}

// capacity is what the facts tell; a fact that is missing is left out.
func capacity(cfg *Config, m MachineFacts) corev1.ResourceList {
	list := corev1.ResourceList{}
	pods := cfg.MaxPods
	if cfg.PodsPerCore > 0 && m.Cores > 0 {
		pods = min(pods, cfg.PodsPerCore*m.Cores)
	}
	list[corev1.ResourcePods] = *resource.NewQuantity(pods, resource.DecimalSI)
	if m.Cores > 0 {
		list[corev1.ResourceCPU] = *resource.NewMilliQuantity(m.Cores*1000, resource.DecimalSI)
	}
	if m.MemoryBytes > 0 {
		list[corev1.ResourceMemory] = *resource.NewQuantity(m.MemoryBytes, resource.BinarySI)
	}
	if m.StorageBytes > 0 {
		list[corev1.ResourceEphemeralStorage] = *resource.NewQuantity(m.StorageBytes, resource.BinarySI)
	}
	for size, total := range m.HugePages {
		name := corev1.ResourceHugePagesPrefix + resource.NewQuantity(size, resource.BinarySI).String()
		list[corev1.ResourceName(name)] = *resource.NewQuantity(total, resource.BinarySI)
	}
	return list
}

// reservation is what pods do not get.
func reservation(cfg *Config, capacity corev1.ResourceList) corev1.ResourceList {
	sum := corev1.ResourceList{}
	add := func(name corev1.ResourceName, q resource.Quantity) {
		total := sum[name]
		total.Add(q)
		sum[name] = total
	}
	for _, list := range []corev1.ResourceList{cfg.SystemReserved, cfg.KubeReserved} {
		for name, q := range list {
			add(name, q)
		}
	}
	add(corev1.ResourceMemory, cfg.EvictMemory.of(capacity[corev1.ResourceMemory]))
	add(corev1.ResourceEphemeralStorage, cfg.EvictStorage.of(capacity[corev1.ResourceEphemeralStorage]))
	return sum
}

// of is the threshold for a capacity.
func (t Threshold) of(capacity resource.Quantity) resource.Quantity {
	if t.Fraction > 0 {
		return *resource.NewQuantity(int64(float64(capacity.Value())*float64(t.Fraction)), resource.BinarySI)
	}
	return *resource.NewQuantity(t.Bytes, resource.BinarySI)
}

func atLeastZero(q resource.Quantity) resource.Quantity {
	if q.Sign() < 0 {
		q.Set(0)
	}
	return q
}

// dropHugePages forgets sizes that the kernel may not offer any more.
func dropHugePages(list corev1.ResourceList) {
	for name := range list {
		if isHugePages(name) {
			delete(list, name)
		}
	}
}

func isHugePages(name corev1.ResourceName) bool {
	return strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix)
}

// Totals are the capacity of a machine and what of it pods may have, before the API
// server has anything to add.
func Totals(r Resources, m MachineFacts) (capacity, allocatable corev1.ResourceList) {
	var res Result
	res.Node = &corev1.Node{}
	buildResources(&res, &Config{Resources: r}, m)
	return res.Node.Status.Capacity, res.Node.Status.Allocatable
}
