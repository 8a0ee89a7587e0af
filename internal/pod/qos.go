package pod

import corev1 "k8s.io/api/core/v1"

// QOS is the pod's quality-of-service class. The API server's word counts; for a
// pod that has none yet (a static one) it is worked out by the same rules: from
// the pod-level resources when they are set, else from all containers.
func QOS(p *corev1.Pod) corev1.PodQOSClass {
	if p.Status.QOSClass != "" {
		return p.Status.QOSClass
	}
	if hasPodResources(p.Spec.Resources) {
		return qosOf(p.Spec.Resources)
	}
	var class corev1.PodQOSClass
	mixed := false
	add := func(r *corev1.ResourceRequirements) {
		c := qosOf(r)
		mixed = mixed || class != "" && class != c
		class = c
	}
	for i := range p.Spec.InitContainers {
		add(&p.Spec.InitContainers[i].Resources)
	}
	for i := range p.Spec.Containers {
		add(&p.Spec.Containers[i].Resources)
	}
	switch {
	case mixed:
		return corev1.PodQOSBurstable
	case class == "":
		return corev1.PodQOSBestEffort
	}
	return class
}

// hasPodResources reports whether a pod-level request or limit of a kind that a
// pod may have is set.
func hasPodResources(r *corev1.ResourceRequirements) bool {
	if r == nil {
		return false
	}
	for _, list := range []corev1.ResourceList{r.Requests, r.Limits} {
		for name := range list {
			if podLevelResource(name) {
				return true
			}
		}
	}
	return false
}

func podLevelResource(name corev1.ResourceName) bool {
	const hugePages = corev1.ResourceHugePagesPrefix
	return name == corev1.ResourceCPU || name == corev1.ResourceMemory ||
		len(name) > len(hugePages) && name[:len(hugePages)] == hugePages
}

// qosOf is the class of one set of requirements: Guaranteed when request and
// limit are equal and set for both CPU and memory, BestEffort when neither is
// set, Burstable otherwise.
func qosOf(r *corev1.ResourceRequirements) corev1.PodQOSClass {
	cpu, memory := qosOfResource(r, corev1.ResourceCPU), qosOfResource(r, corev1.ResourceMemory)
	if cpu != memory {
		return corev1.PodQOSBurstable
	}
	return cpu
}

func qosOfResource(r *corev1.ResourceRequirements, name corev1.ResourceName) corev1.PodQOSClass {
	request, limit := r.Requests[name], r.Limits[name]
	switch {
	case !request.Equal(limit):
		return corev1.PodQOSBurstable
	case request.IsZero():
		return corev1.PodQOSBestEffort
	}
	return corev1.PodQOSGuaranteed
}
