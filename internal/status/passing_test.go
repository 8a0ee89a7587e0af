package status

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// with returns a status of one container, and of conditions that are true.
func with(phase corev1.PodPhase, state corev1.ContainerState, ready bool, conditions ...corev1.PodConditionType) corev1.PodStatus {
	s := corev1.PodStatus{Phase: phase, QOSClass: corev1.PodQOSBestEffort,
		ContainerStatuses: []corev1.ContainerStatus{{Name: "a", State: state, Ready: ready}}}
	for _, c := range []corev1.PodConditionType{corev1.PodReadyToStartContainers, corev1.PodInitialized, corev1.ContainersReady, corev1.PodReady} {
		status := corev1.ConditionFalse
		for _, is := range conditions {
			if is == c {
				status = corev1.ConditionTrue
			}
		}
		s.Conditions = append(s.Conditions, corev1.PodCondition{Type: c, Status: status})
	}
	return s
}

func waiting(reason string) corev1.ContainerState {
	return corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason}}
}

func running() corev1.ContainerState {
	return corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.Unix(1, 0)}}
}

// up are the statuses of a start that goes well.
func up() []corev1.PodStatus {
	all := []corev1.PodConditionType{corev1.PodReadyToStartContainers, corev1.PodInitialized, corev1.ContainersReady, corev1.PodReady}
	return []corev1.PodStatus{
		with(corev1.PodPending, waiting("ContainerCreating"), false, corev1.PodInitialized),
		with(corev1.PodPending, waiting("ContainerCreating"), false, all[:2]...),
		with(corev1.PodRunning, running(), true, all...),
	}
}

func TestAStartThatGoesWellIsOnePatch(t *testing.T) {
	s := newServer(newPod("a"))
	run(t, s, func(t *testing.T, w *Writer) {
		for _, status := range up() {
			w.Publish(s.pod("a"), status, false)
			pass(80 * time.Millisecond)
		}
		if n := len(s.requests()); n != 1 || s.pod("a").Status.Phase != corev1.PodRunning {
			t.Errorf("%d requests, the pod is %s; want that it runs after one", n, s.pod("a").Status.Phase)
		}
		pass(time.Hour)
		if n := len(s.requests()); n != 1 {
			t.Errorf("%d requests an hour later", n)
		}
	})
}

func TestAStartThatTakesItsTimeIsTold(t *testing.T) {
	s := newServer(newPod("a"))
	run(t, s, func(t *testing.T, w *Writer) {
		for i, status := range up() {
			w.Publish(s.pod("a"), status, false)
			pass(overtaken)
			if n := len(s.requests()); n != i+1 {
				t.Errorf("%d requests %s after step %d", n, overtaken, i+1)
			}
			pass(time.Second)
		}
	})
}

// Where many pods start at once their steps are told of one after the other, and that
// they run at once.
func TestACrowdIsToldOfInTurn(t *testing.T) {
	const n = 20
	var pods []*corev1.Pod
	name := func(i int) string { return string(rune('a' + i)) }
	for i := range n {
		pods = append(pods, newPod(name(i)))
	}
	s := newServer(pods...)
	run(t, s, func(t *testing.T, w *Writer) {
		for i := range n {
			w.Publish(s.pod(name(i)), up()[0], false)
		}
		pass(overtaken + 4*apart)
		if got := len(s.requests()); got != 5 {
			t.Errorf("%d requests %s after %d pods have begun to start, want 5", got, overtaken+4*apart, n)
		}
		for i := range n / 2 { // of which 5 were told of
			w.Publish(s.pod(name(i)), up()[2], false)
		}
		synctest.Wait()
		if got := len(s.requests()); got != 5+n/2 {
			t.Errorf("%d requests when %d of the pods run, want %d", got, n/2, 5+n/2)
		}
		pass(n * apart)
		if got := len(s.requests()); got != 5+n {
			t.Errorf("%d requests in all, want %d", got, 5+n)
		}
		w.Publish(s.pod(name(n-1)), up()[1], false)
		pass(overtaken)
		if got := len(s.requests()); got != 5+n+1 {
			t.Errorf("a pod on its own has to wait for longer than %s", overtaken)
		}
	})
}

// The longer the server takes the fewer steps it is told of.
func TestABusyServerIsToldOfFewerSteps(t *testing.T) {
	const n, requests = 50, 10
	for took, between := range map[time.Duration]time.Duration{0: apart, 5 * time.Millisecond: apart, 30 * time.Millisecond: 300 * time.Millisecond, time.Second: farApart} {
		t.Run(took.String(), func(t *testing.T) {
			var pods []*corev1.Pod
			for i := range n {
				pods = append(pods, newPod(fmt.Sprint(i)))
			}
			s := newServer(pods...)
			run(t, s, func(t *testing.T, w *Writer) {
				s.setRule(func(context.Context, call) error {
					time.Sleep(took)
					return nil
				})
				w.answered(took)
				for _, p := range pods {
					w.Publish(p, up()[0], false)
				}
				pass(overtaken + (requests-1)*between)
				if got := len(s.requests()); got != requests {
					t.Errorf("%d requests, want %d", got, requests)
				}
				pass(n * farApart)
			})
		})
	}
}

