//go:build e2e

package lifecycle

import (
	"fmt"
	"net/http"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// serving is a container that serves /d on a port as long as /d/ok exists.
func serving(port int) string {
	return fmt.Sprintf("while :; do hold ok; httpd -f -p %d -h /d & while [ -e /d/ok ]; do sleep 0.05; done; kill $!; wait; done", port)
}

// TestReadiness: every kind of handler makes a pod ready and not ready again,
// and what it said is told by events. Nothing is restarted.
func TestReadiness(t *testing.T) {
	for name, c := range map[string]struct {
		script  string
		handler corev1.ProbeHandler
		want    string // %s is the pod's address
	}{
		"exec": {
			obeys, execHandler("test -e /d/ok || { echo out; echo err >&2; exit 3; }"),
			"Readiness probe failed: out\nerr\n",
		},
		"http": {
			"mkdir /w; httpd -p 80 -h /d; " + obeys, corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Port: port(80), Path: "/ok"}},
			"Readiness probe failed: HTTP probe failed with statuscode: 404",
		},
		"http refused": {
			serving(80), corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Port: port(80), Path: "/ok"}},
			`Readiness probe failed: Get "http://%[1]s:80/ok": dial tcp %[1]s:80: connect: connection refused`,
		},
		"tcp": {
			serving(8080), corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: port(8080)}},
			"Readiness probe failed: dial tcp %s:8080: connect: connection refused",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := sh("a", c.script)
			a.ReadinessProbe = probe(c.handler)
			l := live(t, newPod("readiness-"+dashes(name), always, a, sh("b", obeys)))
			p := l.until("running", all(running("a"), running("b")))
			wantUnready(t, p, "a")
			wantFlags(t, p, "a", false, true)
			wantPhase(t, p, corev1.PodRunning)
			want := c.want
			if ip := p.Status.PodIP; ip == "" {
				t.Fatal("a running pod has no address")
			} else if name != "exec" && name != "http" {
				want = fmt.Sprintf(c.want, ip)
			}
			l.event(warning, "Unhealthy", "a", want)
			l.put("ok", "")
			p = l.until("ready", ready)
			wantReady(t, p)
			wantFlags(t, p, "a", true, true)
			since := condition(p, corev1.PodReady).LastTransitionTime
			l.take("ok")
			p = l.until("not ready again", notReady)
			wantUnready(t, p, "a")
			wantFlags(t, p, "a", false, true)
			wantFlags(t, p, "b", true, true)
			if now := condition(p, corev1.PodReady).LastTransitionTime; now.Before(&since) {
				t.Errorf("Ready changed at %s, then at %s", since, now)
			}
			l.put("ok", "")
			p = l.until("ready once more", ready)
			wantRestarts(t, p, "a", 0)
			wantPhase(t, p, corev1.PodRunning)
			l.noEvent("Killing")
		})
	}
}

// TestReadinessGRPC: a service that says it does not serve.
func TestReadinessGRPC(t *testing.T) {
	t.Parallel()
	const service = "some"
	named, other := service, "other"
	a := corev1.Container{Name: "a", Image: agnhost, Args: []string{"grpc-health-checking", "--service=" + service}}
	a.ReadinessProbe = probe(corev1.ProbeHandler{GRPC: &corev1.GRPCAction{Port: 5000, Service: &named}})
	b := corev1.Container{Name: "b", Image: agnhost, Args: []string{"grpc-health-checking", "--port=5001", "--http-port=8081"}}
	b.ReadinessProbe = probe(corev1.ProbeHandler{GRPC: &corev1.GRPCAction{Port: 5001, Service: &other}})
	l := live(t, newPod("readiness-grpc", always, a, b))
	p := l.until("half ready", func(p *corev1.Pod) bool { return status(p, "a").Ready })
	wantUnready(t, p, "b")
	l.event(warning, "Unhealthy", "b", "Readiness probe failed: error: health rpc probe failed: rpc error: code = NotFound desc = unknown service")
	tell := func(what string) {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+p.Status.PodIP+":8080/"+what, nil)
		must(t, "making a request", err)
		answer, err := http.DefaultClient.Do(r)
		must(t, "asking the pod", err)
		_ = answer.Body.Close()
	}
	tell("make-not-serving")
	p = l.until("not ready", func(p *corev1.Pod) bool { return !status(p, "a").Ready })
	wantUnready(t, p, "a b")
	l.event(warning, "Unhealthy", "a", `Readiness probe failed: service unhealthy (responded with "NOT_SERVING")`)
	tell("make-serving")
	l.until("half ready again", func(p *corev1.Pod) bool { return status(p, "a").Ready })
	l.never("restarted", func(p *corev1.Pod) bool { return status(p, "a").RestartCount+status(p, "b").RestartCount > 0 })
}

