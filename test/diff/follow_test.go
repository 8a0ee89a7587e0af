//go:build e2e

package diff

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"

	"nodeagent.dev/nodeagent/test/bed"
)

const (
	pollEvery = 250 * time.Millisecond
	// calm is how long nothing of a pod may change before it has settled.
	calm = 3 * time.Second
)

// tracker knows the last state of every pod, also of those that are gone.
type tracker struct {
	mu   sync.Mutex
	pods map[string]tracked
}

type tracked struct {
	pod  *corev1.Pod
	gone bool
}

func track(ctx context.Context, b *bed.Bed) *tracker {
	t := &tracker{pods: map[string]tracked{}}
	put := func(object any, gone bool) {
		if last, ok := object.(cache.DeletedFinalStateUnknown); ok {
			object = last.Obj
		}
		if p, ok := object.(*corev1.Pod); ok {
			t.mu.Lock()
			defer t.mu.Unlock()
			t.pods[p.Name] = tracked{p, gone}
		}
	}
	factory := informers.NewSharedInformerFactory(b.Client(), 0)
	_, _ = factory.Core().V1().Pods().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{ // fails only when stopped
		AddFunc:    func(o any) { put(o, false) },
		UpdateFunc: func(_, o any) { put(o, false) },
		DeleteFunc: func(o any) { put(o, true) },
	})
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())
	return t
}

func (t *tracker) get(name string) tracked {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.pods[name]
}

// follow creates a pod, waits until it has settled, and says what is there.
func (c *collector) follow(ctx context.Context, one Case) (Facts, error) {
	pods := c.bed.Client().CoreV1().Pods(one.Pod.Namespace)
	if _, err := pods.Create(ctx, one.Pod, metav1.CreateOptions{}); err != nil {
		return nil, fmt.Errorf("create the pod: %w", err)
	}
	facts, err := c.settle(ctx, one)
	if err != nil || !one.Delete {
		return facts, err
	}
	if err := pods.Delete(ctx, one.Pod.Name, metav1.DeleteOptions{}); err != nil {
		return nil, fmt.Errorf("delete the pod: %w", err)
	}
	err = poll(ctx, func() error {
		if !c.tracker.get(one.Pod.Name).gone {
			return errors.New("its object is still there")
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	last := c.tracker.get(one.Pod.Name).pod
	return calmed(ctx, func() (Facts, error) { return c.lookBack(ctx, last) })
}

// settle returns once the pod is where it should be and nothing changes.
func (c *collector) settle(ctx context.Context, one Case) (facts Facts, err error) {
	err = poll(ctx, func() error {
		if err := c.arrived(ctx, one); err != nil {
			return err
		}
		facts, err = calmed(ctx, func() (Facts, error) { return c.look(ctx, c.seen(one)) })
		if err != nil {
			return err
		}
		return c.arrived(ctx, one)
	})
	if p := c.tracker.get(one.Pod.Name).pod; err != nil && p != nil && facts == nil {
		facts, _ = c.look(context.WithoutCancel(ctx), p) // better than nothing
	}
	return facts, err
}

// seen is the pod as it is now. In a crash loop the kubelet shows now how the
// container ended and now that it waits, depending on what woke it: both become
// the former, and what was before that is left out.
func (c *collector) seen(one Case) *corev1.Pod {
	p := c.tracker.get(one.Pod.Name).pod
	if firstWord(one.Until) != "CrashLoop" {
		return p
	}
	p = p.DeepCopy()
	for i := range p.Status.ContainerStatuses {
		s := &p.Status.ContainerStatuses[i]
		if s.State.Waiting != nil {
			s.State = s.LastTerminationState
		}
		s.LastTerminationState = corev1.ContainerState{}
	}
	return p
}

// calmed looks until two looks in a row are alike.
func calmed(ctx context.Context, look func() (Facts, error)) (Facts, error) {
	tick := time.NewTicker(calm)
	defer tick.Stop()
	var last Facts
	var problem error
	for {
		facts, err := look()
		if err == nil && last != nil && maps.Equal(last, facts) {
			return facts, nil
		}
		last, problem = facts, err
		select {
		case <-ctx.Done():
			return nil, errors.Join(errors.New("it does not come to rest"), problem)
		case <-tick.C:
		}
	}
}

// poll tries until it works; where there is an event, the tracker has it.
func poll(ctx context.Context, try func() error) error {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		err := try()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-tick.C:
		}
	}
}

// arrived says why the pod is not yet where Case.Until wants it.
func (c *collector) arrived(ctx context.Context, one Case) error {
	p := c.tracker.get(one.Pod.Name).pod
	if p == nil {
		return errors.New("it does not exist yet")
	}
	if word, reason, _ := strings.Cut(one.Until, ":"); word == "Event" {
		list, err := c.bed.Client().CoreV1().Events(p.Namespace).List(ctx, metav1.ListOptions{FieldSelector: "reason=" + reason + ",involvedObject.uid=" + string(p.UID)})
		if err == nil && len(list.Items) > 0 {
			return nil
		}
	} else if met(p, one.Until) {
		return nil
	}
	return fmt.Errorf("waiting for %s, its status is %s", one.Until, brief(&p.Status))
}

func met(p *corev1.Pod, until string) bool {
	word, argument, _ := strings.Cut(until, ":")
	number, _ := strconv.Atoi(argument)
	restarts, waiting, ended := 0, []string{}, 0
	for _, s := range p.Status.ContainerStatuses {
		restarts = max(restarts, int(s.RestartCount))
		if s.State.Waiting != nil {
			waiting = append(waiting, s.State.Waiting.Reason)
		}
		if s.State.Terminated != nil {
			ended++
		}
	}
	has := func(reason string) bool { return slices.Contains(waiting, reason) }
	switch word {
	case "Running":
		return restarts == number && is(p, corev1.PodReady)
	case "Succeeded", "Failed":
		return string(p.Status.Phase) == word
	case "CrashLoop":
		return restarts == number && (ended > 0 || has("CrashLoopBackOff") || has("RunContainerError"))
	case "Terminated":
		return ended == number && p.Status.Phase == corev1.PodRunning
	case "Waiting": // an agent may know of a bad image before there is a sandbox
		return has(argument) && is(p, corev1.PodReadyToStartContainers)
	}
	return false
}

func is(p *corev1.Pod, condition corev1.PodConditionType) bool {
	return slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == condition && c.Status == corev1.ConditionTrue
	})
}

// brief is the status for people.
func brief(s *corev1.PodStatus) string {
	text := string(s.Phase)
	for _, c := range s.ContainerStatuses {
		switch {
		case c.State.Waiting != nil:
			text += fmt.Sprintf(", %s waits (%s: %s)", c.Name, c.State.Waiting.Reason, c.State.Waiting.Message)
		case c.State.Running != nil:
			text += fmt.Sprintf(", %s runs", c.Name)
		case c.State.Terminated != nil:
			text += fmt.Sprintf(", %s ended with %d (%s)", c.Name, c.State.Terminated.ExitCode, c.State.Terminated.Reason)
		}
		text += fmt.Sprintf(", %d restarts", c.RestartCount)
	}
	return text
}
