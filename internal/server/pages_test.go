package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"

	"nodeagent.dev/nodeagent/internal/pod"
)

func TestCheckpoint(t *testing.T) {
	w := newWorld(t)
	w.put(runs("p", "u"))
	before := time.Now().Truncate(time.Second)
	code, h, body := w.do("POST", "/checkpoint/ns/p/c?timeout=x&timeout=300", nil)
	var got struct{ Items []string }
	if err := json.Unmarshal([]byte(body), &got); err != nil || code != 200 || h.Get("Content-Type") != "application/json" || len(got.Items) != 1 {
		t.Fatalf("%d %v %s, %v", code, h, body, err)
	}
	dir, name := filepath.Split(got.Items[0])
	stamp, ok := strings.CutPrefix(strings.TrimSuffix(name, ".tar"), "checkpoint-p_ns-c-")
	at, err := time.Parse(time.RFC3339, stamp)
	if err != nil || !ok || at.Before(before) || filepath.Clean(dir) != w.server.cfg.CheckpointDir {
		t.Errorf("%s, %v", got.Items[0], err)
	}
	if info, err := os.Stat(dir); err != nil || info.Mode() != os.ModeDir|0o700 {
		t.Errorf("the directory: %v, %v", info, err)
	}
	if want := "id " + got.Items[0] + " 300"; len(w.checkpoints) != 1 || w.checkpoints[0] != want {
		t.Errorf("asked for %q, want %q", w.checkpoints, want)
	}
	w.err = status.Error(codes.Unimplemented, "no criu")
	for path, want := range map[string]string{
		"POST /checkpoint/ns/none/c":          "404 pod does not exist",
		"POST /checkpoint/ns/p/none":          "404 container none does not exist",
		"POST /checkpoint/ns/p/c?timeout=1.5": "404 cannot parse value of timeout parameter",
		"POST /checkpoint/ns/p/other":         "500 checkpointing of ns/p/other failed (container other not found)",
		"POST /checkpoint/ns/p/c":             "500 checkpointing of ns/p/c failed (rpc error: code = Unimplemented desc = no criu)",
		"GET /checkpoint/ns/p/c":              "405 405: Method Not Allowed",
		"POST /checkpoint/ns/p":               "404 404: Page Not Found",
		"POST /checkpoint/ns/p/u/c":           "404 404: Page Not Found",
	} {
		method, path, _ := strings.Cut(path, " ")
		if code, _, body := w.do(method, path, nil); fmt.Sprintf("%d %s", code, body) != want {
			t.Errorf("%s %s: %d %q, want %q", method, path, code, body, want)
		}
	}
}

// TestCheckpointOfANameThatIsAPath: static pods are named by files.
func TestCheckpointOfANameThatIsAPath(t *testing.T) {
	w := newWorld(t)
	w.put(runs("../../etc/x", "u", func(v *pod.View) { v.Ref.Name = v.Pod.Name }))
	code, _, body := w.do("POST", "/checkpoint/ns/..%2f..%2fetc%2fx/c", nil)
	if code != 500 || !strings.Contains(body, "its name cannot be that of a file") || len(w.checkpoints) != 0 {
		t.Errorf("%d %s, %v", code, body, w.checkpoints)
	}
}

// TestZPages: flags and versions, as people and as programs read them.
func TestZPages(t *testing.T) {
	w := newWorld(t)
	code, h, body := w.do("GET", "/flagz", nil)
	if code != 200 || h.Get("Content-Type") != "text/plain; charset=utf-8" || !regexp.MustCompile(`(?s)^\nkubelet flagz\n.*\nconfig[=: ]+/etc/x\nv[=: ]+4\n$`).MatchString(body) {
		t.Errorf("%d %v %q", code, h, body)
	}
	code, _, body = w.do("GET", "/statusz", nil)
	// What stands between names and values is another thing in each process.
	for _, want := range []string{"kubelet statusz", "Go version[:= ]+" + runtime.Version(), "Binary version[:= ]+1\\.37\\.1", "Emulation version[:= ]+1\\.37",
		"Paths[:= ]+/configz /debug /flagz /healthz /metrics"} {
		if code != 200 || !regexp.MustCompile(want).MatchString(body) {
			t.Errorf("%d %q, want %q", code, body, want)
		}
	}
	for path, accept := range map[string]string{
		"/flagz":   "application/json;v=v1beta1;g=config.k8s.io;as=Flagz",
		"/statusz": "application/json;v=v1beta1;g=config.k8s.io;as=Statusz",
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.url+path, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Accept", accept)
		resp, err := w.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		var got struct {
			Kind, APIVersion string
			Flags            map[string]string
			Paths            []string
		}
		err = json.NewDecoder(resp.Body).Decode(&got)
		_ = resp.Body.Close()
		if err != nil || resp.StatusCode != 200 || got.APIVersion != "config.k8s.io/v1beta1" || len(got.Flags)+len(got.Paths) == 0 {
			t.Errorf("%s: %d %+v, %v", path, resp.StatusCode, got, err)
		}
	}
	off := newWorld(t, func(c *Config) { c.Handlers = Handlers{Debugging: true}; c.Version = "no version" })
	for _, path := range []string{"/flagz", "/statusz", "/checkpoint/ns/p/c"} {
		if code, _, body := off.do("POST", path, nil); code != 404 || body != "404 page not found\n" {
			t.Errorf("%s switched off: %d %q", path, code, body)
		}
	}
	odd := newWorld(t, func(c *Config) { c.Version = "no version"; c.Handlers.SystemLogs = false })
	if code, _, body := odd.do("GET", "/statusz", nil); code != 200 || !strings.Contains(body, "/healthz /logs /metrics") {
		t.Errorf("without a version: %d %q", code, body)
	}
}

