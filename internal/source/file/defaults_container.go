package file

import (
	"github.com/distribution/reference"
	corev1 "k8s.io/api/core/v1"
)

func defaultContainer(c *corev1.Container) {
	orWord(&c.ImagePullPolicy, pullPolicy(c.Image))
	orWord(&c.TerminationMessagePath, corev1.TerminationMessagePathDefault)
	orWord(&c.TerminationMessagePolicy, corev1.TerminationMessageReadFile)
	for i := range c.Ports {
		orWord(&c.Ports[i].Protocol, corev1.ProtocolTCP)
	}
	for i := range c.Env {
		defaultEnvSource(c.Env[i].ValueFrom)
	}
	roundUp(c.Resources.Limits)
	roundUp(c.Resources.Requests)
	defaultProbe(c.LivenessProbe)
	defaultProbe(c.ReadinessProbe)
	defaultProbe(c.StartupProbe)
	if c.Lifecycle == nil {
		return
	}
	if h := c.Lifecycle.PostStart; h != nil {
		defaultHTTPGet(h.HTTPGet)
	}
	if h := c.Lifecycle.PreStop; h != nil {
		defaultHTTPGet(h.HTTPGet)
	}
}

// pullPolicy is Always for an image that may change under its name, the latest
// one. A reference that cannot be parsed gets the other policy; validation or
// the pull tells what is wrong with it.
func pullPolicy(image string) corev1.PullPolicy {
	named, err := reference.ParseNormalizedNamed(image)
	if err != nil {
		return corev1.PullIfNotPresent
	}
	if tagged, ok := named.(reference.Tagged); ok {
		if tagged.Tag() == "latest" {
			return corev1.PullAlways
		}
		return corev1.PullIfNotPresent
	}
	if _, ok := named.(reference.Digested); ok {
		return corev1.PullIfNotPresent
	}
	return corev1.PullAlways
}

func defaultEnvSource(from *corev1.EnvVarSource) {
	if from == nil {
		return
	}
	defaultFieldRef(from.FieldRef)
	if from.FileKeyRef != nil {
		orElse(&from.FileKeyRef.Optional, false)
	}
}

func defaultFieldRef(ref *corev1.ObjectFieldSelector) {
	if ref != nil {
		orWord(&ref.APIVersion, "v1")
	}
}

func defaultProbe(p *corev1.Probe) {
	if p == nil {
		return
	}
	orNumber(&p.TimeoutSeconds, 1)
	orNumber(&p.PeriodSeconds, 10)
	orNumber(&p.SuccessThreshold, 1)
	orNumber(&p.FailureThreshold, 3)
	defaultHTTPGet(p.HTTPGet)
	if p.GRPC != nil {
		orElse(&p.GRPC.Service, "")
	}
}

func defaultHTTPGet(a *corev1.HTTPGetAction) {
	if a == nil {
		return
	}
	orWord(&a.Path, "/")
	orWord(&a.Scheme, corev1.URISchemeHTTP)
}

// orNumber makes a zero the given number.
func orNumber(field *int32, value int32) {
	if *field == 0 {
		*field = value
	}
}
