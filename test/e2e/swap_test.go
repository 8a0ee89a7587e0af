//go:build e2e

package e2e

import (
	"maps"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"nodeagent.dev/nodeagent/test/bed"
)

// TestSwap: the kubelet's pods go on under nodeagent and nodeagent's under the
// kubelet, on a node in use: no container is restarted, no pod stops being
// ready, and pods made under either end under the other.
func TestSwap(t *testing.T) {
	b := bed.Start(t, bed.Options{Agent: bed.Kubelet})
	client := b.Client()
	plain := newPod("plain", obeys, obeys)
	withData := newPod("with-data", "date > /d/x; "+obeys)
	withData.Spec.Volumes = []corev1.Volume{
		{Name: "d", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{Medium: corev1.StorageMediumMemory}}},
		{Name: "h", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/etc"}}},
	}
	withData.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "d", MountPath: "/d"}, {Name: "h", MountPath: "/h", ReadOnly: true}}
	names := []string{"plain", "with-data"}
	create(t, b, plain)
	create(t, b, withData)
	for _, agent := range []string{bed.Nodeagent, bed.Kubelet, bed.Nodeagent} {
		before, flips := map[string]string{}, map[string]string{}
		for _, name := range names {
			p := await(t, client, name, "ready", 40*time.Second, ready)
			maps.Copy(before, running(t, client, name))
			flips[name] = readySince(p)
		}
		must(t, "switching to "+agent, b.SwitchAgent(t.Context(), agent))
		must(t, "waiting for the node", b.WaitNodeReady(t.Context()))
		// A pod that is made now is through once the agent has looked at the others.
		made := "made-by-" + agent + "-" + time.Now().Format("150405")
		create(t, b, newPod(made, obeys))
		await(t, client, made, "ready", 40*time.Second, ready)
		for _, name := range names {
			after := running(t, client, name)
			for c := range before {
				if strings.HasPrefix(c, name+"/") && after[c] != before[c] {
					t.Errorf("under %s: container %s was %q, is %q", agent, c, before[c], after[c])
				}
			}
			p := await(t, client, name, "ready", 10*time.Second, ready)
			if since := readySince(p); since != flips[name] {
				t.Errorf("under %s: pod %s is ready since %s, was since %s", agent, name, since, flips[name])
			}
		}
		names = append(names, made)
	}
	for _, name := range names {
		p := await(t, client, name, "there", 5*time.Second, func(*corev1.Pod) bool { return true })
		must(t, "deleting "+name, client.CoreV1().Pods(namespace).Delete(t.Context(), name, metav1.DeleteOptions{}))
		gone(t, client, p, 20*time.Second)
	}
}

func readySince(p *corev1.Pod) string {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.LastTransitionTime.UTC().Format(time.RFC3339)
		}
	}
	return "never"
}
