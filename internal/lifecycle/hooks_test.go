package lifecycle

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"nodeagent.dev/nodeagent/internal/lifecycle/plan"
	"nodeagent.dev/nodeagent/internal/pod"
)

// told are the hooks that were called, in words.
type told struct {
	mu  sync.Mutex
	all []string
}

func (h *told) note(format string, args ...any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.all = append(h.all, fmt.Sprintf(format, args...))
}

func (h *told) count(prefix string) (n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, text := range h.all {
		if strings.HasPrefix(text, prefix) {
			n++
		}
	}
	return n
}

// TestHooksAreTold: what is counted is told once each, from a pod's launch to its
// end.
func TestHooksAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h told
		w := newWorld(t, func(w *world, d *Deps) {
			w.limit = 1
			d.Hooks = Hooks{
				Launched: func(p *corev1.Pod, refused string) {
					if p == nil {
						h.note("launched nobody's")
						return
					}
					h.note("launched %s %s", p.Name, refused)
				},
				Operation: func(p *corev1.Pod, a plan.Action, _ time.Duration, err error) {
					h.note("did %s %v %v", a.Verb(), p != nil, err)
				},
				Reported: func(of pod.Spec, before, now *corev1.PodStatus, seen time.Time) {
					if before.Phase != now.Phase && !seen.IsZero() {
						h.note("%s from %q to %q", of.Pod.Name, before.Phase, now.Phase)
					}
				},
				Retired: func(uid types.UID) { h.note("retired %s", uid) },
			}
		})
		p := newPod("p", "a")
		w.want(p)
		synctest.Wait()
		w.want(p, newPod("q", "a"))
		synctest.Wait()
		w.want(deleted(p, 1))
		pass(time.Minute)
		for text, n := range map[string]int{
			"launched p ": 1, "launched q OutOfpods": 1, "did CreateSandbox true <nil>": 1, "did StartContainer true <nil>": 1,
			`p from "" to "Pending"`: 1, `p from "Pending" to "Running"`: 1, "retired ": 2, "launched nobody's": 0,
		} {
			if got := h.count(text); got != n {
				t.Errorf("%q was told %d times, want %d; all: %q", text, got, n, slices.Clone(h.all))
			}
		}
	})
}
