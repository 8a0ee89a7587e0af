package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap/zaptest"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"nodeagent.dev/nodeagent/internal/pod"
)

// call is one use of a port.
type call struct {
	verb, what string
	at         time.Time
}

// world is a node in memory. It implements all ports of the supervisor.
type world struct {
	t          *testing.T
	sup        *Supervisor
	desired    chan pod.Desired
	hints      chan pod.Hint
	listings   chan []pod.Listing
	probes     map[types.UID][]pod.ProbeTarget
	verdict    map[pod.ProbeKey]pod.Verdict
	stop       context.CancelFunc
	ended      chan struct{}
	mu         sync.Mutex
	next       int
	sandboxes  map[string]*owned[pod.Sandbox]
	containers map[string]*owned[pod.Container]
	calls      []call
	told       map[string]pod.Container // how containers ended, by the runtime's events
	statuses   map[types.UID][]corev1.PodStatus
	finished   map[types.UID]bool
	handed     map[types.UID]int // how often the end of a pod's object was asked for
	panics     int
	// allocated and actuated are what pods may have and what they were given; limit
	// is how many pods the node takes, 0 all.
	allocated map[types.UID]*corev1.Pod
	actuated  map[types.UID]pod.Actuation
	limit     int
	// rule is asked before each effect; it may block, fail or panic. errNoEffect
	// makes the call succeed without an effect.
	rule func(ctx context.Context, verb, what string) error
	// observing is how long a look takes.
	observing time.Duration
}

type owned[T any] struct {
	uid types.UID
	it  T
}

var errNoEffect = errors.New("no effect")

// newWorld returns an empty node with a supervisor that runs until the test
// ends. change may alter what the supervisor is given.
func newWorld(t *testing.T, change ...func(w *world, d *Deps)) *world {
	w := &world{
		t: t, desired: make(chan pod.Desired), hints: make(chan pod.Hint), listings: make(chan []pod.Listing),
		probes: map[types.UID][]pod.ProbeTarget{}, verdict: map[pod.ProbeKey]pod.Verdict{},
		ended: make(chan struct{}), sandboxes: map[string]*owned[pod.Sandbox]{}, containers: map[string]*owned[pod.Container]{},
		statuses: map[types.UID][]corev1.PodStatus{}, finished: map[types.UID]bool{}, handed: map[types.UID]int{},
		told: map[string]pod.Container{}, allocated: map[types.UID]*corev1.Pod{}, actuated: map[types.UID]pod.Actuation{},
	}
	deps := Deps{
		Observer: w, Sandboxes: w, Containers: w, Images: images{w}, OnNode: OnNode{Volumes: w, Cgroups: cgroups{w}, Logs: logs{w}},
		Handlers: w, Probes: w, Givens: givens{}, Allocations: w, Resizer: resizer{w},
		Status: sink{w}, Events: w, Log: zaptest.NewLogger(t),
		Node:  func() pod.Node { return pod.Node{Name: "n", RuntimeName: "r", HostIPs: []string{"10.0.0.1"}} },
		Hooks: Hooks{Panic: func() { w.mu.Lock(); w.panics++; w.mu.Unlock() }},
	}
	for _, f := range change {
		f(w, &deps)
	}
	w.sup = NewSupervisor(deps)
	ctx, cancel := context.WithCancel(t.Context())
	w.stop = cancel
	go func() {
		defer close(w.ended)
		if err := w.sup.Run(ctx, Inputs{Desired: w.desired, Hints: w.hints, Listings: w.listings}); err != nil {
			t.Errorf("Run: %v", err)
		}
	}()
	t.Cleanup(func() { cancel(); <-w.ended })
	return w
}

// enter records a call and asks the rule; skip says that it has no effect.
func (w *world) enter(ctx context.Context, verb, what string) (skip bool, err error) {
	w.mu.Lock()
	w.calls = append(w.calls, call{verb, what, time.Now()})
	rule := w.rule
	w.mu.Unlock()
	if rule != nil {
		err = rule(ctx, verb, what)
	}
	if errors.Is(err, errNoEffect) {
		return true, nil
	}
	return err != nil, err
}

func (w *world) setRule(rule func(ctx context.Context, verb, what string) error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.rule = rule
}

func (w *world) id(prefix string) string {
	w.next++
	return fmt.Sprint(prefix, w.next)
}

