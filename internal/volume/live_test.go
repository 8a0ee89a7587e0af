package volume

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"nodeagent.dev/nodeagent/internal/pod"
)

// mirror is a live type that notes the labels of the pods it is updated for.
type mirror struct {
	fake
	mu     sync.Mutex
	labels []string
	update func(ctx context.Context, r Request) (time.Time, error)
}

// Update implements Live.
func (m *mirror) Update(ctx context.Context, r Request) (time.Time, error) {
	m.mu.Lock()
	m.labels = append(m.labels, r.Pod.Labels["l"])
	update := m.update
	m.mu.Unlock()
	if update != nil {
		return update(ctx, r)
	}
	return time.Time{}, nil
}

func (m *mirror) seen() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return strings.Join(m.labels, " ")
}

func (m *mirror) will(f func(ctx context.Context, r Request) (time.Time, error)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.update = f
}

// told collects events.
type told struct {
	mu   sync.Mutex
	list []string
}

// Event implements Events.
func (t *told) Event(p *corev1.Pod, _ string, _ bool, reason, message string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.list = append(t.list, p.Name+" "+reason+": "+message)
}

func labelled(uid, label string) *corev1.Pod {
	p := testPod(uid, empty("v"))
	p.Labels = map[string]string{"l": label}
	return p
}

// follow runs a test with a manager that keeps the volume of one pod up to date.
func follow(t *testing.T, test func(t *testing.T, m *Manager, plugin *mirror, events *told)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		plugin, events := &mirror{}, &told{}
		m, err := New(Config{RootDir: t.TempDir(), Events: events}, []Plugin{plugin}, zap.NewNop())
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- m.Run(ctx) }()
		if _, err := m.Mount(t.Context(), labelled("u", "a")); err != nil {
			t.Fatal(err)
		}
		test(t, m, plugin, events)
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func (m *mirror) want(t *testing.T, want string) {
	t.Helper()
	synctest.Wait()
	if got := m.seen(); got != want {
		t.Errorf("updates %q, want %q", got, want)
	}
}

func TestLiveVolumesFollowTheirPod(t *testing.T) {
	follow(t, func(t *testing.T, m *Manager, plugin *mirror, _ *told) {
		plugin.want(t, "a")
		m.Follow(labelled("u", "a"))
		m.Follow(labelled("stranger", "x"))
		plugin.want(t, "a")
		m.Follow(labelled("u", "b"))
		plugin.want(t, "a b")
		m.Changed([]types.UID{"u", "stranger"})
		plugin.want(t, "a b b")
		if err := m.Unmount(t.Context(), pod.Ref{UID: "u"}); err != nil {
			t.Error(err)
		}
		m.Follow(labelled("u", "c"))
		m.Changed([]types.UID{"u"})
		plugin.want(t, "a b b")
		if len(m.live.pods) != 0 || len(m.live.stale) != 0 {
			t.Errorf("still known: %v, %v", m.live.pods, m.live.stale)
		}
	})
}

// To mark a pod's object for deletion makes a generation, and changes no volume.
func TestTheEndOfAPodChangesNoVolume(t *testing.T) {
	follow(t, func(t *testing.T, m *Manager, plugin *mirror, _ *told) {
		of := func(generation int64, deleted bool) *corev1.Pod {
			p := labelled("u", "a")
			p.Generation = generation
			if deleted {
				p.DeletionTimestamp = &metav1.Time{Time: time.Now()}
			}
			return p
		}
		m.Follow(of(1, false))
		plugin.want(t, "a a")
		m.Follow(of(2, true))
		plugin.want(t, "a a")
		m.Follow(of(3, true))
		plugin.want(t, "a a a")
		m.Follow(of(3, false))
		m.Follow(of(5, true)) // a spec in between was not seen
		plugin.want(t, "a a a a")
	})
}

func TestLiveVolumesAreUpdatedWhenDue(t *testing.T) {
	follow(t, func(t *testing.T, m *Manager, plugin *mirror, _ *told) {
		plugin.will(func(context.Context, Request) (time.Time, error) { return time.Now().Add(time.Hour), nil })
		m.Changed([]types.UID{"u"})
		plugin.want(t, "a a")
		time.Sleep(time.Hour - time.Second)
		plugin.want(t, "a a")
		time.Sleep(2 * time.Second)
		plugin.want(t, "a a a")
		if err := m.Unmount(t.Context(), pod.Ref{UID: "u"}); err != nil {
			t.Error(err)
		}
		time.Sleep(2 * time.Hour)
		plugin.want(t, "a a a")
	})
}

