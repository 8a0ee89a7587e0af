//go:build e2e

package lifecycle

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// otherImage has a shell as well.
const otherImage = agnhost

// TestImageChange: a new image restarts its container and no other, whatever
// the pod's policy.
func TestImageChange(t *testing.T) {
	for _, policy := range []corev1.RestartPolicy{always, onFailure, never} {
		t.Run(string(policy), func(t *testing.T) {
			t.Parallel()
			l := live(t, withInit(newPod("image-"+strings.ToLower(string(policy)), policy,
				sh("a", "say a; "+untilTERM("a")), sh("b", obeys)), sh("i", "say i")))
			first := l.until("ready", ready)
			l.exists("a-up")
			l.patch("changing the image", `{"spec":{"containers":[{"name":"a","image":"`+otherImage+`"}]}}`)
			p := l.until("restarted", all(restarted("a", 1), ready))
			wantExit(t, "the container of the old image", status(p, "a").LastTerminationState, 0, "Completed")
			if got := status(p, "a").Image; got != otherImage {
				t.Errorf("the status names the image %s, want %s", got, otherImage)
			}
			if status(p, "b").ContainerID != status(first, "b").ContainerID {
				t.Error("the other container was restarted, too")
			}
			if p.Generation != 2 || p.Status.ObservedGeneration != 2 {
				t.Errorf("generation %d, observed %d; want 2 and 2", p.Generation, p.Status.ObservedGeneration)
			}
			wantReady(t, p)
			wantRestarts(t, p, "i", 0)
			l.event(normal, "Killing", "a", "Container a definition changed, will be restarted")
			l.said("i", "a", "a ends", "a")
			l.never("at its end", func(p *corev1.Pod) bool { return failed(p) || succeeded(p) })
		})
	}
}

// TestImageChangeSidecar: the same holds for a sidecar.
func TestImageChangeSidecar(t *testing.T) {
	t.Parallel()
	l := live(t, withInit(newPod("image-sidecar", always, sh("c", obeys)), sidecar(sh("s", untilTERM("s"))), sh("i", "say i")))
	first := l.until("ready", ready)
	l.exists("s-up")
	l.patch("changing the image", `{"spec":{"initContainers":[{"name":"s","image":"`+otherImage+`"}]}}`)
	p := l.until("restarted", all(restarted("s", 1), ready))
	if status(p, "c").ContainerID != status(first, "c").ContainerID || status(p, "i").ContainerID != status(first, "i").ContainerID {
		t.Error("other containers were restarted, too")
	}
	l.said("i", "s ends")
	l.event(normal, "Killing", "s", "Init container s definition changed")
}
