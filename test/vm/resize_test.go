//go:build vm

package vm

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"nodeagent.dev/nodeagent/test/bed/bedtest"
)

// testResize: a running container is given other amounts of CPU and memory.
func (u *under) testResize(t *testing.T) {
	u.pods(t) // something else has to need the node
	b := resources(t, "20m 16Mi", "600m 32Mi")
	p := podOf("resized", resources(t, "100m 32Mi", "800m 32Mi"), b)
	p.Spec.Containers[1].ResizePolicy = []corev1.ContainerResizePolicy{
		{ResourceName: corev1.ResourceCPU, RestartPolicy: corev1.NotRequired},
		{ResourceName: corev1.ResourceMemory, RestartPolicy: corev1.RestartContainer},
	}
	u.create(t, p)
	p = u.await(t, p.Name, "ready", func(p *corev1.Pod) bool { return bedtest.Ready(p) && applied(p) })
	first := p
	for _, step := range []struct {
		name     string
		a, b     corev1.ResourceRequirements
		restarts [2]int32
	}{
		{"more", resources(t, "200m 48Mi", "1200m 48Mi"), b, [2]int32{}},
		{"less CPU", resources(t, "50m 48Mi", "500m 48Mi"), b, [2]int32{}},
		{"less memory", resources(t, "50m 32Mi", "500m 32Mi"), resources(t, "30m 16Mi", "700m 32Mi"), [2]int32{}},
		{"with a restart", resources(t, "50m 32Mi", "500m 32Mi"), resources(t, "20m 24Mi", "600m 40Mi"), [2]int32{0, 1}},
	} {
		p = u.resize(t, p.Name, step.a, step.b)
		p = bedtest.Await(t, u.Bed.Client(), p.Name, "resized: "+step.name, patience, func(now *corev1.Pod) bool {
			return bedtest.Ready(now) && applied(now) && now.Status.ContainerStatuses[1].RestartCount == step.restarts[1]
		})
		for i, c := range p.Status.ContainerStatuses {
			if c.RestartCount != step.restarts[i] {
				t.Errorf("%s: container %s has %d restarts, want %d", step.name, c.Name, c.RestartCount, step.restarts[i])
			}
			if step.restarts[i] == 0 && c.ContainerID != first.Status.ContainerStatuses[i].ContainerID {
				t.Errorf("%s: container %s is another one", step.name, c.Name)
			}
		}
		u.noteResize(t, step.name, p)
	}
	u.testDeferredResize(t, p)
	u.remove(t, p.Name, 0)
	u.awaitGone(t, p.Name)
}

// noteResize notes the settings after a resize, and checks those that have to
// follow from the limits of the containers.
func (u *under) noteResize(t *testing.T, step string, p *corev1.Pod) {
	t.Helper()
	now := u.byPlace(t, map[string]*corev1.Pod{p.Name: p})
	for i, c := range p.Spec.Containers {
		files := now[p.Name+"/"+p.Status.ContainerStatuses[i].Name]
		quota := fmt.Sprintf("%d 100000", c.Resources.Limits.Cpu().MilliValue()*100)
		memory := fmt.Sprint(c.Resources.Limits.Memory().Value())
		if files["cpu.max"] != quota || files["memory.max"] != memory {
			t.Errorf("%s: container %s has cpu.max %q and memory.max %q, want %q and %q", step, c.Name, files["cpu.max"], files["memory.max"], quota, memory)
		}
	}
	for place, files := range now {
		if !strings.HasPrefix(place, p.Name) {
			continue // the class's sum depends on other pods
		}
		for file, value := range files {
			u.facts.put("cgroup", place+" ("+step+")", file, value)
		}
	}
}

// testDeferredResize: what the node has but not now waits, with a reason, and
// changes nothing.
func (u *under) testDeferredResize(t *testing.T, p *corev1.Pod) {
	t.Helper()
	before := u.byPlace(t, map[string]*corev1.Pod{p.Name: p})
	u.resize(t, p.Name, resources(t, "1800m 32Mi", "1800m 32Mi"), p.Spec.Containers[1].Resources)
	p = bedtest.Await(t, u.Bed.Client(), p.Name, "put off", patience, func(p *corev1.Pod) bool { return pending(p) != "" })
	if got := pending(p); got != corev1.PodReasonDeferred {
		t.Errorf("a resize to nearly all of the node is pending with reason %s, want Deferred", got)
	}
	u.facts.put("resize", "too much for now", "reason", pending(p))
	delete(before, burstable)
	changed(t, "a resize that waits", before, u.byPlace(t, map[string]*corev1.Pod{p.Name: p}))
}

// resize changes the resources of the two containers.
func (n *Node) resize(t *testing.T, name string, a, b corev1.ResourceRequirements) *corev1.Pod {
	t.Helper()
	pods := n.Bed.Client().CoreV1().Pods(namespace)
	p, err := pods.Get(t.Context(), name, metav1.GetOptions{})
	must(t, "reading pod "+name, err)
	p.Spec.Containers[0].Resources, p.Spec.Containers[1].Resources = a, b
	p, err = pods.UpdateResize(t.Context(), name, p, metav1.UpdateOptions{})
	must(t, "resizing pod "+name, err)
	return p
}

// applied reports whether the containers have what the spec gives them, as far as
// the status says.
func applied(p *corev1.Pod) bool {
	for i, c := range p.Status.ContainerStatuses {
		want := p.Spec.Containers[i].Resources
		if c.Resources == nil || !c.Resources.Limits.Cpu().Equal(*want.Limits.Cpu()) || !c.Resources.Limits.Memory().Equal(*want.Limits.Memory()) {
			return false
		}
	}
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodResizePending || c.Type == corev1.PodResizeInProgress {
			return false
		}
	}
	return len(p.Status.ContainerStatuses) == len(p.Spec.Containers)
}

// pending is why a resize waits.
func pending(p *corev1.Pod) string {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodResizePending {
			return c.Reason
		}
	}
	return ""
}
