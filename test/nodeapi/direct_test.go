//go:build e2e

package nodeapi

import (
	"crypto/tls"
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"nodeagent.dev/nodeagent/test/bed"
)

// refusal is a request that is refused. The body is a pattern unless it is text.
type refusal struct {
	method, path string
	code         int
	text, body   string
	allow        string
}

func (r refusal) pattern() string {
	if r.text != "" {
		return "^" + regexp.QuoteMeta(r.text) + "$"
	}
	return r.body
}

// refusals are what the kubelet answers for pod refused: a runs, b has ended, c
// has no image.
func refusals() []refusal {
	const (
		get, post, put = http.MethodGet, http.MethodPost, http.MethodPut
		logs           = "/containerLogs/default/refused/"
		undecoded      = `{"message": "Unable to decode query."}`
		invalid        = `{"message": "Invalid request."}`
		noUpgrade      = "Upgrade request required\n"
		method         = `^(405: )?Method Not Allowed\n?$`
		notFound       = `^404.? [pP]age [nN]ot [fF]ound\n?$`
	)
	return []refusal{
		{get, "/containerLogs/default/nobody/a", 404, `pod "nobody" does not exist`, "", ""},
		{get, "/containerLogs/other/refused/a", 404, `pod "refused" does not exist`, "", ""},
		{get, logs + "nope", 404, `container "nope" not found in pod "refused"`, "", ""},
		{get, logs + "c", 400, "", `^container "c" in pod "refused" is waiting to start: (image can't be pulled|trying and failing to pull image)$`, ""},
		{get, logs + "a?previous=true", 400, `previous terminated container "a" in pod "refused" not found`, "", ""},
		{get, logs + "a?tailLines=-1", 422, invalid, "", ""},
		{get, logs + "a?tailLines=many", 400, undecoded, "", ""},
		{get, logs + "a?tail=many", 400, undecoded, "", ""},
		{get, logs + "a?tail=-1", 422, invalid, "", ""},
		{get, logs + "a?limitBytes=0", 422, invalid, "", ""},
		{get, logs + "a?sinceSeconds=0", 422, invalid, "", ""},
		{get, logs + "a?sinceSeconds=5&sinceTime=2020-01-01T00:00:00Z", 422, invalid, "", ""},
		{get, logs + "a?sinceTime=yesterday", 400, undecoded, "", ""},
		{get, logs + "a?stream=Stdout", 400, `unable to return the given log stream: "Stdout". Please enable PodLogsQuerySplitStreams feature gate in kubelet`, "", ""},
		{get, "/containerLogs/default/nobody/a?tailLines=-1", 422, invalid, "", ""}, // the query comes first
		{post, logs + "a", 405, "", method, "GET"},
		{get, "/containerLogs/default/refused", 404, "", notFound, ""},

		{get, "/exec/default/refused/a?command=true&output=1", 500, noUpgrade, "", ""},
		{post, "/exec/default/refused/a?command=true&output=1", 500, noUpgrade, "", ""},
		{get, "/exec/default/refused/a?command=true", 400, "you must specify at least 1 of stdin, stdout, stderr", "", ""},
		{get, "/exec/default/nobody/a?command=true&output=1", 404, "pod does not exist", "", ""},
		{get, "/exec/default/refused/nope?command=true&output=1", 500, `container not found ("nope")`, "", ""},
		{get, "/exec/default/refused/b?command=true&output=1", 500, `container not found ("b")`, "", ""},
		{put, "/exec/default/refused/a?command=true&output=1", 405, "", method, "GET, POST"},

		{get, "/attach/default/refused/a?output=1", 500, noUpgrade, "", ""},
		{get, "/attach/default/nobody/a?output=1", 404, "pod does not exist", "", ""},
		{get, "/attach/default/refused/nope?output=1", 500, "container nope not found in pod refused_default", "", ""},
		{get, "/attach/default/refused/b?output=1", 500, "container b not found in pod refused_default", "", ""},
		{get, "/attach/default/refused/a", 400, "you must specify at least 1 of stdin, stdout, stderr", "", ""},

		{get, "/portForward/default/refused", 500, noUpgrade, "", ""},
		{get, "/portForward/default/nobody", 404, "pod does not exist", "", ""},
		{get, "/portForward/default/refused/no-such-uid", 404, "pod not found", "", ""},

		{get, "/run/default/refused/a?cmd=true", 405, "", method, "POST"},
		{post, "/run/default/nobody/a?cmd=true", 404, "pod does not exist", "", ""},
		{post, "/run/default/refused/b?cmd=true", 500, `container not found ("b")`, "", ""},
		{post, "/run/default/refused/a?cmd=false", 500, "command 'false' exited with 1: ", "", ""},
		{post, "/run/default/refused/a?cmd=nosuchcmd", 500, "", `OCI runtime exec failed: .*exec: "nosuchcmd": executable file not found in \$PATH$`, ""},

		{post, "/pods", 405, "", method, "GET"},
		{post, "/runningpods/", 405, "", method, "GET"},
		{post, "/logs/", 405, "", method, "GET"},
		{post, "/debug/pprof/goroutine", 405, "", method, "GET"},
		{get, "/logs/no/such/file", 404, "", notFound, ""},
		{get, "/nowhere", 404, "", notFound, ""},
	}
}

