//go:build e2e

package lifecycle

import (
	"context"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"nodeagent.dev/nodeagent/test/bed"
	"nodeagent.dev/nodeagent/test/bed/keeper"
)

const finalizer = "test.example/hold"

// held is a pod whose object stays until release.
func held(p *corev1.Pod) *corev1.Pod {
	p.Finalizers = []string{finalizer}
	return p
}

// release lets the object of a held pod go.
func (l *life) release(p *corev1.Pod) {
	l.t.Helper()
	l.mu.Lock()
	gone := l.gone[p.UID]
	l.mu.Unlock()
	if gone {
		l.t.Errorf("%s is gone in spite of its finalizer", l.name)
		return
	}
	l.patch("removing the finalizer", `{"metadata":{"$deleteFromPrimitiveList/finalizers":["`+finalizer+`"]}}`)
	l.ended(p)
}

// TestTermination: how containers end when their pod is deleted, and what the
// pod is then.
func TestTermination(t *testing.T) {
	for name, c := range map[string]struct {
		policy corev1.RestartPolicy
		script string
		grace  int64 // of the deletion
		code   int32
		phase  corev1.PodPhase
		ready  string // the reason why it is not
	}{
		"obeys":           {always, "trap 'say ends; exit 0' TERM; touch /d/up; while :; do sleep 0.1 & wait $!; done", -1, 0, corev1.PodSucceeded, "PodCompleted"},
		"obeys with 3":    {always, "trap 'exit 3' TERM; touch /d/up; while :; do sleep 0.1 & wait $!; done", -1, 3, corev1.PodFailed, "PodFailed"},
		"never, obeys":    {never, "trap 'exit 0' TERM; touch /d/up; while :; do sleep 0.1 & wait $!; done", -1, 0, corev1.PodSucceeded, "PodCompleted"},
		"ignores":         {always, "trap 'say told' TERM; touch /d/up; while :; do sleep 0.1; done", -1, 137, corev1.PodFailed, "PodFailed"},
		"deleted with 3s": {always, "trap 'say told' TERM; touch /d/up; while :; do sleep 0.1; done", 3, 137, corev1.PodFailed, "PodFailed"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := live(t, held(newPod("termination-"+dashes(name), c.policy, sh("a", c.script))))
			l.until("ready", ready)
			l.exists("up")
			l.delete(c.grace)
			p := l.until("at its end", func(p *corev1.Pod) bool { return p.Status.Phase == c.phase })
			if p.DeletionTimestamp == nil {
				t.Fatal("the pod ended before it was deleted")
			}
			reason := map[bool]string{true: "Completed", false: "Error"}[c.code == 0]
			wantExit(t, "the container", status(p, "a").State, c.code, reason)
			wantFlags(t, p, "a", false, false)
			wantRestarts(t, p, "a", 0)
			wantCondition(t, p, corev1.PodReady, corev1.ConditionFalse, c.ready, "")
			wantCondition(t, p, corev1.ContainersReady, corev1.ConditionFalse, c.ready, "")
			if c.code == 137 {
				l.said("told")
				grace := time.Duration(*p.DeletionGracePeriodSeconds) * time.Second
				asked := p.DeletionTimestamp.Add(-grace)
				// The times have whole seconds.
				if took := status(p, "a").State.Terminated.FinishedAt.Sub(asked); took < grace-time.Second {
					t.Errorf("killed %s after the deletion, want %s", took, grace)
				}
			}
			l.event(normal, "Killing", "a", "Stopping container a")
			l.release(p)
		})
	}
}

// TestGraceShrinks: a second deletion shortens what the first began.
func TestGraceShrinks(t *testing.T) {
	t.Parallel()
	if agent := shared.Bed(t).Agent(); agent != bed.Nodeagent {
		t.Skipf("%s does not shorten the grace that it began with (seen in 1.37.1)", agent)
	}
	for name, waits := range map[string]bool{"at once": false, "when told": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := live(t, withGrace(newPod("grace-shrinks-"+dashes(name), always,
				sh("a", "trap 'say told' TERM; touch /d/up; while :; do sleep 0.1; done")), 600))
			p := l.until("ready", ready)
			l.exists("up")
			l.delete(-1)
			if waits {
				l.said("told")
			}
			l.delete(2)
			l.ended(p)
			l.saidLike("told", func(lines []string) bool { return lines[0] == "told" })
		})
	}
}

// TestForceDelete: the object goes at once, the container is ended nevertheless,
// and nobody is confused by a pod of the same name that comes at once.
func TestForceDelete(t *testing.T) {
	t.Parallel()
	l := live(t, newPod("force", always, sh("a", "say up; trap 'say ends; exit' TERM; while :; do sleep 0.1 & wait $!; done")))
	p := l.until("ready", ready)
	l.said("up")
	l.delete(0)
	l.ended(p)
	l.said("up", "ends")
	second := l.create(newPod("force", always, sh("a", "say second; "+obeys)))
	p2 := l.until("ready again", func(p *corev1.Pod) bool { return p.UID == second.UID && ready(p) })
	wantRestarts(t, p2, "a", 0)
	l.said("up", "ends", "second")
}

// TestSameName: a pod of the same name that is created the moment the first is
// gone is another pod.
func TestSameName(t *testing.T) {
	t.Parallel()
	l := live(t, newPod("same-name", always, sh("a", "exit 1")))
	first := l.until("restarted", func(p *corev1.Pod) bool { return status(p, "a").RestartCount > 0 })
	l.delete(-1)
	l.ended(first)
	second := l.create(newPod("same-name", always, sh("a", obeys)))
	p := l.until("ready", func(p *corev1.Pod) bool { return p.UID == second.UID && ready(p) })
	wantRestarts(t, p, "a", 0)
	if s := status(p, "a"); s.LastTerminationState.Terminated != nil || s.ContainerID == status(first, "a").ContainerID {
		t.Errorf("the second pod inherits from the first: %+v", s)
	}
}

