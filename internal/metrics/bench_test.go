package metrics

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"nodeagent.dev/nodeagent/internal/lifecycle/plan"
	"nodeagent.dev/nodeagent/internal/pod"
)

// BenchmarkHooks: what counting costs those who do the work.
func BenchmarkHooks(b *testing.B) {
	p := newPod("p")
	m := newMetrics()
	m.Starts.Launched(p)
	status := &corev1.PodStatus{Phase: corev1.PodRunning, ContainerStatuses: []corev1.ContainerStatus{ended("c", "1", 3, "Error")}}
	start := plan.StartContainer{Container: &p.Spec.Containers[0]}
	for name, f := range map[string]func(){
		"call":  func() { m.Runtime.Call("exec_sync", time.Millisecond, nil) },
		"probe": func() { m.Probes.Observe(p, "c", pod.ProbeLiveness, "successful", time.Millisecond) },
		"start": func() { m.Pods.Operation(p, start, time.Millisecond, nil) },
		"report": func() {
			m.Pods.Reported(status, status)
			m.Starts.Reported(pod.Spec{Pod: p}, status, status, time.Time{})
			m.Resizes.Reported(p, status, status)
		},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				f()
			}
		})
	}
}

// BenchmarkScrape: 500 pods.
func BenchmarkScrape(b *testing.B) {
	var views []*pod.View
	for i := range 500 {
		p := newPod(fmt.Sprint("p", i))
		views = append(views, &pod.View{Ref: pod.RefOf(p), Pod: p, Stage: "Syncing"})
	}
	m := newMetrics(views...)
	for _, v := range views {
		m.Probes.Observe(v.Pod, "c", pod.ProbeLiveness, "successful", time.Millisecond)
	}
	for path, h := range map[string]http.Handler{"metrics": m.Handler(), "probes": m.ProbesHandler()} {
		b.Run(path, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(b.Context(), http.MethodGet, "/", nil))
			}
		})
	}
}
