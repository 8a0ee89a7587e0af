package hook

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"nodeagent.dev/nodeagent/internal/pod"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func target(h *corev1.LifecycleHandler) pod.HookTarget {
	return pod.HookTarget{
		Pod:         &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "shop", UID: "0b1c"}},
		Container:   &corev1.Container{Name: "c"},
		ContainerID: "id-c", Handler: h, IP: "127.0.0.1",
	}
}

func wantText(t *testing.T, err error, want string) {
	t.Helper()
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

// runtime answers commands.
type runtime struct {
	result  pod.ExecResult
	err     error
	id      string
	command []string
	timeout time.Duration
}

func (r *runtime) ExecSync(_ context.Context, id string, command []string, timeout time.Duration) (pod.ExecResult, error) {
	r.id, r.command, r.timeout = id, command, timeout
	return r.result, r.err
}

func TestExec(t *testing.T) {
	gone := errors.New("rpc error: code = NotFound desc = gone")
	const prefix = `Exec lifecycle hook ([sh -c $(HOME)]) for Container "c" in Pod "web_shop(0b1c)" failed - error: `
	for _, c := range []struct {
		name string
		rt   runtime
		want string
	}{
		{"fine", runtime{result: pod.ExecResult{Stdout: []byte("out"), Stderr: []byte("err")}}, ""},
		{
			"exit code", runtime{result: pod.ExecResult{Stdout: []byte("out\n"), Stderr: []byte("err"), ExitCode: 3}},
			prefix + `command 'sh -c $(HOME)' exited with 3: err, message: "out\nerr"`,
		},
		{"no runtime", runtime{err: gone}, prefix + gone.Error() + `, message: ""`},
	} {
		err := New(&c.rt, Deps{}).Run(t.Context(), target(&corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: []string{"sh", "-c", "$(HOME)"}}}))
		if c.want != "" {
			wantText(t, err, c.want)
		} else if err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if c.rt.err != nil && !errors.Is(err, c.rt.err) {
			t.Errorf("%s: the cause is not in the chain", c.name)
		}
		if c.rt.id != "id-c" || !slices.Equal(c.rt.command, []string{"sh", "-c", "$(HOME)"}) || c.rt.timeout != 0 {
			t.Errorf("%s: ran %q in %q within %v", c.name, c.rt.command, c.rt.id, c.rt.timeout)
		}
	}
}

func TestExecTellsLittleOfMuchOutput(t *testing.T) {
	huge := []byte(strings.Repeat("x", 1<<20))
	rt := &runtime{result: pod.ExecResult{Stdout: huge, Stderr: huge, ExitCode: 1}}
	err := New(rt, Deps{}).Run(t.Context(), target(&corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: []string{"a"}}}))
	if err == nil || len(err.Error()) > 2*maxOutput+500 || strings.Count(err.Error(), "x") < 2*maxOutput {
		t.Errorf("%d bytes", len(fmt.Sprint(err)))
	}
	if exit, ok := errors.AsType[*ExitError](err); !ok || exit.Code != 1 {
		t.Error("the exit code is not in the chain")
	}
}

func TestInvalidHandlers(t *testing.T) {
	for _, c := range []struct {
		handler *corev1.LifecycleHandler
		want    string
	}{
		{nil, "Cannot run handler: invalid handler: nil"},
		{&corev1.LifecycleHandler{}, "Cannot run handler: invalid handler: &LifecycleHandler{Exec:nil,HTTPGet:nil,TCPSocket:nil,Sleep:nil,}"},
		{
			&corev1.LifecycleHandler{TCPSocket: &corev1.TCPSocketAction{Host: "h"}},
			"Cannot run handler: invalid handler: &LifecycleHandler{Exec:nil,HTTPGet:nil,TCPSocket:&TCPSocketAction{Port:{0 0 },Host:h,},Sleep:nil,}",
		},
	} {
		wantText(t, New(nil, Deps{}).Run(t.Context(), target(c.handler)), c.want)
	}
	if err := New(nil, Deps{}).Run(t.Context(), pod.HookTarget{}); err == nil {
		t.Error("no pod is no error")
	}
}

func TestSleep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ended := 0
		r := New(nil, Deps{SleepEnded: func() { ended++ }})
		run := func(seconds int64, limit time.Duration) (time.Duration, error) {
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			begin := time.Now()
			err := r.Run(ctx, target(&corev1.LifecycleHandler{Sleep: &corev1.SleepAction{Seconds: seconds}}))
			return time.Since(begin), err
		}
		for _, seconds := range []int64{0, -1, 5} {
			if took, err := run(seconds, time.Minute); err != nil || took != time.Duration(max(seconds, 0))*time.Second {
				t.Errorf("%d s: %v after %v", seconds, err, took)
			}
		}
		if ended != 0 {
			t.Error("a whole sleep counts as cut short")
		}
		for _, seconds := range []int64{61, 1<<63 - 1} {
			took, err := run(seconds, time.Minute)
			wantText(t, err, fmt.Sprintf(`Sleep lifecycle hook (%d) for Container "c" in Pod "web_shop(0b1c)" failed - error: `+
				`container terminated before sleep hook finished`, seconds))
			if took != time.Minute {
				t.Errorf("ended after %v", took)
			}
		}
		if ended != 2 {
			t.Errorf("%d sleeps cut short", ended)
		}
	})
}

