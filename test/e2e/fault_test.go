//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"nodeagent.dev/nodeagent/test/bed"
)

// TestRollout: a Deployment of 20 pods with two containers becomes available
// through the real scheduler and controllers; kill -9 of the agent during a
// rollout disturbs no running container, and the rollout completes.
func TestRollout(t *testing.T) {
	b := cluster(t)
	client := b.Client()
	const replicas = 20
	deploy := newDeployment("roll", replicas)
	_, err := client.AppsV1().Deployments(namespace).Create(t.Context(), deploy, metav1.CreateOptions{})
	must(t, "creating the deployment", err)
	t.Cleanup(func() { deleteDeployment(t, client, "roll") })
	began := time.Now()
	awaitRollout(t, client, "roll", 90*time.Second)
	t.Logf("%d pods available after %s", replicas, time.Since(began).Round(10*time.Millisecond))
	for _, p := range podsOf(t, client, "roll") {
		if p.Status.PodIP == "" {
			t.Errorf("pod %s has no address", p.Name)
		}
	}

	patch := fmt.Sprintf(`{"spec":{"template":{"metadata":{"annotations":{"at":%q}}}}}`, time.Now())
	_, err = client.AppsV1().Deployments(namespace).Patch(t.Context(), "roll", types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{})
	must(t, "starting the rollout", err)
	for i := range 3 {
		before := running(t, client, "roll")
		must(t, "killing the agent", b.Component("agent").Kill(t.Context()))
		must(t, "starting the agent", b.Component("agent").Start(t.Context()))
		must(t, "waiting for the node", b.WaitNodeReady(t.Context()))
		undisturbed(t, client, "roll", before)
		t.Logf("kill %d: %d running containers were there", i+1, len(before))
	}
	awaitRollout(t, client, "roll", 120*time.Second)
	for _, p := range podsOf(t, client, "roll") {
		for _, c := range p.Status.ContainerStatuses {
			if c.RestartCount != 0 {
				t.Errorf("container %s of %s was restarted %d times", c.Name, p.Name, c.RestartCount)
			}
		}
	}
}

func newDeployment(name string, replicas int32) *appsv1.Deployment {
	p := newPod(name, obeys, obeys)
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas,
			Selector: &metav1.LabelSelector{MatchLabels: p.Labels},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: p.Labels}, Spec: p.Spec},
		},
	}
}

func deleteDeployment(t *testing.T, client kubernetes.Interface, name string) {
	policy := metav1.DeletePropagationForeground
	if err := client.AppsV1().Deployments(namespace).Delete(context.Background(), name, metav1.DeleteOptions{PropagationPolicy: &policy}); err != nil {
		t.Logf("deleting the deployment: %v", err)
	}
}

// awaitRollout watches the deployment until all its pods are new and available.
func awaitRollout(t *testing.T, client kubernetes.Interface, name string, limit time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	w, err := client.AppsV1().Deployments(namespace).Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + name})
	must(t, "watching the deployment", err)
	defer w.Stop()
	var last *appsv1.Deployment
	for ev := range w.ResultChan() {
		d, ok := ev.Object.(*appsv1.Deployment)
		if !ok {
			continue
		}
		last = d
		s, want := d.Status, *d.Spec.Replicas
		if s.ObservedGeneration >= d.Generation && s.UpdatedReplicas == want && s.AvailableReplicas == want && s.Replicas == want {
			return
		}
	}
	t.Fatalf("deployment %s is not rolled out after %s: %+v", name, limit, last.Status)
}

func podsOf(t *testing.T, client kubernetes.Interface, app string) []corev1.Pod {
	t.Helper()
	list, err := client.CoreV1().Pods(namespace).List(t.Context(), metav1.ListOptions{LabelSelector: "app=" + app})
	must(t, "listing pods", err)
	return list.Items
}

// running maps the containers that run, of pods nobody deletes, to their start.
func running(t *testing.T, client kubernetes.Interface, app string) map[string]string {
	t.Helper()
	m := map[string]string{}
	for _, p := range podsOf(t, client, app) {
		for _, c := range p.Status.ContainerStatuses {
			if c.State.Running != nil && p.DeletionTimestamp == nil {
				m[p.Name+"/"+c.Name] = c.ContainerID + " since " + c.State.Running.StartedAt.UTC().Format(time.RFC3339)
			}
		}
	}
	return m
}

// undisturbed checks that what ran before still runs, unless somebody deleted
// its pod.
func undisturbed(t *testing.T, client kubernetes.Interface, app string, before map[string]string) {
	t.Helper()
	after := running(t, client, app)
	kept := map[string]bool{}
	for _, p := range podsOf(t, client, app) {
		kept[p.Name] = p.DeletionTimestamp == nil
	}
	for name, id := range before {
		pod, _, _ := strings.Cut(name, "/")
		if kept[pod] && after[name] != id {
			t.Errorf("container %s was %s, is %q", name, id, after[name])
		}
	}
}

