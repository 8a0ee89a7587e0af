//go:build e2e

package lifecycle

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// debug adds an ephemeral container to the pod.
func (l *life) debug(name, target, script string) {
	l.t.Helper()
	p, err := l.pods().Get(l.t.Context(), l.name, metav1.GetOptions{})
	must(l.t, "getting the pod", err)
	c := corev1.EphemeralContainer{TargetContainerName: target}
	c.Name, c.Image, c.Command = name, image, shell(script)
	c.VolumeMounts = []corev1.VolumeMount{{Name: "d", MountPath: "/d"}}
	p.Spec.EphemeralContainers = append(p.Spec.EphemeralContainers, c)
	_, err = l.pods().UpdateEphemeralContainers(l.t.Context(), l.name, p, metav1.UpdateOptions{})
	must(l.t, "adding an ephemeral container", err)
}

// TestEphemeral: ephemeral containers start in a running pod, once, and harm
// nobody.
func TestEphemeral(t *testing.T) {
	t.Parallel()
	l := live(t, newPod("ephemeral", always, sh("a", "exec sleep 12345"), sh("b", "exec sleep 54321")))
	first := l.until("ready", ready)
	l.debug("e", "", "say e; exit 5")
	p := l.until("past e", terminated("e"))
	wantExit(t, "ephemeral container e", status(p, "e").State, 5, "Error")
	wantPhase(t, p, corev1.PodRunning)
	l.event(normal, "Started", "e", "Container started")

	// The second one comes after a sync at which the first could be restarted.
	l.debug("f", "a", "tr '\\0' ' ' </proc/1/cmdline >/d/first; "+obeys)
	p = l.until("running f", running("f"))
	if status(p, "f").Ready || status(p, "e").Ready {
		t.Errorf("ephemeral containers are ready: %+v; want never", p.Status.EphemeralContainerStatuses)
	}
	l.exists("first")
	l.saidLike("", func([]string) bool { return strings.HasPrefix(l.read("first"), "sleep 12345") })
	l.debug("g", "", "tr '\\0' ' ' </proc/1/cmdline >/d/own; exit 0")
	p = l.until("past g", terminated("g"))
	wantExit(t, "ephemeral container g", status(p, "g").State, 0, "Completed")
	if own := l.read("own"); strings.HasPrefix(own, "sleep") {
		t.Errorf("an ephemeral container without a target has process 1 %q, want its own", own)
	}
	wantReady(t, p)
	for _, c := range []string{"a", "b", "e", "f", "g"} {
		wantRestarts(t, p, c, 0)
	}
	for _, c := range []string{"a", "b"} {
		if status(p, c).ContainerID != status(first, c).ContainerID {
			t.Errorf("container %s is another one", c)
		}
	}
	l.said("e")
	l.noEvent("BackOff")
}

// TestEphemeralEnds: a pod's end does not wait for its ephemeral containers.
func TestEphemeralEnds(t *testing.T) {
	t.Parallel()
	l := live(t, newPod("ephemeral-ends", never, sh("a", "hold x")))
	l.until("ready", ready)
	l.debug("e", "", "trap 'exit 7' TERM; touch /d/up; while :; do sleep 0.1 & wait $!; done")
	l.until("running e", running("e"))
	l.exists("up")
	l.put("x", "")
	p := l.until("succeeded", succeeded)
	wantExit(t, "ephemeral container e", status(p, "e").State, 7, "Error")
}
