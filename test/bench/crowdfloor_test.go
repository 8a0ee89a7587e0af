//go:build e2e

package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"nodeagent.dev/nodeagent/test/bed/bedtest"
)

// least does for a pod the least that any agent has to do: the runtime's calls, and
// of the API server a token, a status when it runs, one when it has ended, and the
// end of its object. It takes no time to decide and probes nothing.
type least struct {
	*bare
	client kubernetes.Interface
	board  *board
}

// life measures a pod that comes and goes; the runtime's part is in the pod.
func (l *least) life(t *testing.T, s *site, name string) (of barePod, up, down time.Duration) {
	t.Helper()
	step := func(seen <-chan time.Time, ask func() error, do func(context.Context) error) time.Duration {
		group, ctx := errgroup.WithContext(t.Context())
		group.Go(func() error { return do(ctx) })
		began := time.Now()
		must(t, "a pod without an agent", ask())
		at, err := receive(t.Context(), seen)
		must(t, "a pod without an agent", errors.Join(err, group.Wait()))
		settle(t, s)
		return at.Sub(began)
	}
	up = step(l.board.expect(name, bedtest.Ready),
		func() error { return create(t.Context(), s.Bed, plainPod(name)) },
		func(ctx context.Context) (err error) {
			of, err = l.up(ctx, name)
			return err
		})
	down = step(l.board.expectGone(name),
		func() error {
			return s.Client().CoreV1().Pods(namespace).Delete(t.Context(), name, metav1.DeleteOptions{})
		},
		func(ctx context.Context) error { return l.down(ctx, name, &of) })
	must(t, "removing a pod without an agent", l.remove(t.Context(), of))
	return of, up, down
}

// crowd measures many pods at once: on two processors what the runtime and the API
// server take is most of what they wait for.
func (l *least) crowd(t *testing.T, s *site) {
	t.Helper()
	forget(t)
	var pods []*corev1.Pod
	for i := range crowdSize() {
		pods = append(pods, plainPod(fmt.Sprintf("crowd-%d", i)))
	}
	bare := make([]barePod, len(pods))
	s.each(t, figAllReady, lineReady, pods,
		func(name string) <-chan time.Time { return s.board.expect(name, bedtest.Ready) },
		func() { must(t, "many pods at once", create(t.Context(), s.Bed, pods...)) },
		func(ctx context.Context, i int) (err error) {
			bare[i], err = l.up(ctx, pods[i].Name)
			return err
		})
	pause(t.Context(), idleAfter)
	s.idleAlone(t)
	s.each(t, figAllGone, lineGone, pods, s.board.expectGone,
		func() { s.deleteAll(t) },
		func(ctx context.Context, i int) error { return l.down(ctx, pods[i].Name, &bare[i]) })
	for _, p := range bare {
		must(t, "removing a pod without an agent", l.remove(t.Context(), p))
	}
}

// register makes a node, anew, on which the scheduler puts pods.
func (l *least) register(t *testing.T, s *site) {
	t.Helper()
	if err := l.client.CoreV1().Nodes().Delete(t.Context(), s.NodeName, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
		must(t, "removing a node", err)
	}
	room := corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse("4"), corev1.ResourceMemory: resource.MustParse("8Gi"), corev1.ResourcePods: resource.MustParse("250"),
	}
	ready := corev1.NodeCondition{Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "NoAgent", LastHeartbeatTime: metav1.Now()}
	_, err := l.client.CoreV1().Nodes().Create(t.Context(), &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: s.NodeName},
		Status:     corev1.NodeStatus{Capacity: room, Allocatable: room, Conditions: []corev1.NodeCondition{ready}},
	}, metav1.CreateOptions{})
	must(t, "making a node", err)
	must(t, "waiting for the node", s.WaitNodeReady(t.Context()))
}

// each does something for all pods at once, and measures until each is seen to be as
// expected.
func (s *site) each(t *testing.T, figure, line string, pods []*corev1.Pod, expect func(name string) <-chan time.Time,
	ask func(), do func(ctx context.Context, i int) error,
) {
	t.Helper()
	var seen []<-chan time.Time
	group, ctx := errgroup.WithContext(t.Context())
	began := time.Now()
	for i, p := range pods {
		seen = append(seen, expect(p.Name))
		group.Go(func() error { return do(ctx, i) })
	}
	ask()
	must(t, figure, group.Wait())
	s.arrivals(figure, line, began, arrived(t, figure, seen))
}