// TestProbeRequest: what an HTTP probe sends, and how it finds the port.
func TestProbeRequest(t *testing.T) {
	t.Parallel()
	s, secure := newServer(t, false), newServer(t, true)
	s.code("/x", 399)
	secure.code("/", 200)
	a, b := sh("a", obeys), sh("b", obeys)
	a.Ports = []corev1.ContainerPort{{Name: "other", ContainerPort: 1}, {Name: "web", ContainerPort: int32(s.port)}}
	a.ReadinessProbe = probe(s.get("/x?y=z&y=%20"))
	a.ReadinessProbe.HTTPGet.Port.Type, a.ReadinessProbe.HTTPGet.Port.StrVal = 1, "web"
	a.ReadinessProbe.HTTPGet.HTTPHeaders = []corev1.HTTPHeader{{Name: "Host", Value: "some.example"}, {Name: "x-many", Value: "1"}, {Name: "X-Many", Value: "2"}}
	b.ReadinessProbe = probe(secure.get("/"))
	b.ReadinessProbe.HTTPGet.Scheme = corev1.URISchemeHTTPS
	l := live(t, newPod("probe-request", always, a, b))
	l.until("ready", ready)
	r := s.asked("/x", 1)[0]
	if r.Method != http.MethodGet || r.RequestURI != "/x?y=z&y=%20" || r.Host != "some.example" || !r.Close {
		t.Errorf("asked %s %s of %s, connection to be closed: %v; want GET /x?y=z&y=%%20 of some.example, true", r.Method, r.RequestURI, r.Host, r.Close)
	}
	for header, want := range map[string]string{
		"User-Agent": "[kube-probe/1.37]", "Accept": "[*/*]", "X-Many": "[1 2]", "Accept-Encoding": "[]", "Authorization": "[]",
	} {
		if got := fmt.Sprint(r.Header.Values(header)); got != want {
			t.Errorf("header %s: %s, want %s", header, got, want)
		}
	}
	l.noEvent("Unhealthy")
}

// TestProbeRedirect: a redirect to the same host is followed, one to another is
// a success with a warning.
func TestProbeRedirect(t *testing.T) {
	t.Parallel()
	s := newServer(t, false)
	to := func(where string) func(int, http.ResponseWriter) {
		return func(_ int, w http.ResponseWriter) {
			w.Header().Set("Location", where)
			w.WriteHeader(http.StatusFound)
			_, _ = w.Write([]byte("elsewhere"))
		}
	}
	s.on("/same", to("/target"))
	s.code("/target", 500)
	s.on("/other", to(fmt.Sprintf("http://localhost:%d/secret", s.port)))
	a, b := sh("a", obeys), sh("b", obeys)
	a.ReadinessProbe, b.ReadinessProbe = probe(s.get("/same")), probe(s.get("/other"))
	l := live(t, newPod("probe-redirect", always, a, b))
	p := l.until("half ready", func(p *corev1.Pod) bool { return status(p, "b").Ready })
	wantUnready(t, p, "a")
	l.event(warning, "Unhealthy", "a", "Readiness probe failed: HTTP probe failed with statuscode: 500")
	l.event(warning, "ProbeWarning", "b", "Readiness probe warning: Probe terminated redirects, Response body: elsewhere")
	s.code("/target", 200)
	l.until("ready", ready)
	if s.count("/secret") != 0 {
		t.Error("a redirect to another host was followed")
	}
}