// Those that were told of before their turn make nobody wait.
func TestATurnThatIsNotTakenIsGivenBack(t *testing.T) {
	const n = 20
	var pods []*corev1.Pod
	name := func(i int) string { return string(rune('a' + i)) }
	for i := range n + 1 {
		pods = append(pods, newPod(name(i)))
	}
	s := newServer(pods...)
	run(t, s, func(t *testing.T, w *Writer) {
		for _, step := range []int{0, 2} {
			for i := range n {
				w.Publish(s.pod(name(i)), up()[step], false)
			}
		}
		synctest.Wait()
		if got := len(s.requests()); got != n {
			t.Errorf("%d requests when %d pods are ready", got, n)
		}
		w.Publish(s.pod(name(n)), up()[0], false)
		pass(overtaken)
		if got := len(s.requests()); got != n+1 {
			t.Errorf("a pod has to wait for longer than %s behind pods that were told of", overtaken)
		}
	})
}

// probed returns a pod of one container with that readiness probe, or with none.
func probed(probe *corev1.Probe) *corev1.Pod {
	p := newPod("a")
	p.Spec.Containers = []corev1.Container{{Name: "a", ReadinessProbe: probe}}
	return p
}

func TestWhoIsAskedAtItsStartIsToldOfWhenItHasAnswered(t *testing.T) {
	running := with(corev1.PodRunning, running(), false, corev1.PodReadyToStartContainers, corev1.PodInitialized)
	for name, c := range map[string]struct {
		pod     *corev1.Pod
		answers time.Duration
		want    []int // requests at once, when it has answered, and in all
	}{
		"it answers":        {probed(&corev1.Probe{}), overtaken / 2, []int{0, 1, 1}},
		"it takes its time": {probed(&corev1.Probe{}), 2 * overtaken, []int{0, 2, 2}},
		"it is asked later": {probed(&corev1.Probe{InitialDelaySeconds: 1}), overtaken / 2, []int{1, 2, 2}},
		"nobody asks":       {probed(nil), overtaken / 2, []int{1, 2, 2}},
	} {
		t.Run(name, func(t *testing.T) {
			c.pod.Status = up()[1]
			s := newServer(c.pod)
			run(t, s, func(t *testing.T, w *Writer) {
				var got []int
				w.Publish(s.pod("a"), running, false)
				synctest.Wait()
				got = append(got, len(s.requests()))
				pass(c.answers)
				w.Publish(s.pod("a"), up()[2], false)
				synctest.Wait()
				got = append(got, len(s.requests()))
				pass(time.Hour)
				if got = append(got, len(s.requests())); !slices.Equal(got, c.want) {
					t.Errorf("requests %v, want %v", got, c.want)
				}
			})
		})
	}
}

func TestTroubleIsToldAtOnce(t *testing.T) {
	ready := up()[2]
	ended := with(corev1.PodRunning, corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 1, ContainerID: "c://1"}}, false)
	again := up()[2]
	again.ContainerStatuses[0].RestartCount = 1
	refused := with(corev1.PodFailed, waiting("ContainerCreating"), false)
	deferred := up()[2]
	deferred.Conditions = append(deferred.Conditions, corev1.PodCondition{Type: corev1.PodResizePending, Status: corev1.ConditionTrue, Reason: "Deferred"})
	for name, change := range map[string][2]corev1.PodStatus{
		"ready":                  {up()[1], ready},
		"not ready":              {ready, with(corev1.PodRunning, running(), false, corev1.PodReadyToStartContainers)},
		"a container has ended":  {ready, ended},
		"it runs again":          {ended, again},
		"an image cannot be had": {up()[1], with(corev1.PodPending, waiting("ErrImagePull"), false, corev1.PodReadyToStartContainers)},
		"refused":                {up()[0], refused},
		"a resize has to wait":   {ready, deferred},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPod("a")
			p.Status = change[0]
			s := newServer(p)
			run(t, s, func(t *testing.T, w *Writer) {
				w.Publish(s.pod("a"), change[1], false)
				synctest.Wait()
				if n := len(s.requests()); n != 1 {
					t.Errorf("%d requests at once, want 1", n)
				}
			})
		})
	}
}

// The end of a pod that is deleted is one status, if it does not take long.
func TestAnEndIsOnePatch(t *testing.T) {
	p := newPod("a")
	now := metav1.Now()
	p.Status, p.DeletionTimestamp = up()[2], &now
	s := newServer(p)
	run(t, s, func(t *testing.T, w *Writer) {
		marked := up()[2]
		marked.ObservedGeneration = 2
		ended := with(corev1.PodRunning, corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ContainerID: "c://1"}}, false)
		w.Publish(s.pod("a"), marked, false)
		pass(100 * time.Millisecond)
		w.Publish(s.pod("a"), ended, false)
		pass(100 * time.Millisecond)
		if n := len(s.requests()); n != 0 {
			t.Errorf("%d requests before the end", n)
		}
		ended.Phase = corev1.PodSucceeded
		w.Publish(s.pod("a"), ended, true)
		synctest.Wait()
		calls := s.requests()
		if len(calls) != 2 || calls[0].patch == nil || calls[1].patch != nil {
			t.Errorf("requests: %v, want a patch and the deletion at once", calls)
		}
		pass(time.Hour)
		if n := len(s.requests()); n != 2 {
			t.Errorf("%d requests an hour later", n)
		}
	})
}
