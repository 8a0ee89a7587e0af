package admission

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation"
	resourcehelper "k8s.io/component-helpers/resource"
)

// Shortage is a resource of which the node has too little for a pod. CPU is
// counted in thousandths, everything else in its own unit (bytes, pieces).
type Shortage struct {
	Name      corev1.ResourceName
	Requested int64 // what the pod asks for
	Used      int64 // what the other pods have
	Capacity  int64 // what pods may have together
}

// Reason is the reason of a pod that is refused for this.
func (s Shortage) Reason() string { return "OutOf" + string(s.Name) }

// String is the kubelet's sentence.
func (s Shortage) String() string {
	return fmt.Sprintf("Node didn't have enough resource: %s, requested: %d, used: %d, capacity: %d", s.Name, s.Requested, s.Used, s.Capacity)
}

// missing is how much would have to be freed.
func (s Shortage) missing() int64 {
	return plus(s.Requested, minus(s.Used, s.Capacity))
}

// Insufficient lists what the node has too little of for the pod beside the
// others (see [Rules.Admit]): pods, cpu, memory, ephemeral-storage, then the
// rest by name. Extended resources that the node does not know are passed over:
// they are the cluster's, or come from a claim.
func (r *Rules) Insufficient(p *corev1.Pod, others []*Tenant, allocatable corev1.ResourceList) []Shortage {
	return r.insufficient(tame(p), without(p, others), allocatable)
}

// insufficient is Insufficient for a tame pod that is not among the others.
func (r *Rules) insufficient(p *corev1.Pod, others []*Tenant, allocatable corev1.ResourceList) []Shortage {
	capacity := measure(allocatable)
	used := amounts{corev1.ResourcePods: int64(len(others))}
	for _, other := range others {
		used.add(other.used)
	}
	wanted := r.request(p, capacity)
	wanted[corev1.ResourcePods] = 1

	var short []Shortage
	for _, name := range wanted.names() {
		want := wanted[name]
		if want > 0 && want > minus(capacity[name], used[name]) {
			short = append(short, Shortage{Name: name, Requested: want, Used: used[name], Capacity: capacity[name]})
		}
	}
	return short
}

// Tenant is a pod that was admitted, and what it has: who decides about many pods
// beside each other need not measure each of them every time.
type Tenant struct {
	pod  *corev1.Pod // as it was passed
	tame *corev1.Pod // the same, if it has no absurd quantities
	used amounts
}

// Tenant measures a pod, which must not change after that. What it was allocated is in
// its spec.
func (r *Rules) Tenant(p *corev1.Pod) *Tenant {
	tamed := tame(p)
	return &Tenant{pod: p, tame: tamed, used: r.usage(tamed)}
}

// Pod is the pod that was measured.
func (t *Tenant) Pod() *corev1.Pod { return t.pod }

// without leaves out the pod itself.
func without(p *corev1.Pod, others []*Tenant) []*Tenant {
	same := func(o *Tenant) bool { return o.pod == p || o.pod.UID != "" && o.pod.UID == p.UID }
	if !slices.ContainsFunc(others, same) {
		return others
	}
	return slices.DeleteFunc(slices.Clone(others), same)
}

// request is what the pod asks for, as far as the node has a say in it.
func (r *Rules) request(p *corev1.Pod, capacity amounts) amounts {
	judged := *p
	judged.Spec.Containers = ownRequests(p, p.Spec.Containers, capacity)
	judged.Spec.InitContainers = ownRequests(p, p.Spec.InitContainers, capacity)
	return measure(resourcehelper.PodRequests(&judged, resourcehelper.PodResourcesOptions{
		SkipPodLevelResources:                    !r.features.PodLevelResources,
		UseDRANodeAllocatableResourceClaimStatus: r.features.DRANodeAllocatableResources,
	}))
}

// usage is what a pod has that was admitted: the most of what it wants, was
// allocated and uses, while it is being resized.
func (r *Rules) usage(p *corev1.Pod) amounts {
	return measure(resourcehelper.PodRequests(p, resourcehelper.PodResourcesOptions{
		UseStatusResources: true,
		InPlacePodLevelResourcesVerticalScalingEnabled: r.features.InPlacePodLevelResourcesVerticalScaling,
		SkipPodLevelResources:                          !r.features.PodLevelResources,
		UseDRANodeAllocatableResourceClaimStatus:       r.features.DRANodeAllocatableResources,
	}))
}

