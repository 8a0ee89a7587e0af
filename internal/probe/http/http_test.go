package http

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"nodeagent.dev/nodeagent/internal/probe/answer"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	agent = "kube-probe/1.37"
	// patience is the timeout of probes that are answered.
	patience = 30 * time.Second
)

// serve serves a handler and returns the action that asks it at a path.
func serve(t *testing.T, h http.HandlerFunc) func(path string) *corev1.HTTPGetAction {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return asks(t, s.URL)
}

func asks(t *testing.T, server string) func(path string) *corev1.HTTPGetAction {
	t.Helper()
	u, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(u.Port())
	if err != nil {
		t.Fatal(err)
	}
	return func(path string) *corev1.HTTPGetAction {
		return &corev1.HTTPGetAction{
			Scheme: corev1.URIScheme(strings.ToUpper(u.Scheme)), Path: path, Port: intstr.FromInt(port),
		}
	}
}

// probe asks a target on this machine that has to be asked without an error.
func probe(t *testing.T, a *corev1.HTTPGetAction) answer.Answer {
	t.Helper()
	got, err := Probe(t.Context(), a, &corev1.Container{}, "127.0.0.1", agent, patience)
	if err != nil {
		t.Error(err)
	}
	return got
}

var success = answer.Answer{Result: answer.Success}

func TestStatus(t *testing.T) {
	t.Parallel()
	at := serve(t, func(w http.ResponseWriter, r *http.Request) {
		code, _ := strconv.Atoi(r.URL.Path[1:])
		w.WriteHeader(code)
		if code != http.StatusNoContent && code != http.StatusNotModified {
			_, _ = io.WriteString(w, "hunter2")
		}
	})
	failed := func(code int) answer.Answer {
		return answer.Failed(fmt.Sprintf("HTTP probe failed with statuscode: %d", code))
	}
	for code, want := range map[int]answer.Answer{
		200: success, 204: success, 299: success,
		300: {Result: answer.Warning, Output: "Probe terminated redirects, Response body: hunter2"},
		304: {Result: answer.Warning, Output: "Probe terminated redirects, Response body: "},
		400: failed(400), 404: failed(404), 500: failed(500), 503: failed(503), 999: failed(999),
	} {
		if got := probe(t, at("/"+strconv.Itoa(code))); got != want {
			t.Errorf("status %d: %+v, want %+v", code, got, want)
		}
	}
}

func TestRedirects(t *testing.T) {
	t.Parallel()
	var away string
	hops := 0
	at := serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/here":
			http.Redirect(w, r, "/fine?a=b", http.StatusFound)
		case "/to-bad":
			http.Redirect(w, r, "/bad", http.StatusPermanentRedirect)
		case "/bad":
			w.WriteHeader(http.StatusInternalServerError)
		case "/away":
			http.Redirect(w, r, away, http.StatusFound)
		case "/away-mute":
			w.Header().Set("Location", away)
			w.WriteHeader(http.StatusFound)
		case "/round":
			hops++
			http.Redirect(w, r, "/round", http.StatusFound)
		}
	})
	away = fmt.Sprintf("http://localhost:%d/fine", at("").Port.IntVal) // another name of the same
	failed := answer.Failed("HTTP probe failed with statuscode: 500")
	for path, want := range map[string]answer.Answer{
		"/fine":   success,
		"/here":   success,
		"/to-bad": failed,
		"/away": {
			Result: answer.Warning,
			Output: `Probe terminated redirects, Response body: <a href="` + away + "\">Found</a>.\n\n",
		},
		"/away-mute": {Result: answer.Warning, Output: "Probe terminated redirects, Response body: "},
	} {
		if got := probe(t, at(path)); got != want {
			t.Errorf("%s: %+v, want %+v", path, got, want)
		}
	}
	got := probe(t, at("/round"))
	if got.Result != answer.Failure || !strings.HasSuffix(got.Output, `/round": stopped after 10 redirects`) || hops != 10 {
		t.Errorf("endless redirects: %+v after %d requests", got, hops)
	}
}

