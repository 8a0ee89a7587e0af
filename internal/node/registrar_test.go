package node

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"nodeagent.dev/nodeagent/internal/pod"
)

// world is the surroundings of a registrar under test.
type world struct {
	mu      sync.Mutex
	info    pod.RuntimeInfo
	err     error
	hang    bool
	events  []string
	machine MachineFacts
	client  *fake.Clientset
	r       *Registrar
}

func (w *world) Info(ctx context.Context) (pod.RuntimeInfo, error) {
	w.mu.Lock()
	info, err, hang := w.info, w.err, w.hang
	w.mu.Unlock()
	if hang {
		<-ctx.Done()
		return pod.RuntimeInfo{}, ctx.Err()
	}
	return info, err
}

func (w *world) Gather(context.Context) MachineFacts  { return w.machine }
func (w *world) Network(context.Context) NetworkFacts { return testFacts().Network }

func (w *world) runtime(change func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change()
}

func (w *world) seen() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return strings.Join(w.events, " ")
}

func newWorld(t *testing.T, cfg Config, objects ...runtime.Object) *world {
	t.Helper()
	w := &world{info: *testFacts().Runtime.Info, machine: testFacts().Machine, client: fake.NewClientset(objects...)}
	var err error
	w.r, err = New(cfg, Deps{
		Client: w.client, LeaseClient: w.client, Runtime: w, Machine: w, Log: zap.NewNop(),
		Event: func(_, reason, _ string) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.events = append(w.events, reason)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) start(t *testing.T) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.r.Run(ctx) }()
	return func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

func (w *world) node(t *testing.T) *corev1.Node {
	t.Helper()
	n, err := w.client.CoreV1().Nodes().Get(t.Context(), "node-1", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func (w *world) ready(t *testing.T) string {
	t.Helper()
	c := findCondition(w.node(t).Status.Conditions, corev1.NodeReady)
	return string(c.Status) + " " + c.Message
}

func (w *world) patches() int {
	n := 0
	for _, a := range w.client.Actions() {
		if a.GetVerb() == "patch" {
			n++
		}
	}
	return n
}

const isReady = "True kubelet is posting ready status"

func TestANewNodeIsReadyAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, testConfig())
		defer w.start(t)()
		time.Sleep(100 * time.Millisecond)
		if got := w.ready(t); got != isReady {
			t.Fatalf("after 100 ms: %s", got)
		}
		<-w.r.Registered()
		lease, err := w.client.CoordinationV1().Leases("kube-node-lease").Get(t.Context(), "node-1", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if *lease.Spec.HolderIdentity != "node-1" || *lease.Spec.LeaseDurationSeconds != 40 || lease.OwnerReferences[0].Kind != "Node" {
			t.Errorf("lease %+v", lease)
		}
		first := lease.Spec.RenewTime.Time
		time.Sleep(11 * time.Second)
		if lease, err = w.client.CoordinationV1().Leases("kube-node-lease").Get(t.Context(), "node-1", metav1.GetOptions{}); err != nil ||
			lease.Spec.RenewTime.Sub(first) < 9*time.Second {
			t.Errorf("lease renewed at %v, %v", lease.Spec.RenewTime, err)
		}
		if !strings.HasPrefix(w.seen(), "Starting ") {
			t.Errorf("events %s", w.seen())
		}
	})
}

func TestRuntimeOutage(t *testing.T) {
	for _, how := range []string{"refuses", "hangs"} {
		t.Run(how, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, testConfig())
				defer w.start(t)()
				time.Sleep(17 * time.Second)
				w.runtime(func() { w.err, w.hang = errors.New("connection refused"), how == "hangs" })
				time.Sleep(20 * time.Second)
				if got := w.ready(t); got != isReady {
					t.Fatalf("20 s after the stop: %s", got)
				}
				time.Sleep(10*time.Second + 100*time.Millisecond)
				if got := w.ready(t); got != "False container runtime is down" {
					t.Fatalf("30 s after the stop: %s", got)
				}
				w.runtime(func() { w.err, w.hang = nil, false })
				w.r.Poke()
				limit := 1100 * time.Millisecond
				if how == "hangs" {
					limit = askTimeout + time.Second
				}
				time.Sleep(limit)
				if got := w.ready(t); got != isReady {
					t.Fatalf("after the recovery: %s", got)
				}
				if !strings.HasSuffix(w.seen(), "NodeNotReady NodeReady") {
					t.Errorf("events %s", w.seen())
				}
			})
		})
	}
}

func TestNetworkWakesThoseWhoWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, testConfig())
		w.info.NetworkProblem = "cni plugin not initialized"
		defer w.start(t)()
		time.Sleep(time.Second / 2)
		n, next := w.r.Watch()
		if n.NetworkProblem != "container runtime network not ready: cni plugin not initialized" || !slices.Equal(n.HostIPs, []string{"10.0.0.5"}) {
			t.Fatalf("snapshot %+v", n)
		}
		if got := w.ready(t); got != "False "+n.NetworkProblem {
			t.Fatalf("got %s", got)
		}
		w.runtime(func() { w.info.NetworkProblem = "" })
		begin := time.Now()
		w.r.Poke()
		<-next
		synctest.Wait()
		if time.Since(begin) != 0 || w.r.Snapshot().NetworkProblem != "" {
			t.Errorf("snapshot %+v after %s", w.r.Snapshot(), time.Since(begin))
		}
		if got := w.ready(t); got != isReady {
			t.Errorf("got %s", got)
		}
	})
}