// up brings a pod up as soon as it is bound to the node.
func (l *least) up(ctx context.Context, name string) (barePod, error) {
	bound := func(p *corev1.Pod) bool { return p.Spec.NodeName != "" }
	if _, err := receive(ctx, l.board.expect(name, bound)); err != nil {
		return barePod{}, fmt.Errorf("wait until pod %s is bound to a node: %w", name, err)
	}
	p := l.board.pod(name)
	_, err := l.client.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, p.Spec.ServiceAccountName, &authenticationv1.TokenRequest{
		Spec: authenticationv1.TokenRequestSpec{BoundObjectRef: &authenticationv1.BoundObjectReference{Kind: "Pod", APIVersion: "v1", Name: name, UID: p.UID}},
	}, metav1.CreateOptions{})
	if err != nil {
		return barePod{}, fmt.Errorf("ask for the token of pod %s: %w", name, err)
	}
	began := time.Now()
	bare, err := l.start(ctx, name)
	if err != nil {
		return bare, err
	}
	bare.up = time.Since(began)
	return bare, l.tell(ctx, p, bare, corev1.PodRunning, corev1.ConditionTrue)
}

// down ends a pod as soon as its object is marked for deletion.
func (l *least) down(ctx context.Context, name string, bare *barePod) error {
	marked := func(p *corev1.Pod) bool { return p.DeletionTimestamp != nil }
	if _, err := receive(ctx, l.board.expect(name, marked)); err != nil {
		return fmt.Errorf("wait until pod %s is deleted: %w", name, err)
	}
	began := time.Now()
	if err := l.end(ctx, *bare); err != nil {
		return err
	}
	bare.down = time.Since(began)
	if err := l.tell(ctx, l.board.pod(name), *bare, corev1.PodSucceeded, corev1.ConditionFalse); err != nil {
		return err
	}
	now := int64(0)
	if err := l.client.CoreV1().Pods(namespace).Delete(ctx, name, metav1.DeleteOptions{GracePeriodSeconds: &now}); err != nil {
		return fmt.Errorf("end the object of pod %s: %w", name, err)
	}
	return nil
}

// tell sends a status with what every agent says.
func (l *least) tell(ctx context.Context, p *corev1.Pod, bare barePod, phase corev1.PodPhase, is corev1.ConditionStatus) error {
	return sendStatus(ctx, l.client, p, fullStatus(p, "containerd://"+bare.container, phase, is))
}

// sendStatus says st of a pod, and of no other of its name.
func sendStatus(ctx context.Context, client kubernetes.Interface, p *corev1.Pod, st *corev1.PodStatus) error {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": p.UID}, "status": st})
	if err != nil {
		return fmt.Errorf("write the status of pod %s: %w", p.Name, err)
	}
	if _, err := client.CoreV1().Pods(namespace).Patch(ctx, p.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status"); err != nil {
		return fmt.Errorf("send the status of pod %s: %w", p.Name, err)
	}
	return nil
}

// fullStatus is the status of a pod of one container that runs, or has ended.
func fullStatus(p *corev1.Pod, container string, phase corev1.PodPhase, is corev1.ConditionStatus) *corev1.PodStatus {
	now, ready := metav1.Now(), is == corev1.ConditionTrue
	st := &corev1.PodStatus{Phase: phase, StartTime: &now, QOSClass: p.Status.QOSClass, HostIP: "127.0.0.1", HostIPs: []corev1.HostIP{{IP: "127.0.0.1"}}}
	for _, c := range []corev1.PodConditionType{corev1.PodReadyToStartContainers, corev1.PodInitialized, corev1.PodReady, corev1.ContainersReady, corev1.PodScheduled} {
		st.Conditions = append(st.Conditions, corev1.PodCondition{Type: c, Status: is, LastTransitionTime: now})
	}
	c := corev1.ContainerStatus{Name: p.Spec.Containers[0].Name, Image: bedtest.Image, ImageID: bedtest.Image, ContainerID: container, Ready: ready, Started: &ready}
	if c.State.Running = &(corev1.ContainerStateRunning{StartedAt: now}); !ready {
		c.State = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{StartedAt: now, FinishedAt: now, Reason: "Completed", ContainerID: c.ContainerID}}
	}
	st.ContainerStatuses = []corev1.ContainerStatus{c}
	return st
}

// deleteAll marks all pods for deletion with one request.
func (s *site) deleteAll(t *testing.T) {
	t.Helper()
	must(t, "deleting all pods", s.Client().CoreV1().Pods(namespace).DeleteCollection(t.Context(), metav1.DeleteOptions{}, metav1.ListOptions{}))
}