// TestSLIs: the figures of health checks, which whoever may read them may begin
// anew.
func TestSLIs(t *testing.T) {
	w := newWorld(t)
	slis := func(method string) string {
		code, _, body := w.do(method, "/metrics/slis", nil)
		if code != 200 {
			t.Fatalf("%s: %d %s", method, code, body)
		}
		return body
	}
	slis("DELETE")
	_, _, _ = w.do("GET", "/healthz", nil)
	w.alive = errors.New("stuck")
	_, _, _ = w.do("GET", "/healthz", nil)
	got := slis("GET")
	for _, want := range []string{
		`kubernetes_healthcheck{name="ping",type="healthz"} 1`, `kubernetes_healthcheck{name="log",type="healthz"} 1`,
		`kubernetes_healthcheck{name="device-plugin",type="healthz"} 1`, `kubernetes_healthcheck{name="syncloop",type="healthz"} 0`,
		`kubernetes_healthchecks_total{name="syncloop",status="error",type="healthz"} 1`,
		`kubernetes_healthchecks_total{name="syncloop",status="success",type="healthz"} 1`,
	} {
		if !strings.Contains(got, "\n"+want) {
			t.Errorf("%s is not in %s", want, got)
		}
	}
	slis("DELETE")
	if got := slis("GET"); strings.Contains(got, "kubernetes_healthcheck{") {
		t.Errorf("after a reset: %s", got)
	}
}

