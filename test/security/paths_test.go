//go:build e2e

package security

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// TestPaths writes request lines by hand, as nobody and as one who may only
// read metrics. A redirect is followed once more, since a client would. The
// kubelet redirects, and says what it has not, before it asks who wants to
// know; nodeagent asks first.
func TestPaths(t *testing.T) {
	f := cluster(t)
	const (
		refused = -1 // 401 and 403: it is a guarded path, written in another way
		metrics = -2 // 401 and 200: it is the one path that is allowed
	)
	exec := "exec/default/" + victim + "/a?command=id&output=1"
	for target, code := range map[string]int{
		"//pods": 307, "/./pods": 307, "/pods/.": 307, "/pods/..": 307, "///pods": 307,
		"/metrics/../pods": 307, "/metrics/../" + exec: 307, "/metrics/cadvisor/../../pods": 307,
		"/metrics/../../../../etc/shadow": 307, "/healthz/../pods": 307, "/logs/../pods": 307,
		"/debug/pprof/../../pods": 307, "/containerLogs/default/../../pods": 307, "/metrics;/../pods": 307,
		"/exec/default/" + victim + "/../../../metrics":    307,
		"/metrics/" + strings.Repeat("../", 1000) + "pods": 307,
		"/metrics" + strings.Repeat("/", 10000):            307,
		"/metrics/..%2fpods":                               404,
		"/metrics/..%2f" + exec:                            404,
		"/metrics%2f..%2fpods":                             404,
		"/%2e%2e/pods":                                     404,
		"/metrics/%2e%2e/pods":                             404,
		"/metrics/%2e%2e%2fpods":                           404,
		"/metrics/%2e%2e/" + exec:                          404,
		"/metrics/%2e./pods":                               404,
		"/%252e%252e/pods":                                 404,
		"/%c0%ae%c0%ae/pods":                               404,
		"/\u2025/pods":                                     404,
		"/metrics/..;/pods":                                404,
		"/metrics\\..\\pods":                               404,
		"/pods%00":                                         404,
		"/metrics%00":                                      404,
		"/pods%2f":                                         404,
		"/pods;x":                                          404,
		"/pods%20":                                         404,
		"/pods\xff":                                        404,
		"/PODS":                                            404,
		"/Metrics":                                         404,
		"/metrics/":                                        404,
		"/metrics/pods":                                    404,
		"/metrics/cadvisor/":                               404,
		"/metricsx":                                        404,
		"/metrics#/pods":                                   404,
		"/healthz/":                                        404,
		"/" + strings.Repeat("a/", 50000):                  404,
		"":                                                 400,
		"*":                                                400,
		"pods":                                             400,
		"metrics":                                          400,
		"\\pods":                                           400,
		"/%zz":                                             400,
		"/po\tds":                                          400,
		"/metrics /pods":                                   400,
		"https://" + f.addr + "/pods":                      refused,
		"https://metrics/pods":                             refused,
		"http://" + f.addr + "/pods":                       refused,
		"http:///pods":                                     refused,
		"https://user:word@" + f.addr + "/" + exec: refused,
		"/pods/":            refused,
		"/pods/default":     refused,
		"/%70ods":           refused,
		"/pods?x=/metrics":  refused,
		"/pods?/../metrics": refused,
		"/%65xec/default/" + victim + "/a?command=id":                   refused,
		"/exec/default/" + victim + "/%61":                              refused,
		"/exec/default/" + victim + "/..%2f..%2f..%2fmetrics":           refused,
		"/exec/default/%2e%2e/%2e%2e/metrics":                           refused,
		"/containerLogs/default/" + victim + "/a%2f..%2f..%2f..%2fpods": refused,
		"/logs/..%2f..%2fmetrics":                                       refused,
		"/debug/pprof/..%2f..%2fmetrics":                                refused,
		"https://" + f.addr + "/metrics":                                metrics,
		"/metrics?x=/pods":                                              metrics,
		"/%6detrics":                                                    metrics,
	} {
		t.Run(clip(fmt.Sprintf("%q", target), 60), func(t *testing.T) {
			nobody, reader := f.targets(t, target)
			if target == "*" && f.nodeagent() {
				code = refused // it is the mux that would say 400
			}
			switch code {
			case refused:
				nobody.want(t, "nobody", http.StatusUnauthorized, "Unauthorized")
				if reader.code != http.StatusForbidden || !strings.HasPrefix(reader.body, "Forbidden (user="+account("metrics")+", verb=get, resource=nodes, ") {
					t.Errorf("the reader of metrics got %s", reader)
				}
			case metrics:
				nobody.want(t, "nobody", http.StatusUnauthorized, "Unauthorized")
				if reader.code != http.StatusOK || !strings.HasPrefix(reader.body, "# HELP ") {
					t.Errorf("the reader of metrics got %s", reader)
				}
			case http.StatusBadRequest:
				if nobody.code != code || reader.code != code || nobody.body != reader.body {
					t.Errorf("nobody got %s, the reader of metrics %s, want %d", nobody, reader, code)
				}
			default:
				f.early(t, nobody, reader, code)
				if code == http.StatusTemporaryRedirect && reader.code == code {
					f.follow(t, target, reader.head.Get("Location"))
				}
			}
		})
	}
}