// TestRefused: status codes and bodies for what a node refuses, from the port
// itself and through the API server's proxy.
func TestRefused(t *testing.T) {
	t.Parallel()
	b := cluster(t)
	p := once(newPod("refused", "echo one; echo two; "+obeys, "exit 0", obeys))
	p.Spec.Containers[2].Image = "registry.bed.local/does/not:exist"
	create(t, b, p)
	await(t, b, "refused", "settled", func(p *corev1.Pod) bool {
		w := status(p, "c").State.Waiting
		return status(p, "a").State.Running != nil && status(p, "b").State.Terminated != nil && w != nil && strings.Contains(w.Reason, "Image")
	})
	for name, c := range map[string]caller{"direct": direct(t, b), "proxied": proxied(t, b)} {
		t.Run(name, func(t *testing.T) {
			for _, r := range refusals() {
				got := c.do(t, r.method, r.path, r.code, r.pattern())
				if got.header.Get("Allow") != r.allow {
					t.Errorf("%s %s: Allow is %q, want %q", r.method, r.path, got.header.Get("Allow"), r.allow)
				}
			}
			// These are refused elsewhere, or look as if they had to be.
			both := `^one\ntwo\n$`
			c.do(t, http.MethodGet, "/containerLogs/default/refused/a?tail=all", 200, both)
			c.do(t, http.MethodGet, "/containerLogs/default/refused/a?tail=all&tailLines=1", 200, both)
			c.do(t, http.MethodGet, "/containerLogs/default/refused/a?tail=1&tailLines=2", 200, `^two\n$`)
			c.do(t, http.MethodGet, "/containerLogs/default/refused/a?stream=All", 200, both)
			c.do(t, http.MethodGet, "/containerLogs/default/refused/a?nonsense=1", 200, both)
			c.do(t, http.MethodGet, "/containerLogs/default/refused/b", 200, `^$`)
			c.do(t, http.MethodPost, "/run/default/refused/a?cmd=true", 200, `^$`)
		})
	}
}

// TestWhoMayCall: nobody without a certificate, and none without the right.
func TestWhoMayCall(t *testing.T) {
	t.Parallel()
	b := cluster(t)
	known := direct(t, b)
	stranger, node := withCertificate(t, known), withCertificate(t, known, readCertificate(t, b, "node"))
	for path, rights := range map[string]string{
		"/pods": "pods proxy", "/containerLogs/default/nobody/a": "proxy", "/exec/default/nobody/a": "proxy",
		"/runningpods/": "pods proxy", "/configz": "configz proxy", "/healthz": "healthz proxy", "/metrics": "metrics",
		"/logs/": "log", "/debug/pprof/goroutine": "proxy", "/portForward/default/nobody": "proxy", "/attach/default/nobody/a": "proxy",
	} {
		stranger.do(t, http.MethodGet, path, 401, "^Unauthorized$")
		want := "Forbidden (user=system:node:" + b.NodeName + ", verb=get, resource=nodes, subresource(s)=[" + rights + "])\n"
		node.do(t, http.MethodGet, path, 403, "^"+regexp.QuoteMeta(want)+"$")
	}
	known.do(t, http.MethodGet, "/healthz", 200, "^ok$")
}

// withCertificate is a caller with other certificates.
func withCertificate(t *testing.T, c caller, certificates ...tls.Certificate) caller {
	t.Helper()
	transport := c.client.Transport.(*http.Transport).Clone()
	transport.TLSClientConfig.Certificates = certificates
	t.Cleanup(transport.CloseIdleConnections)
	return caller{&http.Client{Transport: transport, Timeout: patience}, c.base}
}

// readCertificate reads a certificate of the bed with its key.
func readCertificate(t *testing.T, b *bed.Bed, name string) tls.Certificate {
	t.Helper()
	path := filepath.Join(b.Dir, "pki", name)
	pair, err := tls.LoadX509KeyPair(path+".crt", path+".key")
	must(t, "reading a certificate", err)
	return pair
}
