package cri_test

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"nodeagent.dev/nodeagent/internal/cri"
	"nodeagent.dev/nodeagent/internal/pod"
	"nodeagent.dev/nodeagent/test/fakecri"
)

// rig is a client on a fake runtime, inside a bubble.
type rig struct {
	t *testing.T
	s *fakecri.Server
	c *cri.Client

	mu    sync.Mutex
	calls map[string]int
}

func bubble(t *testing.T, cfg fakecri.Config, f func(*rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := fakecri.New(cfg)
		conn, err := s.Dial()
		if err != nil {
			t.Fatal(err)
		}
		r := &rig{t: t, s: s, calls: map[string]int{}}
		r.c = cri.NewWithConns(conn, conn, cri.Config{RequestTimeout: time.Minute, Observe: r.count}, zap.NewNop())
		f(r)
		if err := errors.Join(r.c.Close(), conn.Close()); err != nil {
			t.Error(err)
		}
		s.Close()
	})
}

func (r *rig) count(operation string, _ time.Duration, _ error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls[operation]++
}

// spent returns the calls made by f.
func (r *rig) spent(f func()) map[string]int {
	r.mu.Lock()
	clear(r.calls)
	r.mu.Unlock()
	f()
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.calls)
}

func (r *rig) no(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

func thePod() *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "ns", UID: "uid-p"},
		Spec:       corev1.PodSpec{EnableServiceLinks: new(true), Containers: []corev1.Container{{Name: "c", Image: image}}},
	}
}

func (r *rig) sandbox() string {
	r.t.Helper()
	id, err := r.c.CreateSandbox(r.t.Context(), pod.SandboxRequest{Pod: thePod()})
	r.no(err)
	return id
}

func containerRequest(sandbox string, attempt int) pod.ContainerRequest {
	p := thePod()
	return pod.ContainerRequest{
		Sandbox: pod.SandboxRequest{Pod: p}, SandboxID: sandbox, Container: &p.Spec.Containers[0], Attempt: attempt,
		Image: pod.Image{Ref: image},
	}
}

func (r *rig) started(sandbox string, attempt int) string {
	r.t.Helper()
	id, err := r.c.CreateContainer(r.t.Context(), containerRequest(sandbox, attempt))
	r.no(err)
	r.no(r.c.StartContainer(r.t.Context(), id))
	return id
}

func (r *rig) observe() pod.Observation {
	r.t.Helper()
	o, err := r.c.Observe(r.t.Context(), pod.RefOf(thePod()))
	r.no(err)
	return o
}

func reasonIs(t *testing.T, err error, want string) {
	t.Helper()
	var f *pod.Failure
	if !errors.As(err, &f) || f.Reason != want {
		t.Errorf("%v, want reason %s", err, want)
	}
}

func TestObserveAsksOnlyForWhatMayHaveChanged(t *testing.T) {
	bubble(t, fakecri.Config{}, func(r *rig) {
		sb := r.sandbox()
		first := r.started(sb, 0)
		statuses := func() int {
			n := r.spent(func() { r.observe() })
			if n["list_podsandbox"] != 1 || n["list_containers"] != 1 {
				t.Errorf("lists: %v", n)
			}
			return n["podsandbox_status"]*100 + n["container_status"]
		}
		steps := []struct {
			name string
			do   func()
			want int
		}{
			{"first", func() {}, 101},
			{"nothing new", func() {}, 0},
			{"crash", func() { r.s.Kill(first, 1) }, 1},
			{"an OOM kill may be reported late", func() {}, 1},
			{"settled", func() { time.Sleep(time.Minute) }, 0},
			{"next attempt", func() { r.started(sb, 1) }, 1},
			{"nothing new again", func() {}, 0},
			{"sandbox stopped", func() { r.no(r.c.StopSandbox(r.t.Context(), sb)) }, 1},
			{"forgotten", func() { r.c.Forget("uid-p") }, 102},
		}
		for _, s := range steps {
			s.do()
			if got := statuses(); got != s.want {
				t.Errorf("%s: %d statuses (100 per sandbox), want %d", s.name, got, s.want)
			}
		}
		if o := r.observe(); o.Sandboxes[0].Ready || len(o.Sandboxes[0].IPs) > 0 || o.AnyLive() {
			t.Errorf("at the end: %+v", o)
		}
	})
}

