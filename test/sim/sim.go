package sim

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
	"google.golang.org/grpc"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"nodeagent.dev/nodeagent/internal/cri"
	"nodeagent.dev/nodeagent/internal/lifecycle"
	"nodeagent.dev/nodeagent/internal/lifecycle/hook"
	"nodeagent.dev/nodeagent/internal/pleg"
	"nodeagent.dev/nodeagent/internal/pod"
	"nodeagent.dev/nodeagent/internal/probe"
	"nodeagent.dev/nodeagent/test/fakecri"
)

// Sim is a node whose agent can be killed and started again. Its methods belong
// to the goroutine of the test; the agent runs beside it.
type Sim struct {
	Runtime *fakecri.Server
	Disk    *Disk
	API     *API

	conn   *grpc.ClientConn
	cancel context.CancelFunc
	ended  chan struct{}
	gate   *gate
	sup    *lifecycle.Supervisor
}

// New returns a node with nothing on it and no agent running.
func New(cfg fakecri.Config) *Sim {
	return &Sim{Runtime: fakecri.New(cfg), Disk: newDisk(), API: newAPI()}
}

// Start starts the agent. It dies by itself at the crash'th effect it asks for
// (counted from 1; 0: never), before or after that effect.
func (s *Sim) Start(crash int, after bool) error {
	conn, err := s.Runtime.Dial()
	if err != nil {
		return fmt.Errorf("dialing the fake runtime: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.conn, s.cancel, s.ended = conn, cancel, make(chan struct{})
	s.gate = &gate{crashAt: crash, after: after, die: func() { cancel(); _ = conn.Close() }}
	client := cri.NewWithConns(conn, conn, cri.Config{RequestTimeout: time.Minute}, zap.NewNop())
	s.run(ctx, client)
	return nil
}

// run wires the agent as internal/agent does, with the gate in between.
func (s *Sim) run(ctx context.Context, client *cri.Client) {
	g := s.gate
	exec := gatedExec{g, client, &hooks{runs: map[string]int{}, api: s.API}}
	prober := probe.New(probe.Config{Version: "1.37"}, probe.Deps{
		Exec: exec, Events: noEvents{}, Log: zap.NewNop(),
		Changed: func(uid types.UID) { s.sup.Nudge(uid) },
	})
	s.sup = lifecycle.NewSupervisor(lifecycle.Deps{
		Handlers: hook.New(exec, hook.Deps{Version: "v1.37.1"}), Probes: prober, Givens: noGivens{}, Allocations: allRoom{},
		Observer: client, Sandboxes: gatedSandboxes{g, client}, Containers: gatedContainers{g, client, s.Runtime, s.API},
		Images: gatedImages{g},
		OnNode: lifecycle.OnNode{Volumes: gatedVolumes{g, s.Disk}, Cgroups: gatedCgroups{g, s.Disk}, Logs: gatedLogs{g, s.Disk}, Leftovers: s.Disk.pods},
		Status: gatedStatus{g, s.API}, Events: noEvents{},
		Node: func() pod.Node { return pod.Node{Name: "n", HostIPs: []string{"192.0.2.1"}, RuntimeName: "fake"} },
		Log:  zap.NewNop(),
	})
	hints, listings := make(chan pod.Hint, 16), make(chan []pod.Listing, 1)
	desired := s.API.watch(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		_ = pleg.New(pleg.Config{Relist: client.ListAll, Events: client.Events}, zap.NewNop()).Run(ctx, hints, listings)
	})
	wg.Go(func() {
		_ = s.sup.Run(ctx, lifecycle.Inputs{Desired: desired, Hints: hints, Listings: listings})
	})
	wg.Go(func() {
		_ = prober.Run(ctx)
	})
	ended := s.ended
	go func() { wg.Wait(); close(ended) }()
}

// Kill is kill -9 of the agent: from now on it has no effect on anything.
func (s *Sim) Kill() {
	s.gate.kill()
	<-s.ended
}

// Crashed is closed when the agent has died.
func (s *Sim) Crashed() <-chan struct{} { return s.ended }

// Effects is how many effects the agent has asked for since Start.
func (s *Sim) Effects() int { return s.gate.count() }

// Views is what the agent shows of its pods.
func (s *Sim) Views() []*pod.View { return s.sup.Views() }

// Close ends everything. No goroutine is left.
func (s *Sim) Close() {
	s.Kill()
	s.API.close()
	s.Runtime.Close()
}

// Leaks names what is on the node of pods that the API does not know.
func (s *Sim) Leaks() []string {
	known := map[string]bool{}
	for _, p := range s.API.Pods() {
		known[string(p.UID)] = true
	}
	var leaks []string
	snap := s.Runtime.Snapshot()
	for _, sb := range snap.Sandboxes {
		if !known[sb.PodUID] {
			leaks = append(leaks, "sandbox of "+sb.Name)
		}
	}
	for _, c := range snap.Containers {
		if !known[c.PodUID] {
			leaks = append(leaks, "container "+c.Name+" of "+c.PodName)
		}
	}
	return append(leaks, s.Disk.leaks(known)...)
}

// API is an API server that holds pods and their statuses.
type API struct {
	mu       sync.Mutex
	pods     map[types.UID]*corev1.Pod
	watchers []chan pod.Desired
	// Wrong lists status changes that must never be.
	wrong []string
}

func newAPI() *API { return &API{pods: map[types.UID]*corev1.Pod{}} }

// Create adds a pod that is bound to the node.
func (a *API) Create(p *corev1.Pod) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.pods[p.UID] = p
	a.send()
}

