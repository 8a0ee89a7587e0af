package cri

import (
	"encoding/json"
	"math"
	"net/netip"
	"strings"
	"time"
	"unicode/utf8"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"nodeagent.dev/nodeagent/internal/containerspec"
	"nodeagent.dev/nodeagent/internal/pod"
)

// maxText is how much of a runtime's message is kept, in bytes.
const maxText = 4 << 10

// maxJSON is how long a value in an annotation may be, in bytes.
const maxJSON = 256 << 10

// Everything in this file takes messages from outside: any pointer may be nil,
// any string may be huge, any number may be nonsense.

// sandboxOf converts a listed sandbox; ok is false for one that is not the
// pod's or cannot be named.
func sandboxOf(s *runtimeapi.PodSandbox, ref pod.Ref) (out pod.Sandbox, ok bool) {
	if s.GetId() == "" || s.GetLabels()[containerspec.LabelPodUID] != string(ref.UID) {
		return pod.Sandbox{}, false
	}
	return pod.Sandbox{
		ID:        s.GetId(),
		Attempt:   sane(s.GetMetadata().GetAttempt()),
		Ready:     s.GetState() == runtimeapi.PodSandboxState_SANDBOX_READY,
		CreatedAt: timeOf(s.GetCreatedAt()),
	}, true
}

// sandboxDetail adds what only the status has. A status of another object is
// not used.
func sandboxDetail(s pod.Sandbox, st *runtimeapi.PodSandboxStatus) pod.Sandbox {
	if st.GetId() != s.ID {
		return s
	}
	s.Ready = st.GetState() == runtimeapi.PodSandboxState_SANDBOX_READY
	s.HostNetwork = st.GetLinux().GetNamespaces().GetOptions().GetNetwork() == runtimeapi.NamespaceMode_NODE
	s.IPs = nil
	if s.Ready {
		s.IPs = ipsOf(st.GetNetwork())
	}
	return s
}

// ipsOf returns the addresses, primary first; nothing if one of them is none.
func ipsOf(n *runtimeapi.PodSandboxNetworkStatus) []string {
	all := []string{}
	if n.GetIp() != "" {
		all = append(all, n.GetIp())
	}
	for _, more := range n.GetAdditionalIps() {
		all = append(all, more.GetIp())
	}
	for _, ip := range all {
		if _, err := netip.ParseAddr(ip); err != nil {
			return nil
		}
	}
	if len(all) == 0 {
		return nil
	}
	return all
}

// containerOf converts a listed container; ok is false for one that is not the
// pod's or cannot be named.
func containerOf(c *runtimeapi.Container, ref pod.Ref) (out pod.Container, ok bool) {
	labels := c.GetLabels()
	name := c.GetMetadata().GetName()
	if name == "" {
		name = labels[containerspec.LabelContainerName]
	}
	if c.GetId() == "" || name == "" || labels[containerspec.LabelPodUID] != string(ref.UID) {
		return pod.Container{}, false
	}
	return pod.Container{
		ID:         c.GetId(),
		Name:       name,
		SandboxID:  c.GetPodSandboxId(),
		Attempt:    attemptOf(c.GetMetadata(), c.GetAnnotations()),
		State:      stateOf(c.GetState()),
		CreatedAt:  timeOf(c.GetCreatedAt()),
		Image:      cut(c.GetImage().GetImage()),
		ImageID:    cut(c.GetImageRef()),
		Hash:       cut(c.GetAnnotations()[containerspec.AnnotationHash]),
		CrashCount: containerspec.CrashCountOf(c.GetAnnotations()),
	}, true
}