func TestObserve(t *testing.T) {
	bubble(t, fakecri.Config{}, func(r *rig) {
		id := r.started(r.sandbox(), 4)
		at := time.Now()
		time.Sleep(time.Hour)
		r.s.Kill(id, 3)
		o := r.observe()
		want := pod.Container{
			ID: id, Name: "c", SandboxID: o.Sandboxes[0].ID, Attempt: 4, State: pod.ContainerExited, CreatedAt: at.UTC(), StartedAt: at.UTC(),
			FinishedAt: at.Add(time.Hour).UTC(), ExitCode: 3, Reason: "Error", Image: image, ImageID: o.Containers[0].ImageID,
			Hash: o.Containers[0].Hash,
		}
		if o.Containers[0] != want {
			t.Errorf("observed %+v, want %+v", o.Containers[0], want)
		}
		if s := o.Sandboxes[0]; !slices.Equal(s.IPs, []string{"10.88.0.3"}) || !s.Ready || s.HostNetwork {
			t.Errorf("observed %+v", s)
		}
	})
}

func TestLostReplies(t *testing.T) {
	lost := map[string]bool{"RunPodSandbox": true, "CreateContainer": true, "StartContainer": true, "StopContainer": true, "RemovePodSandbox": true}
	cfg := fakecri.Config{Fault: func(c fakecri.Call) fakecri.Fault {
		if lost[c.Method] && c.N == 0 {
			return fakecri.Fault{Kind: fakecri.LostReply}
		}
		return fakecri.Fault{}
	}}
	bubble(t, cfg, func(r *rig) {
		ctx := r.t.Context()
		_, err := r.c.CreateSandbox(ctx, pod.SandboxRequest{Pod: thePod()})
		reasonIs(t, err, "CreatePodSandboxError")
		sb := r.sandbox()
		_, err = r.c.CreateContainer(ctx, containerRequest(sb, 0))
		reasonIs(t, err, "CreateContainerError")
		id, err := r.c.CreateContainer(ctx, containerRequest(sb, 0))
		r.no(err)
		r.no(r.c.StartContainer(ctx, id)) // the status shows that it runs
		reasonIs(t, r.c.StopContainer(ctx, id, 0), "KillContainerError")
		r.no(r.c.StopContainer(ctx, id, 0))
		_, err = r.c.CreateContainer(ctx, containerRequest(sb, 0))
		reasonIs(t, err, "CreateContainerError")
		if !strings.Contains(err.Error(), "is reserved for") || strings.Contains(err.Error(), "rpc error") {
			t.Errorf("text: %v", err)
		}
		r.no(r.c.StopSandbox(ctx, sb))
		reasonIs(t, r.c.RemoveSandbox(ctx, sb), "RemovePodSandboxError")
		r.no(r.c.RemoveSandbox(ctx, sb))
		if v := r.s.Violations(); len(v) > 0 {
			t.Error(v)
		}
	})
}

func TestDeadlines(t *testing.T) {
	cfg := fakecri.Config{
		Fault: func(c fakecri.Call) fakecri.Fault {
			if c.Method == "Status" || c.Method == "RunPodSandbox" && c.N == 1 {
				return fakecri.Fault{Kind: fakecri.Hang}
			}
			return fakecri.Fault{}
		},
		Behave:   func(string, string, int) fakecri.Behaviour { return fakecri.Behaviour{IgnoreTerm: true} },
		Pullable: []fakecri.Image{{Name: image, PullFor: time.Hour}},
	}
	bubble(t, cfg, func(r *rig) {
		took := func(f func()) time.Duration {
			begin := time.Now()
			f()
			return time.Since(begin)
		}
		if d := took(func() {
			if _, err := r.c.Info(r.t.Context()); status.Code(err) != codes.DeadlineExceeded {
				t.Error(err)
			}
		}); d != time.Minute {
			t.Errorf("status: %v", d)
		}
		if d := took(func() {
			_, err := r.c.PullImage(r.t.Context(), thePod(), image, nil)
			r.no(err)
		}); d != time.Hour {
			t.Errorf("a pull has no deadline: %v", d)
		}
		id := r.started(r.sandbox(), 0)
		if d := took(func() { r.no(r.c.StopContainer(r.t.Context(), id, 10*time.Minute)) }); d != 10*time.Minute {
			t.Errorf("a stop waits for the grace: %v", d)
		}
		if d := took(func() {
			_, err := r.c.CreateSandbox(r.t.Context(), pod.SandboxRequest{Pod: thePod(), Attempt: 1})
			reasonIs(t, err, "CreatePodSandboxError")
		}); d != 2*time.Minute {
			t.Errorf("a sandbox may take twice as long: %v", d)
		}
	})
}

