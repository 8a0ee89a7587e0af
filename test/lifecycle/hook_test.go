//go:build e2e

package lifecycle

import (
	"net/http"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func sleeping(seconds int64) *corev1.LifecycleHandler {
	return &corev1.LifecycleHandler{Sleep: &corev1.SleepAction{Seconds: seconds}}
}

// TestPostStart: a container is not ready, and the next is not begun, before its
// postStart hook has ended.
func TestPostStart(t *testing.T) {
	t.Parallel()
	s := newServer(t, false)
	release := make(chan struct{})
	s.on("/hook", func(int, http.ResponseWriter) {
		select {
		case <-release:
		case <-t.Context().Done():
		}
	})
	a, b, c := sh("a", obeys), sh("b", obeys), sh("c", "say c; "+obeys)
	a.Lifecycle = &corev1.Lifecycle{PostStart: hook(execHandler("say hook; hold go; say hook ends"))}
	b.Lifecycle = &corev1.Lifecycle{PostStart: hook(s.get("/hook"))}
	b.Lifecycle.PostStart.HTTPGet.HTTPHeaders = []corev1.HTTPHeader{{Name: "X-Some", Value: "header"}}
	l := live(t, newPod("poststart", always, a, b, c))
	l.said("hook")
	l.put("go", "")
	r := s.asked("/hook", 1)[0]
	if got := r.Method + " " + r.Header.Get("User-Agent") + " " + r.Header.Get("X-Some"); got != "GET kube-lifecycle/1.37 header" {
		t.Errorf("the hook's request is %q, want a GET of kube-lifecycle/1.37 with the header", got)
	}
	l.said("hook", "hook ends")
	l.never("ready before its hooks had ended", func(p *corev1.Pod) bool { return ready(p) || status(p, "c").ContainerID != "" })
	close(release)
	wantReady(t, l.until("ready", ready))
	l.said("hook", "hook ends", "c")
}

// TestPostStartFails: a container whose hook fails is ended and begun again; its
// preStop hook runs.
func TestPostStartFails(t *testing.T) {
	t.Parallel()
	a := sh("a", untilTERM("a"))
	a.Lifecycle = &corev1.Lifecycle{
		PostStart: hook(execHandler("test -e /d/x && exit 0; touch /d/x; hold a-up; echo no >&2; exit 5")),
		PreStop:   hook(execHandler("say stops")),
	}
	l := live(t, newPod("poststart-fails", always, a))
	p := l.until("waiting", waiting("a", "PostStartHookError"))
	wantUnready(t, p, "a")
	message := status(p, "a").State.Waiting.Message
	if !strings.HasPrefix(message, "Exec lifecycle hook ([sh -c ") || !strings.Contains(message, "for Container \"a\" in Pod \"poststart-fails_default(") {
		t.Errorf("the container waits for %q", message)
	}
	l.event(warning, "FailedPostStartHook", "a", "PostStartHook failed")
	l.event(normal, "Killing", "a", "FailedPostStartHook")
	p = l.until("ready", ready)
	wantRestarts(t, p, "a", 1)
	wantExit(t, "the first container", status(p, "a").LastTerminationState, 0, "Completed")
	l.said("stops", "a ends")
}

// TestPostStartFailsOnce: without restarts that is the pod's end.
func TestPostStartFailsOnce(t *testing.T) {
	t.Parallel()
	a := sh("a", "trap 'exit 9' TERM; touch /d/up; while :; do sleep 0.1 & wait $!; done")
	a.Lifecycle = &corev1.Lifecycle{PostStart: hook(execHandler("hold up; exit 5"))}
	l := live(t, newPod("poststart-never", never, a))
	p := l.until("failed", failed)
	wantExit(t, "the container", status(p, "a").State, 9, "Error")
	wantRestarts(t, p, "a", 0)
	l.event(warning, "FailedPostStartHook", "a", "PostStartHook failed")
	l.never("ready", ready)
}

// TestPostStartHTTPFails: nobody listens.
func TestPostStartHTTPFails(t *testing.T) {
	t.Parallel()
	a := sh("a", "trap 'exit 9' TERM; touch /d/up; while :; do sleep 0.1 & wait $!; done")
	a.Lifecycle = &corev1.Lifecycle{PostStart: hook(corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Port: port(81), Path: "/x"}})}
	l := live(t, newPod("poststart-http", never, a))
	l.until("failed", failed)
	l.event(warning, "FailedPostStartHook", "a", "PostStartHook failed")
}

