//go:build e2e

package lifecycle

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"nodeagent.dev/nodeagent/test/bed"
)

// TestLiveness: a container that fails its liveness probe is ended as a deletion
// would end it, and begins again; it alone.
func TestLiveness(t *testing.T) {
	one := int64(1)
	for name, c := range map[string]struct {
		script  string
		grace   int64  // the pod's
		own     *int64 // the probe's
		code    int32
		reason  string
		atLeast time.Duration // from the event to the end, in whole seconds
	}{
		"obeys":          {"trap 'say ends; exit 0' TERM; while :; do sleep 0.1 & wait $!; done", 30, nil, 0, "Completed", 0},
		"obeys with 143": {"trap 'exit 143' TERM; while :; do sleep 0.1 & wait $!; done", 30, nil, 143, "Error", 0},
		"ignores":        {ignores, 3, nil, 137, "Error", 2 * time.Second},
		"own grace":      {ignores, 600, &one, 137, "Error", time.Second},
		"no grace":       {ignores, 0, &one, 137, "Error", 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := sh("a", c.script)
			a.LivenessProbe = probe(execHandler("test ! -e /d/x || { rm /d/x; echo it is bad; exit 1; }"))
			a.LivenessProbe.TerminationGracePeriodSeconds = c.own
			l := live(t, withGrace(newPod("liveness-"+dashes(name), always, a, sh("b", obeys)), c.grace))
			first := l.until("ready", ready)
			l.put("x", "")
			p := l.until("restarted", all(restarted("a", 1), ready))
			last := status(p, "a").LastTerminationState
			wantExit(t, "the first container", last, c.code, c.reason)
			l.event(warning, "Unhealthy", "a", "Liveness probe failed: it is bad\n")
			killing := l.event(normal, "Killing", "a", "Container a failed liveness probe, will be restarted")
			if last.Terminated != nil {
				if took := last.Terminated.FinishedAt.Sub(killing.FirstTimestamp.Time); took < c.atLeast {
					t.Errorf("the container ended %s after the event, want at least %s", took, c.atLeast)
				}
				if last.Terminated.ContainerID != status(first, "a").ContainerID {
					t.Error("the last state is not that of the first container")
				}
			}
			if status(p, "b").ContainerID != status(first, "b").ContainerID {
				t.Error("the other container was restarted, too")
			}
		})
	}
}

// TestLivenessHandlers: what the other handlers say when they fail.
func TestLivenessHandlers(t *testing.T) {
	t.Parallel()
	s := newServer(t, false)
	s.on("/live", func(n int, w http.ResponseWriter) {
		if n > 1 {
			w.WriteHeader(500)
		}
	})
	a, b := sh("a", untilTERM("a")), sh("b", "httpd -f -p 8080 & hold x; kill $!; rm /d/x; trap exit TERM; while :; do sleep 0.1 & wait $!; done")
	a.LivenessProbe = probe(s.get("/live"))
	b.LivenessProbe = probe(corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: port(8080)}})
	b.LivenessProbe.FailureThreshold = 2 // the server needs time to start
	g := corev1.Container{Name: "g", Image: agnhost, Args: []string{"grpc-health-checking", "--delay-unhealthy-sec=3", "--http-port=8081"}}
	g.LivenessProbe = probe(corev1.ProbeHandler{GRPC: &corev1.GRPCAction{Port: 5000}})
	g.LivenessProbe.FailureThreshold = 2
	l := live(t, newPod("liveness-handlers", always, a, b, g))
	p := l.until("running", running("b"))
	l.put("x", "")
	l.until("restarted", func(p *corev1.Pod) bool {
		return status(p, "a").RestartCount > 0 && status(p, "b").RestartCount > 0 && status(p, "g").RestartCount > 0
	})
	for c, text := range map[string]string{
		"a": "Liveness probe failed: HTTP probe failed with statuscode: 500",
		"b": "Liveness probe failed: dial tcp " + p.Status.PodIP + ":8080: connect: connection refused",
		"g": `Liveness probe failed: service unhealthy (responded with "NOT_SERVING")`,
	} {
		l.event(warning, "Unhealthy", c, text)
		l.event(normal, "Killing", c, "Container "+c+" failed liveness probe, will be restarted")
	}
}

