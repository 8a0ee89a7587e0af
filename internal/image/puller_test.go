package image

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

	"nodeagent.dev/nodeagent/internal/pod"
)

// registry is a runtime whose pulls take a while.
type registry struct {
	mu        sync.Mutex
	present   map[string]bool
	pulls     []string
	cancelled int
	now, most int

	takes   time.Duration
	pullErr error
	lookErr error
}

func (r *registry) ImagePresent(_ context.Context, ref string) (string, int64, bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.lookErr != nil {
		return "", 0, false, r.lookErr
	}
	return "sha256:" + ref, 7, r.present[ref], nil
}

func (r *registry) PullImage(ctx context.Context, _ *corev1.Pod, ref string, _ *pod.RegistryAuth) (string, error) {
	r.mu.Lock()
	r.pulls = append(r.pulls, ref)
	r.now++
	r.most = max(r.most, r.now)
	err := r.pullErr
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		r.now--
		r.mu.Unlock()
	}()
	select {
	case <-time.After(r.takes):
	case <-ctx.Done():
		r.mu.Lock()
		r.cancelled++
		r.mu.Unlock()
		return "", ctx.Err()
	}
	if err != nil {
		return "", err
	}
	return "sha256:" + ref, nil
}

func newPuller(t *testing.T, cfg Config, s Service) *Puller {
	t.Helper()
	p, err := New(cfg, s, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func request(image string, policy corev1.PullPolicy) pod.ImageRequest {
	return pod.ImageRequest{Pod: &corev1.Pod{}, Container: &corev1.Container{Image: image, ImagePullPolicy: policy}}
}

func TestPolicies(t *testing.T) {
	for _, c := range []struct {
		image   string
		policy  corev1.PullPolicy
		present bool
		pulled  bool
		reason  string
	}{
		{"a:1", corev1.PullIfNotPresent, true, false, ""},
		{"a:1", corev1.PullIfNotPresent, false, true, ""},
		{"a:1", corev1.PullAlways, true, true, ""},
		{"a:1", corev1.PullNever, true, false, ""},
		{"a:1", corev1.PullNever, false, false, ReasonNeverPull},
		{"a:1", "", true, false, ""},
		{"a", "", true, true, ""},
		{"a:latest", "", true, true, ""},
	} {
		synctest.Test(t, func(t *testing.T) {
			name := c.image
			if !strings.Contains(name, ":") {
				name += ":latest"
			}
			r := &registry{present: map[string]bool{name: c.present}, takes: time.Second}
			got, err := newPuller(t, Config{}, r).Ensure(t.Context(), request(c.image, c.policy))
			if reason := reasonOf(err); reason != c.reason {
				t.Fatalf("%+v: %v", c, err)
			}
			if err != nil {
				if want := `Container image "a:1" is not present with pull policy of Never`; err.Error() != want {
					t.Errorf("message %q, want %q", err, want)
				}
				return
			}
			want := pod.ImageResult{Image: pod.Image{Name: name, Ref: "sha256:" + name, UserSpecified: c.image}, Pulled: c.pulled, Size: 7}
			if c.pulled { // the fake registry takes a second
				want.Took, want.Waited = time.Second, time.Second
			}
			if got != want {
				t.Errorf("%+v: got %+v, want %+v", c, got, want)
			}
		})
	}
}

func reasonOf(err error) string {
	if f, ok := errors.AsType[*pod.Failure](err); ok {
		return f.Reason
	}
	if err != nil {
		return "not a failure"
	}
	return ""
}

func TestFailures(t *testing.T) {
	boom := errors.New("boom")
	for name, c := range map[string]struct {
		image           string
		lookErr, pulErr error
		reason, message string
	}{
		"name":      {image: "a b", reason: ReasonInvalidName, message: `Failed to apply default image tag "a b": couldn't parse image name "a b": invalid reference format`},
		"uppercase": {image: "Abc", reason: ReasonInvalidName, message: `Failed to apply default image tag "Abc": couldn't parse image name "Abc": invalid reference format: repository name (library/Abc) must be lowercase`},
		"inspect":   {image: "a", lookErr: boom, reason: ReasonInspect, message: `Failed to inspect image "a:latest": boom`},
		"pull":      {image: "a", pulErr: boom, reason: ReasonPull, message: "boom"},
		"unknown":   {image: "a", pulErr: errors.New("rpc error: code = Unknown desc = no luck"), reason: ReasonPull, message: "no luck"},
		"not found": {image: "a", pulErr: errors.New("rpc error: code = NotFound desc = no such image"), reason: ReasonPull, message: "rpc error: code = NotFound desc = no such image"},
		"registry":  {image: "a", pulErr: errors.New("RegistryUnavailable: 503"), reason: ReasonRegistryUnavailable, message: "image pull failed for a because the registry is unavailable: 503"},
		"signature": {image: "a", pulErr: errors.New("rpc error: code = Unknown desc = SignatureValidationFailed: bad key"), reason: ReasonSignature, message: "image pull failed for a because the signature validation failed: bad key"},
	} {
		t.Run(name, func(t *testing.T) {
			r := &registry{lookErr: c.lookErr, pullErr: c.pulErr}
			_, err := newPuller(t, Config{}, r).Ensure(t.Context(), request(c.image, corev1.PullIfNotPresent))
			if reasonOf(err) != c.reason || err.Error() != c.message {
				t.Errorf("%s %v\nwant %s %s", reasonOf(err), err, c.reason, c.message)
			}
			if c.pulErr != nil && !errors.Is(err, c.pulErr) {
				t.Error("the cause is lost")
			}
		})
	}
}

func TestOnePullForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &registry{takes: time.Minute}
		p := newPuller(t, Config{}, r)
		var all sync.WaitGroup
		impatient, leave := context.WithCancel(t.Context())
		all.Go(func() {
			_, err := p.Ensure(impatient, request("a:1", corev1.PullAlways))
			if !errors.Is(err, context.Canceled) || reasonOf(err) != "not a failure" {
				t.Errorf("the one who left: %v", err)
			}
		})
		synctest.Wait()
		for range 3 {
			all.Go(func() {
				if _, err := p.Ensure(t.Context(), request("a:1", corev1.PullAlways)); err != nil {
					t.Error(err)
				}
			})
		}
		time.Sleep(time.Second)
		if w := p.Waiting(); len(w) != 1 || w[0].Waiters != 4 || !w[0].Pulling || time.Since(w[0].Since) != time.Second {
			t.Errorf("waiting: %+v", w)
		}
		leave() // the first, whose call began it
		synctest.Wait()
		began := time.Now()
		all.Wait()
		if took := time.Since(began); took != 59*time.Second {
			t.Errorf("the others waited %v more", took)
		}
		if len(r.pulls) != 1 || r.cancelled != 0 {
			t.Errorf("%d pulls, %d cancelled", len(r.pulls), r.cancelled)
		}
		if w := p.Waiting(); len(w) != 0 {
			t.Errorf("still waiting: %+v", w)
		}
	})
}

func TestPullNobodyWantsIsCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &registry{takes: time.Hour}
		p := newPuller(t, Config{}, r)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := p.Ensure(ctx, request("a:1", corev1.PullAlways)); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		// At once, before the cancelled pull has returned: it must be a new one.
		r.takes = time.Second
		if _, err := p.Ensure(t.Context(), request("a:1", corev1.PullAlways)); err != nil {
			t.Fatal(err)
		}
		if len(r.pulls) != 2 || r.cancelled != 1 {
			t.Errorf("%d pulls, %d cancelled", len(r.pulls), r.cancelled)
		}
	})
}

func TestLimits(t *testing.T) {
	const n = 6
	for name, c := range map[string]struct {
		cfg  Config
		took time.Duration
		most int
	}{
		"none":     {Config{}, 10 * time.Second, n},
		"serial":   {Config{Serialize: true}, 60 * time.Second, 1},
		"parallel": {Config{MaxParallel: 2}, 30 * time.Second, 2},
		"rate":     {Config{PullQPS: 1, PullBurst: 2}, 14 * time.Second, n},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := &registry{takes: 10 * time.Second}
				p := newPuller(t, c.cfg, r)
				began := time.Now()
				var all sync.WaitGroup
				for i := range n {
					all.Go(func() {
						if _, err := p.Ensure(t.Context(), request("image:"+string(rune('a'+i)), corev1.PullAlways)); err != nil {
							t.Error(err)
						}
					})
				}
				all.Wait()
				if took := time.Since(began); took.Round(time.Millisecond) != c.took || r.most != c.most {
					t.Errorf("took %v with %d at a time, want %v with %d", took, r.most, c.took, c.most)
				}
			})
		})
	}
}

func TestLeavingTheQueueFreesIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &registry{takes: time.Minute}
		p := newPuller(t, Config{Serialize: true}, r)
		var all sync.WaitGroup
		all.Go(func() { _, _ = p.Ensure(t.Context(), request("a:1", corev1.PullAlways)) })
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := p.Ensure(ctx, request("b:1", corev1.PullAlways)); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		all.Wait()
		if _, err := p.Ensure(t.Context(), request("c:1", corev1.PullAlways)); err != nil {
			t.Error(err)
		}
		if len(r.pulls) != 2 {
			t.Errorf("pulls: %v", r.pulls)
		}
	})
}

func TestPanicEndsThePullAlone(t *testing.T) {
	p := newPuller(t, Config{Serialize: true}, panics{})
	for range 2 { // the slot must have been given back
		if _, err := p.Ensure(t.Context(), request("a:1", corev1.PullAlways)); reasonOf(err) != ReasonPull {
			t.Errorf("err = %v", err)
		}
	}
}

type panics struct{ Service }

func (panics) PullImage(context.Context, *corev1.Pod, string, *pod.RegistryAuth) (string, error) {
	panic("bug")
}

func TestConfig(t *testing.T) {
	for _, bad := range []Config{{PullQPS: -1}, {PullQPS: 5}, {MaxParallel: -1}, {Serialize: true, MaxParallel: 3}} {
		if _, err := New(bad, &registry{}, zap.NewNop()); err == nil {
			t.Errorf("%+v was accepted", bad)
		}
	}
}

func TestNormalise(t *testing.T) {
	digest := "@sha256:" + strings.Repeat("0", 64)
	for in, want := range map[string]string{
		"busybox": "busybox:latest", "busybox:1": "busybox:1", "r.io:5000/a/b": "r.io:5000/a/b:latest",
		"a" + digest: "a" + digest, "a:1" + digest: "a:1" + digest,
	} {
		if got, _, err := normalise(in); got != want || err != nil {
			t.Errorf("%s: %s, %v; want %s", in, got, err, want)
		}
	}
}
