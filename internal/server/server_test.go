package server

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"nodeagent.dev/nodeagent/internal/pod"
)

func TestAnswers(t *testing.T) {
	w := newWorld(t)
	w.put(runs("p", "u"), runs("gone", "g", func(v *pod.View) { v.Pod = nil }))
	for _, c := range []struct {
		method, path string
		code         int
		body         string
	}{
		{"GET", "/healthz", 200, "ok"},
		{"GET", "/healthz/syncloop", 200, "ok"},
		{"GET", "/healthz/ping", 200, "ok"},
		{"GET", "/healthz/log", 200, "ok"},
		{"GET", "/nothing", 404, "404 page not found\n"},
		{"POST", "/pods", 405, "405: Method Not Allowed"},
		{"POST", "/containerLogs/ns/p/c", 405, "405: Method Not Allowed"},
		{"PUT", "/exec/ns/p/c", 405, "405: Method Not Allowed"},
		{"GET", "/run/ns/p/c?cmd=x", 405, "405: Method Not Allowed"},
		{"GET", "/containerLogs/ns/x/c", 404, `pod "x" does not exist`},
		{"GET", "/containerLogs/ns/gone/c", 404, `pod "gone" does not exist`},
		{"GET", "/containerLogs/ns/p/x", 404, `container "x" not found in pod "p"`},
		{"GET", "/containerLogs/ns/p/other", 400, `container "other" in pod "p" is not available`},
		{"GET", "/containerLogs/ns/p/c?previous=true", 400, `previous terminated container "c" in pod "p" not found`},
		{"GET", "/containerLogs/ns/p/c?tailLines=x", 400, `{"message": "Unable to decode query."}`},
		{"GET", "/containerLogs/ns/p/c?tailLines=-1", 422, `{"message": "Invalid request."}`},
		{"GET", "/containerLogs/ns/p/c?stream=Stdout", 400, `unable to return the given log stream: "Stdout". Please enable PodLogsQuerySplitStreams feature gate in kubelet`},
		{"GET", "/exec/ns/p/c?command=x", 400, "you must specify at least 1 of stdin, stdout, stderr"},
		{"GET", "/exec/ns/x/c?output=1", 404, "pod does not exist"},
		{"GET", "/exec/ns/p/x?output=1", 500, `container not found ("x")`},
		{"GET", "/exec/ns/p/other-uid/c?output=1", 500, `container not found ("c")`},
		{"GET", "/exec/ns/p/c?output=1", 500, "Upgrade request required\n"},
		{"POST", "/attach/ns/p/other?output=1", 500, "container other not found in pod p_ns"},
		{"GET", "/portForward/ns/x", 404, "pod does not exist"},
		{"GET", "/portForward/ns/p/other-uid", 404, "pod not found"},
		{"GET", "/portForward/ns/p", 500, "Upgrade request required\n"},
		{"POST", "/run/ns/p/c?cmd=echo+it", 200, "id ran it+"},
		{"POST", "/run/ns/p/u/c?cmd=echo+it", 200, "id ran it+"},
		{"POST", "/run/ns/p/c?cmd=false+1", 500, "command 'false 1' exited with 3: bad"},
		{"POST", "/run/ns/p/x?cmd=x", 500, `container not found ("x")`},
		{"POST", "/run/ns/x/c?cmd=x", 404, "pod does not exist"},
		{"GET", "/configz", 200, `{"kubeletconfig":{"kind":"KubeletConfiguration"}}` + "\n"},
		{"GET", "/debug/flags/v", 406, "unsupported http method\n"},
	} {
		if code, _, body := w.do(c.method, c.path, nil); code != c.code || body != c.body {
			t.Errorf("%s %s: %d %q, want %d %q", c.method, c.path, code, body, c.code, c.body)
		}
	}
	if w.prepared != 0 {
		t.Errorf("the runtime prepared %d streams for requests that cannot have one", w.prepared)
	}
	if _, h, _ := w.do("DELETE", "/exec/ns/p/c", nil); h.Get("Allow") != "GET, POST" {
		t.Errorf("Allow: %q", h.Get("Allow"))
	}
}

