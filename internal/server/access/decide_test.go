package access

import (
	"bufio"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"k8s.io/apiserver/pkg/authentication/user"
)

func TestSubresources(t *testing.T) {
	for path, want := range map[string]string{
		"/allocatedPods": "pods proxy", "/allocatedPods/ns/name": "pods proxy",
		"/pods": "pods proxy", "/pods/": "pods proxy", "/podsx": "proxy", "/Pods": "proxy",
		"/runningpods": "pods proxy", "/runningpods/": "pods proxy",
		"/healthz": "healthz proxy", "/healthz/syncloop": "healthz proxy", "/healthz2": "proxy",
		"/configz": "configz proxy", "/configz/x": "configz proxy",
		"/stats": "stats", "/stats/summary": "stats", "/statsx": "proxy",
		"/metrics": "metrics", "/metrics/cadvisor": "metrics", "/metrics.txt": "proxy",
		"/logs": "log", "/logs/": "log", "/logs/pods/x": "log", "/log": "proxy",
		"/checkpoint/ns/pod/c": "checkpoint", "/checkpoints": "proxy",
		"/statusz": "statusz", "/flagz": "configz",
		"/exec/ns/pod/c": "proxy", "/run/ns/pod/c": "proxy", "/debug/pprof/": "proxy", "/debug/flags/v": "proxy",
		"/containerLogs/ns/pod/c": "proxy", "/portForward/ns/pod": "proxy", "/attach/ns/pod/c": "proxy",
		"/": "proxy", "": "proxy", "*": "proxy", "metrics": "proxy", "//metrics": "proxy", "/%": "proxy",
		// What is escaped is read as the mux reads it.
		"/%6detrics": "metrics", "/metrics%2Fcadvisor": "proxy", "/metrics%2f..%2fexec": "proxy",
		"/metrics/%2e%2e/exec": "metrics", "/%2e%2e/metrics": "proxy", "/exec%2F..%2Fmetrics": "proxy",
	} {
		if got := strings.Join(subresources(path), " "); got != want {
			t.Errorf("%q is about %q, want %q", path, got, want)
		}
	}
}

func TestAsked(t *testing.T) {
	who := &user.DefaultInfo{Name: "jane"}
	for method, want := range map[string]string{
		"GET": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete",
		"HEAD": "", "OPTIONS": "", "CONNECT": "", "get": "",
	} {
		all := asked("n1", who, method, &url.URL{Path: "/pods/a b", RawQuery: "x=y"})
		if len(all) != 2 {
			t.Fatalf("%d things are asked", len(all))
		}
		for i, a := range all {
			if a.Verb != want || a.Subresource != []string{"pods", "proxy"}[i] {
				t.Errorf("%s asks for %q of %q, want %q", method, a.Verb, a.Subresource, want)
			}
			if a.User.GetName() != "jane" || a.APIGroup != "" || a.APIVersion != "v1" || a.Resource != "nodes" ||
				a.Name != "n1" || a.Namespace != "" || !a.ResourceRequest || a.Path != "/pods/a b" {
				t.Errorf("asked: %+v", a)
			}
		}
	}
}

// routes are patterns as the node's API has them, and what each is about.
func routes() map[string]string {
	return map[string]string{
		"/healthz": "healthz proxy", "/healthz/{check}": "healthz proxy",
		"/pods": "pods proxy", "/runningpods/": "pods proxy",
		"/allocatedPods": "pods proxy", "/allocatedPods/{ns}/{pod}": "pods proxy",
		"/metrics": "metrics", "/metrics/cadvisor": "metrics", "/metrics/{rest...}": "metrics",
		"/stats/summary": "stats", "/stats/": "stats",
		"GET /containerLogs/{ns}/{pod}/{container}": "proxy",
		"/exec/{ns}/{pod}/{container}":              "proxy", "/exec/{ns}/{pod}/{uid}/{container}": "proxy",
		"/attach/{ns}/{pod}/{container}": "proxy", "/portForward/{ns}/{pod}": "proxy",
		"POST /run/{ns}/{pod}/{container}": "proxy", "POST /checkpoint/{ns}/{pod}/{container}": "checkpoint",
		"/configz": "configz proxy", "/flagz": "configz", "/statusz": "statusz",
		"/logs/{path...}": "log", "/debug/pprof/": "proxy", "/debug/flags/v": "proxy",
	}
}

// FuzzPathIsAuthorizedAsRouted checks that whatever a mux serves has been asked
// for under the subresource of the pattern that serves it.
func FuzzPathIsAuthorizedAsRouted(f *testing.F) {
	for _, path := range []string{
		"/metrics", "/metrics/", "//metrics", "/metrics//cadvisor", "/metrics/../exec/a/b/c", "/./exec/a/b/c",
		"/metrics/%2e%2e/exec/a/b/c", "/%2e%2e/exec/a/b/c", "/metrics%2F..%2Fexec/a/b/c", "/metrics%2fcadvisor",
		"/exec%2Fa/b/c", "/exec/a/b/%2e%2e", "/exec/..%2f..%2fmetrics/b/c", "/%65xec/a/b/c", "/%6detrics", "/logs/%2e%2e/%2e%2e/etc",
		"/logs/..%2f..", "/runningpods", "/pods?x=/exec", "http://other/metrics", "//exec/a/b/c", "/stats/%zz", "*", "/;/metrics",
		"/metrics;a=b", "/metrics%00", "/exec/a/b/c/..", "/debug/pprof/../../metrics", "/%2fmetrics", "/containerLogs/a/b/%2F",
	} {
		for method := range 4 {
			f.Add(uint8(method), path)
		}
	}
	mux := http.NewServeMux()
	var served string
	for pattern, about := range routes() {
		mux.HandleFunc(pattern, func(http.ResponseWriter, *http.Request) { served = about })
	}
	f.Fuzz(func(t *testing.T, method uint8, target string) {
		m := []string{"GET", "POST", "CONNECT", "OPTIONS"}[method%4]
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(m + " " + target + " HTTP/1.1\r\nHost: node\r\n\r\n")))
		if err != nil {
			return
		}
		served = ""
		mux.ServeHTTP(httptest.NewRecorder(), r)
		if served == "" {
			return // redirected or not found
		}
		var got []string
		for _, a := range asked("n1", &user.DefaultInfo{}, r.Method, r.URL) {
			got = append(got, a.Subresource)
		}
		if !slices.Equal(got, strings.Fields(served)) {
			t.Errorf("%s %q (path %q) is served as %q and was authorized as %q", m, target, r.URL.Path, served, got)
		}
	})
}
