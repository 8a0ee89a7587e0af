package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"
	"k8s.io/apimachinery/pkg/types"

	"nodeagent.dev/nodeagent/internal/config"
	"nodeagent.dev/nodeagent/internal/node"
	"nodeagent.dev/nodeagent/internal/pod"
)

func TestThresholds(t *testing.T) {
	for value, want := range map[string]node.Threshold{
		"": {}, "0%": {}, "100%": {}, "100Mi": {Bytes: 100 << 20}, "1G": {Bytes: 1e9}, "10%": {Fraction: 0.1}, "12.5%": {Fraction: 0.125},
	} {
		if got, err := threshold(value); err != nil || got != want {
			t.Errorf("%q: got %+v, %v, want %+v", value, got, err, want)
		}
	}
	for _, bad := range []string{"x", "x%", "%", "10 %", "1Q"} {
		if got, err := threshold(bad); err == nil || !strings.Contains(err.Error(), `"`) {
			t.Errorf("%q: got %+v, %v", bad, got, err)
		}
	}
}

func TestQuantities(t *testing.T) {
	got, err := quantities("kubeReserved", map[string]string{"cpu": "250m", "memory": "1Gi", "pid": "100"})
	if err != nil || len(got) != 2 || got.Cpu().MilliValue() != 250 || got.Memory().Value() != 1<<30 {
		t.Errorf("got %v, %v", got, err)
	}
	if _, err := quantities("kubeReserved", map[string]string{"cpu": "much"}); err == nil || !strings.Contains(err.Error(), `kubeReserved cpu="much"`) {
		t.Errorf("got %v", err)
	}
}