// TestAPIServerOutage: containers exit and restart while the API server is
// away; when it is back the API shows the truth within three seconds, and no
// container was started more often than its own exits explain.
func TestAPIServerOutage(t *testing.T) {
	b := cluster(t)
	// a exits once, some seconds from now, and then stays.
	create(t, b, newPod("outage", "test -e /tmp/x || true; sleep 6; exit 1", obeys))
	job := newPod("outage-job", "sleep 5")
	job.Spec.RestartPolicy = corev1.RestartPolicyNever
	create(t, b, job)
	await(t, b.Client(), "outage", "ready", 30*time.Second, ready)
	await(t, b.Client(), "outage-job", "ready", 30*time.Second, ready)
	api := b.Component("kube-apiserver")
	must(t, "stopping the API server", api.Kill(t.Context()))
	pause(t, *apiOutage)
	must(t, "starting the API server", api.Start(t.Context()))
	back := time.Now()
	got := await(t, b.Client(), "outage-job", "Succeeded", 30*time.Second, func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodSucceeded })
	p := await(t, b.Client(), "outage", "restarted", 30*time.Second, func(p *corev1.Pod) bool { return restarts(p) > 0 })
	if took := time.Since(back); took > 3*time.Second {
		t.Errorf("the truth was in the API %s after it was back, want within 3 s", took)
	} else {
		t.Logf("the truth was in the API %s after it was back", took.Round(time.Millisecond))
	}
	if restarts(got) != 0 {
		t.Errorf("the job was restarted %d times", restarts(got))
	}
	inRuntime := attempts(t, b, "outage", "a")
	if restarts(p) != int32(inRuntime) && restarts(p)+1 != int32(inRuntime) {
		t.Errorf("the API says %d restarts, the runtime %d", restarts(p), inRuntime)
	}
	if other := p.Status.ContainerStatuses[1]; other.RestartCount != 0 {
		t.Errorf("container b was restarted %d times", other.RestartCount)
	}
	// The scheduler, the controllers and the agent look again after a pause that has
	// grown to half a minute; the tests that come next must not wait for them.
	create(t, b, newPod("after-outage", obeys))
	await(t, b.Client(), "after-outage", "ready", 90*time.Second, ready)
}

// attempts is the newest attempt number the runtime has of a container.
func attempts(t *testing.T, b *bed.Bed, pod, container string) int {
	t.Helper()
	out, err := b.Crictl(t.Context(), "ps", "-a", "--label", "io.kubernetes.pod.name="+pod, "--name", "^"+container+"$", "-o", "json")
	must(t, "crictl ps", err)
	var list struct {
		Containers []struct {
			Metadata struct{ Attempt int }
		}
	}
	must(t, "reading crictl's answer", json.Unmarshal([]byte(out), &list))
	newest := 0
	for _, c := range list.Containers {
		newest = max(newest, c.Metadata.Attempt)
	}
	return newest
}

// TestRuntimeOutage: containerd is killed and stays away; the node says so, the
// pods are untouched, and it comes back by itself.
func TestRuntimeOutage(t *testing.T) {
	b := cluster(t)
	nodeagentOnly(t, b) // the kubelet takes 30 s to notice
	create(t, b, newPod("untouched", obeys, obeys))
	await(t, b.Client(), "untouched", "ready", 30*time.Second, ready)
	before := running(t, b.Client(), "untouched")
	cri := b.Component("containerd")
	must(t, "killing containerd", cri.Kill(t.Context()))
	down := time.Now()
	c := awaitNode(t, b, "not ready", *runtimeOutage, func(c corev1.NodeCondition) bool { return c.Status != corev1.ConditionTrue })
	t.Logf("NotReady after %s: %s: %s", time.Since(down).Round(time.Millisecond), c.Reason, c.Message)
	if c.Reason != "KubeletNotReady" || !strings.Contains(c.Message, "container runtime is down") {
		t.Errorf("the reason is not clear: %s: %s", c.Reason, c.Message)
	}
	pause(t, time.Until(down.Add(*runtimeOutage)))
	must(t, "starting containerd", cri.Start(t.Context()))
	up := time.Now()
	awaitNode(t, b, "ready", 20*time.Second, func(c corev1.NodeCondition) bool { return c.Status == corev1.ConditionTrue })
	t.Logf("Ready %s after containerd", time.Since(up).Round(time.Millisecond))
	must(t, "waiting for the taint to go", b.WaitNodeReady(t.Context()))
	if after := running(t, b.Client(), "untouched"); !maps.Equal(before, after) {
		t.Errorf("before: %v, after: %v", before, after)
	}
	create(t, b, newPod("after", obeys))
	await(t, b.Client(), "after", "ready", 20*time.Second, ready)
}

func awaitNode(t *testing.T, b *bed.Bed, what string, limit time.Duration, done func(corev1.NodeCondition) bool) corev1.NodeCondition {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	w, err := b.Client().CoreV1().Nodes().Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + b.NodeName})
	must(t, "watching the node", err)
	defer w.Stop()
	for ev := range w.ResultChan() {
		n, ok := ev.Object.(*corev1.Node)
		if !ok {
			continue
		}
		for _, c := range n.Status.Conditions {
			if c.Type == corev1.NodeReady && done(c) {
				return c
			}
		}
	}
	t.Fatalf("the node is not %s after %s", what, limit)
	return corev1.NodeCondition{}
}

// pause lets an outage last; there is no event to wait for.
func pause(t *testing.T, d time.Duration) {
	t.Helper()
	select {
	case <-t.Context().Done():
	case <-time.After(d):
	}
}