func TestFailedUpdatesAreToldOnceAndTriedAgain(t *testing.T) {
	follow(t, func(t *testing.T, m *Manager, plugin *mirror, events *told) {
		plugin.will(func(context.Context, Request) (time.Time, error) {
			return time.Time{}, errors.New(`configmap "c" not found`)
		})
		m.Changed([]types.UID{"u"})
		plugin.want(t, "a a")
		time.Sleep(time.Minute)
		synctest.Wait()
		tries := strings.Count(plugin.seen(), "a")
		if tries < 7 || tries > 9 { // half a second, one, two, ...
			t.Errorf("%d tries in a minute", tries)
		}
		if len(events.list) != 1 || events.list[0] != `p FailedMount: MountVolume.SetUp failed for volume "v" : configmap "c" not found` {
			t.Errorf("events: %q", events.list)
		}
		plugin.will(nil)
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		healed := plugin.seen()
		time.Sleep(time.Hour)
		plugin.want(t, healed)
	})
}

func TestUpdateWaitsForOtherWorkOnThePod(t *testing.T) {
	follow(t, func(t *testing.T, m *Manager, plugin *mirror, _ *told) {
		hang := make(chan struct{})
		go func() {
			_ = m.jobs.do(t.Context(), "u", "something else", func(context.Context) error { <-hang; return nil })
		}()
		synctest.Wait()
		m.Changed([]types.UID{"u"})
		other := labelled("other", "x")
		if _, err := m.Mount(t.Context(), other); err != nil {
			t.Error(err)
		}
		m.Changed([]types.UID{"other"})
		plugin.want(t, "a x x")
		close(hang)
		plugin.want(t, "a x x a")
	})
}

func TestUpdateThatPanicsIsTriedAgain(t *testing.T) {
	follow(t, func(t *testing.T, m *Manager, plugin *mirror, events *told) {
		plugin.will(func(context.Context, Request) (time.Time, error) { panic("bug") })
		m.Changed([]types.UID{"u"})
		plugin.want(t, "a a")
		if len(events.list) != 1 || !strings.Contains(events.list[0], "panicked: bug") {
			t.Errorf("events: %q", events.list)
		}
		plugin.will(nil)
		time.Sleep(time.Second)
		plugin.want(t, "a a a")
	})
}

func TestStepsNameTheVolumeThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hang := make(chan struct{})
		plugin := &fake{mount: func(_ context.Context, r Request) error {
			if r.Ref.Name == "slow" {
				<-hang
			}
			return nil
		}}
		m := newManager(t, plugin)
		go func() { _, _ = m.Mount(t.Context(), testPod("u", empty("fast"), empty("slow"))) }()
		time.Sleep(time.Minute)
		got := m.Steps("u")
		if len(got) != 1 || got[0].Volume != "slow" || got[0].What != "mounting it (example.com/fake)" || time.Since(got[0].Since) < time.Minute {
			t.Errorf("steps %+v", got)
		}
		close(hang)
		synctest.Wait()
		if got := m.Steps("u"); len(got) != 0 {
			t.Errorf("steps afterwards %+v", got)
		}
	})
}

func TestClaimsNeedAnAPIServer(t *testing.T) {
	m := newManager(t, &fake{})
	claim := corev1.Volume{Name: "data"}
	claim.PersistentVolumeClaim = &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "c"}
	_, err := m.Mount(t.Context(), testPod("u", claim, empty("ok"), corev1.Volume{Name: "odd"}))
	parts := pod.Failures(err)
	if len(parts) != 2 || !strings.Contains(parts[0].Error(), `SetUp failed for volume "odd"`) || pod.Reason(parts[1], "") != ReasonFailedMount ||
		!strings.HasPrefix(parts[1].Error(), "Unable to attach or mount volumes: unmounted volumes=[data odd], unattached volumes=[], "+
			"failed to process volumes=[data]: this node runs without an API server") {
		t.Errorf("err = %v", err)
	}
}