func TestPrepareRoot(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	for range 2 { // it may be there already
		if err := prepareRoot(dir); err != nil {
			t.Fatal(err)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{filepath.Join(file, "below"), file} {
		if err := prepareRoot(path); err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "--root-dir") {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestHealth(t *testing.T) {
	var problem error
	h := healthHandler(func(context.Context) error { return problem })
	get := func(method, path string) (int, string) {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(method, path, http.NoBody))
		return w.Code, w.Body.String()
	}
	if code, body := get(http.MethodGet, "/healthz"); code != http.StatusOK || body != "ok" {
		t.Errorf("alive: %d %q", code, body)
	}
	if code, _ := get(http.MethodPost, "/healthz"); code != http.StatusMethodNotAllowed {
		t.Errorf("POST: %d", code)
	}
	problem = errors.New("stuck")
	if code, body := get(http.MethodGet, "/healthz"); code != http.StatusInternalServerError || !strings.Contains(body, "stuck") {
		t.Errorf("not alive: %d %q", code, body)
	}
}

func TestHealthPort(t *testing.T) {
	alive := func(context.Context) error { return nil }
	if err := serveHealth(t.Context(), config.Server{}, alive, zap.NewNop()); err != nil {
		t.Errorf("port 0 is off: %v", err)
	}
	// A port that cannot be had is no reason to end.
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() {
		ended <- serveHealth(ctx, config.Server{HealthzAddress: netip.MustParseAddr("192.0.2.1"), HealthzPort: 1}, alive, zap.NewNop())
	}()
	select {
	case err := <-ended:
		t.Fatalf("ended with %v", err)
	case <-time.After(20 * time.Millisecond):
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("ended with %v", err)
	}
}

// The names are those dashboards and alerts for the kubelet ask for.
// logged returns what a logger of the configuration writes, once its verbosity
// has been changed to the later ones.
func logged(t *testing.T, cfg config.Logging, later ...int) string {
	t.Helper()
	old := os.Stderr
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	os.Stderr = w
	defer func() { os.Stderr = old }()
	log, levels, err := newLogger(cfg)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range later {
		levels.set(v)
	}
	log.Debug("detail")
	log.Info("hello", zap.Duration("took", time.Second))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	out, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func TestLogger(t *testing.T) {
	var line map[string]any
	out := logged(t, config.Logging{Format: "json"})
	if err := json.Unmarshal([]byte(out), &line); err != nil || line["msg"] != "hello" || line["level"] != "info" || line["took"] != "1s" {
		t.Errorf("json: %q, %v", out, err)
	}
	if _, err := time.Parse(time.RFC3339Nano, fmt.Sprint(line["ts"])); err != nil {
		t.Error(err)
	}
	if out := logged(t, config.Logging{Format: "text"}); strings.Count(out, "\n") != 1 || !strings.Contains(out, "\tINFO\thello\t") {
		t.Errorf("text: %q", out)
	}
	if out := logged(t, config.Logging{Verbosity: debugVerbosity}); strings.Count(out, "\n") != 2 || !strings.Contains(out, "\tDEBUG\tdetail") {
		t.Errorf("verbose: %q", out)
	}
	if out := logged(t, config.Logging{}, debugVerbosity); !strings.Contains(out, "\tDEBUG\tdetail") {
		t.Errorf("verbose later: %q", out)
	}
	if out := logged(t, config.Logging{Verbosity: debugVerbosity}, 2); strings.Contains(out, "detail") {
		t.Errorf("silent later: %q", out)
	}
	if _, _, err := newLogger(config.Logging{Format: "xml"}); err == nil || !strings.Contains(err.Error(), `"xml"`) {
		t.Errorf("an unknown format: %v", err)
	}
}

func TestLeftovers(t *testing.T) {
	uids := func(list ...types.UID) func() ([]types.UID, error) {
		return func() ([]types.UID, error) { return list, nil }
	}
	named := pod.Ref{UID: "a", Namespace: "ns", Name: "web"}
	for name, c := range map[string]struct {
		logs   []pod.Ref
		err    error
		others map[string]func() ([]types.UID, error)
		want   []pod.Ref
	}{
		"nothing":                      {},
		"each pod once, with its name": {logs: []pod.Ref{named}, others: map[string]func() ([]types.UID, error){"volumes": uids("a", "b"), "cgroups": uids("b", "a", "c")}, want: []pod.Ref{named, {UID: "b"}, {UID: "c"}}},
		"one place cannot be read": {logs: []pod.Ref{named}, err: errors.New("x"), others: map[string]func() ([]types.UID, error){
			"volumes": uids("b"), "cgroups": func() ([]types.UID, error) { return []types.UID{"c"}, errors.New("x") }}, want: []pod.Ref{named, {UID: "b"}, {UID: "c"}}},
	} {
		t.Run(name, func(t *testing.T) {
			got := leftovers(func() ([]pod.Ref, error) { return c.logs, c.err }, c.others, zaptest.NewLogger(t))
			slices.SortFunc(got, func(a, b pod.Ref) int { return strings.Compare(string(a.UID), string(b.UID)) })
			if !slices.Equal(got, c.want) {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

// What is declared is served: the API server sends WebSockets on only then.
func TestDeclaredFeatures(t *testing.T) {
	cfg := &config.Config{Server: config.Server{Enabled: true, Handlers: config.ServerHandlers{Debugging: true, WebSockets: true}}}
	if got := declaredFeatures(cfg); !slices.Equal(got, []string{"ExtendWebSocketsToKubelet", "InPlacePodLevelResourcesVerticalScaling", "InPlacePodVerticalScalingInitContainers", "RestartAllContainersOnContainerExits"}) {
		t.Errorf("declared %v", got)
	}
	for name, off := range map[string]func(*config.Server){
		"no server":    func(s *config.Server) { s.Enabled = false },
		"no debugging": func(s *config.Server) { s.Handlers.Debugging = false },
		"gate off":     func(s *config.Server) { s.Handlers.WebSockets = false },
	} {
		without := *cfg
		off(&without.Server)
		if got := declaredFeatures(&without); slices.Contains(got, "ExtendWebSocketsToKubelet") {
			t.Errorf("%s: declared %v", name, got)
		}
	}
}