// TestLogQuery: what is asked for reaches journalctl or files, and nothing else.
func TestLogQuery(t *testing.T) {
	bin := t.TempDir()
	script := "#!/bin/sh\n[ \"$1\" = --field ] && echo kubelet.service || echo \"journal $*\"\n"
	if err := os.WriteFile(filepath.Join(bin, "journalctl"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	outside := filepath.Join(t.TempDir(), "secret")
	w := newWorld(t, func(c *Config) {
		for err, ok := range map[error]bool{
			os.WriteFile(outside, []byte("canary"), 0o600):                                                        true,
			os.Mkdir(filepath.Join(c.SystemLogDir, "dir"), 0o700):                                                 true,
			os.WriteFile(filepath.Join(c.SystemLogDir, "dir", "dir.log"), []byte("text"), 0o600):                  true,
			os.Symlink(outside, filepath.Join(c.SystemLogDir, "out.log")):                                         true,
			os.Symlink("../"+filepath.Base(filepath.Dir(outside))+"/secret", filepath.Join(c.SystemLogDir, "up")): true,
		} {
			if err != nil || !ok {
				t.Fatal(err)
			}
		}
	})
	for query, want := range map[string]string{
		"":                                 "200 <!doctype html>",
		"query=kubelet&tailLines=2":        "200 journal --utc --no-pager --output=short-precise --pager-end --lines=2 --unit=kubelet\n",
		"query=dir":                        "200 text",
		"query=dir/dir.log":                "200 text",
		"query=dir/":                       "200 <!doctype html>",
		"query=out":                        "200 \nerror getting log for out: ",
		"query=up":                         "200 \nerror getting log for up: ",
		"query=..":                         "200 \nerror getting log for ..: ",
		"query=/etc/passwd":                `406 query: Invalid value: ["/etc/passwd"]: statat /etc/passwd: path escapes from parent`,
		"query=../up":                      `406 query: Invalid value: ["../up"]: statat ../up: path escapes from parent`,
		"query=./out.log":                  `406 query: Invalid value: ["./out.log"]: statat ./out.log: path escapes from parent`,
		"query=":                           `400 query: Invalid value: [""]: may not be empty`,
		"query=a&query=b/c":                `406 query: Invalid value: "[b/c], [a]": cannot specify a file and service`,
		"boot=1&query=x":                   "406 boot: Invalid value: 1: must be less than 1",
		"tailLines=1":                      "406 query: Required value: cannot be empty with options",
		"query=" + strings.Repeat("x", 99): "200 \nlog not found for xxx",
	} {
		code, h, body := w.do("GET", "/logs/?"+query, nil)
		if got := fmt.Sprintf("%d %s", code, body); !strings.HasPrefix(got, want) || strings.Contains(got, "canary") {
			t.Errorf("%s: %q, want %q", query, got, want)
		}
		if strings.HasPrefix(want, "200 journal") && h.Get("Content-Type") != "text/plain;charset=UTF-8" {
			t.Errorf("%s: %v", query, h)
		}
	}
	for path, want := range map[string]string{
		"/logs/dir/?query=kubelet": "406 path not allowed in query mode\n",
		"/logs/dir/dir.log":        "200 text",
	} {
		if code, _, body := w.do("GET", path, nil); fmt.Sprintf("%d %s", code, body) != want {
			t.Errorf("%s: %d %q, want %q", path, code, body, want)
		}
	}
	if code, _, _ := w.do("POST", "/logs/?query=kubelet", nil); code != 405 {
		t.Errorf("POST: %d", code)
	}
	off := newWorld(t, func(c *Config) { c.Handlers.LogQuery = false })
	if code, _, body := off.do("GET", "/logs/?query=kubelet", nil); code != 200 || strings.Contains(body, "journal") {
		t.Errorf("switched off: %d %q", code, body)
	}
}

// TestLogQueryPacked: a client that takes nothing but gzip gets it.
func TestLogQueryPacked(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	w := newWorld(t, func(c *Config) {
		if err := os.WriteFile(filepath.Join(c.SystemLogDir, "x"), []byte("text"), 0o600); err != nil {
			t.Fatal(err)
		}
	})
	// The client asks for gzip on its own, and unpacks.
	if code, h, body := w.do("GET", "/logs/?query=x", nil); code != 200 || body != "text" || h.Get("Content-Encoding") != "" {
		t.Errorf("%d %v %q", code, h, body)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.url+"/logs/?query=x", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept-Encoding", "gzip")
	resp, err := w.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil || resp.Header.Get("Content-Encoding") != "gzip" || !strings.HasPrefix(string(raw), "\x1f\x8b") {
		t.Errorf("%v %q, %v", resp.Header, raw, err)
	}
}

// TestTooManyLogQueries: programs are started for each.
func TestTooManyLogQueries(t *testing.T) {
	w := newWorld(t)
	for range maxQueries {
		w.server.queries <- struct{}{}
	}
	if code, h, body := w.do("GET", "/logs/?query=x", nil); code != 429 || h.Get("Retry-After") == "" {
		t.Errorf("%d %v %s", code, h, body)
	}
}

// TestNowhere: what is below a path that is known and is nothing.
func TestNowhere(t *testing.T) {
	w := newWorld(t)
	w.put(runs("p", "u", func(v *pod.View) { v.Status.Phase = corev1.PodRunning }))
	for path, want := range map[string]string{
		"/exec": "404: Page Not Found", "/exec/ns/p": "404: Page Not Found", "/run/a/b/c/d/e": "404: Page Not Found",
		"/containerLogs/ns/p": "404: Page Not Found", "/checkpoint": "404: Page Not Found", "/pods/x": "404: Page Not Found",
		"/runningpods/x": "404: Page Not Found", "/stats/container": "404: Page Not Found", "/stats": "404: Page Not Found", "/nowhere": "404 page not found\n",
	} {
		if code, _, body := w.do("GET", path, nil); code != 404 || body != want {
			t.Errorf("%s: %d %q, want %q", path, code, body, want)
		}
	}
}

// TestAllocatedPods: what pods hold, which says nothing about how they are.
func TestAllocatedPods(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Handlers.AllocatedPods = true })
	in := func(stage string, phase corev1.PodPhase) func(*pod.View) {
		return func(v *pod.View) { v.Stage, v.Status.Phase, v.Pod.Status.Phase = stage, phase, phase }
	}
	w.put(runs("b", "u2"), runs("a", "u1", in("Terminating", corev1.PodFailed)), runs("x", "u3", in("Terminated", corev1.PodSucceeded)),
		runs("y", "u4", in("Syncing", corev1.PodFailed)), runs("z", "u5", func(v *pod.View) { v.Pod = nil }))
	for path, want := range map[string]string{"/allocatedPods": "PodList a b", "/allocatedPods/": "PodList a b", "/allocatedPods/ns/b": "Pod", "/allocatedPods/ns/b/u2": "Pod"} {
		code, _, body := w.do("GET", path, nil)
		var got struct {
			Kind, APIVersion string
			Items            []corev1.Pod
		}
		if err := json.Unmarshal([]byte(body), &got); err != nil || code != 200 || got.APIVersion != "v1" || strings.Contains(body, "phase") {
			t.Errorf("%s: %d %s, %v", path, code, body, err)
		}
		for i := range got.Items {
			got.Kind += " " + got.Items[i].Name
		}
		if got.Kind != want {
			t.Errorf("%s: %q, want %q", path, got.Kind, want)
		}
	}
	for path, want := range map[string]string{
		"GET /allocatedPods/ns/x": "404 pod not found", "GET /allocatedPods/ns/b/u1": "404 pod not found", "GET /allocatedPods/other/b": "404 pod not found",
		"GET /allocatedPods/ns": "404 404: Page Not Found", "POST /allocatedPods": "405 405: Method Not Allowed",
	} {
		method, path, _ := strings.Cut(path, " ")
		if code, _, body := w.do(method, path, nil); fmt.Sprintf("%d %s", code, body) != want {
			t.Errorf("%s %s: %d %q, want %q", method, path, code, body, want)
		}
	}
}