func TestPodLists(t *testing.T) {
	w := newWorld(t)
	w.put(runs("b", "u2"), runs("a", "u1"), runs("x", "gone", func(v *pod.View) { v.Pod = nil }))
	w.running = []*corev1.Pod{{ObjectMeta: metav1.ObjectMeta{Name: "r", UID: "r"}}}
	for path, want := range map[string]string{"/pods": "a b", "/pods/": "a b", "/runningpods/": "r", "/runningpods": "r"} {
		code, h, body := w.do("GET", path, nil)
		var list corev1.PodList
		if err := json.Unmarshal([]byte(body), &list); err != nil || code != 200 || h.Get("Content-Type") != "application/json" {
			t.Errorf("%s: %d %v, %v", path, code, h, err)
		}
		var names []string
		for i := range list.Items {
			names = append(names, list.Items[i].Name)
		}
		if got := strings.Join(names, " "); got != want || list.Kind != "PodList" || list.APIVersion != "v1" {
			t.Errorf("%s: %s %s %s", path, list.APIVersion, list.Kind, got)
		}
		if want == "a b" && list.Items[0].Status.Phase != corev1.PodRunning {
			t.Errorf("%s: status %+v", path, list.Items[0].Status)
		}
	}
	w.err = errors.New("no runtime")
	if code, _, body := w.do("GET", "/runningpods/", nil); code != 500 || body != "no runtime" {
		t.Errorf("%d %s", code, body)
	}
}

// TestOfTwoPodsOfOneName: the newer one is meant.
func TestOfTwoPodsOfOneName(t *testing.T) {
	w := newWorld(t)
	w.put(runs("p", "new", func(v *pod.View) {
		v.Pod.CreationTimestamp = metav1.Unix(200, 0)
		v.Status.ContainerStatuses[0].ContainerID = "containerd://new"
	}), runs("p", "old", func(v *pod.View) { v.Pod.CreationTimestamp = metav1.Unix(100, 0) }))
	if code, _, body := w.do("POST", "/run/ns/p/c?cmd=x", nil); code != 200 || body != "new ran x+" {
		t.Errorf("%d %s", code, body)
	}
}

func TestSwitches(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Config)
		want   map[string]string // path to code and body
	}{
		"no debugging": {func(c *Config) { c.Handlers.Debugging = false }, map[string]string{
			"/exec/ns/p/c": "405 Debug endpoints are disabled.\n", "/runningpods/": "405 Debug endpoints are disabled.\n",
			"/logs/": "405 Debug endpoints are disabled.\n", "/containerLogs/ns/p/c": "405 Debug endpoints are disabled.\n",
			"/configz": "404 404 page not found\n", "/healthz": "200 ok",
		}},
		"single ones": {func(c *Config) { c.Handlers = Handlers{Debugging: true} }, map[string]string{
			"/logs/x": "405 logs endpoint is disabled.\n", "/debug/pprof/heap": "405 profiling endpoint is disabled.\n",
			"/debug/flags/v": "405 flags endpoint is disabled.\n",
		}},
		"guarded": {func(c *Config) {
			c.Guard = func(http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fail(w, 401, "Unauthorized") })
			}
		}, map[string]string{"/healthz": "401 Unauthorized", "/exec/ns/p/c": "401 Unauthorized", "/nothing": "401 Unauthorized"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, c.change)
			for path, want := range c.want {
				if code, _, body := w.do("GET", path, nil); fmt.Sprintf("%d %s", code, body) != want {
					t.Errorf("%s: %d %q, want %q", path, code, body, want)
				}
			}
		})
	}
}

func TestReadOnly(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Guard = func(http.Handler) http.Handler { return http.NotFoundHandler() } })
	w.stop()
	w.serve(w.server.ReadOnlyHandler(), false)
	for path, code := range map[string]int{"/healthz": 200, "/pods": 200, "/exec/ns/p/c": 405, "/containerLogs/ns/p/c": 405, "/configz": 404, "/debug/flags/v": 404} {
		if got, _, body := w.do("GET", path, nil); got != code {
			t.Errorf("%s: %d %s", path, got, body)
		}
	}
}

func TestHealth(t *testing.T) {
	w := newWorld(t)
	w.alive = errors.New("stuck")
	if code, _, body := w.do("GET", "/healthz", nil); code != 500 || !strings.Contains(body, "[-]syncloop failed") || !strings.Contains(body, "[+]ping ok") {
		t.Errorf("%d %s", code, body)
	}
	if code, _, _ := w.do("GET", "/healthz?exclude=syncloop", nil); code != 200 {
		t.Errorf("without syncloop: %d", code)
	}
	if code, _, body := w.do("GET", "/healthz/ping?verbose", nil); code != 200 {
		t.Errorf("ping: %d %s", code, body)
	}
}

