package file

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// setDefaults does for a static pod what the API server does for all others: it
// fills in every field that has a default. What it fills in is part of the
// pod's UID (see doc.go).
func setDefaults(p *corev1.Pod) {
	spec := &p.Spec
	defaultGrace(spec)
	eachContainer(spec, func(c *corev1.Container) { requestsFromLimits(&c.Resources) })
	orElse(&spec.EnableServiceLinks, corev1.DefaultEnableServiceLinks)
	if spec.HostNetwork {
		eachContainer(spec, defaultHostPorts)
	}
	if spec.ServiceAccountName == "" {
		spec.ServiceAccountName = spec.DeprecatedServiceAccount
	}
	spec.DeprecatedServiceAccount = spec.ServiceAccountName
	orWord(&spec.DNSPolicy, corev1.DNSClusterFirst)
	orWord(&spec.RestartPolicy, corev1.RestartPolicyAlways)
	orWord(&spec.SchedulerName, corev1.DefaultSchedulerName)
	if spec.SecurityContext == nil {
		spec.SecurityContext = &corev1.PodSecurityContext{}
	}
	for i := range spec.Volumes {
		defaultVolume(&spec.Volumes[i])
	}
	eachContainer(spec, defaultContainer)
	for i := range spec.EphemeralContainers {
		common := corev1.Container(spec.EphemeralContainers[i].EphemeralContainerCommon)
		defaultContainer(&common)
		spec.EphemeralContainers[i].EphemeralContainerCommon = corev1.EphemeralContainerCommon(common)
	}
	roundUp(spec.Overhead)
	if spec.Resources != nil {
		roundUp(spec.Resources.Limits)
		roundUp(spec.Resources.Requests)
	}
}

func defaultGrace(spec *corev1.PodSpec) {
	if g := spec.TerminationGracePeriodSeconds; g != nil && *g < 0 {
		spec.TerminationGracePeriodSeconds = new(int64(1))
	}
	orElse(&spec.TerminationGracePeriodSeconds, int64(corev1.DefaultTerminationGracePeriodSeconds))
}

// eachContainer visits the containers and the init containers, which share
// their defaults.
func eachContainer(spec *corev1.PodSpec, visit func(*corev1.Container)) {
	for i := range spec.Containers {
		visit(&spec.Containers[i])
	}
	for i := range spec.InitContainers {
		visit(&spec.InitContainers[i])
	}
}

// requestsFromLimits makes a limit a request too where nothing else is asked.
func requestsFromLimits(r *corev1.ResourceRequirements) {
	if r.Limits == nil {
		return
	}
	if r.Requests == nil {
		r.Requests = make(corev1.ResourceList, len(r.Limits))
	}
	for name, limit := range r.Limits {
		if _, set := r.Requests[name]; !set {
			r.Requests[name] = limit.DeepCopy()
		}
	}
}

// roundUp rounds to thousandths, the finest amount that the API knows.
func roundUp(list corev1.ResourceList) {
	for name, q := range list {
		q.RoundUp(resource.Milli)
		list[name] = q
	}
}

func defaultHostPorts(c *corev1.Container) {
	for i := range c.Ports {
		if c.Ports[i].HostPort == 0 {
			c.Ports[i].HostPort = c.Ports[i].ContainerPort
		}
	}
}

// orElse makes an absent value the given one.
func orElse[T any](field **T, value T) {
	if *field == nil {
		*field = &value
	}
}

// orWord makes an empty word the given one.
func orWord[T ~string](field *T, value T) {
	if *field == "" {
		*field = value
	}
}
