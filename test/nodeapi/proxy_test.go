//go:build e2e

package nodeapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"

	"nodeagent.dev/nodeagent/test/bed"
)

// raw is kubectl get --raw of a path of the node's proxy.
func raw(t *testing.T, b *bed.Bed, path string) string {
	t.Helper()
	return ok(t, b, "get", "--raw", "/api/v1/nodes/"+b.NodeName+"/proxy/"+path)
}

// TestProxy: the paths of a node that people read with kubectl get --raw.
func TestProxy(t *testing.T) {
	t.Parallel()
	b := cluster(t)
	p := started(t, b, newPod("proxy", "echo one; echo two; "+obeys))
	t.Run("healthz", func(t *testing.T) {
		same(t, "healthz", raw(t, b, "healthz"), "ok")
		matches(t, "healthz?verbose", raw(t, b, "healthz?verbose"), `(?s)^\[\+\]ping ok\n.*\[\+\]syncloop ok\n.*healthz check passed\n$`)
		same(t, "healthz/ping", raw(t, b, "healthz/ping"), "ok")
	})
	t.Run("pods", func(t *testing.T) {
		got := inList(t, raw(t, b, "pods"), p)
		if got.UID == "" {
			t.Fatalf("the pod is not in the list")
		}
		if len(got.Spec.Containers) != 1 || got.Spec.Containers[0].Image != image || got.Spec.NodeName != b.NodeName || got.Status.Phase != corev1.PodRunning {
			t.Errorf("the pod is %+v", got)
		}
		if status(got, "a").State.Running == nil || got.Status.PodIP != p.Status.PodIP {
			t.Errorf("its status is %+v", got.Status)
		}
	})
	t.Run("runningpods", func(t *testing.T) {
		// The kubelet answers with what it has heard of the runtime a while ago:
		// without the pod, then without its container.
		got := inList(t, raw(t, b, "runningpods/"), p)
		for end := time.Now().Add(patience); len(got.Spec.Containers) == 0 && time.Now().Before(end); {
			got = inList(t, raw(t, b, "runningpods/"), p)
		}
		if len(got.Spec.Containers) != 1 || got.Spec.Containers[0].Name != "a" {
			t.Errorf("the pod is %+v", got)
		}
	})
	t.Run("configz", func(t *testing.T) {
		var got struct {
			Config map[string]any `json:"kubeletconfig"`
		}
		must(t, "reading configz", json.Unmarshal([]byte(raw(t, b, "configz")), &got))
		for key, want := range map[string]any{
			"kind": "KubeletConfiguration", "apiVersion": "kubelet.config.k8s.io/v1beta1",
			"containerLogMaxSize": "1Gi", "maxPods": 250.0, "address": b.NodeIP, "syncFrequency": "1m0s",
		} {
			if got.Config[key] != want {
				t.Errorf("%s is %v, want %v", key, got.Config[key], want)
			}
		}
	})
	t.Run("metrics", func(t *testing.T) {
		matches(t, "metrics", raw(t, b, "metrics"), `(?m)^# TYPE process_resident_memory_bytes gauge\nprocess_resident_memory_bytes \d`)
	})
	t.Run("containerLogs", func(t *testing.T) {
		same(t, "log", raw(t, b, "containerLogs/default/proxy/a"), "one\ntwo\n")
		same(t, "tail", raw(t, b, "containerLogs/default/proxy/a?tailLines=1"), "two\n")
		same(t, "limit", raw(t, b, "containerLogs/default/proxy/a?limitBytes=5"), "one\nt")
		matches(t, "timestamps", raw(t, b, "containerLogs/default/proxy/a?timestamps=true"), `^`+rfc3339Nano+` one\n`+rfc3339Nano+` two\n$`)
		same(t, "tail and timestamps", raw(t, b, "containerLogs/default/proxy/a?tailLines=0&timestamps=true"), "")
	})
	t.Run("pprof", func(t *testing.T) {
		matches(t, "goroutines", raw(t, b, "debug/pprof/goroutine?debug=1"), `^goroutine profile: total \d+\n`)
		if got := raw(t, b, "debug/pprof/heap"); !strings.HasPrefix(got, "\x1f\x8b") {
			t.Errorf("the heap profile is no gzip: %.20q", got)
		}
		matches(t, "command line", raw(t, b, "debug/pprof/cmdline"), `--config=`)
	})
	t.Run("logs", func(t *testing.T) {
		entries, err := os.ReadDir("/var/log")
		must(t, "reading /var/log", err)
		got := raw(t, b, "logs/")
		for _, e := range entries {
			if e.Name() == strings.ToLower(e.Name()) && !strings.Contains(got, `">`+e.Name()) {
				t.Errorf("%s is not in the listing %q", e.Name(), got)
			}
		}
	})
	t.Run("run", func(t *testing.T) {
		const path = "/proxy/run/default/proxy/a?cmd="
		same(t, "output", ok(t, b, "create", "--raw", "/api/v1/nodes/"+b.NodeName+path+"echo%20a%20%20b", "-f", "/dev/null"), "a  b\n")
		r := kubectl(t, b, "create", "--raw", "/api/v1/nodes/"+b.NodeName+path+"cat%20/none", "-f", "/dev/null")
		if r.code != 1 {
			t.Errorf("exit code %d, want 1", r.code)
		}
		matches(t, "stderr", r.errs, `^Error from server \(InternalError\): an error on the server \("command 'cat /none' exited with 1: .*/none.*No such file`)
	})
}