func TestRecoversFromRestart(t *testing.T) {
	bubble(t, fakecri.Config{}, func(r *rig) {
		id := r.started(r.sandbox(), 0)
		const down = 2 * time.Minute
		up := time.Now().Add(down)
		r.s.Restart(fakecri.Restart{Down: down})
		for {
			_, err := r.c.Observe(r.t.Context(), pod.RefOf(thePod()))
			if err == nil {
				break
			}
			if status.Code(err) != codes.Unavailable {
				t.Fatal(err)
			}
			time.Sleep(100 * time.Millisecond)
		}
		if late := time.Since(up); late > 1500*time.Millisecond {
			t.Errorf("%v after the runtime came back", late)
		}
		if o := r.observe(); o.Latest("c").ID != id || o.Latest("c").State != pod.ContainerRunning {
			t.Errorf("observed %+v", o)
		}
	})
}

func TestEvents(t *testing.T) {
	bubble(t, fakecri.Config{}, func(r *rig) {
		ctx, cancel := context.WithCancel(r.t.Context())
		got := make(chan pod.Hint, 10)
		ended := make(chan error)
		go func() { ended <- r.c.Events(ctx, func(h pod.Hint) { got <- h }) }()
		if h := <-got; h != (pod.Hint{Why: cri.WhyConnected}) {
			t.Errorf("first %+v", h)
		}
		synctest.Wait()
		id := r.sandbox()
		if h := <-got; h != (pod.Hint{UID: "uid-p", Why: "container created", What: pod.Made, ID: id, At: time.Unix(0, time.Now().UnixNano())}) {
			t.Errorf("got %+v", h)
		}
		cancel()
		if err := <-ended; status.Code(err) != codes.Canceled || errors.Is(err, cri.ErrNoEvents) {
			t.Error(err)
		}
	})
	bubble(t, fakecri.Config{NoEvents: true}, func(r *rig) {
		if err := r.c.Events(r.t.Context(), func(pod.Hint) {}); !errors.Is(err, cri.ErrNoEvents) {
			t.Error(err)
		}
	})
}

func TestInfo(t *testing.T) {
	bubble(t, fakecri.Config{NetworkNotReady: "cni plugin not initialized", CgroupDriver: "cgroupfs"}, func(r *rig) {
		info, err := r.c.Info(r.t.Context())
		r.no(err)
		if info.Name != "fakecri" || info.RuntimeProblem != "" || !info.SupplementalGroupsPolicy || len(info.Handlers) != 1 ||
			info.NetworkProblem != "NetworkReady=false reason:NetworkPluginNotReady message:cni plugin not initialized" {
			t.Errorf("%+v", info)
		}
		driver, err := r.c.CgroupDriver(r.t.Context())
		if err != nil || driver != "cgroupfs" {
			t.Error(driver, err)
		}
		r.no(r.c.UpdatePodCIDR(r.t.Context(), "10.0.0.0/24"))
		if got := r.s.Snapshot().PodCIDR; got != "10.0.0.0/24" {
			t.Errorf("pod CIDR %q", got)
		}
	})
	bubble(t, fakecri.Config{}, func(r *rig) {
		if driver, err := r.c.CgroupDriver(r.t.Context()); err != nil || driver != "" {
			t.Error(driver, err)
		}
	})
}

func TestMissingSocket(t *testing.T) {
	c, err := cri.New(cri.Config{RuntimeEndpoint: "unix:///does/not/exist.sock"}, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	_, err = c.Info(t.Context())
	for _, want := range []string{
		"unix:///does/not/exist.sock", "no such file or directory", "is containerd running?", "containerRuntimeEndpoint",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %q", err, want)
		}
	}
}

func TestEndpoints(t *testing.T) {
	for endpoint, good := range map[string]bool{
		"unix:///run/x.sock": true, "/run/x.sock": true, "tcp://127.0.0.1:1": true,
		"": false, "run/x.sock": false, "unix://run/x": false, "tcp://x": false, "http://x": false,
	} {
		c, err := cri.New(cri.Config{RuntimeEndpoint: endpoint}, zap.NewNop())
		if (err == nil) != good {
			t.Errorf("%q: %v", endpoint, err)
		}
		if err == nil {
			_ = c.Close()
		} else if !strings.Contains(err.Error(), "containerRuntimeEndpoint") {
			t.Errorf("%q: %v does not name the option", endpoint, err)
		}
	}
}
