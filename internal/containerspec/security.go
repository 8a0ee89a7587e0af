package containerspec

import (
	"fmt"
	"path/filepath"
	"slices"

	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"nodeagent.dev/nodeagent/internal/pod"
)

// maskedPaths hide what /proc and /sys tell of the node; readonlyPaths may be
// read. Both are the kubelet's lists (securitycontext/util.go).
func maskedPaths() []string {
	return []string{
		"/proc/asound", "/proc/acpi", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
		"/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware",
		"/sys/devices/virtual/powercap",
	}
}

func readonlyPaths() []string {
	return []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}
}

// containerSecurity is the container's security context over the pod's.
func containerSecurity(req *pod.ContainerRequest, node *Node) (*runtimeapi.LinuxContainerSecurityContext, error) {
	p, c := req.Sandbox.Pod, req.Container
	out := &runtimeapi.LinuxContainerSecurityContext{
		NamespaceOptions: containerNamespaces(req),
		MaskedPaths:      append(maskedPaths(), node.MaskedPaths...),
		ReadonlyPaths:    readonlyPaths(),
	}
	podSC, own := p.Spec.SecurityContext, c.SecurityContext
	if podSC != nil {
		out.RunAsUser, out.RunAsGroup = int64Value(podSC.RunAsUser), int64Value(podSC.RunAsGroup)
		out.SelinuxOptions = selinux(podSC.SELinuxOptions)
		var err error
		if out.SupplementalGroups, out.SupplementalGroupsPolicy, err = groups(podSC); err != nil {
			return nil, configFailure("%v", err)
		}
	}
	out.SupplementalGroups = append(out.SupplementalGroups, volumeGroups(req.Volumes)...)
	if own != nil {
		overrideSecurity(out, own)
	}
	var err error
	if out.Seccomp, err = seccomp(podSC, own, node); err != nil {
		return nil, configFailure("%v", err)
	}
	if out.Apparmor, err = apparmor(podSC, own); err != nil {
		return nil, configFailure("%v", err)
	}
	out.ApparmorProfile = oldApparmor(out.Apparmor) //nolint:staticcheck // runtimes before CRI 1.23 read it
	return out, nil
}

// containerNamespaces are the pod's. A container that is to see the processes of
// another one does so, unless it sees them anyway.
func containerNamespaces(req *pod.ContainerRequest) *runtimeapi.NamespaceOption {
	o := namespaces(&req.Sandbox)
	if req.TargetID != "" && o.Pid == runtimeapi.NamespaceMode_CONTAINER {
		o.Pid, o.TargetId = runtimeapi.NamespaceMode_TARGET, req.TargetID
	}
	return o
}

// overrideSecurity copies the fields that a container sets itself.
func overrideSecurity(out *runtimeapi.LinuxContainerSecurityContext, own *corev1.SecurityContext) {
	if own.RunAsUser != nil {
		out.RunAsUser = int64Value(own.RunAsUser)
	}
	if own.RunAsGroup != nil {
		out.RunAsGroup = int64Value(own.RunAsGroup)
	}
	if own.SELinuxOptions != nil {
		out.SelinuxOptions = selinux(own.SELinuxOptions)
	}
	if caps := own.Capabilities; caps != nil {
		out.Capabilities = &runtimeapi.Capability{}
		for _, add := range caps.Add {
			out.Capabilities.AddCapabilities = append(out.Capabilities.AddCapabilities, string(add))
		}
		for _, drop := range caps.Drop {
			out.Capabilities.DropCapabilities = append(out.Capabilities.DropCapabilities, string(drop))
		}
	}
	out.Privileged = isTrue(own.Privileged)
	out.ReadonlyRootfs = isTrue(own.ReadOnlyRootFilesystem)
	out.NoNewPrivs = own.AllowPrivilegeEscalation != nil && !*own.AllowPrivilegeEscalation
	if own.ProcMount != nil && *own.ProcMount == corev1.UnmaskedProcMount {
		out.MaskedPaths, out.ReadonlyPaths = nil, nil
	}
}

func isTrue(b *bool) bool { return b != nil && *b }

func int64Value(v *int64) *runtimeapi.Int64Value {
	if v == nil {
		return nil
	}
	return &runtimeapi.Int64Value{Value: *v}
}

func selinux(o *corev1.SELinuxOptions) *runtimeapi.SELinuxOption {
	if o == nil {
		return nil
	}
	return &runtimeapi.SELinuxOption{User: o.User, Role: o.Role, Type: o.Type, Level: o.Level}
}

// groups are the pod's additional groups, fsGroup first.
func groups(sc *corev1.PodSecurityContext) ([]int64, runtimeapi.SupplementalGroupsPolicy, error) {
	var all []int64
	if sc.FSGroup != nil {
		all = append(all, *sc.FSGroup)
	}
	all = slices.Concat(all, sc.SupplementalGroups)
	if sc.SupplementalGroupsPolicy == nil {
		return all, runtimeapi.SupplementalGroupsPolicy_Merge, nil
	}
	v, ok := runtimeapi.SupplementalGroupsPolicy_value[string(*sc.SupplementalGroupsPolicy)]
	if !ok {
		return nil, 0, fmt.Errorf("unsupported supplementalGroupsPolicy: %s", *sc.SupplementalGroupsPolicy)
	}
	return all, runtimeapi.SupplementalGroupsPolicy(v), nil
}

// volumeGroups are those that the pod's volumes bring with them.
func volumeGroups(volumes pod.Volumes) []int64 {
	var all []int64
	for _, v := range volumes {
		if v.Group != 0 && !slices.Contains(all, v.Group) {
			all = append(all, v.Group)
		}
	}
	slices.Sort(all)
	return all
}