// containerDetail adds what only the status has. A status of another object is
// not used.
func containerDetail(c pod.Container, st *runtimeapi.ContainerStatus) pod.Container {
	if st.GetId() != c.ID {
		return c
	}
	c.State = stateOf(st.GetState())
	c.StartedAt = timeOf(st.GetStartedAt())
	c.FinishedAt = timeOf(st.GetFinishedAt())
	c.ExitCode = st.GetExitCode()
	c.Reason = cut(st.GetReason())
	c.Message = cut(st.GetMessage())
	if aborted(&c) {
		c.State = pod.ContainerAborted
	}
	c.User = userOf(st.GetUser())
	c.PreStop = preStopOf(st.GetAnnotations())
	if image := st.GetImage().GetImage(); image != "" {
		c.Image = cut(image)
	}
	if ref := st.GetImageRef(); ref != "" {
		c.ImageID = cut(ref)
	}
	return c
}

// aborted recognises what containerd makes of a container whose start was called
// off with the connection that had asked for it: the agent was killed.
func aborted(c *pod.Container) bool {
	return c.State == pod.ContainerExited && c.StartedAt.IsZero() && c.Reason == "StartError" && strings.Contains(c.Message, "context canceled")
}

// preStopOf is the handler in the annotations, with numbers for the names of ports.
// What is too large or makes no sense is none.
func preStopOf(annotations map[string]string) *corev1.LifecycleHandler {
	raw := annotations[containerspec.AnnotationPreStopHandler]
	h := &corev1.LifecycleHandler{}
	if raw == "" || len(raw) > maxJSON || json.Unmarshal([]byte(raw), h) != nil {
		return nil
	}
	if *h == (corev1.LifecycleHandler{}) {
		return nil
	}
	if h.HTTPGet == nil || h.HTTPGet.Port.Type != intstr.String {
		return h
	}
	var ports []corev1.ContainerPort
	if raw := annotations[containerspec.AnnotationPorts]; len(raw) > maxJSON || json.Unmarshal([]byte(raw), &ports) != nil {
		return h // running it will say that the port is not known
	}
	for i := range ports {
		if ports[i].Name == h.HTTPGet.Port.StrVal {
			h.HTTPGet.Port = intstr.FromInt32(ports[i].ContainerPort)
			break
		}
	}
	return h
}

// userOf is who the first process runs as, when the runtime says so.
func userOf(u *runtimeapi.ContainerUser) *corev1.ContainerUser {
	l := u.GetLinux()
	if l == nil {
		return nil
	}
	return &corev1.ContainerUser{Linux: &corev1.LinuxContainerUser{
		UID: l.GetUid(), GID: l.GetGid(), SupplementalGroups: l.GetSupplementalGroups(),
	}}
}

func stateOf(s runtimeapi.ContainerState) pod.ContainerState {
	switch s {
	case runtimeapi.ContainerState_CONTAINER_CREATED:
		return pod.ContainerCreated
	case runtimeapi.ContainerState_CONTAINER_RUNNING:
		return pod.ContainerRunning
	case runtimeapi.ContainerState_CONTAINER_EXITED:
		return pod.ContainerExited
	case runtimeapi.ContainerState_CONTAINER_UNKNOWN:
	}
	return pod.ContainerUnknown
}

// attemptOf is the instance's restart count, from whichever place says
// something sensible.
func attemptOf(m *runtimeapi.ContainerMetadata, annotations map[string]string) int {
	if m != nil && m.Attempt <= math.MaxInt32 {
		return int(m.Attempt)
	}
	return max(containerspec.RestartCountOf(annotations), 0)
}

// sane drops an attempt that no agent can have reached: a negative number that
// was stored in an unsigned field.
func sane(attempt uint32) uint32 {
	if attempt > math.MaxInt32 {
		return 0
	}
	return attempt
}

// timeOf converts nanoseconds; nothing and nonsense are the zero time.
func timeOf(nanos int64) time.Time {
	if nanos <= 0 {
		return time.Time{}
	}
	return time.Unix(0, nanos).UTC()
}

// cut limits a text from outside and makes it valid UTF-8.
func cut(s string) string {
	if len(s) > maxText {
		s = s[:maxText]
		for len(s) > 0 && !utf8.RuneStart(s[len(s)-1]) {
			s = s[:len(s)-1]
		}
		if r, _ := utf8.DecodeLastRuneInString(s); r == utf8.RuneError && len(s) > 0 {
			s = s[:len(s)-1]
		}
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}