// ownRequests is the containers without the requests that are not for the node
// to satisfy.
func ownRequests(p *corev1.Pod, containers []corev1.Container, capacity amounts) []corev1.Container {
	own := slices.Clone(containers)
	for i := range own {
		kept := maps.Clone(own[i].Resources.Requests)
		maps.DeleteFunc(kept, func(name corev1.ResourceName, _ resource.Quantity) bool {
			_, known := capacity[name]
			return extended(name) && !known || claimed(p, own[i].Name, name)
		})
		own[i].Resources.Requests = kept
	}
	return own
}

// claimed reports whether the scheduler made a resource claim of a container's
// request.
func claimed(p *corev1.Pod, container string, name corev1.ResourceName) bool {
	claim := p.Status.ExtendedResourceClaimStatus
	if claim == nil || !extended(name) && !strings.HasPrefix(string(name), resourcev1.ResourceDeviceClassPrefix) {
		return false
	}
	return slices.ContainsFunc(claim.RequestMappings, func(m corev1.ContainerExtendedResourceRequest) bool {
		return m.ContainerName == container && m.ResourceName == string(name)
	})
}

// amounts are resources in whole units; none is negative.
type amounts map[corev1.ResourceName]int64

// add adds up. What is too much to count stays the most that can be counted.
func (a amounts) add(b amounts) {
	for name, n := range b {
		a[name] = plus(a[name], n)
	}
}

// names has the resources that every node has first.
func (a amounts) names() []corev1.ResourceName {
	names := []corev1.ResourceName{corev1.ResourcePods, corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage}
	for _, name := range slices.Sorted(maps.Keys(a)) {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// measure counts the resources that a node can run out of.
func measure(list corev1.ResourceList) amounts {
	a := amounts{}
	for name, q := range list {
		switch name {
		case corev1.ResourceCPU:
			a[name] = count(q, resource.Milli)
		case corev1.ResourceMemory, corev1.ResourceEphemeralStorage, corev1.ResourcePods:
			a[name] = count(q, 0)
		default:
			if countable(name) {
				a[name] = count(q, 0)
			}
		}
	}
	return a
}

// count is a quantity in whole units of 10^scale, rounded up. A negative one
// counts as nothing: it must not make room. Where the kubelet takes a CPU
// request beyond the numbers it can count for none, it is the largest here.
func count(q resource.Quantity, scale resource.Scale) int64 {
	most := int64(math.MaxInt64)
	if scale == resource.Milli {
		most /= 1000
	}
	switch {
	case q.Sign() <= 0:
		return 0
	case absurd(q):
		return math.MaxInt64
	case q.CmpInt64(most) >= 0:
		return math.MaxInt64
	}
	return q.ScaledValue(scale)
}

// countable reports whether a resource beside the usual ones is one that pods
// are given pieces of.
func countable(name corev1.ResourceName) bool {
	return extended(name) || strings.Contains(string(name), corev1.ResourceDefaultNamespacePrefix) ||
		strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix) ||
		strings.HasPrefix(string(name), corev1.ResourceAttachableVolumesPrefix)
}

// extended reports whether a resource is one that somebody else than Kubernetes
// named.
func extended(name corev1.ResourceName) bool {
	s := string(name)
	if !strings.Contains(s, "/") || strings.Contains(s, corev1.ResourceDefaultNamespacePrefix) || strings.HasPrefix(s, corev1.DefaultResourceRequestsPrefix) {
		return false
	}
	return len(validation.IsQualifiedName(corev1.DefaultResourceRequestsPrefix+s)) == 0
}

func plus(a, b int64) int64 {
	switch {
	case b > 0 && a > math.MaxInt64-b:
		return math.MaxInt64
	case b < 0 && a < math.MinInt64-b:
		return math.MinInt64
	}
	return a + b
}

// minus is for numbers that are not negative.
func minus(a, b int64) int64 { return plus(a, -b) }
