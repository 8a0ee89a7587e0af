//go:build e2e

package monitoring

import (
	"context"
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"nodeagent.dev/nodeagent/test/bed"
	"nodeagent.dev/nodeagent/test/bed/bedtest"
)

// scrapes is how often Prometheus has to have asked at every endpoint.
const scrapes = 8

// TestPrometheus lets Prometheus ask at all endpoints while containers crash and
// pods are replaced by others of the same name. It must accept every sample, and
// what dashboards ask it must have answers that are true.
func TestPrometheus(t *testing.T) {
	t.Parallel()
	b := shared.Bed(t)
	start(t, b, watched(t, b))
	p := startPrometheus(t, b)
	until(t, "all targets are up", p.targets)

	crashing := bedtest.NewPod("restless", 0, "sleep 1; exit 1", bedtest.Obeys)
	bedtest.Create(t, b, crashing)
	for range 3 {
		replaced(t, b)
	}
	// A rate is that of what has changed between two times Prometheus has asked.
	start(t, b, bedtest.NewPod("early", 0, bedtest.Obeys))
	then := float64(time.Now().Unix() + 1)
	until(t, "Prometheus has asked at every endpoint", func(ctx context.Context) error {
		return p.all(ctx, `timestamp(up{job="kubelet"})`, then, math.Inf(1))
	})
	start(t, b, bedtest.NewPod("late", 0, bedtest.Obeys))
	bedtest.Await(t, b.Client(), crashing.Name, "restarted", patience, func(p *corev1.Pod) bool {
		return len(p.Status.ContainerStatuses) > 0 && p.Status.ContainerStatuses[0].RestartCount >= 2
	})
	open := questions(t)
	until(t, "what dashboards ask has answers", func(ctx context.Context) error {
		var wrong []error
		open = slices.DeleteFunc(open, func(q question) bool {
			err := p.all(ctx, q.expression, q.least, q.most)
			wrong = append(wrong, err)
			return err == nil
		})
		return errors.Join(wrong...)
	})
	until(t, "Prometheus has asked often enough", func(ctx context.Context) error {
		return p.all(ctx, `count_over_time(up{job="kubelet"}[30m])`, scrapes, math.Inf(1))
	})
	p.accepted(t)
}

// accepted fails the test when Prometheus has refused anything.
func (p *prometheus) accepted(t *testing.T) {
	t.Helper()
	now := float64(time.Now().Unix())
	until(t, "Prometheus has looked at itself", func(ctx context.Context) error {
		return p.all(ctx, "timestamp(prometheus_build_info)", now, math.Inf(1))
	})
	for _, q := range []question{
		{`{__name__=~"prometheus_target_scrapes_.*_total"}`, 0, 0},
		{`{__name__=~"prometheus_target_scrape_pool_exceeded_.*_total"}`, 0, 0},
		{`{__name__=~"prometheus_tsdb_(out_of_order|out_of_bound|too_old)_samples_total"}`, 0, 0},
		{`scrape_samples_scraped{job="kubelet"}`, 1, math.Inf(1)},
		{`scrape_samples_scraped - scrape_samples_post_metric_relabeling`, 0, 0},
	} {
		if err := p.all(t.Context(), q.expression, q.least, q.most); err != nil {
			t.Error(err)
		}
	}
	until(t, "all targets are up", p.targets)
	for _, line := range regexp.MustCompile(`.*(Append failed|Error on ingesting|invalid metric|out of order).*`).FindAllString(p.component.Log(), 10) {
		t.Errorf("Prometheus' log: %s", line)
	}
	// On a busy machine some answers come too late.
	for _, line := range regexp.MustCompile(`.*Scrape failed.*`).FindAllString(p.component.Log(), -1) {
		if !strings.Contains(line, "context deadline exceeded") {
			t.Errorf("Prometheus' log: %s", line)
		}
	}
}

// watched is the pod that the questions are about: a burner, a hog, and a server
// with probes and a volume of a claim.
func watched(t *testing.T, b *bed.Bed) *corev1.Pod {
	t.Helper()
	pod := bedtest.NewPod("watched", 0, burns, fmt.Sprintf(hogs, hogged), "exec httpd -f -p 8080 -h /tmp")
	pod.Spec.Containers[0].Resources = limited(fmt.Sprintf("%dm", millis), "32Mi")
	pod.Spec.Containers[1].Resources = limited("50m", "192Mi")
	folder(t, b, "x-watched", &pod.Spec)
	server := &pod.Spec.Containers[2]
	probe := func(h corev1.ProbeHandler) *corev1.Probe {
		return &corev1.Probe{ProbeHandler: h, PeriodSeconds: 2, TimeoutSeconds: 30}
	}
	server.LivenessProbe = probe(corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"true"}}})
	server.ReadinessProbe = probe(corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt32(8080)}})
	pod.Spec.Volumes = append(pod.Spec.Volumes, claimed(t, b, "watched"))
	server.VolumeMounts = append(server.VolumeMounts, corev1.VolumeMount{Name: "data", MountPath: "/data"})
	return pod
}

// replaced makes a pod, ends it, and waits until its name is free again.
func replaced(t *testing.T, b *bed.Bed) {
	t.Helper()
	board := bedtest.WatchPods(t, b, patience)
	pod := start(t, b, bedtest.NewPod("replaced", 0, bedtest.Obeys))
	must(t, "deleting a pod", b.Client().CoreV1().Pods(namespace).Delete(t.Context(), pod.Name, *metav1.NewDeleteOptions(0)))
	_, err := board.Await(t.Context(), pod.Name, "gone", bedtest.Gone)
	must(t, "waiting for a pod's end", err)
}

// A question is an expression and what the values may be: from all ways to ask,
// of all that it selects.
type question struct {
	expression  string
	least, most float64
}
