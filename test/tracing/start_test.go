//go:build e2e

package tracing

import (
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"nodeagent.dev/nodeagent/test/bed"
	"nodeagent.dev/nodeagent/test/bed/bedtest"
)

// TestPodStart: every trace of a pod's start is sent, and the calls to the runtime
// that made the pod are in it. What lies between is the agent's own to name.
func TestPodStart(t *testing.T) {
	t.Parallel()
	b := newBackend(t)
	node := bed.Start(t, bed.Options{KubeletConfig: func(config map[string]any) {
		config["tracing"] = map[string]any{"endpoint": b.address, "samplingRatePerMillion": 1000000}
	}})
	p := bedtest.NewPod("traced", 1, "sleep 600", "sleep 600")
	p = bedtest.Create(t, node, p)
	p = bedtest.Await(t, node.Client(), p.Name, "ready", time.Minute, bedtest.Ready)

	root := "syncPod"
	if node.Agent() == bed.Nodeagent {
		root = "podStart"
	}
	ofPod := func(s span) bool { return s.name == root && s.attributes["k8s.pod.uid"] == string(p.UID) }
	const sandbox, create, start = "RunPodSandbox", "CreateContainer", "StartContainer"
	all := b.await(t, "start of the pod", func(got []span) bool {
		return slices.ContainsFunc(got, ofPod) && len(below(got, ofPod, sandbox)) >= 1 &&
			len(below(got, ofPod, create)) >= 2 && len(below(got, ofPod, start)) >= 2
	})
	for _, s := range all {
		if s.service != "kubelet" || s.host != node.NodeName {
			t.Fatalf("span %s is of service %q on host %q, want kubelet on %s", s.name, s.service, s.host, node.NodeName)
		}
		if s.end.Before(s.begin) {
			t.Errorf("span %s ends %s before it begins", s.name, s.begin.Sub(s.end))
		}
	}
	for _, s := range slices.Concat(below(all, ofPod, sandbox), below(all, ofPod, create), below(all, ofPod, start)) {
		if s.failed {
			t.Errorf("span %s tells of a failure", s.name)
		}
	}
	if node.Agent() == bed.Nodeagent {
		judgeStart(t, p, all)
	}
}

// judgeStart: one span lasts from the first sight of the pod to Ready, and each
// action in it says what it was for.
func judgeStart(t *testing.T, p *corev1.Pod, all []span) {
	t.Helper()
	roots := slices.DeleteFunc(slices.Clone(all), func(s span) bool { return s.name != "podStart" || s.attributes["k8s.pod.name"] != p.Name })
	if len(roots) != 1 {
		t.Fatalf("%d spans of the pod's start, want 1: %v", len(roots), roots)
	}
	root := roots[0]
	if root.failed || root.parent != "" {
		t.Errorf("the span of the start failed or is not the first of its trace: %+v", root)
	}
	last := p.Status.StartTime.Time
	var verbs []string
	for _, s := range all {
		if s.trace != root.trace || s.parent != root.id {
			continue
		}
		verbs = append(verbs, strings.TrimSpace(s.name+" "+s.attributes["k8s.container.name"]))
		if s.name == "StartContainer" && s.end.After(last) {
			last = s.end
		}
		if s.begin.Before(root.begin) || s.end.After(root.end) {
			t.Errorf("%s from %s to %s is not within the start from %s to %s", s.name, s.begin, s.end, root.begin, root.end)
		}
	}
	slices.Sort(verbs)
	for _, want := range []string{"CreateSandbox", "EnsureImage a", "EnsureImage b", "MountVolumes", "StartContainer a", "StartContainer b"} {
		if !slices.Contains(verbs, want) {
			t.Errorf("the start has no %q: %q", want, verbs)
		}
	}
	if root.end.Before(last) {
		t.Errorf("the start ends at %s, before the last container runs: %s", root.end, last)
	}
}

// below returns the calls of a method that were made for what of says.
func below(all []span, of func(span) bool, method string) []span {
	byID := map[string]span{}
	for _, s := range all {
		byID[s.id] = s
	}
	var found []span
	for _, s := range all {
		if !strings.HasSuffix(s.name, "/"+method) {
			continue
		}
		for up, ok := s, true; ok; up, ok = byID[up.parent], byID[up.parent].id != "" {
			if of(up) {
				found = append(found, s)
				break
			}
		}
	}
	return found
}