func (f *fixture) targets(t *testing.T, target string) (nobody, reader answer) {
	t.Helper()
	return f.ask(t, who{}, http.MethodGet, target), f.ask(t, f.users["metrics"], http.MethodGet, target)
}

// early checks what the kubelet says to anybody, and nodeagent to those who
// may, if they ask for what they may.
func (f *fixture) early(t *testing.T, nobody, reader answer, code int) {
	t.Helper()
	if f.nodeagent() {
		nobody.want(t, "nobody", http.StatusUnauthorized, "Unauthorized")
		if reader.code == http.StatusForbidden {
			return
		}
	} else if nobody.code != code || nobody.body != reader.body {
		t.Errorf("nobody got %s, want %d and what the reader of metrics gets", nobody, code)
	}
	if reader.code != code {
		t.Errorf("the reader of metrics got %s, want %d", reader, code)
	}
}

func (f *fixture) follow(t *testing.T, target, next string) {
	t.Helper()
	if !strings.HasPrefix(next, "/") || strings.HasPrefix(next, "//") || strings.Contains(next, "..") {
		t.Errorf("%q redirects to %q, which is not a plain path here", clip(target, 60), next)
	}
	nobody, reader := f.targets(t, next)
	if nobody.code/100 == 2 || reader.code/100 == 2 && !strings.HasPrefix(next, "/metrics") {
		t.Errorf("after the redirect to %q nobody got %s, the reader of metrics %s", next, nobody, reader)
	}
}

// CONNECT is the one method whose paths nobody cleans, so who has every verb
// on metrics tries it.
func TestPathsOfConnect(t *testing.T) {
	f := cluster(t)
	for _, target := range []string{
		"/metrics/../pods", "/metrics/../exec/default/" + victim + "/a?command=id&output=1", "/metrics/../debug/flags/v",
		"/metrics/../logs/", "//pods", "/metrics/%2e%2e/pods", "/metrics/..%2fpods",
	} {
		got := f.ask(t, f.users["metricsall"], http.MethodConnect, target)
		if got.code != http.StatusNotFound && got.code != http.StatusForbidden && got.code != http.StatusTemporaryRedirect {
			t.Errorf("CONNECT %s: got %s", target, got)
		}
	}
	for _, target := range []string{f.addr, "127.0.0.1:22", "169.254.169.254:80"} {
		f.ask(t, f.admin, http.MethodConnect, target).want(t, "CONNECT "+target, http.StatusNotFound, "404 page not found\n")
	}
}
