//go:build e2e

package e2e

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestCrashLoop: the restart count, the reason and the delays of a container
// that exits with 1: at once, then 10 s, then 20 s after the exit.
func TestCrashLoop(t *testing.T) {
	t.Parallel()
	b := cluster(t)
	create(t, b, newPod("crash", "exit 1"))
	var exited time.Time
	for n, delay := range []time.Duration{1: 10 * time.Second, 2: 20 * time.Second, 3: 40 * time.Second} {
		if n == 0 {
			continue
		}
		p := await(t, b.Client(), "crash", "in CrashLoopBackOff", 40*time.Second, func(p *corev1.Pod) bool {
			return restarts(p) == int32(n) && p.Status.ContainerStatuses[0].State.Waiting != nil &&
				p.Status.ContainerStatuses[0].State.Waiting.Reason == "CrashLoopBackOff"
		})
		c := p.Status.ContainerStatuses[0]
		if want := "back-off " + delay.String() + " restarting failed container=a pod=crash_default("; !strings.HasPrefix(c.State.Waiting.Message, want) {
			t.Errorf("restart %d: message %q, want %q...", n, c.State.Waiting.Message, want)
		}
		last := c.LastTerminationState.Terminated
		if last == nil || last.ExitCode != 1 || last.Reason != "Error" {
			t.Fatalf("restart %d: last state %+v, want Error with exit code 1", n, c.LastTerminationState)
		}
		if !exited.IsZero() {
			// The API has whole seconds, so a second either way means nothing.
			if late := last.StartedAt.Sub(exited) - delay/2; late < -time.Second || late > 2*time.Second {
				t.Errorf("restart %d began %s after the exit, want %s", n, last.StartedAt.Sub(exited), delay/2)
			}
		}
		exited = last.FinishedAt.Time
	}
}

// TestDeletion: one that ignores SIGTERM takes its grace period, one that obeys
// is gone within a second of its process. It measures time and runs by itself.
func TestDeletion(t *testing.T) {
	b := cluster(t)
	const grace = 5 * time.Second
	for name, c := range map[string]struct {
		command  string
		min, max time.Duration
	}{
		"term-ignored": {ignores, grace, grace + 1500*time.Millisecond},
		"term-obeyed":  {obeys, 0, time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPod(name, c.command)
			seconds := int64(grace.Seconds())
			p.Spec.TerminationGracePeriodSeconds = &seconds
			create(t, b, p)
			p = await(t, b.Client(), name, "ready", 30*time.Second, ready)
			began := time.Now()
			must(t, "deleting", b.Client().CoreV1().Pods(namespace).Delete(t.Context(), name, metav1.DeleteOptions{}))
			took := gone(t, b.Client(), p, 20*time.Second).Sub(began)
			t.Logf("gone after %s", took.Round(time.Millisecond))
			if took < c.min || took > c.max {
				t.Errorf("gone after %s, want between %s and %s", took, c.min, c.max)
			}
		})
	}
}

// TestGraceShrinks: a second deletion with a shorter grace cuts the first short.
func TestGraceShrinks(t *testing.T) {
	b := cluster(t)
	nodeagentOnly(t, b) // docs/adr/0010
	p := newPod("shrink", ignores)
	long, short := int64(120), int64(2)
	p.Spec.TerminationGracePeriodSeconds = &long
	create(t, b, p)
	p = await(t, b.Client(), "shrink", "ready", 30*time.Second, ready)
	pods := b.Client().CoreV1().Pods(namespace)
	must(t, "deleting", pods.Delete(t.Context(), "shrink", metav1.DeleteOptions{}))
	await(t, b.Client(), "shrink", "terminating", 5*time.Second, func(p *corev1.Pod) bool { return p.DeletionTimestamp != nil })
	began := time.Now()
	must(t, "deleting again", pods.Delete(t.Context(), "shrink", metav1.DeleteOptions{GracePeriodSeconds: &short}))
	if took := gone(t, b.Client(), p, 30*time.Second).Sub(began); took > 4*time.Second {
		t.Errorf("gone %s after the second deletion, want about 2 s", took)
	}
}

// TestPolicies: what the exit codes and restartPolicy make of a pod.
func TestPolicies(t *testing.T) {
	t.Parallel()
	b := cluster(t)
	for name, c := range map[string]struct {
		policy   corev1.RestartPolicy
		commands []string
		phase    corev1.PodPhase
		restarts int32
	}{
		"never-0":     {corev1.RestartPolicyNever, []string{"exit 0", "exit 0"}, corev1.PodSucceeded, 0},
		"never-1":     {corev1.RestartPolicyNever, []string{"exit 0", "exit 3"}, corev1.PodFailed, 0},
		"onfailure-0": {corev1.RestartPolicyOnFailure, []string{"exit 0"}, corev1.PodSucceeded, 0},
		// Fails once: the file outlives the container, not the pod.
		"onfailure-1": {corev1.RestartPolicyOnFailure, []string{"test -e /d/x || { touch /d/x; exit 1; }"}, corev1.PodSucceeded, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPod(name, c.commands...)
			p.Spec.RestartPolicy = c.policy
			p.Spec.Volumes = []corev1.Volume{{Name: "d", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}}
			p.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "d", MountPath: "/d"}}
			create(t, b, p)
			got := await(t, b.Client(), name, string(c.phase), 30*time.Second, func(p *corev1.Pod) bool { return p.Status.Phase == c.phase })
			if restarts(got) != c.restarts {
				t.Errorf("%d restarts, want %d", restarts(got), c.restarts)
			}
			for _, st := range got.Status.ContainerStatuses {
				if st.State.Terminated == nil {
					t.Errorf("container %s: %+v, want terminated", st.Name, st.State)
				}
			}
		})
	}
}

// TestImageMissing: an image that does not exist is a clear reason in the
// status and an event, and harms nobody else.
func TestImageMissing(t *testing.T) {
	t.Parallel()
	b := cluster(t)
	p := newPod("no-image", obeys)
	p.Spec.Containers[0].Image = "registry.bed.local/does/not:exist"
	create(t, b, p)
	got := await(t, b.Client(), "no-image", "waiting for its image", 30*time.Second, func(p *corev1.Pod) bool {
		return len(p.Status.ContainerStatuses) == 1 && p.Status.ContainerStatuses[0].State.Waiting != nil &&
			strings.Contains(p.Status.ContainerStatuses[0].State.Waiting.Reason, "Image")
	})
	w := got.Status.ContainerStatuses[0].State.Waiting
	if (w.Reason != "ErrImagePull" && w.Reason != "ImagePullBackOff") || !strings.Contains(w.Message, "does/not") {
		t.Errorf("waiting: %s: %s; want ErrImagePull or ImagePullBackOff and the image's name", w.Reason, w.Message)
	}
	create(t, b, newPod("beside", obeys))
	await(t, b.Client(), "beside", "ready", 20*time.Second, ready)
	events, err := b.Client().CoreV1().Events(namespace).List(t.Context(), metav1.ListOptions{FieldSelector: "involvedObject.name=no-image"})
	must(t, "listing events", err)
	reasons := map[string]bool{}
	for _, e := range events.Items {
		reasons[e.Reason] = true
	}
	if !reasons["Pulling"] || !reasons["Failed"] {
		t.Errorf("event reasons %v, want Pulling and Failed among them", reasons)
	}
}