// TestPreStop: a preStop hook ends before the container is told to.
func TestPreStop(t *testing.T) {
	t.Parallel()
	s := newServer(t, false)
	s.code("/hook", 500) // the answer is not looked at
	a, b, c := sh("a", untilTERM("a")), sh("b", untilTERM("b")), sh("c", untilTERM("c"))
	a.Lifecycle = &corev1.Lifecycle{PreStop: hook(execHandler("say stops; hold go; say stopped"))}
	b.Lifecycle = &corev1.Lifecycle{PreStop: hook(s.get("/hook"))}
	c.Lifecycle = &corev1.Lifecycle{PreStop: sleeping(1)}
	l := live(t, withGrace(newPod("prestop", always, a, b, c), 60))
	p := l.until("ready", ready)
	for _, name := range []string{"a-up", "b-up", "c-up"} {
		l.exists(name)
	}
	l.delete(-1)
	s.asked("/hook", 1)
	l.saidLike("b and c to have ended", func(lines []string) bool { return len(lines) == 3 })
	inOrder(t, l, "b ends")
	inOrder(t, l, "c ends")
	inOrder(t, l, "stops")
	l.put("go", "")
	last := l.ended(p)
	inOrder(t, l, "stops", "stopped", "a ends")
	for _, name := range []string{"a", "b", "c"} {
		wantExit(t, "container "+name, status(last, name).State, 0, "Completed")
		l.event(normal, "Killing", name, "Stopping container "+name)
	}
	l.noEvent("FailedPreStopHook")
}

// TestPreStopFails: a hook that fails keeps nobody.
func TestPreStopFails(t *testing.T) {
	t.Parallel()
	a, b := sh("a", untilTERM("a")), sh("b", untilTERM("b"))
	a.Lifecycle = &corev1.Lifecycle{PreStop: hook(execHandler("exit 5"))}
	b.Lifecycle = &corev1.Lifecycle{PreStop: hook(corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Port: port(81)}})}
	l := live(t, withGrace(newPod("prestop-fails", always, a, b), 60))
	p := l.until("ready", ready)
	l.exists("a-up")
	l.exists("b-up")
	l.delete(-1)
	last := l.ended(p)
	for _, name := range []string{"a", "b"} {
		wantExit(t, "container "+name, status(last, name).State, 0, "Completed")
		l.event(warning, "FailedPreStopHook", name, "PreStopHook failed")
	}
}

// TestPreStopTooLong: the hook's time is a part of the grace; what is left for
// the container is two seconds at least.
func TestPreStopTooLong(t *testing.T) {
	t.Parallel()
	a := sh("a", untilTERM("a"))
	a.Lifecycle = &corev1.Lifecycle{PreStop: hook(execHandler("say stops; sleep 600; say never"))}
	l := live(t, withGrace(newPod("prestop-long", always, a), 3))
	p := l.until("ready", ready)
	l.exists("a-up")
	l.delete(-1)
	last := l.ended(p)
	wantExit(t, "the container", status(last, "a").State, 0, "Completed")
	l.said("stops", "a ends")
}

// TestPreStopLiveness: a container that is ended for its probe gets its hook as well.
func TestPreStopLiveness(t *testing.T) {
	t.Parallel()
	a := sh("a", untilTERM("a"))
	a.Lifecycle = &corev1.Lifecycle{PreStop: hook(execHandler("say stops"))}
	a.LivenessProbe = probe(execHandler("test ! -e /d/x || { rm /d/x; exit 1; }"))
	l := live(t, withGrace(newPod("prestop-liveness", always, a), 60))
	l.until("ready", ready)
	l.exists("a-up")
	l.put("x", "")
	l.until("restarted", restarted("a", 1))
	l.said("stops", "a ends")
}

// TestPreStopNotNeeded: a container that ends by itself gets no preStop hook.
func TestPreStopNotNeeded(t *testing.T) {
	t.Parallel()
	a := sh("a", "say a; exit 0")
	a.Lifecycle = &corev1.Lifecycle{PreStop: hook(execHandler("say stops"))}
	l := live(t, newPod("prestop-none", never, a))
	p := l.until("succeeded", succeeded)
	l.delete(-1)
	l.ended(p)
	l.said("a")
}