// exit ends a container's process.
func (w *world) exit(id string, code int32) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if c := w.containers[id]; c != nil && c.it.State != pod.ContainerExited {
		c.it.State, c.it.ExitCode, c.it.FinishedAt = pod.ContainerExited, code, time.Now()
	}
}

// crash ends the newest instance of a container and hints at it.
func (w *world) crash(uid types.UID, name string) {
	w.mu.Lock()
	var latest *owned[pod.Container]
	for _, c := range w.containers {
		if c.uid == uid && c.it.Name == name && (latest == nil || c.it.Attempt > latest.it.Attempt) {
			latest = c
		}
	}
	w.mu.Unlock()
	w.exit(latest.it.ID, 1)
	w.hints <- pod.Hint{UID: uid, Why: "event"}
}

// want tells the supervisor what all sources want.
func (w *world) want(pods ...*corev1.Pod) { w.wantFrom(pod.SourceAPI, true, pods...) }

func (w *world) wantFrom(source pod.SourceName, synced bool, pods ...*corev1.Pod) {
	d := pod.Desired{Synced: synced}
	for _, p := range pods {
		d.Specs = append(d.Specs, pod.Spec{Pod: p, Source: source})
	}
	w.desired <- d
}

// status is the last status of a pod: as published, or as its view has it when
// nothing is published (a static pod).
func (w *world) status(uid types.UID) corev1.PodStatus {
	w.mu.Lock()
	defer w.mu.Unlock()
	if list := w.statuses[uid]; len(list) > 0 {
		return list[len(list)-1]
	}
	for _, v := range w.sup.Views() {
		if v.Ref.UID == uid {
			return v.Status
		}
	}
	return corev1.PodStatus{}
}

// container is the published status of a container, in words.
func (w *world) container(uid types.UID, name string) string {
	st := w.status(uid)
	for i := range st.ContainerStatuses {
		c := &st.ContainerStatuses[i]
		if c.Name != name {
			continue
		}
		switch s := c.State; {
		case s.Running != nil:
			return fmt.Sprintf("running %d", c.RestartCount)
		case s.Terminated != nil:
			return fmt.Sprintf("exited %d", s.Terminated.ExitCode)
		case s.Waiting != nil:
			return "waiting " + s.Waiting.Reason
		}
	}
	return "none"
}

func (w *world) isFinished(uid types.UID) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.finished[uid]
}

// called returns what the verb was called with.
func (w *world) called(verb string) []call {
	w.mu.Lock()
	defer w.mu.Unlock()
	var list []call
	for _, c := range w.calls {
		if c.verb == verb {
			list = append(list, c)
		}
	}
	return list
}

// destructive returns the calls that take something away.
func (w *world) destructive() []call {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(w.calls), func(c call) bool {
		return !strings.HasPrefix(c.verb, "Stop") && !strings.HasPrefix(c.verb, "Remove") && c.verb != "Unmount"
	})
}

// running puts a pod on the node that an earlier agent started.
func (w *world) running(uid types.UID, container string) pod.Listing {
	w.mu.Lock()
	defer w.mu.Unlock()
	s, c := w.id("s"), w.id("c")
	w.sandboxes[s] = &owned[pod.Sandbox]{uid, pod.Sandbox{ID: s, Ready: true, CreatedAt: time.Now(), IPs: []string{"10.1.0.8"}}}
	w.containers[c] = &owned[pod.Container]{uid, pod.Container{ID: c, Name: container, SandboxID: s, State: pod.ContainerRunning, CreatedAt: time.Now(), StartedAt: time.Now()}}
	return pod.Listing{Ref: pod.Ref{UID: uid, Namespace: "ns", Name: string(uid)}, Live: true}
}

func newPod(uid string, containers ...string) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: uid, UID: types.UID(uid)}}
	p.Spec.RestartPolicy = corev1.RestartPolicyAlways
	for _, c := range containers {
		p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: c, Image: "i"})
	}
	return p
}

// deleted is the pod as it is once somebody deleted it now with the grace.
func deleted(p *corev1.Pod, grace int64) *corev1.Pod {
	p = p.DeepCopy()
	p.DeletionGracePeriodSeconds = &grace
	p.DeletionTimestamp = &metav1.Time{Time: time.Now().Add(time.Duration(grace) * time.Second)}
	return p
}

// pass lets time pass, and then everybody do what they have to do now.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// hang blocks until its caller gives up.
func hang(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}
