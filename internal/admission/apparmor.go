package admission

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"nodeagent.dev/nodeagent/internal/pod"
)

const appArmorAnnotation = corev1.DeprecatedAppArmorBetaContainerAnnotationKeyPrefix

// checkAppArmor refuses a pod that wants a profile which nobody would enforce. A
// pod that has already run on this node is not asked again: it is not stopped
// because the node was started without AppArmor.
func (r *Rules) checkAppArmor(p *corev1.Pod) *Rejection {
	if p.Status.Phase != corev1.PodPending && p.Status.Phase != "" || !wantsAppArmor(p) {
		return nil
	}
	if !r.appArmor {
		return reject(ReasonAppArmor, "Cannot enforce AppArmor: AppArmor is not enabled on the host")
	}
	for _, c := range pod.Containers(p) {
		profile := appArmorProfile(p, c)
		if profile == nil || profile.Type != corev1.AppArmorProfileTypeLocalhost {
			continue
		}
		if profile.LocalhostProfile == nil || strings.TrimSpace(*profile.LocalhostProfile) == "" {
			return reject(ReasonAppArmor, fmt.Sprintf("Cannot enforce AppArmor: invalid empty AppArmor profile name: %q", profile))
		}
	}
	return nil
}

// wantsAppArmor reports whether anything of the pod is to be confined.
func wantsAppArmor(p *corev1.Pod) bool {
	confined := func(profile *corev1.AppArmorProfile) bool {
		return profile != nil && profile.Type != corev1.AppArmorProfileTypeUnconfined
	}
	if p.Spec.SecurityContext != nil && confined(p.Spec.SecurityContext.AppArmorProfile) {
		return true
	}
	for _, c := range pod.Containers(p) {
		if c.SecurityContext != nil && confined(c.SecurityContext.AppArmorProfile) {
			return true
		}
	}
	for key, value := range p.Annotations {
		if strings.HasPrefix(key, appArmorAnnotation) && value != corev1.DeprecatedAppArmorBetaProfileNameUnconfined {
			return true
		}
	}
	return false
}

// appArmorProfile is the profile of a container: its own, the one of the old
// annotation (a manifest's annotations do not become fields), or the pod's.
func appArmorProfile(p *corev1.Pod, c *corev1.Container) *corev1.AppArmorProfile {
	if c.SecurityContext != nil && c.SecurityContext.AppArmorProfile != nil {
		return c.SecurityContext.AppArmorProfile
	}
	if old, ok := p.Annotations[appArmorAnnotation+c.Name]; ok {
		name, local := strings.CutPrefix(old, corev1.DeprecatedAppArmorBetaProfileNamePrefix)
		switch {
		case old == corev1.DeprecatedAppArmorBetaProfileRuntimeDefault:
			return &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeRuntimeDefault}
		case old == corev1.DeprecatedAppArmorBetaProfileNameUnconfined:
			return &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeUnconfined}
		case local:
			return &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeLocalhost, LocalhostProfile: &name}
		}
	}
	if p.Spec.SecurityContext != nil {
		return p.Spec.SecurityContext.AppArmorProfile
	}
	return nil
}
