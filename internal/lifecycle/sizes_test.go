package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"

	"nodeagent.dev/nodeagent/internal/pod"
)

// Admit implements Allocations: the node takes as many pods as its limit says, and
// none that is called "unwelcome".
func (w *world) Admit(spec pod.Spec, others []*corev1.Pod) pod.Admission {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case spec.Pod.Name == "unwelcome" || w.limit > 0 && len(others) >= w.limit:
		return pod.Admission{Reason: "OutOfpods", Message: "Pod was rejected: no room", Event: "no room"}
	case spec.Pod.Name == "critical" && len(others) > 0:
		return pod.Admission{Preempt: others, Later: true}
	}
	w.allocated[spec.Pod.UID] = spec.Pod
	return pod.Admission{Pod: spec.Pod}
}

// Resize implements Allocations: a container may have up to a CPU as long as no
// other pod is there.
func (w *world) Resize(spec pod.Spec, old pod.Resize, others func() []*corev1.Pod) pod.Admission {
	w.mu.Lock()
	defer w.mu.Unlock()
	had := w.allocated[spec.Pod.UID]
	if had == nil || cpu(had) == cpu(spec.Pod) {
		return pod.Admission{Pod: spec.Pod, Resize: pod.Resize{Generation: old.Generation}}
	}
	if len(others()) > 0 {
		kept := spec.Pod.DeepCopy()
		kept.Spec.Containers[0].Resources = had.Spec.Containers[0].Resources
		return pod.Admission{Pod: kept, Resize: pod.Resize{Pending: &pod.PendingResize{Reason: corev1.PodReasonDeferred, Message: "no room", Generation: spec.Pod.Generation}}}
	}
	w.allocated[spec.Pod.UID] = spec.Pod
	return pod.Admission{Pod: spec.Pod, Resize: pod.Resize{Generation: spec.Pod.Generation}}
}

func cpu(p *corev1.Pod) int64 { return p.Spec.Containers[0].Resources.Requests.Cpu().MilliValue() }

// Actuated implements Allocations.
func (w *world) Actuated(uid types.UID) pod.Actuation {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.actuated[uid]
}

// SetActuated implements Allocations.
func (w *world) SetActuated(uid types.UID, a pod.Actuation, _ bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.actuated[uid] = a
}

// Retain implements Allocations.
func (w *world) Retain(keep func(types.UID) bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for uid := range w.allocated {
		if !keep(uid) {
			delete(w.allocated, uid)
		}
	}
}

// resizer implements Resizer.
type resizer struct{ *world }

func (r resizer) Resize(ctx context.Context, req pod.ResizeRequest) (pod.Actuation, error) {
	now := req.Actuated
	for _, c := range req.Containers {
		if skip, err := r.enter(ctx, "Resize", fmt.Sprintf("%s %d", c.Container.Name, c.To.CPURequest)); skip {
			return now, err
		}
		now = now.With(c.Container.Name, c.Container.Resources)
	}
	return now, nil
}

// sized is a pod with one container that asks for CPU, in thousandths.
func sized(name string, milliCPU, generation int64) *corev1.Pod {
	p := newPod(name, "c")
	p.Generation = generation
	p.Spec.Containers[0].Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: *resource.NewMilliQuantity(milliCPU, resource.DecimalSI)}
	return p
}

// wantEvents compares the events about resizes.
func (w *world) wantEvents(t *testing.T, want ...string) {
	t.Helper()
	var got []string
	for _, c := range w.called("Event") {
		if strings.HasPrefix(c.what, "Resize") {
			got = append(got, c.what)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("events %q, want %q", got, want)
	}
}

func TestResizeOfARunningPod(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.want(sized("p", 100, 1))
		synctest.Wait()
		w.setRule(func(_ context.Context, verb, _ string) error {
			if verb == "Resize" {
				return errors.New("no")
			}
			return nil
		})
		w.want(sized("p", 200, 2))
		synctest.Wait()
		st := w.status("p")
		c := pod.Condition(st.Conditions, corev1.PodResizeInProgress)
		if c == nil || c.Reason != corev1.PodReasonError || c.ObservedGeneration != 2 || st.ContainerStatuses[0].Resources.Requests.Cpu().MilliValue() != 100 ||
			st.ContainerStatuses[0].AllocatedResources.Cpu().MilliValue() != 200 {
			t.Errorf("while it fails: %v, %v", c, st.ContainerStatuses[0])
		}
		w.setRule(nil)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		st = w.status("p")
		if c := pod.Condition(st.Conditions, corev1.PodResizeInProgress); c != nil || st.ContainerStatuses[0].Resources.Requests.Cpu().MilliValue() != 200 || st.ContainerStatuses[0].RestartCount != 0 {
			t.Errorf("afterwards: %v, %v", c, st.ContainerStatuses[0])
		}
		w.wantEvents(t, "ResizeStarted ", "ResizeError ", "ResizeCompleted ")
	})
}

// A resize for which there is no room waits until another pod has gone.
func TestResizeDeferred(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		other := newPod("other", "c")
		w.want(sized("p", 100, 1), other)
		synctest.Wait()
		w.want(sized("p", 200, 2), other)
		synctest.Wait()
		c := pod.Condition(w.status("p").Conditions, corev1.PodResizePending)
		if c == nil || c.Reason != corev1.PodReasonDeferred || c.ObservedGeneration != 2 || len(w.called("Resize")) != 0 {
			t.Fatalf("without room: %v, %d resizes", c, len(w.called("Resize")))
		}
		w.want(sized("p", 200, 2))
		time.Sleep(time.Minute)
		synctest.Wait()
		if c := pod.Condition(w.status("p").Conditions, corev1.PodResizePending); c != nil || len(w.called("Resize")) != 1 {
			t.Errorf("with room: %v, %d resizes", c, len(w.called("Resize")))
		}
		w.wantEvents(t, "ResizeDeferred ", "ResizeStarted ", "ResizeCompleted ")
	})
}

func TestRefusedPod(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.want(newPod("unwelcome", "c"))
		synctest.Wait()
		st := w.status("unwelcome")
		if st.Phase != corev1.PodFailed || st.Reason != "OutOfpods" || st.Message != "Pod was rejected: no room" || len(st.ContainerStatuses) != 0 {
			t.Errorf("got %v", st)
		}
		if len(w.called("CreateSandbox"))+len(w.called("EnsureImage")) != 0 {
			t.Error("something of it was made")
		}
		w.want()
		synctest.Wait()
	})
}

// A critical pod comes when those it displaces have ended.
func TestPreemption(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.want(newPod("p", "c"))
		synctest.Wait()
		w.want(newPod("p", "c"), newPod("critical", "c"))
		time.Sleep(3 * time.Second)
		synctest.Wait()
		st := w.status("p")
		c := pod.Condition(st.Conditions, corev1.DisruptionTarget)
		if st.Phase != corev1.PodFailed || st.Reason != "Preempting" || c == nil || c.Reason != corev1.PodReasonTerminationByKubelet {
			t.Errorf("the displaced pod: %v", st)
		}
		if st := w.status("critical"); st.Phase != corev1.PodRunning {
			t.Errorf("the critical pod: %v", st)
		}
	})
}