// recorder notes events.
type recorder []string

func (r *recorder) Event(p *corev1.Pod, container string, warning bool, reason, message string) {
	*r = append(*r, fmt.Sprintf("%s/%s %v %s: %s", p.Name, container, warning, reason, message))
}

// serve starts a server and returns the port and what it was asked.
func serve(t *testing.T, start func(*httptest.Server), answer http.HandlerFunc) (port int, seen func() []*http.Request) {
	t.Helper()
	asked := make(chan *http.Request, 100)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- r.Clone(context.WithoutCancel(r.Context()))
		if answer != nil {
			answer(w, r)
		}
	}))
	start(s)
	t.Cleanup(s.Close)
	return s.Listener.Addr().(*net.TCPAddr).Port, func() (all []*http.Request) {
		for {
			select {
			case r := <-asked:
				all = append(all, r)
			default:
				return all
			}
		}
	}
}

func get(port int, edit func(*corev1.HTTPGetAction)) *corev1.LifecycleHandler {
	a := &corev1.HTTPGetAction{Path: "/hook", Port: intstr.FromInt32(int32(port))}
	if edit != nil {
		edit(a)
	}
	return &corev1.LifecycleHandler{HTTPGet: a}
}

func TestHTTPRequest(t *testing.T) {
	port, seen := serve(t, (*httptest.Server).Start, nil)
	r := New(nil, Deps{Version: "v1.37.1+nodeagent.0.1.0"})
	ask := func(handler *corev1.LifecycleHandler) *http.Request {
		t.Helper()
		to := target(handler)
		to.Container.Ports = []corev1.ContainerPort{{Name: "other", ContainerPort: 1}, {Name: "web", ContainerPort: int32(port)}}
		if err := r.Run(t.Context(), to); err != nil {
			t.Fatal(err)
		}
		got := seen()
		if len(got) != 1 {
			t.Fatalf("%d requests", len(got))
		}
		return got[0]
	}
	plain := ask(get(port, nil))
	if plain.Method != http.MethodGet || plain.RequestURI != "/hook" || plain.Host != "127.0.0.1:"+strconv.Itoa(port) ||
		plain.UserAgent() != "kube-lifecycle/1.37" || plain.Header.Get("Accept") != "*/*" {
		t.Errorf("%s %s at %s, %v", plain.Method, plain.RequestURI, plain.Host, plain.Header)
	}
	own := ask(get(0, func(a *corev1.HTTPGetAction) {
		a.Scheme, a.Host, a.Port, a.Path = corev1.URISchemeHTTP, "localhost", intstr.FromString("web"), "/a b?x=1"
		a.HTTPHeaders = []corev1.HTTPHeader{
			{Name: "host", Value: "example.com"}, {Name: "user-agent", Value: "me"}, {Name: "Accept", Value: ""},
			{Name: "X-Many", Value: "1"}, {Name: "x-many", Value: "2"},
		}
	}))
	_, accepts := own.Header["Accept"]
	if own.RequestURI != "/a%20b?x=1" || own.Host != "example.com" || own.UserAgent() != "me" || accepts ||
		!slices.Equal(own.Header.Values("X-Many"), []string{"1", "2"}) {
		t.Errorf("%s at %s, %v", own.RequestURI, own.Host, own.Header)
	}
}

func TestHTTPAnyAnswerIsASuccess(t *testing.T) {
	for _, status := range []int{204, 404, 500} {
		port, _ := serve(t, (*httptest.Server).Start, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) })
		if err := New(nil, Deps{}).Run(t.Context(), target(get(port, nil))); err != nil {
			t.Errorf("%d: %v", status, err)
		}
	}
}

func TestHTTPSIsNotVerified(t *testing.T) {
	port, seen := serve(t, (*httptest.Server).StartTLS, nil)
	var events recorder
	err := New(nil, Deps{Events: &events}).Run(t.Context(), target(get(port, func(a *corev1.HTTPGetAction) { a.Scheme = corev1.URISchemeHTTPS })))
	if got := seen(); err != nil || len(got) != 1 || got[0].TLS == nil || got[0].TLS.Version < tls.VersionTLS12 || len(events) > 0 {
		t.Errorf("%v, %d requests, events %v", err, len(got), events)
	}
}

func TestHTTPSFallsBackWithoutCredentials(t *testing.T) {
	port, seen := serve(t, (*httptest.Server).Start, nil)
	var events recorder
	fallbacks := 0
	r := New(nil, Deps{Events: &events, HTTPFallback: func() { fallbacks++ }})
	err := r.Run(t.Context(), target(get(port, func(a *corev1.HTTPGetAction) {
		a.Scheme = corev1.URISchemeHTTPS
		a.HTTPHeaders = []corev1.HTTPHeader{{Name: "Authorization", Value: "Bearer secret"}, {Name: "X-Own", Value: "1"}}
	})))
	if err != nil {
		t.Fatal(err)
	}
	got := seen()
	if len(got) != 1 || got[0].Header.Get("Authorization") != "" || got[0].Header.Get("X-Own") != "1" || fallbacks != 1 {
		t.Errorf("%d fallbacks, asked %v", fallbacks, got)
	}
	want := fmt.Sprintf("web/ true LifecycleHTTPFallback: request to HTTPS lifecycle hook 127.0.0.1:%d got HTTP response, retry with HTTP succeeded", port)
	if !slices.Equal(events, recorder{want}) {
		t.Errorf("events %q", events)
	}
}