func TestUnchangedStatusIsReportedSeldom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, testConfig())
		defer w.start(t)()
		time.Sleep(time.Minute)
		before := w.patches()
		time.Sleep(20 * time.Minute)
		if n := w.patches() - before; n < 3 || n > 6 {
			t.Errorf("%d patches in 20 minutes", n)
		}
		synctest.Wait()
		old := findCondition(w.node(t).Status.Conditions, corev1.NodeReady)
		if old.LastHeartbeatTime.Sub(old.LastTransitionTime.Time) < 10*time.Minute {
			t.Errorf("times of Ready: %+v", old)
		}
	})
}

func TestRegistrationGoesOnUntilItWorks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, testConfig())
		var tried []time.Time
		w.client.PrependReactor("create", "nodes", func(clienttesting.Action) (bool, runtime.Object, error) {
			tried = append(tried, time.Now())
			return len(tried) <= 10, nil, errors.New("connection refused")
		})
		defer w.start(t)()
		<-w.r.Registered()
		if first, last := tried[1].Sub(tried[0]), tried[10].Sub(tried[9]); first != registerBackoff || last != registerBackoffMax {
			t.Errorf("first pause %s, last pause %s", first, last)
		}
		synctest.Wait()
		if got := w.ready(t); got != isReady {
			t.Errorf("got %s", got)
		}
	})
}

func TestExistingNodeIsAdopted(t *testing.T) {
	for name, forbidden := range map[string]bool{"already exists": false, "forbidden": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cfg, f := testConfig(), testFacts()
				f.Machine.BootID = "before"
				existing := Build(&cfg, f, nil, time.Now().Add(-time.Hour)).Node
				existing.Labels = map[string]string{"theirs": "y"}
				existing.Spec.Unschedulable = true
				existing.Status.Conditions = append(existing.Status.Conditions, corev1.NodeCondition{Type: "Other", Status: corev1.ConditionTrue})
				w := newWorld(t, cfg, existing)
				if forbidden {
					w.client.PrependReactor("create", "nodes", func(clienttesting.Action) (bool, runtime.Object, error) {
						return true, nil, apierrors.NewForbidden(schema.GroupResource{Resource: "nodes"}, "node-1", nil)
					})
				}
				defer w.start(t)()
				time.Sleep(time.Second)
				n := w.node(t)
				if n.Labels["theirs"] != "y" || n.Labels[corev1.LabelHostname] != "host-1" || findCondition(n.Status.Conditions, "Other") == nil {
					t.Errorf("labels %v, conditions %v", n.Labels, n.Status.Conditions)
				}
				if got := w.seen(); strings.Count(got, "Rebooted") != 1 || !strings.Contains(got, "NodeNotSchedulable") || n.Status.NodeInfo.BootID != "b1" {
					t.Errorf("events %s, boot ID %s", got, n.Status.NodeInfo.BootID)
				}
			})
		})
	}
}

func TestDamagedStatusIsRepairedAndFailuresAreRetried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, testConfig())
		fail := 0
		w.client.PrependReactor("patch", "nodes", func(clienttesting.Action) (bool, runtime.Object, error) {
			fail--
			return fail >= 0, nil, errors.New("timeout")
		})
		defer w.start(t)()
		time.Sleep(time.Second)
		n := w.node(t)
		n.Status.NodeInfo.KernelVersion = "damaged"
		fail = 4
		if _, err := w.client.CoreV1().Nodes().UpdateStatus(t.Context(), n, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(11 * time.Second)
		if got := w.node(t).Status.NodeInfo.KernelVersion; got != "6.1" {
			t.Errorf("kernel version %s", got)
		}
	})
}

func TestStandaloneAndUnregistered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, testConfig())
		w.r.deps.Client, w.r.deps.LeaseClient = nil, nil
		stop := w.start(t)
		time.Sleep(time.Minute)
		if n := w.r.Snapshot(); n.NetworkProblem != "" || len(n.HostIPs) != 1 || len(w.client.Actions()) != 0 {
			t.Errorf("snapshot %+v, actions %v", n, w.client.Actions())
		}
		stop()

		cfg := testConfig()
		cfg.Register = false
		w = newWorld(t, cfg)
		defer w.start(t)()
		time.Sleep(time.Minute)
		if _, err := w.client.CoreV1().Nodes().Create(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node-1"}}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(11 * time.Second)
		if got := w.ready(t); got != isReady {
			t.Errorf("got %s", got)
		}
	})
}

func TestNewChecksTheConfig(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"name": func(c *Config) { c.Name = "" }, "hostname": func(c *Config) { c.Hostname = "" },
		"one family": func(c *Config) { c.IPs = ips("10.0.0.1", "10.0.0.2") }, "maxPods": func(c *Config) { c.MaxPods = 0 },
		"nodeStatusMaxImages": func(c *Config) { c.MaxImages = -2 }, "at most 2": func(c *Config) { c.IPs = ips("::1", "::2", "::3") },
	} {
		cfg := testConfig()
		change(&cfg)
		_, err := New(cfg, Deps{Log: zap.NewNop()})
		if err == nil || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), "no runtime") {
			t.Errorf("%s: got %v", name, err)
		}
	}
}