// TestLivenessNever: without restarts the probe is the pod's end.
func TestLivenessNever(t *testing.T) {
	t.Parallel()
	s := newServer(t, false)
	s.code("/live", 200)
	a := sh("a", "trap 'say told' TERM; say up; while :; do sleep 0.1; done")
	a.LivenessProbe = probe(s.get("/live"))
	l := live(t, withGrace(newPod("liveness-never", never, a), 3))
	l.said("up") // before, runc's own process would get the signal
	s.code("/live", 500)
	p := l.until("failed", failed)
	l.said("up", "told")
	wantExit(t, "the container", status(p, "a").State, 137, "Error")
	wantRestarts(t, p, "a", 0)
	wantFlags(t, p, "a", false, false)
	// The kubelet ends the pod, not the container, and so does not tell why
	// (docs/adr/0010).
	text := "Stopping container a"
	if l.bed.Agent() == bed.Nodeagent {
		text = "Container a failed liveness probe"
	}
	l.event(normal, "Killing", "a", text)
	l.event(warning, "Unhealthy", "a", "Liveness probe failed: HTTP probe failed with statuscode: 500")
}

// TestLivenessCount: three failures in a row are needed, fewer are forgotten;
// and no container is asked once its end is decided.
func TestLivenessCount(t *testing.T) {
	t.Parallel()
	s := newServer(t, false)
	s.on("/live", func(n int, w http.ResponseWriter) {
		if n != 3 && n <= 6 {
			w.WriteHeader(500)
		}
	})
	a := sh("a", ignores)
	a.LivenessProbe = probe(s.get("/live"))
	a.LivenessProbe.FailureThreshold = 3
	l := live(t, withGrace(newPod("liveness-count", always, a), 3))
	p := l.until("restarted", restarted("a", 1))
	requests := s.asked("/live", 7)
	if start := status(p, "a").State.Running.StartedAt.Time; requests[5].at.After(start.Add(time.Second)) || requests[6].at.Before(start) {
		t.Errorf("the second container started at %s, the sixth request came at %s, the seventh at %s; want it between them",
			start, requests[5].at, requests[6].at)
	}
	l.event(normal, "Killing", "a", "Container a failed liveness probe, will be restarted")
}

// TestStartup: while a container starts it is asked nothing else, then the
// startup probe is not asked any more, until there is a new container.
func TestStartup(t *testing.T) {
	t.Parallel()
	s := newServer(t, false)
	s.on("/start", func(n int, w http.ResponseWriter) {
		w.WriteHeader(map[bool]int{true: 200, false: 500}[n == 4 || n > 6])
	})
	s.on("/live", func(n int, w http.ResponseWriter) { w.WriteHeader(map[bool]int{true: 200, false: 500}[n != 4]) })
	s.code("/ready", 200)
	a := sh("a", untilTERM("a"))
	a.StartupProbe, a.LivenessProbe, a.ReadinessProbe = probe(s.get("/start")), probe(s.get("/live")), probe(s.get("/ready"))
	a.StartupProbe.FailureThreshold = 10
	l := live(t, newPod("startup", always, a))
	p := l.until("running", running("a"))
	wantFlags(t, p, "a", false, false)
	wantUnready(t, p, "a")
	wantPhase(t, p, corev1.PodRunning)
	first := s.asked("/start", 4)[3].at
	p = l.until("ready", ready)
	wantFlags(t, p, "a", true, true)
	l.event(warning, "Unhealthy", "a", "Startup probe failed: HTTP probe failed with statuscode: 500")
	for _, path := range []string{"/live", "/ready"} {
		if at := s.asked(path, 1)[0].at; at.Before(first) {
			t.Errorf("%s was asked at %s, the container started at %s", path, at, first)
		}
	}
	// The fourth answer to the liveness probe is bad: all begins again.
	s.asked("/live", 3)
	if n := s.count("/start"); n != 4 {
		t.Errorf("the startup probe was asked %d times, want 4", n)
	}
	l.until("restarted", restarted("a", 1))
	again := s.asked("/start", 7)
	from, second := again[4].at.Add(500*time.Millisecond), again[6].at
	if l.bed.Agent() == bed.Nodeagent {
		// The kubelet takes the new container for started until it has probed it once.
		from = s.asked("/live", 4)[3].at
	}
	s.asked("/live", 5)
	for _, path := range []string{"/live", "/ready"} {
		for i, r := range s.asked(path, 1) {
			if path == "/ready" && r.at.Before(again[4].at) {
				continue // perhaps of the first container, which may be asked until it ends
			}
			if r.at.After(from) && r.at.Before(second) {
				t.Errorf("the second container was asked %s at %s (request %d), it started at %s", path, r.at, i+1, second)
			}
		}
	}
}