// Delete asks for a pod's end, as kubectl delete does.
func (a *API) Delete(uid types.UID, grace time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	p := a.pods[uid]
	if p == nil {
		return
	}
	p = p.DeepCopy()
	seconds := int64(grace / time.Second)
	when := metav1.NewTime(time.Now().Add(grace))
	if p.DeletionTimestamp == nil || p.DeletionTimestamp.After(when.Time) {
		p.DeletionTimestamp, p.DeletionGracePeriodSeconds = &when, &seconds
	}
	a.pods[uid] = p
	a.send()
}

// Remove takes the object away at once, as a forced deletion does.
func (a *API) Remove(uid types.UID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.pods, uid)
	a.send()
}

// Pods returns the pods as they are now, sorted by UID.
func (a *API) Pods() []*corev1.Pod {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.sorted()
}

// Pod returns a pod, or nil.
func (a *API) Pod(uid types.UID) *corev1.Pod {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.pods[uid]
}

// Wrong lists the status changes seen that must never be.
func (a *API) Wrong() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.wrong)
}

func (a *API) sorted() []*corev1.Pod {
	list := make([]*corev1.Pod, 0, len(a.pods))
	for _, uid := range slices.Sorted(maps.Keys(a.pods)) {
		list = append(list, a.pods[uid])
	}
	return list
}

// watch returns the full sets for one agent's life.
func (a *API) watch(ctx context.Context) <-chan pod.Desired {
	a.mu.Lock()
	defer a.mu.Unlock()
	ch := make(chan pod.Desired, 1)
	a.watchers = append(a.watchers, ch)
	context.AfterFunc(ctx, func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.watchers = slices.DeleteFunc(a.watchers, func(c chan pod.Desired) bool { return c == ch })
	})
	a.send()
	return ch
}

// send gives every watcher the newest set; a slow one misses those between.
func (a *API) send() {
	d := pod.Desired{Synced: true}
	for _, p := range a.sorted() {
		d.Specs = append(d.Specs, pod.Spec{Pod: p, Source: pod.SourceAPI})
	}
	for _, ch := range a.watchers {
		select {
		case <-ch:
		default:
		}
		ch <- d
	}
}

func (a *API) close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.watchers = nil
}

// publish takes a status in and checks that it does not contradict the last.
func (a *API) publish(p *corev1.Pod, st corev1.PodStatus, finished bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.pods[p.UID]
	if now == nil {
		return
	}
	a.check(now, &st)
	if finished && now.DeletionTimestamp != nil {
		if !pod.Terminal(st.Phase) {
			a.wrong = append(a.wrong, fmt.Sprintf("%s ended in phase %q", p.Name, st.Phase))
		}
		delete(a.pods, p.UID)
		a.send()
		return
	}
	next := now.DeepCopy()
	next.Status = st
	a.pods[p.UID] = next
}

func (a *API) check(now *corev1.Pod, st *corev1.PodStatus) {
	if pod.Terminal(now.Status.Phase) && st.Phase != now.Status.Phase {
		a.wrong = append(a.wrong, fmt.Sprintf("%s went from phase %s to %s", now.Name, now.Status.Phase, st.Phase))
	}
	for _, old := range now.Status.ContainerStatuses {
		for _, c := range st.ContainerStatuses {
			if c.Name == old.Name && c.RestartCount < old.RestartCount {
				a.wrong = append(a.wrong, fmt.Sprintf("restart count of %s/%s went from %d to %d", now.Name, c.Name, old.RestartCount, c.RestartCount))
			}
		}
	}
	if pod.Terminal(st.Phase) {
		for _, c := range st.ContainerStatuses {
			if c.State.Running != nil {
				a.wrong = append(a.wrong, fmt.Sprintf("%s is %s while %s runs", now.Name, st.Phase, c.Name))
			}
		}
	}
}