// seccomp is the container's profile, or the pod's, or the node's default.
func seccomp(podSC *corev1.PodSecurityContext, own *corev1.SecurityContext, node *Node) (*runtimeapi.SecurityProfile, error) {
	var profile *corev1.SeccompProfile
	switch {
	case own != nil && own.SeccompProfile != nil:
		profile = own.SeccompProfile
	case podSC != nil && podSC.SeccompProfile != nil:
		profile = podSC.SeccompProfile
	case node.SeccompDefault:
		return &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_RuntimeDefault}, nil
	default:
		return &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_Unconfined}, nil
	}
	switch profile.Type {
	case corev1.SeccompProfileTypeRuntimeDefault:
		return &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_RuntimeDefault}, nil
	case corev1.SeccompProfileTypeLocalhost:
		if profile.LocalhostProfile == nil || *profile.LocalhostProfile == "" {
			return nil, fmt.Errorf("localhostProfile must be set if seccompProfile type is Localhost")
		}
		return &runtimeapi.SecurityProfile{
			ProfileType:  runtimeapi.SecurityProfile_Localhost,
			LocalhostRef: filepath.Join(node.SeccompRoot, *profile.LocalhostProfile),
		}, nil
	case corev1.SeccompProfileTypeUnconfined:
	}
	return &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_Unconfined}, nil
}

// apparmor is the container's profile or the pod's; the annotations of old are
// copied into the fields by the API server.
func apparmor(podSC *corev1.PodSecurityContext, own *corev1.SecurityContext) (*runtimeapi.SecurityProfile, error) {
	var profile *corev1.AppArmorProfile
	switch {
	case own != nil && own.AppArmorProfile != nil:
		profile = own.AppArmorProfile
	case podSC != nil && podSC.AppArmorProfile != nil:
		profile = podSC.AppArmorProfile
	default:
		return nil, nil
	}
	switch profile.Type {
	case corev1.AppArmorProfileTypeRuntimeDefault:
		return &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_RuntimeDefault}, nil
	case corev1.AppArmorProfileTypeUnconfined:
		return &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_Unconfined}, nil
	case corev1.AppArmorProfileTypeLocalhost:
		if profile.LocalhostProfile == nil {
			return nil, fmt.Errorf("missing localhost apparmor profile name")
		}
		return &runtimeapi.SecurityProfile{
			ProfileType: runtimeapi.SecurityProfile_Localhost, LocalhostRef: *profile.LocalhostProfile,
		}, nil
	}
	return nil, fmt.Errorf("unknown apparmor profile type: %q", profile.Type)
}

// oldApparmor writes a profile as the deprecated field has it.
func oldApparmor(p *runtimeapi.SecurityProfile) string {
	if p == nil {
		return ""
	}
	switch p.ProfileType {
	case runtimeapi.SecurityProfile_RuntimeDefault:
		return "runtime/default"
	case runtimeapi.SecurityProfile_Localhost:
		return "localhost/" + p.LocalhostRef
	case runtimeapi.SecurityProfile_Unconfined:
	}
	return "unconfined"
}

// anyPrivileged reports whether a container of any kind is privileged.
func anyPrivileged(p *corev1.Pod) bool {
	for _, c := range pod.Containers(p) {
		if sc := c.SecurityContext; sc != nil && isTrue(sc.Privileged) {
			return true
		}
	}
	return false
}

// ImageUser is the user an image asks for: a number, or a name, or neither,
// which is root.
type ImageUser struct {
	UID  *int64
	Name string
}

// ApplyImageUser completes a message of [Container] with the image's user
// where the pod names none, and refuses a container that must not run as root
// but would, or might. Its failure has reason CreateContainerConfigError.
func ApplyImageUser(cfg *runtimeapi.ContainerConfig, req pod.ContainerRequest, user ImageUser) error {
	sec := cfg.GetLinux().GetSecurityContext()
	if sec == nil {
		return nil
	}
	if sec.RunAsUser != nil {
		if nonRoot(&req) && sec.RunAsUser.Value == 0 {
			return configFailure("container's runAsUser breaks non-root policy (pod: %q, container: %s)",
				podName(req.Sandbox.Pod), req.Container.Name)
		}
		return nil
	}
	root := user.UID == nil && user.Name == "" || user.UID != nil && *user.UID == 0
	switch {
	case nonRoot(&req) && root:
		return configFailure("container has runAsNonRoot and image will run as root (pod: %q, container: %s)",
			podName(req.Sandbox.Pod), req.Container.Name)
	case nonRoot(&req) && user.UID == nil:
		return configFailure("container has runAsNonRoot and image has non-numeric user (%s), cannot verify user is non-root (pod: %q, container: %s)",
			user.Name, podName(req.Sandbox.Pod), req.Container.Name)
	case user.UID != nil:
		sec.RunAsUser = &runtimeapi.Int64Value{Value: *user.UID}
	case user.Name != "":
		sec.RunAsUsername = user.Name
	default:
		sec.RunAsUser = &runtimeapi.Int64Value{}
	}
	return nil
}

// NeedsImageUser reports whether [ApplyImageUser] would look at the image.
func NeedsImageUser(cfg *runtimeapi.ContainerConfig) bool {
	return cfg.GetLinux().GetSecurityContext().GetRunAsUser() == nil
}

func nonRoot(req *pod.ContainerRequest) bool {
	if sc := req.Container.SecurityContext; sc != nil && sc.RunAsNonRoot != nil {
		return *sc.RunAsNonRoot
	}
	sc := req.Sandbox.Pod.Spec.SecurityContext
	return sc != nil && isTrue(sc.RunAsNonRoot)
}

// podName is how the kubelet writes a pod in messages: name_namespace(uid).
func podName(p *corev1.Pod) string { return pod.RefOf(p).FullName() + "(" + string(p.UID) + ")" }