// A server that is broken both ways: what went wrong first is told.
func TestHTTPSFallbackThatFails(t *testing.T) {
	port, seen := serve(t, (*httptest.Server).Start, func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		_ = conn.Close()
	})
	var events recorder
	err := New(nil, Deps{Events: &events}).Run(t.Context(), target(get(port, func(a *corev1.HTTPGetAction) { a.Scheme = corev1.URISchemeHTTPS })))
	wantText(t, err, fmt.Sprintf(`HTTP lifecycle hook (/hook) for Container "c" in Pod "web_shop(0b1c)" failed - error: `+
		`Get "https://127.0.0.1:%d/hook": http: server gave HTTP response to HTTPS client`, port))
	if n := len(seen()); n == 0 || len(events) > 0 {
		t.Errorf("asked %d times, events %v", n, events)
	}
}

func TestHTTPRedirects(t *testing.T) {
	var to string
	port, seen := serve(t, (*httptest.Server).Start, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/end" {
			http.Redirect(w, r, to, http.StatusFound)
		}
	})
	for _, c := range []struct {
		name, to string
		asked    int
		fail     string
	}{
		{"same host", "/end", 2, ""},
		{"another host", "http://example.invalid/", 1, ""},
		{"round and round", "/hook", maxRedirects, "stopped after 10 redirects"},
	} {
		to = c.to
		err := New(nil, Deps{}).Run(t.Context(), target(get(port, nil)))
		if n := len(seen()); n != c.asked || (err == nil) != (c.fail == "") || err != nil && !strings.Contains(err.Error(), c.fail) {
			t.Errorf("%s: asked %d times, %v", c.name, n, err)
		}
	}
}

func TestHTTPRefused(t *testing.T) {
	const prefix = `HTTP lifecycle hook (/hook) for Container "c" in Pod "web_shop(0b1c)" failed - error: `
	for _, c := range []struct {
		port intstr.IntOrString
		ip   string
		want string
	}{
		{intstr.FromString("none"), "127.0.0.1", `port "none" not found`},
		{intstr.FromInt32(0), "127.0.0.1", "invalid port number: 0"},
		{intstr.FromInt32(65536), "127.0.0.1", "invalid port number: 65536"},
		{intstr.FromInt32(80), "", "failed to find networking container: the pod has no address"},
	} {
		to := target(get(0, func(a *corev1.HTTPGetAction) { a.Port = c.port }))
		to.IP = c.ip
		wantText(t, New(nil, Deps{}).Run(t.Context(), to), prefix+c.want)
	}
}

func TestHTTPHostileServers(t *testing.T) {
	endless := func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			if _, err := w.Write(make([]byte, 1<<16)); err != nil {
				return
			}
		}
	}
	silent := func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	header := func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X", strings.Repeat("x", 2*maxHeader)) }
	for _, c := range []struct {
		name   string
		answer http.HandlerFunc
		limit  time.Duration
		fail   string
	}{
		{"endless body", endless, time.Hour, ""},
		{"no answer", silent, 100 * time.Millisecond, "context deadline exceeded"},
		{"endless header", header, time.Hour, "exceeded"},
	} {
		port, _ := serve(t, (*httptest.Server).Start, c.answer)
		ctx, cancel := context.WithTimeout(t.Context(), c.limit)
		err := New(nil, Deps{}).Run(ctx, target(get(port, nil)))
		cancel()
		if (err == nil) != (c.fail == "") || err != nil && !strings.Contains(err.Error(), c.fail) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// stuck is a server's answer without the end of its body.
type stuck struct{ ctx context.Context } //nolint:containedctx // it is the request's

func (s stuck) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusOK, ContentLength: -1, Body: io.NopCloser(stuck{r.Context()})}, nil
}

func (s stuck) Read([]byte) (int, error) { <-s.ctx.Done(); return 0, s.ctx.Err() }

func TestHTTPBodyThatNeverComes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		begin := time.Now()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://127.0.0.1/", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		if err := send(&http.Client{Transport: stuck{}}, req); err != nil || time.Since(begin) != time.Minute {
			t.Errorf("%v after %v", err, time.Since(begin))
		}
	})
}

func TestUserAgent(t *testing.T) {
	for version, want := range map[string]string{
		"v1.37.1+x": "kube-lifecycle/1.37", "1.37": "kube-lifecycle/1.37", "": "kube-lifecycle/.", "x": "kube-lifecycle/.",
	} {
		if got := userAgent(version); got != want {
			t.Errorf("%q: %q", version, got)
		}
	}
}