// TestThresholds: it takes as many answers in a row as the probe says, and one
// other in between begins the count anew.
func TestThresholds(t *testing.T) {
	t.Parallel()
	s := newServer(t, false)
	// Ready at the second good answer in a row; not ready at the third bad one.
	// 200: 1, 3, 4 (ready), 7, 8, 11, ...; 500: 2, 5, 6, 9, 10, then from 12 on (14: not ready)
	s.on("/ready", func(n int, w http.ResponseWriter) {
		w.WriteHeader(map[int]int{1: 200, 3: 200, 4: 200, 7: 200, 8: 200, 11: 200}[n] + map[bool]int{true: 500}[n == 2 || n == 5 || n == 6 || n == 9 || n == 10 || n > 11])
	})
	a := sh("a", obeys)
	a.ReadinessProbe = probe(s.get("/ready"))
	a.ReadinessProbe.SuccessThreshold, a.ReadinessProbe.FailureThreshold = 2, 3
	l := live(t, newPod("thresholds", always, a))
	l.until("ready", ready)
	// The status is written after the answer, so the count may have gone on.
	if n := s.count("/ready"); n < 4 {
		t.Errorf("ready after %d answers, want 4", n)
	}
	l.until("not ready", notReady)
	if n := s.count("/ready"); n < 14 {
		t.Errorf("not ready after %d answers, want 14", n)
	}
}

// TestInitialDelay: no probe is sent earlier than it says.
func TestInitialDelay(t *testing.T) {
	t.Parallel()
	s := newServer(t, false)
	a := sh("a", obeys)
	delays := map[string]int32{"/live": 3, "/ready": 4}
	for path := range delays {
		s.code(path, 200)
	}
	a.LivenessProbe, a.ReadinessProbe = probe(s.get("/live")), probe(s.get("/ready"))
	a.LivenessProbe.InitialDelaySeconds, a.ReadinessProbe.InitialDelaySeconds = delays["/live"], delays["/ready"]
	l := live(t, newPod("initial-delay", always, a))
	p := l.until("ready", ready)
	for path, delay := range delays {
		// The status has whole seconds, rounded down.
		if after := s.asked(path, 1)[0].at.Sub(status(p, "a").State.Running.StartedAt.Time); after.Seconds() < float64(delay) {
			t.Errorf("the first request for %s came %s after the start, want %d s", path, after, delay)
		}
	}
}

// TestReadinessWhileTerminating: whether a pod that ends is ready is still asked;
// whether it lives is not.
func TestReadinessWhileTerminating(t *testing.T) {
	t.Parallel()
	s := newServer(t, false)
	s.code("/live", 200)
	s.code("/ready", 200)
	a := sh("a", obeys)
	a.LivenessProbe, a.ReadinessProbe = probe(s.get("/live")), probe(s.get("/ready"))
	a.Lifecycle = &corev1.Lifecycle{PreStop: hook(execHandler("say stops; hold end"))}
	l := live(t, withGrace(newPod("ready-terminating", always, a), 60))
	p := l.until("ready", ready)
	s.asked("/live", 1)
	l.delete(-1)
	l.said("stops")
	lived := s.count("/live")
	s.asked("/ready", s.count("/ready")+2)
	s.code("/live", 500)
	s.code("/ready", 503)
	p2 := l.until("not ready", notReady)
	wantUnready(t, p2, "a")
	wantPhase(t, p2, corev1.PodRunning)
	if p2.DeletionTimestamp == nil {
		t.Error("not ready before the deletion")
	}
	l.event(warning, "Unhealthy", "a", "Readiness probe failed: HTTP probe failed with statuscode: 503")
	// One may have been under way.
	if n := s.count("/live"); n > lived+1 {
		t.Errorf("%d liveness probes while the pod ended, want none", n-lived)
	}
	l.put("end", "")
	l.ended(p)
}
