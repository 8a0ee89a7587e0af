//go:build e2e

package security

import (
	"fmt"
	"net/http"
	"slices"
	"testing"
)

// TestRights asks for everything as everybody: each right opens what it is for
// and nothing else.
func TestRights(t *testing.T) {
	f := cluster(t)
	logs, exec := "/containerLogs/default/"+victim+"/a", "/exec/default/"+victim+"/a"
	for _, e := range []struct {
		path   string
		code   int // for those who may
		guards []string
	}{
		{"/pods", 200, []string{"pods", "proxy"}},
		{"/runningpods/", 200, []string{"pods", "proxy"}},
		{"/healthz", 200, []string{"healthz", "proxy"}},
		{"/healthz/ping", 200, []string{"healthz", "proxy"}},
		{"/configz", 200, []string{"configz", "proxy"}},
		{"/metrics", 200, []string{"metrics"}},
		{"/metrics/cadvisor", 200, []string{"metrics"}},
		{"/metrics/resource", 200, []string{"metrics"}},
		{"/metrics/probes", 200, []string{"metrics"}},
		{"/stats/summary", 200, []string{"stats"}},
		{"/logs/", 200, []string{"log"}},
		{logs, 200, []string{"proxy"}},
		{exec, 400, []string{"proxy"}}, // no streams are asked for
		{"/attach/default/" + victim + "/a", 400, []string{"proxy"}},
		{"/run/default/" + victim + "/a?cmd=id", 405, []string{"proxy"}},
		{"/debug/pprof/cmdline", 200, []string{"proxy"}},
		{"/debug/flags/v", 406, []string{"proxy"}},
	} {
		for name, r := range rights() {
			t.Run(name+e.path, func(t *testing.T) {
				got := f.ask(t, f.users[name], http.MethodGet, e.path)
				may := slices.Contains(e.guards, r.subresource) && (slices.Contains(r.verbs, "get") || slices.Contains(r.verbs, "*"))
				if !may {
					got.want(t, e.path, http.StatusForbidden, forbidden(account(name), "get", e.guards...))
				} else if got.code != e.code && !f.later(e.path, got) {
					t.Errorf("got %s, want %d", got, e.code)
				}
			})
		}
	}
}

// later tells of what nodeagent guards already and does not serve yet.
func (f *fixture) later(path string, got answer) bool {
	return f.nodeagent() && got.code == http.StatusNotFound &&
		slices.Contains([]string{"/metrics/cadvisor", "/metrics/resource", "/metrics/probes", "/stats/summary"}, path)
}

// A verb is what the method says, also where GET and POST do the same: who may
// only get runs commands with GET, and with POST not. The kubelet is so.
func TestVerbsOfExec(t *testing.T) {
	f := cluster(t)
	run := "/run/default/" + victim + "/a?cmd=echo+" + keepSecret("run-secret-1f1c")
	exec := "/exec/default/" + victim + "/a?output=1&command=echo&command=" + keepSecret("exec-secret-77aa")
	f.ask(t, f.users["proxypost"], http.MethodPost, run).want(t, "run by one who may create", 200, "run-secret-1f1c\n")
	f.ask(t, f.users["proxyget"], http.MethodPost, run).
		want(t, "run by one who may get", 403, forbidden(account("proxyget"), "create", "proxy"))
	f.ask(t, f.users["proxyget"], http.MethodPost, exec).
		want(t, "exec with POST by one who may get", 403, forbidden(account("proxyget"), "create", "proxy"))
	f.ask(t, f.users["proxypost"], http.MethodGet, exec).
		want(t, "exec with GET by one who may create", 403, forbidden(account("proxypost"), "get", "proxy"))

	c, got := f.websocket(t, f.users["proxyget"], exec)
	if got.code != http.StatusSwitchingProtocols {
		t.Fatalf("exec with a WebSocket by one who may get: %s", got)
	}
	if out := c.output(t); out != "exec-secret-77aa\n" {
		t.Errorf("exec with a WebSocket by one who may get printed %q", out)
	}
}

// Who may read metrics gets nothing else, whatever the method says.
func TestMethods(t *testing.T) {
	f := cluster(t)
	verbs := map[string]string{"GET": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
	methods := []string{"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "CONNECT", "TRACE", "PRI", "FOO", "get", "Get"}
	override := []string{"X-HTTP-Method-Override: GET", "X-HTTP-Method: GET", "X-Method-Override: GET"}
	for _, method := range methods {
		for _, e := range endpoints() {
			what := fmt.Sprintf("%s %s", method, e.path)
			nobody, body := f.ask(t, who{}, method, e.path, override...), "Unauthorized"
			if method == "HEAD" {
				body = ""
			}
			nobody.want(t, what+" by nobody", http.StatusUnauthorized, body)
			got := f.ask(t, f.users["metrics"], method, e.path, override...)
			if e.guards[0] == "metrics" && method == "GET" {
				if got.code != http.StatusOK && !f.later(e.path, got) {
					t.Errorf("%s: got %s", what, got)
				}
				continue
			}
			if body = forbidden(account("metrics"), verbs[method], e.guards...); method == "HEAD" {
				body = ""
			}
			got.want(t, what, http.StatusForbidden, body)
		}
	}
	for _, method := range []string{"G=T", "GET/", "G\tT", "GET,POST", "(GET)", "\x00GET"} {
		f.ask(t, f.users["metrics"], method, "/metrics").want(t, fmt.Sprintf("%q /metrics", method), http.StatusBadRequest, "400 Bad Request")
	}
}

// The administrator may everything, and still only what there is.
func TestMethodsThatAreNotServed(t *testing.T) {
	f := cluster(t)
	for path, allow := range map[string]string{
		"/pods": "GET", "/runningpods/": "GET", "/containerLogs/default/" + victim + "/a": "GET", "/logs/": "GET",
		"/exec/default/" + victim + "/a": "GET, POST", "/attach/default/" + victim + "/a": "GET, POST",
		"/portForward/default/" + victim: "GET, POST", "/run/default/" + victim + "/a": "POST",
	} {
		for _, method := range []string{"PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE", "FOO"} {
			got := f.ask(t, f.admin, method, path, "X-HTTP-Method-Override: GET")
			got.want(t, method+" "+path, http.StatusMethodNotAllowed, "405: Method Not Allowed")
			if a := got.head.Get("Allow"); a != allow {
				t.Errorf("%s %s: Allow is %q, want %q", method, path, a, allow)
			}
		}
	}
}
