package lifecycle

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"

	"nodeagent.dev/nodeagent/internal/pod"
)

// Something the pod waits for appears: nobody waits for the next try.
func TestWhatIsGivenEndsThePause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		part := func(name string) error {
			return &pod.Failure{Reason: "FailedMount", Message: name + " not found"}
		}
		w.setRule(func(_ context.Context, verb, _ string) error {
			if verb == "Mount" {
				return &pod.Failure{Reason: "FailedMount", Message: "a and b not found", Err: errors.Join(part("a"), part("b"))}
			}
			return nil
		})
		w.want(newPod("p", "c"))
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		tries := len(w.called("Mount"))
		events := slices.DeleteFunc(w.called("Event"), func(c call) bool { return c.what != "FailedMount " })
		if len(events) != 2*tries {
			t.Errorf("%d events about %d tries with two volumes", len(events), tries)
		}
		w.setRule(nil)
		w.hints <- pod.Hint{UID: "p", Why: "a ConfigMap appeared", Given: true}
		synctest.Wait()
		if got := len(w.called("Mount")); got != tries+1 {
			t.Errorf("%d tries right after the hint, want %d", got, tries+1)
		}
		if st := w.status("p"); st.Phase != corev1.PodRunning {
			t.Errorf("the pod: %v", st)
		}
		looks := len(w.called("Observe"))
		w.hints <- pod.Hint{UID: "p", Why: "a ConfigMap changed", Given: true}
		synctest.Wait()
		if got := len(w.called("Observe")); got != looks {
			t.Errorf("the runtime was asked %d times because a ConfigMap changed", got-looks)
		}
	})
}

// What a pod becomes is told to its volumes once they are mounted.
func TestVolumesFollowTheirPod(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		p := newPod("p", "c")
		w.want(p)
		synctest.Wait()
		first := len(w.called("Follow"))
		p = p.DeepCopy()
		p.Labels = map[string]string{"new": "label"}
		w.want(p)
		synctest.Wait()
		verbs := w.called("Follow")
		if first != 1 || len(verbs) != 2 || !slices.ContainsFunc(w.called("Mount"), func(c call) bool { return c.what == "p" }) {
			t.Errorf("told %d times when mounted, %d times in all", first, len(verbs))
		}
	})
}
