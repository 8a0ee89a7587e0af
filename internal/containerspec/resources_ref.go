package containerspec

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// resourceValue is a container's request or limit for resourceFieldRef, in
// units of the divisor and rounded up. A request that is not set is zero. A
// limit of CPU, memory or ephemeral storage that is not set is the pod's, then
// the node's allocatable; where another container is named and it is an init
// container, it is zero, as with the kubelet.
func resourceValue(p *corev1.Pod, c *corev1.Container, ref *corev1.ResourceFieldSelector, allocatable corev1.ResourceList) (string, error) {
	defaulted := true
	if ref.ContainerName != "" {
		if c, defaulted = containerNamed(p, ref.ContainerName); c == nil {
			return "", configFailure("container %s not found", ref.ContainerName)
		}
	}
	text, err := ResourceField(c, ref, func(name corev1.ResourceName, unset resource.Quantity) resource.Quantity {
		if !defaulted {
			return unset
		}
		return upperBound(p, name, unset, allocatable)
	})
	if err != nil {
		return "", configFailure("%v", err)
	}
	return text, nil
}

// ResourceField is a container's request or limit in units of the divisor, rounded up.
// A request that is not set is zero; instead says what stands for a limit of CPU,
// memory or ephemeral storage that is not set.
func ResourceField(c *corev1.Container, ref *corev1.ResourceFieldSelector, instead func(name corev1.ResourceName, unset resource.Quantity) resource.Quantity) (string, error) {
	kind, word, _ := strings.Cut(ref.Resource, ".")
	name := corev1.ResourceName(word)
	huge := strings.HasPrefix(word, corev1.ResourceHugePagesPrefix)
	switch name {
	case corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage:
	default:
		if !huge {
			return "", fmt.Errorf("unsupported container resource : %s", ref.Resource)
		}
	}
	var q resource.Quantity
	switch kind {
	case "requests":
		q = c.Resources.Requests[name]
	case "limits":
		q = c.Resources.Limits[name]
		if q.IsZero() && !huge { // huge pages are never overcommitted
			q = instead(name, q)
		}
	default:
		return "", fmt.Errorf("unsupported container resource : %s", ref.Resource)
	}
	return strconv.FormatInt(divide(&q, ref.Divisor, name == corev1.ResourceCPU), 10), nil
}

// containerNamed finds a container that other containers may name, and says
// whether its limits have defaults. Nil: there is none.
func containerNamed(p *corev1.Pod, name string) (c *corev1.Container, defaulted bool) {
	for i := range p.Spec.Containers {
		if p.Spec.Containers[i].Name == name {
			return &p.Spec.Containers[i], true
		}
	}
	for i := range p.Spec.InitContainers {
		if p.Spec.InitContainers[i].Name == name {
			return &p.Spec.InitContainers[i], false
		}
	}
	return nil, false
}

// upperBound is what stands in for a limit that is not set. The pod's own limit
// counts for a resource that the node has.
func upperBound(p *corev1.Pod, name corev1.ResourceName, unset resource.Quantity, allocatable corev1.ResourceList) resource.Quantity {
	q, has := allocatable[name]
	if !has {
		return unset
	}
	if p.Spec.Resources != nil && name != corev1.ResourceEphemeralStorage {
		if limit := p.Spec.Resources.Limits[name]; !limit.IsZero() {
			return limit
		}
	}
	return q
}

// divide rounds up; no divisor is one. CPU is divided in thousandths.
func divide(q *resource.Quantity, divisor resource.Quantity, milli bool) int64 {
	if divisor.IsZero() {
		divisor = *resource.NewQuantity(1, resource.DecimalSI)
	}
	amount, by := q.Value(), divisor.Value()
	if milli {
		amount, by = q.MilliValue(), divisor.MilliValue()
	}
	if by == 0 {
		by = 1
	}
	return int64(math.Ceil(float64(amount) / float64(by)))
}