// TestStartupFails: a container that does not start in time is ended.
func TestStartupFails(t *testing.T) {
	t.Parallel()
	s := newServer(t, false)
	s.code("/start", 500)
	one := int64(1)
	a := sh("a", ignores)
	a.StartupProbe = probe(s.get("/start"))
	a.StartupProbe.FailureThreshold, a.StartupProbe.TerminationGracePeriodSeconds = 2, &one
	l := live(t, withGrace(newPod("startup-fails", always, a), 600))
	p := l.until("restarted", restarted("a", 1))
	wantExit(t, "the first container", status(p, "a").LastTerminationState, 137, "Error")
	wantFlags(t, p, "a", false, false)
	l.event(warning, "Unhealthy", "a", "Startup probe failed: HTTP probe failed with statuscode: 500")
	l.event(normal, "Killing", "a", "Container a failed startup probe, will be restarted")
	l.never("ready", func(p *corev1.Pod) bool { return ready(p) || status(p, "a").Ready })
	if n := s.count("/start"); n < 2 {
		t.Errorf("ended after %d requests, want 2", n)
	}
}

// TestProbeTimeouts: an answer that does not come in time is a bad one.
func TestProbeTimeouts(t *testing.T) {
	t.Parallel()
	s := newServer(t, false)
	s.on("/slow", func(int, http.ResponseWriter) { <-t.Context().Done() })
	a, b := sh("a", obeys), sh("b", obeys)
	a.ReadinessProbe, b.ReadinessProbe = probe(corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"sleep", "60"}}}), probe(s.get("/slow"))
	a.ReadinessProbe.TimeoutSeconds, b.ReadinessProbe.TimeoutSeconds = 1, 1
	l := live(t, newPod("probe-timeouts", always, a, b))
	p := l.until("running", all(running("a"), running("b")))
	wantUnready(t, p, "a b")
	l.event(warning, "Unhealthy", "a", `Readiness probe failed: command timed out: "sleep 60" timed out after 1s`)
	// The client has two words for the first half, depending on who is faster.
	l.eventLike("told that b did not answer", func(e *corev1.Event) bool {
		return e.Type == warning && e.Reason == "Unhealthy" && fieldPath(e, "b") &&
			strings.HasPrefix(e.Message, fmt.Sprintf("Readiness probe failed: Get \"http://%s:%d/slow\": ", s.host, s.port)) &&
			strings.HasSuffix(e.Message, " (Client.Timeout exceeded while awaiting headers)")
	})
}

// TestProbeErrors: a probe that cannot be made is no failure; it says what is
// wrong.
func TestProbeErrors(t *testing.T) {
	t.Parallel()
	a, b := sh("a", obeys), sh("b", obeys)
	a.LivenessProbe = probe(corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"/no/such"}}})
	b.LivenessProbe = probe(corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Port: port(80)}})
	b.LivenessProbe.HTTPGet.Port.Type, b.LivenessProbe.HTTPGet.Port.StrVal = 1, "none"
	l := live(t, newPod("probe-errors", always, a, b))
	l.until("ready", ready)
	l.eventLike("told that there is no command", func(e *corev1.Event) bool {
		return e.Type == warning && e.Reason == "Unhealthy" && fieldPath(e, "a") &&
			strings.HasPrefix(e.Message, "Liveness probe errored and resulted in unknown state: rpc error: code = Unknown desc = failed to exec in container: ") &&
			strings.HasSuffix(e.Message, `exec: "/no/such": stat /no/such: no such file or directory`)
	})
	l.event(warning, "Unhealthy", "b", `Liveness probe errored and resulted in unknown state: port "none" not found`)
	l.noEvent("Killing")
}