func TestVerbosity(t *testing.T) {
	w := newWorld(t)
	if code, _, body := w.do("PUT", "/debug/flags/v", strings.NewReader("5\n")); code != 200 || w.level != "5" || body != "successfully set klog.logging.verbosity to 5\n" {
		t.Errorf("%d %q, level %s", code, body, w.level)
	}
	if code, _, body := w.do("PUT", "/debug/flags/v", strings.NewReader("high")); code != 400 || body != "strconv.ParseUint: parsing \"high\": invalid syntax\n" {
		t.Errorf("%d %q", code, body)
	}
	if code, _, body := w.do("PUT", "/debug/flags/v", strings.NewReader(strings.Repeat("9", 1<<20))); code != 400 || len(body) > 200 {
		t.Errorf("%d %.300q", code, body)
	}
}

func TestProfiles(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Handlers.ContentionProfiling = true })
	defer runtime.SetBlockProfileRate(0)
	wait := make(chan struct{})
	go func() { time.Sleep(time.Millisecond); close(wait) }()
	<-wait // something to be recorded
	for path, want := range map[string]string{"/debug/pprof/": "goroutine", "/debug/pprof/goroutine?debug=1": "goroutine profile", "/debug/pprof/cmdline": "test", "/debug/pprof/block?debug=1": "server_test"} {
		if code, _, body := w.do("GET", path, nil); code != 200 || !strings.Contains(body, want) {
			t.Errorf("%s: %d %.200s", path, code, body)
		}
	}
}

func TestSystemLogs(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "secret")
	must := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.WriteFile(outside, []byte("canary"), 0o600))
	w := newWorld(t, func(c *Config) {
		must(os.MkdirAll(filepath.Join(c.SystemLogDir, "pods", "a"), 0o750))
		must(os.WriteFile(filepath.Join(c.SystemLogDir, "pods", "a", "0.log"), []byte("hello"), 0o600))
		must(os.Symlink(filepath.Join(c.SystemLogDir, "pods", "a", "0.log"), filepath.Join(c.SystemLogDir, "absolute.log")))
		must(os.Symlink("pods/a", filepath.Join(c.SystemLogDir, "a")))
		must(os.Symlink(outside, filepath.Join(c.SystemLogDir, "out")))
		must(os.Symlink("..", filepath.Join(c.SystemLogDir, "up")))
		must(syscall.Mkfifo(filepath.Join(c.SystemLogDir, "pipe"), 0o600))
	})
	for path, want := range map[string]struct {
		code int
		body string
	}{
		"/logs/":                {200, "absolute.log"},
		"/logs/pods/a/0.log":    {200, "hello"},
		"/logs/a/0.log":         {200, "hello"},
		"/logs/absolute.log":    {200, "hello"},
		"/logs/absent":          {404, ""},
		"/logs/out":             {403, ""},
		"/logs/up/":             {403, ""},
		"/logs/up/secret":       {404, ""},
		"/logs/pipe":            {403, ""},
		"/logs/..%2f..%2fetc":   {404, ""},
		"/logs/%2e%2e/%2e%2e/x": {404, ""},
	} {
		code, _, body := w.do("GET", path, nil)
		if code != want.code || !strings.Contains(body, want.body) || strings.Contains(body, "canary") {
			t.Errorf("%s: %d %.200s", path, code, body)
		}
	}
}

// TestExpectation: a client that announces a body and is refused is not read on:
// what comes next on the connection may be the body.
func TestExpectation(t *testing.T) {
	w := newWorld(t, func(c *Config) {
		c.Guard = func(http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fail(w, 401, "Unauthorized") })
		}
	})
	conn, err := tls.Dial("tcp", strings.TrimPrefix(w.url, "https://"), &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(conn, "POST /pods HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 33\r\n\r\nGET /pods HTTP/1.1\r\nHost: xxx\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(conn) // to the end of the connection
	if err != nil || strings.Count(string(answer), "HTTP/1.1 ") != 1 || !strings.Contains(string(answer), "401 Unauthorized") {
		t.Errorf("%q, %v", answer, err)
	}
}