func TestTLSIsNotVerified(t *testing.T) {
	t.Parallel()
	for _, h2 := range []bool{false, true} {
		var proto atomic.Value
		s := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { proto.Store(r.Proto) }))
		s.EnableHTTP2 = h2
		s.StartTLS()
		t.Cleanup(s.Close)
		want := map[bool]string{false: "HTTP/1.1", true: "HTTP/2.0"}[h2]
		for what, at := range map[string]*corev1.HTTPGetAction{
			"at once":       asks(t, s.URL)("/"),
			"by a redirect": serve(t, http.RedirectHandler(s.URL, http.StatusFound).ServeHTTP)("/"),
		} {
			if got := probe(t, at); got != success || proto.Swap("nothing") != want {
				t.Errorf("%s: %+v, want a success over %s", what, got, want)
			}
		}
	}
}

func TestEachProbeHasItsOwnConnection(t *testing.T) {
	t.Parallel()
	var opened, kept atomic.Int32
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if !r.Close {
			kept.Add(1)
		}
	}))
	s.Config.ConnState = func(_ net.Conn, st http.ConnState) {
		if st == http.StateNew {
			opened.Add(1)
		}
	}
	s.Start()
	t.Cleanup(s.Close)
	for range 3 {
		if got := probe(t, asks(t, s.URL)("/")); got != success {
			t.Error(got)
		}
	}
	if opened.Load() != 3 || kept.Load() != 0 {
		t.Errorf("%d connections, %d to be kept; want 3, 0", opened.Load(), kept.Load())
	}
	if transport(t.Context()).Proxy != nil {
		t.Error("requests may go through a proxy")
	}
}

func TestIPv6(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Skipf("no IPv6 here: %v", err)
	}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	_ = s.Listener.Close()
	s.Listener = l
	s.Start()
	t.Cleanup(s.Close)
	for _, host := range []string{"", "::1", "[::1]"} {
		a := asks(t, s.URL)("/")
		a.Host = host
		got, err := Probe(t.Context(), a, &corev1.Container{}, "::1", agent, patience)
		if got != success || err != nil {
			t.Errorf("host %q: %+v, %v", host, got, err)
		}
	}
}

func TestWhatCannotBeAsked(t *testing.T) {
	t.Parallel()
	for want, c := range map[string]struct {
		action corev1.HTTPGetAction
		ip     string
	}{
		`port "web" not found`:                                   {corev1.HTTPGetAction{Port: intstr.FromString("web")}, "127.0.0.1"},
		"invalid port number: 0":                                 {corev1.HTTPGetAction{}, "127.0.0.1"},
		"the pod has no address yet and the probe names no host": {corev1.HTTPGetAction{Port: intstr.FromInt32(80)}, ""},
	} {
		got, err := Probe(t.Context(), &c.action, &corev1.Container{}, c.ip, agent, patience)
		if err == nil || err.Error() != want || got.Result != answer.Unknown {
			t.Errorf("%+v, %v; want %q", got, err, want)
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	got := probe(t, asks(t, "http://"+l.Addr().String())("/"))
	if got.Result != answer.Failure || !strings.HasSuffix(got.Output, "connect: connection refused") {
		t.Errorf("nobody listens: %+v", got)
	}
}

func TestBodyThatEndsEarlyIsAnError(t *testing.T) {
	t.Parallel()
	at := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		_, _ = io.WriteString(w, "half")
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	})
	got, err := Probe(t.Context(), at("/"), &corev1.Container{}, "127.0.0.1", agent, patience)
	if !errors.Is(err, io.ErrUnexpectedEOF) || got.Result != answer.Failure {
		t.Errorf("%+v, %v; want the error %v in state failure", got, err, io.ErrUnexpectedEOF)
	}
}