// TestDeletedWhileInit: what has not begun does not begin any more.
func TestDeletedWhileInit(t *testing.T) {
	t.Parallel()
	l := live(t, held(withInit(newPod("deleted-init", always, sh("c", "say c")), sh("i", untilTERM("i")), sh("j", "say j"))))
	l.until("running its init container", running("i"))
	l.exists("i-up")
	l.delete(-1)
	p := l.until("at its end", func(p *corev1.Pod) bool { return failed(p) || succeeded(p) })
	wantPhase(t, p, corev1.PodFailed)
	wantExit(t, "the init container", status(p, "i").State, 0, "Completed")
	l.said("i ends")
	for _, c := range []string{"j", "c"} {
		if s := status(p, c); s.ContainerID != "" {
			t.Errorf("container %s has begun: %+v", c, s)
		}
	}
	l.release(p)
}

// TestDeletedWhilePulling: the pod goes though its image has not come. The
// kubelet may start the container yet, but only to end it.
func TestDeletedWhilePulling(t *testing.T) {
	t.Parallel() // the registry is slow for nobody else
	b := shared.Bed(t)
	image, err := b.SmallImage(map[string]string{"slow": "slow"}, v1.Config{})
	must(t, "getting an image", err)
	name, err := b.PushImage(t.Context(), "lifecycle/slow:1", image)
	must(t, "pushing an image", err)
	must(t, "slowing the registry down", b.SetRegistry(t.Context(), keeper.RegistryKnobs{Delay: 3 * time.Second}))
	t.Cleanup(func() {
		must(t, "letting the registry be", b.SetRegistry(context.Background(), keeper.RegistryKnobs{}))
	})
	a := sh("a", obeys)
	a.Image, a.ImagePullPolicy = name, corev1.PullAlways
	l := live(t, newPod("deleted-pulling", always, a))
	l.event(normal, "Pulling", "a", `Pulling image "`+name+`"`)
	p := l.until("waiting", waiting("a", "ContainerCreating"))
	l.delete(-1)
	last := l.ended(p)
	if s := status(last, "a"); s.State.Running != nil || s.Ready || s.RestartCount > 0 {
		t.Errorf("the container was left running: %+v", s)
	}
	wantPhase(t, p, corev1.PodPending)
}

// TestSticky: a pod that has ended stays as it is, whatever comes.
func TestSticky(t *testing.T) {
	for name, c := range map[string]struct {
		script string
		phase  corev1.PodPhase
	}{"succeeded": {"exit 0", corev1.PodSucceeded}, "failed": {"exit 3", corev1.PodFailed}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := live(t, held(newPod("sticky-"+name, never, sh("a", c.script))))
			p := l.until(name, func(p *corev1.Pod) bool { return p.Status.Phase == c.phase })
			l.delete(-1)
			// The agent has no use for the pod any more and asks for its end.
			l.until("finished", func(p *corev1.Pod) bool { return p.DeletionTimestamp != nil && *p.DeletionGracePeriodSeconds == 0 })
			l.release(p)
			l.mu.Lock()
			last := l.seen[len(l.seen)-1]
			l.mu.Unlock()
			wantPhase(t, last, c.phase)
			if status(last, "a").ContainerID != status(p, "a").ContainerID || status(last, "a").State.Terminated == nil {
				t.Errorf("the container became %+v", status(last, "a"))
			}
			ended := false
			l.never("otherwise after its end", func(p *corev1.Pod) bool {
				ended = ended || p.Status.Phase == c.phase
				return ended && p.Status.Phase != c.phase
			})
		})
	}
}

// TestDeadline: a pod that is active too long fails, and so does one whose
// deadline comes to be shorter while it runs.
func TestDeadline(t *testing.T) {
	for _, name := range []string{"given", "patched"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			deadline := int64(3)
			pod := newPod("deadline-"+name, always, sh("a", "trap 'say told' TERM; touch /d/up; while :; do sleep 0.1; done"), sh("b", untilTERM("b")))
			if name == "given" {
				pod.Spec.ActiveDeadlineSeconds = &deadline
			}
			l := live(t, pod)
			first := l.until("ready", ready)
			if name == "patched" {
				l.patch("setting a deadline", `{"spec":{"activeDeadlineSeconds":3}}`)
			}
			p := l.until("failed", failed)
			if p.Status.Reason != "DeadlineExceeded" || p.Status.Message != "Pod was active on the node longer than the specified deadline" {
				t.Errorf("the pod says %q: %q", p.Status.Reason, p.Status.Message)
			}
			wantExit(t, "container a", status(p, "a").State, 137, "Error")
			wantExit(t, "container b", status(p, "b").State, 0, "Completed")
			wantCondition(t, p, corev1.PodReady, corev1.ConditionFalse, "PodFailed", "")
			wantRestarts(t, p, "a", 0)
			if took := status(p, "b").State.Terminated.FinishedAt.Sub(first.Status.StartTime.Time); took < 3*time.Second {
				t.Errorf("ended after %s", took)
			}
			l.event(normal, "DeadlineExceeded", "", "Pod was active on the node longer than the specified deadline")
			l.saidLike("two lines", func(lines []string) bool { return len(lines) == 2 })
			got, err := l.pods().Get(t.Context(), l.name, metav1.GetOptions{})
			must(t, "getting the pod", err)
			wantPhase(t, got, corev1.PodFailed)
		})
	}
}