// inList finds the pod in a PodList; it is empty when it is not there.
func inList(t *testing.T, text string, p *corev1.Pod) *corev1.Pod {
	t.Helper()
	var list corev1.PodList
	must(t, "reading a list of pods", json.Unmarshal([]byte(text), &list))
	if list.Kind != "PodList" || list.APIVersion != "v1" {
		t.Errorf("the list is %s of %s", list.Kind, list.APIVersion)
	}
	for _, got := range list.Items {
		if got.Name == p.Name && got.Namespace == p.Namespace && got.UID == p.UID {
			return &got
		}
	}
	return &corev1.Pod{}
}

// caller sends requests to the node's API and returns the answers.
type caller struct {
	client *http.Client
	base   string
}

// direct calls the port itself with the API server's certificate.
func direct(t *testing.T, b *bed.Bed) caller {
	t.Helper()
	client, err := b.AgentClient()
	must(t, "making a client of the agent", err)
	t.Cleanup(client.CloseIdleConnections)
	client.Timeout = patience
	return caller{client, b.AgentURL()}
}

// proxied calls through the API server.
func proxied(t *testing.T, b *bed.Bed) caller {
	t.Helper()
	config, err := b.RESTConfig()
	must(t, "the API server's address", err)
	client, err := rest.HTTPClientFor(config)
	must(t, "making a client of the API server", err)
	client.Timeout = patience
	return caller{client, strings.TrimSuffix(config.Host, "/") + "/api/v1/nodes/" + b.NodeName + "/proxy"}
}

// answer is what a request came to.
type answer struct {
	code   int
	body   string
	header http.Header
}

// do sends a request and checks the code and that the body matches the pattern.
// It does not follow where it is sent to.
func (c caller) do(t *testing.T, method, path string, code int, body string) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, c.base+path, nil)
	must(t, "making a request", err)
	client := *c.client
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	resp, err := client.Do(req)
	must(t, method+" "+path, err)
	defer resp.Body.Close()
	var buf bytes.Buffer
	if _, err := io.Copy(&buf, resp.Body); err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Fatalf("%s %s: reading the answer: %v", method, path, err)
	}
	a := answer{resp.StatusCode, buf.String(), resp.Header}
	if a.code != code {
		t.Errorf("%s %s: %d %.300q, want %d", method, path, a.code, a.body, code)
	}
	matches(t, method+" "+path, a.body, body)
	return a
}
