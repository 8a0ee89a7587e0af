package image

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// told are events.
type told struct {
	mu    sync.Mutex
	lines []string
}

func (n *told) Event(p *corev1.Pod, container string, warning bool, reason, message string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.lines = append(n.lines, fmt.Sprintf("%s/%s %v %s %s", p.Name, container, warning, reason, message))
}

func TestLongPullsAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &registry{takes: 100 * time.Second}
		n := &told{}
		p := newPuller(t, Config{Serialize: true, Events: n}, r)
		var all sync.WaitGroup
		for _, c := range []struct{ pod, image string }{{"p", "a:1"}, {"q", "b:1"}} {
			all.Go(func() {
				if _, err := p.Ensure(t.Context(), requestOf(c.pod, c.image, corev1.PullAlways)); err != nil {
					t.Error(err)
				}
			})
			synctest.Wait()
		}
		time.Sleep(40 * time.Second)
		w := p.Waiting()
		if len(w) != 2 || !w[0].Pulling || w[1].Pulling || time.Since(w[0].Began) != 40*time.Second || !w[1].Began.IsZero() {
			t.Errorf("waiting: %+v", w)
		}
		all.Wait()
		slices.Sort(n.lines)
		want := []string{
			`p/c false Pulling Pulling image "a:1": still pulling after 1m0s`,
			`p/c false Pulling Pulling image "a:1": still pulling after 30s`,
			`q/c false Pulling Pulling image "b:1": still pulling after 2m0s`,
			`q/c false Pulling Pulling image "b:1": still waiting for its turn after 1m0s`,
			`q/c false Pulling Pulling image "b:1": still waiting for its turn after 30s`,
		}
		if !slices.Equal(n.lines, want) {
			t.Errorf("told %q", n.lines)
		}
	})
}

func TestMissingSecretsAreToldAfterAFailure(t *testing.T) {
	const text = "p/ true FailedToRetrieveImagePullSecret Unable to retrieve some image pull secrets (gone, lost); " +
		"attempting to pull the image may not succeed."
	for name, c := range map[string]struct {
		err     error
		missing []string
		refers  bool
		told    int
	}{
		"all well":    {nil, []string{"gone"}, true, 0},
		"failed":      {errors.New("401"), []string{"gone", "lost"}, true, 1},
		"all there":   {errors.New("401"), nil, true, 0},
		"none named":  {errors.New("401"), []string{"gone"}, false, 0},
		"no registry": {errors.New("RegistryUnavailable: 503"), []string{"gone"}, true, 0},
	} {
		t.Run(name, func(t *testing.T) {
			n := &told{}
			missing := func(context.Context, *corev1.Pod) []string { return c.missing }
			p := newPuller(t, Config{Events: n, MissingSecrets: missing}, &registry{pullErr: c.err})
			req := requestOf("p", "a:1", corev1.PullAlways)
			if c.refers {
				req.Pod.Spec.ImagePullSecrets = []corev1.LocalObjectReference{{Name: "gone"}, {Name: "lost"}}
			}
			if _, err := p.Ensure(t.Context(), req); (err != nil) != (c.err != nil) {
				t.Error(err)
			}
			if len(n.lines) != c.told || c.told > 0 && n.lines[0] != text {
				t.Errorf("told %q", n.lines)
			}
		})
	}
}
