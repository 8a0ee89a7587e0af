package admission

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
)

func guaranteed(name, cpu, memory string) *corev1.Pod {
	p := aPod(name, "cpu", cpu, "memory", memory)
	p.Spec.Containers[0].Resources.Limits = res("cpu", cpu, "memory", memory)
	return p
}

func names(pods []*corev1.Pod) []string {
	var all []string
	for _, p := range pods {
		all = append(all, p.Name)
	}
	return all
}

func TestWhoGoesForACriticalPod(t *testing.T) {
	static := func(p *corev1.Pod) *corev1.Pod {
		p.Annotations = map[string]string{"kubernetes.io/config.source": "file"}
		return p
	}
	fromAPI := func(p *corev1.Pod) *corev1.Pod {
		p.Annotations = map[string]string{"kubernetes.io/config.source": "api"}
		return p
	}
	r := rules(t)
	for _, c := range []struct {
		name     string
		critical *corev1.Pod
		others   []*corev1.Pod
		pods     string // allocatable; 10 unless told
		want     []string
		message  string // of the failure, if there is one
	}{
		{name: "nobody when there is room", critical: aPod("p", "cpu", "4"), others: []*corev1.Pod{aPod("o")}},
		{name: "burstable rather than guaranteed", critical: aPod("p", "cpu", "2"),
			others: []*corev1.Pod{guaranteed("g", "2", "1Gi"), aPod("b", "cpu", "2")}, want: []string{"b"}},
		{name: "best effort before all, for its place", critical: aPod("p"), pods: "3",
			others: []*corev1.Pod{guaranteed("g", "1m", "1"), aPod("b", "cpu", "1"), aPod("e")}, want: []string{"e"}},
		{name: "best effort frees no CPU and stays", critical: aPod("p", "cpu", "4"),
			others: []*corev1.Pod{aPod("e"), aPod("b", "cpu", "1")}, want: []string{"b"}},
		{name: "guaranteed only for what the others do not free", critical: aPod("p", "cpu", "3"),
			others: []*corev1.Pod{guaranteed("g1", "1", "1Gi"), guaranteed("g2", "2", "1Gi"), aPod("b", "cpu", "1")}, want: []string{"b", "g2"}},
		{name: "one big rather than two small", critical: aPod("p", "cpu", "2"),
			others: []*corev1.Pod{aPod("s1", "cpu", "1"), aPod("s2", "cpu", "1"), aPod("big", "cpu", "2")}, want: []string{"big"}},
		{name: "the small one is enough", critical: aPod("p", "cpu", "1"),
			others: []*corev1.Pod{aPod("big", "cpu", "3"), aPod("s", "cpu", "1")}, want: []string{"s"}},
		{name: "memory counts before CPU", critical: aPod("p", "cpu", "1"),
			others: []*corev1.Pod{aPod("a", "cpu", "2", "memory", "2Gi"), aPod("b", "cpu", "2", "memory", "1Gi")}, want: []string{"b"}},
		{name: "the lower priority of equals", critical: aPod("p", "cpu", "2"),
			others: []*corev1.Pod{important(aPod("a", "cpu", "2"), 10), important(aPod("b", "cpu", "2"), 5)}, want: []string{"b"}},
		{name: "both resources", critical: aPod("p", "cpu", "2", "memory", "7Gi"),
			others: []*corev1.Pod{aPod("c", "cpu", "2"), aPod("m", "memory", "4Gi"), aPod("x", "cpu", "2", "memory", "3Gi")}, want: []string{"x", "m"}},
		{name: "critical pods stay", critical: aPod("p", "cpu", "2"),
			others:  []*corev1.Pod{important(aPod("c", "cpu", "2"), criticalPriority), static(aPod("s", "cpu", "1"))},
			message: "no set of running pods found to reclaim resources: [(res: cpu, q: 1000), ]"},
		{name: "what the source says of an API pod", critical: aPod("p", "cpu", "4"), others: []*corev1.Pod{fromAPI(aPod("a", "cpu", "1"))}, want: []string{"a"}},
		{name: "a lower priority of the system goes", critical: important(aPod("p", "cpu", "4"), criticalPriority+1000),
			others: []*corev1.Pod{important(aPod("c", "cpu", "2"), criticalPriority)}, want: []string{"c"}},
		{name: "the same priority stays", critical: important(aPod("p", "cpu", "4"), criticalPriority),
			others:  []*corev1.Pod{important(aPod("c", "cpu", "2"), criticalPriority)},
			message: "no set of running pods found to reclaim resources: [(res: cpu, q: 2000), ]"},
		{name: "more than the node has", critical: aPod("p", "cpu", "5", "memory", "9Gi"), others: []*corev1.Pod{aPod("o", "cpu", "1")},
			message: "no set of running pods found to reclaim resources: [(res: cpu, q: 1000), (res: memory, q: 1073741824), ]"},
		{name: "what had to be replaced to be calculated with", critical: aPod("p", "cpu", "1", "memory", "1"),
			others: []*corev1.Pod{guaranteed("a", "1e100000000", "1"), aPod("b", "memory", "1e100000000")}, want: []string{"b", "a"}},
		{name: "beyond counting, in rounds", critical: aPod("p", "memory", "1"),
			others: []*corev1.Pod{aPod("a", "memory", "9223372036854775807"), aPod("b", "memory", "9223372036854775807")}, want: []string{"a", "b"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			node := aNode()
			if c.pods != "" {
				node.Object.Status.Allocatable["pods"] = res("pods", c.pods)["pods"]
			}
			d := r.Admit(c.critical, true, tenants(r, c.others), node)
			if c.message != "" {
				wantReject(t, d, "UnexpectedAdmissionError",
					"Unexpected error while attempting to recover from admission failure: preemption: error finding a set of pods to preempt: "+c.message)
				return
			}
			wantReject(t, d, "", "")
			if diff := cmp.Diff(c.want, names(d.Preempt)); diff != "" {
				t.Fatal(diff)
			}
			for _, victim := range d.Preempt {
				if !slices.Contains(c.others, victim) {
					t.Errorf("%s is a copy", victim.Name)
				}
			}
		})
	}
}

func TestWhoIsCritical(t *testing.T) {
	mirror := aPod("p")
	mirror.Annotations = map[string]string{"kubernetes.io/config.mirror": "hash"}
	for _, c := range []struct {
		name   string
		pod    *corev1.Pod
		static bool
		want   bool
	}{
		{"no priority", aPod("p"), false, false},
		{"static", aPod("p"), true, true},
		{"mirror", mirror, false, true},
		{"high", important(aPod("p"), criticalPriority-1), false, false},
		{"of the system", important(aPod("p"), criticalPriority), false, true},
	} {
		if got := Critical(c.pod, c.static); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
	// Others are not preempted for a pod that is not critical, nor for one that a
	// later rule refuses.
	r := rules(t, func(c *Config) { c.AppArmor = false })
	others := []*corev1.Pod{aPod("o", "cpu", "4")}
	wantReject(t, r.Admit(aPod("p", "cpu", "1"), false, tenants(r, others), aNode()), "OutOfcpu",
		"Node didn't have enough resource: cpu, requested: 1000, used: 4000, capacity: 4000")
	p := with(aPod("p", "cpu", "1"), func(p *corev1.Pod) {
		p.Spec.SecurityContext = &corev1.PodSecurityContext{AppArmorProfile: &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeRuntimeDefault}}
	})
	wantReject(t, r.Admit(p, true, tenants(r, others), aNode()), "AppArmor", "Cannot enforce AppArmor: AppArmor is not enabled on the host")
}
